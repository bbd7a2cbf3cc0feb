"""Many short lists of numbers in two arrays."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from itertools import compress, count


@dataclass(frozen=True, eq=False)
class Rows:
    """Row n is `values[first[n] : first[n + 1]]`."""

    first: array[int]
    values: array[int]

    @classmethod
    def of(cls, rows: Iterable[Iterable[int]]) -> Rows:
        first, values = array("i", [0]), array("i")
        for row in rows:
            values.extend(row)
            first.append(len(values))
        return cls(first, values)

    def __getitem__(self, number: int) -> array[int]:
        return self.values[self.first[number] : self.first[number + 1]]

    def __len__(self) -> int:
        return len(self.first) - 1

    def __iter__(self) -> Iterator[array[int]]:
        return (self[number] for number in range(len(self)))

    def turned(self, size: int) -> Rows:
        """The other way round, with `size` rows: row n lists the rows that n is in."""
        rows: list[list[int]] = [[] for _ in range(size)]
        for number, row in enumerate(self):
            for value in row:
                rows[value].append(number)
        return Rows.of(rows)

    def holding(self, wanted: Set[int]) -> Iterator[int]:
        """The rows, ascending, that hold one of these values; one more than once for several."""
        row = 0
        for place in compress(count(), map(wanted.__contains__, self.values)):
            row = bisect_right(self.first, place, row) - 1
            yield row

    def replaced(self, changes: Mapping[int, Iterable[int]], length: int) -> Rows:
        """With these rows in place of those of the same number, and `length` rows in all."""
        first, values = array("i", [0]), array("i")
        done = 0
        for number in (*sorted(n for n in changes if n < len(self)), len(self)):
            start = self.first[done]
            shift = len(values) - start
            values.extend(self.values[start : self.first[number]])
            first.extend(map(shift.__add__, self.first[done + 1 : number + 1]))
            if number < len(self):
                values.extend(changes[number])
                first.append(len(values))
            done = number + 1
        for number in range(len(self), length):
            values.extend(changes.get(number, ()))
            first.append(len(values))
        return Rows(first, values)

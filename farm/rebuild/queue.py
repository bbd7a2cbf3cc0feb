"""Steps that can start, in their order: the first that fits into what is free is found at once."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence

from farm.rebuild.room import ABSENT, ANYTHING, Need, Room


class Queue:
    """Steps that are ready, by their place in the order.

    A tournament tree over all places: each node has the least that any step below it needs of
    anything, so whole branches in which nothing fits are passed over. The first that fits is found
    in a few dozen looks among ten thousand.
    """

    def __init__(self, order: Sequence[str], needs: Mapping[str, Need]) -> None:
        self._order = order
        self._places = {name: place for place, name in enumerate(order)}
        self._needs = needs
        self._leaves = 1 << max(len(order) - 1, 0).bit_length()
        self._least: list[Need] = [ABSENT] * (2 * self._leaves)
        self._there: set[str] = set()
        self._unsettled: list[int] = []

    def __iter__(self) -> Iterator[str]:
        return iter(self._there)

    def __contains__(self, name: object) -> bool:
        return name in self._there

    def __len__(self) -> int:
        return len(self._there)

    def add(self, name: str, *, settled: bool = False) -> None:
        """A step is ready; one that is not settled yet is to be."""
        self._there.add(name)
        self._put(name, self._needs[name])
        if not settled:
            heapq.heappush(self._unsettled, self._places[name])

    def remove(self, name: str) -> None:
        """A step is not to be had any more: it runs, or has ended."""
        if name in self._there:
            self._there.remove(name)
            self._put(name, ABSENT)

    def place(self, name: str) -> int:
        """Which one in the order it is."""
        return self._places[name]

    def first(self, limits: Need = ANYTHING) -> str | None:
        """The first step that needs no more than `limits`."""
        least, leaves = self._least, self._leaves
        left = [1]
        while left:
            node = left.pop()
            if least[node] is ABSENT or not least[node].within(limits):
                continue
            if node >= leaves:
                return self._order[node - leaves]
            left.append(2 * node + 1)
            left.append(2 * node)
        return None

    def next_unsettled(self, settled: Mapping[str, object]) -> str | None:
        """The first step that is not settled."""
        while self._unsettled:
            name = self._order[self._unsettled[0]]
            if name in self._there and name not in settled:
                return name
            heapq.heappop(self._unsettled)
        return None

    def choice(self, room: Room, now: float) -> str | None:
        """The step to start now: the first one, or, while that does not fit, the first that does
        not delay it."""
        head = self.first()
        if head is None:
            return None
        need = self._needs[head]
        if room.full and need.slots:
            return None
        if need.within(room.free()):
            return head
        window, spare = room.reserved(need, now)
        candidates = (self.first(room.free(window)), self.first(spare))
        found = [name for name in candidates if name is not None]
        return min(found, key=self.place, default=None)

    def _put(self, name: str, need: Need) -> None:
        least = self._least
        node = self._leaves + self._places[name]
        least[node] = need
        while node > 1:
            node //= 2
            one, other = least[2 * node], least[2 * node + 1]
            if one is ABSENT:
                both = other
            elif other is ABSENT:
                both = one
            else:
                both = one.least(other)
            if both == least[node]:
                break
            least[node] = both

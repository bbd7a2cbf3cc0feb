"""What could be removed, by kind, and how much room it takes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = 512


@dataclass(frozen=True)
class Item:
    """One thing that nothing reaches, a file or a directory; `bytes` where it cannot be measured
    by looking."""

    kind: str
    path: Path
    bytes: int | None = None


@dataclass(frozen=True)
class Row:
    """All items of one kind: how many, what removing them frees (bytes), and why they can go."""

    kind: str
    why: str
    number: int
    bytes: int


class Room:
    """What removing files frees: nothing, while another link to the same file stays."""

    def __init__(self) -> None:
        self._links: dict[tuple[int, int], int] = {}

    def of(self, item: Item) -> int:
        """Bytes that are free once this and all items asked about before are gone."""
        if item.bytes is not None:
            return item.bytes
        return sum(self._freed(found) for found in _everything(item.path))

    def _freed(self, found: os.stat_result) -> int:
        if found.st_nlink > 1:
            name = (found.st_dev, found.st_ino)
            self._links[name] = self._links.get(name, 0) + 1
            if self._links[name] < found.st_nlink:
                return 0
        return found.st_blocks * _BLOCK


def rows(items: Iterable[Item], whys: dict[str, str]) -> tuple[Row, ...]:
    """Totals by kind, in the order of `whys`."""
    room, totals = Room(), {kind: [0, 0] for kind in whys}
    for item in items:
        totals[item.kind][0] += 1
        totals[item.kind][1] += room.of(item)
    return tuple(
        Row(kind, whys[kind], number, size) for kind, (number, size) in totals.items() if number
    )


def _everything(path: Path) -> Iterator[os.stat_result]:
    """Of a file itself, of a directory the files in it as far as we may look."""
    with contextlib.suppress(OSError):
        found = path.lstat()
        if not path.is_dir() or path.is_symlink():
            yield found
            return
    for directory, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                yield os.lstat(f"{directory}/{name}")

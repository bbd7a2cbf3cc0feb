"""Whose numbers a sandbox uses: the map from users inside a user namespace to the host's.

An ordinary user gets their own number as the sandbox's root and their subuid range (uidmap's
`newuidmap`) for everybody else. Real root maps a range of numbers that nobody has, so that
foreign scriptlets are never the host's root.
"""

from __future__ import annotations

import functools
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from farm.errors import MachineError

# Numbers that no distribution and no container manager hands out (systemd's table of
# UIDs: 1879048192 and above are unused).
_HIGH = 1_880_000_000
_WANTED = 65536
# Below this the build user (1000) has no number of its own.
_LEAST = 1001

Range = tuple[int, int, int]  # first inside, first outside, how many


@dataclass(frozen=True)
class IdMap:
    """The two maps, and whether `newuidmap` has to write them (`helped`) or we may ourselves."""

    uids: tuple[Range, ...]
    gids: tuple[Range, ...]
    helped: bool

    @property
    def root(self) -> tuple[int, int]:
        """The host's (uid, gid) of the sandbox's root."""
        return self.uids[0][1], self.gids[0][1]


@functools.cache
def id_map() -> IdMap:
    """The map for whoever runs farm. Raises MachineError without a subordinate range."""
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        outer = _current(Path("/proc/self/uid_map")), _current(Path("/proc/self/gid_map"))
        return IdMap(_high(outer[0]), _high(outer[1]), helped=False)
    name = pwd.getpwuid(uid).pw_name
    uids = _subordinate(Path("/etc/subuid"), name, uid)
    gids = _subordinate(Path("/etc/subgid"), name, uid)
    if not (uids and gids):
        missing = "/etc/subuid" if not uids else "/etc/subgid"
        raise MachineError(
            f"the user {name} has no range of subordinate ids",
            why=f"{missing} has no line for {name}",
            hint="As root: usermod --add-subuids 200000-265535 --add-subgids 200000-265535 "
            f"{name} (a range that nobody else has).",
        )
    return IdMap(_below_own(uid, uids), _below_own(gid, gids), helped=True)


def own(path: Path) -> Path:
    """Give a file or directory of ours to the sandbox's root; returns `path`."""
    if os.getuid() == 0:
        os.chown(path, *id_map().root, follow_symlinks=False)
    return path


def disown(path: Path) -> Path:
    """Take back what `own` gave away, or what the sandbox's root made."""
    if os.getuid() == 0:
        os.chown(path, 0, 0, follow_symlinks=False)
    return path


def reachable(path: Path) -> bool:
    """Whether the sandbox's root may walk to `path`: as an ordinary user, wherever we may."""
    if os.getuid() != 0:
        return True
    return all(parent.stat().st_mode & 0o001 for parent in path.resolve().parents)


def subordinate_ranges(text: str, name: str, uid: int) -> tuple[Range, ...]:
    """The ranges of one user in /etc/subuid's format, (0, first, count) each."""
    found = []
    for line in text.splitlines():
        owner, _, rest = line.strip().partition(":")
        first, _, count = rest.partition(":")
        if owner in (name, str(uid)) and first.isdigit() and count.isdigit():
            found.append((0, int(first), int(count)))
    return tuple(found)


def _subordinate(path: Path, name: str, uid: int) -> tuple[Range, ...]:
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return ()
    ranges = subordinate_ranges(text, name, uid)
    return ranges if sum(count for _, _, count in ranges) >= _LEAST else ()


def _below_own(own_id: int, ranges: tuple[Range, ...]) -> tuple[Range, ...]:
    """Ourselves as 0, then the ranges one after another."""
    result: list[Range] = [(0, own_id, 1)]
    inside = 1
    for _, outside, count in ranges:
        taken = min(count, _WANTED - inside)
        if taken > 0:
            result.append((inside, outside, taken))
            inside += taken
    return tuple(result)


def _current(path: Path) -> tuple[Range, ...]:
    lines = [line.split() for line in path.read_text("ascii").splitlines()]
    return tuple((int(a), int(b), int(c)) for a, b, c in lines)


def _high(outer: tuple[Range, ...]) -> tuple[Range, ...]:
    """A range for root's sandboxes among the ids that exist here (we may be in a container)."""
    if any(first <= _HIGH and first + count >= _HIGH + _WANTED for first, _, count in outer):
        return ((0, _HIGH, _WANTED),)
    first, _, count = max(outer, key=lambda each: each[2])
    size = min(_WANTED, count - _LEAST)
    if size < _LEAST:
        raise MachineError(
            "this container has too few user ids for a sandbox",
            why=f"its largest range holds {count}",
            hint="Give it a range of 131072 ids, or run farm as an ordinary user outside.",
        )
    return ((0, first + count - size, size),)

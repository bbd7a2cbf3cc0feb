"""How much memory processes have for themselves.

A process that was forked has the pages of the one that forked it until either writes to them. The
quick figure, resident less what files and tmpfs back, counts them for both: it is never too low.
The exact one makes the kernel walk all pages (about 10 ms for each GiB).
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_ROLLUP = "smaps_rollup"
_PRIVATE = re.compile(r"^Pss_Anon: +(\d+) kB$", re.MULTILINE)
_COMMON = re.compile(r"^Pss_Shmem: +(\d+) kB$", re.MULTILINE)
_RESIDENT_COMMON = re.compile(r"^RssShmem:\s+(\d+) kB$", re.MULTILINE)
_FILES = 32 << 20  # bytes of files that programs and their libraries may well be
_KCMP = {"x86_64": 312, "aarch64": 272}  # numbers of the system call
_KCMP_VM = 1


@dataclass(frozen=True)
class Look:
    """The quick figures by process, in bytes: what it has for itself, and what it has mapped of
    files in memory and of memory shared on purpose (only where that may be much)."""

    own: Mapping[int, int]
    common: Mapping[int, int]

    def most(self, tmpfs: int) -> int:
        """Bytes at most, where files in memory have `tmpfs`: they may be the ones mapped."""
        return sum(self.own.values()) + max(tmpfs, sum(self.common.values()))

    def least(self, tmpfs: int) -> int:
        """Bytes at least: the processes may share everything with the largest of them."""
        return max(self.own.values(), default=0) + max(tmpfs, *self.common.values(), 0)

    def likely(self, parents: Mapping[int, int], tmpfs: int) -> int:
        """Bytes at least, where nothing is shared but with parents and, if these have ended, with
        each other."""
        own = sum(self.own.values()) - maybe_shared(self.own, parents)
        return own + max(tmpfs, *self.common.values(), 0)


def look(pids: Iterable[int]) -> Look:
    """The quick figures of the processes that are there."""
    own: dict[int, int] = {}
    common: dict[int, int] = {}
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = Path(f"/proc/{pid}/statm").read_text("ascii").split()
            mapped = int(fields[2]) * _PAGE
            own[pid] = max(0, int(fields[1]) * _PAGE - mapped)
            if mapped > _FILES:
                found = _RESIDENT_COMMON.search(
                    Path(f"/proc/{pid}/status").read_text("utf-8", "replace")
                )
                common[pid] = int(found[1]) * 1024 if found is not None else 0
    return Look(own, common)


def maybe_shared(sizes: Mapping[int, int], parents: Mapping[int, int]) -> int:
    """Bytes that the sum of quick figures may count more than once: a process shares with the one
    that forked it, or with the others that did whose parent has ended."""
    largest: dict[int, int] = {}
    shared = 0
    for pid, size in sorted(sizes.items(), key=lambda item: -item[1]):
        parent = parents.get(pid, 0)
        shared += min(size, max(sizes.get(parent, 0), largest.setdefault(parent, 0)))
        largest[parent] = max(largest[parent], size)
    return shared


def exactly(look: Look, parents: Mapping[int, int], tmpfs: int) -> int:
    """Bytes that these processes (parents before their children) have together, what they share
    counted once, where files in memory have `tmpfs`.

    Where the kernel does not tell, the quick figures of a process count.
    """
    own = common = 0
    # children first: of a parent that forks meanwhile too little is counted rather than too much
    for pid, size in reversed(tuple(look.own.items())):
        # one that was started by vfork() has the very memory of its parent until its exec()
        if parents.get(pid, 0) in look.own and _is_one(pid, parents[pid]):
            continue
        try:
            text = Path(f"/proc/{pid}/{_ROLLUP}").read_text("ascii")
        except ProcessLookupError:
            continue
        except OSError:
            text = ""
            if not Path(f"/proc/{pid}").exists():
                continue
        own += _bytes(_PRIVATE, text, size)
        common += _bytes(_COMMON, text, 0) if pid in look.common else 0
    return own + max(tmpfs, common)


def _bytes(figure: re.Pattern[str], text: str, otherwise: int) -> int:
    found = figure.search(text)
    return int(found[1]) * 1024 if found is not None else otherwise


def _is_one(pid: int, other: int) -> bool:
    """Whether two processes have one memory."""
    call = _kcmp()
    return call is not None and call(pid, other) == 0


@functools.cache
def _kcmp() -> Callable[[int, int], int] | None:
    number = _KCMP.get(platform.machine())
    if number is None:
        return None
    import ctypes  # noqa: PLC0415 - rarely needed

    syscall = ctypes.CDLL(None).syscall
    syscall.restype = ctypes.c_long
    return lambda one, other: int(syscall(ctypes.c_long(number), one, other, _KCMP_VM, 0, 0))

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
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_ROLLUP = "smaps_rollup"
_PRIVATE = re.compile(r"^Pss_Anon: +(\d+) kB$", re.MULTILINE)
_KCMP = {"x86_64": 312, "aarch64": 272}  # numbers of the system call
_KCMP_VM = 1


def sizes(pids: Iterable[int]) -> dict[int, int]:
    """The quick figure in bytes of those that are there."""
    found: dict[int, int] = {}
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = Path(f"/proc/{pid}/statm").read_text("ascii").split()
            found[pid] = max(0, int(fields[1]) - int(fields[2])) * _PAGE
    return found


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


def exactly(sizes: Mapping[int, int]) -> int:
    """Bytes that these processes (parents before their children) have together, what they share
    counted once.

    Where the kernel does not tell, the quick figure of a process counts.
    """
    total = 0
    seen: dict[str, list[int]] = {}
    # children first: of a parent that forks meanwhile too little is counted rather than too much
    for pid, size in reversed(tuple(sizes.items())):
        try:
            text = Path(f"/proc/{pid}/{_ROLLUP}").read_text("ascii")
        except (ProcessLookupError, FileNotFoundError):
            total += size if Path(f"/proc/{pid}").exists() else 0
            continue
        except OSError:
            total += size
            continue
        found = _PRIVATE.search(text)
        # one that was started by vfork() has the very memory of its parent until its exec()
        alike = seen.setdefault(text.partition("\n")[0], [])
        if found is None or not any(_is_one(pid, other) for other in alike):
            total += int(found[1]) * 1024 if found is not None else size
        alike.append(pid)
    return total


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

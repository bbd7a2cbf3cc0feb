"""Limits on a running sandbox, by looking: unprivileged cgroups are often missing.

Memory is what the processes have for themselves plus what lies in the sandbox's tmpfs, which
is memory as well.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


def watcher(
    *,
    started: float,
    time_limit: float,
    silence: float,
    memory: int,
    log: Path | None,
    tmpfs: tuple[Path, ...],
    on_limit: Callable[[], None],
) -> Callable[[int], str] | None:
    """A function for `run(watch=…)` that names the limit that a process tree has hit.

    `started` is of time.monotonic(); times are seconds, `memory` bytes, 0 for no limit.
    `tmpfs` are paths inside the sandbox's mount namespace. `on_limit` is called before.
    """
    if not (time_limit or silence or memory):
        return None
    heard = [started, 0.0]

    def watch(pid: int) -> str:
        reason = _over(pid)
        if reason:
            on_limit()
        return reason

    def _over(pid: int) -> str:
        now = time.monotonic()
        if time_limit and now - started > time_limit:
            return f"time: it ran for more than {time_limit:.0f} s"
        if silence and log is not None:
            with contextlib.suppress(OSError):
                size = float(log.stat().st_size)
                if size != heard[1]:
                    heard[:] = now, size
            if now - heard[0] > silence:
                return f"silence: no output for {silence:.0f} s"
        if memory:
            used = memory_of(descendants(pid, parents())) + sum(
                tmpfs_use(pid, path) for path in tmpfs
            )
            if used > memory:
                return f"memory: {used >> 20} MiB in use, {memory >> 20} MiB allowed"
        return ""

    return watch


def parents() -> dict[int, int]:
    """Every process of this machine with its parent."""
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                text = Path(entry.path, "stat").read_text("utf-8", "replace")
                found[int(entry.name)] = int(text.rpartition(")")[2].split()[1])
    return found


def descendants(pid: int, parent_of: Mapping[int, int]) -> set[int]:
    """`pid` and all processes below it."""
    children: dict[int, list[int]] = {}
    for child, parent in parent_of.items():
        children.setdefault(parent, []).append(child)
    found, todo = set(), [pid]
    while todo:
        each = todo.pop()
        if each not in found:
            found.add(each)
            todo += children.get(each, [])
    return found


def memory_of(pids: Iterable[int]) -> int:
    """Bytes that processes have for themselves: resident, less what files and tmpfs back."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = Path(f"/proc/{pid}/statm").read_text("ascii").split()
            total += max(0, int(fields[1]) - int(fields[2])) * _PAGE
    return total


def tmpfs_use(pid: int, path: Path) -> int:
    """Bytes in use on a file system that only the mount namespace of `pid` sees."""
    try:
        found = os.statvfs(f"/proc/{pid}/root{path}")
    except OSError:
        return 0
    return (found.f_blocks - found.f_bfree) * found.f_frsize

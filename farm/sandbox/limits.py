"""What runs in a sandbox, looked at: how much it uses, and whether that is more than it may.

Unprivileged cgroups are often missing, so this goes by looking. Memory is what the processes have
for themselves, pages that forked ones share counted once, plus what lies in the sandbox's tmpfs,
which is memory as well. A look costs less than a millisecond for a build of a dozen processes,
asking the kernel exactly 10 ms for each GiB. Either takes a thirtieth of the time at most.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from farm.errors import FarmError
from farm.run import run
from farm.sandbox import memory

_EXACT, _TRIFLE = 16, 16 << 20  # one part in so many of a peak may be wrong, and so many bytes
_SHARE = 30  # a look may take one part in so many of the time
_OFTEN, _SELDOM = 0.1, 0.5  # seconds between looks at memory, with and without a limit on it
_DISK_OFTEN, _DISK_SELDOM = 1.0, 5.0  # between looks at the disk
_SLOWEST = 60.0
_PATIENCE = 1.0  # seconds that processes have to end whose sandbox is over
PROCESS = 100 << 10  # bytes that the kernel takes for a process: stack, page tables and the like
_FILE = 1024  # bytes that the kernel takes for a file of a tmpfs, however empty
_STOPPED = 2.0  # seconds without a look that say that we were stopped, with all that we watch
MOST_LOG = 512 << 20  # bytes: what says more repeats itself
_SET_CHILD_SUBREAPER = 36  # prctl


@dataclass(frozen=True)
class Allowed:
    """What a sandbox may use: seconds in all and without a word in the log, bytes of memory and
    of disk at once. 0: no limit."""

    time: float = 0
    silence: float = 0
    memory: int = 0
    disk: int = 0


@dataclass(frozen=True)
class Peak:
    """The most that was used at once as far as was seen, in bytes: of memory (tmpfs counted), of
    that in the sandbox's tmpfs, and of disk."""

    memory: int = 0
    tmpfs: int = 0
    disk: int = 0


NOTHING = Peak()

# Bytes that a sandbox occupies on disk, asked with its process id; None: that cannot be said.
OnDisk = Callable[[int], int | None]


class Meter:
    """Looks at one process tree as it runs. `watch` is for `run(watch=…)`: it names the limit
    that was hit, with figures, or says nothing.

    Time in which nobody could look (a batch system had suspended us) counts for no limit.

    `tmpfs` are paths inside the sandbox's mount namespace, `on_disk` measures what is outside of
    memory, `on_limit` is called before a limit is named.
    """

    def __init__(
        self,
        allowed: Allowed,
        *,
        log: Path | None = None,
        tmpfs: tuple[Path, ...] = (),
        on_disk: OnDisk | None = None,
        on_limit: Callable[[], None] = lambda: None,
    ) -> None:
        self.peak = Peak()
        self._allowed, self._log, self._tmpfs = allowed, log, tmpfs
        self._on_disk, self._on_limit = on_disk, on_limit
        self._started = self._heard = time.monotonic()
        self._size = 0
        self._next_memory = self._started
        self._next_disk = self._started + _DISK_OFTEN
        self._next_exact = {False: 0.0, True: 0.0}  # for a peak; for a limit
        self._begun = False
        self._seen: set[int] = set()
        self._looked = self._started  # when the last look was over

    def conclude(self) -> None:
        """The tree has ended: a last look at the disk, and the operating system is asked for the
        account of those of its processes that nobody has waited for."""
        if self._on_disk is not None:
            self._too_much_disk(0)
        deadline = time.monotonic() + _PATIENCE
        while (
            left := self._seen.intersection(children(os.getpid()))
        ) and time.monotonic() < deadline:
            for pid in left:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
            time.sleep(0.001)

    def watch(self, pid: int) -> str:
        """The limit that the tree below `pid` has hit and by how much, or ""."""
        now = time.monotonic()
        stopped = now - self._looked
        if stopped > _STOPPED:  # a suspended job, a machine that slept: nobody's slowness
            self._started += stopped
            self._heard += stopped
        reason = self._too_long(now) or self._too_silent(now) or self._too_wordy()
        if not reason and now >= self._next_memory:
            reason = self._too_much_memory(pid)
        if not reason and self._on_disk is not None and now >= self._next_disk:
            reason = self._too_much_disk(pid)
        if reason:
            self._on_limit()
        self._looked = time.monotonic()
        return reason

    def _too_long(self, now: float) -> str:
        limit = self._allowed.time
        over = limit and now - self._started > limit
        return f"time: it ran for more than {limit:.0f} s" if over else ""

    def _too_silent(self, now: float) -> str:
        limit = self._allowed.silence
        if not limit or self._log is None:
            return ""
        with contextlib.suppress(OSError):
            size = self._log.stat().st_size
            if size != self._size:
                self._heard, self._size = now, size
        return f"silence: no output for {limit:.0f} s" if now - self._heard > limit else ""

    def _too_wordy(self) -> str:
        if self._log is None:
            return ""
        with contextlib.suppress(OSError):
            if self._log.stat().st_size > MOST_LOG:
                return f"disk: more than {MOST_LOG >> 20} MiB of log"
        return ""

    def _too_much_memory(self, pid: int) -> str:
        if not self._has_begun(pid):
            return ""
        began, most = time.monotonic(), most_processes()
        pids = tree(pid, most)
        if len(pids) > most:
            return f"memory: more than {most} processes at once"
        tmpfs = sum(tmpfs_use(pid, path) for path in self._tmpfs)
        look, now = memory.look(pids), time.monotonic()
        used = self._used(look, pids, tmpfs)
        self.peak = Peak(max(self.peak.memory, used), max(self.peak.tmpfs, tmpfs), self.peak.disk)
        self._seen.update(pids)
        began += time.monotonic() - now  # that has a pace of its own
        now, limit = time.monotonic(), self._allowed.memory
        self._next_memory = now + _pause(now - began, _OFTEN if limit else _SELDOM)
        over = limit and used > limit
        return f"memory: {used >> 20} MiB in use, {limit >> 20} MiB allowed" if over else ""

    def _has_begun(self, pid: int) -> bool:
        """Whether the first process runs its own program: before its exec() it is a copy of this
        one, and looks as large."""
        if not self._begun:
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                ours = Path("/proc/self/cmdline").read_bytes()
                self._begun = line != ours or pid == os.getpid()
        return self._begun

    def _used(self, look: memory.Look, parents: Mapping[int, int], tmpfs: int) -> int:
        """Bytes in use. What processes share may be in the quick figures several times: the kernel
        is asked exactly before a limit is named, and before a peak is recorded that may be far
        off; in between what is sure counts."""
        limit, began = self._allowed.memory, time.monotonic()
        kernels = len(look.own) * PROCESS
        most, likely = look.most(tmpfs) + kernels, look.likely(parents, tmpfs) + kernels
        over = bool(limit) and most > limit
        doubtful = most > self.peak.memory and most - likely > max(most // _EXACT, _TRIFLE)
        if not over and not doubtful:
            return most
        if began < self._next_exact[over]:
            return look.least(tmpfs) + kernels if over else likely
        exact = memory.exactly(look, parents, tmpfs) + kernels
        if over and exact > limit:  # some may have forked or ended meanwhile: ask once more
            exact = min(exact, memory.exactly(look, parents, tmpfs) + kernels)
        now = time.monotonic()
        self._next_exact[over] = now + _pause(now - began, 0.0)
        return min(exact, most)

    def _too_much_disk(self, pid: int) -> str:
        assert self._on_disk is not None
        began, limit = time.monotonic(), self._allowed.disk
        used = self._on_disk(pid) or 0
        self.peak = Peak(self.peak.memory, self.peak.tmpfs, max(self.peak.disk, used))
        now = time.monotonic()
        self._next_disk = now + _pause(now - began, _DISK_OFTEN if limit else _DISK_SELDOM)
        over = limit and used > limit
        return f"disk: {used >> 20} MiB written, {limit >> 20} MiB allowed" if over else ""


def _pause(cost: float, least: float) -> float:
    return min(_SLOWEST, max(least, cost * _SHARE))


@functools.cache
def most_tasks() -> int:
    """How many processes and threads a sandbox may have; the kernel refuses it more."""
    return min(16384, _pid_max() // 4)


def most_processes() -> int:
    """How many processes a build may have at once: no honest one comes near."""
    return most_tasks() // 2


def _pid_max() -> int:
    with contextlib.suppress(OSError, ValueError):
        return int(Path("/proc/sys/kernel/pid_max").read_text("ascii"))
    return 32768


def adopt_orphans() -> None:
    """Have whatever below us loses its parent become our child: bubblewrap ends before the first
    process of its sandbox does, and what that and all others used would be lost."""
    import ctypes  # noqa: PLC0415 - only a worker needs it

    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children(pid: int) -> list[int]:
    """The processes that this one started, or that became its children."""
    found: list[int] = []
    with contextlib.suppress(OSError, ValueError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text("ascii").split())
    return found


def tree(pid: int, most: int) -> dict[int, int]:
    """`pid` and all processes below it, with their parents; no more than a few over `most`."""
    found: dict[int, int] = {}
    todo = [(pid, 0)]
    while todo and len(found) <= most:
        each, parent = todo.pop()
        found[each] = parent
        todo += [(child, each) for child in children(each)]
    return found


def tmpfs_use(pid: int, path: Path) -> int:
    """Bytes of memory that a file system takes which only the mount namespace of `pid` sees."""
    try:
        found = os.statvfs(f"/proc/{pid}/root{path}")
    except OSError:
        return 0
    files = max(0, found.f_files - found.f_ffree)
    return (found.f_blocks - found.f_bfree) * found.f_frsize + files * _FILE


def occupied(path: Path, *, inside: int = 0) -> int | None:
    """Bytes that a file tree occupies, None where that cannot be said. `inside`: a process in
    whose user namespace to look, where the files belong to a sandbox's users."""
    enter = ["nsenter", f"--target={inside}", "--user"] if inside else []
    with contextlib.suppress(FarmError, ValueError, IndexError):
        # what vanishes meanwhile makes du fail, and does not count
        done = run([*enter, "du", "-s", "-x", "-B1", "--", path], check=False, timeout=_SLOWEST)
        return int(done.stdout.split()[0])
    return None

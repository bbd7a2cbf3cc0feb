"""Attempts as child processes of this machine.

A worker ends with the coordinator that started it: within a second, when that was killed. A run
that follows waits for those, so that nothing works on an attempt that is given up.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from farm.model import Going, Job
from farm.rebuild.attempts import COORDINATOR, attempt_directory
from farm.rebuild.claim import claimed
from farm.rebuild.engines import Capacity, Ended, Moved
from farm.rebuild.engines.files import AttemptFiles
from farm.rebuild.space import available_memory, free, memory
from farm.run import Child, launch, processors

_TICK = 0.02  # seconds between looks at the children
_PATIENCE = 10.0  # seconds that workers of a killed coordinator have to end by themselves
_RESERVE = 8  # one part in so many of the memory is left to everybody else


def capacity_of(slots: int, state: Path, minimum_free: int) -> Capacity:
    """What this machine has for that many attempts below the state directory: memory that is
    available now, less a reserve for everybody else, and disk less `minimum_free` MiB."""
    usable = available_memory() - memory("MemTotal") // _RESERVE
    disk = free(state) - (minimum_free << 20)
    return Capacity(slots, max(processors(), slots), max(usable, 1), max(disk, 1))


class LocalEngine:
    """`farm work JOB` for each attempt, at most `slots` at a time, or within `capacity`. `state` is
    where attempts of earlier runs are."""

    def __init__(
        self, slots: int, capacity: Capacity | None = None, state: Path | None = None
    ) -> None:
        self.capacity = capacity or Capacity(slots)
        self._state = state
        self._running: dict[str, _Attempt] = {}

    def start(self, job: Job, directory: Path, rank: float = 0.0) -> None:
        child = launch(
            [sys.executable, "-P", "-m", "farm", "work", directory / "job.json"],
            # the worker is the very code that runs here, however it was found
            env={
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                COORDINATOR: str(os.getpid()),
            },
            log=directory / "worker.log",
        )
        self._running[job.attempt] = _Attempt(child, directory)

    def recover(self, attempts: Sequence[Going]) -> frozenset[str]:
        """Nothing goes on; returns when no worker of an earlier coordinator is left."""
        deadline = time.monotonic() + _PATIENCE
        left = [pid for going in attempts if (pid := self._worker(going))]
        while left and time.monotonic() < deadline:
            time.sleep(_TICK)
            left = [pid for going in attempts if (pid := self._worker(going))]
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)  # what it started dies with it
        return frozenset()

    def _worker(self, going: Going) -> int:
        """The process id of the worker that has an attempt on this machine, 0 for none."""
        if self._state is None:
            return 0
        directory = attempt_directory(self._state, going.id)
        there = claimed(directory)
        if there is None or there.host != socket.gethostname() or not there.pid:
            return 0
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{there.pid}/cmdline").read_bytes()
            if os.fsencode(directory / "job.json") in words.split(b"\0"):
                return there.pid
        return 0

    def poll(self, seconds: float) -> tuple[Ended | Moved, ...]:
        deadline = time.monotonic() + seconds
        while True:
            news = self._news()
            if news or time.monotonic() >= deadline:
                return tuple(news)
            time.sleep(_TICK)

    def stop(self) -> None:
        for attempt in self._running.values():
            attempt.child.ask_to_end()
        for attempt in self._running.values():
            attempt.child.end()
        self._running.clear()

    def _news(self) -> list[Ended | Moved]:
        news: list[Ended | Moved] = []
        for name, attempt in list(self._running.items()):
            code = attempt.child.poll()
            news += [Moved(name, phase) for phase in attempt.new_phases()]
            if code is not None:
                del self._running[name]
                words = attempt.last_words(code)
                news.append(Ended(name, attempt.outcome(), words, attempt.notes()))
        return news


class _Attempt(AttemptFiles):
    def __init__(self, child: Child, directory: Path) -> None:
        super().__init__(directory)
        self.child = child

    def last_words(self, code: int) -> str:
        words = ""
        with contextlib.suppress(OSError):
            words = (self.directory / "worker.log").read_text("utf-8", "replace").strip()
        return "\n".join([f"the worker ended with {code}", *words.splitlines()[-5:]])

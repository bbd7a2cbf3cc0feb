"""Attempts as child processes of this machine."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from farm.model import Going, Job
from farm.rebuild.engines import Capacity, Ended, Moved
from farm.rebuild.engines.files import AttemptFiles
from farm.rebuild.worker import COORDINATOR
from farm.run import Child, launch

_TICK = 0.02  # seconds between looks at the children


class LocalEngine:
    """`farm work JOB` for each attempt, at most `slots` at a time."""

    def __init__(self, slots: int) -> None:
        self.capacity = Capacity(slots)
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
        return frozenset()  # workers end with the coordinator that started them

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

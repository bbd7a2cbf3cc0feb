"""A third engine: attempts on machines that a remote shell reaches, as small as one can be."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from farm.model import Going, Job
from farm.rebuild.claim import PLACE
from farm.rebuild.engines import Capacity, Ended, Moved
from farm.rebuild.engines.files import AttemptFiles
from farm.run import Child, launch

_TICK = 0.05  # seconds between looks


@dataclass(frozen=True)
class Host:
    """A machine: its architectures, how many attempts at a time, and the words that take the words
    of a shell there, such as ("ssh", "-o", "BatchMode=yes", "build1")."""

    archs: frozenset[str]
    slots: int
    reach: tuple[str, ...]


class ShellEngine:
    """`farm work JOB` over a shell; state directory and farm have the same paths everywhere.

    The ledger's claim is all that protects from workers that a lost connection leaves behind.
    """

    def __init__(self, hosts: Mapping[str, Host]) -> None:
        self.capacity = Capacity(sum(host.slots for host in hosts.values()))
        self._hosts = hosts
        self._waiting: list[tuple[float, Job, Path]] = []
        self._running: dict[str, tuple[str, Child, AttemptFiles]] = {}

    def start(self, job: Job, directory: Path, rank: float = 0.0) -> None:
        self._waiting.append((rank, job, directory))

    def recover(self, attempts: Sequence[Going]) -> frozenset[str]:
        return frozenset()  # begun again, under other ids

    def poll(self, seconds: float) -> tuple[Ended | Moved, ...]:
        deadline = time.monotonic() + seconds
        while True:
            self._begin()
            news = [word for name in list(self._running) for word in self._heard(name)]
            if news or time.monotonic() >= deadline:
                return tuple(news)
            time.sleep(_TICK)

    def stop(self) -> None:
        for _, child, _ in self._running.values():
            child.end()
        self._running.clear()
        self._waiting.clear()

    def _begin(self) -> None:
        for entry in sorted(self._waiting, key=lambda each: -each[0]):
            _, job, directory = entry
            busy = [host for host, _, _ in self._running.values()]
            free = [
                name
                for name, host in self._hosts.items()
                if job.chroot.arch in host.archs and busy.count(name) < host.slots
            ]
            if not free:
                continue
            place = min(free, key=lambda name: (name in job.avoid, busy.count(name)))
            command = [sys.executable, "-P", "-m", "farm", "work", str(directory / "job.json")]
            variables = {"PYTHONPATH": os.pathsep.join(sys.path), PLACE: place}
            settings = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
            words = " ".join([*settings, shlex.join(command)])
            child = launch([*self._hosts[place].reach, words], log=directory / "worker.log")
            self._running[job.attempt] = (place, child, AttemptFiles(directory))
            self._waiting.remove(entry)

    def _heard(self, name: str) -> list[Ended | Moved]:
        place, child, files = self._running[name]
        code = child.poll()
        news: list[Ended | Moved] = [Moved(name, phase, place) for phase in files.new_phases()]
        if code is not None:
            del self._running[name]
            news.append(Ended(name, files.outcome(), f"exit code {code}", files.notes(), place))
        return news

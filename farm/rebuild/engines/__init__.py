"""Where attempts run: each engine is one file behind this Protocol.

Every engine counts as at-least-once: an attempt may be reported ended twice or never, and the
coordinator goes by its own attempt ids alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from farm.model import Failed, Going, Job, Outcome


@dataclass(frozen=True)
class Ended:
    """An attempt that is over. `outcome` is None when the worker left no word; `notes` are what
    it had to say beside it."""

    attempt: str
    outcome: Outcome | None
    detail: str = ""
    notes: tuple[str, ...] = ()
    place: str = ""  # the machine that it ran on

    def came_to(self, what: str) -> Outcome:
        """Its outcome; where the worker left no word, that `what` is to be run again."""
        return self.outcome or Failed(
            "infrastructure",
            "the worker ended without a word",
            tuple(self.detail.splitlines()),
            hint=f"Run {what} again; `farm doctor` checks this machine.",
        )


@dataclass(frozen=True)
class Moved:
    """A running attempt entered a phase (root, srpm, %prep, %build, …)."""

    attempt: str
    phase: str
    place: str = ""


@dataclass(frozen=True)
class Capacity:
    """What all attempts of an engine have together: how many at once, cores, bytes of memory and
    of disk. 0: not counted, because somebody else sees to it.

    `share`: cores that an attempt gets at least where they are not counted (make -j).
    `queues`: attempts wait in a queue of the engine's own, in the order of their ranks; what is
    urgent is put there even when all slots are taken.
    """

    slots: int
    cores: int = 0
    memory: int = 0
    disk: int = 0
    share: int = 1
    queues: bool = False


@dataclass(frozen=True)
class Machine:
    """One of an engine's machines, as far as looking ahead goes; `archs`: what it builds for,
    empty for whatever there is."""

    capacity: Capacity
    archs: frozenset[str] = frozenset()
    name: str = ""


class Engine(Protocol):
    """Starts attempts and reports on them; knows nothing of plans."""

    capacity: Capacity

    def start(self, job: Job, directory: Path, rank: float = 0.0) -> None:
        """Run `job`, whose file is `directory/job.json`, without waiting for it. An engine with a
        queue of its own lets the higher rank go first, and is told a new rank in the same way."""

    def recover(self, attempts: Sequence[Going]) -> frozenset[str]:
        """Of attempts that an earlier coordinator left without an end, those that go on; they are
        polled from now on."""

    def poll(self, seconds: float) -> tuple[Ended | Moved, ...]:
        """What happened since the last call; waits up to `seconds` for something."""

    def stop(self) -> None:
        """End everything that runs."""

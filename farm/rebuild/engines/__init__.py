"""Where attempts run: each engine is one file behind this Protocol.

Every engine counts as at-least-once: an attempt may be reported ended twice or never, and the
coordinator goes by its own attempt ids alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from farm.model import Job, Outcome


@dataclass(frozen=True)
class Ended:
    """An attempt that is over. `outcome` is None when the worker left no word; `notes` are what
    it had to say beside it."""

    attempt: str
    outcome: Outcome | None
    detail: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Moved:
    """A running attempt entered a phase (root, srpm, %prep, %build, …)."""

    attempt: str
    phase: str


class Engine(Protocol):
    """Starts attempts and reports on them; knows nothing of plans."""

    slots: int  # how many attempts may run at once

    def start(self, job: Job, directory: Path) -> None:
        """Run `job`, whose file is `directory/job.json`, without waiting for it."""

    def poll(self, seconds: float) -> tuple[Ended | Moved, ...]:
        """What happened since the last call; waits up to `seconds` for something."""

    def stop(self) -> None:
        """End everything that runs."""

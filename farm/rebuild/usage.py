"""What an attempt used, by the operating system's own account of its processes."""

from __future__ import annotations

import contextlib
import resource
from dataclasses import dataclass
from pathlib import Path

import msgspec

from farm.model import Built, Failed, Outcome, Usage


@dataclass(frozen=True)
class Reading:
    """Of this process and all of its children that have ended: seconds of processor time, and
    bytes of the largest one."""

    cpu: float
    largest: int

    @classmethod
    def now(cls) -> Reading:
        whole = [
            resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        ]
        cpu = sum(usage.ru_utime + usage.ru_stime for usage in whole)
        return cls(cpu, whole[1].ru_maxrss * 1024)


def with_usage(outcome: Outcome, before: Reading, directory: Path) -> Outcome:
    """The outcome of an attempt that began with that reading and left its files in `directory`.

    What was seen by looking at it as it ran stays; a build that nobody came to look at had at
    least the memory of its largest process.
    """
    if not isinstance(outcome, Built | Failed):
        return outcome
    seen, now = outcome.usage, Reading.now()
    usage = Usage(
        round(now.cpu - before.cpu, 3), max(seen.memory, now.largest), seen.disk + _left(directory)
    )
    return msgspec.structs.replace(outcome, usage=usage)


def _left(directory: Path) -> int:
    total = 0
    for path in directory.rglob("*"):
        with contextlib.suppress(OSError):  # whoever gave the attempt up may delete its files
            total += path.lstat().st_blocks * 512
    return total

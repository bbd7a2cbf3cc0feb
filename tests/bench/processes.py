"""Whole processes, timed one after another by the operating system's own account."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Run:
    """One finished process: wall clock and processor time in seconds, memory in MiB."""

    wall: float
    cpu: float
    memory: float
    code: int


def timed(argv: Sequence[str], output: Path, cwd: Path) -> Run:
    """Run a program with its output in a file.

    The memory is the process's own peak; it is at least ours, since a child begins as its parent.
    """
    with output.open("wb") as file:
        actions = [
            (os.POSIX_SPAWN_DUP2, file.fileno(), 1),
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        ]
        command = ["/usr/bin/env", "-C", str(cwd), *argv]
        started = time.monotonic()
        pid = os.posix_spawn(command[0], command, os.environ, file_actions=actions)
        _, status, usage = os.wait4(pid, 0)
        wall = time.monotonic() - started
    return Run(
        wall=wall,
        cpu=usage.ru_utime + usage.ru_stime,
        memory=usage.ru_maxrss / 1024,
        code=os.waitstatus_to_exitcode(status),
    )


def median(runs: Sequence[Run], figure: str) -> float:
    """The median of one figure over several runs."""
    return float(statistics.median(getattr(run, figure) for run in runs))


def ratios(runs: Sequence[Run], others: Sequence[Run], figure: str) -> float:
    """The median of the ratios pair by pair, which a machine of changing speed does not move."""
    pairs = zip(runs, others, strict=True)
    return float(statistics.median(getattr(b, figure) / getattr(a, figure) for a, b in pairs))

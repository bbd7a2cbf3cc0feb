"""What a job asks of Slurm: pure functions from job and configuration to sbatch's words."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from farm.config import Slurm
from farm.model import Job, Noun
from farm.rebuild.engines.slurm.clients import Shape
from farm.rebuild.ranks import URGENT

PREFIX = "farm-"  # of a job's name; farm's own id of the attempt follows
_MIB = 1 << 20
_OVERHEAD = 256  # MiB that a worker itself and its sandbox take
_MARGIN = 600  # seconds for filling a build root, on top of what the build may take
_LOWEST = 1000  # nice of what goes last among farm's own
_HALF = 600.0  # seconds of remaining path that halve the way to the front


class Asked(Noun, frozen=True):
    """What was asked for an attempt; kept in its directory as the sign that it was handed over.

    `memory` in MiB (0: what the partition gives), `times` that it was handed to Slurm, `farm`
    whose identity its job bears.
    """

    nice: int = 0
    memory: int = 0
    times: int = 0
    farm: str = ""


@dataclass(frozen=True)
class Ground:
    """What is the same for all jobs of a farm: `identity` names the state directory, so that no
    other farm on the cluster touches its jobs."""

    config: Slurm
    identity: str
    shapes: tuple[Shape, ...] = ()

    @property
    def comment(self) -> str:
        return f"farm:{self.identity}"


def name_of(attempt: str) -> str:
    """The name of an attempt's batch job."""
    return f"{PREFIX}{attempt}"


def attempt_of(name: str) -> str:
    """The attempt that a batch job of this name is for, "" for a foreign job."""
    return name.removeprefix(PREFIX) if name.startswith(PREFIX) else ""


def constraint(config: Slurm, arch: str) -> str:
    """What a node must have to build for an architecture."""
    return config.features.get(arch, arch)


def nice_of(rank: float) -> int:
    """0 for what is urgent, else more the shorter the path that waits for it.

    A span of a thousand orders farm's own jobs without putting all of them behind everybody
    else's; only operators may ask for less than 0.
    """
    if rank >= URGENT:
        return 0
    path = max(rank, 0.0)
    return _LOWEST - int((_LOWEST - 1) * path / (path + _HALF))


def memory_of(job: Job, wanted: int = 0) -> int:
    """MiB to ask for: what earlier builds took or more (`wanted`), no more than it may use."""
    need = max(-(-job.demand.memory // _MIB), wanted)
    most = -(-job.limits.memory // _MIB)
    if most:
        need = min(need, most) or most
    return need + _OVERHEAD if need else 0


def largest_of(job: Job, ground: Ground) -> Shape | None:
    """The most processors and memory that a node has which could do this job, None where no nodes
    are known. 1 MiB stands for a cluster that does not count memory."""
    wanted = constraint(ground.config, job.chroot.arch)
    # an expression is Slurm's business: then the largest node of all is the bound
    fitting = [s for s in ground.shapes if wanted in s.features] or list(ground.shapes)
    if not fitting:
        return None
    return Shape(frozenset(), max(s.cpus for s in fitting), max(s.memory for s in fitting))


def within(asked: Asked, largest: Shape | None) -> Asked:
    """The same with no more memory than any node has, and none where none is counted."""
    if largest is None:
        return asked
    memory = min(asked.memory, largest.memory) if largest.memory > 1 else 0
    return msgspec.structs.replace(asked, memory=memory)


def minutes_of(job: Job) -> int:
    """Minutes after which Slurm ends it, if it has not ended before; 0: the partition's own."""
    limit = job.chroot.timeout or job.limits.time
    return -(-(limit + _MARGIN) // 60) if limit else 0


def words_for(job: Job, asked: Asked, ground: Ground, output: str) -> tuple[str, ...]:
    """sbatch's options for an attempt; its output is appended to the file `output`."""
    config = ground.config
    largest = largest_of(job, ground)
    cpus = max(job.cpus, 1)
    if largest is not None:  # more than any node has would wait for ever
        cpus = min(cpus, max(largest.cpus, 1))
    words = [
        f"--job-name={name_of(job.attempt)}",
        f"--comment={ground.comment}",
        f"--output={_literal(output)}",
        "--open-mode=append",
        "--export=ALL",  # of the few that farm passes on, see farm.run
        "--chdir=/",
        "--no-requeue",
        "--nodes=1",
        "--ntasks=1",
        f"--cpus-per-task={cpus}",
        f"--nice={asked.nice}",
    ]
    if asked.memory:
        words.append(f"--mem={asked.memory}M")
    if minutes_of(job):
        words.append(f"--time={minutes_of(job)}")
    if job.avoid:
        words.append(f"--exclude={','.join(job.avoid)}")
    return (*words, *place_for(config, job.chroot.arch))


def place_for(config: Slurm, arch: str) -> tuple[str, ...]:
    """The options that say where in the cluster an architecture is built, and on whose account."""
    words = [f"--constraint={constraint(config, arch)}"]
    for option in ("partition", "account", "qos"):
        if getattr(config, option):
            words.append(f"--{option}={getattr(config, option)}")
    return (*words, *config.options)


def without_exclusion(words: Sequence[str]) -> tuple[str, ...]:
    """The same for any node: those to be avoided may be the only ones, or not of this cluster."""
    return tuple(word for word in words if not word.startswith("--exclude="))


def script_for(command: Sequence[str | Path]) -> str:
    """A batch script that becomes `command`, which so gets Slurm's signals itself."""
    return f"#!/bin/sh\nexec {shlex.join(map(str, command))}\n"


def _literal(path: str) -> str:
    """A path in which sbatch sees no pattern."""
    return path.replace("%", "%%")

"""Who does an attempt: one worker, the first that says so in the attempt's directory.

Engines may start an attempt twice (a batch system that was restarted, a job that was put back into
a queue). Only the worker that claims it works; whoever comes later ends at once. The coordinator
claims an attempt itself when it gives it up before anybody came.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from pathlib import Path

from farm.errors import StateError
from farm.model import Noun, from_json, to_json

FILE = "claim.json"
PLACE = "FARM_PLACE"  # in a worker's environment: what its engine calls this machine
NODE = "SLURMD_NODENAME"  # likewise, as Slurm sets it for its batch jobs
_NUMBER = "SLURM_JOB_ID"


class Claim(Noun, frozen=True):
    """`worker` is a name of its own, "" where the coordinator gave the attempt up; `place` is the
    machine as the engine calls it, `number` a batch system's number for the job."""

    worker: str
    place: str = ""
    host: str = ""
    pid: int = 0
    number: str = ""


def of_this_process() -> Claim:
    """What this process claims an attempt with."""
    host = socket.gethostname()
    place = os.environ.get(PLACE) or os.environ.get(NODE) or host
    return Claim(
        secrets.token_hex(16), place, host, os.getpid(), os.environ.get(_NUMBER, "")
    )  # fmt: skip


def take(directory: Path) -> Claim:
    """Claim the attempt in `directory` for this process. Raises StateError when it has one."""
    ours = of_this_process()
    if enter(directory, ours):
        return ours
    theirs = claimed(directory)
    who = f"by process {theirs.pid} on {theirs.place}" if theirs and theirs.pid else "by another"
    if theirs is not None and not theirs.worker:
        who = "and given up"
    raise StateError(
        f"the attempt {directory.name} was begun before, {who}",
        hint="An attempt is made once; `farm build` makes a new one.",
    )


def give_up(directory: Path) -> bool:
    """Have nobody begin the attempt any more; False when a worker has it already.

    Where nothing can be written (a full disk) somebody may still begin it, for nothing: the ledger
    takes results of attempts only that it knows as going.
    """
    with contextlib.suppress(OSError):
        if not enter(directory, Claim("")):
            there = claimed(directory)
            return there is not None and not there.worker
    return True


def claimed(directory: Path) -> Claim | None:
    """Whose the attempt is, None while it is nobody's. One that cannot be read is somebody's."""
    try:
        text = (directory / FILE).read_bytes()
    except FileNotFoundError:
        return None
    try:
        return from_json(Claim, text, where=FILE)
    except StateError:  # being written, or its writer was killed
        return Claim("unknown")


def enter(directory: Path, claim: Claim) -> bool:
    """Write a claim into an attempt's directory; False when there is one. Raises OSError, and then
    leaves none."""
    try:
        # exclusive on a network file system as well, which a lock need not be
        handle = os.open(directory / FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return False
    try:
        os.write(handle, to_json(claim))
        os.fsync(handle)
    except OSError:
        (directory / FILE).unlink()
        raise
    finally:
        os.close(handle)
    return True

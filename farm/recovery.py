"""Attempts that a killed coordinator left: what they finished counts, what goes on is taken over.

Nothing of this wants the coordinator to have ended well, and all of it may be interrupted itself:
an attempt is open in the ledger until its end and what came out are written together.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from pathlib import Path

from farm.config import Config
from farm.errors import StateError
from farm.ledger import Ledger
from farm.model import Failed, Going, Job, Outcome, WorkOrder, from_json
from farm.progress import Emit
from farm.published import published_before
from farm.rebuild import claim
from farm.rebuild.attempts import attempt_directory, keep_logs
from farm.rebuild.engines import Engine
from farm.rebuild.engines.files import AttemptFiles
from farm.rebuild.intake import Intake, Renamed, tidy
from farm.store import Store


def take_in(config: Config, ledger: Ledger, emit: Emit) -> None:
    """Record what attempts came to whose worker ended when no coordinator was there: as that
    would have done, so that they stand, and failures with them, before anything is decided."""
    state = config.path("state")
    over = [
        (going, job, outcome)
        for going in ledger.going()
        if (outcome := _outcome(state, going)) is not None
        and (job := _job(state, going)) is not None
    ]
    if not over:
        return
    intake = Intake(ledger, Store(state / "store"), state, published_before(config))
    for going, job, outcome in over:
        taken = intake.take(job, outcome)
        if isinstance(taken, Failed):
            text = f"{going.step} had failed when farm was stopped: {taken.message.splitlines()[0]}"
        elif isinstance(taken, Renamed):
            text = (
                f"{going.step} was built when farm was stopped, but {taken.nevra} is published "
                f"with other bytes: counter {taken.counter}"
            )
        else:
            text = f"{going.step} was built when farm was stopped: it is taken up"
        emit("note", text=text)


def take_over(config: Config, ledger: Ledger, engine: Engine, emit: Emit) -> dict[str, Job]:
    """The jobs of attempts that go on in the engine's hands, by step; all others are over.

    Of an attempt that is given up nothing counts any more, whoever should still work on it.
    """
    state, left = config.path("state"), ledger.going()
    on = engine.recover(left)
    take_in(config, ledger, emit)  # what ended while the engine was asked
    found: dict[str, Job] = {}
    for going in ledger.going():
        job = _job(state, going)
        if going.id in on and job is not None:
            found[going.step] = job  # of two, the newer one
    kept = {job.attempt for job in found.values()}
    _give_up(ledger, state, [each for each in ledger.going() if each.id not in kept], emit)
    return found


def going_on(config: Config, ledger: Ledger, wanted: Collection[str]) -> dict[str, Job]:
    """The jobs of attempts that run for this very coordinator, by step, when it begins a plan
    anew; those for steps that are not wanted any more count as ended."""
    state = config.path("state")
    jobs = [job for going in ledger.going() if (job := _job(state, going)) is not None]
    ledger.close(
        [job.attempt for job in jobs if job.step not in wanted], "it was not wanted any more"
    )
    return {job.step: job for job in jobs if job.step in wanted}


def _give_up(ledger: Ledger, state: Path, attempts: Sequence[Going], emit: Emit) -> None:
    for each in attempts:
        claim.give_up(attempt_directory(state, each.id))
    for name in ledger.close((each.id for each in attempts), "farm was stopped before it ended"):
        step = next(each.step for each in attempts if each.id == name)
        with contextlib.suppress(OSError):
            keep_logs(state, step, name)
        tidy(attempt_directory(state, name))
        emit("note", text=f"attempt {name} was cut short when farm was stopped; it counts as none")


def _job(state: Path, going: Going) -> Job | None:
    """What was to be done; None where that cannot be read, or is of another attempt."""
    with contextlib.suppress(OSError, StateError):
        text = (attempt_directory(state, going.id) / "job.json").read_bytes()
        job = from_json(WorkOrder, text).job
        if (job.attempt, job.step, job.key) == (going.id, going.step, going.key):
            return job
    return None


def _outcome(state: Path, going: Going) -> Outcome | None:
    return AttemptFiles(attempt_directory(state, going.id)).outcome()

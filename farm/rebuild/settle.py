"""A ready step becomes a decision, a decision an attempt, an outcome what counts.

The rules are in `rules`; here are their effects. What other stages know comes in as functions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from farm.errors import FarmError, MachineError
from farm.lazily import lazily
from farm.model import (
    Demand,
    Failed,
    Job,
    Lock,
    Outcome,
    Recipe,
    Result,
    Step,
    WorkOrder,
    to_json,
)
from farm.rebuild.attempts import attempt_directory, new_attempt_id
from farm.rebuild.decisions import Decision, Keep, Refuse, Run
from farm.rebuild.demand import after_a_mishap, way_of
from farm.rebuild.intake import Intake, Renamed
from farm.rebuild.keys import bare_vr
from farm.rebuild.rules import Inputs, Rules, Stages
from farm.store import write_atomic

with lazily():
    from farm.rebuild import diagnosis

__all__ = ["Inputs", "Settler", "Stages", "failed_by", "free_megabytes"]


def _one_core(_: Step) -> Demand:
    return Demand()


@dataclass(frozen=True, kw_only=True)
class Settler(Rules):
    """Decides for the steps of one run, and does what follows.

    `expect` says what a step will need. `recovered` are the jobs of attempts that an earlier
    coordinator began and that go on, by step: an attempt that fits is taken up.
    """

    builder: str
    cpus: int
    cores: Mapping[str, int] = field(default_factory=dict)  # of recipes: as many, and no more
    expect: Callable[[Step], Demand] = _one_core
    recovered: dict[str, Job] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)  # of those that this run began
    # steps that were begun again at once, because their files were damaged
    mended: set[str] = field(default_factory=set)

    def settle(self, step: Step, needs: Mapping[str, Result]) -> Decision:
        """Keep, run or refuse. An error of one step is that step's alone."""
        try:
            return self._settle(step, needs)
        except FarmError as error:
            return Refuse(failed_by(error))
        except OSError as error:  # a full disk, for one
            return _unprepared(step, error)

    def _settle(self, step: Step, needs: Mapping[str, Result]) -> Decision:
        decided = self.foresee(step, needs)
        going = self.recovered.pop(step.id, None)
        if (
            isinstance(decided, tuple)
            and going is not None
            and self._fits(step, decided[1].key, going)
        ):
            directory = self.attempt_directory(going.attempt)
            reason = self.reasons.get(step.id, "begun before farm was stopped")
            return Run(going, directory, reason, going=True)
        if going is not None:
            self.ledger.close([going.attempt], "it was not wanted any more when farm came back")
        if isinstance(decided, Refuse):
            return decided
        recipe = self.recipes[step.recipe]
        if self._scratch(step, needs):
            recipe = msgspec.structs.replace(recipe, scratch=True)
        if isinstance(decided, Keep):
            return self._kept(step, recipe, decided)
        lock, manifest, reason = decided
        self.stages.archive(lock)
        return self._run(step, recipe, lock, manifest.key, self.counter(step), reason)

    def _fits(self, step: Step, key: str, going: Job) -> bool:
        """Whether an attempt that goes on makes what is wanted."""
        same = going.key == key and going.counter == self.counter(step)
        return same and step.name not in self.force

    def _kept(self, step: Step, recipe: Recipe, keep: Keep) -> Keep:
        if recipe.scratch:
            return keep
        result = keep.result
        if result.scratch:  # the same inputs have been committed since
            result = msgspec.structs.replace(result, scratch=False, commit=recipe.commit)
            self.ledger.record(result)
        self.ledger.stand(step.id, result.key)
        return Keep(result, keep.reason)

    def begin(self, step: Step, run: Run, cores: int) -> Run | Refuse:
        """The attempt starts now, with so many cores: its job file is written, and the ledger
        knows of it before anybody works. Where there is no room for the file, it does not."""
        wanted = self.cores.get(step.recipe, cores)
        job = msgspec.structs.replace(run.job, cpus=max(1, wanted))
        order = WorkOrder(job, str(self.store.root), str(self.roots))
        try:
            write_atomic(run.directory / "job.json", to_json(order))
        except OSError as error:
            return _unprepared(step, error)
        self.ledger.begin_job(job, way=way_of(job.chroot))
        return Run(job, run.directory, run.reason)

    def finish(self, step: Step, job: Job, outcome: Outcome) -> Result | Failed | Run:
        """Record an outcome. Bytes that differ under a published NEVRA run again, counted up."""
        intake = Intake(self.ledger, self.store, self.state, self.published)
        taken = intake.take(job, outcome, bare_vr(self.evaluation(step), job.chroot))
        if isinstance(taken, Failed):
            return self._after_damage(step, job, taken)
        if not isinstance(taken, Renamed):
            return taken
        reason = f"{taken.nevra} was published with other bytes: counter {taken.counter}"
        # the counter is not in the key
        return self._run(step, job.recipe, job.lock, job.key, taken.counter, reason)

    def again(self, step: Step, job: Job, failed: Failed, tries: int, place: str) -> Run | None:
        """A new attempt at the same, after one that met with a mishap on the machine `place`:
        elsewhere if there is one, with more memory if that ran out. None where it would only fail
        again: the store has lost a file that nobody but a build makes."""
        if not all(name in self.store for name in _files_of(job)):
            return None
        avoid = tuple(dict.fromkeys((*job.avoid, place))) if place else job.avoid
        demand = job.demand
        if diagnosis.ran_out(failed):
            demand = after_a_mishap(job.demand, failed.usage.memory)
        new = msgspec.structs.replace(
            job, attempt=new_attempt_id(), avoid=avoid, demand=demand, limits=self.limits_of(step)
        )
        what = failed.message.partition("\n")[0]
        return Run(new, self.attempt_directory(new.attempt), f"attempt {tries + 1}: {what}")

    def _after_damage(self, step: Step, job: Job, failed: Failed) -> Failed | Run:
        """A failure that damage of the store explains: with whole files the attempt is made again,
        once; a disk that goes on damaging them is a mishap like any other.

        A worker reads every byte of its build root's packages, which nobody else does. Once
        rpmbuild runs, it has read them.
        """
        if failed.kind != "infrastructure" or failed.phase.startswith("%"):
            return failed
        if diagnosis.ran_out(failed):
            return failed
        damaged = [name for name in _files_of(job) if not self._sound(name, anew=True)]
        if not damaged or step.id in self.mended:
            return failed
        self.mended.add(step.id)
        wanted = (*job.lock.packages, *job.setup_lock.packages)
        layer = next((p for p in wanted if not p.location and p.sha256 not in self.store), None)
        if layer is not None:
            hint = f"{layer.nevra} is made again by the same command."
            return msgspec.structs.replace(failed, hint=hint)
        try:
            self.stages.archive(job.lock)
            return self._run(
                step, job.recipe, job.lock, job.key, job.counter, "a file of its was damaged"
            )
        except FarmError as error:
            return failed_by(error)

    def attempt_directory(self, attempt: str) -> Path:
        return attempt_directory(self.state, attempt)

    def _run(
        self, step: Step, recipe: Recipe, lock: Lock, key: str, counter: int, reason: str
    ) -> Run:
        srpm = self.stages.srpm(recipe, counter, step.bootstrap)
        job = Job(
            attempt=new_attempt_id(),
            step=step.id,
            recipe=recipe,
            chroot=self.chroot(step),
            lock=lock,
            setup_lock=self.setup_locks[step.chroot],
            counter=counter,
            key=key,
            epoch_seconds=self.evaluation(step).epoch_seconds,
            inputs=self.stages.inputs(recipe),
            srpm=srpm.sha256,
            cpus=self.cpus,
            limits=self.limits_of(step),
            builder=self.builder,
            demand=self.expect(step),
        )
        return Run(job, self.attempt_directory(job.attempt), reason)


def _files_of(job: Job) -> list[str]:
    """What of the store a worker reads for a job."""
    packages = {package.sha256 for package in (*job.lock.packages, *job.setup_lock.packages)}
    return sorted((packages | {sha256 for _, sha256 in job.inputs} | {job.srpm}) - {""})


def _unprepared(step: Step, error: OSError) -> Refuse:
    hint = "`farm doctor` says what this machine lacks."
    what = f"{step.recipe} could not be prepared: {error.strerror or error}"
    return Refuse(failed_by(MachineError(what, why=str(error), hint=hint)))


def failed_by(error: FarmError) -> Failed:
    """A user's error as the outcome of a step."""
    kind = "package" if error.code in (1, 4, 5) else "infrastructure"
    return Failed(
        kind,  # type: ignore[arg-type]
        error.what,
        tuple(error.why.splitlines()),
        phase="prepare",
        hint=error.hint,
    )


def free_megabytes(path: Path) -> int:
    """Free space where `path` is or will be."""
    while not path.exists():
        path = path.parent
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize >> 20

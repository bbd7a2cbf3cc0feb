"""A ready step becomes a decision, an outcome becomes what counts.

Here live the rules of the key, of the release's policy and of the rebuild counter (docs/design.md,
"When something is rebuilt"). What other stages know comes in as functions.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from farm.errors import FarmError
from farm.ledger import Ledger
from farm.model import (
    Built,
    Chroot,
    Evaluation,
    Failed,
    Job,
    Limits,
    Lock,
    Manifest,
    Nevra,
    Outcome,
    Package,
    Problem,
    Recipe,
    Result,
    Step,
    WorkOrder,
    to_json,
)
from farm.model.provenance import portable
from farm.rebuild.attempts import attempt_directory, keep_logs, new_attempt_id
from farm.rebuild.changes import of_lock, summed_up
from farm.rebuild.keys import (
    RECIPE_NUMBER,
    bare_vr,
    bytes_of,
    changed_input,
    changed_of_itself,
    manifest_of,
)
from farm.rebuild.scheduler import Decision, Ending, Keep, Refuse, Run
from farm.steps import bootstrap_name, recipe_of
from farm.store import Store, write_atomic

Inputs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Stages:
    """What the other stages can do for us."""

    lock: Callable[[Step, Evaluation, Mapping[str, Result]], Lock | Problem]
    archive: Callable[[Lock], None]  # every package of the lock into the store
    inputs: Callable[[Recipe], Inputs]  # verified sources and spec files, in the store
    # the canonical one for this counter, in the store; that of the bootstrap, if so asked
    srpm: Callable[[Recipe, int, bool], Package]
    # why the packages of a result do not fit beside these results any more, or ""
    misfit: Callable[[Step, Result, Mapping[str, Result]], str]
    # digest of the lock, where it is known without asking the solver, else ""
    solved: Callable[[Step, Evaluation, Mapping[str, Result]], str] = lambda *_: ""
    # whether the store has a file, whole; one that is not is taken out. `anew`: read it again
    sound: Callable[..., bool] | None = None


@dataclass(frozen=True)
class Settler:
    """Decides for the steps of one run."""

    ledger: Ledger
    store: Store
    state: Path
    roots: Path
    recipes: Mapping[str, Recipe]
    chroots: Mapping[str, Chroot]
    evaluations: Mapping[tuple[str, str], Evaluation | Problem]  # (name of a step, chroot)
    setup_locks: Mapping[str, Lock]
    published: Mapping[tuple[str, str], str]  # (step, NEVRA) → sha256 before signing
    stages: Stages
    policy: str
    builder: str
    cpus: int
    limits: Limits
    force: frozenset[str] = frozenset()  # recipes to build whatever the key says
    # of chroots (name, whether bootstrapping), each made once
    digests: dict[tuple[str, bool], str] = field(default_factory=dict)

    def settle(self, step: Step, needs: Mapping[str, Result]) -> Decision:
        """Keep, run or refuse. An error of one step is that step's alone."""
        try:
            return self._settle(step, needs)
        except FarmError as error:
            return Refuse(failed_by(error))

    def _settle(self, step: Step, needs: Mapping[str, Result]) -> Decision:
        decided = self.foresee(step, needs)
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

    def _kept(self, step: Step, recipe: Recipe, keep: Keep) -> Keep:
        if recipe.scratch:
            return keep
        result = keep.result
        if result.scratch:  # the same inputs have been committed since
            result = msgspec.structs.replace(result, scratch=False, commit=recipe.commit)
            self.ledger.record(result)
        self.ledger.stand(step.id, result.key)
        return Keep(result, keep.reason)

    def foresee(
        self, step: Step, needs: Mapping[str, Result]
    ) -> Keep | Refuse | tuple[Lock, Manifest, str]:
        """The decision without any of its effects: kept, refused, or lock, manifest, reason."""
        evaluation = self.evaluation(step)
        solved = self.stages.solved(step, evaluation, needs)
        scratch = self._scratch(step, needs)
        if solved and step.name not in self.force:
            same = self._same(step, self._manifest(step, solved), scratch)
            if same is not None:
                return same
        lock = self.stages.lock(step, evaluation, needs)
        if isinstance(lock, Problem):
            fact, *more = lock.facts
            what = f"{step.recipe} cannot be built on {step.chroot}: {fact}"
            hint = lock.remedy or (
                f"Correct {self.recipes[step.recipe].spec}, or add what it needs to the layer; "
                f"`farm check {step.recipe}` tells when it fits."
            )
            return Refuse(Failed("package", what, tuple(more), phase="lock", hint=hint))
        recipe, chroot = self.recipes[step.recipe], self.chroot(step)
        manifest = self._manifest(step, lock.digest)
        if step.name in self.force:
            return lock, manifest, "asked for"
        same = self._same(step, manifest, scratch)
        if same is not None:
            return same
        certain = self.certain(step)
        if certain:
            return lock, manifest, certain
        standing = self.ledger.standing(step.id)
        assert standing is not None
        first_level = frozenset(
            package.nevra.name
            for need in step.direct
            # what it put out itself triggers nothing
            if need in needs and need != bootstrap_name(step.recipe)
            for package in needs[need].built.packages
        )
        because = changed_input(standing, recipe, chroot, lock, first_level, self.policy)
        if not because and self.policy == "direct":
            because = self._vanished(standing, lock)
        if because:
            return lock, manifest, because
        because = self.stages.misfit(step, standing, needs)
        if because:
            return lock, manifest, because
        return Keep(standing, f"policy {self.policy}: nothing that counts has changed")

    def _vanished(self, standing: Result, lock: Lock) -> str:
        """Which package of the layer it was built with nobody makes any more, in words, or "".

        What took its place is not of the layer, so no bytes of the layer differ.
        """
        now = {p.nevra.name for p in lock.packages if p.of_layer}
        lost = [p for p in standing.lock.packages if p.of_layer]
        lost = [package for package in lost if package.nevra.name not in now]
        if not lost:
            return ""
        theirs = [r for r in self.ledger.standings() if recipe_of(r.step) in self.recipes]
        made = {package.nevra.name for each in theirs for package in each.built.packages}
        gone = [package for package in lost if package.nevra.name not in made]
        return f"{gone[0].nevra} is not of the layer any more" if gone else ""

    def certain(self, step: Step) -> str:
        """Why a step whose inputs are not those of an earlier build is built whatever its needs
        turn out to be, or ""."""
        if step.name in self.force:
            return "asked for"
        counter, standing = self.counter(step), self.ledger.standing(step.id)
        if standing is None or not self._whole(standing):
            return "never built" if standing is None else "its files are gone"
        if standing.counter != counter:
            return f"the rebuild counter moved to {counter}"
        return changed_of_itself(standing, self.recipes[step.recipe], self.chroot(step))

    def certain_of_base(self, step: Step, needs: Mapping[str, Result]) -> str:
        """Why packages of the base have a step built again whatever bytes its needs will have, in
        a build root like that over `needs`, or "": only the policy `full` asks for that."""
        standing = self.ledger.standing(step.id)
        if self.policy != "full" or standing is None:
            return ""
        lock = self.stages.lock(step, self.evaluation(step), needs)
        if isinstance(lock, Problem):
            return ""
        base = _of_base(lock)
        if any(_of_base(each.lock) == base for each in self.ledger.results_of(step.id)):
            return ""
        return summed_up(of_lock(_of_base(standing.lock), base), most=1)

    def built_before(self, step: Step) -> bool:
        """Whether an earlier build may turn out to be what is wanted: its recipe as it is now, in
        its chroot as that is now."""
        now, counter = self._manifest(step, ""), self.counter(step)
        return step.name not in self.force and any(
            msgspec.structs.replace(result.manifest, lock="") == now
            and result.counter == counter
            and self._whole(result)
            for result in self.ledger.results_of(step.id)
        )

    def _scratch(self, step: Step, needs: Mapping[str, Result]) -> bool:
        """Whether a build of this step would be one: what is built with such a package is, too."""
        return self.recipes[step.recipe].scratch or any(need.scratch for need in needs.values())

    def _same(self, step: Step, manifest: Manifest, scratch: bool) -> Keep | None:
        """What was built under this very key, if it can count: for a scratch build a name that
        was published with other bytes is no obstacle."""
        same = self.ledger.result(manifest.key)
        if (
            same is not None
            and same.counter == self.counter(step)
            and self._whole(same)
            and (scratch or not self._others_published(step, same.built))
        ):
            return Keep(same, "same inputs")
        return None

    def _manifest(self, step: Step, lock: str) -> Manifest:
        """What the key of this step is the hash of, with a lock of that digest."""
        name = (step.chroot, step.bootstrap)
        if name not in self.digests:
            self.digests[name] = self.chroot(step).digest
        recipe = self.recipes[step.recipe].digest
        return Manifest(recipe, lock, self.digests[name], RECIPE_NUMBER)

    def finish(self, step: Step, job: Job, outcome: Outcome) -> Result | Failed | Run:
        """Record an outcome. Bytes that differ under a published NEVRA run again, counted up."""
        directory = self.attempt_directory(job.attempt)
        keep_logs(self.state, step, job.attempt)
        if not isinstance(outcome, Built):
            failed = outcome if isinstance(outcome, Failed) else Failed("package", str(outcome))
            self.ledger.end(job.attempt, failed)
            return self._after_damage(step, job, failed)
        try:
            for package in outcome.packages:
                self.store.put(
                    directory / "results" / package.nevra.filename, sha256=package.sha256, link=True
                )
        except (OSError, FarmError) as error:
            failed = Failed("infrastructure", f"the results could not be stored: {error}")
            self.ledger.end(job.attempt, failed)
            return failed
        self.ledger.end(job.attempt, outcome)
        self._tidy(step, directory)
        again = self._under_a_new_counter(step, job, outcome)
        if again is not None:
            return again
        result = self._result(step, job, outcome)
        known = self.ledger.result(result.key) if result.scratch else None
        if known is None or known.scratch:  # trying something takes nothing back that counts
            self.ledger.record(result, stands=not result.scratch)
        return result

    def _after_damage(self, step: Step, job: Job, failed: Failed) -> Failed | Run:
        """A failure that damage of the store explains: with whole files the attempt is made again.

        A worker reads every byte of its build root's packages, which nobody else does.
        """
        if failed.kind != "infrastructure":
            return failed
        wanted = [*job.lock.packages, *job.setup_lock.packages]
        names = {p.sha256 for p in wanted} | {sha256 for _, sha256 in job.inputs} | {job.srpm}
        damaged = [name for name in sorted(names - {""}) if not self._sound(name, anew=True)]
        if not damaged:
            return failed
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

    def evaluation(self, step: Step) -> Evaluation:
        """What rpm said of this step's recipe. Steps with a problem never come here."""
        evaluation = self.evaluations[step.name, step.chroot]
        assert isinstance(evaluation, Evaluation)
        return evaluation

    def chroot(self, step: Step) -> Chroot:
        """The chroot that a step is built in, its build conditions with it."""
        chroot = self.chroots[step.chroot]
        return chroot.bootstrapping if step.bootstrap else chroot

    def counter(self, step: Step) -> int:
        """The rebuild counter in force for this step's source package.

        There is none for a bootstrap: no two that are published could have the same NEVRA.
        """
        if step.bootstrap:
            return 0
        chroot = self.chroots[step.chroot]
        vr = bare_vr(self.evaluation(step), chroot)
        return self.ledger.counter(chroot.release, step.recipe, vr)

    def still_good(self, endings: Sequence[Ending]) -> tuple[Ending, ...]:
        """The endings that a counter which moved meanwhile leaves as they are.

        A step is to be walked again when its result has another counter than is in force now,
        and with it whatever needs it.
        """
        moved = {
            ending.step.id
            for ending in endings
            if ending.result is not None and ending.result.counter != self.counter(ending.step)
        }
        return tuple(
            ending
            for ending in endings
            if ending.step.id not in moved
            and not any(f"{need}@{ending.step.chroot}" in moved for need in ending.step.awaited)
        )

    def stays(self, step: Step, needs: Mapping[str, Result], result: Result) -> bool:
        """Whether a step that has this result would keep it, were it settled with these needs."""
        try:
            decided = self.foresee(step, needs)
        except FarmError:
            return False
        return isinstance(decided, Keep) and decided.result.key == result.key

    def unforced(self) -> Settler:
        """The same rules without anything asked for by force."""
        return replace(self, force=frozenset())

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
            limits=self.limits,
            builder=self.builder,
        )
        directory = self.attempt_directory(job.attempt)
        order = WorkOrder(job, str(self.store.root), str(self.roots))
        write_atomic(directory / "job.json", to_json(order))
        self.ledger.begin(job.attempt, step.id, job.key)
        return Run(job, directory, reason)

    def _under_a_new_counter(self, step: Step, job: Job, built: Built) -> Run | None:
        if job.recipe.scratch:
            return None
        others = self._others_published(step, built)
        if not others:
            return None
        vr = bare_vr(self.evaluation(step), job.chroot)
        counter = job.counter + 1
        self.ledger.set_counter(job.chroot.release, step.recipe, vr, counter)
        reason = f"{others[0]} was published with other bytes: counter {counter}"
        # the counter is not in the key
        return self._run(step, job.recipe, job.lock, job.key, counter, reason)

    def _others_published(self, step: Step, built: Built) -> list[Nevra]:
        """Packages whose NEVRA this step has published with other bytes."""
        return [
            package.nevra
            for package in built.packages
            if self.published.get((step.id, str(package.nevra)), package.sha256) != package.sha256
        ]

    def _result(self, step: Step, job: Job, built: Built) -> Result:
        standing = self.ledger.standing(step.id)
        if standing is not None and bytes_of(standing.built) == bytes_of(built):
            # the binaries stayed the same, so the source package that was published stays too
            built = msgspec.structs.replace(built, srpm=standing.built.srpm)
        built = msgspec.structs.replace(built, host=(("farm", _version()), *built.host))
        return Result(
            key=job.key,
            step=step.id,
            manifest=manifest_of(job.recipe, job.lock, job.chroot),
            lock=job.lock,
            recipe_files=job.recipe.files,
            counter=job.counter,
            commit=job.recipe.commit,
            built=built,
            finished=time.time(),
            scratch=job.recipe.scratch,
            bootstrap=step.bootstrap,
            chroot=portable(job.chroot),
            inputs=job.inputs,
            spec=job.recipe.spec,
            epoch_seconds=job.epoch_seconds,
        )

    def _whole(self, result: Result) -> bool:
        packages = (*result.built.packages, result.built.srpm)
        damaged = [package for package in packages if not self._sound(package.sha256)]
        return not damaged

    def _sound(self, sha256: str, *, anew: bool = False) -> bool:
        if self.stages.sound is None:
            return sha256 in self.store
        return self.stages.sound(sha256, anew=anew)

    def _tidy(self, step: Step, directory: Path) -> None:
        """Of the last attempt the job file stays, for `farm shell`; of earlier ones nothing."""
        shutil.rmtree(directory / "results", ignore_errors=True)
        (directory / "build.log").unlink(missing_ok=True)
        for attempt in self.ledger.attempts(step.id):
            earlier = self.attempt_directory(attempt.id)
            if earlier != directory:
                shutil.rmtree(earlier, ignore_errors=True)


def _of_base(lock: Lock) -> Lock:
    return Lock(tuple(package for package in lock.packages if not package.of_layer))


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - a run that builds nothing needs none

    return version("farm")


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

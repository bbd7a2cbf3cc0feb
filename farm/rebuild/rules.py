"""When something is built: the rules of the key, of the release's policy and of the rebuild counter
(docs/design.md, "When something is rebuilt"), and of failures that stand.

Nothing here has an effect. What other stages know comes in as functions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import msgspec

from farm.errors import FarmError
from farm.ledger import Ledger
from farm.model import (
    Chroot,
    Evaluation,
    Failed,
    Limits,
    Lock,
    Manifest,
    Package,
    Problem,
    Recipe,
    Result,
    Step,
)
from farm.rebuild.changes import of_lock, summed_up
from farm.rebuild.decisions import Ending, Keep, Refuse
from farm.rebuild.intake import others_published
from farm.rebuild.keys import RECIPE_NUMBER, bare_vr, changed_input, changed_of_itself
from farm.steps import bootstrap_name, recipe_of
from farm.store import Store

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


def _whatever(_: Step) -> bool:
    return True


@dataclass(frozen=True)
class Rules:
    """Decides for the steps of one run.

    `tries_again` says of a step whether it is built although it failed before with the same
    inputs; what failed since this run began (`since`, seconds since 1970) is not, whatever it says.
    """

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
    limits: Callable[[str, int], Limits]  # of a recipe, in a chroot that allows so many seconds
    force: frozenset[str] = frozenset()  # recipes to build whatever the key says
    tries_again: Callable[[Step], bool] = _whatever
    since: float = field(default_factory=time.time)
    # of chroots (name, whether bootstrapping), each made once
    digests: dict[tuple[str, bool], str] = field(default_factory=dict)

    def foresee(
        self, step: Step, needs: Mapping[str, Result]
    ) -> Keep | Refuse | tuple[Lock, Manifest, str]:
        """The decision without any of its effects: kept, refused, or lock, manifest, reason."""
        decided = self._foresee(step, needs)
        if isinstance(decided, Keep | Refuse):
            return decided
        failed = self.stands_failed(step, decided[1].key)
        return decided if failed is None else Refuse(failed)

    def _foresee(
        self, step: Step, needs: Mapping[str, Result]
    ) -> Keep | Refuse | tuple[Lock, Manifest, str]:
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
            and (scratch or not others_published(self.published, step.id, same.built))
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

    def unforced(self) -> Self:
        """The same rules without anything asked for by force."""
        return replace(self, force=frozenset())

    def _whole(self, result: Result) -> bool:
        packages = (*result.built.packages, result.built.srpm)
        damaged = [package for package in packages if not self._sound(package.sha256)]
        return not damaged

    def _sound(self, sha256: str, *, anew: bool = False) -> bool:
        if self.stages.sound is None:
            return sha256 in self.store
        return self.stages.sound(sha256, anew=anew)

    def limits_of(self, step: Step) -> Limits:
        """What an attempt of this step may use."""
        return self.limits(step.recipe, self.chroots[step.chroot].timeout)

    def stands_failed(self, step: Step, key: str) -> Failed | None:
        """The failure that stands under this key: the package's own, or a limit that was hit and
        has not been raised since. It is told, and not tried again."""
        found = self.ledger.last_at(step.id, key)
        if found is None or step.name in self.force:
            return None
        (last, limits), now = found, self.limits_of(step)
        failed = last.outcome
        if not isinstance(failed, Failed) or (last.started < self.since and self.tries_again(step)):
            return None
        if failed.kind == "limit" and (limits is None or _raised(limits, now, failed.limit)):
            return None
        same = "inputs and limits" if failed.kind == "limit" else "inputs"
        day = time.strftime("%Y-%m-%d", time.localtime(last.ended))
        return msgspec.structs.replace(
            failed,
            message=f"failed before with the same {same}, {day}: {failed.message}",
            hint=f"`--retry-failed` tries it again; `farm log {step.recipe}` shows what was said.",
            seconds=0.0,
        )


def _of_base(lock: Lock) -> Lock:
    return Lock(tuple(package for package in lock.packages if not package.of_layer))


def _raised(before: Limits, now: Limits, name: str) -> bool:
    """Whether the limit that was hit (any, where it is not known which) allows more now."""
    names = (name,) if name else ("time", "silence", "memory", "disk")
    pairs = ((getattr(before, each), getattr(now, each)) for each in names)
    return any(old and (not new or new > old) for old, new in pairs)

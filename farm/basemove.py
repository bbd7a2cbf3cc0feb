"""Moving the pin of a release's base: first what that would break, rebuild and leave."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import solv

from farm.bases import PINNED, PRESENT, other_base, pin_directory
from farm.checks import compared, opener
from farm.errors import FarmError
from farm.model import LAYER, Chroot, Evaluation, Lock
from farm.plan.fit.compare import Comparison
from farm.plan.fit.view import View
from farm.plan.metadata.pins import Pin, keep_pin
from farm.plan.planner import exclusion
from farm.plan.solver import resolve
from farm.plan.universe import Universe
from farm.survey import Survey


@dataclass(frozen=True)
class BaseChange:
    """What a newer state of the base brings to one chroot and takes from it (NEVRAs), and what
    that means for the layer; `unclear` says why the layer could not be asked."""

    chroot: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    altered: tuple[str, ...] = ()  # with other bytes under the same name
    comparison: Comparison | None = None
    rebuilds: tuple[str, ...] = ()  # recipes that the next `farm build` would build, by the policy
    roots: tuple[str, ...] = ()  # recipes whose build root would be another one
    leaves: int = 0  # recipes that stay as they are
    unclear: str = ""


def move_base(survey: Survey, *, dry_run: bool) -> tuple[BaseChange, ...]:
    """The base's present state, compared with the pinned one and then pinned in its place."""
    return tuple(_moved(survey, chroot, dry_run=dry_run) for chroot in survey.chroots)


def _moved(survey: Survey, chroot: Chroot, *, dry_run: bool) -> BaseChange:
    old = other_base(survey.config, chroot, (PINNED,))
    new = other_base(survey.config, chroot, (PRESENT,))
    change = _change(survey, chroot, old, new)
    if not dry_run:
        for pin in new:
            keep_pin(pin, pin_directory(survey.state, chroot, pin.repository))
    return change


def _change(
    survey: Survey, chroot: Chroot, old: tuple[Pin, ...], new: tuple[Pin, ...]
) -> BaseChange:
    before, after = (
        _everything(Universe.open(chroot, pins, survey.state / "solv")) for pins in (old, new)
    )
    added, removed = (
        tuple(sorted(here.keys() - there.keys()))
        for here, there in ((after, before), (before, after))
    )
    altered = tuple(n for n in sorted(before.keys() & after.keys()) if before[n] != after[n])
    try:
        here, there = opener(survey, chroot), opener(survey, chroot, new)
        comparison = compared(survey, here, there)
        roots = frozenset(_other_roots(survey, here(frozenset()), there(frozenset())))
    except FarmError as error:
        # an old state that nothing can be built on any more must not keep the pin from moving
        return BaseChange(chroot.name, added, removed, altered, unclear=error.what)
    stale = {name for verdict in comparison.rebuilds for name in verdict.missing}
    policy = survey.config.release(survey.release)[1].policy
    rebuilds = stale | roots if policy == "full" else stale
    built = {recipe for recipe in survey.recipes if survey.ledger.standing(_step(recipe, chroot))}
    return BaseChange(
        chroot.name, added, removed, altered, comparison,
        tuple(sorted(rebuilds & built)), tuple(sorted(roots)), len(built - rebuilds),
    )  # fmt: skip


def _step(recipe: str, chroot: Chroot) -> str:
    return f"{recipe}@{chroot.name}"


def _everything(universe: Universe) -> dict[str, set[str]]:
    """NEVRA → checksums of every package of the base."""
    found: dict[str, set[str]] = {}
    for solvable in universe.pool.solvables_iter():
        if solvable.repo.name != LAYER:
            checksum = solvable.lookup_checksum(solv.SOLVABLE_CHECKSUM)
            found.setdefault(str(solvable), set()).add(checksum.hex() if checksum else "")
    return found


def _other_roots(survey: Survey, old: View, new: View) -> Iterator[str]:
    """Recipes whose build root would hold other packages."""
    for recipe in sorted(survey.recipes):
        evaluation = survey.evaluations[recipe, old.chroot.name]
        if not isinstance(evaluation, Evaluation) or exclusion(evaluation, old.chroot.arch):
            continue
        locks = [_lock(view, evaluation) for view in (old, new)]
        if locks[0] != locks[1]:
            yield recipe


def _lock(view: View, evaluation: Evaluation) -> str:
    lock = resolve(
        view.universe, view.chroot, evaluation.build_requires, evaluation.build_conflicts
    )
    return lock.digest if isinstance(lock, Lock) else ""

"""The layer over its base as it stands at one moment, and the plan that is made from that."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from farm.errors import StateError
from farm.lazily import lazily
from farm.ledger import Ledger
from farm.model import (
    Chroot,
    Evaluation,
    Nevra,
    Plan,
    Problem,
    Recipe,
    Step,
    digest_of,
    from_json,
    to_json,
)
from farm.plan.fit.contribution import Contribution
from farm.plan.metadata.pins import Pin
from farm.plan.planner import Evaluations, exclusion, make_plan
from farm.plan.rules import rules
from farm.steps import bootstrap_name
from farm.store import Store, forget_oldest, mark_used, write_atomic

with lazily():  # a plan that is remembered asks neither
    from farm.plan import needed
    from farm.plan.fit import view

_PLANS_KEPT = 16

Evaluate = Callable[[Chroot, Sequence[Recipe]], Mapping[str, Evaluation | Problem]]


@dataclass(frozen=True)
class Overview:
    """What stands of each recipe, and what rpm says of those that are not built as they are."""

    ledger: Ledger
    store: Store
    cache: Path
    recipes: Mapping[str, Recipe]
    chroots: tuple[Chroot, ...]
    evaluations: Evaluations
    evaluate: Evaluate
    pins: Callable[[Chroot], tuple[Pin, ...]]
    # (name of a bootstrap, chroot): read when a cycle is to be broken
    bootstraps: dict[tuple[str, str], Evaluation | Problem] = field(default_factory=dict)
    views: dict[tuple[str, frozenset[str], str], view.View] = field(default_factory=dict)

    def renewed(self) -> Overview:
        """The same at a later moment."""
        return replace(self, views={})

    def plan(self, names: Sequence[str]) -> Plan:
        """The steps for `names` and what they need.

        The same question about the same state is answered from the last time: libsolv is asked
        for every recipe of the layer otherwise. A plan with a bootstrap is made each time.
        """
        kept = self.cache / f"plan-{self._question(names)[:32]}.json"
        with contextlib.suppress(FileNotFoundError, StateError):  # damaged: made again
            known = from_json(Plan, kept.read_bytes(), where=str(kept))
            mark_used(kept)
            return known
        plan = make_plan(
            names, self.chroots, self.evaluations, needed.Needed(self, self.evaluations)
        )
        if not self.bootstraps:
            write_atomic(kept, to_json(plan))
            forget_oldest(self.cache.glob("plan-*.json"), _PLANS_KEPT)
        return plan

    def _question(self, names: Sequence[str]) -> str:
        """What names all that a plan follows from."""
        states = tuple(
            (
                chroot, chroot.digest,
                tuple((p.revision, p.addresses, p.repository) for p in self.pins(chroot)),
                tuple(_facts(each) for each in self.contributions(chroot)),
            )
            for chroot in self.chroots
        )  # fmt: skip
        return digest_of(
            (rules(), tuple(names), states, tuple(sorted(self.evaluations.items(), key=_name)))
        )

    def view(
        self, chroot: Chroot, booting: frozenset[str] = frozenset(), without: str = ""
    ) -> view.View:
        """Base and layer in one universe.

        Recipes in `booting` are there as their bootstraps have them, one may be left out.
        """
        key = (chroot.name, booting, without)
        if key not in self.views:
            those = (c for c in self.contributions(chroot, booting) if c.recipe != without)
            self.views[key] = view.View.open(chroot, self.pins(chroot), self.cache, those)
        return self.views[key]

    def contributions(
        self, chroot: Chroot, booting: frozenset[str] = frozenset()
    ) -> Iterator[Contribution]:
        """Of each recipe that is for this architecture; of one that rpm refuses, its last build."""
        digests = {False: chroot.digest, True: chroot.bootstrapping.digest if booting else ""}
        for name, recipe in sorted(self.recipes.items()):
            reading = self.reading(chroot, name, bootstrap=name in booting)
            evaluation = None if isinstance(reading, Problem) else reading
            if evaluation is not None and exclusion(evaluation, chroot.arch):
                continue
            step = Step(name, chroot.name, (), bootstrap=name in booting)
            standing = self.ledger.standing(step.id)
            if standing is None and not step.bootstrap:
                # its bootstrap tells what it will probably provide, as an earlier build would
                standing = self.ledger.standing(f"{bootstrap_name(name)}@{chroot.name}")
            built = standing.built.packages if standing is not None else ()
            here = tuple((p, self.store.path(p.sha256)) for p in built if p.sha256 in self.store)
            current = (
                evaluation is not None
                and standing is not None
                and len(here) == len(built)
                and standing.manifest.recipe == recipe.digest
                and standing.manifest.chroot == digests[step.bootstrap]
            )
            yield Contribution(name, evaluation, here, current)

    def reading(self, chroot: Chroot, recipe: str, bootstrap: bool) -> Evaluation | Problem:
        """What rpm says of a recipe, with or without its build condition `bootstrap`.

        Of a spec that finds out BuildRequires by itself, with those that it found last.
        """
        where = chroot.bootstrapping if bootstrap else chroot
        if bootstrap:
            key = (bootstrap_name(recipe), chroot.name)
            if key not in self.bootstraps:
                answers = self.evaluate(where, (self.recipes[recipe],))
                self.bootstraps[key] = answers[recipe]
            said = self.bootstraps[key]
        else:
            said = self.evaluations[recipe, chroot.name]
        if isinstance(said, Problem) or not said.dynamic:
            return said
        found = self.ledger.evaluation(_found_last(self.recipes[recipe], where))
        more = found.build_requires if found is not None else ()
        together = tuple(dict.fromkeys((*said.build_requires, *more)))
        return msgspec.structs.replace(said, build_requires=together)


def _facts(contribution: Contribution) -> tuple[object, ...]:
    packages = tuple((str(p.nevra), p.sha256, p.debug) for p, _ in contribution.packages)
    return (
        contribution.recipe, contribution.evaluation, packages,
        contribution.current, contribution.stale,
    )  # fmt: skip


def _name(item: tuple[tuple[str, str], object]) -> tuple[str, str]:
    return item[0]


def remember_found(
    ledger: Ledger, recipe: Recipe, chroot: Chroot, build_requires: Sequence[str]
) -> None:
    """Keep for the next plan what a spec found out by itself; a lock is never made from it."""
    nevra = Nevra(recipe.name, 0, "", "", "src")
    found = Evaluation(nevra, (), tuple(build_requires))
    ledger.remember_evaluation(_found_last(recipe, chroot), found)


def _found_last(recipe: Recipe, chroot: Chroot) -> str:
    return digest_of(("found", recipe.digest, chroot.digest))

"""The layer over two states of its base: what breaks, what is mended, what stays as it is.

An answer of the old base is a witness: packages that can be installed together. While none of
them changed, and no changed package offers anything that was asked for, it is an answer of the
new base as well, and nothing is solved again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec

from farm.model import Group, Lock, Problem, Verdict
from farm.plan.fit.blame import Bases
from farm.plan.fit.check import (
    Evaluations,
    installations,
    layer_verdicts,
    question,
)
from farm.plan.fit.view import View
from farm.plan.planner import exclusion
from farm.plan.solver import installable, resolve

OpenView = Callable[[frozenset[str]], View]


@dataclass(frozen=True)
class Comparison:
    """Verdicts over the other base, beside those over the present one."""

    chroot: str
    changed: tuple[str, ...]  # packages of the base, one sentence each
    before: tuple[Verdict, ...]
    after: tuple[Verdict, ...]
    asked: tuple[str, ...]  # recipes that a changed package can touch: only they were solved

    @property
    def breaks(self) -> tuple[Verdict, ...]:
        """What is in order now and would be broken."""
        return self._turned("broken")

    @property
    def rebuilds(self) -> tuple[Verdict, ...]:
        """What is in order now and would merely have to be built again."""
        return self._turned("rebuild")

    @property
    def mended(self) -> tuple[Verdict, ...]:
        """What is broken now and would be in order."""
        bad = {question(verdict) for verdict in self.before if verdict.state == "broken"}
        good = tuple(v for v in self.after if v.state != "broken" and question(v) in bad)
        there = {question(verdict) for verdict in self.after}
        return good + tuple(v for v in self.before if v.problem and question(v) not in there)

    def _turned(self, state: str) -> tuple[Verdict, ...]:
        same = {question(verdict) for verdict in self.before if verdict.state == state}
        return tuple(v for v in self.after if v.state == state and question(v) not in same)


def compare(
    before: OpenView,
    now: OpenView,
    evaluations: Evaluations,
    groups: Sequence[Group],
    names: Iterable[str],
    sound: Callable[[View], Sequence[Verdict]] = lambda _: (),
) -> Comparison:
    """The layer's verdicts over another base, with the change that is behind each that turns.

    `sound` has what else is wrong with the layer over a base: it is asked of both.
    """
    old, new = before(frozenset()), now(frozenset())
    bases = Bases(old.universe, new.universe)
    wrong = tuple(sound(old))
    known = {question(verdict) for verdict in wrong}
    wrong_then = tuple(
        verdict if question(verdict) in known else _blamed(verdict, bases)
        for verdict in (sound(new) if bases.changed_names else wrong)
    )
    names = frozenset(names)
    verdicts = layer_verdicts(before, evaluations, groups, names)
    asked = _touched(old, new, bases, evaluations, groups, names, verdicts)
    answers = {
        question(verdict): verdict
        for verdict in layer_verdicts(now, evaluations, groups, asked, bases)
    }
    after = tuple(answers.get(question(verdict), verdict) for verdict in verdicts)
    return Comparison(
        old.chroot.name, bases.changed, (*verdicts, *wrong), (*after, *wrong_then),
        tuple(sorted(asked)),
    )  # fmt: skip


def _blamed(verdict: Verdict, bases: Bases) -> Verdict:
    problem = verdict.problem
    if problem is None:
        return verdict
    problem = msgspec.structs.replace(problem, changes=bases.behind(problem.facts))
    return msgspec.structs.replace(verdict, problem=problem)


def _touched(
    old: View,
    new: View,
    bases: Bases,
    evaluations: Evaluations,
    groups: Sequence[Group],
    names: frozenset[str],
    verdicts: Iterable[Verdict],
) -> frozenset[str]:
    """Recipes whose answer may be another one over the new base."""
    if not bases.changed_names:
        return frozenset()
    offered: dict[str, bool] = {}

    def offers(text: str) -> bool:
        if text not in offered:
            found = new.universe.providers(text)
            offered[text] = any(each.name in bases.changed_names for each in found)
        return offered[text]

    def touches(lock: Lock | Problem, texts: Iterable[str]) -> bool:
        return (
            isinstance(lock, Problem)
            or any(p.nevra.name in bases.changed_names for p in lock.packages)
            or any(offers(text) for text in texts)
        )

    found = {_recipe(old, verdict) for verdict in verdicts if verdict.state != "ok"}
    chroot = old.chroot
    for name in sorted(names - found):
        own = evaluations[name]
        if isinstance(own, Problem) or exclusion(own, chroot.arch):
            continue
        lock = resolve(old.universe, chroot, own.build_requires, own.build_conflicts)
        if touches(lock, (*chroot.setup, *own.build_requires)):
            found.add(name)
    for each in installations(old.recipes, groups):
        recipe = old.recipes[each.nevra]
        if recipe in names - found:
            lock = installable(old.universe, each.exact, weak=False)
            if touches(lock, each.exact):
                found.add(recipe)
    return frozenset(found & names)


def _recipe(view: View, verdict: Verdict) -> str:
    """The recipe that a verdict is about."""
    by_text = {str(nevra): recipe for nevra, recipe in view.recipes.items()}
    return by_text.get(verdict.package, verdict.package)

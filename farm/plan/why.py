"""Why is a package in a build root or at a site? The shortest chain of requirements that leads
there, through the packages that the solver chose."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import solv

from farm.model import LAYER, Lock, Noun
from farm.plan.metadata.unlisted import REMEDY, unknown
from farm.plan.planner import capabilities
from farm.plan.spelling import suggestion
from farm.plan.universe import Universe, nevra_of


class Link(Noun, frozen=True):
    """`who` (a package, or what asked first) `verb` (BuildRequires, requires) `what`, and the
    package that has it: "" when nobody does."""

    who: str
    verb: str
    what: str
    provider: str = ""

    def __str__(self) -> str:
        having = f"which {self.provider} provides" if self.provider else "which nothing provides"
        if self.provider and self.what.startswith("("):
            having = f"which {self.provider} helps to fulfil"
        if self.provider.startswith(f"{self.what}-"):
            having = f"that is {self.provider}"
        return f"{self.who} {self.verb} {self.what}, {having}"


@dataclass(frozen=True)
class Asked:
    """What stands at the beginning of a chain: `who verb text`, for each text."""

    who: str
    verb: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class _Step:
    """A package that was reached, the link that led there, and the step before."""

    solvable: Any
    link: Link
    before: _Step | None


def chain(
    universe: Universe, asked: Sequence[Asked], lock: Lock | None, goal: str
) -> tuple[Link, ...]:
    """The shortest chain from what was asked to a package that provides `goal`; () for none.

    With a lock only its packages count. Where nobody provides the goal, the chain leads to the
    first package that requires it.
    """
    wanted = {solvable.id for solvable in universe.providers(goal)}
    chosen = _members(universe, lock) if lock is not None else None
    queue: deque[_Step] = deque()
    seen: set[int] = set()

    def follow(who: str, verb: str, texts: Iterable[str], before: _Step | None) -> _Step | None:
        for text in texts:
            having = universe.providers(text)
            if chosen is not None:
                having = [each for each in having if each.id in chosen]
            if not having and not wanted and _names(goal) & _names(text):
                return _Step(None, Link(who, verb, text), before)
            for solvable in having:
                if solvable.id in seen:
                    continue
                seen.add(solvable.id)
                step = _Step(solvable, Link(who, verb, text, named(solvable)), before)
                if solvable.id in wanted:
                    return step
                queue.append(step)
        return None

    for each in asked:
        found = follow(each.who, each.verb, each.texts, None)
        if found is not None:
            return _links(found)
    while queue:
        step = queue.popleft()
        found = follow(named(step.solvable), "requires", _requires(step.solvable), step)
        if found is not None:
            return _links(found)
    return ()


def requirements(universe: Universe, exact: str) -> tuple[Asked, ...]:
    """What the packages that `exact` (`name = evr`) stands for require, as a chain's beginning."""
    return tuple(
        Asked(solvable.name, "requires", tuple(_requires(solvable)))
        for solvable in universe.providers(exact)
    )


def absent(universe: Universe, goal: str) -> tuple[str, ...]:
    """What is to be said of a capability that no chain leads to."""
    having = universe.providers(goal)
    if having:
        return (f"{goal} would come from {', '.join(named(each) for each in having[:3])}",)
    doubt = unknown(universe, goal)
    if doubt:
        return (doubt, REMEDY)
    hint = suggestion(universe, goal)
    return (f"nothing provides {goal}", *([hint] if hint else []))


def named(solvable: Any) -> str:
    """`name-version-release.arch`, marked when it is the layer's."""
    return f"{solvable} (layer)" if solvable.repo.name == LAYER else str(solvable)


def _names(text: str) -> set[str]:
    """A dependency itself, and the names that it is made of."""
    return {text, *capabilities(text)}


def _members(universe: Universe, lock: Lock) -> frozenset[int]:
    names = {package.nevra for package in lock.packages}
    return frozenset(
        solvable.id
        for name in {nevra.name for nevra in names}
        for solvable in universe.pool.whatprovides(universe.pool.Dep(name))
        if nevra_of(solvable) in names
    )


def _requires(solvable: Any) -> list[str]:
    texts = (str(dep) for dep in solvable.lookup_deparray(solv.SOLVABLE_REQUIRES))
    return sorted(text for text in texts if not text.startswith("rpmlib("))


def _links(step: _Step | None) -> tuple[Link, ...]:
    found = []
    while step is not None:
        found.append(step.link)
        step = step.before
    return tuple(reversed(found))

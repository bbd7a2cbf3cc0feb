"""Recipes and chroots → a plan: which steps, in which order, and what stands in the way.

Pure: what rpm said of each recipe comes in as `Evaluation`s, what the solver says of its needs
as a `Resolution`. A lock is made when a step's needs have their results.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

from farm.model import Chroot, Evaluation, Plan, Problem, Step
from farm.plan.cycles import (
    by_use,
    closure,
    loops,
    ordered,
    shortest_loop,
    with_harmless,
    without_idle,
)
from farm.steps import BOOTSTRAP, bootstrap_name, is_bootstrap, recipe_of

Evaluations = Mapping[tuple[str, str], Evaluation | Problem]  # (recipe, chroot name)
Recipes = frozenset[str]

_RICH_WORDS = {"and", "or", "if", "else", "unless", "with", "without"}
_COMPARISONS = {"<", "<=", "=", "==", ">=", ">"}


@dataclass(frozen=True)
class Wanted:
    """The recipes whose packages one step is built with, as the solver chose them.

    `direct`: those that its own BuildRequires resolve to. `build`: those of all packages in its
    build root. What only a build reveals has no provider yet: those in `likely` have the name
    for it, one of those in `maybe` might turn out to have it.
    """

    direct: Recipes = frozenset()
    build: Recipes = frozenset()
    likely: Recipes = frozenset()
    maybe: Recipes = frozenset()
    problem: Problem | None = None  # with rpm's reading of the spec


class Resolution(Protocol):
    """What the solver says of the layer over its base.

    `booting` names the recipes of a cycle that are there as their bootstrap has them, not as
    they will be in the end.
    """

    def wanted(self, chroot: Chroot, recipe: str, booting: Recipes, bootstrap: bool) -> Wanted:
        """What a recipe (or its bootstrap) is built with."""
        ...

    def at_site(self, chroot: Chroot, recipe: str) -> Recipes:
        """The recipes whose packages come along when all of a recipe's are installed."""
        ...

    def because(
        self, chroot: Chroot, recipe: str, booting: Recipes, bootstrap: bool, other: str
    ) -> str:
        """Why a package of the recipe `other` is in its build root, in words."""
        ...


def capabilities(requirement: str) -> tuple[str, ...]:
    """The names in a dependency, versions and operators left out; rich ones name several.

    >>> capabilities("(munge-devel >= 0.5 or pkgconfig(munge))")
    ('munge-devel', 'pkgconfig(munge)')
    """
    text = requirement.strip()
    if not text.startswith("("):
        return (text.split()[0],) if text else ()
    names: list[str] = []
    after_comparison = False
    for word in re.findall(r"[^\s()]+(?:\([^()]*\)(?:\([^()]*\))?)?", text):
        if word in _COMPARISONS:
            after_comparison = True
        elif after_comparison:
            after_comparison = False
        elif word not in _RICH_WORDS:
            names.append(word)
    return tuple(dict.fromkeys(names))


def make_plan(
    names: Sequence[str],
    chroots: Sequence[Chroot],
    evaluations: Evaluations,
    resolution: Resolution,
) -> Plan:
    """The steps for `names` and everything they need from the layer, nothing else.

    What a site gets along with them is planned as well, but not waited for.
    """
    columns = []
    for chroot in chroots:
        ours = {
            recipe: evaluation
            for (recipe, where), evaluation in evaluations.items()
            if where == chroot.name
        }
        columns.append(_Draft(chroot, tuple(names), ours, resolution).steps())
    steps = _interleave(columns)
    return Plan(steps, tuple(step.problem for step in steps if step.problem is not None))


def exclusion(evaluation: Evaluation, arch: str) -> str:
    """Why this architecture is left out, or "". The set `noarch` stands for any architecture."""
    exclusive = tuple(a for a in evaluation.exclusive_arch if a != "noarch")
    if exclusive and arch not in exclusive:
        return f"ExclusiveArch: {' '.join(exclusive)}"
    if arch in evaluation.exclude_arch:
        return f"ExcludeArch: {' '.join(evaluation.exclude_arch)}"
    return ""


@dataclass(frozen=True)
class _Draft:
    """The plan of one chroot in the making.

    A node is the name of a step. `booting` has, for each recipe of a cycle that is broken, those
    recipes of the cycle that the rest of it meets as their bootstrap.
    """

    chroot: Chroot
    names: tuple[str, ...]
    ours: Mapping[str, Evaluation | Problem]
    resolution: Resolution
    booting: Mapping[str, Recipes] = field(default_factory=dict)

    def steps(self) -> tuple[Step, ...]:
        """In an order in which they can run; those of a loop that nothing breaks come last."""
        draft, graph = self, self._graph()
        tried: Recipes = frozenset()
        while True:
            untried = [found for found in map(_recipes, loops(graph)) if not found & tried]
            if not untried:
                return draft._arranged(graph)
            tried |= untried[0]
            broken = draft._broken(untried[0])
            if broken is not None:
                draft, graph = broken, broken._graph()

    def _arranged(self, graph: Mapping[str, Recipes]) -> tuple[Step, ...]:
        problems = {name: self._loop_problem(name, graph) for loop in loops(graph) for name in loop}
        # a step of a loop is refused at once and waits for nobody
        needs = {name: graph[name] if name not in problems else frozenset() for name in graph}
        free = sorted(graph.keys() - problems.keys())
        needs = with_harmless(needs, {name: self._wanted(name).likely for name in free})
        awaited = with_harmless(needs, {name: self._wanted(name).maybe for name in free})
        return tuple(
            self._step(name, needs, awaited, problems.get(name)) for name in ordered(awaited)
        )

    def _step(
        self,
        name: str,
        needs: Mapping[str, Recipes],
        awaited: Mapping[str, Recipes],
        loop: Problem | None,
    ) -> Step:
        recipe, bootstrap = _parts(name)
        evaluation = self.ours[recipe]
        direct = map(self._mapped(recipe), self._wanted(name).direct)
        needed = self._behind(name, needs)
        return Step(
            recipe=recipe,
            chroot=self.chroot.name,
            needs=tuple(sorted(needed)),
            direct=tuple(sorted(direct)) if needs[name] else (),
            problem=self._problem(name) or loop,
            excluded=exclusion(evaluation, self.chroot.arch)
            if isinstance(evaluation, Evaluation)
            else "",
            bootstrap=bootstrap,
            after=tuple(sorted(self._behind(name, awaited) - needed)),
        )

    def _behind(self, name: str, edges: Mapping[str, Recipes]) -> Recipes:
        """All that a step leads to, but for bootstraps of cycles that it is no part of."""
        recipe = recipe_of(name)
        found = closure(edges[name], lambda each: self._within(recipe, edges[each]))
        return self._within(recipe, found)

    def _within(self, recipe: str, names: Recipes) -> Recipes:
        """Without the bootstraps of cycles that the recipe is no part of."""
        own = self.booting.get(recipe, frozenset())
        return frozenset(n for n in names if not _parts(n)[1] or _parts(n)[0] in own)

    def _problem(self, name: str) -> Problem | None:
        recipe, _ = _parts(name)
        evaluation = self.ours[recipe]
        if isinstance(evaluation, Problem):
            return evaluation
        source = evaluation.source
        if "%" in source.version + source.release:
            return Problem(
                "bad-spec",
                recipe,
                (f"it would be {source.version}-{source.release}: that macro is not defined",),
                "Define the macro in the spec, or name the package that brings it in"
                " chroot_setup_cmd.",
            )
        if not evaluation.has_dist:
            return Problem(
                "no-dist",
                recipe,
                ("its Release does not mention %{?dist}, so a rebuild could not be told apart",),
                "Write `Release: 1%{?dist}`.",
            )
        return self._wanted(name).problem

    def _graph(self) -> dict[str, Recipes]:
        """Step → the steps that it is built with, for all that the names lead to."""
        graph: dict[str, Recipes] = {}
        waiting = [name for name in self.names if name in self.ours]
        while waiting:
            name = waiting.pop()
            if name in graph:
                continue
            graph[name] = self._edges(name)
            recipe, bootstrap = _parts(name)
            waiting += graph[name] | self._wanted(name).likely
            if not bootstrap and self._buildable(recipe):
                waiting += self.resolution.at_site(self.chroot, recipe) - {recipe}
        return graph

    def _edges(self, name: str) -> Recipes:
        recipe, _ = _parts(name)
        mapped = self._mapped(recipe)
        found = set()
        for other in self._wanted(name).build:
            found.add(mapped(other))
            if self.booting.get(other) != self.booting.get(recipe):
                # outside of the cycle only what is there in the end counts
                found |= self.booting.get(other, frozenset())
        return frozenset(found)

    def _wanted(self, name: str) -> Wanted:
        recipe, bootstrap = _parts(name)
        if not self._buildable(recipe):
            return Wanted()
        booting = self.booting.get(recipe, frozenset())
        return self.resolution.wanted(self.chroot, recipe, booting, bootstrap)

    def _buildable(self, recipe: str) -> bool:
        evaluation = self.ours[recipe]
        return isinstance(evaluation, Evaluation) and not exclusion(evaluation, self.chroot.arch)

    def _mapped(self, recipe: str) -> Callable[[str], str]:
        """The step that a member of the recipe's cycle meets in another recipe's place."""
        booting = self.booting.get(recipe, frozenset())
        return lambda other: bootstrap_name(other) if other in booting else other

    def _broken(self, members: Recipes) -> _Draft | None:
        """The draft in which bootstraps break all loops of these recipes, as few as can be.

        Which to take is estimated with what is known already; each set of bootstraps that is
        asked about in earnest has to be solved for.
        """

        def looping(chosen: Recipes) -> int:
            return self._with(members, chosen)._looping(members)

        def perhaps(chosen: Recipes) -> int:
            return self._estimated(members, chosen)

        order = by_use(self._candidates(members), perhaps)
        firsts = [frozenset(order[:count]) for count in range(1, len(order) + 1)]
        likely = next((first for first in firsts if not perhaps(first)), None)
        if likely is not None:
            likely = without_idle(likely, perhaps)
            if not looping(likely):
                return self._with(members, likely)
        for first in firsts:
            if not looping(first):
                return self._with(members, without_idle(first, looping))
        return None

    def _estimated(self, members: Recipes, chosen: Recipes) -> int:
        """`_looping`, were the packages of bootstraps those that there will be in the end."""
        graph: dict[str, Recipes] = {}
        for recipe in members:
            build = self._wanted(recipe).build & members
            graph[recipe] = frozenset(bootstrap_name(o) if o in chosen else o for o in build)
            if recipe in chosen:
                wanted = self.resolution.wanted(self.chroot, recipe, frozenset(), True)
                others = (wanted.build & members) - {recipe}
                graph[bootstrap_name(recipe)] = frozenset(
                    bootstrap_name(o) if o in chosen else o for o in others
                )
        return sum(len(loop) for loop in loops(graph))

    def _candidates(self, members: Recipes) -> Recipes:
        evaluations = ((name, self.ours[name]) for name in members)
        return frozenset(n for n, e in evaluations if isinstance(e, Evaluation) and e.bootstrap)

    def _with(self, members: Recipes, chosen: Recipes) -> _Draft:
        booting = {**self.booting, **dict.fromkeys(members, chosen)}
        return _Draft(self.chroot, self.names, self.ours, self.resolution, booting)

    def _looping(self, members: Recipes) -> int:
        """How many steps are in loops with these recipes."""
        return sum(len(loop) for loop in loops(self._graph()) if _recipes(loop) & members)

    def _loop_problem(self, name: str, graph: Mapping[str, Recipes]) -> Problem:
        loop = _from_its_first(self._shortest(name, graph))
        facts = [f"it needs itself to be built: {' -> '.join(loop)}", *self._arrows(loop)]
        members = _recipes(loop)
        useless: list[str] = []
        partial: list[str] = []
        for one in sorted(self._candidates(members)):
            again = self._with(members, frozenset({one}))
            left = again._graph()
            loop = again._shortest(bootstrap_name(one), left)
            if loop:
                useless.append(one)
                facts.append(f"the bootstrap of {one} does not break it: {' -> '.join(loop)}")
                facts += again._arrows(loop)
                continue
            for rest in [found for found in loops(left) if _recipes(found) & members][:1]:
                partial.append(one)
                loop = min((again._shortest(each, left) for each in sorted(rest)), key=len)
                facts.append(f"the bootstrap of {one} breaks it, but not {' -> '.join(loop)}")
                facts += again._arrows(loop)
        if useless:
            who = " and ".join(useless)
            remedy = f"Put more of the BuildRequires of {who} into the condition `{BOOTSTRAP}`."
        elif partial:
            remedy = (
                f"Break what is left as well, or let the packages of {' and '.join(partial)}"
                f" require less where `{BOOTSTRAP}` is on."
            )
        else:
            remedy = (
                "Break the loop in one of these specs, or let one of them be built without it: "
                f"`%bcond_with {BOOTSTRAP}`, and the BuildRequires that close the loop within "
                f"`%if %{{without {BOOTSTRAP}}}`."
            )
        return Problem("cycle", _parts(name)[0], tuple(facts), remedy)

    def _shortest(self, name: str, graph: Mapping[str, Recipes]) -> tuple[str, ...]:
        """The shortest loop of BuildRequires alone, for they are easier to follow, or of all."""
        direct = {
            each: frozenset(map(self._mapped(recipe_of(each)), self._wanted(each).direct))
            for each in graph
        }
        return shortest_loop(name, direct) or shortest_loop(name, graph)

    def _arrows(self, loop: Sequence[str]) -> Iterator[str]:
        for name, other in pairwise(loop):
            recipe, bootstrap = _parts(name)
            booting = self.booting.get(recipe, frozenset())
            text = self.resolution.because(
                self.chroot, recipe, booting, bootstrap, _parts(other)[0]
            )
            if text:
                yield text


def _parts(name: str) -> tuple[str, bool]:
    """A step's recipe, and whether it is the bootstrap."""
    return recipe_of(name), is_bootstrap(name)


def _from_its_first(loop: tuple[str, ...]) -> tuple[str, ...]:
    """The same loop told from its first name, so that all its members tell it alike.

    >>> _from_its_first(("b", "c", "a", "b"))
    ('a', 'b', 'c', 'a')
    """
    at = loop.index(min(loop)) if loop else 0
    return (*loop[at:], *loop[1 : at + 1])


def _recipes(names: Recipes | Sequence[str]) -> Recipes:
    return frozenset(_parts(name)[0] for name in names)


def _interleave(columns: Sequence[Sequence[Step]]) -> tuple[Step, ...]:
    """The chroots' steps in turn, each chroot's own order kept."""
    longest = max((len(column) for column in columns), default=0)
    return tuple(column[row] for row in range(longest) for column in columns if row < len(column))

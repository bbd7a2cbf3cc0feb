"""What each recipe of the layer is built with, as the solver chooses: the planner's Resolution.

Where the solver has no answer (the problem is told when the step comes to be built), the names
that specs declare still give a sensible order.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import solv

from farm.model import LAYER, Chroot, Evaluation, Problem
from farm.plan.fit.view import View
from farm.plan.planner import Evaluations, Recipes, Wanted, capabilities
from farm.plan.solver import brought_along, chosen, possible_without
from farm.plan.universe import Universe, nevra_of
from farm.steps import bootstrap_name

# What names of packages have around the name of the thing, and what sonames have.
_AROUND = re.compile(r"^(lib|python3?-|perl-)|(-(devel|dev|libs?|tools)|\.so.*)$")


class Layer(Protocol):
    """Where views of the layer and readings of its specs come from."""

    def view(self, chroot: Chroot, booting: Recipes = ..., without: str = ...) -> View:
        """The layer over its base, `booting` recipes as their bootstraps, one left out."""
        ...

    def reading(self, chroot: Chroot, recipe: str, bootstrap: bool) -> Evaluation | Problem:
        """What rpm says of a recipe, with or without its condition `bootstrap`."""
        ...


@dataclass(frozen=True, eq=False)
class _Root:
    """A build root as the solver chose it, by ids of the universe's pool."""

    view: View
    universe: Universe
    ids: frozenset[int]

    @property
    def hopeful(self) -> bool:
        return self.universe is not self.view.universe

    @property
    def owned(self) -> dict[int, str]:
        """Those of its packages that are of the layer, and their recipes."""
        owners = _owners(self.view, self.universe)
        return {number: owners[number] for number in sorted(self.ids) if number in owners}

    def providers(self, text: str) -> list[Any]:
        """The packages in it that a dependency, or a part of a rich one, resolves to."""
        pool = self.universe.pool
        texts = capabilities(text) if text.startswith("(") else (text,)
        found = {
            solvable.id: solvable
            for each in texts
            for solvable in pool.whatprovides(self.universe.dependency(each))
            if solvable.id in self.ids
        }
        return [found[number] for number in sorted(found)]


@dataclass(frozen=True, eq=False)
class Needed:
    """Answers of the solver over views of the layer, each asked for once."""

    layer: Layer
    evaluations: Evaluations
    memory: dict[Any, Any] = field(default_factory=dict)

    def wanted(self, chroot: Chroot, recipe: str, booting: Recipes, bootstrap: bool) -> Wanted:
        """See `planner.Resolution`."""
        key = (chroot.name, recipe, booting, bootstrap)
        if key not in self.memory:
            self.memory[key] = self._wanted(chroot, recipe, booting, bootstrap)
        answer: Wanted = self.memory[key]
        return answer

    def _wanted(self, chroot: Chroot, recipe: str, booting: Recipes, bootstrap: bool) -> Wanted:
        evaluation = self.layer.reading(chroot, recipe, bootstrap)
        if isinstance(evaluation, Problem):
            return Wanted(problem=evaluation)
        root = self._root(chroot, recipe, booting, bootstrap)
        if root is None:
            named = frozenset(self._named(chroot, evaluation.build_requires)) - {recipe}
            return Wanted(named, named)
        owned = root.owned
        direct = {
            owned[solvable.id]
            for text in evaluation.build_requires
            for solvable in root.providers(text)
            if solvable.id in owned
        }
        likely, maybe = self._hopes(root, recipe, evaluation.build_requires)
        return Wanted(frozenset(direct), frozenset(owned.values()), likely, maybe)

    def at_site(self, chroot: Chroot, recipe: str) -> Recipes:
        """See `planner.Resolution`."""
        key = (chroot.name, recipe)
        if key not in self.memory:
            self.memory[key] = frozenset(self._at_site(chroot, recipe)) - {recipe}
        answer: Recipes = self.memory[key]
        return answer

    def _at_site(self, chroot: Chroot, recipe: str) -> Iterator[str]:
        view = self.layer.view(chroot)
        universe = view.universe
        for universe in _universes(view, recipe):
            owners = _owners(view, universe)
            own = [number for number, whose in owners.items() if whose == recipe]
            together = brought_along(universe, own)
            if together is not None:
                root = _Root(view, universe, together)
                yield from root.owned.values()
                yield from self._hopes(root, recipe, ())[0]
                return
        for number in own:  # some of them keep one another away
            alone = brought_along(universe, [number])
            if alone is not None:
                yield from (owners[number] for number in alone if number in owners)
            else:
                requires = universe.pool.id2solvable(number).lookup_deparray(solv.SOLVABLE_REQUIRES)
                yield from self._named(chroot, map(str, requires))

    def because(
        self, chroot: Chroot, recipe: str, booting: Recipes, bootstrap: bool, other: str
    ) -> str:
        """See `planner.Resolution`."""
        evaluation = self.layer.reading(chroot, recipe, bootstrap)
        if isinstance(evaluation, Problem):
            return ""
        root = self._root(chroot, recipe, booting, bootstrap)
        who = bootstrap_name(recipe) if bootstrap else recipe
        if root is None:
            texts = (t for t in evaluation.build_requires if other in self._named(chroot, (t,)))
            return f"{who} BuildRequires: {next(texts, other)}, which {other} declares"
        return _chain(root, who, evaluation.build_requires, other)

    def _root(self, chroot: Chroot, recipe: str, booting: Recipes, bootstrap: bool) -> _Root | None:
        key = ("root", chroot.name, recipe, booting, bootstrap)
        if key not in self.memory:
            evaluation = self.layer.reading(chroot, recipe, bootstrap)
            assert isinstance(evaluation, Evaluation)
            root = _solved(self.layer.view(chroot, booting), recipe, evaluation)
            own = bootstrap == (recipe in booting)
            if own and (root is None or recipe in root.owned.values()):
                # it needs itself only if nobody else will do
                alone = self._alone(root, chroot, recipe, booting, evaluation)
                if alone is not None and (root is None or root.hopeful or not alone.hopeful):
                    root = alone
            self.memory[key] = root
        answer: _Root | None = self.memory[key]
        return answer

    def _alone(
        self,
        root: _Root | None,
        chroot: Chroot,
        recipe: str,
        booting: Recipes,
        evaluation: Evaluation,
    ) -> _Root | None:
        if root is not None:
            owners = _owners(root.view, root.universe)
            own = [number for number, whose in owners.items() if whose == recipe]
            requires, conflicts = evaluation.build_requires, evaluation.build_conflicts
            if not possible_without(root.universe, chroot, requires, conflicts, own):
                return None  # much sooner known than by opening another view
        return _solved(self.layer.view(chroot, booting, recipe), recipe, evaluation)

    def _hopes(self, root: _Root, recipe: str, asked: Iterable[str]) -> tuple[Recipes, Recipes]:
        """Who will probably, and who may, provide what is open among these packages and wishes."""
        if not root.hopeful:
            return frozenset(), frozenset()
        pool = root.universe.pool
        locked = [root.universe.locked(pool.id2solvable(number)) for number in root.owned]
        hopes = root.view.hoped_for(locked, asked)
        unbuilt = root.view.unbuilt - root.view.stale - {recipe}
        likely: Recipes = frozenset()
        maybe: Recipes = frozenset()
        for hope in hopes:
            alike = frozenset(name for name in unbuilt if self._alike(root.view, name, hope))
            likely |= alike
            maybe |= frozenset() if alike else unbuilt
        return likely, maybe

    def _alike(self, view: View, recipe: str, capability: str) -> bool:
        names = {nevra.name for nevra, whose in view.recipes.items() if whose == recipe}
        return _stem(_inner(capability)) in {_stem(name) for name in (recipe, *names)}

    def _named(self, chroot: Chroot, requirements: Iterable[str]) -> Iterator[str]:
        """The recipes that declare what is required, where the base does not have it."""
        declared = self._declared(chroot)
        universe = self.layer.view(chroot).universe
        for requirement in requirements:
            for name in capabilities(requirement):
                if name in declared and all(
                    solvable.repo.name == LAYER for solvable in universe.providers(name)
                ):
                    yield declared[name]

    def _declared(self, chroot: Chroot) -> Mapping[str, str]:
        """Name → the recipe whose packages declare it; a package's own name wins."""
        key = ("declared", chroot.name)
        if key not in self.memory:
            names: dict[str, str] = {}
            provided: dict[str, str] = {}
            for (recipe, where), evaluation in sorted(self.evaluations.items(), key=_place):
                if where != chroot.name:
                    continue
                if isinstance(evaluation, Problem):
                    names.setdefault(recipe, recipe)
                    continue
                for nevra, provides in evaluation.packages:
                    names.setdefault(nevra.name, recipe)
                    for provide in provides:
                        provided.setdefault(provide.split()[0], recipe)
            self.memory[key] = provided | names
        answer: Mapping[str, str] = self.memory[key]
        return answer


def _place(item: tuple[tuple[str, str], object]) -> tuple[str, str]:
    return item[0]


def _universes(view: View, recipe: str) -> Iterator[Universe]:
    """What is known first, then what may turn out once more of the layer is built."""
    yield view.universe
    if view.may_reveal(recipe) and view.open_capabilities:
        yield view.hopeful


def _solved(view: View, recipe: str, evaluation: Evaluation) -> _Root | None:
    for universe in _universes(view, recipe):
        requires, conflicts = evaluation.build_requires, evaluation.build_conflicts
        ids = chosen(universe, view.chroot, requires, conflicts)
        if ids is not None:
            return _Root(view, universe, ids)
    return None


def _owners(view: View, universe: Universe) -> dict[int, str]:
    """Package of the layer (id) → its recipe."""
    known: dict[int, str] | None = universe.memory.get("owners")
    if known is None:
        known = {
            solvable.id: view.recipes[nevra]
            for repo in universe.pool.repos
            if repo.name == LAYER
            for solvable in repo.solvables
            if (nevra := nevra_of(solvable)) in view.recipes
        }
        universe.memory["owners"] = known
    return known


def _chain(root: _Root, who: str, build_requires: Iterable[str], other: str) -> str:
    """The shortest way from a BuildRequires to a package of the recipe `other`, in words."""
    owned = root.owned
    queue: deque[tuple[Any, str]] = deque()
    seen: set[int] = set()

    def follow(texts: Iterable[str], words: str) -> None:
        for text in texts:
            for solvable in root.providers(text):
                if solvable.id not in seen:
                    seen.add(solvable.id)
                    queue.append((solvable, f"{words} {text}"))

    follow(sorted(build_requires), f"{who} BuildRequires:")
    follow(root.view.chroot.setup, "the set-up of every build root wants")
    while queue:
        solvable, words = queue.popleft()
        whose = f" of {owned[solvable.id]}" if solvable.id in owned else ""
        words = f"{words}, which {solvable}{whose} has"
        if owned.get(solvable.id) == other:
            return words
        requires = solvable.lookup_deparray(solv.SOLVABLE_REQUIRES)
        follow(map(str, requires), f"{words}; that requires")
    return f"{who} is built with a package of {other}"


def _inner(capability: str) -> str:
    """The name in a generated capability.

    >>> [_inner(c) for c in ("pkgconfig(munge) >= 1", "libm.so.2()(64bit)", "/usr/bin/x")]
    ['munge', 'libm.so.2', 'x']
    """
    name = capability.split(" ", 1)[0]
    inner = re.fullmatch(r"[^()]+\(([^()]+)\).*", name)
    plain = inner[1] if inner and ".so" not in name.partition("(")[0] else name.partition("(")[0]
    return plain.rpartition("/")[2]


def _stem(name: str) -> str:
    """What is left of a name when it is told as loosely as people do.

    >>> {_stem(n) for n in ("libmunge.so.2", "munge-devel", "MUNGE", "munge-libs")}
    {'munge'}
    """
    plain, before = name.lower(), ""
    while plain != before:
        before, plain = plain, _AROUND.sub("", plain)
    return re.sub(r"[^a-z0-9]", "", plain)

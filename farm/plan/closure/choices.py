"""What nothing can fulfil, and one way to fulfil everything else."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from farm.plan.closure.graph import Graph
from farm.plan.metadata.rich import Rich

NOTHING = 0  # fulfilled without any package
NOBODY = -1  # no provider that is not dead
SEVERAL = -2  # see `Choices.several`
ASK = None  # only libsolv can say how to fulfil it


def dead_ends(graph: Graph) -> tuple[set[int], dict[int, int]]:
    """Packages that no set of packages can hold, and dependencies that none can fulfil.

    With each dependency comes a number that is higher than those of what it was lost by.
    """
    first = graph.providers.first
    special = {*graph.free, *graph.rich}
    fresh = {n for n in range(len(graph.providers)) if first[n] == first[n + 1]} - special
    dead: set[int] = set()
    lost: dict[int, int] = {}
    while fresh:
        lost.update(dict.fromkeys(fresh, len(lost)))
        wave: set[int] = set().union(*map(graph.users.__getitem__, fresh)) - dead
        dead |= wave
        unheard = ((n, tree) for n, tree in graph.rich.items() if n not in lost)
        fresh = {number for number, tree in unheard if _is_lost(tree, graph, lost)}
        touched: set[int] = set().union(*map(graph.provides.__getitem__, wave)) - special
        fresh.update(
            number
            for number in touched
            if number not in lost and dead.issuperset(graph.providers[number])
        )
    return dead, lost


def _is_lost(tree: Rich, graph: Graph, lost: Mapping[int, int]) -> bool:
    if tree.listed:
        return graph.parts[tree.text] in lost
    if tree.operator == "and":
        return any(_is_lost(part, graph, lost) for part in tree.parts)
    if tree.operator == "or":
        return all(_is_lost(part, graph, lost) for part in tree.parts)
    return False


@dataclass(frozen=True, eq=False)
class Choices:
    """One way to fulfil each dependency: a package, `NOTHING`, `NOBODY` or `SEVERAL`."""

    one: array[int]
    several: dict[int, Choice | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """Packages that fulfil a rich dependency together, with others kept out."""

    packages: frozenset[int]
    without: frozenset[int] = frozenset()


def choose(
    graph: Graph, dead: Set[int], lost: Mapping[int, int], unloved: Set[int] = frozenset()
) -> Choices:
    """For each dependency the first provider that is neither dead nor odd.

    One of the `unloved` is taken only where there is no other.
    """
    one = array("i", graph.preferred)
    several: dict[int, Choice | None] = {}
    unfit = graph.odd.union(dead)
    for package in unfit:
        for number in graph.provides[package]:
            if one[number] == package:
                fit = (other for other in graph.providers[number] if other not in unfit)
                one[number] = next(fit, SEVERAL)
                if one[number] == SEVERAL:
                    several[number] = ASK
    for package in unloved - unfit:
        for number in graph.provides[package]:
            if one[number] == package:
                others = set(graph.providers[number]).difference(unfit, unloved)
                fit = (other for other in graph.providers[number] if other in others)
                one[number] = next(fit, package)
    for number in lost:
        one[number] = NOBODY
        several.pop(number, None)
    for number in graph.free:
        one[number] = NOTHING
        several.pop(number, None)
    for number, tree in graph.rich.items():
        if one[number] != NOBODY:
            one[number] = SEVERAL
            several[number] = _choice(tree, graph, one)
    return Choices(one, several)


def _choice(tree: Rich, graph: Graph, one: array[int]) -> Choice | None:
    if tree.listed:
        package = one[graph.parts[tree.text]]
        if package < 0:
            return ASK
        return Choice(frozenset((package,)) if package else frozenset())
    parts = [_choice(part, graph, one) for part in tree.parts]
    if tree.operator == "and":
        return _both(parts)
    if tree.operator == "or":
        return next((part for part in parts if part is not None), ASK)
    if tree.operator not in ("if", "unless"):
        return ASK
    condition = tree.parts[1]
    absent = None
    if condition.listed:
        number = graph.parts[condition.text]
        if number not in graph.free:
            absent = Choice(frozenset(), frozenset(graph.providers[number]))
    if tree.operator == "unless":
        return _both([parts[0], absent])
    if len(parts) == 3:
        return _both([parts[0], parts[2]]) or _both([parts[2], absent])
    return parts[0] or absent


def _both(parts: Sequence[Choice | None]) -> Choice | None:
    packages: frozenset[int] = frozenset()
    without: frozenset[int] = frozenset()
    for part in parts:
        if part is None:
            return ASK
        packages |= part.packages
        without |= part.without
    return ASK if packages & without else Choice(packages, without)

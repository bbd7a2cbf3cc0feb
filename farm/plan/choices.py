"""What nothing can fulfil, and one way to fulfil everything else."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress, count

from farm.plan.graph import Graph
from farm.plan.rich import Rich

NOTHING = 0  # fulfilled without any package
NOBODY = -1  # no provider that is not dead
SEVERAL = -2  # see `Choices.several`
ASK = None  # only libsolv can say how to fulfil it


def dead_ends(graph: Graph) -> tuple[set[int], dict[int, int]]:
    """Packages that no set of packages can hold, and dependencies that none can fulfil."""
    first, values = graph.providers.first, graph.providers.values
    special = {*graph.free, *graph.rich}
    fresh = {n for n in range(len(graph.providers)) if first[n] == first[n + 1]} - special
    dead: set[int] = set()
    lost: dict[int, int] = {}
    while fresh:
        lost.update(dict.fromkeys(fresh, len(lost)))
        marked = bytearray(len(graph.providers))
        for number in fresh:
            marked[number] = 1
        fresh = {
            n for n, tree in graph.rich.items() if n not in lost and _is_lost(tree, graph, lost)
        }
        wave = set(_users(graph, marked)) - dead
        dead |= wave
        touched = compress(count(), map(wave.__contains__, values)) if wave else ()
        fresh.update(
            number
            for number in set(_rows_of(first, touched)) - special
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


def _users(graph: Graph, marked: bytearray) -> Iterator[int]:
    """Packages with a requirement that is marked."""
    places = compress(count(), map(marked.__getitem__, graph.requires.values))
    return _rows_of(graph.requires.first, places)


def _rows_of(first: array[int], places: Iterable[int]) -> Iterator[int]:
    """The rows in which these places (ascending) are."""
    row = 0
    for place in places:
        while first[row + 1] <= place:
            row += 1
        yield row


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


def choose(graph: Graph, dead: set[int], lost: Mapping[int, int]) -> Choices:
    first, values = graph.providers.first, graph.providers.values
    one = array("i", bytes(4 * len(graph.providers)))
    unfit = dead | graph.odd
    several: dict[int, Choice | None] = {}
    for number in range(len(one)):
        start, end = first[number], first[number + 1]
        if end - start == 1 and values[start] not in unfit:
            one[number] = values[start]
        elif number in lost:
            one[number] = NOBODY
        else:
            for place in range(start, end):
                if values[place] not in unfit:
                    one[number] = values[place]
                    break
            else:
                one[number] = SEVERAL
                several[number] = ASK
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

"""Why packages of a whole distribution are broken, as Problems.

What nothing can fulfil is followed from the package to the requirement that is missing; of the
rest libsolv says which of its rules cannot hold together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property

from farm.model import Problem
from farm.plan.closure.graph import Graph
from farm.plan.closure.witness import Decided, failure_of
from farm.plan.explain import (
    Failure,
    facts_of,
    nothing_provides,
    requires_from,
)
from farm.plan.spelling import learn_spellings, suggestion
from farm.plan.universe import Universe

_MOST_STEPS = 12
_MOST_REMEDIES = 50  # what may have been meant is looked for in many names
_BEGINNING = 3  # letters


def reasons(
    universe: Universe, graph: Graph, decided: Decided, broken: Iterable[int]
) -> Iterator[Problem]:
    """The Problem of each package that cannot be installed, or source that cannot be built."""
    pool = universe.pool
    broken = tuple(broken)
    ways = {n: _missing(universe, graph, decided, n) for n in broken if n in decided.dead}
    missing = tuple(dict.fromkeys(text for _, text in ways.values()))[:_MOST_REMEDIES]
    learn_spellings(universe, missing)
    names = _Names(universe, graph)
    remedies = {text: suggestion(universe, text, names.like(text)) for text in missing}
    for number in broken:
        subject = str(pool.id2solvable(number))
        if number in ways:
            facts, text = ways[number]
            yield Problem("nothing-provides", subject, facts, remedies.get(text, ""))
            continue
        failure = failure_of(pool, graph, number)
        assert isinstance(failure, Failure)
        kind, facts, hint = facts_of(universe, failure, ())
        yield Problem(kind, subject, facts, hint)


class _Names:
    """Names of packages by their beginning: all of a distribution's are too many to compare."""

    def __init__(self, universe: Universe, graph: Graph) -> None:
        self._universe, self._graph = universe, graph

    def like(self, text: str) -> Iterator[str]:
        """Those that begin as `text` does, looked for when they are wanted."""
        yield from self._by_beginning.get(text[:_BEGINNING], ())

    @cached_property
    def _by_beginning(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for number in set(self._graph.names) - {0}:
            name = self._universe.pool.id2str(number)
            found.setdefault(name[:_BEGINNING], []).append(name)
        return found


def _missing(
    universe: Universe, graph: Graph, decided: Decided, number: int
) -> tuple[tuple[str, ...], str]:
    """The way from a package to a requirement that nothing fulfils, and that requirement."""
    pool = universe.pool
    facts = []
    while True:
        # Each step goes to what was lost earlier, so the way has an end.
        lost = [d for d in graph.requires[number] if d in decided.lost]
        dependency = min(lost, key=lambda d: decided.lost[d])
        text = pool.dep2str(graph.dependencies[dependency])
        solvable = pool.id2solvable(number)
        providers = graph.providers[dependency]
        if not providers or dependency in graph.rich:
            facts.append(nothing_provides(universe, solvable, text))
            break
        facts.append(requires_from(solvable, text, map(pool.id2solvable, providers)))
        if len(facts) == _MOST_STEPS:
            facts.append("…")
            break
        number = min(providers)
    return tuple(facts), text

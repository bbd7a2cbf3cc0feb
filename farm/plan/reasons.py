"""Why packages of a whole distribution are broken, as Problems.

What nothing can fulfil is followed from the package to the requirement that is missing; of the
rest libsolv says which of its rules cannot hold together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

from farm.model import Problem
from farm.plan.explain import Failure, facts_of, nothing_provides, requires_from, suggestion
from farm.plan.graph import Graph
from farm.plan.universe import Universe
from farm.plan.witness import Decided, failure_of

_MOST_STEPS = 12
_MOST_REMEDIES = 50  # a look for what may have been meant goes through all names there are


def reasons(
    universe: Universe, graph: Graph, decided: Decided, broken: Iterable[int]
) -> Iterator[Problem]:
    """The Problem of each package that cannot be installed, or source that cannot be built."""
    pool = universe.pool
    names = [pool.id2str(name) for name in set(graph.names) if name]
    left = iter(range(_MOST_REMEDIES))

    @cache
    def remedy(text: str) -> str:
        return suggestion(universe, text, names) if next(left, None) is not None else ""

    for number in broken:
        subject = str(pool.id2solvable(number))
        if number in decided.dead:
            facts, missing = _missing(universe, graph, decided, number)
            yield Problem("nothing-provides", subject, facts, remedy(missing))
            continue
        failure = failure_of(pool, graph, number)
        assert isinstance(failure, Failure)
        kind, facts, hint = facts_of(universe, failure, names)
        yield Problem(kind, subject, facts, hint)


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

"""Why a package of a whole distribution is broken, as a Problem.

What nothing can fulfil is followed from the package to the requirement that is missing; of the
rest libsolv says which of its rules cannot hold together.
"""

from __future__ import annotations

from farm.model import Problem
from farm.plan.explain import Failure, facts_of, nothing_provides, requires_from, suggestion
from farm.plan.graph import Graph
from farm.plan.universe import Universe
from farm.plan.witness import Decided, failure_of

_MOST_STEPS = 12


def reason(universe: Universe, graph: Graph, decided: Decided, number: int) -> Problem:
    """The Problem of a package that cannot be installed, or of a source that cannot be built."""
    subject = str(universe.pool.id2solvable(number))
    if number in decided.dead:
        return _missing(universe, graph, decided, number, subject)
    failure = failure_of(universe.pool, graph, number)
    assert isinstance(failure, Failure)
    kind, facts, remedy = facts_of(universe, failure)
    return Problem(kind, subject, facts, remedy)


def _missing(
    universe: Universe, graph: Graph, decided: Decided, number: int, subject: str
) -> Problem:
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
        facts.append(requires_from(solvable, text, [pool.id2solvable(p) for p in providers]))
        number = min(providers)
        if len(facts) == _MOST_STEPS:
            facts.append("…")
            break
    return Problem("nothing-provides", subject, tuple(facts), suggestion(universe, text))

"""What can be installed, for very many questions at once: verdicts only, no lock.

A package whose requirement nobody can fulfil is broken, and so is who needs it: a fixpoint. Every
other dependency gets one default provider, so every package has one closure; where nothing in
it is forbidden by something else in it, that closure is a valid installation: a witness. What is
decided in neither way is asked of libsolv, each question with a solver of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache
from typing import Any

import solv

from farm.plan.closure.choices import choose, dead_ends
from farm.plan.closure.closures import Closures
from farm.plan.closure.graph import Graph
from farm.plan.explain import Failure

_ATTEMPTS = 3  # at a choice of providers
_FEW = 40  # questions that libsolv answers sooner than other choices would be tried
_INSTALL = solv.Job.SOLVER_INSTALL | solv.Job.SOLVER_SOLVABLE
_FORBID = solv.Job.SOLVER_ERASE | solv.Job.SOLVER_SOLVABLE_PROVIDES


@dataclass(frozen=True, eq=False)
class Decided:
    """What could be said without libsolv, and why."""

    questions: tuple[int, ...]
    dead: frozenset[int]  # all packages that need what nothing can fulfil
    lost: Mapping[int, int]  # such dependencies, with the round of the fixpoint that lost them
    witnessed: frozenset[int]  # questions whose default closure has no conflicts

    @property
    def open(self) -> tuple[int, ...]:
        """The questions that only libsolv can answer."""
        return tuple(n for n in self.questions if n not in self.dead and n not in self.witnessed)


@dataclass(frozen=True, eq=False)
class Verdicts:
    """Every question answered. `answers` are libsolv's: what it installed, or nothing."""

    decided: Decided
    answers: Mapping[int, frozenset[int]]

    @property
    def broken(self) -> tuple[int, ...]:
        """The questions without a solution, in their order."""
        good = self.decided.witnessed
        return tuple(n for n in self.decided.questions if n not in good and not self.answers.get(n))


def check(pool: Any, graph: Graph, questions: Sequence[int]) -> Verdicts:
    """For each package: can it be installed into an empty root; for each source: can it be built.

    Weak dependencies are left out.
    """
    decided = decide(graph, questions)
    return Verdicts(decided, {number: _ask(pool, graph, number) for number in decided.open})


def recheck(
    pool: Any, graph: Graph, before: Verdicts, gone: Set[int], come: Iterable[int]
) -> Verdicts:
    """The verdicts after an update of some packages: `graph` is of the pool as it is now.

    What is decided without libsolv is decided anew: that takes less time than to find out what
    stands. An answer of libsolv's stands as long as all that it would install is there.
    """
    questions = [number for number in before.decided.questions if number not in gone]
    decided = decide(graph, [*questions, *come])
    # What libsolv makes of a rich conflict depends on what else is in the pool.
    void = graph.odd.union(gone, graph.conflicts.holding(graph.rich.keys()))
    answers = {}
    for number in decided.open:
        known = before.answers.get(number)
        stands = known and known.isdisjoint(void) and _twins_of(graph, known) <= known
        answers[number] = known if known and stands else _ask(pool, graph, number)
    return Verdicts(decided, answers)


def _twins_of(graph: Graph, packages: Set[int]) -> Set[int]:
    return {graph.twins[number] for number in graph.twins.keys() & packages}


def _ask(pool: Any, graph: Graph, number: int) -> frozenset[int]:
    """libsolv's own answer: what it would install, nothing when there is no solution."""
    solver, problems = _solved(pool, graph, number)
    if problems:
        return frozenset()
    return frozenset(solvable.id for solvable in solver.transaction().newsolvables())


def failure_of(pool: Any, graph: Graph, number: int) -> Failure | None:
    """libsolv's problems with a question; None when it has none."""
    solver, problems = _solved(pool, graph, number)
    return Failure(solver, tuple(problems)) if problems else None


def _solved(pool: Any, graph: Graph, number: int) -> tuple[Any, Any]:
    """A solver of its own for each question: one that is used again is slower by far.

    The BuildConflicts of a source are packages to keep out.
    """
    solver = pool.Solver()
    solver.set_flag(solv.Solver.SOLVER_FLAG_IGNORE_RECOMMENDED, 1)
    jobs = [pool.Job(_INSTALL, number)]
    if number in graph.sources:
        against = (graph.dependencies[dependency] for dependency in graph.conflicts[number])
        jobs += [pool.Job(_FORBID, dependency) for dependency in against]
    return solver, solver.solve(jobs)


def decide(graph: Graph, questions: Sequence[int]) -> Decided:
    """Sort out the questions that are provably broken and those that are provably fine."""
    if not graph.exact:
        return Decided(tuple(questions), frozenset(), {}, frozenset())
    dead, lost = dead_ends(graph)
    waiting = [number for number in questions if number not in dead]
    witnessed: set[int] = set()
    unloved: Set[int] = frozenset()
    for attempt in range(_ATTEMPTS):
        closures = Closures(graph, choose(graph, dead, lost, unloved), waiting)
        witnessed.update(closures.witnessed(waiting))
        waiting = [number for number in waiting if number not in witnessed]
        if len(waiting) <= _FEW or attempt + 1 == _ATTEMPTS:
            break
        unloved = _in_the_way(graph, closures.clashes(waiting), loved=attempt > 0)
    return Decided(tuple(questions), frozenset(dead), lost, frozenset(witnessed))


def _in_the_way(graph: Graph, clashes: Iterable[Sequence[int]], *, loved: bool) -> Set[int]:
    """Of packages that clash the most wanted one (`loved`), or else all the others."""

    @cache
    def wanted(package: int) -> tuple[int, int]:
        needs = (n for n in graph.provides[package] if graph.preferred[n] == package)
        return sum(len(graph.users[number]) for number in needs), -package

    unloved: set[int] = set()
    for packages in clashes:
        ordered = sorted(packages, key=wanted)
        unloved.update(ordered[-1:] if loved else ordered[:-1])
    return unloved

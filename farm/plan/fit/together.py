"""Can two packages of a universe be installed side by side?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import solv

from farm.plan.universe import Universe


@dataclass(frozen=True, eq=False)
class Company:
    """Answers for pairs of packages of one universe, each solved once."""

    universe: Universe
    alone: dict[int, bool] = field(default_factory=dict)
    pairs: dict[tuple[int, int], bool] = field(default_factory=dict)

    def can_meet(self, one: Any, other: Any) -> bool:
        """Whether a site may have both.

        Where one of them cannot be installed at all, for reasons of its own, only what the two
        say of each other counts: once it can be installed they will meet.
        """
        pair = (min(one.id, other.id), max(one.id, other.id))
        if pair not in self.pairs:
            with self.universe.guard:
                self.pairs[pair] = self._meet(one, other)
        return self.pairs[pair]

    def _meet(self, one: Any, other: Any) -> bool:
        if one.name == other.name:  # side by side only for two architectures of one machine
            return one.arch != other.arch and "noarch" not in (one.arch, other.arch)
        if _excludes(one, other) or _excludes(other, one):
            return False
        if self._solves(one.id, other.id):
            return True
        return not (self._installable(one.id) and self._installable(other.id))

    def _installable(self, number: int) -> bool:
        if number not in self.alone:
            self.alone[number] = self._solves(number)
        return self.alone[number]

    def _solves(self, *numbers: int) -> bool:
        pool = self.universe.pool
        solver = pool.Solver()
        solver.set_flag(solver.SOLVER_FLAG_IGNORE_RECOMMENDED, 1)
        how = solv.Job.SOLVER_INSTALL | solv.Job.SOLVER_SOLVABLE
        return not solver.solve([pool.Job(how, number) for number in numbers])


def _excludes(one: Any, other: Any) -> bool:
    """Whether `one` says that it conflicts with `other`, or obsoletes it."""
    if any(
        other.matchesdep(solv.SOLVABLE_PROVIDES, dep)
        for dep in one.lookup_deparray(solv.SOLVABLE_CONFLICTS)
    ):
        return True
    return any(
        other.matchesdep(solv.SOLVABLE_NAME, dep)
        for dep in one.lookup_deparray(solv.SOLVABLE_OBSOLETES)
        if one.name != other.name
    )

"""What the steps of a walk are expected to demand, which builds on the way may change."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from farm.model import Demand, Step
from farm.rebuild.decisions import Expect

# With more steps left than that, lessons are taken only after one in so many of them.
_LARGE, _LESSONS = 50, 5


class Outlook:
    """The demands of all steps, and the work that is left. `learn` has what was built count in
    what is expected."""

    def __init__(self, expect: Expect, learn: Callable[[], None]) -> None:
        self.demands: dict[str, Demand] = {}  # by step
        self.work = 0.0  # core-seconds of all that has not ended
        self._expect, self._learn = expect, learn
        self._built = 0  # since something was learnt from it

    def enter(self, step: Step, wanted: Demand | None = None, *, over: bool = False) -> None:
        """A step is part of the walk now, `over` already or to be done; the next attempt at it may
        want more than is expected."""
        demand = self._expect(step)
        self.demands[step.id] = demand if wanted is None else _more(demand, wanted)
        if not over:
            self.work += work_of(self.demands[step.id])

    def raise_to(self, name: str, wanted: Demand) -> Demand:
        """A new attempt may need more than the last one, which met with a mishap, was given."""
        return self._change(name, _more(self.demands[name], wanted))

    def over(self, name: str) -> None:
        """A step has ended."""
        self.work -= work_of(self.demands[name])

    def built(self) -> None:
        """A build may have taught something."""
        self._built += 1

    def learnt(self, left: int) -> bool:
        """Whether it is time to make the order by what builds have taught, with so many steps left:
        in a large plan after many of them."""
        if not self._built or self._built < (left // _LESSONS if left > _LARGE else 1):
            return False
        self._built = 0
        self._learn()
        return True

    def revise(self, steps: Iterable[Step]) -> bool:
        """Expect these anew; whether anything is expected otherwise."""
        changed = False
        for step in steps:
            now = self._expect(step)
            if now != self.demands[step.id]:
                self._change(step.id, now)
                changed = True
        return changed

    def _change(self, name: str, demand: Demand) -> Demand:
        self.work += work_of(demand) - work_of(self.demands[name])
        self.demands[name] = demand
        return demand


def _more(expected: Demand, wanted: Demand) -> Demand:
    """What is expected, with as much of everything as is wanted at least."""
    return Demand(
        max(expected.cores, wanted.cores),
        max(expected.memory, wanted.memory),
        max(expected.disk, wanted.disk),
        expected.seconds,
    )


def work_of(demand: Demand) -> float:
    """In core-seconds."""
    return max(demand.cores, 1) * demand.seconds

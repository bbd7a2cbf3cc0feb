"""A walk as it would go: the scheduler itself, over machines and a clock that are made up.

Attempts take the seconds that they are said to take; settling and starting take none. `farm plan`
looks ahead with it, and `tests/bench/scheduling.py` measures the order.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from farm.model import (
    Built,
    Chroot,
    Demand,
    Failed,
    Going,
    Job,
    Lock,
    Manifest,
    Nevra,
    Outcome,
    Package,
    Plan,
    Recipe,
    Result,
    Step,
)
from farm.rebuild.decisions import Decision, Keep, Run
from farm.rebuild.engines import Capacity, Ended, Moved
from farm.rebuild.room import Need, Room, need_of
from farm.rebuild.scheduler import walk

_SOURCE = Package(Nevra("simulated", 0, "0", "0", "src"), "", 0, "simulated")
_BUILT = Built((), _SOURCE, 0.0)
_MANIFEST = Manifest("", "", "", 0)
_LOCK = Lock(())
_RECIPE = Recipe("simulated", "", "", ())
_CHROOT = Chroot("", "", "", (), (), "")


@dataclass
class Clock:
    """Seconds since the walk began."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Span:
    """When a step ran, in seconds since the walk began, and on which of the machines."""

    step: str
    start: float
    end: float
    place: int = 0


@dataclass(frozen=True)
class Simulated:
    """How a walk would go: the steps that ran, in the order of their starts."""

    spans: tuple[Span, ...]

    @property
    def seconds(self) -> float:
        """From the first start to the last end."""
        return max((span.end for span in self.spans), default=0.0)


@dataclass(order=True)
class _Waiting:
    """An attempt that has no machine yet."""

    order: tuple[float, int]
    job: Job = field(compare=False)
    needs: Mapping[Capacity, Need] = field(compare=False)  # what it holds of each kind of machine


class SimulatedEngine:
    """Machines that an attempt is on for as long as it is said to take. What fits into what is
    free of all of them together, but not of one, waits in the order of ranks.

    `capacity` is what the scheduler sees, where that is not all machines together; `may` says
    whether a step can be done by a machine, by its number.
    """

    def __init__(
        self,
        machines: Sequence[Capacity],
        clock: Clock,
        seconds: Callable[[Job], float],
        outcome: Callable[[Job], Outcome | None] = lambda job: _BUILT,
        *,
        capacity: Capacity | None = None,
        may: Callable[[str, int], bool] = lambda step, machine: True,
    ) -> None:
        self.capacity = capacity or together(machines)
        self.spans: list[Span] = []
        self._machines = [Room(machine) for machine in machines]
        self._kinds = tuple(dict.fromkeys(machines))
        self._may = may
        self._clock = clock
        self._seconds = seconds
        self._outcome = outcome
        self._jobs: dict[str, Job] = {}
        self._since: dict[str, float] = {}
        self._waiting: list[_Waiting] = []
        self._ends: list[tuple[float, str, int]] = []  # when, which attempt, on which machine

    def start(self, job: Job, directory: Path, rank: float = 0.0) -> None:
        self._jobs[job.attempt] = job
        demand = job.demand
        if demand.cores < self.capacity.share:
            demand = replace(demand, cores=self.capacity.share)
        needs = {kind: need_of(demand, kind)._replace(seconds=0.0) for kind in self._kinds}
        insort(self._waiting, _Waiting((-rank, len(self._jobs)), job, needs))
        self._place()

    def recover(self, attempts: Sequence[Going]) -> frozenset[str]:
        return frozenset()

    def poll(self, seconds: float) -> tuple[Ended | Moved, ...]:
        until = self._clock.now + seconds
        if not self._ends or self._ends[0][0] > until:
            self._clock.now = until
            return ()
        self._clock.now = now = max(self._clock.now, self._ends[0][0])
        news = []
        while self._ends and self._ends[0][0] <= now:
            _, attempt, machine = heapq.heappop(self._ends)
            self._machines[machine].give(attempt)
            job = self._jobs[attempt]
            self.spans.append(Span(job.step, self._since.pop(attempt), now, machine))
            news.append(Ended(attempt, self._outcome(job), place=str(machine)))
        self._place()
        return tuple(news)

    def stop(self) -> None:
        self._waiting.clear()
        self._ends.clear()

    def _place(self) -> None:
        left = []
        for waiting in self._waiting:
            job = waiting.job
            machine = next(
                (
                    n
                    for n, each in enumerate(self._machines)
                    if waiting.needs[each.capacity].within(each.free()) and self._may(job.step, n)
                ),
                None,
            )
            if machine is None:
                left.append(waiting)
                continue
            now = self._since[job.attempt] = self._clock.now
            room = self._machines[machine]
            room.take(job.attempt, waiting.needs[room.capacity], now)
            heapq.heappush(self._ends, (now + self._seconds(job), job.attempt, machine))
        self._waiting = left


def together(machines: Sequence[Capacity]) -> Capacity:
    """What machines have together."""
    return Capacity(
        sum(each.slots for each in machines),
        sum(each.cores for each in machines),
        sum(each.memory for each in machines),
        sum(each.disk for each in machines),
    )


def simulated(
    plan: Plan,
    demands: Mapping[str, Demand],
    machines: Sequence[Capacity],
    *,
    seconds: Mapping[str, float] | None = None,
    kept: frozenset[str] = frozenset(),
    urgent: frozenset[str] = frozenset(),
    capacity: Capacity | None = None,
    may: Callable[[str, int], bool] = lambda step, machine: True,
) -> Simulated:
    """How the walk of this plan would go, from what each step (by id) demands. Steps in `kept`
    are not built. `seconds`: what steps really take, where that is not what is expected.
    `capacity` and `may` are the engine's; what no machine may do would wait for ever."""
    clock = Clock()
    takes = seconds or {name: demand.seconds for name, demand in demands.items()}
    engine = SimulatedEngine(
        machines, clock, lambda job: takes[job.step], capacity=capacity, may=may
    )

    def settle(step: Step, needs: Mapping[str, Result]) -> Decision:
        if step.id in kept:
            return Keep(_result(step), "")
        job = Job(
            step.id, step.id, _RECIPE, _CHROOT, _LOCK, _LOCK, 0, step.id, 0,
            demand=demands[step.id],
        )  # fmt: skip
        return Run(job, Path(), "")

    def finish(step: Step, job: Job, outcome: Outcome) -> Result | Failed | Run:
        return outcome if isinstance(outcome, Failed) else _result(step)

    walk(
        plan, engine, settle, finish, lambda step: demands[step.id], _nobody_listens,
        urgent=urgent, clock=clock, patience=float("inf"),
    )  # fmt: skip
    return Simulated(tuple(sorted(engine.spans, key=lambda span: (span.start, span.end))))


def _result(step: Step) -> Result:
    return Result(step.id, step.id, _MANIFEST, _LOCK, (), 0, "", _BUILT, 0.0)


def _nobody_listens(state: str, step: str = "", **fields: object) -> None:
    pass

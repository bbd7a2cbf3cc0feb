"""`farm plan`: how a build would go, walked by the scheduler itself with a clock that is made up.

What would be built and why is the decision of `farm build --dry-run`; only that costs. What waits
for other bytes is counted as if it were built: the figures are what it comes to at most, with those
for what is certain beside them.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from farm.building import BuildRequest, tries_again, wanted
from farm.model import Chroot, Demand, Plan, Step
from farm.rebuild.engines import Machine
from farm.rebuild.engines.choice import Park, park_of
from farm.rebuild.ranks import critical_path
from farm.rebuild.simulation import Simulated, simulated
from farm.reports import BuildRow, foreseen_rows
from farm.survey import Survey
from farm.workshop import Workshop

MORE_MACHINES = (1, 2, 4, 8)


@dataclass(frozen=True)
class PlannedStep:
    """A step that would be built (`certain`) or may be. Times are in seconds, `start` since the
    build's; `learnt` says whether they are those of an earlier build of the same step."""

    package: str
    arch: str
    start: float
    seconds: float
    cores: int
    certain: bool
    critical: bool
    learnt: bool
    reason: str


@dataclass(frozen=True)
class Machines:
    """What so many machines more would come to, each like this one, or of a cluster's kinds of
    nodes like that of which one more saves the most."""

    more: int
    seconds: float
    saved: float


@dataclass(frozen=True)
class ArchitectureSum:
    """What one architecture costs."""

    arch: str
    builds: int
    maybe: int
    core_hours: float
    learnt: int
    estimated: int


@dataclass(frozen=True)
class Foresight:
    """How a build would go. `seconds` and all that follows from them are for everything that may
    have to be built, `certain_seconds` for what is certain alone. `finish`: seconds since 1970.

    `nodes`: of a cluster, 0 for this machine alone; `like`: the node that `machines` are like;
    `notes`: what these figures leave out."""

    release: str
    commit: str
    slots: int
    seconds: float
    certain_seconds: float
    finish: float
    core_hours: float
    order: tuple[PlannedStep, ...]
    critical_path: tuple[PlannedStep, ...]
    machines: tuple[Machines, ...]
    architectures: tuple[ArchitectureSum, ...]
    kept: int
    failing: tuple[BuildRow, ...]
    nodes: int = 0
    like: str = ""
    notes: tuple[str, ...] = ()

    @property
    def certain(self) -> int:
        """Steps that would be built whatever comes of others."""
        return sum(step.certain for step in self.order)

    @property
    def learnt(self) -> int:
        """Steps whose time is that of an earlier build of the same step."""
        return sum(step.learnt for step in self.order)


def foresee(survey: Survey, shop: Workshop, request: BuildRequest) -> Foresight:
    """How `farm build` would go if it began now."""
    wants = wanted(survey, request)
    plan = wants.of(survey.plan(wants.names))
    demands = {step.id: shop.expect(step) for step in plan.steps}
    settler = shop.settler(looking=True, tries_again=tries_again(request, wants.names))
    expected = {name: demand.seconds for name, demand in demands.items()}
    rows = foreseen_rows(settler, plan.steps, expected)
    config = survey.config
    engine = request.engine or config.build.engine
    archs = dict.fromkeys(settler.chroots[step.chroot].arch for step in plan.steps)
    park = park_of(engine, config, survey.state, shop.jobs, archs)
    known = frozenset(step.id for step in plan.steps if shop.measured(step))
    return foreseen(
        plan, rows, demands, park, settler.chroots, known,
        release=survey.release, commit=survey.layer.commit,
    )  # fmt: skip


def foreseen(
    plan: Plan,
    rows: Sequence[BuildRow],
    demands: Mapping[str, Demand],
    park: Park,
    chroots: Mapping[str, Chroot],
    known: frozenset[str],
    *,
    release: str = "",
    commit: str = "",
    now: float | None = None,
) -> Foresight:
    """The same of a plan, with a row of `farm build --dry-run` for each step; `known` are the
    ids of steps whose demand was learnt from themselves."""
    row_of = {step.id: row for step, row in zip(plan.steps, rows, strict=True)}
    certain = frozenset(name for name, row in row_of.items() if row.verdict == "build")
    maybe = frozenset(name for name, row in row_of.items() if row.verdict == "wait")
    all_of = frozenset(row_of)
    kept = all_of - certain - maybe
    arch_of = {step.id: chroots[step.chroot].arch for step in plan.steps}
    ground = _Ground(plan, demands, arch_of, park)
    walked = ground.walk(kept)
    surely = ground.walk(all_of - certain)
    chain = critical_path(
        plan, {name: 0.0 if name in kept else demands[name].seconds for name in row_of}
    )
    critical = {step.id for step in chain}
    starts = {span.step: span.start for span in walked.spans}

    def planned(step: Step) -> PlannedStep:
        demand, row = demands[step.id], row_of[step.id]
        return PlannedStep(
            row.title, chroots[step.chroot].arch, starts[step.id], demand.seconds,
            max(demand.cores, 1), step.id in certain, step.id in critical, step.id in known,
            row.reason,
        )  # fmt: skip

    steps = {step.id: step for step in plan.steps}
    order = tuple(planned(steps[span.step]) for span in walked.spans)
    like, more = ground.more(kept, walked.seconds) if order else (None, ())
    wanted = {each.arch for each in order}
    return Foresight(
        release=release,
        commit=commit,
        slots=park.capacity.slots,
        seconds=walked.seconds,
        certain_seconds=surely.seconds,
        finish=(time.time() if now is None else now) + walked.seconds,
        core_hours=_core_hours(order),
        order=order,
        critical_path=tuple(planned(step) for step in chain),
        machines=more,
        architectures=_sums(order),
        kept=sum(row.verdict == "keep" for row in rows),
        failing=tuple(row for row in rows if row.verdict in ("failed", "skipped")),
        nodes=len(park.machines) if park.capacity.queues else 0,
        like=like.name if like is not None else "",
        notes=ground.notes(wanted),
    )


@dataclass(frozen=True)
class _Ground:
    """What walks are foreseen on; `arch_of` a step, by its id."""

    plan: Plan
    demands: Mapping[str, Demand]
    arch_of: Mapping[str, str]
    park: Park

    def walk(self, kept: frozenset[str], *more: Machine) -> Simulated:
        """How it goes with so many machines more."""
        machines = (*self.park.machines, *more) or (Machine(self.park.capacity),)
        somewhere = frozenset(arch for arch in self.arch_of.values() if _whose(machines, arch))

        def may(step: str, number: int) -> bool:
            arch = self.arch_of[step]
            return arch not in somewhere or _does(machines[number], arch)

        return simulated(
            self.plan, self.demands, [each.capacity for each in machines], kept=kept,
            capacity=self.park.capacity if self.park.capacity.queues else None, may=may,
        )  # fmt: skip

    def more(self, kept: frozenset[str], now: float) -> tuple[Machine | None, tuple[Machines, ...]]:
        """What more machines save, and like which they are: one more of that kind saves most."""
        kinds = {(each.capacity, each.archs): each for each in reversed(self.park.machines)}
        if not kinds:
            return None, ()
        took = {kind: self.walk(kept, each).seconds for kind, each in kinds.items()}
        best = min(took, key=lambda kind: took[kind])
        like, seconds = kinds[best], {1: took[best]}
        for number in MORE_MACHINES:
            if number not in seconds:
                seconds[number] = self.walk(kept, *[like] * number).seconds
        return like, tuple(Machines(n, seconds[n], now - seconds[n]) for n in MORE_MACHINES)

    def notes(self, archs: Collection[str]) -> tuple[str, ...]:
        """What is not known of the machines."""
        if self.park.unknown:
            room = f"room for {self.park.capacity.slots} jobs at a time is taken for granted"
            return (f"{self.park.unknown}: {room}",)
        lacking = [arch for arch in sorted(archs) if not _whose(self.park.machines, arch)]
        return tuple(
            f"no node in service builds for {arch}: the figures are as if any did"
            for arch in lacking
        )


def _whose(machines: Sequence[Machine], arch: str) -> bool:
    return any(_does(each, arch) for each in machines)


def _does(machine: Machine, arch: str) -> bool:
    return not machine.archs or arch in machine.archs


def _core_hours(steps: Sequence[PlannedStep]) -> float:
    return sum(step.cores * step.seconds for step in steps) / 3600


def _sums(order: Sequence[PlannedStep]) -> tuple[ArchitectureSum, ...]:
    sums = []
    for arch in sorted({step.arch for step in order}):
        steps = [step for step in order if step.arch == arch]
        certain, learnt = (sum(getattr(s, n) for s in steps) for n in ("certain", "learnt"))
        sums.append(
            ArchitectureSum(
                arch, certain, len(steps) - certain, _core_hours(steps), learnt,
                len(steps) - learnt,
            )
        )  # fmt: skip
    return tuple(sums)

"""What holds of every walk, whatever the plan, the demands and the mishaps."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.model import (
    Built,
    Chroot,
    Demand,
    Failed,
    Job,
    Lock,
    Manifest,
    Nevra,
    Outcome,
    Package,
    Plan,
    Recipe,
    Result,
    Skipped,
    Step,
)
from farm.rebuild.decisions import Decision, Ending, Joined, Keep, Refuse, Run
from farm.rebuild.engines import Capacity, Ended, Moved
from farm.rebuild.queue import Queue
from farm.rebuild.ranks import remaining_paths
from farm.rebuild.room import Need, Room, need_of
from farm.rebuild.scheduler import walk
from farm.rebuild.simulation import Clock, SimulatedEngine, simulated

BUILT = Built((), Package(Nevra("p", 0, "1", "1", "src"), "", 0, "p"), 1.0)
RECIPE, CHROOT, LOCK = Recipe("p", "", "", ()), Chroot("", "", "", (), (), ""), Lock(())
ENDS = ("built", "kept", "failed", "skipped")


@st.composite
def plans(draw: st.DrawFn, most: int = 14) -> Plan:
    number = draw(st.integers(1, most))
    steps = []
    for place in range(number):
        before = st.sets(st.integers(0, place - 1), max_size=3) if place else st.just(set())
        needs, after = draw(before), draw(before)
        steps.append(
            Step(
                f"p{place}",
                "c",
                tuple(f"p{n}" for n in sorted(needs)),
                after=tuple(f"p{n}" for n in sorted(after - needs)),
            )
        )
    return Plan(tuple(steps))


capacities = st.builds(
    Capacity,
    slots=st.integers(1, 5),
    cores=st.sampled_from([0, 1, 2, 4, 8]),
    memory=st.sampled_from([0, 10, 100]),
    disk=st.sampled_from([0, 50]),
)


def demands_of(plan: Plan, seed: int) -> dict[str, Demand]:
    chance = random.Random(seed)
    return {
        step.id: Demand(
            cores=chance.choice([1, 1, 1, 2, 3, 16]),
            memory=chance.choice([0, 1, 5, 60, 1000]),
            disk=chance.choice([0, 10, 40, 60]),
            seconds=chance.choice([1.0, 2.0, 5.0, 30.0]),
        )
        for step in plan.steps
    }


@dataclass
class Watched:
    """A walk in which everything is looked at."""

    plan: Plan
    demands: Mapping[str, Demand]
    capacity: Capacity
    fates: Mapping[str, Sequence[str]] = field(default_factory=dict)  # of the attempts of a step
    decisions: Mapping[str, str] = field(default_factory=dict)
    joined: Plan | None = None
    join_after: int = 0
    urgent: frozenset[str] = frozenset()
    retries: int = 0
    fail_fast: bool = False
    lessons: list[dict[str, Demand]] = field(default_factory=list)
    events: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    idle: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.engine = Engine(self)
        self.tries: Counter[str] = Counter()
        self.running: dict[str, Need] = {}
        self.over: set[str] = set()
        self.settled: Counter[str] = Counter()
        self.resting: set[str] = set()
        self.stopping = False
        self.asked = 0

    def run(self) -> dict[str, Ending]:
        endings = walk(
            self.plan, self.engine, self.settle, self.finish, lambda s: self.demands[s.id],
            self.emit, again=self.again, joining=self.joining, learn=self.learn,
            urgent=self.urgent,
            retries=self.retries, retry_seconds=3.0, clock=self.clock, patience=float("inf"),
            fail_fast=self.fail_fast,
        )  # fmt: skip
        return {ending.step.id: ending for ending in endings}

    def settle(self, step: Step, needs: Mapping[str, Result]) -> Decision:
        assert set(step.needs) <= set(needs) <= set(step.awaited)
        assert {f"{need}@c" for need in step.awaited} <= self.over, "settled before its needs"
        self.settled[step.id] += 1
        decision = self.decisions.get(step.id, "run")
        if decision == "keep":
            return Keep(self.result(step), "same inputs")
        if decision == "refuse":
            return Refuse(Failed("package", "no lock", phase="lock"))
        return self.attempt(step)

    def attempt(self, step: Step) -> Run:
        self.tries[step.id] += 1
        name = f"{step.id}#{self.tries[step.id]}"
        job = Job(name, step.id, RECIPE, CHROOT, LOCK, LOCK, 0, "", 0, demand=self.demands[step.id])
        return Run(job, Path(), "never built")

    def outcome(self, job: Job) -> Outcome | None:
        fates = self.fates.get(job.step, ())
        number = int(job.attempt.partition("#")[2]) - 1
        fate = fates[number] if number < len(fates) else "built"
        return BUILT if fate == "built" else None if fate == "lost" else Failed(fate, "no")  # type: ignore[arg-type]

    def finish(self, step: Step, job: Job, outcome: Outcome) -> Result | Failed | Run:
        return outcome if isinstance(outcome, Failed) else self.result(step)

    def result(self, step: Step) -> Result:
        manifest = Manifest("", "", "", 0)
        return Result(step.id, step.id, manifest, LOCK, (), 0, "", BUILT, 0.0)

    def again(self, step: Step, job: Job, failed: Failed, tries: int, place: str) -> Run | None:
        assert failed.kind == "infrastructure" and tries == self.tries[step.id] <= self.retries
        return self.attempt(step)

    def joining(self, endings: Mapping[str, Ending]) -> Joined | None:
        self.asked += 1
        if self.joined is not None and self.asked == self.join_after + 1:
            self.plan = self.joined
            return Joined(self.joined, self.urgent)
        return None

    def learn(self) -> None:
        if self.lessons:
            self.demands = self.lessons.pop()

    def emit(self, state: str, step: str = "", **fields: Any) -> None:
        self.events.append((state, step, fields))
        if state in ENDS:
            self.over.add(step)
        if state == "failed":
            self.stopping = self.fail_fast
        if state == "running":
            resting = fields["phase"].startswith("retry")
            (self.resting.add if resting else self.resting.discard)(step)

    def ready(self) -> list[str]:
        busy = {attempt.partition("#")[0] for attempt in self.running}
        return [
            step.id
            for step in self.plan.steps
            if step.id not in self.over | busy | self.resting
            and all(f"{need}@c" in self.over for need in step.awaited)
        ]

    def free(self) -> Need:
        free = Room(self.capacity).free()
        for need in self.running.values():
            free = free.less(need)
        return free


class Engine(SimulatedEngine):
    def __init__(self, watched: Watched) -> None:
        self.watched = watched
        super().__init__(
            [watched.capacity],
            watched.clock,
            lambda job: watched.demands[job.step].seconds,
            watched.outcome,
        )

    def start(self, job: Job, directory: Path, rank: float = 0.0) -> None:
        watched = self.watched
        watched.order.append(job.step)
        need = need_of(watched.demands[job.step], watched.capacity)
        assert need._replace(seconds=0.0).within(watched.free()), "more than there is"
        watched.running[job.attempt] = need
        super().start(job, directory, rank)
        assert not self._waiting, "the engine had to let it wait"

    def poll(self, seconds: float) -> tuple[Ended | Moved, ...]:
        watched = self.watched
        if seconds:
            self._nothing_is_idle()
        news = super().poll(seconds)
        for each in news:
            watched.running.pop(each.attempt)
        return (*news, *news)  # a second word about each

    def _nothing_is_idle(self) -> None:
        """While there is nothing to do but to wait, the first ready step does not fit."""
        watched = self.watched
        ready = watched.ready()
        if not ready or watched.stopping:
            return
        seconds = {name: watched.demands[name].seconds for name in watched.demands}
        paths = remaining_paths(watched.plan, seconds)
        hurried = with_needs(watched.plan, watched.urgent)
        first = max(ready, key=lambda name: (name in hurried, paths[name]))
        need = need_of(watched.demands[first], watched.capacity)._replace(seconds=0.0)
        assert not need.within(watched.free()), f"{first} would fit"


def with_needs(plan: Plan, names: frozenset[str]) -> set[str]:
    found = set(names)
    for step in reversed(plan.steps):
        if step.id in found:
            found |= {f"{need}@c" for need in step.awaited}
    return found


@settings(deadline=None, max_examples=120)
@given(plan=plans(), seed=st.integers(0, 10**6), capacity=capacities)
def test_a_walk_holds_to_what_there_is_and_to_what_is_needed(
    plan: Plan, seed: int, capacity: Capacity
) -> None:
    watched = Watched(plan, demands_of(plan, seed), capacity)
    endings = watched.run()
    assert all(isinstance(ending.outcome, Built) for ending in endings.values())
    assert Counter(watched.order) == Counter(step.id for step in plan.steps)
    told = Counter(name for state, name, _ in watched.events if state in ENDS)
    assert told == Counter(step.id for step in plan.steps)


@settings(deadline=None, max_examples=100)
@given(
    plan=plans(), seed=st.integers(0, 10**6), capacity=capacities, retries=st.integers(0, 2),
    fail_fast=st.booleans(),
)  # fmt: skip
def test_whatever_fails_every_step_ends_once_and_says_because_of_whom(
    plan: Plan, seed: int, capacity: Capacity, retries: int, fail_fast: bool
) -> None:
    chance = random.Random(seed)
    fates = {
        step.id: chance.choices(["built", "package", "infrastructure", "lost"], [6, 1, 2, 1], k=3)
        for step in plan.steps
    }
    decisions = {
        step.id: chance.choices(["run", "keep", "refuse"], [8, 2, 1])[0] for step in plan.steps
    }
    watched = Watched(
        plan, demands_of(plan, seed), capacity, fates, decisions, retries=retries,
        fail_fast=fail_fast,
    )  # fmt: skip
    endings = watched.run()
    told = Counter(name for state, name, _ in watched.events if state in ENDS)
    assert told == Counter(step.id for step in plan.steps)
    queued = Counter(name for state, name, _ in watched.events if state == "queued")
    assert queued == told
    failed = {name for name, each in endings.items() if isinstance(each.outcome, Failed)}
    for name, ending in endings.items():
        if isinstance(ending.outcome, Skipped):
            lost = [
                endings[f"{need}@c"]
                for need in ending.step.needs
                if not isinstance(endings[f"{need}@c"].outcome, Built)
            ]
            if not lost:
                assert fail_fast and "was stopped at the first failure" in ending.outcome.because
            elif ending.cause:
                assert ending.cause in failed
                assert ending.cause.partition("@")[0] in ending.outcome.because
        for need in ending.step.needs:
            if name not in failed and not isinstance(endings[f"{need}@c"].outcome, Built):
                assert isinstance(ending.outcome, Skipped)
        assert watched.tries[name] <= 1 + retries
    if not fail_fast:
        for name, wanted in fates.items():
            tried = wanted[: watched.tries[name]]
            if tried and isinstance(endings[name].outcome, Built):
                assert tried[-1] == "built"
                assert not {"built", "package"} & set(tried[:-1])


@settings(deadline=None, max_examples=80)
@given(
    plan=plans(), seed=st.integers(0, 10**6), capacity=capacities, part=st.integers(0, 14),
    when=st.integers(0, 40), hurry=st.booleans(),
)  # fmt: skip
def test_steps_that_join_are_walked_as_if_they_had_been_there(
    plan: Plan, seed: int, capacity: Capacity, part: int, when: int, hurry: bool
) -> None:
    first = Plan(plan.steps[:part])
    urgent = frozenset([plan.steps[-1].id]) if hurry else frozenset()
    watched = Watched(
        first, demands_of(plan, seed), capacity, joined=plan, join_after=when, urgent=urgent
    )
    endings = watched.run()
    wanted = plan if watched.asked > when else first
    assert set(endings) == {step.id for step in wanted.steps}
    assert all(isinstance(ending.outcome, Built) for ending in endings.values())
    assert Counter(watched.order) == Counter(endings.keys())
    queued = Counter(name for state, name, _ in watched.events if state == "queued")
    assert queued == Counter(endings.keys())


@settings(deadline=None, max_examples=80)
@given(plan=plans(), seed=st.integers(0, 10**6), capacity=capacities, lessons=st.integers(1, 6))
def test_what_is_learnt_on_the_way_changes_the_order_and_nothing_else(
    plan: Plan, seed: int, capacity: Capacity, lessons: int
) -> None:
    watched = Watched(plan, demands_of(plan, seed), capacity)
    watched.lessons = [demands_of(plan, seed + number) for number in range(1, lessons + 1)]
    endings = watched.run()
    assert all(isinstance(ending.outcome, Built) for ending in endings.values())
    assert Counter(watched.order) == Counter(endings.keys())


@settings(deadline=None, max_examples=80)
@given(plan=plans(most=40), seed=st.integers(0, 10**6), workers=st.integers(1, 8))
def test_a_schedule_is_within_what_graham_proved(plan: Plan, seed: int, workers: int) -> None:
    chance = random.Random(seed)
    seconds = {step.id: chance.lognormvariate(3, 1.5) for step in plan.steps}
    demands = {name: Demand(seconds=each) for name, each in seconds.items()}
    took = simulated(plan, demands, [Capacity(workers)]).seconds
    path, work = max(remaining_paths(plan, seconds).values()), sum(seconds.values())
    assert max(path, work / workers) <= took * (1 + 1e-9)
    assert took <= (work / workers + path * (1 - 1 / workers)) * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("workers", [1, 2, 16, 256])
def test_a_build_like_a_distributions_takes_at_most_a_twentieth_more_than_any_would(
    seed: int, workers: int
) -> None:
    chance = random.Random(seed)
    steps: list[Step] = []
    for place in range(600):  # most need something of a few old and popular ones
        number = min(place, chance.randrange(8))
        needs = {f"p{int(place * chance.random() ** 3)}" for _ in range(number)}
        steps.append(Step(f"p{place}", "c", tuple(sorted(needs))))
    plan = Plan(tuple(steps))
    seconds = {step.id: 60 * chance.lognormvariate(0, 1.5) for step in steps}
    demands = {name: Demand(seconds=each) for name, each in seconds.items()}
    took = simulated(plan, demands, [Capacity(workers)]).seconds
    bound = max(*remaining_paths(plan, seconds).values(), sum(seconds.values()) / workers)
    assert bound * (1 - 1e-9) <= took <= 1.05 * bound


@settings(deadline=None, max_examples=100)
@given(plan=plans(), seed=st.integers(0, 10**6), capacity=capacities, number=st.integers(1, 4))
def test_several_machines_are_never_given_more_than_each_of_them_has(
    plan: Plan, seed: int, capacity: Capacity, number: int
) -> None:
    demands = demands_of(plan, seed)
    spans = simulated(plan, demands, [capacity] * number).spans
    assert Counter(span.step for span in spans) == Counter(demands.keys())
    of_one = Room(capacity).free()
    for span in spans:
        together = [each for each in spans if each.start <= span.start < each.end]
        for machine in {each.place for each in together}:
            left = of_one
            for each in together:
                if each.place == machine:
                    left = left.less(need_of(demands[each.step], capacity))
            assert min(left[:4]) >= 0


needs = st.builds(
    Need,
    slots=st.sampled_from([1.0, 4.0]),
    cores=st.integers(0, 4).map(float),
    memory=st.integers(0, 9).map(float),
    disk=st.integers(0, 3).map(float),
    seconds=st.integers(0, 30).map(float),
)


@given(
    st.lists(st.tuples(needs, st.booleans(), st.booleans()), min_size=1, max_size=30),
    st.lists(needs, min_size=1, max_size=5),
)
def test_the_first_that_fits_is_found(
    entries: list[tuple[Need, bool, bool]], limits: list[Need]
) -> None:
    names = [f"p{n}" for n in range(len(entries))]
    queue = Queue(names, {name: each[0] for name, each in zip(names, entries, strict=True)})
    there = []
    for name, (need, added, removed) in zip(names, entries, strict=True):
        if added:
            queue.add(name)
        if removed:
            queue.remove(name)
        if added and not removed:
            there.append((name, need))
    for limit in limits:
        expected = next((name for name, need in there if need.within(limit)), None)
        assert queue.first(limit) == expected
    assert queue.first() == (there[0][0] if there else None)
    assert set(queue) == {name for name, _ in there}

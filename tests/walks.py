"""Walks for tests: over engines and clocks that are made up, told as stories or watched closely."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

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
    Problem,
    Recipe,
    Result,
    Step,
)
from farm.rebuild.decisions import Decision, Ending, Joined, Keep, LeftOff, Refuse, Run
from farm.rebuild.engines import Capacity, Ended, Moved
from farm.rebuild.ranks import remaining_paths
from farm.rebuild.room import Need, Room, need_of
from farm.rebuild.scheduler import walk
from farm.rebuild.simulation import Clock, SimulatedEngine

BUILT = Built((), Package(Nevra("p", 0, "1", "1", "src"), "", 0, "p"), 1.0)
CHROOT, LOCK = Chroot("c", "r", "x86_64", (), (), ""), Lock(())
MISHAP = Failed("infrastructure", "the node went away")
EVER = float("inf")
TWO = Capacity(2)
ENDS = ("built", "kept", "failed", "skipped")


def step(name: str, *needs: str, problem: Problem | None = None, excluded: str = "") -> Step:
    return Step(name, CHROOT.name, needs, problem=problem, excluded=excluded)


def job(each: Step, attempt: str = "", demand: Demand | None = None) -> Job:
    recipe = Recipe(each.recipe, f"{each.recipe}.spec", "/", ())
    return Job(
        attempt or f"attempt-{each.recipe}", each.id, recipe, CHROOT, LOCK, LOCK, 0, each.recipe, 0,
        demand=demand or Demand(),
    )  # fmt: skip


def result(each: Step) -> Result:
    manifest = Manifest("r", "l", "c", 1)
    return Result(each.recipe, each.id, manifest, LOCK, (), 0, "", BUILT, 0.0)


def takes(**seconds: float) -> dict[str, Demand]:
    return {name: Demand(seconds=each) for name, each in seconds.items()}


class FakeEngine:
    """Ends attempts in the order they were started, one whenever it is waited for."""

    def __init__(
        self, slots: int = 2, outcomes: Mapping[str, Outcome | None] | None = None
    ) -> None:
        self.capacity = Capacity(slots)
        self.started: list[str] = []
        self.most = 0
        self.stopped = False
        self._running: list[str] = []
        self._outcomes = outcomes or {}

    def start(self, job: Job, directory: Path, rank: float = 0.0) -> None:
        self.started.append(job.recipe.name)
        self._running.append(job.recipe.name)
        self.most = max(self.most, len(self._running))

    def recover(self, attempts: Sequence[Going]) -> frozenset[str]:
        return frozenset()

    def poll(self, seconds: float) -> tuple[Ended | Moved, ...]:
        if not seconds:
            return ()
        name = self._running.pop(0)
        return (
            Moved(f"attempt-{name}", "%build"),
            Ended(f"attempt-{name}", self._outcomes.get(name, BUILT)),
        )

    def stop(self) -> None:
        self.stopped = True


def run(
    *steps: Step,
    engine: FakeEngine | None = None,
    decisions: Mapping[str, Decision] | None = None,
    seconds: Mapping[str, float] | None = None,
    fail_fast: bool = False,
) -> tuple[dict[str, Ending], FakeEngine]:
    engine = engine or FakeEngine()

    def settle(each: Step, needs: Mapping[str, Result]) -> Decision:
        assert set(each.needs) <= set(needs) <= set(each.awaited)
        return (decisions or {}).get(each.recipe, Run(job(each), Path(), "never built"))

    def finish(each: Step, _: Job, outcome: Outcome) -> Result | Failed | Run:
        return outcome if isinstance(outcome, Failed) else result(each)

    endings = walk(
        Plan(steps),
        engine,
        settle,
        finish,
        lambda each: Demand(seconds=(seconds or {}).get(each.recipe, 1.0)),
        lambda *_, **__: None,
        fail_fast=fail_fast,
    )
    return {ending.step.recipe: ending for ending in endings}, engine


@dataclass
class Story:
    """A walk with a clock that is made up, and what happened when."""

    demands: Mapping[str, Demand]
    capacity: Capacity = TWO
    outcomes: Mapping[str, Sequence[Outcome | None]] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    settle: Callable[[Step], Decision | None] = lambda each: None
    started: list[tuple[float, str]] = field(default_factory=list)
    cores: dict[str, int] = field(default_factory=dict)
    events: list[tuple[float, str, str, dict[str, Any]]] = field(default_factory=list)
    settled: list[tuple[float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.engine = StoryEngine(self)
        self.tries: dict[str, int] = {}

    def walk(self, *steps: Step) -> dict[str, Ending]:
        options: dict[str, Any] = {"begin": self.begin, "again": self.again, **self.options}
        endings = walk(
            Plan(steps), self.engine, self.decide, self.finish,
            lambda each: self.demands.get(each.recipe, Demand(seconds=1.0)), self.emit,
            clock=self.clock, patience=EVER, **options,
        )  # fmt: skip
        return {ending.step.recipe: ending for ending in endings}

    def decide(self, each: Step, needs: Mapping[str, Result]) -> Decision:
        self.settled.append((self.clock.now, each.recipe))
        return self.settle(each) or self.attempt(each)

    def attempt(self, each: Step) -> Run:
        number = self.tries[each.recipe] = self.tries.get(each.recipe, 0) + 1
        demand = self.demands.get(each.recipe, Demand(seconds=1.0))
        return Run(job(each, f"{each.recipe}#{number}", demand), Path(), "new")

    def begin(self, each: Step, run: Run, cores: int) -> Run:
        self.cores[each.recipe] = cores
        return run

    def again(self, each: Step, job: Job, failed: Failed, tries: int, place: str) -> Run | None:
        return self.attempt(each)

    def finish(self, each: Step, job: Job, outcome: Outcome) -> Result | Failed | Run:
        return outcome if isinstance(outcome, Failed) else result(each)

    def emit(self, state: str, name: str = "", **fields: Any) -> None:
        self.events.append((self.clock.now, state, name.partition("@")[0], fields))

    def said(self, state: str, name: str = "") -> list[dict[str, Any]]:
        return [each[3] for each in self.events if each[1] == state and each[2] == name]

    @property
    def starts(self) -> dict[str, float]:
        return {name: when for when, name in reversed(self.started)}

    @property
    def order(self) -> list[str]:
        return [name for _, name in self.started]


class StoryEngine(SimulatedEngine):
    def __init__(self, story: Story) -> None:
        self.story = story
        self.ranks: dict[str, float] = {}
        self.stopped = False

        def outcome(job: Job) -> Outcome | None:
            name, _, number = job.attempt.partition("#")
            told = story.outcomes.get(name, ())
            return told[int(number) - 1] if int(number) <= len(told) else BUILT

        super().__init__([story.capacity], story.clock, lambda job: job.demand.seconds, outcome)

    def start(self, job: Job, directory: Path, rank: float = 0.0) -> None:
        name = job.step.partition("@")[0]
        self.story.started.append((self.story.clock.now, name))
        self.ranks[name] = rank
        super().start(job, directory, rank)

    def stop(self) -> None:
        self.stopped = True
        super().stop()


def leaves_off(story: Story, when: float) -> Callable[[Mapping[str, Ending]], None]:
    """Whoever joins with that at a time, leaves the walk off."""

    def joining(endings: Mapping[str, Ending]) -> None:
        if story.clock.now >= when:
            raise LeftOff

    return joining


def walked_on(story: Story, when: float, *steps: Step) -> dict[str, Ending]:
    """The endings of a walk that was left off then and gone on with, as a build does it."""
    options = dict(story.options)
    story.options["joining"] = leaves_off(story, when)
    with pytest.raises(LeftOff) as left:
        story.walk(*steps)
    story.options = options | {"mishaps": left.value.mishaps}
    return story.walk(*steps)


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
        self.engine = WatchedEngine(self)
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
            return Keep(result(step), "same inputs")
        if decision == "refuse":
            return Refuse(Failed("package", "no lock", phase="lock"))
        return self.attempt(step)

    def attempt(self, step: Step) -> Run:
        self.tries[step.id] += 1
        name = f"{step.id}#{self.tries[step.id]}"
        return Run(job(step, name, self.demands[step.id]), Path(), "never built")

    def outcome(self, job: Job) -> Outcome | None:
        fates = self.fates.get(job.step, ())
        number = int(job.attempt.partition("#")[2]) - 1
        fate = fates[number] if number < len(fates) else "built"
        return BUILT if fate == "built" else None if fate == "lost" else Failed(fate, "no")  # type: ignore[arg-type]

    def finish(self, step: Step, job: Job, outcome: Outcome) -> Result | Failed | Run:
        return outcome if isinstance(outcome, Failed) else result(step)

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


class WatchedEngine(SimulatedEngine):
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

"""Walks in which everything odd comes together: mishaps, plans that grow and change while steps run
or wait, walks that are left off and gone on with, failures that stop them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.model import Built, Demand, Failed, Job, Outcome, Plan, Result, Skipped, Step
from farm.rebuild.decisions import Decision, Ending, Joined, Keep, LeftOff, Mishap, Refuse, Run
from farm.rebuild.engines import Capacity, Ended, Moved
from farm.rebuild.scheduler import walk
from farm.rebuild.simulation import Clock, SimulatedEngine
from tests.walks import BUILT, ENDS, MISHAP, job, result

SECONDS = 3.0  # before the first retry


@dataclass
class Restless:
    """A build in which chance does what it can."""

    chance: random.Random
    retries: int
    fail_fast: bool
    capacity: Capacity
    steps: int = 8
    walks: int = 1
    seconds: float = 5.0
    events: list[tuple[float, str, str, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.engine = OddEngine(self)
        self.whole = [
            (f"p{n}", self.chance.sample(range(n), min(n, self.chance.choice([0, 1, 1, 2, 3]))))
            for n in range(self.steps)
        ]
        self.there = set(self.chance.sample(range(self.steps), self.chance.randint(1, self.steps)))
        self.plan = self.planned()
        self.urgent = frozenset[str]()
        self.number = 0
        self.asked = 0
        self.ended: tuple[Ending, ...] = ()
        self.endings: Mapping[str, Ending] = {}
        self.mishaps: tuple[Mishap, ...] = ()
        self.unclaimed: tuple[Ended, ...] = ()
        self.going: dict[str, Job] = {}
        self.running: dict[str, Job] = {}  # by step
        self.given_up: set[str] = set()  # attempts that nobody waits for any more
        self.tries: dict[str, tuple[str, int, float]] = {}  # by step: key, mishaps, due
        self.stopped = False

    def planned(self) -> Plan:
        """What is there, each with those of its needs that are."""
        return Plan(
            tuple(
                Step(name, "c", tuple(f"p{n}" for n in needs if n in self.there))
                for place, (name, needs) in enumerate(self.whole)
                if place in self.there
            )
        )

    def run(self) -> dict[str, Ending]:
        while True:
            try:
                endings = self.walk()
                break
            except LeftOff as left:
                self.mishaps, self.unclaimed = left.mishaps, left.unclaimed
                self.ended = self.still_ended()
                failed = any(isinstance(ending.outcome, Failed) for ending in self.ended)
                self.stopped = self.fail_fast and failed
                self.going = dict(self.running)
        assert not self.running, "something runs on"
        assert not self.engine.left - self.given_up
        return {ending.step.id: ending for ending in endings}

    def lacks(self, step: Step) -> bool:
        """Whether something that it needs has come to nothing."""
        needs = [self.endings.get(f"{need}@c") for need in step.needs]
        return any(each is not None and not isinstance(each.outcome, Built) for each in needs)

    def still_ended(self) -> tuple[Ending, ...]:
        """All that has ended, but for some that is to be tried again, with what needs it."""
        again: set[str] = set()
        for step in self.plan.steps:
            ending = self.endings.get(step.id)
            failed = ending is not None and isinstance(ending.outcome, Failed)
            if (failed and self.chance.random() < 0.5) or again & {f"{n}@c" for n in step.needs}:
                again.add(step.id)
                if ending is not None:
                    self.tries.pop(step.id, None)
        return tuple(ending for name, ending in self.endings.items() if name not in again)

    def walk(self) -> tuple[Ending, ...]:
        self.events.clear()
        return walk(
            self.plan, self.engine, self.settle, self.finish, self.expect,
            self.emit, begin=self.begin, again=self.again, joining=self.joining,
            learn=self.learn,
            urgent=self.urgent, going=frozenset(self.going), retries=self.retries,
            retry_seconds=SECONDS, mishaps=self.mishaps, unclaimed=self.unclaimed,
            clock=self.clock, patience=4.0, fail_fast=self.fail_fast, ended=self.ended,
        )  # fmt: skip

    def expect(self, step: Step) -> Demand:
        return Demand(seconds=self.seconds)

    def settle(self, step: Step, needs: Mapping[str, Result]) -> Decision:
        assert step == self.plan_step(step.id)
        assert step.id not in self.endings, "it has ended"
        assert set(step.needs) == set(needs), "settled without its needs"
        going = self.going.pop(step.id, None)
        if going is not None:
            if going.key == key_of(step):
                return Run(going, Path(), "goes on", going=True)
            self.given_up.add(self.running.pop(step.id).attempt)
        assert step.id not in self.running, "settled while it runs"
        if self.chance.random() < 0.1:
            self.met(step.id, key_of(step))
            return Refuse(MISHAP)
        if self.chance.random() < 0.1:
            return Keep(result(step), "same inputs")
        return self.attempt(step)

    def attempt(self, step: Step) -> Run:
        self.number += 1
        made = msgspec.structs.replace(job(step, f"{step.id}#{self.number}"), key=key_of(step))
        return Run(msgspec.structs.replace(made, demand=Demand(seconds=5.0)), Path(), "new")

    def begin(self, step: Step, run: Run, cores: int) -> Run | Refuse:
        assert not self.stopped, "begun after a failure that stops all"
        key, mishaps, due = self.tries.get(step.id, (run.job.key, 0, 0.0))
        if key == run.job.key:
            assert mishaps <= self.retries, "tried too often"
            assert self.clock.now >= due, "tried too early"
        if self.chance.random() < 0.1:
            self.met(step.id, key_of(step))
            return Refuse(MISHAP)
        assert step.id not in self.running, "it runs twice"
        assert run.job.key == key_of(self.plan_step(step.id)), "begun with other needs than it has"
        self.running[step.id] = run.job
        return run

    def met(self, name: str, key: str) -> None:
        """One mishap more of these inputs."""
        before, mishaps, _ = self.tries.get(name, (key, 0, 0.0))
        mishaps = mishaps + 1 if before == key else 1
        self.tries[name] = key, mishaps, self.clock.now + SECONDS * 4 ** (mishaps - 1)

    def plan_step(self, name: str) -> Step:
        return next(each for each in self.plan.steps if each.id == name)

    def finish(self, step: Step, job: Job, outcome: Outcome) -> Result | Failed | Run:
        assert self.running.pop(step.id).attempt == job.attempt
        assert step.id not in self.endings, "it ended while it ran"
        if isinstance(outcome, Failed) and outcome.kind == "infrastructure":
            self.met(step.id, job.key)
        elif self.chance.random() < 0.1:  # the counter is one up, or a file was damaged
            return self.once_more(step, job)
        return outcome if isinstance(outcome, Failed) else result(step)

    def learn(self) -> None:
        self.seconds = self.chance.choice([1.0, 5.0, 9.0])

    def again(self, step: Step, job: Job, failed: Failed, tries: int, place: str) -> Run | None:
        return self.once_more(step, job)

    def once_more(self, step: Step, job: Job) -> Run:
        run = self.attempt(step)
        return Run(msgspec.structs.replace(run.job, key=job.key), Path(), "again")

    def joining(self, endings: Mapping[str, Ending]) -> Joined | None:
        self.endings = endings
        self.asked += 1
        if self.asked % 3 or self.chance.random() < 0.6:
            return None
        more = [n for n in range(self.steps) if n not in self.there]
        if more and self.chance.random() < 0.7:
            self.there |= set(self.chance.sample(more, self.chance.randint(1, len(more))))
            self.plan = self.planned()
            names = [step.id for step in self.plan.steps]
            self.urgent = frozenset(self.chance.sample(names, self.chance.randint(0, 1)))
            return Joined(self.plan, self.urgent)
        if self.walks < 6:
            self.walks += 1
            raise LeftOff
        return None

    def emit(self, state: str, step: str = "", **fields: Any) -> None:
        self.events.append((self.clock.now, state, step, fields))
        if state == "skipped" and step in self.going and self.lacks(self.plan_step(step)):
            self.given_up.add(self.running.pop(step).attempt)  # what it was begun with is no more
        if state in ENDS:
            assert step not in self.running, "it is told to have ended while it runs"
        if state == "failed":
            self.stopped = self.fail_fast


class OddEngine(SimulatedEngine):
    """Some attempts fail, some are lost, some cannot be started."""

    def __init__(self, restless: Restless) -> None:
        self.restless = restless
        self.left: set[str] = set()  # that have not ended
        super().__init__(
            [restless.capacity] * 9, restless.clock, lambda job: job.demand.seconds, self.fate
        )
        self.capacity = restless.capacity

    def fate(self, job: Job) -> Outcome | None:
        kinds = [BUILT, Failed("package", "no"), MISHAP, None]
        return self.restless.chance.choices(kinds, [6, 1, 3, 1])[0]

    def start(self, job: Job, directory: Path, rank: float = 0.0) -> None:
        if job.attempt in self.left:  # it has become urgent
            return
        if self.restless.chance.random() < 0.05:
            raise OSError(28, "No space left on device")
        self.left.add(job.attempt)
        super().start(job, directory, rank)

    def poll(self, seconds: float) -> tuple[Ended | Moved, ...]:
        news = super().poll(seconds)
        self.left -= {each.attempt for each in news}
        return tuple(
            Ended(each.attempt, MISHAP)
            if isinstance(each, Ended) and each.outcome is None
            else each
            for each in news
        )


def key_of(step: Step) -> str:
    return f"{step.id}: {' '.join(step.needs)}"


@settings(deadline=None, max_examples=300)
@given(
    seed=st.integers(0, 10**9), retries=st.integers(0, 2), fail_fast=st.booleans(),
    slots=st.integers(1, 3), queues=st.booleans(),
)  # fmt: skip
def test_whatever_comes_together_nothing_runs_twice_too_often_too_early_or_for_nothing(
    seed: int, retries: int, fail_fast: bool, slots: int, queues: bool
) -> None:
    capacity = Capacity(slots, queues=queues)
    restless = Restless(random.Random(seed), retries, fail_fast, capacity)
    endings = restless.run()
    assert endings.keys() == {step.id for step in restless.plan.steps}
    told = [name for _, state, name, _ in restless.events if state in ENDS]
    assert len(told) == len(set(told)), "told twice"
    ends = [when for when, state, _, _ in restless.events if state in ENDS]
    assert not ends or restless.clock.now == max(ends), "waited for nothing"
    for ending in endings.values():
        if isinstance(ending.outcome, Skipped) and not fail_fast:
            needs = [endings[f"{need}@c"].outcome for need in ending.step.needs]
            assert not all(isinstance(each, Built) for each in needs), ending.outcome.because

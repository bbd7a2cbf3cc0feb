"""What holds of every walk, whatever the plan, the demands and the mishaps."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.model import (
    Built,
    Demand,
    Failed,
    Plan,
    Skipped,
    Step,
)
from farm.rebuild.engines import Capacity
from farm.rebuild.queue import Queue
from farm.rebuild.ranks import remaining_paths
from farm.rebuild.room import Need, Room, need_of
from farm.rebuild.simulation import simulated
from tests.walks import ENDS, Watched, capacities, demands_of, plans


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

"""Ready steps run, in the right order; one failure stops only what needs it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from farm.model import (
    Built,
    Demand,
    Failed,
    Job,
    Plan,
    Problem,
    Result,
    Skipped,
    Step,
)
from farm.rebuild.engines import Capacity, Ended, Moved
from farm.rebuild.scheduler import (
    Ending,
    Joined,
    Keep,
    Refuse,
    Run,
    remaining_paths,
    replanned,
    walk,
)
from tests.walks import FakeEngine, job, result, run, step


def test_a_step_waits_for_all_it_needs() -> None:
    endings, engine = run(step("a"), step("b", "a"), step("c", "a", "b"))
    assert engine.started == ["a", "b", "c"]
    assert all(isinstance(ending.outcome, Built) for ending in endings.values())


def test_the_engine_is_kept_full_but_never_over() -> None:
    _, engine = run(*(step(name) for name in "abcde"), engine=FakeEngine(slots=3))
    assert engine.most == 3


def test_the_longest_remaining_path_starts_first() -> None:
    _, engine = run(
        step("short"), step("root"), step("long", "root"),
        engine=FakeEngine(slots=1), seconds={"long": 50.0, "short": 5.0},
    )  # fmt: skip
    assert engine.started == ["root", "long", "short"]


def test_remaining_paths_follow_the_chain_not_the_sum() -> None:
    plan = Plan((step("a"), step("b", "a"), step("c", "a")))
    paths = remaining_paths(plan, {"a@c": 1.0, "b@c": 2.0, "c@c": 7.0})
    assert paths["a@c"] == 8.0


def test_a_failure_skips_what_needs_it_and_names_it_and_nothing_else() -> None:
    engine = FakeEngine(outcomes={"a": Failed("package", "no")})
    endings, _ = run(step("a"), step("b", "a"), step("c"), engine=engine)
    assert isinstance(endings["c"].outcome, Built)
    skipped = endings["b"].outcome
    assert isinstance(skipped, Skipped) and "a" in skipped.because


def test_an_excluded_step_is_skipped_with_its_reason() -> None:
    endings, engine = run(step("a", excluded="ExcludeArch: x86_64"))
    assert endings["a"].outcome == Skipped("ExcludeArch: x86_64")
    assert engine.started == []


def test_a_step_with_a_problem_fails_without_being_tried() -> None:
    endings, engine = run(step("a", problem=Problem("bad-spec", "a", ("line 3",))))
    assert isinstance(endings["a"].outcome, Failed)
    assert engine.started == []


def test_what_is_kept_counts_as_there() -> None:
    kept = step("a")
    endings, engine = run(kept, step("b", "a"), decisions={"a": Keep(result(kept), "same inputs")})
    assert engine.started == ["b"]
    assert endings["a"].kept


def test_a_refused_step_fails_alone() -> None:
    endings, _ = run(step("a"), step("b"), decisions={"a": Refuse(Failed("package", "no lock"))})
    assert isinstance(endings["a"].outcome, Failed)
    assert isinstance(endings["b"].outcome, Built)


def test_a_worker_that_leaves_no_word_is_the_infrastructures_failure() -> None:
    endings, _ = run(step("a"), engine=FakeEngine(outcomes={"a": None}))
    outcome = endings["a"].outcome
    assert isinstance(outcome, Failed) and outcome.kind == "infrastructure"


def test_fail_fast_starts_nothing_more() -> None:
    engine = FakeEngine(slots=1, outcomes={"a": Failed("package", "no")})
    endings, _ = run(step("a"), step("b"), engine=engine, seconds={"a": 9.0}, fail_fast=True)
    assert engine.started == ["a"]
    assert isinstance(endings["b"].outcome, Skipped)


def test_an_interruption_stops_the_engine() -> None:
    class Interrupting(FakeEngine):
        def poll(self, seconds: float) -> tuple[Ended | Moved, ...]:
            raise KeyboardInterrupt

    engine = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        run(step("a"), engine=engine)
    assert engine.stopped


def test_what_may_be_needed_is_waited_for_and_may_fail() -> None:
    last = Step("b", "c", (), after=("a",))
    endings, engine = run(last, step("a"), engine=FakeEngine(slots=2))
    assert engine.started == ["a", "b"]
    broken = FakeEngine(slots=2, outcomes={"a": Failed("package", "no")})
    endings, engine = run(last, step("a"), engine=broken)
    assert engine.started == ["a", "b"]
    assert isinstance(endings["b"].outcome, Built)


def test_a_bootstrap_is_waited_for_by_its_own_name() -> None:
    first = Step("a", "c", (), bootstrap=True)
    engine = FakeEngine(slots=4)
    endings, _ = run(step("b", "a~bootstrap"), step("a", "a~bootstrap", "b"), first, engine=engine)
    assert engine.started == ["a", "b", "a"]
    assert isinstance(endings["b"].outcome, Built)


def test_a_failed_bootstrap_skips_its_cycle_and_is_named() -> None:
    first = Step("a", "c", (), bootstrap=True)
    engine = FakeEngine(outcomes={"a": Failed("package", "no")})
    endings, _ = run(first, step("b", "a~bootstrap"), engine=engine)
    skipped = endings["b"].outcome
    assert isinstance(skipped, Skipped)
    assert skipped.because == "a~bootstrap, which it needs, failed"


UNLOCKED = Failed("package", "nothing provides x", phase="lock")


def never(*_: object) -> bool:
    raise AssertionError("nobody needs anything else")


def built(each: Step) -> Ending:
    return Ending(each, result(each).built, result(each))


def test_a_step_without_a_lock_is_tried_again_when_more_is_known_to_be_needed() -> None:
    endings = (
        built(step("a")),
        Ending(step("b", "a"), UNLOCKED),
        Ending(step("c", "b"), Skipped("b, which it needs, failed")),
        Ending(step("d"), UNLOCKED),
    )
    now = Plan((step("a"), step("x"), step("b", "a", "x"), step("c", "b"), step("d")))
    plan, kept = replanned(Plan(tuple(e.step for e in endings)), now, endings, never)
    assert plan.steps == now.steps
    assert [ending.step.recipe for ending in kept] == ["a", "d"]


def test_a_plan_made_anew_keeps_what_was_done_and_what_is_planned_no_longer() -> None:
    endings = (built(step("guess")), built(step("a", "guess")))
    before = Plan(tuple(e.step for e in endings))
    plan, kept = replanned(before, Plan((step("a"),)), endings, lambda *_: True)
    assert [each.recipe for each in plan.steps] == ["guess", "a"]
    assert [ending.step for ending in kept] == [step("guess"), step("a")]
    assert replanned(plan, plan, kept, never) == (plan, kept)


@pytest.mark.parametrize("stays", [True, False])
def test_a_result_that_other_needs_would_change_is_settled_again(stays: bool) -> None:
    endings = (built(step("a")), built(step("b")), built(step("c", "a")))
    now = Plan((step("a"), step("b"), step("c", "b"), step("d", "c")))
    asked = []

    def would(each: Step, needs: Mapping[str, Result], own: Result) -> bool:
        asked.append((each.name, tuple(needs), own.key))
        return stays

    _, kept = replanned(Plan(tuple(e.step for e in endings)), now, endings, would)
    assert asked == [("c", ("b",), "c")]
    assert [ending.step.recipe for ending in kept] == ["a", "b", *(["c"] if stays else [])]


@pytest.mark.parametrize(("queues", "most"), [(False, 1), (True, 2)])
def test_what_is_urgent_is_put_into_a_queue_of_the_engines_own_whatever_is_in_it(
    queues: bool, most: int
) -> None:
    engine = FakeEngine()
    engine.capacity = Capacity(1, queues=queues)
    joins = iter([None, None, Joined(Plan((step("slow"), step("fix"))), frozenset({"fix@c"}))])
    walk(
        Plan((step("slow"),)), engine,
        lambda each, _: Run(job(each), Path(), "never built"),
        lambda each, *_: result(each),
        lambda _: Demand(seconds=9.0), lambda *_, **__: None,
        joining=lambda _: next(joins, None),
    )  # fmt: skip
    assert engine.started == ["slow", "fix"]
    assert engine.most == most


def test_where_cores_are_not_counted_an_attempt_gets_its_share() -> None:
    engine = FakeEngine()
    engine.capacity = Capacity(2, share=4)
    given: dict[str, int] = {}

    def begin(each: Step, decided: Run, cores: int) -> Run:
        given[each.recipe] = cores
        return decided

    walk(
        Plan((step("small"), step("large"))), engine,
        lambda each, _: Run(job(each), Path(), "never built"),
        lambda each, *_: result(each),
        lambda each: Demand(cores=9 if each.recipe == "large" else 1, seconds=9.0),
        lambda *_, **__: None, begin=begin,
    )  # fmt: skip
    assert given == {"small": 4, "large": 9}


def test_an_engine_with_a_queue_hears_that_what_it_has_became_urgent() -> None:
    engine = FakeEngine()
    engine.capacity = Capacity(2, queues=True)
    ranks: list[float] = []
    start = engine.start

    def started(job: Job, directory: Path, rank: float = 0.0) -> None:
        if not ranks:
            start(job, directory, rank)
        ranks.append(rank)

    engine.start = started  # type: ignore[method-assign]
    joins = iter([None, None, Joined(Plan((step("fix"),)), frozenset({"fix@c"}))])
    walk(
        Plan((step("fix"),)), engine,
        lambda each, _: Run(job(each), Path(), "never built"),
        lambda each, *_: result(each),
        lambda _: Demand(seconds=9.0), lambda *_, **__: None,
        joining=lambda _: next(joins, None),
    )  # fmt: skip
    assert len(ranks) == 2 and ranks[1] > ranks[0] + 1e8

"""Who goes first, what is held back for whom, what is lent, and what happens after a mishap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from farm.model import (
    Built,
    Demand,
    Failed,
    Going,
    Job,
    Plan,
    Skipped,
    Step,
)
from farm.rebuild.decisions import Decision, Ending, Joined, LeftOff, Refuse, Run, nobody
from farm.rebuild.engines import Capacity, Ended, Moved
from farm.rebuild.lending import Scene, lent
from farm.rebuild.ranks import critical_path
from farm.rebuild.room import Need, Room, need_of
from tests.walks import (
    BUILT,
    EVER,
    MISHAP,
    Story,
    leaves_off,
    result,
    step,
    takes,
    walked_on,
)


def test_what_is_urgent_overtakes_with_all_that_it_needs() -> None:
    story = Story(takes(long=100, longer=200, need=1, hurry=1), Capacity(1))
    story.options["urgent"] = frozenset(["hurry@c"])
    story.walk(step("long"), step("longer"), step("need"), step("hurry", "need"))
    assert story.order == ["need", "hurry", "longer", "long"]
    assert story.engine.ranks["hurry"] > story.engine.ranks["longer"]
    assert [each["urgent"] for each in story.said("queued", "need")] == [True]


def test_an_emergency_that_joins_goes_next() -> None:
    story = Story(takes(a=10, b=10, c=10, hurry=1), Capacity(1))
    steps = [step(name) for name in "abc"]

    def joining(endings: Mapping[str, Ending]) -> Joined | None:
        if story.clock.now == 10 and not story.said("queued", "hurry"):
            return Joined(Plan((*steps, step("hurry"))), frozenset(["hurry@c"]))
        return None

    story.options["joining"] = joining
    endings = story.walk(*steps)
    assert story.order == ["a", "hurry", "b", "c"]
    assert isinstance(endings["hurry"].outcome, Built)


def test_who_joins_with_a_need_that_failed_is_skipped_because_of_it() -> None:
    story = Story(takes(a=10, b=20), outcomes={"a": [Failed("package", "no")]})
    steps = (step("a"), step("b"))

    def joining(endings: Mapping[str, Ending]) -> Joined | None:
        if "a@c" in endings and not story.said("queued", "late"):
            return Joined(Plan((*steps, step("late", "a"))))
        return None

    story.options["joining"] = joining
    assert story.walk(*steps)["late"].outcome == Skipped("a, which it needs, failed")


def test_a_step_that_joins_with_other_needs_is_settled_anew() -> None:
    story = Story(takes(a=10, b=1, c=1), Capacity(1))
    later = Plan((step("a"), step("c"), step("b", "c")))

    def joining(endings: Mapping[str, Ending]) -> Joined | None:
        ahead = (0.0, "b") in story.settled
        return Joined(later) if ahead and not story.said("queued", "c") else None

    story.options["joining"] = joining
    story.walk(step("a"), step("b"))
    assert story.order == ["a", "c", "b"]
    assert [name for _, name in story.settled] == ["a", "b", "c", "b"]


def test_what_a_build_has_taught_counts_for_those_that_wait() -> None:
    story = Story(takes(here=30, a=20, b=10), Capacity(1))

    def learn() -> None:
        story.demands = takes(here=30, a=5, b=10)

    story.options["learn"] = learn
    story.walk(step("here"), step("a"), step("b"))
    assert story.order == ["here", "b", "a"]


def test_in_a_large_plan_lessons_are_few() -> None:
    names = [f"p{number}" for number in range(400)]
    lessons: list[None] = []
    story = Story({}, options={"learn": lambda: lessons.append(None)})
    story.walk(*(step(name) for name in names))
    assert 30 < len(lessons) < 45


def test_a_wide_step_has_its_start_reserved_and_is_not_delayed() -> None:
    demands = {
        "first": Demand(cores=3, seconds=10),
        "wide": Demand(cores=4, seconds=8),
        "short": Demand(cores=1, seconds=10),
        "long": Demand(cores=1, seconds=11),
    }
    story = Story(demands, Capacity(8, 4))
    story.options["urgent"] = frozenset(["first@c", "wide@c"])
    story.walk(*(step(name) for name in demands))
    assert story.starts == {"first": 0, "short": 0, "wide": 10, "long": 18}


def test_what_holds_nothing_of_what_is_reserved_may_take_long() -> None:
    demands = {
        "first": Demand(cores=2, memory=60, seconds=10),
        "big": Demand(cores=1, memory=80, seconds=8),
        "small": Demand(cores=1, memory=20, seconds=100),
        "middle": Demand(cores=1, memory=21, seconds=100),
    }
    story = Story(demands, Capacity(8, 4, 100))
    story.options["urgent"] = frozenset(["first@c", "big@c"])
    story.walk(*(step(name) for name in demands))
    assert story.starts == {"first": 0, "small": 0, "big": 10, "middle": 18}


def test_what_wants_more_than_there_is_runs_alone() -> None:
    demands = {"huge": Demand(memory=500, seconds=10), "a": Demand(seconds=1), "b": Demand()}
    for cores in (4, 0):
        story = Story(demands, Capacity(4, cores, 100))
        story.walk(*(step(name) for name in demands))
        assert story.starts == {"huge": 0, "a": 10, "b": 10}


def test_an_attempt_that_is_late_is_expected_to_be_late_as_long_again() -> None:
    room = Room(Capacity(2, 4))
    room.take("late", need_of(Demand(cores=3, seconds=10), room.capacity), 0.0)
    assert room.reserved(Need(1, 2, 0, 0, 5), 4.0)[0] == 6.0
    assert room.reserved(Need(1, 2, 0, 0, 5), 30.0)[0] == 20.0


def test_a_mishap_is_tried_again_after_waits_that_grow_without_holding_a_slot() -> None:
    story = Story(
        takes(a=50, b=10, c=1), Capacity(1), outcomes={"a": [MISHAP, None]},
        options={"retries": 2, "retry_seconds": 5.0},
    )  # fmt: skip
    endings = story.walk(step("a"), step("b"), step("c", "a"))
    assert story.started == [(0, "a"), (50, "b"), (60, "a"), (130, "a"), (180, "c")]
    assert isinstance(endings["a"].outcome, Built)
    phases = [each["phase"] for each in story.said("running", "a")]
    assert phases == ["start", "retry in 5 s", "start", "retry in 20 s", "start"]
    (first, second) = story.said("warning", "a")
    assert "the node went away" in first["text"] and "5 s" in first["text"]
    assert "without a word" in second["text"] and "20 s" in second["text"]
    assert {each["attempt"] for each in story.said("built", "a")} == {"a#3"}


def test_a_mishap_that_stays_is_a_failure_and_tells_its_class() -> None:
    story = Story({}, outcomes={"a": [MISHAP] * 9}, options={"retries": 2, "retry_seconds": 1.0})
    endings = story.walk(step("a"), step("b", "a"))
    assert story.order == ["a"] * 3
    assert endings["a"].outcome == MISHAP
    (failed,) = story.said("failed", "a")
    assert (failed["kind"], failed["attempt"]) == ("infrastructure", "a#3")


@pytest.mark.parametrize("kind", ["package", "limit"])
def test_what_is_not_a_mishap_is_not_tried_again(kind: Any) -> None:
    story = Story({}, outcomes={"a": [Failed(kind, "no")]}, options={"retries": 2})
    assert isinstance(story.walk(step("a"))["a"].outcome, Failed)
    assert story.order == ["a"]


def test_a_mishap_is_not_tried_again_if_the_settler_would_not() -> None:
    story = Story({}, outcomes={"a": [MISHAP]}, options={"retries": 2, "again": lambda *_: None})
    assert story.walk(step("a"))["a"].outcome == MISHAP


def test_an_attempt_after_memory_ran_out_is_given_the_room_that_it_wants() -> None:
    demands = {"a": Demand(memory=40, seconds=10), "b": Demand(memory=40, seconds=30)}
    story = Story(demands, Capacity(2, 0, 100), outcomes={"a": [MISHAP]})

    def again(each: Step, job: Job, failed: Failed, tries: int, place: str) -> Run:
        run = story.attempt(each)
        wants_more = msgspec.structs.replace(run.job, demand=Demand(memory=61, seconds=10))
        return replace(run, job=wants_more)

    story.options |= {"retries": 1, "again": again}
    story.walk(step("a"), step("b"))
    assert story.started == [(0, "b"), (0, "a"), (30, "a")]


def test_a_mishap_before_the_attempt_is_settled_again_later() -> None:
    said = [Refuse(MISHAP), Refuse(MISHAP)]
    story = Story({}, options={"retries": 2}, settle=lambda each: said.pop() if said else None)
    assert isinstance(story.walk(step("a"))["a"].outcome, Built)
    assert story.settled == [(0, "a"), (5, "a"), (25, "a")]


def test_a_mishap_is_waited_for_and_counted_when_the_walk_was_left_off_meanwhile() -> None:
    story = Story(
        takes(a=10, b=12), outcomes={"a": [MISHAP] * 9},
        options={"retries": 2, "retry_seconds": 5.0},
    )  # fmt: skip
    endings = walked_on(story, 12.0, step("a"), step("b"))
    assert [each for each in story.started if each[1] == "a"] == [(0, "a"), (15, "a"), (45, "a")]
    assert endings["a"].outcome == MISHAP
    phases = [each["phase"] for each in story.said("running", "a") if "retry" in each["phase"]]
    assert phases == ["retry in 5 s", "retry in 3 s", "retry in 20 s"]


def test_the_attempt_after_a_mishap_goes_elsewhere_though_the_walk_was_left_off() -> None:
    demands = {"a": Demand(memory=40, seconds=10)}
    story = Story(demands, Capacity(1, 0, 100), outcomes={"a": [MISHAP]})

    def again(each: Step, job: Job, failed: Failed, tries: int, place: str) -> Run:
        run = story.attempt(each)
        other = msgspec.structs.replace(
            run.job, demand=Demand(memory=61, seconds=10), avoid=("there",)
        )
        return replace(run, job=other, reason="attempt 2: the node went away")

    begun: list[Run] = []

    def begin(each: Step, run: Run, cores: int) -> Run:
        begun.append(run)
        return run

    story.options |= {"retries": 1, "again": again, "begin": begin}
    walked_on(story, 12.0, step("a"))
    last = begun[-1]
    assert (last.job.avoid, last.job.demand.memory) == (("there",), 61)
    assert last.reason == "attempt 2: the node went away"


def test_an_attempt_that_goes_on_from_a_walk_that_was_left_off_has_its_number() -> None:
    story = Story(takes(a=10, b=16), outcomes={"a": [MISHAP] * 9})
    story.options = {"retries": 2, "retry_seconds": 5.0}

    def settle(each: Step) -> Decision | None:
        if story.order != ["b", "a", "a"]:
            return None
        job = story.attempt(each).job
        return Run(msgspec.structs.replace(job, attempt="a#2"), Path(), "goes on", going=True)

    story.settle = settle
    endings = walked_on(story, 16.0, step("a"), step("b"))
    assert story.started == [(0, "b"), (0, "a"), (15, "a"), (45, "a")]
    assert endings["a"].outcome == MISHAP


def test_a_mishap_of_other_inputs_is_forgotten_when_the_walk_goes_on() -> None:
    story = Story(takes(a=10), outcomes={"a": [MISHAP] * 9})
    story.options = {"retries": 1, "retry_seconds": 5.0}

    def settle(each: Step) -> Decision:
        run = story.attempt(each)
        key = "before" if len(story.settled) == 1 else "now"
        return replace(run, job=msgspec.structs.replace(run.job, key=key))

    def again(each: Step, job: Job, failed: Failed, tries: int, place: str) -> Run:
        run = story.attempt(each)
        return replace(run, job=msgspec.structs.replace(run.job, key=job.key))

    story.settle, story.options["again"] = settle, again
    endings = walked_on(story, 12.0, step("a"))
    assert story.started == [(0, "a"), (15, "a"), (30, "a")], "another one after the new inputs'"
    assert endings["a"].outcome == MISHAP


def test_a_mishap_before_the_attempt_is_waited_for_when_the_walk_was_left_off() -> None:
    refuses = {"a": Refuse(MISHAP)}
    story = Story({}, options={"retries": 2}, settle=lambda each: refuses.get(each.recipe))
    endings = walked_on(story, 1.0, step("a"), step("b"))
    assert endings["a"].outcome == MISHAP
    assert [when for when, name in story.settled if name == "a"] == [0, 5, 25]


def test_a_step_that_met_with_a_mishap_waits_for_what_is_walked_once_more() -> None:
    story = Story(
        takes(a=10, b=1), outcomes={"b": [MISHAP]}, options={"retries": 2, "retry_seconds": 5.0},
    )  # fmt: skip
    endings = walked_on(story, 11.0, step("a"), step("b", "a"))
    assert story.started == [(0, "a"), (10, "b"), (11, "a"), (21, "b")]
    assert isinstance(endings["b"].outcome, Built)


def test_a_step_that_waits_after_a_mishap_and_gets_another_need_waits_for_that() -> None:
    story = Story(
        takes(a=1, b=20), outcomes={"a": [MISHAP]}, options={"retries": 1, "retry_seconds": 5.0}
    )
    later = Plan((step("c"), step("b", "c"), step("a", "b")))

    def joining(endings: Mapping[str, Ending]) -> Joined | None:
        return Joined(later) if story.clock.now == 1 and not story.said("queued", "b") else None

    story.options["joining"] = joining
    story.walk(step("a"), step("c"))
    assert story.started == [(0, "a"), (0, "c"), (1, "b"), (21, "a")]
    assert [name for _, name in story.settled] == ["a", "c", "b", "a"]


def test_what_runs_is_let_end_although_it_came_to_need_what_failed() -> None:
    story = Story(takes(a=1, b=20), outcomes={"a": [Failed("package", "no")]})
    later = Plan((step("a"), step("b", "a"), step("c", "b")))

    def joining(endings: Mapping[str, Ending]) -> Joined | None:
        return Joined(later) if story.clock.now == 1 and not story.said("queued", "c") else None

    story.options["joining"] = joining
    endings = story.walk(step("a"), step("b"))
    assert [type(endings[name].outcome) for name in "abc"] == [Failed, Built, Built]
    assert story.starts["c"] == 20


def test_what_met_with_a_mishap_and_came_to_need_what_failed_is_skipped_at_once() -> None:
    fates = {"a": [Failed("package", "no")], "b": [MISHAP] * 9}
    story = Story(takes(a=1, b=20), outcomes=fates, options={"retries": 2})

    def joining(endings: Mapping[str, Ending]) -> Joined | None:
        joins = story.clock.now == 1 and not story.said("queued", "c")
        return Joined(Plan((step("a"), step("b", "a"), step("c", "b")))) if joins else None

    story.options["joining"] = joining
    endings = story.walk(step("a"), step("b"))
    assert endings["b"].outcome == Skipped("a, which it needs, failed")
    assert story.order == ["b", "a"]


def test_attempts_that_go_on_are_let_end_after_a_failure_that_stops_the_rest() -> None:
    story = Story(takes(old=10), options={"going": frozenset(["old@c"]), "fail_fast": True})
    run = story.attempt(step("old"))
    story.engine.start(run.job, run.directory)
    goes_on = Run(run.job, run.directory, "goes on", going=True)
    story.settle = lambda each: goes_on if each.recipe == "old" else None
    story.options["ended"] = (Ending(step("a"), Failed("package", "no"), cause="a@c"),)
    endings = story.walk(step("a"), step("b"), step("old"))
    assert isinstance(endings["old"].outcome, Built)
    assert endings["b"].outcome == Skipped("the run was stopped at the first failure, of a")


def test_a_machine_that_is_to_be_avoided_is_although_the_next_attempt_could_not_begin() -> None:
    story = Story(takes(a=1), outcomes={"a": [MISHAP]}, options={"retries": 2})
    begun: list[Run] = []

    def again(each: Step, job: Job, failed: Failed, tries: int, place: str) -> Run:
        run = story.attempt(each)
        return replace(run, job=msgspec.structs.replace(run.job, avoid=("there",)))

    def begin(each: Step, run: Run, cores: int) -> Run | Refuse:
        begun.append(run)
        return Refuse(MISHAP) if len(begun) == 2 else run

    story.options |= {"again": again, "begin": begin}
    assert isinstance(story.walk(step("a"))["a"].outcome, Built)
    assert [run.job.avoid for run in begun] == [(), ("there",), ("there",)]


def test_of_what_has_ended_or_is_planned_no_longer_no_mishap_remains() -> None:
    story = Story(
        takes(a=3, b=50), Capacity(3), outcomes={"a": [MISHAP], "gone": [MISHAP] * 9},
        options={"retries": 2, "retry_seconds": 5.0},
    )  # fmt: skip
    story.options["joining"] = leaves_off(story, 15.0)
    with pytest.raises(LeftOff) as left:
        story.walk(step("a"), step("b"), step("gone"))
    assert [each.step.recipe for each in left.value.mishaps] == ["gone"]
    story.options |= {"joining": nobody, "mishaps": left.value.mishaps}
    assert set(story.walk(step("c"))) == {"c"}


def test_fail_fast_lets_end_what_runs_and_gives_up_what_waits_to_be_tried_again() -> None:
    story = Story(
        takes(a=10, b=50, mishap=5, c=1), Capacity(3),
        outcomes={"a": [Failed("package", "no")], "mishap": [MISHAP]},
        options={"retries": 2, "retry_seconds": 100.0, "fail_fast": True},
    )  # fmt: skip
    endings = story.walk(step("a"), step("b"), step("mishap"), step("c", "b"))
    assert isinstance(endings["b"].outcome, Built)
    assert endings["mishap"].outcome == MISHAP
    assert endings["c"].outcome == Skipped("the run was stopped at the first failure, of a")
    assert story.clock.now == 50


def test_a_skipped_step_names_the_failure_at_the_root() -> None:
    story = Story({}, outcomes={"a": [Failed("package", "no")]})
    endings = story.walk(step("a"), step("b", "a"), step("c", "b"), step("d", "b", "a"))
    assert endings["b"].outcome == Skipped("a, which it needs, failed")
    assert endings["c"].outcome == Skipped("b, which it needs, was skipped because a failed")
    assert endings["d"].outcome == Skipped("a, which it needs, failed")
    assert {endings[name].cause for name in "bcd"} == {"a@c"}


def test_what_needs_an_excluded_step_says_why_it_is_left_out() -> None:
    endings = Story({}).walk(step("a", excluded="ExclusiveArch: riscv64"), step("b", "a"))
    said = Skipped("a, which it needs, is left out: ExclusiveArch: riscv64")
    assert endings["b"].outcome == said


def test_a_circle_in_a_plan_ends_and_says_so() -> None:
    endings = Story({}).walk(step("a", "b"), step("b", "a"), step("c"))
    assert isinstance(endings["c"].outcome, Built)
    outcome = endings["a"].outcome
    assert isinstance(outcome, Skipped) and "cycle" in outcome.because


def test_steps_are_settled_ahead_while_there_is_no_room_but_not_all_of_them() -> None:
    story = Story(dict.fromkeys("abcdefgh", Demand(seconds=10)), Capacity(2))
    story.walk(*(step(name) for name in "abcdefgh"))
    assert [name for when, name in story.settled if when == 0] == list("abcd")
    assert story.starts == dict(zip("abcdefgh", [0, 0, 10, 10, 20, 20, 30, 30], strict=True))


def test_a_better_one_that_gets_ready_late_is_settled_ahead_of_those_that_are() -> None:
    story = Story(takes(a=10, b=30, c=5, d=5, e=5, top=50), Capacity(2))
    story.walk(*(step(name) for name in "bcde"), step("a"), step("top", "a"))
    assert story.starts["top"] == 10


def test_the_engine_is_asked_for_news_between_settlings() -> None:
    story = Story(takes(a=10))
    polls: list[float] = []
    poll = story.engine.poll

    def asked(seconds: float) -> tuple[Ended | Moved, ...]:
        polls.append(seconds)
        return poll(seconds)

    story.engine.poll = asked  # type: ignore[method-assign]
    seen: list[int] = []
    story.settle = lambda each: seen.append(len(polls))
    story.walk(*(step(name) for name in "abcd"))
    assert seen[1] < seen[2] < seen[3]


def test_an_attempt_that_goes_on_is_neither_begun_nor_started_and_holds_its_share() -> None:
    story = Story(takes(old=10, a=10, b=10), Capacity(2), options={"going": frozenset(["old@c"])})
    run = story.attempt(step("old"))
    story.engine.start(run.job, run.directory)
    story.started.clear()
    goes_on = Run(run.job, run.directory, "goes on", going=True)
    story.settle = lambda each: goes_on if each.recipe == "old" else None
    endings = story.walk(step("a"), step("b"), step("old"))
    assert story.started == [(0, "a"), (10, "b")]
    assert "old" not in story.cores
    assert endings["old"].reason == "goes on"


def test_the_end_of_an_attempt_that_nobody_has_claimed_yet_is_not_lost() -> None:
    story = Story(takes(a=1, old=5), Capacity(1))
    run = story.attempt(step("old"))
    goes_on = Run(run.job, run.directory, "goes on", going=True)
    story.settle = lambda each: goes_on if each.recipe == "old" else None
    poll, told = story.engine.poll, [Ended("old#1", BUILT)]

    def early(seconds: float) -> tuple[Ended | Moved, ...]:
        news = poll(seconds)
        return (told.pop(), *news) if told else news

    story.engine.poll = early  # type: ignore[method-assign]
    endings = story.walk(step("a"), step("old", "a"))
    assert isinstance(endings["old"].outcome, Built)


def test_an_end_that_nobody_has_claimed_is_not_lost_when_the_walk_is_left_off() -> None:
    story = Story(takes(a=9, old=5), Capacity(1))
    run = story.attempt(step("old"))
    story.engine.start(run.job, run.directory)
    goes_on = Run(run.job, run.directory, "goes on", going=True)
    story.settle = lambda each: goes_on if each.recipe == "old" else None
    story.options |= {"going": frozenset(["old@c"]), "joining": leaves_off(story, 5.0)}
    with pytest.raises(LeftOff) as left:  # what it needs is walked once more
        story.walk(step("a"), step("old", "a"))
    assert [each.attempt for each in left.value.unclaimed] == ["old#1"]
    done = (Ending(step("a"), BUILT, result(step("a"))),)
    story.options |= {"joining": nobody, "unclaimed": left.value.unclaimed, "ended": done}
    assert isinstance(story.walk(step("a"), step("old", "a"))["old"].outcome, Built)


def test_every_step_is_told_as_queued_with_what_it_waits_for() -> None:
    story = Story({"b": Demand(cores=2, seconds=7.0)})
    story.walk(step("a"), step("b", "a"))
    (queued,) = story.said("queued", "b")
    assert queued["needs"] == ("a@c",)
    assert (queued["cores"], queued["expected"], queued["urgent"]) == (2, 7.0, False)
    (start,) = story.said("running", "b")
    assert (start["attempt"], start["cores"], start["expected"]) == ("b#1", 2, 7.0)


def test_idle_cores_are_lent_and_shared_by_those_that_start_together() -> None:
    story = Story(takes(a=10, b=10, c=10), Capacity(8, 8))
    story.walk(*(step(name) for name in "abc"))
    assert sorted(story.cores.values()) == [2, 3, 3]
    story = Story(takes(a=10), Capacity(8, 8))
    story.walk(step("a"))
    assert story.cores == {"a": 8}


def test_nothing_is_lent_while_others_keep_the_cores_busy() -> None:
    names = "abcdefgh"
    story = Story(dict.fromkeys(names, Demand(seconds=10)), Capacity(2, 2))
    story.walk(*(step(name) for name in names))
    assert [story.cores[name] for name in names[:6]] == [1] * 6


def test_what_is_lent_is_not_held() -> None:
    story = Story(takes(long=100, a=5, late=50), Capacity(4, 4))
    story.walk(step("long"), step("a"), step("late", "a"))
    assert story.cores["long"] == 2
    assert story.starts["late"] == 5


ROOM = Need(8, 8, 0, 0, EVER)


@pytest.mark.parametrize(
    ("need", "scene", "cores"),
    [
        pytest.param(Need(1, 1, 0, 0, 9), Scene(0, ROOM, (), 0), 0, id="not counted"),
        pytest.param(Need(1, 2, 0, 0, 9), Scene(8, ROOM, (), 0), 6, id="alone"),
        pytest.param(Need(1, 2, 0, 0, 9), Scene(8, ROOM, (1, 1), 99), 1, id="shared"),
        pytest.param(Need(1, 2, 0, 0, 9), Scene(8, ROOM, (6,), 999), 0, id="others want all"),
        pytest.param(Need(1, 2, 0, 0, 9), Scene(8, ROOM, (), 0, 4), 2, id="some are lent"),
        pytest.param(
            Need(1, 2, 0, 0, 100), Scene(8, ROOM, (6,), 300), 1, id="others are over soon"
        ),
        pytest.param(
            Need(1, 2, 50, 0, 9), Scene(8, Need(8, 8, 110, 0, EVER), (), 0), 2, id="memory"
        ),
    ],
)
def test_what_is_lent(need: Need, scene: Scene, cores: int) -> None:
    assert lent(need, scene) == cores


def test_the_critical_path_leaves_out_what_takes_no_time() -> None:
    plan = Plan((step("a"), step("b", "a"), step("c", "b"), step("x")))
    seconds = {"a@c": 5.0, "b@c": 0.0, "c@c": 5.0, "x@c": 9.0}
    assert [each.recipe for each in critical_path(plan, seconds)] == ["a", "c"]


def test_an_attempt_that_cannot_begin_is_settled_again_later_and_stops_nobody_else() -> None:
    begun: list[str] = []

    def begin(each: Step, run: Run, cores: int) -> Run | Refuse:
        begun.append(each.recipe)
        return Refuse(MISHAP) if begun.count("a") == 1 and each.recipe == "a" else run

    options = {"begin": begin, "retries": 1, "retry_seconds": 5.0}
    story = Story(takes(a=1, b=1), Capacity(1), options=options)
    ends = story.walk(step("a"), step("b"), step("c", "a"))
    assert {type(ending.outcome) for ending in ends.values()} == {Built}
    assert story.starts == {"b": 0.0, "a": 5.0, "c": 6.0}


def test_an_attempt_that_never_can_begin_is_that_steps_failure() -> None:
    def begin(each: Step, run: Run, cores: int) -> Run | Refuse:
        return Refuse(MISHAP) if each.recipe == "a" else run

    ends = Story({}, options={"begin": begin}).walk(step("a"), step("b"), step("c", "a"))
    assert [type(ends[name].outcome) for name in "abc"] == [Failed, Built, Skipped]


def test_an_engine_without_room_to_start_an_attempt_has_met_with_a_mishap() -> None:
    story = Story(takes(a=1, b=1), options={"retries": 1, "retry_seconds": 5.0})
    start, tried = story.engine.start, []

    def full(job: Job, directory: Path, rank: float = 0.0) -> None:
        tried.append(job.attempt)
        if job.attempt == "a#1":
            raise OSError(28, "No space left on device")
        start(job, directory, rank)

    story.engine.start = full  # type: ignore[method-assign]
    ends = story.walk(step("a"), step("b"))
    assert {type(ending.outcome) for ending in ends.values()} == {Built}
    assert sorted(tried) == ["a#1", "a#2", "b#1"]
    assert any("No space left" in said["text"] for said in story.said("warning", "a"))


def test_nothing_goes_on_with_an_engine_after_an_error() -> None:
    def broken(each: Step) -> Decision:
        raise RuntimeError("no")

    story = Story({}, settle=broken)
    with pytest.raises(RuntimeError):
        story.walk(step("a"))
    assert story.engine.stopped


def test_attempts_left_by_another_coordinator_are_not_known_to_a_made_up_engine() -> None:
    assert Story({}).engine.recover((Going("a", "b", "c", 0.0),)) == frozenset()

"""The makespan of a run against what its own durations allow."""

from __future__ import annotations

import pytest

from farm.errors import UsageError
from farm.model import Attempt, Built, Nevra, Package, Usage
from farm.progress import Event
from tests.bench.makespan import measured, told

SOURCE = Package(Nevra("p", 0, "1", "1", "src"), "", 0, "p")


def attempt(step: str, started: float, ended: float, name: str = "") -> Attempt:
    built = Built((), SOURCE, ended - started, usage=Usage(cpu=(ended - started) / 2))
    return Attempt(name or step, f"{step}@c", "", started, ended, built)


def queued(step: str, *needs: str, cores: int = 1) -> Event:
    waits = tuple(f"{need}@c" for need in needs)
    return Event(100.0, "queued", f"{step}@c", needs=waits, cores=cores)


def ran(step: str, started: float, ended: float, name: str = "") -> tuple[Event, Event]:
    return (
        Event(started, "running", f"{step}@c", phase="start", attempt=name or step),
        Event(ended, "built", f"{step}@c", attempt=name or step),
    )


def test_a_run_without_gaps_is_at_its_bound() -> None:
    events = [queued("a"), queued("b"), *ran("a", 101, 111), *ran("b", 101, 111)]
    measure = measured(events, [attempt("a", 101, 111), attempt("b", 101, 111)], 2)
    assert (measure.makespan, measure.bound, measure.ratio) == (10, 10, 1.0)
    assert measure.whole == 11
    assert (measure.idle_for_want, measure.idle_with_work) == (0, 0)


def test_idle_time_is_told_apart_by_whether_something_was_ready() -> None:
    events = [
        queued("a"), queued("b", "a"), queued("c"),
        *ran("a", 101, 111), *ran("b", 115, 125), *ran("c", 121, 125),
    ]  # fmt: skip
    attempts = [attempt("a", 101, 111), attempt("b", 115, 125), attempt("c", 121, 125)]
    measure = measured(events, attempts, 2)
    assert measure.path == 20 and measure.chain == ("a@c", "b@c")
    assert measure.work == 24 and measure.bound == 20 and measure.makespan == 24
    # c was ready all the time until 121: nothing but that was idle
    assert (measure.idle_for_want, measure.idle_with_work) == (0, 10 + 4 * 2 + 6)
    assert "1.200 of the bound" in told(measure)


def test_idle_cores_that_nobody_could_have_used_are_for_want_of_steps() -> None:
    events = [queued("a"), queued("b", "a"), *ran("a", 101, 111), *ran("b", 111, 121)]
    measure = measured(events, [attempt("a", 101, 111), attempt("b", 111, 121)], 2)
    assert (measure.idle_for_want, measure.idle_with_work) == (20, 0)


def test_attempts_of_other_runs_do_not_count_and_all_of_a_step_do() -> None:
    events = [queued("a", cores=2), *ran("a", 101, 105, "a1"), *ran("a", 106, 111, "a2")]
    attempts = [
        attempt("a", 1, 99, "old"), attempt("a", 101, 105, "a1"), attempt("a", 106, 111, "a2")
    ]  # fmt: skip
    measure = measured(events, attempts, 2)
    assert (measure.attempts, measure.path, measure.work) == (2, 9, 18)
    assert measure.processor == 4.5


def test_a_run_that_built_nothing_has_no_measure() -> None:
    with pytest.raises(UsageError):
        measured([queued("a")], [attempt("a", 1, 2)], 2)

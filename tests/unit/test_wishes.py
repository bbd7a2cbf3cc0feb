"""Two builds at once: no wish is lost, whenever the one at work ends or is killed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from farm.errors import Busy, Interrupted
from farm.ledger import Ledger, coordinator
from farm.progress import Event, emitter
from farm.progress.journal import Journal, journal_path
from farm.turns import Waiting, turn, turn_or_answer
from farm.wishes import Answer, Wish, Wishes, wishing

processes = multiprocessing.get_context("fork")


def a_wish(*names: str, jobs: int = 0) -> Wish:
    return Wish(os.getpid(), "debian-13", names, ("x86_64",), "layer", jobs=jobs)


class Heard:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def see(self, event: Event) -> None:
        self.events.append(event)

    def __enter__(self) -> Heard:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    @property
    def notes(self) -> list[str]:
        return self.said("note")

    def said(self, state: str) -> list[str]:
        return [event.text for event in self.events if event.state == state]


@contextlib.contextmanager
def another(work: Callable[..., None], *args: Any) -> Iterator[Any]:
    """A process that does this meanwhile."""
    process = processes.Process(target=work, args=args, daemon=True)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    end = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)
    return answer


def holds(state: Path, path: Path) -> None:
    """Hold the state directory until a file is there."""
    with coordinator(state):
        path.with_suffix(".held").touch()
        until(path.exists)


@contextlib.contextmanager
def somebody_at_work(state: Path) -> Iterator[Path]:
    """The path of a file that ends their work."""
    end = state.parent / "end"
    with another(holds, state, end):
        until(end.with_suffix(".held").exists)
        yield end


def builds(state: Path, kept: int, answers: bool) -> None:
    """A build that takes on every wish, until it has seen so many."""
    with coordinator(state), Journal(journal_path(state)) as journal:
        (state.parent / "building").touch()
        wishes, seen = Wishes(state), 0
        while seen < kept:
            for name, wish in wishes.new():
                steps = tuple(f"{each}@c" for each in wish.names)
                wishes.answer(name, Answer("taken", os.getpid(), steps, jobs=2))
                for step in (*steps, "other@c"):
                    journal.see(Event(1.0, "queued", step, total=9))
                    journal.see(Event(2.0, "built", step, done=4, total=9))
                if answers:
                    report = msgspec.Raw(msgspec.json.encode(list(wish.names)))
                    wishes.answer(name, Answer("done", os.getpid(), steps, report=report, jobs=2))
                seen += 1
            time.sleep(0.01)
        time.sleep(0.4 if not answers else 0)


@contextlib.contextmanager
def a_build(state: Path, kept: int = 1, *, answers: bool = True) -> Iterator[Any]:
    with another(builds, state, kept, answers) as process:
        until((state.parent / "building").exists)
        yield process


def test_nobody_at_work_is_not_waited_for(tmp_path: Path) -> None:
    def never() -> Wish:
        raise AssertionError("nobody is there to wish anything of")

    with turn_or_answer(tmp_path, emitter(Heard()), never, waiting="follow") as ours:
        assert isinstance(ours, Ledger)


@pytest.mark.parametrize("wished", [True, False])
def test_without_waiting_it_is_refused(tmp_path: Path, wished: bool) -> None:
    state = tmp_path / "state"
    with (
        somebody_at_work(state),
        pytest.raises(Busy, match="is at work in"),
        contextlib.ExitStack() as stack,
    ):
        if wished:
            stack.enter_context(
                turn_or_answer(state, emitter(Heard()), lambda: a_wish("a"), waiting="no")
            )
        else:
            stack.enter_context(turn(state, emitter(Heard()), waiting="no"))


def test_who_waits_says_for_whom_and_goes_on_when_it_has_ended(tmp_path: Path) -> None:
    state, heard = tmp_path / "state", Heard()

    def ends(path: Path) -> None:
        time.sleep(0.5)
        path.touch()

    with (
        somebody_at_work(state) as end,
        another(ends, end),
        turn(state, emitter(heard), waiting="wait") as ledger,
    ):
        assert ledger.standings() == ()
    assert len(heard.notes) == 1
    assert "is at work here: waiting for it to end" in heard.notes[0]


def test_a_wish_is_fulfilled_by_the_build_at_work(tmp_path: Path) -> None:
    state, heard = tmp_path / "state", Heard()
    with (
        a_build(state) as process,
        turn_or_answer(state, emitter(heard), lambda: a_wish("a", "b"), waiting="follow") as answer,
    ):
        assert isinstance(answer, Answer)
        assert msgspec.json.decode(answer.report) == ["a", "b"]
        assert answer.process == process.pid
    assert any("takes it on, 2 steps" in note for note in heard.notes)
    assert not list((state / "wishes").iterdir())


@pytest.mark.parametrize(("asked", "told"), [(0, False), (2, False), (7, True)])
def test_who_asked_for_another_number_at_a_time_is_told_that_it_does_not_count(
    tmp_path: Path, asked: int, told: bool
) -> None:
    state, heard = tmp_path / "state", Heard()
    with (
        a_build(state) as process,
        turn_or_answer(
            state, emitter(heard), lambda: a_wish("a", jobs=asked), waiting="follow"
        ) as answer,
    ):
        assert isinstance(answer, Answer)
    text = f"process {process.pid} has at most 2 attempts at a time: --jobs 7 does not change that"
    assert heard.said("warning") == [f"{text}; with --wait you build by yourself"] * told


def test_only_what_becomes_of_the_own_steps_is_told_and_counted(tmp_path: Path) -> None:
    state, heard = tmp_path / "state", Heard()
    with a_build(state), turn_or_answer(
        state, emitter(heard), lambda: a_wish("a", "b"), waiting="follow"
    ):  # fmt: skip
        told = [event for event in heard.events if event.step]
    assert {event.step for event in told} == {"a@c", "b@c"}
    assert [event.done for event in told if event.state == "built"] == [1, 2]
    assert {event.total for event in told} == {2}


def test_a_wish_that_was_taken_and_not_done_is_done_by_the_one_who_had_it(tmp_path: Path) -> None:
    state, heard = tmp_path / "state", Heard()
    with a_build(state, answers=False), turn_or_answer(
        state, emitter(heard), lambda: a_wish("a"), waiting="follow"
    ) as ours:  # fmt: skip
        assert isinstance(ours, Ledger)
        assert Wishes(state).new() == (), "nobody else is to do it as well"
    assert any("ended before it was done: going on here" in note for note in heard.notes)


def test_a_build_that_was_killed_takes_no_wish_with_it(tmp_path: Path) -> None:
    state, heard = tmp_path / "state", Heard()
    with a_build(state, 99, answers=False) as process:

        def kills() -> None:
            until(lambda: list((state / "wishes").glob("*.answer")))
            os.kill(process.pid, signal.SIGKILL)

        with another(kills), turn_or_answer(
            state, emitter(heard), lambda: a_wish("a"), waiting="follow"
        ) as ours:  # fmt: skip
            assert isinstance(ours, Ledger)


def test_who_gives_up_a_wish_that_was_taken_is_told_who_goes_on(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with a_build(state, 99, answers=False) as process:

        def gives_up() -> None:
            until(lambda: list((state / "wishes").glob("*.answer")))
            os.kill(me, signal.SIGINT)

        me = os.getpid()
        with another(gives_up), pytest.raises(Interrupted) as told, turn_or_answer(
            state, emitter(Heard()), lambda: a_wish("a"), waiting="follow"
        ):  # fmt: skip
            pass
    assert f"Process {process.pid} goes on with what it took on" in told.value.hint
    assert not list((state / "wishes").glob("*.wish"))


def test_of_a_wish_whose_process_is_gone_nothing_remains(tmp_path: Path) -> None:
    def dies() -> None:
        with wishing(tmp_path, a_wish("a")):
            os.kill(os.getpid(), signal.SIGKILL)

    with another(dies) as process:
        process.join()
    assert list((tmp_path / "wishes").iterdir())
    assert Wishes(tmp_path).new() == ()
    assert not list((tmp_path / "wishes").iterdir())


def test_a_wish_is_seen_once_by_each_build_and_in_the_order_they_were_laid_down(
    tmp_path: Path,
) -> None:
    with contextlib.ExitStack() as stack:
        for name in "cab":
            stack.enter_context(wishing(tmp_path, a_wish(name)))
        first, second = Wishes(tmp_path), Wishes(tmp_path)
        assert [wish.names for _, wish in first.new()] == [("c",), ("a",), ("b",)]
        assert first.new() == ()
        assert len(second.new()) == 3


def test_a_wish_that_is_fulfilled_is_not_taken_on_once_more(tmp_path: Path) -> None:
    with wishing(tmp_path, a_wish("a")) as mine, wishing(tmp_path, a_wish("b")):
        first = Wishes(tmp_path)
        [(name, _), (other, _)] = first.new()
        first.answer(name, Answer("done", 1))
        first.answer(other, Answer("taken", 1))
        assert [wish.names for _, wish in Wishes(tmp_path).new()] == [("b",)]
        answer = mine.answer()
        assert answer is not None and answer.state == "done"


def test_the_wish_of_another_farm_is_left_alone(tmp_path: Path) -> None:
    with wishing(tmp_path, a_wish("a")) as mine:
        mine.path.write_bytes(b'{"from": "the future"}')
        assert Wishes(tmp_path).new() == ()
        assert mine.path.exists()


def one_of_many(state: Path, number: int, seed: int, waiting: Waiting) -> None:
    """A build among many: it notes what it did, for itself and for others, one at a time."""
    chance = random.Random(f"{seed}-{number}")
    time.sleep(chance.random() * 0.5)
    record = state.parent / "record"

    def did(what: str, who: str) -> None:
        with (record / f"{who}.{what}").open("a") as file:
            file.write(f"{number}\n")

    wish = a_wish(f"p{number}")
    with turn_or_answer(state, emitter(Heard()), lambda: wish, waiting=waiting) as ours:
        if isinstance(ours, Answer):
            assert msgspec.json.decode(ours.report) == list(wish.names)
            did("answered", str(number))
            return
        alone = state.parent / "alone"
        alone.mkdir()  # fails when two are at work
        try:
            wishes = Wishes(state)
            taken: list[tuple[str, Wish]] = []
            for _ in range(chance.randrange(1, 12)):
                for name, other in wishes.new():
                    if chance.random() < 0.2:
                        answer = Answer("declined", os.getpid(), why="it does not like it")
                    else:
                        answer = Answer("taken", os.getpid(), tuple(other.names))
                        taken.append((name, other))
                    wishes.answer(name, answer)
                time.sleep(0.01)
            if chance.random() < 0.3:
                alone.rmdir()
                os.kill(os.getpid(), signal.SIGKILL)
            for name, other in taken:
                did("built", other.names[0].removeprefix("p"))
                report = msgspec.Raw(msgspec.json.encode(list(other.names)))
                wishes.answer(name, Answer("done", os.getpid(), report=report))
            did("built", str(number))
        finally:
            if alone.exists():
                alone.rmdir()


@pytest.mark.parametrize("seed", range(3))
def test_whatever_ends_or_is_killed_every_wish_is_fulfilled_or_its_owner_was_killed(
    tmp_path: Path, seed: int
) -> None:
    state = tmp_path / "state"
    (tmp_path / "record").mkdir()
    many = [
        processes.Process(
            target=one_of_many,
            args=(state, number, seed, "follow" if number % 5 else "wait"),
            daemon=True,
        )
        for number in range(24)
    ]
    for process in many:
        process.start()
    for process in many:
        process.join(60)
    assert {process.exitcode for process in many} <= {0, -signal.SIGKILL}, "one failed or hangs"
    built = {path.stem for path in (tmp_path / "record").glob("*.built")}
    for number, process in enumerate(many):
        assert process.exitcode == -signal.SIGKILL or str(number) in built
    answered = {path.stem for path in (tmp_path / "record").glob("*.answered")}
    assert answered <= built, "an answer without the work"
    assert answered, "nobody did anything for another: the test has become no test"
    left = [path for path in (state / "wishes").iterdir() if path.suffix == ".answer"]
    assert len(left) <= sum(process.exitcode != 0 for process in many)

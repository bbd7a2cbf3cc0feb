"""What a killed coordinator left counts as if it had lived a moment longer, once."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.config import Config, Paths
from farm.ledger import Ledger, coordinator
from farm.model import (
    Built,
    Chroot,
    Failed,
    Going,
    Job,
    Lock,
    Nevra,
    Outcome,
    Package,
    Recipe,
    RecipeFile,
    WorkOrder,
    to_json,
)
from farm.rebuild.attempts import attempt_directory
from farm.rebuild.claim import claimed
from farm.rebuild.engines import Capacity, Ended, Moved
from farm.recovery import take_in, take_over
from farm.store import Store

CHROOT = Chroot("d-x86_64", "d", "x86_64", (), (), ".d")
STEP = "munge@d-x86_64"


class Left:
    """A state directory that a killed coordinator left."""

    def __init__(self, root: Path) -> None:
        self.config = msgspec.structs.replace(Config(), root=root, paths=Paths(state="state"))
        self.state = self.config.path("state")
        self.store = Store(self.state / "store")
        self.said: list[str] = []

    def emit(self, state: str, step: str = "", **fields: Any) -> None:
        self.said.append(fields.get("text", ""))

    def begun(self, ledger: Ledger, attempt: str = "x", key: str = "k") -> Job:
        recipe = Recipe("munge", "munge.spec", "/", (RecipeFile("munge.spec", "1" * 64),))
        job = Job(attempt, STEP, recipe, CHROOT, Lock(()), Lock(()), 0, key, 0)
        directory = attempt_directory(self.state, attempt)
        directory.mkdir(parents=True)
        order = WorkOrder(job, str(self.store.root), "/roots")
        (directory / "job.json").write_bytes(to_json(order))
        ledger.begin_job(job)
        return job

    def package(self, content: str) -> Package:
        sha256 = hashlib.sha256(content.encode()).hexdigest()
        return Package(Nevra("munge", 0, "1", "1.d", "x86_64"), sha256, len(content), "munge")

    def finished(self, job: Job, content: str = "bytes") -> Built:
        """The worker ends well."""
        package = self.package(content)
        directory = attempt_directory(self.state, job.attempt)
        (directory / "results").mkdir()
        (directory / "results" / package.nevra.filename).write_text(content)
        (directory / "build.log").write_text("all is well\n")
        srpm = Package(Nevra("munge", 0, "1", "1.d", "src"), "2" * 64, 1, "munge")
        built = Built((package,), srpm, 3.0)
        self.ended(job, built)
        return built

    def ended(self, job: Job, outcome: Outcome) -> None:
        directory = attempt_directory(self.state, job.attempt)
        (directory / "outcome.json").write_bytes(to_json(outcome))

    def take_in(self, ledger: Ledger) -> None:
        take_in(self.config, ledger, self.emit)

    def take_over(self, ledger: Ledger, engine: Idle | None = None) -> dict[str, Job]:
        return take_over(self.config, ledger, engine or Idle(), self.emit)


@dataclass
class Idle:
    """An engine in whose hands these attempts go on."""

    going: frozenset[str] = frozenset()
    finishing: tuple[Left, Job] | None = None
    capacity: Capacity = field(default_factory=lambda: Capacity(1))

    def start(self, job: Job, directory: Path, rank: float = 0.0) -> None:
        raise AssertionError

    def recover(self, attempts: Sequence[Going]) -> frozenset[str]:
        if self.finishing is not None:
            self.finishing[0].finished(self.finishing[1])
        return self.going

    def poll(self, seconds: float) -> tuple[Ended | Moved, ...]:
        return ()

    def stop(self) -> None:
        return None


@pytest.fixture
def left(tmp_path: Path) -> Left:
    return Left(tmp_path)


def test_what_was_built_counts(left: Left) -> None:
    with coordinator(left.state) as ledger:
        left.finished(left.begun(ledger))
    with coordinator(left.state) as ledger:
        left.take_in(ledger)
        standing = ledger.standing(STEP)
        assert standing is not None and standing.key == "k"
        assert left.store.get(standing.built.packages[0].sha256).read_text() == "bytes"
        assert ledger.going() == ()
        (attempt,) = ledger.attempts()
        assert isinstance(attempt.outcome, Built)
    assert left.said == [f"{STEP} was built when farm was stopped: it is taken up"]
    assert not (attempt_directory(left.state, "x") / "results").exists()
    assert list(left.state.glob("logs/munge/d-x86_64/x.log.gz"))


def test_what_failed_has_failed(left: Left) -> None:
    with coordinator(left.state) as ledger:
        left.ended(left.begun(ledger), Failed("package", "munge does not compile"))
        left.take_in(ledger)
        found = ledger.last_at(STEP, "k")
        assert found is not None and isinstance(found[0].outcome, Failed)
        assert ledger.failing() == {STEP}
    assert left.said == [f"{STEP} had failed when farm was stopped: munge does not compile"]


def test_what_came_to_nothing_is_closed_and_nobody_may_begin_it_any_more(left: Left) -> None:
    with coordinator(left.state) as ledger:
        left.begun(ledger)
        left.take_in(ledger)
        assert [going.id for going in ledger.going()] == ["x"], "it may go on somewhere"
        assert left.take_over(ledger) == {}
        (attempt,) = ledger.attempts()
        assert isinstance(attempt.outcome, Failed) and attempt.outcome.kind == "interrupted"
    there = claimed(attempt_directory(left.state, "x"))
    assert there is not None and there.worker == ""


def test_what_goes_on_is_taken_over(left: Left) -> None:
    with coordinator(left.state) as ledger:
        job = left.begun(ledger)
        assert left.take_over(ledger, Idle(frozenset({"x"}))) == {STEP: job}
        assert [going.id for going in ledger.going()] == ["x"]
    assert left.said == []


def test_of_two_that_go_on_at_one_step_the_newer_one_does(left: Left) -> None:
    with coordinator(left.state) as ledger:
        left.begun(ledger, "x", "old")
        newer = left.begun(ledger, "y", "new")
        assert left.take_over(ledger, Idle(frozenset({"x", "y"}))) == {STEP: newer}
        assert [going.id for going in ledger.going()] == ["y"]


def test_what_ends_while_the_engine_is_asked_counts(left: Left) -> None:
    with coordinator(left.state) as ledger:
        job = left.begun(ledger)
        assert left.take_over(ledger, Idle(finishing=(left, job))) == {}
        assert ledger.standing(STEP) is not None


def test_an_outcome_that_came_after_its_attempt_was_given_up_counts_for_nothing(
    left: Left,
) -> None:
    with coordinator(left.state) as ledger:
        job = left.begun(ledger)
        left.take_over(ledger)
        left.finished(job)
        left.take_in(ledger)
        left.take_over(ledger)
        assert ledger.standing(STEP) is None
        assert len(ledger.attempts()) == 1


@pytest.mark.parametrize("what", ["job.json", "outcome.json"])
def test_files_that_were_damaged_make_an_attempt_count_as_none(left: Left, what: str) -> None:
    with coordinator(left.state) as ledger:
        left.finished(left.begun(ledger))
        (attempt_directory(left.state, "x") / what).write_text("{")
        left.take_in(ledger)
        assert left.take_over(ledger, Idle()) == {}
        assert ledger.standing(STEP) is None and ledger.going() == ()


def test_results_that_were_lost_make_it_a_mishap(left: Left) -> None:
    with coordinator(left.state) as ledger:
        left.finished(left.begun(ledger))
        next(left.state.glob("attempts/x/results/*.rpm")).write_text("damaged")
        left.take_in(ledger)
        (attempt,) = ledger.attempts()
        assert isinstance(attempt.outcome, Failed) and attempt.outcome.kind == "infrastructure"


def test_other_bytes_under_a_published_name_move_the_counter_as_they_would_have(
    left: Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    nevra = str(left.package("").nevra)
    monkeypatch.setattr("farm.recovery.published_before", lambda _: {(STEP, nevra): "f" * 64})
    with coordinator(left.state) as ledger:
        left.finished(left.begun(ledger))
        left.take_in(ledger)
        assert ledger.standing(STEP) is None and ledger.going() == ()
        assert ledger.counter("d", "munge", "1-1") == 1


class Killed(BaseException):
    """kill -9, as far as what comes after it is concerned."""


class Mortal:
    """A database connection whose process is killed before the n-th statement."""

    def __init__(self, database: sqlite3.Connection, statements: int) -> None:
        self._database, self.left = database, statements

    def execute(self, *words: Any) -> Any:
        if self.left == 0:
            raise Killed
        self.left -= 1
        return self._database.execute(*words)


@settings(max_examples=40, deadline=None)
@given(moments=st.lists(st.integers(0, 25), max_size=4))
def test_whenever_and_however_often_it_is_killed_nothing_is_lost_or_counted_twice(
    tmp_path_factory: pytest.TempPathFactory, moments: list[int]
) -> None:
    left = Left(tmp_path_factory.mktemp("killed"))
    with coordinator(left.state) as ledger:
        left.finished(left.begun(ledger))
    for moment in moments:
        try:
            with coordinator(left.state) as ledger:
                left.take_in(Ledger(Mortal(ledger._db, moment)))  # type: ignore[arg-type]
        except Killed:
            pass
    with coordinator(left.state) as ledger:
        left.take_in(ledger)
        left.take_over(ledger)
        standing = ledger.standing(STEP)
        assert standing is not None and standing.key == "k"
        assert left.store.get(standing.built.packages[0].sha256).read_text() == "bytes"
        assert [type(attempt.outcome) for attempt in ledger.attempts()] == [Built]
        assert ledger.counter("d", "munge", "1-1") == 0

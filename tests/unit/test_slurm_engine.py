"""The Slurm engine on an imaginary cluster that forgets, falls silent and starts jobs twice."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from farm.config import Slurm
from farm.errors import StateError
from farm.model import Built, Demand, Failed, Going, Nevra, Package, WorkOrder, to_json
from farm.rebuild import claim
from farm.rebuild.attempts import attempt_directory
from farm.rebuild.engines import Ended, Moved
from farm.rebuild.engines.slurm.attempt import Attempt
from farm.rebuild.engines.slurm.clients import Clients, Declined, Row, Shape, Silent
from farm.rebuild.engines.slurm.ends import ALIVE
from farm.rebuild.engines.slurm.engine import SlurmEngine
from farm.rebuild.engines.slurm.post import SharedDirectory
from farm.store import write_atomic
from tests.unit.test_slurm import job

SRPM = Package(Nevra("tiny", 0, "1.0", "1", "src"), "0" * 64, 1, "tiny")
LOST = 20


@dataclass
class Imaginary(Clients):
    """A cluster in memory. Orphans are jobs that run on, forgotten by slurmctld."""

    rows: list[Row] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    silent: bool = False
    swallow: bool = False  # the next submission is heard, and its answer lost
    refusal: str = ""
    most: int = 0  # jobs of one user, 0: no limit
    accounts: bool = False
    asked: list[tuple[str, ...]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)

    def ping(self) -> None:
        if self.silent:
            raise Silent("Slurmctld(primary) at here is DOWN")

    def submit(self, words: Sequence[str], script: str, env: Mapping[str, str]) -> None:
        self._heard()
        self.asked.append(tuple(words))
        options = dict(word.split("=", 1) for word in words if "=" in word)
        if self.refusal and self.refusal in " ".join(words):
            raise Declined(f"Invalid {self.refusal}")
        if self.most and sum(row.state in ALIVE for row in self.rows) >= self.most:
            raise Declined("Job violates accounting/QOS policy (job submit limit, …)")
        comment = options["--comment"]
        self.rows.append(Row(options["--job-name"], "PENDING", "", "Priority", 0, comment))
        if self.swallow:
            self.swallow = False
            raise Silent("Socket timed out on send/recv operation")

    def queue(self) -> tuple[Row, ...]:
        self._heard()
        return tuple(self.rows)

    def history(self, names: Sequence[str]) -> tuple[Row, ...] | None:
        if not self.accounts:
            return None
        return tuple(Row(name, "CANCELLED", "n1", "by 0") for name in names)

    def cancel(self, name: str, *, waiting: bool = False) -> None:
        self._heard()
        self.cancelled.append(name)
        states = {"PENDING"} if waiting else ALIVE
        self.rows = [
            replace(row, state="CANCELLED") if row.name == name and row.state in states else row
            for row in self.rows
        ]

    def shapes(self, partition: str) -> tuple[Shape, ...]:
        self._heard()
        return (Shape(frozenset({"x86_64"}), 4, 8000),)

    def say(self, name: str, state: str, **more: object) -> None:
        """All jobs of that name are in another state."""
        self.rows = [
            replace(row, state=state, **more) if row.name == name else row  # type: ignore[arg-type]
            for row in self.rows
        ]

    def _heard(self) -> None:
        if self.silent:
            raise Silent("Unable to contact slurm controller (connect failure)", unheard=True)


class Bench:
    """An engine with a clock that is moved by hand."""

    def __init__(self, state: Path, cluster: Imaginary | None = None) -> None:
        self.state, self.now = state, 0.0
        self.cluster = cluster or Imaginary()
        self.told: list[str] = []
        self.engine = self.begin()

    def begin(self) -> SlurmEngine:
        """As a coordinator that has just been started."""
        config = Slurm(lost=LOST)
        self.engine = SlurmEngine(
            config, self.state, SharedDirectory(""), clients=self.cluster,
            tell=self.told.append, clock=lambda: self.now,
        )  # fmt: skip
        return self.engine

    def start(self, attempt: str, rank: float = 0.0, **more: Any) -> Path:
        directory = attempt_directory(self.state, attempt)
        order = WorkOrder(job(attempt, **more), str(self.state / "store"), "")
        write_atomic(directory / "job.json", to_json(order))
        self.engine.start(order.job, directory, rank)
        return directory

    def pass_time(self, seconds: float, step: float = 1.0) -> list[Ended | Moved]:
        news: list[Ended | Moved] = []
        for _ in range(int(seconds / step)):
            self.now += step
            news += self.engine.poll(0)
        return news

    def ends(self, seconds: float) -> list[Ended]:
        return [each for each in self.pass_time(seconds) if isinstance(each, Ended)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def done(directory: Path) -> None:
    write_atomic(directory / "outcome.json", to_json(Built((), SRPM, 1.0)))


def test_an_attempt_is_over_when_its_outcome_is_there(bench: Bench) -> None:
    directory = bench.start("a1")
    assert bench.ends(3) == []
    claim.take(directory)
    done(directory)
    (ended,) = bench.ends(1)
    assert isinstance(ended.outcome, Built) and ended.attempt == "a1"
    assert bench.ends(60) == []


def test_what_slurm_calls_a_success_is_none_without_an_outcome(bench: Bench) -> None:
    claim.take(bench.start("a1"))
    bench.cluster.say("farm-a1", "COMPLETED", node="n1")
    assert bench.ends(LOST - 2) == []
    (ended,) = bench.ends(6)
    assert isinstance(ended.outcome, Failed) and ended.outcome.kind == "infrastructure"


def test_an_outcome_that_a_network_file_system_shows_late_is_taken(bench: Bench) -> None:
    directory = bench.start("a1")
    claim.take(directory)
    bench.cluster.say("farm-a1", "COMPLETED", node="n1")
    bench.pass_time(LOST - 5)
    done(directory)
    (ended,) = bench.ends(1)
    assert isinstance(ended.outcome, Built)


def test_phases_and_places_are_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = bench.start("a1")
    assert bench.pass_time(3) == [Moved("a1", "queued")]
    bench.cluster.say("farm-a1", "PENDING", reason="Resources")
    assert bench.pass_time(3) == [Moved("a1", "queued: Resources")]
    bench.cluster.say("farm-a1", "RUNNING", node="n7")
    assert bench.pass_time(3) == [Moved("a1", "starting", "n7")]
    monkeypatch.setenv(claim.NODE, "n7")
    claim.take(directory)
    (directory / "phases").write_text("root\n%build\n")
    assert bench.pass_time(3) == [Moved("a1", "root", "n7"), Moved("a1", "%build", "n7")]


def test_what_a_job_waits_for_until_somebody_acts_is_told_once_with_the_remedy(
    bench: Bench,
) -> None:
    for attempt in ("a1", "a2"):
        bench.start(attempt)
    for attempt in ("a1", "a2"):
        bench.cluster.say(f"farm-{attempt}", "PENDING", reason="PartitionTimeLimit")
    phases = [each.phase for each in bench.pass_time(15) if isinstance(each, Moved)]
    assert phases[-1] == "queued: PartitionTimeLimit"
    assert bench.told == []
    bench.pass_time(15)
    (told,) = bench.told
    assert "tiny" in told
    assert "timeout in [limits.tiny]" in told
    bench.cluster.say("farm-a1", "PENDING", reason="Resources")
    bench.cluster.say("farm-a2", "RUNNING", reason="None")
    bench.pass_time(50)
    assert bench.told == [told]


def test_what_lasts_for_some_seconds_only_is_not_told_as_somebodys_task(bench: Bench) -> None:
    bench.start("a1")
    for _ in range(9):  # as while nodes come back after a restart
        bench.cluster.say("farm-a1", "PENDING", reason="ReqNodeNotAvail")
        bench.pass_time(12)
        bench.cluster.say("farm-a1", "PENDING", reason="Resources")
        bench.pass_time(6)
    assert bench.told == []


def test_after_a_suspension_the_phase_before_it_is_told_again(bench: Bench) -> None:
    directory = bench.start("a1")
    claim.take(directory)
    (directory / "phases").write_text("root\n%build\n")
    bench.cluster.say("farm-a1", "RUNNING", node="n7")
    bench.pass_time(3)
    bench.cluster.say("farm-a1", "SUSPENDED", node="n7")
    assert [each.phase for each in bench.pass_time(9)] == ["suspended"]  # type: ignore[union-attr]
    bench.cluster.say("farm-a1", "RUNNING", node="n7")
    assert [each.phase for each in bench.pass_time(9)] == ["%build"]  # type: ignore[union-attr]


def test_a_silent_controller_is_told_once_and_waited_for(bench: Bench) -> None:
    bench.cluster.silent = True
    first, second = bench.start("a1"), bench.start("a2")
    assert bench.ends(3600) == []
    assert len(bench.told) == 1 and "does not answer" in bench.told[0]
    bench.cluster.silent = False
    bench.pass_time(20)
    assert bench.told[1:] == ["Slurm answers again"]
    assert [row.name for row in bench.cluster.rows] == ["farm-a1", "farm-a2"]
    for directory in (first, second):
        done(directory)
    assert len(bench.ends(2)) == 2


def test_results_arrive_while_the_controller_is_silent(bench: Bench) -> None:
    directory = bench.start("a1")
    claim.take(directory)
    bench.cluster.silent = True
    bench.pass_time(10)
    done(directory)
    assert len(bench.ends(1)) == 1


def test_a_job_that_was_forgotten_before_anybody_began_it_is_submitted_again(bench: Bench) -> None:
    directory = bench.start("a1")
    bench.pass_time(2)
    bench.cluster.rows.clear()
    assert bench.ends(20) == []
    assert [row.name for row in bench.cluster.rows] == ["farm-a1"]
    claim.take(directory)
    done(directory)
    assert len(bench.ends(2)) == 1


def test_a_submission_without_an_answer_is_looked_for_before_it_is_made_again(
    bench: Bench,
) -> None:
    bench.cluster.swallow = True
    bench.start("a1")
    bench.pass_time(60)
    assert [row.name for row in bench.cluster.rows] == ["farm-a1"]


def test_a_job_that_is_always_forgotten_is_given_up(bench: Bench) -> None:
    bench.start("a1")
    ends: list[Ended] = []
    for _ in range(100):
        bench.cluster.rows.clear()
        ends += bench.ends(1)
    assert len(ends) == 1 and isinstance(ends[0].outcome, Failed)
    with pytest.raises(StateError, match="given up"):  # a job that comes back late
        claim.take(attempt_directory(bench.state, "a1"))


@pytest.mark.parametrize(("node", "ends"), [("n1", 0), ("", 1)])
def test_a_job_that_a_node_refused_is_handed_over_again_but_not_one_that_somebody_cancelled(
    bench: Bench, node: str, ends: int
) -> None:
    bench.start("a1")
    bench.cluster.say("farm-a1", "CANCELLED", node=node)
    assert len(bench.ends(15)) == ends
    assert len(bench.cluster.asked) == 2 - ends


def test_a_worker_at_work_is_not_queued_whatever_a_restarted_controller_says(bench: Bench) -> None:
    directory = bench.start("a1")
    claim.take(directory)
    (directory / "phases").write_text("root\n")
    bench.pass_time(3)
    bench.cluster.say("farm-a1", "PENDING")
    assert bench.pass_time(6) == []


def test_a_forgotten_job_with_a_worker_is_given_the_time_that_is_configured(bench: Bench) -> None:
    claim.take(bench.start("a1"))
    bench.pass_time(2)
    bench.cluster.rows.clear()
    assert bench.ends(LOST - 3) == []
    (ended,) = bench.ends(8)
    assert isinstance(ended.outcome, Failed) and "does not know" in ended.outcome.message
    assert bench.cluster.rows == []  # and it was not submitted twice


def test_accounting_says_what_became_of_a_job_that_the_queue_forgot(bench: Bench) -> None:
    bench.cluster.accounts = True
    claim.take(bench.start("a1"))
    bench.pass_time(2)
    bench.cluster.rows.clear()
    (ended,) = bench.ends(12)
    assert isinstance(ended.outcome, Failed) and "scancel" in ended.outcome.message
    assert ended.place


def test_a_job_that_comes_back_after_its_end_is_cancelled(bench: Bench) -> None:
    directory = bench.start("a1")
    claim.take(directory)
    done(directory)
    bench.ends(2)
    bench.start("a2")
    bench.cluster.say("farm-a1", "RUNNING")
    bench.pass_time(60)
    assert "farm-a1" in bench.cluster.cancelled
    assert "farm-a2" not in bench.cluster.cancelled


def test_only_jobs_of_this_farm_are_cancelled_on_recovery(bench: Bench) -> None:
    bench.start("a1")
    ours = bench.cluster.rows[0].comment
    bench.cluster.rows += [
        Row("farm-stray", "RUNNING", comment=ours), Row("farm-other", "RUNNING", comment="farm:x"),
        Row("theirs", "RUNNING", comment=ours),
    ]  # fmt: skip
    bench.begin().recover([Going("a1", "tiny@c", "k", 0.0)])
    assert bench.cluster.cancelled == ["farm-stray"]


def test_attempts_of_an_earlier_coordinator_are_taken_over(bench: Bench) -> None:
    directory = bench.start("a1")
    claim.take(directory)
    bench.begin()
    going = [Going("a1", "tiny@c", "k", 0.0), Going("never-handed-over", "tiny@c", "k", 0.0)]
    assert bench.engine.recover(going) == {"a1"}
    done(directory)
    (ended,) = bench.ends(2)
    assert isinstance(ended.outcome, Built)
    assert len(bench.cluster.asked) == 1


def test_a_copy_of_the_state_directory_takes_over_no_jobs_of_the_original(
    bench: Bench, tmp_path: Path
) -> None:
    claim.take(bench.start("a1"))
    bench.start("a2")
    copy = Bench(shutil.copytree(bench.state, tmp_path / "copy"), bench.cluster)
    going = [Going(each, "tiny@c", "k", 0.0) for each in ("a1", "a2")]
    assert copy.engine.recover(going) == frozenset()
    copy.engine.stop()
    assert bench.cluster.cancelled == []


def test_an_attempt_whose_job_file_is_anothers_is_not_taken_over(bench: Bench) -> None:
    first, second = bench.start("a1"), bench.start("a2")
    shutil.copy(second / "job.json", first / "job.json")
    going = [Going(each, "tiny@c", "k", 0.0) for each in ("a1", "a2")]
    assert bench.begin().recover(going) == {"a2"}


def test_attempts_are_taken_over_while_the_controller_is_silent(bench: Bench) -> None:
    bench.start("a1")
    bench.cluster.silent = True
    assert bench.begin().recover([Going("a1", "tiny@c", "k", 0.0)]) == {"a1"}
    assert bench.ends(100) == []


def test_stopping_cancels_and_leaves_nothing_to_take_over(bench: Bench) -> None:
    begun, waiting = bench.start("a1"), bench.start("a2")
    claim.take(begun)
    bench.engine.stop()
    assert set(bench.cluster.cancelled) == {"farm-a1", "farm-a2"}
    going = [Going(each, "tiny@c", "k", 0.0) for each in ("a1", "a2")]
    assert bench.begin().recover(going) == frozenset()
    with pytest.raises(StateError, match="given up"):
        claim.take(waiting)


def test_what_cannot_be_cancelled_is_taken_over_later(bench: Bench) -> None:
    begun, waiting = bench.start("a1"), bench.start("a2")
    claim.take(begun)
    bench.cluster.silent = True
    bench.engine.stop()
    assert "1 of its jobs could not be cancelled" in bench.told[-1]
    bench.cluster.silent = False
    going = [Going(each, "tiny@c", "k", 0.0) for each in ("a1", "a2")]
    assert bench.begin().recover(going) == {"a1"}
    assert bench.cluster.cancelled == ["farm-a2"]
    with pytest.raises(StateError, match="given up"):
        claim.take(waiting)


def test_a_refusal_ends_the_attempt_with_slurms_words(bench: Bench) -> None:
    bench.cluster.refusal = "constraint"
    bench.start("a1")
    (ended,) = bench.ends(1)
    assert isinstance(ended.outcome, Failed) and "Invalid constraint" in ended.outcome.excerpt


def test_an_attempt_that_cannot_be_noted_is_not_handed_over_and_holds_up_no_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.cluster.silent = True
    bench.start("a1", rank=50.0)
    bench.start("a2", rank=10.0)
    remember = Attempt.remember

    def no_room(self: Attempt, times: int) -> None:
        if self.job.attempt == "a1":
            raise OSError(errno.ENOSPC, "No space left on device")
        remember(self, times)

    monkeypatch.setattr(Attempt, "remember", no_room)
    bench.cluster.silent = False
    (ended,) = bench.ends(20)
    assert isinstance(ended.outcome, Failed) and ended.outcome.kind == "infrastructure"
    assert "No space left" in ended.outcome.message
    assert [row.name for row in bench.cluster.rows] == ["farm-a2"]


def test_a_limit_on_the_number_of_jobs_is_waited_for(bench: Bench) -> None:
    bench.cluster.most = 1
    first, second = bench.start("a1"), bench.start("a2")
    assert bench.ends(60) == []
    assert len(bench.cluster.rows) == 1
    done(first)
    bench.cluster.say("farm-a1", "COMPLETED")
    assert len(bench.ends(30)) == 1
    done(second)
    assert [ended.attempt for ended in bench.ends(2)] == ["a2"]
    assert [row.name for row in bench.cluster.rows] == ["farm-a1", "farm-a2"]


def test_of_two_jobs_of_an_attempt_the_later_says_why_it_died(bench: Bench) -> None:
    claim.take(bench.start("a1"))
    comment = bench.cluster.rows[0].comment
    bench.cluster.rows = [
        Row("farm-a1", "TIMEOUT", "n1", comment=comment, submitted="2026-11-20T14:57:42"),
        Row("farm-a1", "CANCELLED", comment=comment, submitted="2026-11-20T14:57:41"),
    ]
    (ended,) = bench.ends(12)
    assert isinstance(ended.outcome, Failed) and ended.outcome.limit == "time"


def test_a_submission_that_was_refused_in_the_same_second_does_not_say_why_it_died(
    bench: Bench,
) -> None:
    claim.take(bench.start("a1"))
    comment, now = bench.cluster.rows[0].comment, "2026-11-20T14:57:42"
    bench.cluster.rows = [
        Row("farm-a1", "FAILED", "", code=1, comment=comment, submitted=now),
        Row("farm-a1", "FAILED", "n1", code=256, comment=comment, submitted=now),
    ]
    (ended,) = bench.ends(12)
    assert isinstance(ended.outcome, Failed)
    assert "on n1 with exit code 1 " in ended.outcome.message


def test_a_node_is_not_avoided_where_there_is_no_other(bench: Bench) -> None:
    bench.cluster.refusal = "exclude"
    bench.start("a1", avoid=("n1",))
    assert [row.name for row in bench.cluster.rows] == ["farm-a1"]
    assert bench.ends(5) == []


def test_after_too_little_memory_more_is_asked_for_and_soon_all_there_is(bench: Bench) -> None:
    kinds, asked = [], []
    for attempt in ("a1", "a2", "a3"):
        claim.take(bench.start(attempt, demand=Demand(memory=500 << 20)))
        bench.cluster.say(f"farm-{attempt}", "OUT_OF_MEMORY", node="n1")
        (ended,) = bench.ends(12)
        assert isinstance(ended.outcome, Failed)
        kinds.append(ended.outcome.kind)
        asked += [word for word in bench.cluster.asked[-1] if word.startswith("--mem")]
    assert asked == ["--mem=756M", "--mem=4352M", "--mem=8000M"]
    assert kinds == ["infrastructure", "infrastructure", "limit"]


def test_a_damaged_outcome_is_no_success(bench: Bench) -> None:
    directory = bench.start("a1")
    (directory / "outcome.json").write_text("{}")
    (ended,) = bench.ends(1)
    assert isinstance(ended.outcome, Failed) and ended.outcome.kind == "infrastructure"
    assert "outcome.json" in ended.outcome.message


def test_the_urgent_one_is_submitted_first_and_nicer_than_none(bench: Bench) -> None:
    bench.cluster.silent = True
    bench.start("a1", rank=10.0)
    bench.start("a2", rank=5000.0)
    bench.start("a3", rank=2e9)
    bench.cluster.silent = False
    bench.pass_time(20)
    assert [row.name for row in bench.cluster.rows] == ["farm-a3", "farm-a2", "farm-a1"]
    nices = [next(w for w in words if w.startswith("--nice")) for words in bench.cluster.asked]
    assert nices[0] == "--nice=0"


def test_a_queued_attempt_that_becomes_urgent_goes_to_the_front(bench: Bench) -> None:
    bench.start("a1", rank=10.0)
    bench.pass_time(2)
    bench.start("a1", rank=2e9)
    assert "--nice=0" in bench.cluster.asked[-1] and len(bench.cluster.asked) == 2
    assert [row.state for row in bench.cluster.rows] == ["CANCELLED", "PENDING"]
    assert bench.ends(60) == []


def test_an_attempt_that_has_begun_is_not_hurried(bench: Bench) -> None:
    bench.start("a1", rank=10.0)
    bench.cluster.say("farm-a1", "RUNNING", node="n1")  # its worker has not said a word yet
    bench.start("a1", rank=2e9)
    assert len(bench.cluster.asked) == 1
    assert [row.state for row in bench.cluster.rows] == ["RUNNING"]


def test_an_attempt_is_hurried_once_the_controller_answers(bench: Bench) -> None:
    bench.cluster.silent = True
    bench.start("a1", rank=10.0)
    bench.start("a1", rank=2e9)
    bench.cluster.silent = False
    bench.pass_time(20)
    assert ["--nice=0" in words for words in bench.cluster.asked] == [True]


class Deaths(RuleBasedStateMachine):
    """Whatever happens to jobs, slurmctld and coordinators: one end for each attempt, a success
    only where a worker left its outcome, and never two workers for one attempt."""

    def __init__(self) -> None:
        super().__init__()
        self.state = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.bench = Bench(self.state)
        self.workers: list[str] = []  # attempts whose worker is at work
        self.begun: Counter[str] = Counter()
        self.open: set[str] = set()  # as the ledger knows them
        self.ends: Counter[str] = Counter()
        self.number = 0

    def teardown(self) -> None:
        try:
            self._all_is_well_again()
        finally:
            shutil.rmtree(self.state)

    @rule(rank=st.floats(0, 2e9))
    def start(self, rank: float) -> None:
        self.number += 1
        self.open.add(f"a{self.number}")
        self.bench.start(f"a{self.number}", rank)

    @rule(seconds=st.integers(1, 40))
    def time_passes(self, seconds: int) -> None:
        for each in self.bench.pass_time(seconds, step=2.0):
            if isinstance(each, Ended) and each.attempt in self.open:
                self.open.remove(each.attempt)
                self.ends[each.attempt] += 1
                there = (attempt_directory(self.state, each.attempt) / "outcome.json").exists()
                assert isinstance(each.outcome, Built) == there

    @rule(silent=st.booleans())
    def the_controller_is_silent_or_not(self, silent: bool) -> None:
        self.bench.cluster.silent = silent

    @rule()
    def an_answer_is_lost(self) -> None:
        self.bench.cluster.swallow = True

    @rule(data=st.data())
    def a_job_begins(self, data: st.DataObject) -> None:
        """One that waits, one that was forgotten, or one a second time."""
        cluster = self.bench.cluster
        names = [row.name for row in cluster.rows if row.state in ALIVE] + cluster.orphans
        if not names:
            return
        name = data.draw(st.sampled_from(names))
        cluster.say(name, "RUNNING", node="n1")
        attempt = name.removeprefix("farm-")
        try:
            claim.take(attempt_directory(self.state, attempt))
        except StateError:
            cluster.say(name, "FAILED", code=8 << 8)
            return
        self.begun[attempt] += 1
        self.workers.append(attempt)

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), tells=st.booleans())
    def a_worker_ends(self, data: st.DataObject, tells: bool) -> None:
        attempt = data.draw(st.sampled_from(self.workers))
        self.workers.remove(attempt)
        done(attempt_directory(self.state, attempt))
        if tells:
            self.bench.cluster.say(f"farm-{attempt}", "COMPLETED")

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), state=st.sampled_from(("CANCELLED", "NODE_FAIL", "TIMEOUT", "FAILED")))
    def a_worker_dies(self, data: st.DataObject, state: str) -> None:
        attempt = data.draw(st.sampled_from(self.workers))
        self.workers.remove(attempt)
        self.bench.cluster.say(f"farm-{attempt}", state)

    @rule()
    def the_controller_forgets_everything(self) -> None:
        cluster = self.bench.cluster
        cluster.orphans += [row.name for row in cluster.rows if row.state in ALIVE]
        cluster.rows.clear()

    @rule()
    def the_coordinator_dies(self) -> None:
        going = [Going(each, "tiny@c", "k", 0.0) for each in sorted(self.open)]
        adopted = self.bench.begin().recover(going)
        assert adopted == set(self.open)  # all were handed over

    @invariant()
    def never_two_workers(self) -> None:
        assert all(number == 1 for number in self.begun.values())

    @invariant()
    def never_two_ends(self) -> None:
        assert all(number == 1 for number in self.ends.values())

    def _all_is_well_again(self) -> None:
        """Then everything ends, in bounded time."""
        cluster = self.bench.cluster
        cluster.silent = cluster.swallow = False
        for _ in range(12):
            cluster.orphans.clear()
            for row in list(cluster.rows):
                if row.state not in ALIVE:
                    continue
                attempt = row.name.removeprefix("farm-")
                directory = attempt_directory(self.state, attempt)
                if attempt in self.workers or claim.claimed(directory) is None:
                    done(directory)
                cluster.say(row.name, "COMPLETED")
            self.workers.clear()
            self.time_passes(30)
        assert self.open == set()


TestDeaths = Deaths.TestCase
TestDeaths.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)

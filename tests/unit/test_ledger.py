"""One coordinator, one file; nothing recorded is lost or counted twice."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from farm.accounts import Past
from farm.errors import StateError
from farm.ledger import Ledger, coordinator, reader
from farm.model import (
    Built,
    Chroot,
    Demand,
    Failed,
    Job,
    Limits,
    Lock,
    LockedPackage,
    Manifest,
    Nevra,
    Outcome,
    Package,
    Recipe,
    Result,
    Skipped,
    Usage,
    to_json,
)
from farm.store import claim

SRPM = Package(Nevra("a", 0, "1", "1", "src"), "s" * 64, 1, "a")
BUILT = Built((), SRPM, 2.5)
JOB = Job(
    "x", "a@d-x86_64", Recipe("a", "a.spec", "/", ()),
    Chroot("d-x86_64", "d", "x86_64", (), (), ".d"), Lock(()), Lock(()), 0, "k", 0,
    limits=Limits(time=60, memory=1 << 30),
)  # fmt: skip


def result(key: str, step: str = "a@d-x86_64") -> Result:
    return Result(key, step, Manifest("r", "l", "c", 1), Lock(()), (), 0, "", BUILT, 1.0)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with coordinator(tmp_path) as opened:
        yield opened


def test_only_one_coordinator_at_a_time(tmp_path: Path) -> None:
    with (
        coordinator(tmp_path),
        pytest.raises(StateError, match="another farm"),
        coordinator(tmp_path),
    ):
        pass


def test_the_place_is_free_again_afterwards(tmp_path: Path) -> None:
    with coordinator(tmp_path):
        pass
    with coordinator(tmp_path):
        pass


def test_others_may_look_meanwhile(tmp_path: Path) -> None:
    with coordinator(tmp_path) as ledger:
        ledger.record(result("k"))
        with reader(tmp_path) as looking:
            assert looking is not None and looking.result("k") == result("k")


def test_there_may_be_nothing_to_look_at(tmp_path: Path) -> None:
    with reader(tmp_path) as looking:
        assert looking is None


def test_the_latest_recorded_result_stands(ledger: Ledger) -> None:
    ledger.record(result("old"))
    ledger.record(result("new"))
    ledger.record(result("scratch"), stands=False)
    standing = ledger.standing("a@d-x86_64")
    assert standing is not None and standing.key == "new"
    assert ledger.result("old") is not None


def test_an_earlier_result_can_stand_again(ledger: Ledger) -> None:
    ledger.record(result("old"))
    ledger.record(result("new"))
    ledger.stand("a@d-x86_64", "old")
    assert [standing.key for standing in ledger.standings()] == ["old"]


def test_a_counter_belongs_to_one_version_release(ledger: Ledger) -> None:
    ledger.set_counter("d", "a", "1-1", 3)
    assert ledger.counter("d", "a", "1-1") == 3
    assert ledger.counter("d", "a", "2-1") == 0
    assert ledger.counter("e", "a", "1-1") == 0


def test_an_attempt_ends_once(ledger: Ledger) -> None:
    ledger.begin("x", "a@d-x86_64", "k")
    ledger.end("x", BUILT)
    ledger.end("x", Failed("package", "a zombie's word"))
    (attempt,) = ledger.attempts("a@d-x86_64")
    assert attempt.outcome == BUILT
    assert ledger.expected_seconds("a@d-x86_64") == 2.5


def test_an_attempt_keeps_what_it_was_given_and_what_it_used(ledger: Ledger) -> None:
    job = msgspec.structs.replace(JOB, cpus=3, demand=Demand(seconds=40.0))
    ledger.begin_job(job, way="native")
    used = Usage(cpu=7.5, memory=900 << 20, disk=5 << 20)
    assert ledger.end("x", msgspec.structs.replace(BUILT, usage=used), place="n1")
    (attempt,) = ledger.attempts()
    assert attempt.place == "n1" and attempt.outcome == msgspec.structs.replace(BUILT, usage=used)
    assert ledger.pasts() == (Past("a@d-x86_64", "native", 2.5, 3, used, "", job.limits),)


def test_only_the_last_attempts_that_tell_something_are_learnt_from(ledger: Ledger) -> None:
    outcomes: list[Outcome] = [
        msgspec.structs.replace(BUILT, seconds=float(number)) for number in range(1, 7)
    ]
    outcomes += [Failed("package", "does not compile"), Failed("infrastructure", "no space")]
    outcomes += [Failed("limit", "too long", limit="time", seconds=9.0)]
    for number, outcome in enumerate(outcomes):
        ledger.begin(f"x{number}", "a@d-x86_64", "k")
        ledger.end(f"x{number}", outcome)
    assert [(p.seconds, p.cap) for p in ledger.pasts()] == [
        (9.0, "time"), (6.0, ""), (5.0, ""), (4.0, ""),
    ]  # fmt: skip


def test_the_last_word_on_a_key_is_no_mishap_of_the_machine(ledger: Ledger) -> None:
    assert ledger.last_at("a@d-x86_64", "k") is None
    ledger.begin_job(JOB)
    ledger.end("x", Failed("package", "does not compile"))
    ledger.begin("y", "a@d-x86_64", "k")
    ledger.end("y", Failed("infrastructure", "the disk is full"))
    ledger.begin("z", "a@d-x86_64", "other")
    ledger.end("z", BUILT)
    found = ledger.last_at("a@d-x86_64", "k")
    assert found is not None and (found[0].id, found[1]) == ("x", JOB.limits)


def test_what_failed_last_is_known_at_a_glance(ledger: Ledger) -> None:
    for step, *outcomes in (
        ("a@d", BUILT, Failed("package", "no")),
        ("b@d", Failed("package", "no"), BUILT),
        ("c@d", Failed("infrastructure", "no")),
    ):
        for number, outcome in enumerate(outcomes):
            ledger.begin(f"{step}{number}", str(step), "k")
            ledger.end(f"{step}{number}", outcome)  # type: ignore[arg-type]
    ledger.begin("runs", "b@d", "k")
    assert ledger.failing() == {"a@d", "c@d"}


def test_an_end_and_its_result_are_written_together_and_once(ledger: Ledger) -> None:
    ledger.begin("x", "a@d-x86_64", "k")
    ledger.close(["x"], "given up")
    assert not ledger.conclude("x", result("k"), keep=True, stands=True, place="zombie")
    assert ledger.result("k") is None
    ledger.begin("y", "a@d-x86_64", "k")
    assert ledger.conclude("y", result("k"), keep=True, stands=True, place="n1")
    assert ledger.going() == ()
    assert ledger.standing("a@d-x86_64") == result("k")
    assert [attempt.place for attempt in ledger.attempts()] == ["n1", ""]


def test_an_attempt_that_is_closed_twice_keeps_its_first_end(ledger: Ledger) -> None:
    ledger.begin("x", "a@d-x86_64", "k")
    assert ledger.close(["x", "unknown"], "farm was stopped") == ("x",)
    assert ledger.close(["x"], "given up") == ()


def test_an_interrupted_attempt_tells_nothing_of_the_package(ledger: Ledger) -> None:
    for name in ("stood", "broken"):
        ledger.begin(f"{name}-1", f"{name}@d", "k")
    ledger.conclude("stood-1", result("k"), keep=True, stands=True, place="n1")
    ledger.end("broken-1", Failed("package", "it does not compile"))
    for name in ("stood", "broken", "new"):
        ledger.begin(f"{name}-2", f"{name}@d", "k")
    ledger.close([f"{name}-2" for name in ("stood", "broken", "new")], "farm was stopped")
    assert ledger.failing() == {"broken@d"}
    newest, _ = ledger.last_at("broken@d", "k") or (None, None)
    assert newest is not None and newest.id == "broken-1"
    assert ledger.last_at("new@d", "k") is None
    assert [t.count for t in ledger.tallies() if t.kind == "interrupted"] == [3]


def test_a_ledger_of_another_schema_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ledger.sqlite") as database:
        database.execute("pragma user_version = 99")
    with pytest.raises(StateError, match="schema 99"), coordinator(tmp_path):
        pass


def test_a_damaged_ledger_gives_a_message_and_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"this is no database" * 100)
    with pytest.raises(StateError) as caught, coordinator(tmp_path):
        pass
    assert "farm ledger rebuild" in caught.value.hint


def test_damage_that_shows_itself_late_is_told_as_well(tmp_path: Path) -> None:
    with coordinator(tmp_path) as ledger:
        for number in range(300):
            ledger.record(result(f"key{number}"))
    path = tmp_path / "ledger.sqlite"
    for beside in tmp_path.glob("ledger.sqlite-*"):
        beside.unlink()
    content = path.read_bytes()
    path.write_bytes(content[:8192] + bytes(byte ^ 0x5A for byte in content[8192:]))
    with pytest.raises(StateError, match=r"ledger\.sqlite") as caught, coordinator(tmp_path) as it:
        it.going()
        for number in range(300):
            it.record(result(f"other{number}"))
    assert "farm ledger rebuild" in caught.value.hint
    with pytest.raises(StateError, match=r"ledger\.sqlite"), reader(tmp_path) as seen:
        assert seen is not None
        seen.going()
        for number in range(300):
            seen.record(result(f"other{number}"))


def test_a_disk_that_is_full_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="full") as caught, coordinator(tmp_path):
        raise sqlite3.OperationalError("database or disk is full")
    assert "rebuild" not in caught.value.hint


def test_a_file_that_cannot_be_reached_now_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="now") as caught, coordinator(tmp_path):
        raise sqlite3.OperationalError("disk I/O error")
    assert "rebuild" not in caught.value.hint


LOCK = Lock(
    (
        LockedPackage(Nevra("gcc", 0, "14", "1", "x86_64"), "1" * 64, 7, "base", "file:///gcc"),
        LockedPackage(Nevra("zeta", 1, "2", "3", "x86_64"), "2" * 64, 8, "layer"),
    ),
    ("1" * 64,),
)
CHROOT = Chroot("d-x86_64", "d", "x86_64", (), ("gcc",), ".d")


def whole(key: str, step: str = "a@d-x86_64") -> Result:
    return msgspec.structs.replace(result(key, step), lock=LOCK, chroot=CHROOT)


def test_a_result_comes_back_as_it_was_recorded(tmp_path: Path) -> None:
    bare = msgspec.structs.replace(whole("bare"), lock=Lock((), ("3" * 64,)), chroot=None)
    with coordinator(tmp_path) as ledger:
        ledger.record(whole("k"))
        ledger.record(bare, stands=False)
    with coordinator(tmp_path) as ledger:
        assert ledger.standing("a@d-x86_64") == whole("k")
        assert ledger.result("bare") == bare
        assert set(ledger.results_of("a@d-x86_64")) == {whole("k"), bare}
        assert to_json(ledger.result("k")) == to_json(whole("k"))


def test_a_ledger_of_the_first_schema_is_brought_up_to_date_whoever_opens_it(
    tmp_path: Path,
) -> None:
    results = [whole("k"), result("old"), whole("b", "b@d-x86_64")]
    for place in ("built", "looked at"):
        _first_schema(tmp_path / place, results)
    with reader(tmp_path / "looked at") as ledger:
        assert ledger is not None and ledger.result("old") == result("old")
    with coordinator(tmp_path / "built") as ledger:
        assert ledger.standing("a@d-x86_64") == whole("k")
        assert ledger.standings() == (whole("k"), whole("b", "b@d-x86_64"))
        ledger.record(whole("more"))
    with coordinator(tmp_path / "built") as ledger:
        assert ledger.standing("a@d-x86_64") == whole("more")


def test_attempts_of_the_second_schema_keep_their_class_of_failure(tmp_path: Path) -> None:
    _first_schema(tmp_path, [])
    outcomes: tuple[Outcome, ...] = (
        BUILT, Failed("limit", "too long", seconds=3.0), Failed("infrastructure", "no space"),
        Skipped("no"),
    )  # fmt: skip
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as database:
        for number, outcome in enumerate(outcomes):
            row = (
                f"x{number}", f"s{number}", "k", number, number + 1.0,
                type(outcome).__name__.lower(), 2.5, to_json(outcome),
            )  # fmt: skip
            database.execute("insert into attempts values (?, ?, ?, ?, ?, ?, ?, ?)", row)
        database.execute(
            "insert into attempts (id, step, key, started) values ('open', 's9', 'k', 9.0)"
        )
        database.executescript(_SECOND)
        database.commit()
    with coordinator(tmp_path) as ledger:
        assert [attempt.outcome for attempt in reversed(ledger.attempts())] == list(outcomes)
        assert [going.id for going in ledger.going()] == ["open"]
        assert ledger.failing() == {"s1", "s2"}
        # which limit it was is not known: nothing follows for what the next build needs
        assert {past.step: past.usage for past in ledger.pasts()} == {"s0": Usage()}
        assert ledger.last_at("s2", "k") is None
        assert ledger.end("open", BUILT)
    with coordinator(tmp_path) as ledger:
        assert len(ledger.attempts()) == 5


def test_a_ledger_that_an_older_farm_works_with_is_left_alone(tmp_path: Path) -> None:
    _first_schema(tmp_path, [])
    handle = os.open(tmp_path / "coordinator.lock", os.O_RDWR | os.O_CREAT)
    assert claim(handle) == ""
    with pytest.raises(StateError, match="another farm"), reader(tmp_path):
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as database:
        assert database.execute("pragma user_version").fetchone() == (1,)
    os.close(handle)


def test_the_same_question_to_the_solver_is_remembered(tmp_path: Path) -> None:
    with coordinator(tmp_path) as ledger:
        assert ledger.solved("what") == "" and ledger.solution("what") is None
        ledger.remember_solution("what", LOCK)
    with coordinator(tmp_path) as ledger:
        assert ledger.solved("what") == LOCK.digest
        assert ledger.solution("what") == LOCK


def _first_schema(state: Path, results: list[Result]) -> None:
    """What a farm left that kept every result whole."""
    state.mkdir(exist_ok=True)
    with contextlib.closing(sqlite3.connect(state / "ledger.sqlite")) as database:
        database.executescript(
            "create table results (key text primary key, step text not null, finished real"
            " not null, scratch integer not null, record blob not null);"
            "create index results_by_step on results (step, finished);"
            "create table standings (step text primary key, key text not null);"
            "create table counters (release text not null, source text not null, vr text not"
            " null, counter integer not null, primary key (release, source));"
            "create table attempts (id text primary key, step text not null, key text not null,"
            " started real not null, ended real, verdict text, seconds real, record blob);"
            "create index attempts_by_step on attempts (step, started);"
            "create table evaluations (key text primary key, record blob not null);"
            "create table srpms (key text primary key, sha256 text not null, record blob not null);"
            "pragma user_version = 1;"
        )
        for each in results:
            row = (each.key, each.step, each.finished, each.scratch, to_json(each))
            database.execute("insert into results values (?, ?, ?, ?, ?)", row)
            standing = "insert or ignore into standings values (?, ?)"
            database.execute(standing, (each.step, each.key))
        database.commit()


# What schema 2 had and schema 1 did not, as the farm of that time made it.
_SECOND = """
drop table results;
create table packages (id integer primary key, record blob not null unique);
create table locks (id text primary key, digest text not null, packages blob not null);
create table chroots (id text primary key, record blob not null);
create table solutions (question text primary key, lock text not null);
create table results (key text primary key, step text not null, finished real not null,
                      scratch integer not null, record blob not null,
                      lock text not null, chroot text not null);
create index results_by_step on results (step, finished);
pragma user_version = 2;
"""

"""One coordinator, one file; nothing recorded is lost or counted twice."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.errors import StateError
from farm.ledger import Ledger, coordinator, reader
from farm.model import Built, Failed, Lock, Manifest, Nevra, Package, Result

SRPM = Package(Nevra("a", 0, "1", "1", "src"), "s" * 64, 1, "a")
BUILT = Built((), SRPM, 2.5)


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


def test_attempts_left_open_by_a_killed_coordinator_are_closed(ledger: Ledger) -> None:
    ledger.begin("x", "a@d-x86_64", "k")
    assert ledger.abandon() == ("x",)
    (attempt,) = ledger.attempts()
    assert isinstance(attempt.outcome, Failed) and attempt.outcome.kind == "infrastructure"


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
        it.abandon()
        for number in range(300):
            it.record(result(f"other{number}"))
    assert "farm ledger rebuild" in caught.value.hint
    with pytest.raises(StateError, match=r"ledger\.sqlite"), reader(tmp_path) as seen:
        assert seen is not None
        seen.abandon()
        for number in range(300):
            seen.record(result(f"other{number}"))


def test_a_disk_that_is_full_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="full") as caught, coordinator(tmp_path):
        raise sqlite3.OperationalError("database or disk is full")
    assert "rebuild" not in caught.value.hint

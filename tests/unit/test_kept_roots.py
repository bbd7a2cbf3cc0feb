"""What a failed attempt left is found, or it is said where it is."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from farm.model import Built, Failed, Nevra, Outcome, Package, to_json
from farm.rebuild import claim, kept

BROKEN = Failed("package", "it does not compile")


def attempt(directory: Path, outcome: Outcome | None = BROKEN) -> Path:
    if outcome is not None:
        (directory / "outcome.json").write_bytes(to_json(outcome))
    return directory


def elsewhere(directory: Path) -> None:
    """What was noted is another machine's."""
    found = kept.recorded(directory)
    assert found is not None
    other = kept.Kept("node2.example.org", "node2", found.path)
    (directory / kept.FILE).write_bytes(to_json(other))


def test_what_another_machine_keeps_is_said_to_be_there(tmp_path: Path) -> None:
    left = tmp_path / "roots" / "kept-1"
    left.mkdir(parents=True)
    directory = attempt(tmp_path)
    kept.record(directory, tmp_path / "nothing", left)
    elsewhere(directory)
    told = kept.missing(directory)
    assert told == f"what the failed build left is kept on node2, in {left}"


def test_what_this_machine_has_thrown_away_is_said_to_be_gone(tmp_path: Path) -> None:
    kept.record(attempt(tmp_path), tmp_path)
    assert kept.missing(tmp_path) == "what the failed build left is not kept any more"


def test_of_a_machine_that_keeps_nothing_the_name_is_said(tmp_path: Path) -> None:
    directory = attempt(tmp_path)
    kept.record(directory, tmp_path / "nothing")
    assert kept.recorded(directory) is None
    assert kept.missing(directory) == "nothing of what the failed build left was kept"
    claim.enter(directory, claim.Claim("w", "node2", "node2.example.org", 7))
    assert kept.missing(directory) == "nothing of what the failed build left on node2 was kept"


def test_on_this_machine_its_name_says_nothing(tmp_path: Path) -> None:
    directory = attempt(tmp_path)
    claim.enter(directory, claim.Claim("w", "node1", socket.gethostname(), 7))
    assert kept.missing(directory) == "nothing of what the failed build left was kept"


@pytest.mark.parametrize("how", ["built", "going", "damaged"])
def test_where_nothing_failed_there_is_nothing_to_say(tmp_path: Path, how: str) -> None:
    source = Package(Nevra("tiny", 0, "1", "1", "src"), "0" * 64, 1, "tiny")
    attempt(tmp_path, Built((source,), source, 1.0) if how == "built" else None)
    if how == "damaged":
        (tmp_path / "outcome.json").write_bytes(b"{")
    assert kept.missing(tmp_path) == ""


def test_a_note_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    (tmp_path / kept.FILE).write_bytes(b"[]")
    assert kept.recorded(tmp_path) is None

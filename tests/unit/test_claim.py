"""One worker does an attempt, whoever else is started for it."""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path

import pytest

from farm.errors import StateError
from farm.rebuild import claim
from farm.run import launch

_TAKE = """
import pathlib, sys, time
from farm.errors import StateError
from farm.rebuild import claim
place = pathlib.Path(sys.argv[1])
while not (place / "go").exists():
    time.sleep(0.001)
try:
    print("mine", claim.take(place).worker)
except StateError:
    print("theirs")
"""


def test_of_many_workers_at_once_one_has_the_attempt(tmp_path: Path) -> None:
    logs = [tmp_path / f"{number}.log" for number in range(8)]
    workers = [
        launch([sys.executable, "-c", _TAKE, str(tmp_path)], log=log,
               env={"PYTHONPATH": os.pathsep.join(sys.path)})
        for log in logs
    ]  # fmt: skip
    (tmp_path / "go").touch()
    while any(worker.poll() is None for worker in workers):
        time.sleep(0.01)
    said = [log.read_text().split() for log in logs]
    mine = [words for words in said if words[0] == "mine"]
    held = claim.claimed(tmp_path)
    assert len(mine) == 1 and held is not None and mine[0][1] == held.worker
    assert sorted(words[0] for words in said) == ["mine"] + ["theirs"] * 7


def test_a_claim_names_the_node_as_the_cluster_calls_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURMD_NODENAME", "n17")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    taken = claim.take(tmp_path)
    assert (taken.place, taken.number, taken.pid) == ("n17", "12", os.getpid())
    assert claim.claimed(tmp_path) == taken


def test_a_claim_for_which_there_is_no_room_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int, __: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("farm.rebuild.claim.os.write", full)
        assert claim.give_up(tmp_path)
        with pytest.raises(OSError, match="No space"):
            claim.take(tmp_path)
    assert claim.claimed(tmp_path) is None
    assert claim.take(tmp_path).worker


def test_a_second_worker_is_told_who_the_first_is(tmp_path: Path) -> None:
    claim.take(tmp_path)
    with pytest.raises(StateError, match=f"process {os.getpid()} on "):
        claim.take(tmp_path)


def test_an_attempt_that_was_given_up_is_begun_by_nobody(tmp_path: Path) -> None:
    assert claim.give_up(tmp_path)
    assert claim.give_up(tmp_path)
    with pytest.raises(StateError, match="given up"):
        claim.take(tmp_path)


def test_what_a_worker_has_cannot_be_given_up(tmp_path: Path) -> None:
    claim.take(tmp_path)
    assert not claim.give_up(tmp_path)


def test_a_claim_cut_short_is_somebodys(tmp_path: Path) -> None:
    (tmp_path / claim.FILE).write_text("")
    assert not claim.give_up(tmp_path)
    with pytest.raises(StateError, match="by another"):
        claim.take(tmp_path)


def test_an_attempt_whose_directory_is_gone_is_given_up(tmp_path: Path) -> None:
    assert claim.give_up(tmp_path / "gone")
    assert claim.claimed(tmp_path / "gone") is None

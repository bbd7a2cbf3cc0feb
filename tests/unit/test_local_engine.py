"""Attempts as child processes: what there is room for, and workers whose coordinator is gone."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.model import Failed, Going, to_json
from farm.rebuild.attempts import attempt_directory
from farm.rebuild.claim import FILE, Claim
from farm.rebuild.engines import Ended, local
from farm.rebuild.engines.local import LocalEngine, capacity_of
from farm.run import Child, launch, processors
from tests.unit.test_slurm import job

GIB = 1 << 30


def machine(monkeypatch: pytest.MonkeyPatch, available: int, total: int, disk: int) -> None:
    monkeypatch.setattr(local, "available_memory", lambda: available)
    monkeypatch.setattr(local, "memory", lambda name: total if name == "MemTotal" else 0)
    monkeypatch.setattr(local, "free", lambda _: disk)


def test_attempts_share_what_is_available_less_a_reserve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, 6 * GIB, 16 * GIB, 50 * GIB)
    room = capacity_of(3, tmp_path, 2048)
    assert (room.slots, room.memory, room.disk) == (3, 4 * GIB, 48 * GIB)
    assert room.cores == max(3, processors())


def test_a_machine_without_any_room_is_not_one_whose_room_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, GIB, 16 * GIB, GIB)
    room = capacity_of(1, tmp_path, 2048)
    assert room.memory == 1 and room.disk == 1


@pytest.fixture
def left(tmp_path: Path) -> Iterator[list[Child]]:
    children: list[Child] = []
    yield children
    for child in children:
        child.end()


def worker(state: Path, name: str, script: str, left: list[Child], host: str = "") -> Going:
    """A process that has claimed an attempt, and looks as a worker does."""
    directory = attempt_directory(state, name)
    directory.mkdir(parents=True)
    words = (sys.executable, "-c", script, str(directory / "job.json"))
    left.append(launch(words, log=directory / "worker.log"))
    words_of = Path(f"/proc/{left[-1].pid}/cmdline")
    while b"job.json" not in words_of.read_bytes():  # it has none at the very beginning
        time.sleep(0.001)
    there = Claim("w", host=host or socket.gethostname(), pid=left[-1].pid)
    (directory / FILE).write_bytes(to_json(there))
    return Going(name, "a@d", "k", 1.0)


def code(child: Child) -> int | None:
    """The exit code of a process that is about to end."""
    deadline = time.monotonic() + 5
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return child.poll()


def engine(state: Path) -> LocalEngine:
    return LocalEngine(1, state=state)


def test_workers_of_a_killed_coordinator_are_waited_for(tmp_path: Path, left: list[Child]) -> None:
    going = worker(tmp_path, "x", "import time; time.sleep(0.5)", left)
    assert engine(tmp_path).recover([going]) == frozenset()
    assert code(left[0]) == 0


def test_one_that_does_not_end_is_ended(
    tmp_path: Path, left: list[Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_PATIENCE", 0.3)
    going = worker(tmp_path, "x", "import time; time.sleep(60)", left)
    engine(tmp_path).recover([going])
    assert code(left[0]) == -9


def test_a_damaged_outcome_is_a_mishap_of_that_attempt(tmp_path: Path) -> None:
    directory = attempt_directory(tmp_path, "x")
    directory.mkdir(parents=True)
    (directory / "outcome.json").write_text('{"type":"Built","packages":[')
    with_one = engine(tmp_path)
    with_one.start(job("x"), directory)  # there is no job file: it ends at once
    deadline = time.monotonic() + 20
    ended = [each for each in with_one.poll(20) if isinstance(each, Ended)]
    assert time.monotonic() < deadline
    assert [each.attempt for each in ended] == ["x"]
    assert isinstance(ended[0].outcome, Failed) and ended[0].outcome.kind == "infrastructure"


def test_nobody_else_is_waited_for_or_ended(
    tmp_path: Path, left: list[Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_PATIENCE", 0.0)
    sleeping = "import time; time.sleep(60)"
    elsewhere = worker(tmp_path, "x", sleeping, left, host="elsewhere.example")
    reused = worker(tmp_path, "y", sleeping, left)
    other = launch(["sleep", "60"], log=tmp_path / "log")
    left.append(other)
    claim = Claim("w", host=socket.gethostname(), pid=other.pid)
    (attempt_directory(tmp_path, "y") / FILE).write_bytes(to_json(claim))
    never = Going("never begun", "a@d", "k", 1.0)
    engine(tmp_path).recover([elsewhere, reused, never])
    time.sleep(0.05)
    assert [child.poll() for child in left] == [None, None, None]

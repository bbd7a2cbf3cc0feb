"""A worker turns every failure into an outcome, and leaves nothing half-written."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from farm.errors import FarmError, Interrupted, LayerError, MachineError, StateError
from farm.model import (
    Built,
    Chroot,
    Failed,
    Job,
    Lock,
    Nevra,
    Outcome,
    Package,
    Recipe,
    Usage,
    WorkOrder,
    from_json,
    to_json,
)
from farm.rebuild import worker
from farm.rebuild.builder import OnPhase, Workspace
from farm.run import run

SRPM = Package(Nevra("tiny", 0, "1.0", "1", "src"), "0" * 64, 1, "tiny")


class Builder:
    """Stands in for the part that is tested with a real root elsewhere."""

    name = "stand-in"

    def __init__(self, act: Callable[[Job], Built | Failed]) -> None:
        self.act = act

    def build(self, job: Job, workspace: Workspace, on_phase: OnPhase) -> Built | Failed:
        on_phase("root")
        on_phase("%build")
        return self.act(job)


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    chroot = Chroot(
        name="c", release="r", arch="x86_64", repositories=(), setup=("bash",), dist=".d"
    )
    job = Job(
        attempt="a1", step="tiny@c", recipe=Recipe("tiny", "tiny.spec", "/", ()), chroot=chroot,
        lock=Lock(()), setup_lock=Lock(()), counter=0, key="k", epoch_seconds=0,
    )  # fmt: skip
    path = tmp_path / "attempt" / "job.json"
    path.parent.mkdir()
    path.write_bytes(to_json(WorkOrder(job, str(tmp_path / "store"), str(tmp_path / "roots"))))
    return path


def working(
    job_file: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[Job], Built | Failed]
) -> Outcome:
    monkeypatch.setattr(worker, "builder_named", lambda name: Builder(act))
    return worker.work(job_file)


def raising(error: BaseException) -> Callable[[Job], Built | Failed]:
    def act(job: Job) -> Built | Failed:
        raise error

    return act


def test_the_outcome_is_left_beside_the_job(
    job_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = Built((), SRPM, 1.0)
    outcome = working(job_file, monkeypatch, lambda job: built)
    assert isinstance(outcome, Built)
    assert msgspec.structs.replace(outcome, usage=Usage()) == built
    written = (job_file.parent / "outcome.json").read_bytes()
    assert from_json(Outcome, written) == outcome  # type: ignore[arg-type]


def test_what_all_processes_used_is_in_the_outcome(
    job_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"

    def act(job: Job) -> Built | Failed:
        run(["sh", "-c", '"$0" -c "$1" & "$0" -c "$1"; wait', sys.executable, busy])
        (job_file.parent / "results").mkdir()
        (job_file.parent / "results" / "tiny.rpm").write_bytes(bytes(1 << 20))
        seen = Usage(memory=5 << 40)
        return Failed("package", "does not compile", usage=seen)

    outcome = working(job_file, monkeypatch, act)
    assert isinstance(outcome, Failed)
    assert 0.6 <= outcome.usage.cpu < 5
    assert outcome.usage.memory == 5 << 40
    assert 1 << 20 <= outcome.usage.disk < 2 << 20


def test_every_phase_is_noted_as_it_begins(job_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def act(job: Job) -> Built | Failed:
        seen.extend((job_file.parent / "phases").read_text().splitlines())
        return Built((), SRPM, 1.0)

    working(job_file, monkeypatch, act)
    assert seen == ["root", "%build"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (LayerError("tiny.spec is wrong", why="line 3", hint="Correct it."), "package"),
        (MachineError("no sandbox"), "infrastructure"),
        (StateError("the store lost a file"), "infrastructure"),
        (OSError(28, "No space left on device"), "infrastructure"),
    ],
)
def test_an_error_is_an_outcome_of_its_class(
    job_file: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str
) -> None:
    outcome = working(job_file, monkeypatch, raising(error))
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.phase) == (kind, "%build")
    if isinstance(error, FarmError):
        assert outcome.message == error.what
        assert outcome.hint == error.hint


def test_an_interrupted_worker_leaves_no_outcome(
    job_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Interrupted, match="tiny@c"):
        working(job_file, monkeypatch, raising(KeyboardInterrupt()))
    assert not (job_file.parent / "outcome.json").exists()


def test_a_missing_package_of_the_lock_is_the_stores_fault(job_file: Path) -> None:
    order = json.loads(job_file.read_bytes())
    order["job"]["srpm"] = "ab" * 32
    job_file.write_text(json.dumps(order))
    outcome = worker.work(job_file)
    assert isinstance(outcome, Failed)
    assert outcome.kind == "infrastructure"
    assert "abababab" in outcome.message


def test_a_job_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot be read"):
        worker.work(tmp_path / "job.json")
    (tmp_path / "job.json").write_text('{"job": 1}')
    with pytest.raises(StateError, match="WorkOrder"):
        worker.work(tmp_path / "job.json")


def test_a_worker_whose_coordinator_was_killed_ends_as_well() -> None:
    program = (
        "import os, time; from farm.rebuild.worker import end_with; "
        "end_with(int(os.environ['ASKED_BY'])); time.sleep(40); print('still here')"
    )
    argv = [sys.executable, "-c", program]
    gone = run(argv, env={"ASKED_BY": "1"}, check=False, timeout=30)
    assert gone.code == -signal.SIGTERM
    program = program.replace("sleep(40)", "sleep(2.5)")
    stays = run([sys.executable, "-c", program], env={"ASKED_BY": str(os.getpid())}, check=False)
    assert stays.stdout.strip() == "still here"


def test_a_worker_that_is_started_twice_works_once(
    job_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []

    def act(job: Job) -> Built | Failed:
        built.append(job.attempt)
        return Built((), SRPM, 1.0)

    monkeypatch.setattr(worker, "builder_named", lambda name: Builder(act))
    worker.work(job_file)
    before = {path: path.read_bytes() for path in job_file.parent.iterdir() if path.is_file()}
    with pytest.raises(StateError, match="begun before"):
        worker.work(job_file)
    assert built == ["a1"]
    assert {p: p.read_bytes() for p in job_file.parent.iterdir() if p.is_file()} == before


def test_a_node_has_its_build_roots_where_it_says(
    job_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(worker.ROOTS, str(tmp_path / "scratch"))
    space = worker.workspace_of(worker.read_order(job_file), job_file.parent)
    assert space.roots.directory == tmp_path / "scratch"

"""What a process leaves that was killed goes; what belongs to one that lives stays."""

from __future__ import annotations

import os
import time
from pathlib import Path

from farm.run import Child, launch, run
from farm.sandbox.abandoned import clear_abandoned, is_abandoned


def a_dead_process() -> str:
    return run(["sh", "-c", "echo $$"]).stdout.strip()


def waiting_for(area: Path, program: Path) -> Child:
    """A process by the name of a sandbox's that was told to use this directory."""
    area.mkdir()
    program.write_text("#!/bin/sh\nsleep 60\n")
    program.chmod(0o755)
    child = launch([program, "--bind", area / "mnt", "/"], log=program.parent / "log")
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child.pid}/comm").read_text().strip() != program.name:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return child


def ended(child: Child) -> bool:
    deadline = time.monotonic() + 10
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return child.poll() is not None


def test_only_what_is_named_after_a_dead_process_is_abandoned(tmp_path: Path) -> None:
    assert is_abandoned(tmp_path / f"{a_dead_process()}-x")
    assert not is_abandoned(tmp_path / f"{os.getpid()}-x")
    assert not is_abandoned(tmp_path / "notes-x")


def test_a_sandbox_that_waits_for_a_process_that_was_killed_is_ended(tmp_path: Path) -> None:
    areas = tmp_path / "areas"
    areas.mkdir()
    (tmp_path / "bin").mkdir()
    left = waiting_for(areas / f"{a_dead_process()}-x", tmp_path / "bin" / "bwrap")
    ours = waiting_for(areas / f"{os.getpid()}-x", tmp_path / "bin" / "bwrap")
    clear_abandoned(areas)
    assert ended(left)
    assert ours.poll() is None
    assert [path.name for path in areas.iterdir()] == [f"{os.getpid()}-x"]
    ours.end()


def test_a_program_of_somebody_else_that_names_such_a_directory_goes_on(tmp_path: Path) -> None:
    areas = tmp_path / "areas"
    areas.mkdir()
    (tmp_path / "bin").mkdir()
    reader = waiting_for(areas / f"{a_dead_process()}-x", tmp_path / "bin" / "less")
    clear_abandoned(areas)
    assert reader.poll() is None
    assert list(areas.iterdir()) == []
    reader.end()

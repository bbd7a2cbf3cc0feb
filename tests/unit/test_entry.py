"""The `farm` command as a process: what a user sees when the machine refuses, or hangs up."""

from __future__ import annotations

import errno
import importlib.metadata
import os
import signal
from pathlib import Path

import pytest

from farm.__main__ import run_command
from farm.errors import Interrupted, MachineError, StateError, UsageError


def layer(directory: Path, state: str) -> Path:
    (directory / "specs").mkdir()
    (directory / "farm.toml").write_text(f"[paths]\nstate = '{state}'\n")
    return directory


def test_a_state_directory_that_cannot_be_made_is_told_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run_command(["-C", str(layer(tmp_path, "/dev/null/x")), "key", "list"])
    told = capsys.readouterr().err
    assert code == MachineError.code
    assert "/dev/null" in told and "Traceback" not in told


@pytest.mark.parametrize(
    ("number", "told"),
    [(errno.ENOSPC, "space"), (errno.EACCES, "allowed"), (errno.EROFS, "read-only")],
)
def test_what_the_machine_refuses_is_told_with_the_path_and_what_to_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
    told: str,
) -> None:
    def refuse(argv: list[str]) -> int:
        raise OSError(number, os.strerror(number), "/some/where")

    monkeypatch.setattr("farm.cli.command", refuse)
    assert run_command(["status"]) == MachineError.code
    shown = capsys.readouterr().err
    assert "/some/where" in shown and told in shown.lower() and "->" in shown


def test_a_library_that_an_update_wants_is_named_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(argv: list[str]) -> int:
        raise importlib.metadata.PackageNotFoundError("cyclonedx-python-lib")

    monkeypatch.setattr("farm.cli.command", missing)
    assert run_command(["publish"]) == MachineError.code
    told = capsys.readouterr().err
    assert "cyclonedx-python-lib is not installed" in told and "ci/setup" in told


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminal_that_is_closed_ends_farm_as_an_interruption_does(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def wait(argv: list[str]) -> int:
        os.kill(os.getpid(), number)
        signal.pause()
        return 0

    monkeypatch.setattr("farm.cli.command", wait)
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever the tests were started with
    signal.alarm(20)  # a signal that is not heeded would wait for ever
    try:
        assert run_command(["build"]) == Interrupted.code
    finally:
        signal.alarm(0)
        for each, handler in before.items():
            signal.signal(each, handler)


@pytest.mark.parametrize(
    ("term", "no_color", "coloured"),
    [("xterm", None, True), ("xterm", "1", False), ("dumb", None, False), (None, None, False)],
)
def test_an_error_is_coloured_where_the_terminal_can_and_the_user_likes_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    term: str | None,
    no_color: str | None,
    coloured: bool,
) -> None:
    for name, value in (("TERM", term), ("NO_COLOR", no_color)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    run_command(["-C", str(layer(tmp_path, "/dev/null/x")), "key", "list"])
    told = capsys.readouterr().err
    assert "farm: " in told
    assert ("\033" in told) == coloured


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["work", "--help"], 0, "One attempt"),
        (["work"], UsageError.code, "JOB"),
        (["work", "a", "b"], UsageError.code, "unexpected extra argument"),
        (["work", "/dev/null/job.json"], StateError.code, "/dev/null/job.json"),
    ],
)
def test_a_worker_takes_one_job_and_explains_itself_like_any_verb(
    capsys: pytest.CaptureFixture[str], words: list[str], code: int, said: str
) -> None:
    assert run_command(words) == code
    told = capsys.readouterr()
    assert said in told.out + told.err

"""One way to start programs: small environments, deadlines, groups that end with us."""

from __future__ import annotations

import os
import time
import tracemalloc
from pathlib import Path

import pytest

from farm.errors import CommandFailed, MachineError
from farm.run import launch, run, start


def test_outputs_are_captured_apart() -> None:
    done = run(["sh", "-c", "echo out; echo err >&2"])
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_a_failure_can_be_pasted_into_a_shell_and_shows_the_last_words() -> None:
    with pytest.raises(CommandFailed) as caught:
        run(["sh", "-c", "echo 'no such thing' >&2; exit 3"])
    assert "exit code 3" in caught.value.what
    assert caught.value.why.startswith("$ sh -c 'echo '")
    assert "no such thing" in caught.value.why


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(MachineError) as caught:
        run(["no-such-program-at-all"])
    assert "no-such-program-at-all" in caught.value.what


def test_the_environment_is_small_and_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "1")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    lines = run(["env"], env={"MINE": "2"}).stdout.splitlines()
    assert "MINE=2" in lines and "LC_ALL=C.UTF-8" in lines
    assert not [line for line in lines if line.startswith("SECRET")]


def test_standard_input_is_closed() -> None:
    assert run(["cat"]).stdout == ""


def test_a_deadline_ends_the_whole_group() -> None:
    started = time.monotonic()
    done = run(["sh", "-c", "sleep 60 & sleep 60"], timeout=0.2, check=False)
    assert done.reason == "time"
    assert time.monotonic() - started < 20


def test_silence_is_noticed_and_named(tmp_path: Path) -> None:
    done = run(["sh", "-c", "echo hello; sleep 60"], log=tmp_path / "log", silence=0.3, check=False)
    assert done.reason == "silence"
    assert (tmp_path / "log").read_text() == "hello\n"


def test_every_line_of_a_log_is_heard_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("from before\n")
    heard: list[str] = []
    run(
        ["sh", "-c", "for i in 1 2 3; do echo line $i; sleep 0.05; done"],
        log=log,
        on_line=heard.append,
    )
    assert heard == ["line 1", "line 2", "line 3"]


def test_a_server_ends_with_its_block(tmp_path: Path) -> None:
    with start(["sleep", "60"], log=tmp_path / "log") as process:
        assert process.poll() is None
    assert process.poll() is not None


def test_a_launched_child_can_be_watched_and_ended(tmp_path: Path) -> None:
    child = launch(["sh", "-c", "echo $$; sleep 60"], log=tmp_path / "log")
    assert child.poll() is None
    while not (tmp_path / "log").read_text().strip():
        time.sleep(0.01)
    pid = int((tmp_path / "log").read_text())
    child.end()
    assert child.poll() is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_line_without_an_end_takes_no_memory_without_an_end(tmp_path: Path) -> None:
    heard: list[str] = []
    script = "echo first; head -c 60000000 /dev/zero | tr '\\0' x; echo; echo last"
    tracemalloc.start()
    try:
        run(["sh", "-c", script], log=tmp_path / "log", on_line=heard.append)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (heard[0], heard[-1]) == ("first", "last")
    assert set(heard[1]) == {"x"} and len(heard) == 3
    assert most < 20_000_000


def test_what_a_program_said_in_a_hurry_is_heard_to_its_last_line(tmp_path: Path) -> None:
    heard: list[str] = []
    run(["seq", "400000"], log=tmp_path / "log", on_line=heard.append)
    assert heard == [str(n) for n in range(1, 400_001)]

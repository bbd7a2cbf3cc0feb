"""The only place that starts processes.

Argument lists, a small explicit environment, standard input closed, a process group of their
own that dies with us, a deadline, an optional log file, and a failure message that can be
pasted into a shell.
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from farm.errors import CommandFailed, MachineError

# What a child may inherit. Locale and time zone are fixed, so that tool output can be read.
_INHERITED = (
    "HOME", "PATH", "TMPDIR", "USER", "LOGNAME", "TERM", "SLURM_CONF",
    "http_proxy", "https_proxy", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE",
)  # fmt: skip
_FIXED = {"LC_ALL": "C.UTF-8", "TZ": "UTC"}
_EXCERPT_LINES = 20
_TICK_MILLISECONDS = 50  # between looks at the log
_PIECE = 1 << 20  # characters of a log that are read at a time
_LONGEST_LINE = 1 << 16  # characters of an unfinished line that are waited with for its end

Arg = str | os.PathLike[str]


@dataclass(frozen=True)
class Completed:
    """How a process ended: `code` is negative for a signal, `reason` names a limit it hit."""

    argv: tuple[str, ...]
    code: int
    stdout: str
    stderr: str
    seconds: float
    reason: str = ""  # "", "time", "silence", or what `watch` named

    @property
    def ok(self) -> bool:
        return self.code == 0 and not self.reason


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment every child gets: a short list from ours, fixed locale, then `extra`."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    kept.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if "/usr/sbin" not in kept["PATH"].split(":"):
        kept["PATH"] += ":/usr/sbin:/sbin"  # Debian keeps them out of an ordinary user's PATH
    return kept | _FIXED | dict(extra or {})


def run(
    argv: Sequence[Arg],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    input: str | None = None,
    check: bool = True,
    log: Path | None = None,
    timeout: float | None = None,
    silence: float | None = None,
    on_line: Callable[[str], None] | None = None,
    watch: Callable[[int], str] | None = None,
    pass_fds: Iterable[int] = (),
) -> Completed:
    """Run one program to its end.

    `env` is added to `environment()`. With `log`, both outputs are appended to that file
    and `stdout` in the answer is empty; without it both are captured. `timeout` and `silence`
    are seconds (the latter: without a new line of log, so it wants `log`). `on_line` sees every
    complete line of the log as it is written, of a very long one perhaps only a part. `watch` is
    asked some twenty times a second, with the process id; what it answers, if anything, ends the
    program and becomes the `reason`.

    Raises CommandFailed if `check` and the program failed, MachineError if it is not there.
    """
    words = tuple(os.fspath(arg) for arg in argv)
    started = time.monotonic()
    try:
        offset = log.stat().st_size if log is not None and log.exists() else 0
        with _output(log) as sink, _spawn(words, cwd, env, input, sink, pass_fds) as process:
            try:
                if log is None:
                    out, err, reason = _communicate(process, input, timeout)
                else:
                    out, err = "", ""
                    reason = _follow(process, log, offset, timeout, silence, on_line, watch)
            except BaseException:
                _end_group(process)
                raise
    except FileNotFoundError as error:
        if cwd is not None and not cwd.is_dir():
            raise MachineError(f"the directory {cwd} does not exist") from error
        raise MachineError(
            f"the program {words[0]} is not installed",
            hint="`farm doctor` lists what is missing and how to install it.",
        ) from error
    done = Completed(words, process.returncode, out, err, time.monotonic() - started, reason)
    if check and not done.ok:
        raise CommandFailed(
            f"{Path(words[0]).name} failed ({describe_exit(done)})",
            why=f"$ {shlex.join(words)}\n{_excerpt(done, log)}".rstrip(),
        )
    return done


@contextlib.contextmanager
def start(
    argv: Sequence[Arg],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """A program that runs beside us (a server, a worker) and is ended when the block ends."""
    words = tuple(os.fspath(arg) for arg in argv)
    with _output(log) as sink, _spawn(words, cwd, env, None, sink, ()) as process:
        try:
            yield process
        finally:
            _end_group(process)


class Child:
    """A program that runs beside us and is looked at from time to time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id, which is that of its group as well."""
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self._process.poll()

    def ask_to_end(self) -> None:
        """TERM to its group, without waiting."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGTERM)

    def end(self) -> None:
        """TERM, then KILL, to its group, and wait."""
        _end_group(self._process)


def launch(argv: Sequence[Arg], *, env: Mapping[str, str] | None = None, log: Path) -> Child:
    """Start a program and leave it running; its output is appended to `log`."""
    with _output(log) as sink:
        return Child(_spawn(tuple(os.fspath(a) for a in argv), None, env, None, sink, ()))


def attach(
    argv: Sequence[Arg],
    *,
    env: Mapping[str, str] | None = None,
    pass_fds: Iterable[int] = (),
) -> int:
    """Hand the terminal to an interactive program and return its exit code.

    It stays in our process group, so that Ctrl-C and job control reach it.
    Raises MachineError if it is not there.
    """
    words = tuple(os.fspath(arg) for arg in argv)
    try:
        with subprocess.Popen(words, env=environment(env), pass_fds=tuple(pass_fds)) as process:
            while True:
                with contextlib.suppress(KeyboardInterrupt):
                    return process.wait()
    except FileNotFoundError as error:
        raise MachineError(f"the program {words[0]} is not installed") from error


def describe_exit(done: Completed) -> str:
    """`exit code 3`, `signal SIGKILL`, `no output for too long`."""
    if done.reason:
        told = {"time": "it took too long", "silence": "no output for too long"}
        return told.get(done.reason, done.reason)
    if done.code < 0:
        return f"signal {signal.Signals(-done.code).name}"
    return f"exit code {done.code}"


@contextlib.contextmanager
def _output(log: Path | None) -> Iterator[IO[bytes] | None]:
    if log is None:
        yield None
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        yield sink


def _spawn(
    words: tuple[str, ...],
    cwd: Path | None,
    env: Mapping[str, str] | None,
    input: str | None,
    sink: IO[bytes] | None,
    pass_fds: Iterable[int],
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        words,
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL,
        stdout=sink if sink is not None else subprocess.PIPE,
        stderr=subprocess.STDOUT if sink is not None else subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        process_group=0,
        pass_fds=tuple(pass_fds),
    )


def _communicate(
    process: subprocess.Popen[str], input: str | None, timeout: float | None
) -> tuple[str, str, str]:
    try:
        out, err = process.communicate(input, timeout=timeout)
    except subprocess.TimeoutExpired:
        _end_group(process)
        out, err = process.communicate()
        return out, err, "time"
    return out, err, ""


def _follow(
    process: subprocess.Popen[str],
    log: Path,
    offset: int,
    timeout: float | None,
    silence: float | None,
    on_line: Callable[[str], None] | None,
    watch: Callable[[int], str] | None,
) -> str:
    started = heard = time.monotonic()
    rest, more = "", False
    with log.open(encoding="utf-8", errors="replace") as lines, _ending(process) as ending:
        lines.seek(offset)
        while True:
            ended = bool(ending.poll(0 if more else _TICK_MILLISECONDS))
            text = lines.read(_PIECE)
            more = len(text) == _PIECE
            now = time.monotonic()
            if text:
                heard = now
                *whole, rest = (rest + text).split("\n")
                rest = rest[:_LONGEST_LINE]
                for line in whole if on_line else ():
                    assert on_line is not None
                    on_line(line)
            if ended and more:
                continue
            if ended:
                process.wait()
                return ""
            over = "time" if timeout and now - started > timeout else ""
            over = over or ("silence" if silence and now - heard > silence else "")
            if watch and not over:
                over = watch(process.pid)
            if over:
                _end_group(process)
                return over


@contextlib.contextmanager
def _ending(process: subprocess.Popen[str]) -> Iterator[select.poll]:
    """Something to poll that answers when the process has ended."""
    handle = os.pidfd_open(process.pid)
    try:
        poller = select.poll()
        poller.register(handle, select.POLLIN)
        yield poller
    finally:
        os.close(handle)


def _end_group(process: subprocess.Popen[str]) -> None:
    """TERM, then KILL, to the whole group; the leader is reaped."""
    for number, patience in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
        break


def _excerpt(done: Completed, log: Path | None) -> str:
    text = done.stderr.strip() or done.stdout.strip()
    if log is not None:
        with contextlib.suppress(OSError):
            text = log.read_text("utf-8", "replace")
    return "\n".join(text.splitlines()[-_EXCERPT_LINES:])


def processors() -> int:
    """How many processors this process may use."""
    return max(1, len(os.sched_getaffinity(0)))

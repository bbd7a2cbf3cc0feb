"""What builds said: which attempts a package has had, their logs, and one that is growing now.

Whoever only looks needs no lock: all of this works while another farm is at work.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from farm.config import Config
from farm.errors import UsageError
from farm.inputs import read_chroots
from farm.ledger import Ledger, reader
from farm.model import Attempt, Built, Chroot, Failed, Going, Outcome, Skipped
from farm.progress import Event
from farm.progress.journal import journal_path
from farm.rebuild.attempts import attempt_directory, log_path, root_log_path
from farm.rebuild.claim import claimed
from farm.steps import bootstrap_name, chroot_of, recipe_of
from farm.store import is_claimed

_TO_COME = ("queued", "running")
_TICK = 0.3  # seconds between looks at what grows
_LISTED = 1000
_PIECE = 1 << 20  # bytes of a log at a time
_ORPHANED = 30.0  # seconds without a coordinator or a new line after which nobody builds any more


@dataclass(frozen=True)
class LogRequest:
    """What `farm log` was asked for; `attempt` "" is the newest."""

    name: str
    archs: tuple[str, ...] = ()
    release: str | None = None
    attempt: str = ""
    root: bool = False


@dataclass(frozen=True)
class LogAnswer:
    """The log of one attempt. `running`: attempts of the same package that go on now."""

    step: str
    attempt: str
    path: Path
    text: str
    failed: Failed | None = None
    running: tuple[str, ...] = ()


@dataclass(frozen=True)
class AttemptRow:
    """One attempt in a list: times are seconds since 1970, `ended` is None while it runs."""

    attempt: str
    step: str
    arch: str
    started: float
    ended: float | None
    place: str
    verdict: str  # built, skipped, failed (class or limit), running, unfinished
    seconds: float
    log: bool  # whether there still is one


@dataclass(frozen=True)
class Waits:
    """Nothing to follow yet, and why."""

    text: str


@dataclass(frozen=True)
class Begins:
    """This attempt is followed from here on; `others` of the same package run beside it. `place`
    is the machine that it runs on, as far as it is known."""

    step: str
    attempt: str
    others: tuple[str, ...] = ()
    place: str = ""


@dataclass(frozen=True)
class Grows:
    """What the log says next."""

    text: str


@dataclass(frozen=True)
class Ends:
    """There is nothing more to follow. `text` says in words how it was, `outcome` is None where
    there was no attempt, or none with an end that anybody knows."""

    step: str
    text: str
    outcome: Outcome | None = None
    fine: bool = False


Sight = Waits | Begins | Grows | Ends


def show(config: Config, request: LogRequest) -> LogAnswer:
    """The log of an attempt of a package, or what was in its build root.

    Raises UsageError when the package was never tried, or has no such attempt.
    """
    state, chroots = config.path("state"), _chroots(config, request)
    with reader(state) as ledger:
        attempt = _chosen(ledger, request, chroots)
        going = _going(ledger, request.name, chroots)
    running = tuple(each.step for each in going if _runs(state, each))
    place = root_log_path if request.root else log_path
    path = place(state, recipe_of(attempt.step), chroot_of(attempt.step), attempt.id)
    failed = attempt.outcome if isinstance(attempt.outcome, Failed) and not request.root else None
    text = ""
    if path.exists():
        text = b"".join(_unpacked(path)).decode("utf-8", "replace")
    return LogAnswer(attempt.step, attempt.id, path, text, failed, running)


def attempts(config: Config, request: LogRequest) -> tuple[AttemptRow, ...]:
    """Every attempt of a package, newest first. Raises UsageError when it was never tried."""
    state, chroots = config.path("state"), _chroots(config, request)
    archs = {chroot.name: chroot.arch for chroot in chroots}
    with reader(state) as ledger:
        ended = [a for step in _steps(request.name, chroots) for a in _ended(ledger, step)]
        going = _going(ledger, request.name, chroots)
    if not ended and not going:
        raise _never_tried(request.name, chroots)
    rows = [
        AttemptRow(
            each.id, each.step, archs[chroot_of(each.step)], each.started, each.ended, each.place,
            verdict(each.outcome), getattr(each.outcome, "seconds", 0.0),
            log_path(state, recipe_of(each.step), chroot_of(each.step), each.id).exists(),
        )
        for each in ended
    ]  # fmt: skip
    rows += [_unended(state, each, archs[chroot_of(each.step)]) for each in going]
    return tuple(sorted(rows, key=lambda row: row.started, reverse=True))


def _unended(state: Path, going: Going, arch: str) -> AttemptRow:
    runs = _runs(state, going)
    return AttemptRow(
        going.id, going.step, arch, going.started, None, _place(state, going.id),
        "running" if runs else "unfinished", time.time() - going.started if runs else 0.0,
        (attempt_directory(state, going.id) / "build.log").exists(),
    )  # fmt: skip


def _runs(state: Path, going: Going) -> bool:
    """Whether an attempt without an end goes on: where no farm is at work only a batch system's
    jobs do. What became of any other is found out by the next build."""
    if is_claimed(state / "coordinator.lock"):
        return True
    claim = claimed(attempt_directory(state, going.id))
    return claim is not None and bool(claim.number)


def verdict(outcome: Outcome) -> str:
    """`built`, `failed (limit: memory)`, …"""
    match outcome:
        case Built():
            return "built"
        case Failed(kind=kind, limit=limit):
            return f"failed ({kind}: {limit})" if limit else f"failed ({kind})"
        case Skipped():
            return "skipped"


def last_attempt(ledger: Ledger | None, name: str, chroots: Sequence[Chroot]) -> Attempt:
    """The newest attempt of a package in one of these chroots. Raises UsageError for none."""
    found = [a for step in _steps(name, chroots) for a in _ended(ledger, step, 1)]
    if not found:
        raise _never_tried(name, chroots)
    return max(found, key=lambda attempt: attempt.started)


def follow(
    config: Config, request: LogRequest, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Sight]:
    """The log of an attempt that runs now, as it grows, until it ends.

    Where none runs, but the run that goes on has the package in its queue, it is waited for.
    Raises UsageError when there is nothing to wait for either.
    """
    state, chroots = config.path("state"), _chroots(config, request)
    waiting, told = _Queue(state, _steps(request.name, chroots)), False
    while True:
        with reader(state) as ledger:
            going = _going_or_ended(ledger, request, chroots)
        if going is not None:
            break
        event = waiting.look()
        if event.state not in _TO_COME:
            text = f"{event.state}: {event.text}" if event.text else event.state
            yield Ends(event.step, text, fine=event.state in ("built", "kept"))
            return
        if not told:
            yield Waits(f"{event.step} is queued; its log follows when it begins")
            told = True
        sleep(_TICK)
    with reader(state) as ledger:
        running = _going(ledger, request.name, chroots)
        others = tuple(each.step for each in running if each.id != going.id)
        yield Begins(going.step, going.id, others, _place(state, going.id))
        assert ledger is not None
        yield from _followed(state, ledger, going, sleep)


def _followed(
    state: Path, ledger: Ledger, going: Going, sleep: Callable[[float], None]
) -> Iterator[Sight]:
    log = _Growing(state, going)
    heard = time.monotonic()
    while True:
        # asked before the log is read: what an attempt that has ended said is there
        ended = ledger.attempt(going.id)
        for text in log.more(at_end=ended is not None):
            heard = time.monotonic()
            yield Grows(text)
        if ended is not None:
            fine = isinstance(ended.outcome, Built)
            yield Ends(going.step, _how(ended.outcome), ended.outcome, fine)
            return
        silent = time.monotonic() - heard
        if silent > _ORPHANED and not is_claimed(state / "coordinator.lock"):
            yield Ends(going.step, "no farm is at work any more, and nothing is heard of it")
            return
        sleep(_TICK)


class _Growing:
    """The log of an attempt: a file that grows, and is compressed and gone at the end."""

    def __init__(self, state: Path, going: Going) -> None:
        self._path = attempt_directory(state, going.id) / "build.log"
        self._kept = log_path(state, recipe_of(going.step), chroot_of(going.step), going.id)
        self._file: BinaryIO | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def more(self, *, at_end: bool) -> Iterator[str]:
        """What was written since the last time, in pieces."""
        if self._file is None:
            with contextlib.suppress(FileNotFoundError):
                self._file = self._path.open("rb")
        if self._file is not None:
            while content := self._file.read(_PIECE):
                yield self._decoder.decode(content)
        elif at_end and self._kept.exists():
            yield from map(self._decoder.decode, _unpacked(self._kept))
        if at_end and self._file is not None:
            self._file.close()


def _unpacked(path: Path) -> Iterator[bytes]:
    """A kept log in pieces; where it is damaged it ends with a line that says so."""
    try:
        with gzip.open(path, "rb") as log:
            while content := log.read1(_PIECE):
                yield content
    except (EOFError, gzip.BadGzipFile, zlib.error):
        yield f"\n(the rest of this log is lost: {path} is damaged)\n".encode()


class _Queue:
    """What the journal of the run that goes on says of some steps."""

    def __init__(self, state: Path, steps: Sequence[str]) -> None:
        self._state, self._steps = state, frozenset(steps)

    def look(self) -> Event:
        """Of these steps, the last word about one that is still to come, else the last word.

        Raises UsageError when none of them is part of a run that goes on.
        """
        name = recipe_of(min(self._steps))
        if not is_claimed(self._state / "coordinator.lock"):
            raise UsageError(
                f"no farm is building {name} now",
                hint=f"`farm log {name}` shows what the last attempt said.",
            )
        last = {event.step: event for event in self._events() if event.step in self._steps}
        if not last:
            raise UsageError(
                f"the farm that is at work has no {name} in its queue",
                hint=f"`farm log {name}` shows what the last attempt said.",
            )
        return max(last.values(), key=lambda event: (event.state in _TO_COME, event.at))

    def _events(self) -> Iterator[Event]:
        with contextlib.suppress(FileNotFoundError):
            for line in journal_path(self._state).read_bytes().splitlines():
                with contextlib.suppress(msgspec.MsgspecError):  # one that is being written
                    yield msgspec.json.decode(line, type=Event)


def _place(state: Path, attempt: str) -> str:
    """The machine of a running attempt, as its worker said, "" before one came."""
    claim = claimed(attempt_directory(state, attempt))
    return claim.place if claim is not None else ""


def _how(outcome: Outcome) -> str:
    match outcome:
        case Built(seconds=seconds):
            return f"built in {seconds:.1f} s"
        case Failed(message=message):
            return f"{verdict(outcome)}: {message.splitlines()[0] if message else ''}"
        case Skipped(because=because):
            return f"skipped: {because}"


def _chroots(config: Config, request: LogRequest) -> tuple[Chroot, ...]:
    return read_chroots(config, config.release(request.release)[0], request.archs)


def _steps(name: str, chroots: Sequence[Chroot]) -> tuple[str, ...]:
    """A package's own steps, and those of its bootstrap."""
    return tuple(f"{n}@{chroot.name}" for chroot in chroots for n in (name, bootstrap_name(name)))


def _ended(ledger: Ledger | None, step: str, limit: int = _LISTED) -> tuple[Attempt, ...]:
    return ledger.attempts(step, limit=limit) if ledger is not None else ()


def _going(ledger: Ledger | None, name: str, chroots: Sequence[Chroot]) -> tuple[Going, ...]:
    """Attempts of a package that have no end yet, oldest first."""
    steps = frozenset(_steps(name, chroots))
    return tuple(each for each in (ledger.going() if ledger else ()) if each.step in steps)


def _going_or_ended(
    ledger: Ledger | None, request: LogRequest, chroots: Sequence[Chroot]
) -> Going | None:
    """The attempt to follow: the one asked for, be it that it has ended, or the last that
    began, as what a killed farm left has no end either."""
    going = _going(ledger, request.name, chroots)
    if not request.attempt:
        return going[-1] if going else None
    for each in going:
        if each.id == request.attempt:
            return each
    attempt = _chosen(ledger, request, chroots)
    return Going(attempt.id, attempt.step, attempt.key, attempt.started)


def _chosen(ledger: Ledger | None, request: LogRequest, chroots: Sequence[Chroot]) -> Attempt:
    """The attempt asked for, else the newest. Raises UsageError."""
    if not request.attempt:
        return last_attempt(ledger, request.name, chroots)
    attempt = ledger.attempt(request.attempt) if ledger is not None else None
    if attempt is None or attempt.step not in _steps(request.name, chroots):
        going = [each.id for each in _going(ledger, request.name, chroots)]
        raise UsageError(
            f"{request.name} has no ended attempt {request.attempt}",
            hint=f"`farm log {request.name} --attempt {request.attempt} --follow` shows it."
            if request.attempt in going
            else f"`farm log {request.name} --list` lists them.",
        )
    return attempt


def _never_tried(name: str, chroots: Sequence[Chroot]) -> UsageError:
    return UsageError(
        f"{name} was never tried on {', '.join(chroot.arch for chroot in chroots)}",
        hint=f"`farm build {name}` builds it if the layer has it; `farm status` lists what it has.",
    )

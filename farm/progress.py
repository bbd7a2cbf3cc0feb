"""Events of a run, and those who watch: a terminal, a plain log, a JSON stream.

The run emits the same few events whoever watches. Nothing here decides anything.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any, Literal, Protocol

import msgspec

if TYPE_CHECKING:
    from rich.progress import BarColumn, Progress, TaskID

State = Literal[
    "queued", "running", "built", "kept", "failed", "skipped", "same", "differs", "unverified"
]


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something happened to a step (`step` set) or to the run as a whole (`step` empty).

    `expected` and `seconds` are durations in seconds, `at` is seconds since 1970. Every step of a
    plan is `queued` once, with what it needs, before anything else is said of it. A run is
    `begun` (`text`: the verb) and `ended`; `published` names the snapshot in `text`.
    """

    at: float
    state: State | Literal["note", "warning", "begun", "ended", "published"]
    step: str = ""
    phase: str = ""
    text: str = ""
    expected: float = 0.0
    seconds: float = 0.0
    done: int = 0
    total: int = 0
    attempt: str = ""
    place: str = ""  # the machine that an attempt runs on
    kind: str = ""  # class of a failure: package, infrastructure, limit
    needs: tuple[str, ...] = ()  # steps that a queued one waits for
    cores: int = 0
    urgent: bool = False
    release: str = ""


class Watcher(Protocol):
    """Whoever wants to see events. Used as a context manager around a run."""

    def __enter__(self) -> Watcher: ...
    def __exit__(self, *exc: object) -> None: ...
    def see(self, event: Event) -> None: ...


Emit = Callable[..., None]


def emitter(watcher: Watcher) -> Emit:
    """`emit(state, step="", **fields)` for code that has something to say."""

    def emit(state: Any, step: str = "", **fields: Any) -> None:
        watcher.see(Event(at=time.time(), state=state, step=step, **fields))

    return emit


def watcher(style: Literal["auto", "plain", "json", "quiet"], stream: IO[str]) -> Watcher:
    """The right watcher for a stream: bars on a terminal, lines elsewhere."""
    if style == "json":
        return JsonLines(stream)
    if style == "quiet":
        return Quiet()
    if style == "auto" and stream.isatty():
        return Bars(stream)
    return Lines(stream)


class Quiet:
    """Sees nothing."""

    def __enter__(self) -> Quiet:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def see(self, event: Event) -> None:
        return None


class JsonLines(Quiet):
    """One JSON object a line, for programs."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def see(self, event: Event) -> None:
        self._stream.write(msgspec.json.encode(event).decode() + "\n")
        self._stream.flush()


class Lines(Quiet):
    """One plain line for each change of state, for logs."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def see(self, event: Event) -> None:
        line = plain(event)
        if line:
            print(line, file=self._stream, flush=True)


class Bars(Quiet):
    """A bar for each running step, finished ones as lines above."""

    def __init__(self, stream: IO[str]) -> None:
        from rich.console import Console  # noqa: PLC0415 - 60 ms that a worker does not need
        from rich.progress import Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

        self._tasks: dict[str, TaskID] = {}
        self._progress: Progress = Progress(
            TextColumn("{task.fields[mark]} [bold]{task.description:<28}"),
            TextColumn("{task.fields[phase]:<14}"),
            _time_bar(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[expected]}"),
            console=Console(file=stream, highlight=False),
            transient=True,
        )
        self._whole: TaskID | None = None

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def see(self, event: Event) -> None:
        if event.total:
            if self._whole is None:
                self._whole = self._progress.add_task(
                    "all steps", total=event.total, mark=" ", phase="", expected=""
                )
            self._progress.update(self._whole, total=event.total, completed=event.done)
        if event.state == "running" and event.step:
            self._run(event)
            return
        if event.step in self._tasks:
            self._progress.remove_task(self._tasks.pop(event.step))
        line = plain(event)
        if line:
            self._progress.console.print(line, markup=False, highlight=False)

    def _run(self, event: Event) -> None:
        if event.step not in self._tasks:
            expected = f"of about {event.expected:.0f} s" if event.expected else ""
            self._tasks[event.step] = self._progress.add_task(
                event.step,
                total=event.expected or None,
                mark=">",
                phase=event.phase,
                expected=expected,
                timed=True,
            )
        self._progress.update(self._tasks[event.step], phase=event.phase)


def _time_bar() -> BarColumn:
    """A bar that fills by time against expectation, and is never full before the end."""
    from rich.progress import BarColumn, Task  # noqa: PLC0415
    from rich.progress_bar import ProgressBar  # noqa: PLC0415

    class TimeBar(BarColumn):
        def render(self, task: Task) -> ProgressBar:
            bar = super().render(task)
            if task.fields.get("timed") and task.total:
                bar.completed = min(task.elapsed or 0.0, task.total * 0.97)
            return bar

    return TimeBar(bar_width=24)


_MARKS = {
    "built": "built", "kept": "kept", "failed": "FAILED", "skipped": "skipped",
    "same": "same", "differs": "DIFFERS", "unverified": "cannot",
}  # fmt: skip


def plain(event: Event) -> str:
    """An event as one line, or nothing when it is not worth one."""
    if event.state in _MARKS:
        took = f" in {event.seconds:.1f} s" if event.seconds and event.state != "kept" else ""
        text = f": {event.text}" if event.text else ""
        return f"{_MARKS[event.state]:<8} {event.step}{took}{text}"
    if event.state == "running":
        if event.phase == "start":
            return f"{'start':<8} {event.step}"
        return f"{'':<8} {event.step}: {event.phase}" if " " in event.phase else ""
    if event.state in ("note", "warning") and event.text:
        return f"warning: {event.text}" if event.state == "warning" else event.text
    return ""


def standard_error() -> IO[str]:
    """Where progress goes: results alone go to standard output."""
    return sys.stderr

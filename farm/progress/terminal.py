"""A run on a terminal: a bar for each attempt, what they come to together below, and what has ended
as lines above."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import IO

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from farm.progress.events import Event, Quiet
from farm.progress.lines import plain
from farm.progress.tally import LEAST, Running, Tally
from farm.steps import is_bootstrap, recipe_of

_MOST_BARS = 12  # more would be a flood
_REFRESHES = 4  # a second
_NAME, _PLACE, _TIME = 30, 12, 19  # the widest of each column
_PHASE = 13  # the least
_WIDE = 76  # columns that have room for a bar
_BAR = (10, 30)  # least and most
_MARKS = "━─…"  # done, not done, cut short
_STYLES = {
    "built": "green", "failed": "bold red", "skipped": "yellow", "warning": "yellow",
    "kept": "dim", "differs": "bold red", "unverified": "yellow", "same": "green",
}  # fmt: skip
# What a total line says of states, the most telling first: a narrow terminal has room for some.
_SAID = (
    ("failed", "failed"), ("differs", "differ"), ("unverified", "cannot be said"),
    ("built", "built"), ("same", "same"), ("kept", "kept"), ("skipped", "skipped"),
    ("queued", "queued"),
)  # fmt: skip


class Bars(Quiet):
    """What happens, on a terminal. What is kept is counted, and not worth a line."""

    def __init__(self, stream: IO[str], *, clock: Callable[[], float] = time.time) -> None:
        self.console = Console(file=stream, highlight=False)
        self._picture = Picture(clock)
        self._live = Live(
            self._picture,
            console=self.console,
            refresh_per_second=_REFRESHES,
            transient=True,
            vertical_overflow="crop",
        )

    def __enter__(self) -> Bars:
        self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.stop()

    def see(self, event: Event) -> None:
        self._picture.tally.see(event)
        line = plain(event)
        if line and event.state not in ("kept", "running"):
            style = _STYLES.get(event.state, "")
            self.console.print(Text(line, style=style if event.state != "built" else ""))


class Picture:
    """What is drawn, anew each time: the terminal may have another size by now."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.tally = Tally()
        self._clock = clock
        self._left = (0.0, 0.0)  # when the time left was last reckoned, and what it was

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        now = self._clock()
        room = max(0, console.height - 2)
        marks = "#.~" if options.ascii_only else _MARKS
        yield from rows(self.tally, now, options.max_width, min(room, _MOST_BARS), marks)
        if self.tally.total:
            yield summary(self.tally, now, self._time_left(now), options.max_width)

    def _time_left(self, now: float) -> float:
        reckoned, left = self._left
        if now - reckoned >= 1:
            self._left = (now, left := self.tally.left(now))
        return left


def rows(tally: Tally, now: float, width: int, most: int, marks: str = _MARKS) -> Iterable[Text]:
    """A line for each attempt, at most so many; of more it is said how many."""
    running = list(tally.running.values())
    more = len(running) - max(0, most - 1) if len(running) > most else 0
    drawn = [_Row.of(each) for each in running[: len(running) - more]]
    widths = _Widths(
        name=max((len(row.name) for row in drawn), default=0),
        arch=max((len(row.arch) for row in drawn), default=0),
        phase=max((len(row.phase) for row in drawn), default=0),
        place=min(_PLACE, max((len(row.place) for row in drawn), default=0)),
    )
    for row in drawn:
        yield row.text(now, width, widths, marks)
    if more and most:
        yield Text(f"  + {more} more", style="dim")


@dataclass(frozen=True)
class _Widths:
    name: int
    arch: int
    phase: int
    place: int


@dataclass(frozen=True)
class _Row:
    """An attempt as it is shown: `munge`, `aarch64` of `munge@debian-13-aarch64`."""

    running: Running
    name: str
    arch: str
    phase: str
    place: str  # the machine, if it is another than this one, without its domain

    @classmethod
    def of(cls, running: Running) -> _Row:
        step, at, chroot = running.step.partition("@")
        name = f"{recipe_of(step)} (bootstrap)" if is_bootstrap(step) else step
        here = running.place in ("", os.uname().nodename)
        place = "" if here else running.place.partition(".")[0]
        phase = "starting" if running.phase == "start" else running.phase
        return cls(running, name, chroot.rpartition("-")[2] if at else "", phase, place)

    def text(self, now: float, width: int, widths: _Widths, marks: str) -> Text:
        running = self.running
        elapsed, expected = running.elapsed(now), running.expected
        over = bool(expected) and elapsed > expected
        line = Text(no_wrap=True, overflow="crop")
        line.append("! " if running.urgent else "> ", style="bold" if running.urgent else "dim")
        arch = widths.arch + 1 if widths.arch else 0
        others = 2 + arch + 1 + _PHASE + 1
        room = width - others - (_TIME + 2 + _BAR[0] if width >= _WIDE else 5)
        name = max(8, min(widths.name, _NAME, room))
        line.append(_cut(self.name, name, marks), style="bold")
        if arch:
            line.append(f" {_cut(self.arch, widths.arch, marks)}")
        phase = max(_PHASE, min(widths.phase, width - line.cell_len - 1 - _TIME - 1))
        line.append(f" {_cut(self.phase, phase, marks)}")
        left = width - line.cell_len
        if widths.place and left >= _TIME + 1 + widths.place + 1 + _BAR[0]:
            line.append(f" {_cut(self.place, widths.place, marks)}", style="dim")
            left -= widths.place + 1
        bar = min(_BAR[1], left - _TIME - 3)
        if running.began:
            if bar >= _BAR[0]:
                line.append(" ").append(_bar(elapsed, expected, bar, marks))
            spent = _spent(elapsed, expected) if left > _TIME else _clock(elapsed)
            line.append(f" {spent}", style="yellow" if over else "")
        line.truncate(width)
        return line


def _bar(elapsed: float, expected: float, width: int, marks: str) -> Text:
    """Time against expectation; full only when that is over."""
    if not expected:
        return Text(" " * width)
    over = elapsed > expected
    full = width if over else int(min(elapsed / expected, 0.99) * width)
    bar = Text(marks[0] * full, style="yellow" if over else "green")
    return bar.append(marks[1] * (width - full), style="bright_black")


def _spent(elapsed: float, expected: float) -> str:
    if not expected:
        return _clock(elapsed)
    if elapsed > expected:
        return f"{_clock(elapsed)}, {_clock(elapsed - expected)} over"
    return f"{_clock(elapsed)} of {_clock(expected)}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _cut(text: str, width: int, marks: str) -> str:
    return (text if len(text) <= width else text[: width - 1] + marks[2]).ljust(width)


def summary(tally: Tally, now: float, left: float, width: int) -> Text:
    """How far all is, and when it should end."""
    counts = tally.counts()
    line = Text(f"{tally.done} of {tally.total}", style="bold", no_wrap=True, overflow="crop")
    running = sum(1 for each in tally.running.values() if each.began)
    parts = [
        (f"{counts[state]} {word}", _STYLES.get(state, ""))
        for state, word in _SAID
        if counts[state]
    ]
    if running:
        parts.insert(1 if counts["failed"] else 0, (f"{running} running", ""))
    if left > LEAST and tally.done < tally.total:  # else only what is over its time is left
        parts.insert(min(2, len(parts)), (_end(now, left), ""))
    for text, style in parts:
        if line.cell_len + 2 + len(text) <= width:
            line.append(", ", style="dim").append(text, style=style)
    return line


def _end(now: float, left: float) -> str:
    """`about 12 min left (15:42)`."""
    if left < 90:
        return f"about {left:.0f} s left"
    at = time.strftime("%H:%M", time.localtime(now + left))
    if left < 5400:
        return f"about {left / 60:.0f} min left ({at})"
    if left < 86400:
        return f"about {left / 3600:.1f} h left ({at})"
    return f"about {left / 86400:.1f} days left"

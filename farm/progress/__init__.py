"""Events of a run, and those who watch: a terminal, a plain log, a JSON stream, a journal.

The run emits the same few events whoever watches. Nothing here decides anything.
"""

from __future__ import annotations

import os
import sys
from typing import IO, Literal

from farm.progress.events import Emit, Event, Quiet, State, Watcher, emitter
from farm.progress.lines import JsonLines, Lines, plain

__all__ = [
    "Emit",
    "Event",
    "JsonLines",
    "Lines",
    "Quiet",
    "State",
    "Watcher",
    "emitter",
    "plain",
    "standard_error",
    "watcher",
]


def watcher(style: Literal["auto", "plain", "json", "quiet"], stream: IO[str]) -> Watcher:
    """The right watcher for a stream: bars on a terminal, lines elsewhere."""
    if style == "json":
        return JsonLines(stream)
    if style == "quiet":
        return Quiet()
    if style == "auto" and stream.isatty() and os.environ.get("TERM") not in ("dumb", None):
        from farm.progress.terminal import Bars  # noqa: PLC0415 - 60 ms that few runs need

        return Bars(stream)
    return Lines(stream)


def standard_error() -> IO[str]:
    """Where progress goes: results alone go to standard output."""
    return sys.stderr

"""The events of a run of another process, read as they are written."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import IO

import msgspec

from farm.progress.events import Event


class Follower:
    """Reads a journal to the end of what is there, and goes on where it stopped.

    A new run begins a new file: what the old one still had is read first. A line that is not whole
    yet is left for the next time; of a killed process it stays without its end, and is dropped.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._rest = b""

    def read(self) -> tuple[Event, ...]:
        """What was written since the last call."""
        events: list[Event] = []
        while True:
            if self._file is None and not self._open():
                return tuple(events)
            changed = self._changed()  # asked before reading: what was written before is read
            events += self._lines()
            if not changed:
                return tuple(events)
            self.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._rest = None, b""

    def _open(self) -> bool:
        with contextlib.suppress(OSError):
            self._file = self._path.open("rb")
        return self._file is not None

    def _changed(self) -> bool:
        """Whether another file has taken the place of the one that is read."""
        assert self._file is not None
        try:
            there, ours = self._path.stat(), os.fstat(self._file.fileno())
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)

    def _lines(self) -> list[Event]:
        assert self._file is not None
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        events = []
        for line in lines:
            with contextlib.suppress(msgspec.MsgspecError, UnicodeError):  # of another farm
                events.append(msgspec.json.decode(line, type=Event))
        return events

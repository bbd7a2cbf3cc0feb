"""The events of the run that goes on, in a file that others follow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

import msgspec

from farm.progress.events import Event, Quiet

_JOURNAL = Path("run") / "events.jsonl"


def journal_path(state: Path) -> Path:
    """Where the run that works on this state directory (or the last one did) writes its events."""
    return state / _JOURNAL


class Journal(Quiet):
    """JSON lines in a file of this run's own; that of the run before makes room, and whoever
    still reads it reads to its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Journal:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        self._file = draft.open("wb", buffering=0)
        draft.replace(self._path)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._file is not None:
            self._file.close()

    def see(self, event: Event) -> None:
        if self._file is not None:
            self._file.write(msgspec.json.encode(event) + b"\n")

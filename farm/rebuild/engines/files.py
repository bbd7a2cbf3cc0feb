"""What a worker leaves in its attempt's directory, as an engine reads it."""

from __future__ import annotations

import contextlib
from pathlib import Path

from farm.errors import StateError
from farm.model import Failed, Outcome, from_json


class AttemptFiles:
    """The directory of one attempt, read as it fills."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._read = 0

    def new_phases(self) -> list[str]:
        """Phases noted in the `phases` file since the last look, one a line."""
        try:
            with (self.directory / "phases").open("rb") as file:
                file.seek(self._read)
                text = file.read()
        except FileNotFoundError:
            return []
        whole, _, _ = text.rpartition(b"\n")
        self._read += len(whole) + 1 if whole else 0
        return whole.decode("utf-8", "replace").splitlines()

    def outcome(self) -> Outcome | None:
        """How it ended, None while it has not, or while that cannot be read. A file that is no
        outcome is a mishap."""
        try:
            text = (self.directory / "outcome.json").read_bytes()
        except OSError:
            return None
        try:
            return from_json(Outcome, text, where="outcome.json")  # type: ignore[arg-type]
        except StateError as error:
            said = tuple(error.why.splitlines())
            return Failed(
                "infrastructure", f"what its worker left is no outcome: {error.what}", said
            )

    def notes(self) -> tuple[str, ...]:
        """What the worker had to say beside its outcome."""
        with contextlib.suppress(OSError):
            return tuple((self.directory / "notes").read_text("utf-8", "replace").splitlines())
        return ()

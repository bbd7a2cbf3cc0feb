"""What a failed attempt left, and on which machine: roots need not be where the shell is opened."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from farm.errors import StateError
from farm.model import Failed, Noun, Outcome, from_json, to_json
from farm.rebuild.claim import claimed, of_this_process
from farm.store import write_atomic

FILE = "kept.json"


class Kept(Noun, frozen=True):
    """`place` is the machine as the engine calls it, `host` as it calls itself."""

    host: str
    place: str
    path: str


def record(directory: Path, *places: Path) -> None:
    """Note in an attempt's directory which of these places of this machine has what it left."""
    ours = of_this_process()
    for path in places:
        if path.exists():
            write_atomic(directory / FILE, to_json(Kept(ours.host, ours.place, str(path))))
            return


def recorded(directory: Path) -> Kept | None:
    """What was noted of an attempt; None where nothing was, or nothing that can be read."""
    with contextlib.suppress(OSError, StateError):
        return from_json(Kept, (directory / FILE).read_bytes(), where=FILE)
    return None


def missing(directory: Path) -> str:
    """Why there is nothing on this machine of the attempt in `directory`, "" for one that did not
    fail. One sentence without a full stop."""
    if not _failed(directory):
        return ""
    found, here = recorded(directory), socket.gethostname()
    if found is not None and found.host != here:
        return f"what the failed build left is kept on {found.place}, in {found.path}"
    if found is not None:
        return "what the failed build left is not kept any more"
    claim = claimed(directory)
    where = f" on {claim.place}" if claim is not None and claim.host not in ("", here) else ""
    return f"nothing of what the failed build left{where} was kept"


def _failed(directory: Path) -> bool:
    with contextlib.suppress(OSError, StateError):
        text = (directory / "outcome.json").read_bytes()
        outcome: object = from_json(Outcome, text)  # type: ignore[arg-type]
        return isinstance(outcome, Failed)
    return False

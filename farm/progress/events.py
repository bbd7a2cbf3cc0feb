"""What happens in a run, as data, and whoever wants to see it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal, Protocol

import msgspec

State = Literal[
    "queued", "running", "built", "kept", "failed", "skipped", "same", "differs", "unverified"
]


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something happened to a step (`step` set) or to the run as a whole (`step` empty).

    `expected` and `seconds` are durations in seconds, `at` is seconds since 1970. Every step of a
    plan is `queued` once, with what it needs, before anything else is said of it. A run is
    `begun` and `ended` (`text`: the verb; `kind`: "" when it came to its end, "interrupted", or
    "error"); `published` names the snapshot in `text`.
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
    kind: str = ""  # class of a failure: package, infrastructure, limit, interrupted
    needs: tuple[str, ...] = ()  # steps that a queued one waits for
    cores: int = 0
    urgent: bool = False
    release: str = ""

    @property
    def waits(self) -> bool:
        """Whether a step counts as running whose attempt only waits: for its turn after a mishap,
        or in a queue of its engine's."""
        return self.phase.startswith(("retry ", "queued"))


class Watcher(Protocol):
    """Whoever wants to see events. Used as a context manager around a run."""

    def __enter__(self) -> Watcher: ...
    def __exit__(self, *exc: object) -> None: ...
    def see(self, event: Event) -> None: ...


Emit = Callable[..., None]


def emitter(watcher: Watcher) -> Emit:
    """`emit(state, step="", **fields)` for code that has something to say; `at` is now, if it is
    not given."""

    def emit(state: Any, step: str = "", *, at: float = 0.0, **fields: Any) -> None:
        watcher.see(Event(at=at or time.time(), state=state, step=step, **fields))

    return emit


class Quiet:
    """Sees nothing."""

    def __enter__(self) -> Quiet:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def see(self, event: Event) -> None:
        return None

"""Who is told of a run that changes something: whoever called, the journal, and what is plugged
in here by one line each.

A watcher that fails never fails the run: it is told once as a warning and left out from then on.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from farm.config import Config
from farm.errors import FarmError
from farm.lazily import lazily
from farm.ledger import Ledger
from farm.metrics import Metrics
from farm.progress import Emit, Event, Watcher
from farm.progress.journal import Journal, journal_path
from farm.showing import Showing

with lazily():
    from farm.webhook import watcher as webhook


def _plugged_in(
    config: Config, ledger: Ledger, emit: Emit, release: str
) -> Iterator[tuple[str, Callable[[], Watcher]]]:
    """What watches every run, and what it is called when it cannot."""
    yield "the journal of this run", lambda: Journal(journal_path(config.path("state")))
    yield "the file of metrics", lambda: Metrics(config, ledger)
    if config.webhook.addresses:
        yield "the webhook", lambda: webhook.Webhooks(config, ledger, emit, release)
    if config.site.status:
        yield "the status pages", lambda: Showing(config)


@contextlib.contextmanager
def audience(
    config: Config, ledger: Ledger, emit: Emit, *, verb: str, release: str
) -> Iterator[Emit]:
    """An `emit` that tells whoever called and every watcher; the run is `begun` and `ended`."""
    began = time.monotonic()
    hall = _Hall(emit)
    with contextlib.ExitStack() as stack:
        stack.callback(hall.close)
        for name, make in _plugged_in(config, ledger, emit, release):
            hall.admit(name, make)
        hall.tell("begun", text=verb, release=release)
        kind = "error"
        try:
            yield hall.tell
            kind = ""
        except KeyboardInterrupt:
            kind = "interrupted"
            raise
        finally:
            took = time.monotonic() - began
            hall.tell("ended", text=verb, release=release, kind=kind, seconds=took)


class _Hall:
    """Those who watch, and are still able to."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._watching: dict[str, Watcher] = {}

    def admit(self, name: str, make: Callable[[], Watcher]) -> None:
        try:
            watcher = make()
            watcher.__enter__()
        except Exception as error:
            self._leave(name, error)
        else:
            self._watching[name] = watcher

    def tell(self, state: Any, step: str = "", *, at: float = 0.0, **fields: Any) -> None:
        event = Event(at=at or time.time(), state=state, step=step, **fields)
        for name, watcher in tuple(self._watching.items()):
            try:
                watcher.see(event)
            except Exception as error:
                self._leave(name, error)
        self._emit(state, step, at=event.at, **fields)  # last: a closed pipe ends the run here

    def close(self) -> None:
        for name, watcher in self._watching.items():
            try:
                watcher.__exit__(None, None, None)
            except Exception as error:
                self._emit("warning", text=f"{name}: {_words(error)}")

    def _leave(self, name: str, error: Exception) -> None:
        left = self._watching.pop(name, None)
        if left is not None:
            with contextlib.suppress(Exception):
                left.__exit__(None, None, None)
        self._emit("warning", text=f"{name}: left out of the rest of this run: {_words(error)}")


def _words(error: Exception) -> str:
    if isinstance(error, FarmError):
        return error.what
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error) or type(error).__name__

"""`farm work http://HOST:PORT/ATTEMPT`: one attempt, on a machine that shares nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from farm.config import load
from farm.errors import FarmError, Interrupted, UsageError
from farm.model import Built, Failed, Outcome, WorkOrder, to_json
from farm.rebuild.attempts import ROOT_LOG
from farm.rebuild.claim import of_this_process
from farm.rebuild.remote.cache import FileCache
from farm.rebuild.remote.link import Link, Lost, Refusal, Withdrawn, send
from farm.rebuild.remote.wire import (
    PIECE,
    TICKET,
    Terms,
    Ticket,
    Whole,
    files_of,
)
from farm.rebuild.space import roots_directory
from farm.rebuild.worker import attempt, note
from farm.sandbox import is_abandoned, remove
from farm.store import Store

SETTINGS = Path("/etc/farm")  # a farm.toml there may say where this machine has room
_FIRST_PATIENCE = 120.0  # seconds, until the coordinator said its own
_TICK = 0.5  # seconds between looks at what has grown
_PULSE = 10.0  # seconds without anything new after which we ask whether we are still wanted
_STREAMED = ("phases", "notes", "build.log")


@dataclass(frozen=True)
class Home:
    """Where a node keeps things: `cache` is this machine's own, `roots` its build roots."""

    cache: Path
    roots: Path


def own_home() -> Home:
    """From /etc/farm/farm.toml and FARM_PATHS_*; a home directory may be many machines'."""
    config = load(SETTINGS)
    cache = config.path("cache") / f"node-{socket.gethostname()}"
    cache.mkdir(parents=True, exist_ok=True)
    return Home(cache, roots_directory(config.paths.roots, cache))


def work_from_afar(address: str) -> Outcome:
    """Do the attempt at `address` with the ticket's secret from the environment.

    A failure of any kind is an outcome, which is delivered. Raises UsageError without a ticket,
    Withdrawn and Lost when nobody takes what was done, and Interrupted as `work` does.
    """
    secret = os.environ.pop(TICKET, "")
    if not secret:
        raise UsageError(
            f"{TICKET} is not set: an attempt wants the ticket that it was offered with",
            hint="`farm work http://…` is started by the engines.",
        )
    return Node(own_home(), Ticket(address, secret)).work()


class Node:
    """One worker on its machine."""

    def __init__(self, home: Home, ticket: Ticket) -> None:
        self._home, self._ticket, self._claim = home, ticket, of_this_process()
        self._link = Link(ticket, self._claim.worker, _FIRST_PATIENCE)

    def work(self) -> Outcome:
        link = self._link
        terms = link.ask("POST", "claim", to_json(self._claim)).noun(Terms)
        link.patience = terms.patience
        order = link.ask("GET", "job.json").noun(WorkOrder)
        with _directory(self._home.cache) as directory:
            stream = _Stream(Link(self._ticket, link.worker, terms.patience), directory)
            try:
                with stream:
                    outcome = self._attempt(order, directory, terms)
            except KeyboardInterrupt:
                if stream.error is not None:
                    raise stream.error from None
                raise Interrupted(f"{order.job.step}: the build was stopped") from None
            return self._deliver(outcome, directory, stream)

    def _attempt(self, order: WorkOrder, directory: Path, terms: Terms) -> Outcome:
        store = Store(directory / "store")
        try:
            self._fetch(order, store, terms)
        except (Withdrawn, Lost):
            raise
        except (FarmError, OSError) as error:
            what = error.what if isinstance(error, FarmError) else str(error)
            why = error.why if isinstance(error, FarmError) else ""
            hint = error.hint if isinstance(error, FarmError) else ""
            return Failed(
                "infrastructure",
                f"the files of the job could not be fetched: {what}",
                tuple(why.splitlines()),
                phase="fetch",
                hint=hint,
            )
        order = msgspec.structs.replace(
            order, store=str(store.root), roots=str(self._home.roots), keep=False
        )
        return attempt(order, directory)

    def _fetch(self, order: WorkOrder, store: Store, terms: Terms) -> None:
        cache = FileCache(self._home.cache, terms.cache)
        for sha256 in files_of(order.job):
            cache.bring(sha256, store, partial(self._link.download, f"files/{sha256}"))
        cache.tidy()

    def _deliver(self, outcome: Outcome, directory: Path, stream: _Stream) -> Outcome:
        """Everything, and at last the outcome: another one where the results are refused."""
        link = self._link
        stream.finish(link)
        try:
            send(link, f"log/{ROOT_LOG}", directory / ROOT_LOG, 0, PIECE)
            for package in outcome.packages if isinstance(outcome, Built) else ():
                name = package.nevra.filename
                send(link, f"results/{name}", directory / "results" / name, 0, PIECE)
                link.ask("PUT", f"results/{name}", to_json(Whole(package.sha256, package.size)))
        except Refusal as error:
            outcome = Failed("infrastructure", error.what, phase="deliver")
        link.ask("PUT", "outcome.json", to_json(outcome))
        link.close()
        return outcome


class _Stream:
    """Sends what grows while the attempt goes on, on a thread of its own.

    When the coordinator does not want the attempt any more, or stays away for too long, it ends
    this process as SIGTERM does; `error` says why.
    """

    def __init__(self, link: Link, directory: Path) -> None:
        self.error: FarmError | None = None
        self._link, self._directory = link, directory
        self._sent = dict.fromkeys(_STREAMED, 0)
        self._full: set[str] = set()  # logs of which the coordinator takes no more
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        link.ended = self._over.is_set

    def __enter__(self) -> _Stream:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()
        self._link.close()

    def finish(self, link: Link) -> None:
        """What is left, after the attempt has ended."""
        self._send(link)

    def _run(self) -> None:
        said = time.monotonic()
        try:
            while not self._over.wait(_TICK):
                if self._send(self._link):
                    said = time.monotonic()
                elif time.monotonic() - said > _PULSE:
                    self._link.ask("POST", "log/phases", b"", self._sent["phases"])
                    said = time.monotonic()
        except FarmError as error:
            if not self._over.is_set():
                self.error = error
                os.kill(os.getpid(), signal.SIGTERM)

    def _send(self, link: Link) -> bool:
        before = dict(self._sent)
        for name in [name for name in _STREAMED if name not in self._full]:
            try:
                self._sent[name] = send(
                    link, f"log/{name}", self._directory / name, self._sent[name], PIECE
                )
            except Refusal as error:
                self._full.add(name)
                note(self._directory, f"of {name} only the beginning was kept: {error.what}")
        return self._sent != before


@contextlib.contextmanager
def _directory(cache: Path) -> Iterator[Path]:
    """A directory for one attempt; what killed workers left goes."""
    parent = cache / "attempts"
    parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    with contextlib.suppress(OSError, FarmError):  # two that begin at once do it both
        remove(*filter(is_abandoned, parent.iterdir()))
    path = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=parent))
    try:
        path.chmod(0o711)
        yield path
    finally:
        remove(path)

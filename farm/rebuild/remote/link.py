"""The node's end of the wire: requests that are tried again until the coordinator is back."""

from __future__ import annotations

import contextlib
import hmac
import http.client
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from farm.errors import MachineError, StateError, UsageError
from farm.model import T, from_json
from farm.rebuild.remote.wire import ANSWERED, MOST_BODY, Grown, Ticket, answer_mac, signed

_TIMEOUT = 30.0  # seconds for one answer to begin, and between its bytes
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 10.0  # seconds before a request is made again
_CHUNK = 1 << 20


class Withdrawn(StateError):
    """The coordinator wants nothing more of this attempt."""


class Lost(MachineError):
    """The coordinator was not found again in time."""


class Refusal(MachineError):
    """The coordinator will not take or give something, however often it is asked."""


class _Again(Exception):
    """Worth trying again; its text says what was met with."""


@dataclass(frozen=True)
class Said:
    """A genuine answer."""

    status: int
    body: bytes

    def noun(self, kind: type[T]) -> T:
        """Raises StateError."""
        return from_json(kind, self.body, where="an answer of the coordinator")


class Link:
    """A connection to one attempt's coordinator, for one thread.

    `patience` is for how many seconds a request is tried again while the coordinator is not
    there or does not know the attempt (yet, or again). Every method raises Withdrawn, Lost, and
    MachineError for a coordinator that does not take the ticket.
    """

    def __init__(self, ticket: Ticket, worker: str, patience: float) -> None:
        parts = urlsplit(ticket.address)
        try:
            self._host, self._port = parts.hostname or "", parts.port or 80
        except ValueError:
            self._host = ""
        if parts.scheme != "http" or not self._host or not parts.path.strip("/"):
            raise UsageError(
                f"{ticket.address} is no address of an attempt",
                hint="It has the form http://HOST:PORT/ATTEMPT.",
            )
        self._root = parts.path.rstrip("/")
        self._secret, self.worker, self.patience = ticket.secret, worker, patience
        self._moved = False  # whether bytes of a file came since it was last looked
        self._connection: http.client.HTTPConnection | None = None
        self.ended: Callable[[], bool] = lambda: False  # whether to give up between tries

    def ask(self, method: str, path: str, body: bytes = b"", start: int | None = None) -> Said:
        """One request for `path` below the attempt, and its answer."""

        def once() -> Said:
            answer, nonce = self._request(method, path, body, start)
            return self._read(answer, nonce)

        return self._patiently(once)

    def download(self, path: str, into: BinaryIO) -> None:
        """Append to `into` whatever of a file is not in it yet; the bytes are nobody's word."""

        def once() -> None:
            there = into.seek(0, 2)
            answer, nonce = self._request("GET", path, b"", there)
            if answer.getheader(ANSWERED) is not None or answer.status != HTTPStatus.OK:
                self._read(answer, nonce)
                raise _Again("no file came")
            while chunk := answer.read(_CHUNK):
                into.write(chunk)
                self._moved = True
            into.flush()
            # read() of a stream that was cut short just ends
            if answer.length:
                raise _Again("the connection broke off")

        self._patiently(once)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _patiently(self, once: Callable[[], T]) -> T:
        since, wait, self._moved = 0.0, _FIRST_WAIT, False
        while True:
            try:
                return once()
            except (OSError, http.client.HTTPException, _Again) as error:
                self.close()
                if self._moved or not since:  # slow is not away
                    since, wait, self._moved = time.monotonic(), _FIRST_WAIT, False
                if time.monotonic() + wait > since + self.patience or self.ended():
                    raise Lost(
                        f"the coordinator at {self._host}:{self._port} was not reached for "
                        f"{self.patience:.0f} s",
                        why=str(error) or type(error).__name__,
                        hint="Is the port open between the machines (slurm.address)?",
                    ) from error
            time.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT)

    def _request(
        self, method: str, path: str, body: bytes, start: int | None
    ) -> tuple[http.client.HTTPResponse, str]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT)
        target = f"{self._root}/{path}" + ("" if start is None else f"?from={start}")
        said = signed(self._secret, self.worker, method, target, body)
        self._connection.request(method, target, body, {"Authorization": said.header})
        return self._connection.getresponse(), said.nonce

    def _read(self, answer: http.client.HTTPResponse, nonce: str) -> Said:
        body = answer.read(MOST_BODY + 1)
        mac = answer_mac(self._secret, nonce, answer.status, body)
        if not hmac.compare_digest(mac, answer.getheader(ANSWERED) or ""):
            self._unsigned(answer.status)
        text = body.decode("utf-8", "replace")
        if answer.status == HTTPStatus.GONE:
            raise Withdrawn(f"the coordinator does not want this attempt any more: {text}")
        if answer.status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.INSUFFICIENT_STORAGE):
            raise _Again(text)
        if answer.status in (HTTPStatus.OK, HTTPStatus.CONFLICT):
            return Said(answer.status, body)
        raise Refusal(f"the coordinator refused it: {text}")

    def _unsigned(self, status: int) -> None:
        if status == HTTPStatus.UNAUTHORIZED:
            raise MachineError(
                "the coordinator does not take this ticket",
                hint="It is for another attempt, or the coordinator's state directory has another "
                "depot.key by now.",
            )
        if status == HTTPStatus.UNPROCESSABLE_ENTITY:
            raise Refusal("the coordinator's store has lost a file of this job")
        raise _Again(f"an answer that the coordinator did not sign ({status})")


def send(link: Link, path: str, file: Path, start: int, piece: int) -> int:
    """Send what `file` has from `start` on to `path`; how long it is there now.

    Where the other side has more or less of it than we thought, it is told and we go on there.
    """
    with contextlib.suppress(FileNotFoundError), file.open("rb") as source:
        while True:
            source.seek(start)
            body = source.read(piece)
            if not body:
                break
            start = link.ask("POST", path, body, start).noun(Grown).size
    return start

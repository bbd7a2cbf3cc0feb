"""Messages that wait in the state directory, and whoever delivers them beside a run."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.client import BadStatusLine, HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import msgspec

from farm.config import Webhook
from farm.errors import FarmError
from farm.model import Noun, from_json, to_json
from farm.store import write_atomic
from farm.webhook.signing import signatures

_OLDEST = 7 * 86400  # seconds that a message is worth telling
_MOST = 200  # messages that wait
_REDIRECTS = range(300, 400)
GONE = "410"  # what a receiver answers that wants no messages any more


class Message(Noun, frozen=True):
    """`body` is signed as it is; `addresses` have not taken the message yet. `created` is seconds
    since 1970."""

    id: str
    created: float
    body: str
    addresses: tuple[str, ...]


class Outbox:
    """One file for each message, for nobody else to read: bodies may be, addresses may not."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, message: Message) -> None:
        """Keep a message until it was taken; one with the same id takes its place."""
        write_atomic(self._path(message), to_json(message), mode=0o600)

    def take_out(self, message: Message) -> None:
        """It was delivered, or nobody wants it any more."""
        self._path(message).unlink(missing_ok=True)

    def waiting(self) -> Iterator[Message]:
        """Those that are worth telling, oldest first; too old ones and too many are dropped."""
        found = []
        for path in self._directory.glob("msg_*.json"):
            with contextlib.suppress(OSError, FarmError):
                found.append(from_json(Message, path.read_bytes(), where=str(path)))
        found.sort(key=lambda message: (message.created, message.id))
        for number, message in enumerate(found):
            if number < len(found) - _MOST or message.created < time.time() - _OLDEST:
                self.take_out(message)
            else:
                yield message

    def _path(self, message: Message) -> Path:
        return self._directory / f"{message.id}.json"


class NotWanted(Exception):
    """The receiver says that it wants no messages any more."""


Post = Callable[[str, bytes, Mapping[str, str], float], None]


def post(address: str, body: bytes, headers: Mapping[str, str], timeout: float) -> None:
    """One delivery. Raises OSError, HTTPException or ValueError when it was not taken, NotWanted
    when none will ever be."""
    request = Request(address, body, dict(headers), method="POST")
    if request.type not in ("http", "https"):
        raise ValueError("its address is neither http nor https")
    try:
        with build_opener(_Straight).open(request, timeout=timeout) as answer:
            answer.read(1024)
    except OSError as error:
        if getattr(error, "code", 0) == int(GONE):
            raise NotWanted from error
        raise


class _Straight(HTTPRedirectHandler):
    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        """A message goes to whom it is addressed, and nowhere else."""


class Postman:
    """Delivers what waits, on a thread of its own."""

    def __init__(
        self, outbox: Outbox, settings: Webhook, keys: tuple[bytes, ...], post: Post = post
    ) -> None:
        self._outbox, self._settings, self._keys, self._post = outbox, settings, keys, post
        self._word = threading.Condition()
        self._asked = self._done = 0
        self._leaving = False
        self._problems: dict[str, str] = {}
        threading.Thread(target=self._run, daemon=True).start()

    def go(self) -> None:
        """Have everything tried that waits now."""
        with self._word:
            self._asked += 1
            self._word.notify_all()

    def finish(self, seconds: float) -> Mapping[str, str]:
        """Until everything was tried, or so long; which hosts did not take something, and why.

        The host "" stands for what was not even tried.
        """
        with self._word:
            done = self._word.wait_for(lambda: self._done == self._asked, seconds)
            self._leaving = True
            self._word.notify_all()
            problems = {_host(address): why for address, why in self._problems.items()}
        return problems if done else {"": f"not everything was sent within {seconds:g} s"}

    def _run(self) -> None:
        while True:
            with self._word:
                self._word.wait_for(lambda: self._asked > self._done or self._leaving)
                if self._leaving:
                    return
                asked = self._asked
            problems: dict[str, str] = {}
            gone: dict[str, str] = {}
            for message in self._outbox.waiting():
                self._deliver(message, problems, gone)
            with self._word:
                self._done, self._problems = asked, gone | problems
                self._word.notify_all()

    def _deliver(self, message: Message, problems: dict[str, str], gone: dict[str, str]) -> None:
        left = []
        for address in message.addresses:
            if address not in self._settings.addresses:
                continue  # nobody's any more
            if address in problems:  # it would have each message wait for the time-out
                left.append(address)
                continue
            try:
                self._send(message, address)
            except NotWanted:  # of each message it is asked: that it is gone may be a mistake
                gone[address] = GONE
            except (OSError, HTTPException, ValueError) as error:
                left.append(address)
                problems[address] = _words(error)
        with contextlib.suppress(OSError):  # then it is sent again
            if not left:
                self._outbox.take_out(message)
            elif tuple(left) != message.addresses:
                self._outbox.put(msgspec.structs.replace(message, addresses=tuple(left)))

    def _send(self, message: Message, address: str) -> None:
        body, now = message.body.encode(), int(time.time())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "farm",
            "webhook-id": message.id,
            "webhook-timestamp": str(now),
            "webhook-signature": signatures(self._keys, message.id, now, body),
        }
        self._post(address, body, headers, self._settings.timeout)


def _host(address: str) -> str:
    """Whom an address is of: the rest of it may be somebody's token."""
    try:
        return urlsplit(address).hostname or "?"
    except ValueError:
        return "?"


def _words(error: Exception) -> str:
    """What went wrong, without the address."""
    code = getattr(error, "code", None)
    if isinstance(code, int):
        return f"it answered {code}" + (", a redirect" if code in _REDIRECTS else "")
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, BadStatusLine):
        return "it does not speak HTTP"
    words = getattr(reason, "strerror", None)
    return words if isinstance(words, str) else type(reason).__name__

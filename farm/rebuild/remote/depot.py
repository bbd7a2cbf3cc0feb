"""The coordinator's side: a small HTTP server with the attempts that are on offer."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from farm.httpd import IDLE_SECONDS, Server, address_of, cannot_listen, running
from farm.model import Job
from farm.rebuild.remote.receiving import Answer, Offer, digest_is
from farm.rebuild.remote.wire import (
    ANSWERED,
    MOST_BODY,
    SCHEME,
    Credentials,
    Terms,
    Ticket,
    answer_mac,
    depot_key,
    is_genuine,
    read_credentials,
    secret_of,
)
from farm.store import Store, write_atomic

_HINT = "Set slurm.address in farm.toml to HOST:PORT with a port that is free."
_TARGET = re.compile(r"/(?P<attempt>[A-Za-z0-9._-]{1,128})/(?P<path>[^?]*)(?:\?(?P<query>.*))?")


class Depot:
    """Hands out jobs and their files, takes in what workers bring; a context manager.

    `bind` and `port` are where it listens; port 0 is any, and the same again after a restart
    where that is free. `host` is what nodes call this machine (default: `bind`, or its name
    where that is every address). `patience`: seconds that a worker looks for a coordinator that
    went away; `cache`: bytes of files that a node may keep. Raises MachineError on entering
    when the address cannot be had.
    """

    def __init__(
        self,
        store: Store,
        bind: str,
        port: int = 0,
        *,
        host: str = "",
        patience: float = 900.0,
        cache: int = 20 << 30,
    ) -> None:
        self._store, self._bind, self._port = store, bind, port
        self._host = host or (socket.gethostname() if bind in ("", "0.0.0.0", "::") else bind)
        self._terms = Terms(patience, cache)
        self._state = store.root.parent
        self._key = depot_key(self._state)
        self._offers: dict[str, Offer] = {}
        self._withdrawn: set[str] = set()
        self._stack = contextlib.ExitStack()
        self._server: _DepotServer | None = None

    def __enter__(self) -> Depot:
        self._server = self._listening()
        self._stack.enter_context(running(self._server))
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()
        for offer in self._offers.values():
            offer.close()
        self._offers.clear()

    @property
    def address(self) -> str:
        """Where nodes find it: `http://HOST:PORT`."""
        assert self._server is not None
        return address_of(self._host, self._server)

    def offer(self, job: Job, directory: Path) -> Ticket:
        """Have a worker do this job: what it brings goes to `directory`, which exists.

        Offered again after a restart, an attempt goes on with the same ticket and worker.
        """
        if job.attempt not in self._offers:
            self._offers[job.attempt] = Offer(job, directory, self._store, self._terms)
        self._withdrawn.discard(job.attempt)
        secret = secret_of(self._key, job.attempt)
        return Ticket(f"{self.address}/{job.attempt}", secret)

    def withdraw(self, attempt: str) -> None:
        """Take nothing for this attempt from now on. Its worker hears of it and ends."""
        offer = self._offers.pop(attempt, None)
        self._withdrawn.add(attempt)
        if offer is not None:
            offer.close()

    def heard(self, attempt: str) -> float | None:
        """Seconds since the attempt's worker said anything, None when it never did."""
        offer = self._offers.get(attempt)
        last = offer.heard if offer is not None else None
        return None if last is None else time.monotonic() - last

    def admit(self, said: Credentials, method: str, target: str) -> Admitted | Answer:
        """Whose request this is, if it is genuine; nothing of its body was read yet."""
        found = _TARGET.fullmatch(target)
        if found is None:
            return Answer(HTTPStatus.NOT_FOUND)
        attempt = found["attempt"]
        secret = secret_of(self._key, attempt)
        if not is_genuine(secret, said, method, target):
            return Answer(HTTPStatus.UNAUTHORIZED)
        query = _query(found["query"] or "")
        offer = self._offers.get(attempt)
        refusal: Answer | None = None
        if attempt in self._withdrawn:
            refusal = Answer(HTTPStatus.GONE, b"the attempt was withdrawn")
        elif offer is None:
            refusal = Answer(HTTPStatus.SERVICE_UNAVAILABLE, b"the attempt is not on offer")
        elif query is None:
            refusal = Answer(HTTPStatus.BAD_REQUEST, b"that is no place in a file")
        elif not offer.fresh(said.nonce):
            refusal = Answer(HTTPStatus.FORBIDDEN, b"this was said before")
        return Admitted(secret, found["path"].split("/"), query or {}, said, offer, refusal)

    def _listening(self) -> _DepotServer:
        memory = self._state / "depot.port"
        wanted = self._port or _remembered(memory)
        try:
            server = _DepotServer((self._bind, wanted), self)
        except OSError as error:
            if self._port:
                raise cannot_listen(self._bind, self._port, error, _HINT) from error
            try:
                server = _DepotServer((self._bind, 0), self)
            except OSError as again:
                raise cannot_listen(self._bind, 0, again, _HINT) from again
        if not self._port:
            write_atomic(memory, f"{server.server_address[1]}\n")
        return server


class Admitted:
    """A genuine request: the secret that its answer is signed with, and who answers it."""

    def __init__(
        self,
        secret: str,
        parts: list[str],
        query: dict[str, int],
        said: Credentials,
        offer: Offer | None,
        refusal: Answer | None,
    ) -> None:
        self.secret, self.said, self._refusal = secret, said, refusal
        self._parts, self._query, self._offer = parts, query, offer

    def answer(self, method: str, body: bytes) -> Answer:
        if self._refusal is not None or self._offer is None:
            return self._refusal or Answer(HTTPStatus.NOT_FOUND)
        return self._offer.answer(method, self._parts, self._query, body, self.said)


def _query(text: str) -> dict[str, int] | None:
    """`from=N`, or nothing; None for anything else."""
    if not text:
        return {}
    pairs = parse_qsl(text)
    if len(pairs) == 1 and pairs[0][0] == "from" and re.fullmatch(r"[0-9]{1,15}", pairs[0][1]):
        return {"from": int(pairs[0][1])}
    return None


def _remembered(path: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        port = int(path.read_text("ascii"))
        return port if 0 < port < 1 << 16 else 0
    return 0


class _DepotServer(Server):
    def __init__(self, where: tuple[str, int], depot: Depot) -> None:
        self.depot = depot
        super().__init__(where, _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "farm"
    sys_version = ""
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True  # an answer is two writes: the second would wait for an ACK
    server: _DepotServer

    def do_GET(self) -> None:
        with self.server.answering():
            self._answer()

    do_POST = do_PUT = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody asked."""

    def _answer(self) -> None:
        said = read_credentials(dict(self.headers.items()))
        if said is None:
            return self._unsigned(HTTPStatus.UNAUTHORIZED)
        admitted = self.server.depot.admit(said, self.command, self.path)
        if isinstance(admitted, Answer):
            return self._unsigned(admitted.status)
        body = self._body()
        if body is None:
            return self._unsigned(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        if not digest_is(body, said):  # damaged on the way, or worse: worth another try
            return self._unsigned(HTTPStatus.BAD_REQUEST)
        try:
            answer = admitted.answer(self.command, body)
        except OSError as error:
            text = f"the coordinator cannot take it: {error.strerror or error}"
            answer = Answer(HTTPStatus.INSUFFICIENT_STORAGE, text.encode())
        if answer.file is not None:
            return self._send_file(answer.file, answer.start)
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(answer.body)))
        mac = answer_mac(admitted.secret, said.nonce, answer.status, answer.body)
        self.send_header(ANSWERED, mac)
        self.end_headers()
        self.wfile.write(answer.body)
        return None

    def _body(self) -> bytes | None:
        """The request's body, all of it; None when it has no length, or one too large."""
        length = self.headers.get("Content-Length") or "0"
        chunked = "Transfer-Encoding" in self.headers
        if chunked or not re.fullmatch(r"[0-9]{1,12}", length) or int(length) > MOST_BODY:
            return None
        body = self.rfile.read(int(length))
        if len(body) != int(length):
            self.close_connection = True  # cut short: the digest will not be right either
        return body

    def _unsigned(self, status: HTTPStatus) -> None:
        """An answer to nobody in particular; what else it had to say is not read."""
        self.close_connection = True
        self.send_response(status)
        if status == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", SCHEME)
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()

    def _send_file(self, path: Path, start: int) -> None:
        try:
            file = path.open("rb")
        except OSError:
            return self._unsigned(HTTPStatus.UNPROCESSABLE_ENTITY)
        with file:
            size = path.stat().st_size
            start = min(start, size)
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Length", str(size - start))
            self.send_header("Content-Type", "application/octet-stream")
            self.end_headers()
            self.wfile.flush()
            if size > start:
                sent = self.connection.sendfile(file, start, size - start)
                if sent != size - start:
                    self.close_connection = True
        return None

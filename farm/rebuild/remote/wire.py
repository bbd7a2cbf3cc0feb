"""What depot and node say to one another, and how each knows that it was the other.

Every request and every answer is authenticated with HMAC-SHA256 under a secret that belongs to
one attempt: request line, body and a nonce that is good for once; an answer names the nonce that
it answers. Files are not signed on the way down: the node knows their sha256. Nothing is
encrypted, so whoever sees the wires sees sources and packages; nobody else can change them.

Writing is idempotent by itself (bytes are appended at a place that is named, a file is taken by
its digest), so that a request that is sent again, by the node or by somebody who saw it, adds
nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from farm.model import Job, Noun
from farm.store import write_atomic

SCHEME = "Farm1"  # of the Authorization header
ANSWERED = "Farm-Answer"  # header of an answer: its HMAC
MOST_BODY = 4 << 20  # bytes of one request or of one answer that is no file
PIECE = 1 << 20  # bytes of a log or of a result that are sent at a time
LOGS = ("phases", "notes", "build.log", "root.log")
_KEY_BYTES = 32
TICKET = "FARM_TICKET"  # in the environment of `farm work http://…`: the attempt's secret

_WORD = r"[0-9a-f]{32}"
_CREDENTIALS = re.compile(
    rf"{SCHEME} worker=(?P<worker>{_WORD}),nonce=(?P<nonce>{_WORD}),"
    r"body=(?P<body>[0-9a-f]{64}),mac=(?P<mac>[0-9a-f]{64})"
)


@dataclass(frozen=True)
class Ticket:
    """What a node needs to do an attempt: where it is, and the secret that goes with it."""

    address: str
    secret: str = field(repr=False)


class Terms(Noun, frozen=True):
    """What the depot grants a worker: seconds that it may look for a coordinator that went away,
    bytes of files that it may keep for the next one."""

    patience: float
    cache: int


class Grown(Noun, frozen=True):
    """How long a log or a result is on the coordinator's side, in bytes."""

    size: int


class Whole(Noun, frozen=True):
    """All of a result has been sent: what it has to be."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Credentials:
    """What a request says of itself; `body` is the sha256 of what follows."""

    worker: str
    nonce: str
    body: str
    mac: str

    @property
    def header(self) -> str:
        return f"{SCHEME} worker={self.worker},nonce={self.nonce},body={self.body},mac={self.mac}"


def signed(secret: str, worker: str, method: str, target: str, body: bytes) -> Credentials:
    """Credentials for one request."""
    nonce, digest = secrets.token_hex(16), hashlib.sha256(body).hexdigest()
    return Credentials(
        worker, nonce, digest, _mac(secret, "ask", worker, nonce, method, target, digest)
    )


def read_credentials(headers: Mapping[str, str]) -> Credentials | None:
    """What the Authorization header says, None when it says nothing that could be true."""
    found = _CREDENTIALS.fullmatch(headers.get("Authorization") or "")
    return Credentials(**found.groupdict()) if found else None


def is_genuine(secret: str, said: Credentials, method: str, target: str) -> bool:
    """Whether whoever has the secret made this request."""
    mac = _mac(secret, "ask", said.worker, said.nonce, method, target, said.body)
    return hmac.compare_digest(mac, said.mac)


def answer_mac(secret: str, nonce: str, status: int, body: bytes) -> str:
    """What an answer carries, so that the node knows who gave it, and to what."""
    return _mac(secret, "answer", nonce, str(status), hashlib.sha256(body).hexdigest())


def _mac(secret: str, *words: str) -> str:
    text = "\n".join((SCHEME, *words)).encode("utf-8", "surrogateescape")
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


def secret_of(key: bytes, attempt: str) -> str:
    """The secret of an attempt: the same after the coordinator was started again."""
    return hmac.new(key, f"{SCHEME}\nattempt\n{attempt}".encode(), hashlib.sha256).hexdigest()


def depot_key(state: Path) -> bytes:
    """The key that all secrets are derived from: kept in the state directory, for us alone."""
    path = state / "depot.key"
    with contextlib.suppress(FileNotFoundError):
        key = path.read_bytes()
        if len(key) == _KEY_BYTES:
            return key
    key = os.urandom(_KEY_BYTES)
    write_atomic(path, key, mode=0o600)
    return key


def files_of(job: Job) -> tuple[str, ...]:
    """sha256 of every file of the store that doing this job takes, sorted."""
    wanted = {package.sha256 for package in job.lock.packages}
    if job.srpm:
        wanted.add(job.srpm)
    else:
        wanted |= {package.sha256 for package in job.setup_lock.packages}
        wanted |= {sha256 for _, sha256 in job.inputs}
    return tuple(sorted(wanted))

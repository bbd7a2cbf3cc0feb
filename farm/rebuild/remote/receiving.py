"""One attempt on offer: what its worker may fetch, and what it may bring.

Fenced: the first worker that claims the attempt has it, whatever others say; after `close`, and
after its outcome has come, nothing is taken any more.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from farm.errors import StateError
from farm.model import Built, Job, Outcome, T, WorkOrder, from_json, to_json
from farm.rebuild.claim import Claim, claimed, enter
from farm.rebuild.remote.wire import LOGS, Credentials, Grown, Terms, Whole, files_of
from farm.store import Store, sha256_of, write_atomic

_MOST_LOG = 1 << 30  # bytes of one log
_MOST_RESULTS = 4096  # files of one attempt
_MOST_BYTES = 64 << 30  # of all results of one attempt
_KEPT_FREE = 256 << 20  # bytes that an attempt may not take of the coordinator's disk
_MOST_NONCES = 1 << 20
_RESULT = re.compile(r"(?!.*\.src\.rpm$)[A-Za-z0-9][A-Za-z0-9._+~^-]{0,250}\.rpm")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Answer:
    """`body`, or `file` from byte `start` on."""

    status: HTTPStatus
    body: bytes = b""
    file: Path | None = None
    start: int = 0


def _no(status: HTTPStatus, why: str) -> Answer:
    return Answer(status, why.encode())


class Offer:
    """An attempt that a worker may do, and the directory that its work arrives in."""

    def __init__(self, job: Job, directory: Path, store: Store, terms: Terms) -> None:
        self.job, self.directory = job, directory
        self.heard: float | None = None  # time.monotonic() of the last word of its worker
        self._store, self._terms = store, terms
        self._files = frozenset(files_of(job))
        self._lock = threading.Lock()
        self._closed = False
        self._nonces: set[str] = set()
        self._whole: dict[str, Whole] = {}  # results that were found to be what they should be

    def close(self) -> None:
        """Take nothing from now on; what is being taken is waited for."""
        with self._lock:
            self._closed = True

    def fresh(self, nonce: str) -> bool:
        """Whether a request with this nonce was not seen before."""
        with self._lock:
            if nonce in self._nonces or len(self._nonces) >= _MOST_NONCES:
                return False
            self._nonces.add(nonce)
        return True

    def answer(
        self, method: str, parts: list[str], query: Mapping[str, int], body: bytes, who: Credentials
    ) -> Answer:
        """What becomes of a genuine request for `parts`, the words of its path."""
        takes: Callable[[], Answer] | None = None
        match method, parts:
            case "GET", ["files", name]:
                return self._file(name, query.get("from", 0), who)
            case "GET", ["job.json"]:
                takes = self._job
            case "POST", ["claim"]:
                takes = lambda: self._claim(body, who)  # noqa: E731
            case "POST", ["log", name] if name in LOGS:
                takes = lambda: self._append(  # noqa: E731
                    self.directory / name, query.get("from", 0), body, _MOST_LOG
                )
            case "POST", ["results", name] if is_result_name(name):
                takes = lambda: self._result_bytes(name, query.get("from", 0), body)  # noqa: E731
            case "PUT", ["results", name] if is_result_name(name):
                takes = lambda: self._result(name, body)  # noqa: E731
            case "PUT", ["outcome.json"]:
                takes = lambda: self._outcome(body)  # noqa: E731
        if takes is None:
            return _no(HTTPStatus.NOT_FOUND, "there is no such thing")
        with self._lock:
            if self._closed:
                return _no(HTTPStatus.GONE, "the attempt was withdrawn")
            if parts != ["claim"] and not self._is_ours(who):
                return _no(HTTPStatus.GONE, "another worker has this attempt, or none yet")
            self.heard = time.monotonic()
            if (self.directory / "outcome.json").exists() and parts != ["outcome.json"]:
                return _no(HTTPStatus.GONE, "the attempt has ended")
            return takes()

    def _is_ours(self, who: Credentials) -> bool:
        claim = claimed(self.directory)
        return claim is not None and claim.worker == who.worker

    def _claim(self, body: bytes, who: Credentials) -> Answer:
        """The first worker has the attempt; it may say so again, when an answer was lost."""
        claim = _read(Claim, body)
        if claim is None or claim.worker != who.worker:
            return _no(HTTPStatus.BAD_REQUEST, "that is no claim")
        if not enter(self.directory, claim) and not self._is_ours(who):
            return _no(HTTPStatus.GONE, "another worker began this attempt, or it was given up")
        return Answer(HTTPStatus.OK, to_json(self._terms))

    def _job(self) -> Answer:
        return Answer(HTTPStatus.OK, to_json(WorkOrder(self.job, "", "", keep=False)))

    def _file(self, name: str, start: int, who: Credentials) -> Answer:
        if not _SHA256.fullmatch(name) or name not in self._files:
            return _no(HTTPStatus.NOT_FOUND, "the job names no such file")
        with self._lock:
            if self._closed or (self.directory / "outcome.json").exists():
                return _no(HTTPStatus.GONE, "the attempt is over")
            if not self._is_ours(who):
                return _no(HTTPStatus.GONE, "another worker has this attempt, or none yet")
            self.heard = time.monotonic()
        path = self._store.path(name)
        if not path.is_file():
            return _no(HTTPStatus.UNPROCESSABLE_ENTITY, "the store has lost this file")
        return Answer(HTTPStatus.OK, file=path, start=start)

    def _append(self, path: Path, start: int, body: bytes, most: int) -> Answer:
        """Bytes at the end of a file, if that is where they belong; else where the end is."""
        size = path.stat().st_size if path.exists() else 0
        if start != size:
            return Answer(HTTPStatus.CONFLICT, to_json(Grown(size)))
        if size + len(body) > most:
            return _no(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{path.name} is too long")
        if body and not self._has_room(len(body)):
            return _no(HTTPStatus.INSUFFICIENT_STORAGE, "the coordinator's disk is full")
        path.parent.mkdir(exist_ok=True)
        with path.open("ab") as file:
            file.write(body)
        return Answer(HTTPStatus.OK, to_json(Grown(size + len(body))))

    def _result_bytes(self, name: str, start: int, body: bytes) -> Answer:
        drafts = self.directory / "incoming"
        others = [path for path in drafts.glob("*.rpm") if path.name != name]
        there = [*others, *(self.directory / "results").glob("*.rpm")]
        if len(there) >= _MOST_RESULTS:
            return _no(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "these are too many results")
        room = _MOST_BYTES - sum(path.stat().st_size for path in there)
        return self._append(drafts / name, start, body, room)

    def _result(self, name: str, body: bytes) -> Answer:
        whole = _read(Whole, body)
        if whole is None:
            return _no(HTTPStatus.BAD_REQUEST, "a digest and a size are wanted")
        draft = self.directory / "incoming" / name
        target = self.directory / "results" / name
        if self._has(name, whole):
            return Answer(HTTPStatus.OK)
        if not _is(draft, whole):
            draft.unlink(missing_ok=True)
            return _no(HTTPStatus.UNPROCESSABLE_ENTITY, f"{name} came with other bytes")
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        target.parent.mkdir(exist_ok=True)
        draft.chmod(0o644)
        draft.replace(target)
        self._whole[name] = whole
        return Answer(HTTPStatus.OK)

    def _has(self, name: str, whole: Whole) -> bool:
        """Whether a result is here; each is read once, as that may take longer than a worker
        waits for an answer."""
        if self._whole.get(name) != whole and _is(self.directory / "results" / name, whole):
            self._whole[name] = whole
        return self._whole.get(name) == whole

    def _outcome(self, body: bytes) -> Answer:
        path = self.directory / "outcome.json"
        if path.exists():
            if path.read_bytes() == body:
                return Answer(HTTPStatus.OK)
            return _no(HTTPStatus.GONE, "the attempt has ended")
        outcome = _read(Outcome, body)  # type: ignore[arg-type]
        if outcome is None:
            return _no(HTTPStatus.BAD_REQUEST, "that is no outcome that this farm understands")
        for package in outcome.packages if isinstance(outcome, Built) else ():
            name = package.nevra.filename
            whole = Whole(package.sha256, package.size)
            if not is_result_name(name) or not self._has(name, whole):
                return _no(HTTPStatus.UNPROCESSABLE_ENTITY, f"{name} is missing")
        shutil.rmtree(self.directory / "incoming", ignore_errors=True)
        write_atomic(path, body)
        return Answer(HTTPStatus.OK)

    def _has_room(self, size: int) -> bool:
        status = os.statvfs(self.directory)
        return status.f_bavail * status.f_frsize - size > _KEPT_FREE


def is_result_name(name: str) -> bool:
    """Whether a file may be called so: as a binary package is, and nothing that a path is."""
    return _RESULT.fullmatch(name) is not None


def _is(path: Path, whole: Whole) -> bool:
    try:
        return path.stat().st_size == whole.size and sha256_of(path) == whole.sha256
    except FileNotFoundError:
        return False


def _read(kind: type[T], body: bytes) -> T | None:
    with contextlib.suppress(StateError):
        return from_json(kind, body)
    return None


def digest_is(body: bytes, said: Credentials) -> bool:
    """Whether a body is the one that the request was signed with."""
    return hashlib.sha256(body).hexdigest() == said.body

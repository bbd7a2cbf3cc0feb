"""Statements in envelopes: signed once for each statement and key, verified, kept.

The signature's date comes with the statement: the same statement and key give the same bytes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from farm.errors import StateError
from farm.model import from_json, to_json
from farm.model.envelope import Envelope
from farm.publish.keys import Key, KeyRing
from farm.store import write_atomic


@dataclass(frozen=True)
class Unsigned:
    """A statement as bytes, and the date that its signature is to have (seconds since 1970)."""

    content: bytes
    at: int

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


class Envelopes:
    """The signed envelopes below the state directory, by key and by sha256 of the statement."""

    def __init__(self, state: Path) -> None:
        self.root = state / "signed"

    def path(self, sha256: str, key: Key) -> Path:
        """Where the envelope of a statement is or would be."""
        return self.root / key.fingerprint / sha256[:2] / f"{sha256[2:]}.intoto.json"

    def add(
        self, statements: Iterable[Unsigned], ring: KeyRing, key: Key
    ) -> tuple[Mapping[str, Path], int]:
        """Envelopes by sha256 of the statement, every signature verified; how many were made now.

        One that was kept and is not good any more is made again. Raises PublishError when the
        key cannot sign.
        """
        wanted = {statement.sha256: statement for statement in statements}
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as signers:
            try:
                fresh = sum(signers.map(lambda s: self._add(s, ring, key), wanted.values()))
            except BaseException:
                signers.shutdown(cancel_futures=True)
                raise
        return {sha256: self.path(sha256, key) for sha256 in wanted}, fresh

    def _add(self, statement: Unsigned, ring: KeyRing, key: Key) -> bool:
        path = self.path(statement.sha256, key)
        if _is_good(path, statement, ring, key):
            return False
        bare = Envelope.around(statement.content)
        signature = ring.sign_bytes(bare.signed_bytes, key, at=statement.at)
        ring.verify_bytes(signature, bare.signed_bytes, key, "a statement of provenance")
        write_atomic(path, to_json(bare.signed(key.fingerprint, signature)), mode=0o444)
        return True


def _is_good(path: Path, statement: Unsigned, ring: KeyRing, key: Key) -> bool:
    try:
        envelope = from_json(Envelope, path.read_bytes(), where=str(path))
        if envelope.content != statement.content:
            return False
        signatures = list(_by(key, envelope))
    except (OSError, StateError):
        return False
    return len(signatures) == 1 and ring.is_signed_by(key, signatures[0], envelope.signed_bytes)


def _by(key: Key, envelope: Envelope) -> Iterator[bytes]:
    for signature in envelope.signatures:
        if signature.keyid == key.fingerprint:
            yield signature.binary

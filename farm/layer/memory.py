"""What reading the layer remembers between runs: checksums, static looks, last commits.

All of it can be made again, so a damaged or foreign file is simply not used.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import msgspec

from farm.errors import StateError
from farm.layer import static
from farm.model import from_json, to_json
from farm.store import sha256_of, write_atomic

_VERSION = 1  # raised when a look or a record changes its meaning
_RACY = 2_000_000_000  # ns: a file this young may be written again without a new time


class _Seen(msgspec.Struct, frozen=True, array_like=True):
    size: int
    mtime: int
    ctime: int
    inode: int
    sha256: str


class _Record(msgspec.Struct):
    version: int = _VERSION
    files: dict[str, _Seen] = {}
    looks: dict[str, static.Look] = {}
    prefix: str = ""
    head: str = ""
    touched: dict[str, str] = {}


class Memory:
    """Remembered facts, loaded from a file and saved when something new was learnt."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._record = _Record()
        self._used: dict[str, _Seen] = {}
        self._looked: dict[str, static.Look] = {}
        self._changed = False
        with contextlib.suppress(OSError, StateError):
            record = from_json(_Record, path.read_bytes())
            if record.version == _VERSION:
                self._record = record

    def sha256(self, path: Path) -> str:
        """Of a file's bytes; read again only when the file is another than last time."""
        stat = path.stat()
        key = str(path)
        seen = self._record.files.get(key)
        state = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
        if seen is not None and (seen.size, seen.mtime, seen.ctime, seen.inode) == state:
            self._used[key] = seen
            return seen.sha256
        digest = sha256_of(path)
        if time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > _RACY:
            self._used[key] = _Seen(*state, digest)
            self._changed = True
        return digest

    def look(self, path: Path, sha256: str) -> static.Look:
        """The static look at a spec, by its checksum."""
        known = self._record.looks.get(sha256)
        if known is None:
            known = static.look(path.read_text("utf-8", "replace"))
            self._changed = True
        self._looked[sha256] = known
        return known

    def walked(self, prefix: str) -> tuple[str, dict[str, str]]:
        """Up to which commit the history below `prefix` was walked, and who touched what last."""
        if self._record.prefix != prefix:
            return "", {}
        return self._record.head, self._record.touched

    def walked_to(self, prefix: str, head: str, touched: dict[str, str]) -> None:
        """Remember a walk of the history below `prefix`."""
        if (prefix, head) != (self._record.prefix, self._record.head):
            self._record.prefix, self._record.head = prefix, head
            self._record.touched = touched
            self._changed = True

    def save(self) -> None:
        """Write what was used this time; a state directory that is not writable is no obstacle."""
        if not self._changed:
            return
        record = _Record(
            files=self._used,
            looks=self._looked,
            prefix=self._record.prefix,
            head=self._record.head,
            touched=self._record.touched,
        )
        with contextlib.suppress(OSError):
            write_atomic(self._path, to_json(record))

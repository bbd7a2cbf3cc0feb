"""Files by sha256 that a node keeps for the next attempt; several workers share it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from farm.errors import MachineError
from farm.store import Store, sha256_of

_TRIES = 3  # for a file that comes with other bytes

Fetch = Callable[[BinaryIO], None]


class FileCache:
    """Below `directory`, at most about `limit` bytes; the least recently used go first.

    An attempt gets links of its own, so that nothing is taken away from one that runs.
    """

    def __init__(self, directory: Path, limit: int) -> None:
        self._store, self._limit = Store(directory / "files"), limit
        self._drafts = directory / "drafts"
        self._lock = directory / "lock"

    def bring(self, sha256: str, into: Store, fetch: Fetch) -> None:
        """Have a file in `into`, from here or fetched; `fetch` appends to what there is of it.

        Raises MachineError for one that comes with other bytes, and what `fetch` raises.
        """
        if sha256 in into:
            return
        for _ in range(_TRIES):
            if self._linked(sha256, into):
                return
            with self._draft(sha256) as draft:
                if sha256 in self._store:
                    continue  # another worker was faster
                with draft.open("r+b") as file:
                    fetch(file)
                if sha256_of(draft) == sha256:
                    draft.chmod(0o444)
                    target = self._store.path(sha256)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    draft.replace(target)
                else:
                    draft.unlink()
        if not self._linked(sha256, into):
            raise MachineError(
                f"a file of the job came {_TRIES} times with other bytes than its sha256 says",
                why=f"expected sha256 {sha256}",
                hint="The coordinator's store is damaged there: its next attempt mends it.",
            )

    def tidy(self) -> None:
        """Delete the least recently used files above the limit; one worker at a time does."""
        with self._alone() as ours:
            if not ours:
                return
            files = [path for path in self._files() if path.is_file()]
            states = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in files)
            total = sum(size for _, size, _ in states)
            for _, size, path in states:
                if total <= self._limit:
                    return
                path.unlink(missing_ok=True)
                total -= size

    def _files(self) -> Iterator[Path]:
        yield from self._store.root.glob("*/*")
        yield from self._drafts.glob("*")

    def _linked(self, sha256: str, into: Store) -> bool:
        """A link for the attempt, if the file is here and whole."""
        target = into.path(sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(self._store.path(sha256), target)
        except FileNotFoundError:
            return False
        if sha256_of(target) == sha256:
            os.utime(target)  # of the one file behind both names: it was used now
            return True
        target.unlink()
        self._store.drop(sha256)
        return False

    @contextlib.contextmanager
    def _draft(self, sha256: str) -> Iterator[Path]:
        """A file's beginning, ours until the block ends."""
        self._drafts.mkdir(parents=True, exist_ok=True)
        path = self._drafts / sha256
        while True:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                if not _is_same(handle, path):
                    continue  # it took its place while we waited
                yield path
                return
            finally:
                os.close(handle)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield True
        except BlockingIOError:
            yield False
        finally:
            os.close(handle)


def _is_same(handle: int, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), path.stat())
    return False

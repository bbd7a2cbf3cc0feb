"""Content-addressed files and atomic writes.

A file in the store is named by its sha256 and never changes; it is made read-only, and what is
taken from it must be copied where it will be rewritten (rpmsign rewrites in place).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from farm.errors import StateError

_DAY = 86400
_Seen = tuple[int, int, int, int]  # size, times of writing and of change (ns), inode


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha512_of(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha512").hexdigest()


@contextlib.contextmanager
def atomic(path: Path, *, mode: int = 0o644, durable: bool = True) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well; `durable`:
    even if the machine loses power right after."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:80]}.")
    os.close(handle)
    draft = Path(name)
    try:
        yield draft
        draft.chmod(mode)
        if durable:
            with draft.open("rb") as written:
                os.fsync(written.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_atomic(
    path: Path, content: bytes | str, *, mode: int = 0o644, durable: bool = True
) -> None:
    """Replace `path` by `content`; a reader sees the old bytes or the new ones, never a part."""
    with atomic(path, mode=mode, durable=durable) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)


def forget_oldest(paths: Iterable[Path], number: int) -> None:
    """Delete all but the newest `number` of these files: answers that can be found again."""
    there: list[tuple[float, Path]] = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            there.append((path.stat().st_mtime, path))
    for _, path in sorted(there)[: max(0, len(there) - number)]:
        path.unlink(missing_ok=True)


def mark_used(path: Path) -> None:
    """Note at a file's time that it was used today: `farm gc` takes those that nobody uses."""
    with contextlib.suppress(OSError):
        if time.time() - path.stat().st_mtime > _DAY:
            os.utime(path)


def claim(lock: int) -> str:
    """Take an open lock file for this process, without waiting.

    "" when it is ours now, else the id of the process that has it, as far as it is known. It
    stays ours until the descriptor `lock` is closed.
    """
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return ""


def is_claimed(path: Path) -> bool:
    """Whether a process of this machine has claimed a lock file; asked without touching it."""
    try:
        inode = str(path.stat().st_ino)
        locks = Path("/proc/locks").read_text("ascii")
    except OSError:
        return False
    # number: kind ADVISORY WRITE pid major:minor:inode first last
    held = (words[words.index("WRITE") + 2] for line in locks.splitlines()
            if "WRITE" in (words := line.split()) and "->" not in words)  # fmt: skip
    return any(place.rpartition(":")[2] == inode for place in held)


class Checked:
    """Which files of a store were found to be what they are called, so that each is read once.

    Remembered is the state of the file; a file that was written to since is read again. Decay
    that no file system notices is found when the bytes are used.
    """

    def __init__(self, store: Store, memory: Path) -> None:
        self._store, self._memory = store, memory
        self._changed = False
        self._known: dict[str, _Seen] = {}
        with contextlib.suppress(OSError, msgspec.MsgspecError, UnicodeError, RecursionError):
            self._known = msgspec.json.decode(memory.read_bytes(), type=dict[str, _Seen])

    def sound(self, sha256: str, *, anew: bool = False) -> bool:
        """Whether the store has this file, whole; `anew` reads it whatever is remembered."""
        try:
            found = self._store.path(sha256).stat()
            state = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
            if not anew and self._known.get(sha256) == state:
                return True
            if sha256_of(self._store.path(sha256)) != sha256:
                return False
        except OSError:
            return False
        self._known[sha256] = state
        self._changed = True
        return True

    def save(self) -> None:
        """Write what was learnt; a state directory that is not writable is no obstacle."""
        if self._changed:
            there = {k: v for k, v in self._known.items() if k in self._store}
            with contextlib.suppress(OSError):
                write_atomic(self._memory, msgspec.json.encode(there))


class Store:
    """Files by sha256 below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, sha256: str) -> Path:
        """Where the file is or would be."""
        return self.root / sha256[:2] / sha256[2:]

    def __contains__(self, sha256: str) -> bool:
        return self.path(sha256).exists()

    def drop(self, sha256: str) -> bool:
        """Take a damaged file out; whether there was one."""
        try:
            self.path(sha256).unlink()
        except FileNotFoundError:
            return False
        return True

    def get(self, sha256: str) -> Path:
        """The file's path. Raises StateError when it is not in the store."""
        path = self.path(sha256)
        if not path.exists():
            raise StateError(
                f"the store has lost the file with sha256 {sha256[:16]}…",
                hint="Run `farm build --all`: what is missing is made or fetched again.",
            )
        return path

    def put(self, source: Path, *, sha256: str | None = None, link: bool = False) -> str:
        """Take a file in and return its sha256; `link` allows a hard link to `source`.

        Raises StateError when `sha256` is given and the bytes are others.
        """
        actual = sha256_of(source)
        if sha256 is not None and actual != sha256:
            raise StateError(
                f"{source.name} has other bytes than expected",
                why=f"expected sha256 {sha256}\n     got sha256 {actual}",
            )
        target = self.path(actual)
        if target.exists():
            if target.stat().st_size == source.stat().st_size:
                return actual
            target.unlink()  # cut short
        target.parent.mkdir(parents=True, exist_ok=True)
        if link:
            with contextlib.suppress(OSError):
                os.link(source, target)
                return actual
        with atomic(target, mode=0o444) as draft:
            shutil.copyfile(source, draft)
        return actual

    def put_bytes(self, content: bytes) -> str:
        """Take bytes in and return their sha256."""
        actual = hashlib.sha256(content).hexdigest()
        if actual not in self:
            write_atomic(self.path(actual), content, mode=0o444)
        return actual

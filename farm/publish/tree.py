"""The published tree: where things are in it, how they get there whole, and how to read it.

    <release>              → trees/<release>/<n>-<snapshot>: the one pointer that moves
    snapshots/<release>/<snapshot>/    packages, metadata, snapshot.json; nothing else, for ever
    trees/<release>/<n>-<snapshot>/    hard links to that snapshot, a mirrorlist for each
                                       repository, and what clients of the snapshots before
                                       may still ask for
    results/               build records by sha256
    locks/, archive/       the build roots of what is published: locks, and the packages in them
    attestations/          what strangers signed who made the packages of a snapshot again
    RPM-GPG-KEY-<key>      the public key

Both kinds are immutable. The mirrorlist names its own tree, not the pointer: a client that
asks for repomd.xml and then for its signature gets both from one tree, whatever moves between.
It does not name the snapshot either: dnf asks for the mirrorlist once more before it downloads
packages, and may by then be led to the next tree, which has to hold the packages that the
metadata it already has names.

Everything is made in `.drafts/`, in the same file system, and renamed when it is whole.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from farm.errors import PublishError, StateError
from farm.model import Former, Noun, Result, Snapshot, Waiver, from_json, to_json
from farm.store import claim, write_atomic

_TREE = re.compile(r"(\d{6,})-([0-9a-f]+)")
_RESERVED = frozenset(
    {"snapshots", "trees", "results", "locks", "archive", "attestations", "status", "index.html"}
)
_RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


class Replaced(Noun, frozen=True):
    """A tree, and the snapshot in it, that was published until `at` (seconds since 1970)."""

    tree: str
    snapshot: str
    at: int


class History(Noun, frozen=True):
    """What a published tree is: its snapshot, since when, and what was published before it."""

    tree: str
    snapshot: str
    since: int
    address: str
    earlier: tuple[Replaced, ...] = ()
    waivers: tuple[Waiver, ...] = ()  # checks that the move was forced through


class Publication:
    """The directory that sites see."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def snapshot_directory(self, release: str, snapshot: str) -> Path:
        """Where a snapshot is or would be."""
        return self.root / "snapshots" / release / snapshot

    def pointer(self, release: str) -> Path:
        """The symlink that sites follow."""
        return self.root / release

    def current(self, release: str) -> Snapshot | None:
        """The snapshot that the release points at, None before the first."""
        history = self.history(release)
        return self.read(release, history.snapshot) if history else None

    def history(self, release: str) -> History | None:
        """Of the tree that the release points at, None before the first."""
        path = self.pointer(release) / "history.json"
        if not path.exists():
            return None
        return from_json(History, path.read_bytes(), where=str(path))

    def read(self, release: str, snapshot: str) -> Snapshot:
        """One snapshot's own description."""
        path = self.snapshot_directory(release, snapshot) / "snapshot.json"
        try:
            return from_json(Snapshot, path.read_bytes(), where=str(path))
        except FileNotFoundError as error:
            raise StateError(
                f"the snapshot {snapshot} of {release} has no snapshot.json"
            ) from error

    def snapshots(self, release: str | None = None) -> tuple[Snapshot, ...]:
        """Every snapshot of a release (None: of all), oldest first."""
        found = [
            from_json(Snapshot, path.read_bytes(), where=str(path))
            for path in sorted((self.root / "snapshots").glob(f"{release or '*'}/*/snapshot.json"))
        ]
        return tuple(sorted(found, key=lambda snapshot: (snapshot.created, snapshot.id)))

    def results(self) -> tuple[Result, ...]:
        """Every build record in the tree, oldest first.

        Raises StateError for one that is not what its name says.
        """
        found = [self.result(name) for name in self.result_names()]
        return tuple(sorted(found, key=lambda result: (result.finished, result.key)))

    def result_names(self) -> tuple[str, ...]:
        """The sha256 of every build record in the tree."""
        paths = sorted((self.root / "results").glob("*/*.json"))
        return tuple(path.parent.name + path.stem for path in paths if path.name[0] != ".")

    def result(self, sha256: str) -> Result:
        """One build record. Raises StateError when it is not what its name says."""
        path = self.result_path(sha256)
        text = path.read_bytes()
        if hashlib.sha256(text).hexdigest() != sha256:
            raise StateError(f"the build record {path} is damaged", hint="Remove it.")
        return from_json(Result, text, where=str(path))

    def formers(self) -> tuple[Former, ...]:
        """What stays of build records that were removed, oldest first. Raises StateError."""
        path = self._formers
        if not path.exists():
            return ()
        return from_json(tuple[Former, ...], path.read_bytes(), where=str(path))

    def add_formers(self, results: Iterable[Result]) -> None:
        """Keep what has to stay of build records that are about to be removed."""
        every = {*self.formers(), *map(Former.of, results)}
        ordered = sorted(every, key=lambda former: (former.finished, former.step))
        write_atomic(self._formers, to_json(tuple(ordered)))

    @property
    def _formers(self) -> Path:
        return self.root / "results" / "former.json"

    def result_path(self, sha256: str) -> Path:
        """Where the build record with that digest is or would be."""
        return self.root / "results" / sha256[:2] / f"{sha256[2:]}.json"

    @contextlib.contextmanager
    def writing(self, release: str) -> Iterator[Path]:
        """Ours alone to write until the block ends; gives an empty draft directory.

        What an interrupted run left behind is removed first. Raises PublishError when
        another farm is publishing, and for a full disk.
        """
        if release in _RESERVED or not _RELEASE.fullmatch(release):
            raise PublishError(f"a release cannot be called {release!r}")
        self.root.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _take(lock, self.root)
            drafts = self.root / ".drafts"
            shutil.rmtree(drafts, ignore_errors=True)
            drafts.mkdir()
            try:
                yield Path(tempfile.mkdtemp(dir=drafts))
            finally:
                shutil.rmtree(drafts, ignore_errors=True)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise PublishError(
                    "the disk is full: nothing was published",
                    why=f"{error.filename or self.root}: {error.strerror}",
                    hint=f"Free some space in the file system of {self.root} and publish again.",
                ) from error
            raise
        finally:
            os.close(lock)

    def add_snapshot(self, draft: Path, release: str, snapshot: str) -> Path:
        """Give a finished draft its place."""
        target = self.snapshot_directory(release, snapshot)
        target.parent.mkdir(parents=True, exist_ok=True)
        make_durable(draft)
        draft.rename(target)
        sync_directory(target.parent)
        return target

    def add_result(self, result: Result, sha256: str) -> bool:
        """Keep a build record; whether it is new."""
        path = self.result_path(sha256)
        if path.exists():
            return False
        write_atomic(path, to_json(result), mode=0o444)
        return True

    def add_file(self, name: str, text: str) -> None:
        """Put a text beside the releases, unless it is there already."""
        path = self.root / name
        if not path.exists() or path.read_bytes() != text.encode():
            write_atomic(path, text)

    def next_tree(self, release: str, snapshot: str) -> str:
        """A name for the next tree. Raises PublishError when the pointer is not ours to move."""
        self._pointed_at(release)
        home = self.root / "trees" / release
        home.mkdir(parents=True, exist_ok=True)
        matches = [match for path in home.iterdir() if (match := _TREE.fullmatch(path.name))]
        return f"{max((int(match[1]) for match in matches), default=0) + 1:06d}-{snapshot}"

    def move_pointer(self, draft: Path, release: str, history: History) -> None:
        """Make a finished draft of a tree the one that sites see, in one step."""
        home = self.root / "trees" / release
        before = self._pointed_at(release)
        target = home / history.tree
        make_durable(draft)
        draft.rename(target)
        sync_directory(home)
        link = self.root / f".pointer-{release}"
        link.unlink(missing_ok=True)
        link.symlink_to(target.relative_to(self.root))
        link.replace(self.pointer(release))
        sync_directory(self.root)
        # The tree before stays in any case: a request may be on its way through it.
        kept = {target.name, before, *(replaced.tree for replaced in history.earlier)}
        for path in home.iterdir():
            if path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)

    def _pointed_at(self, release: str) -> str:
        pointer = self.pointer(release)
        if pointer.is_symlink():
            return pointer.readlink().name
        if pointer.exists():
            raise PublishError(
                f"{pointer} is in the way: it is no symlink of farm's",
                hint="Move it elsewhere and publish again.",
            )
        return ""


def link_tree(source: Path, target: Path, *, skip: frozenset[str] = frozenset()) -> None:
    """Hard links in `target` for all files below `source` that are not there yet."""
    for directory, _, files in os.walk(source):
        place = target / Path(directory).relative_to(source)
        place.mkdir(parents=True, exist_ok=True)
        for name in files:
            if name not in skip and not (place / name).exists():
                link_or_copy(Path(directory) / name, place / name)


def link_or_copy(source: Path, target: Path) -> None:
    """A hard link where the file system allows it, else a real copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        shutil.copy2(source, target)


def make_durable(directory: Path) -> None:
    """Have everything below a directory on the disk before it gets its name."""
    for name, _, files in os.walk(directory):
        for file in files:
            path = Path(name) / file
            if path.stat().st_nlink == 1:  # a link's content is on the disk already
                _sync(path, os.O_RDONLY)
        sync_directory(Path(name))


def sync_directory(path: Path) -> None:
    """Have a directory's names on the disk."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _take(lock: int, root: Path) -> None:
    holder = claim(lock)
    if holder:
        raise PublishError(
            f"another farm (process {holder}) is publishing into {root}",
            hint="Wait until it has ended, and publish again.",
        )

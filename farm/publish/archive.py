"""Locks and the packages that they name, kept as long as what was built with them is published.

Bases move on and drop old packages; with these a stranger can still fill the same build root.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from farm.errors import FarmError
from farm.model import Lock, LockedPackage
from farm.publish.provenance import lock_file
from farm.publish.tree import sync_directory
from farm.store import Store, atomic, sha256_of, write_atomic

Fetch = Callable[[Lock], None]  # every package of the base that a lock names into the store
_NAMED = 5


@dataclass(frozen=True)
class Archived:
    """What was kept now, and what could not be."""

    locks: int
    packages: int
    missing: tuple[LockedPackage, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What is worth saying, one sentence each."""
        if not self.missing:
            return ()
        names = [str(package.nevra) for package in self.missing[:_NAMED]]
        more = len(self.missing) - len(names)
        told = ", ".join(names) + (f" and {more} more" if more else "")
        return (
            f"the archive lacks {told}: neither the store nor the base has them any more, so "
            "whoever wants to make the packages again that were built with them has to find them "
            "elsewhere (`farm build --force PKG` builds with what there is now)",
        )


def archive_path(root: Path, sha256: str) -> Path:
    """Where a package of a published lock is kept, below the publication root."""
    return root / "archive" / sha256[:2] / f"{sha256[2:]}.rpm"


def locator(root: Path, store: Store) -> Callable[[str], Path | None]:
    """Finds a package of a build root by its sha256: in the store, else in the archive."""

    def locate(sha256: str) -> Path | None:
        places = (store.path(sha256), archive_path(root, sha256))
        return next((path for path in places if path.exists()), None)

    return locate


def keep(
    root: Path,
    locks: Iterable[Lock],
    store: Store,
    fetch: Fetch,
    *,
    archive: bool,
    sources: Iterable[LockedPackage] = (),
) -> Archived:
    """Publish these locks, and with `archive` every package that they name, and `sources`.

    Packages are hard links to the store's files, or copies where the file system cannot link;
    their checksums are compared first, and everything is on the disk when this returns. What
    the store has lost is fetched again, and what cannot be had is in the answer.
    """
    every = tuple(locks)
    written = sum([_keep_lock(root, lock) for lock in every])
    if not archive:
        return Archived(written, 0)
    named: dict[str, tuple[LockedPackage, Lock]] = {}
    for lock in (*every, Lock(tuple(sources))):
        for package in lock.packages:
            named.setdefault(package.sha256, (package, lock))
    wanted = {sha: found for sha, found in named.items() if not archive_path(root, sha).exists()}
    missing = [found for found in wanted.values() if not _is_whole(found[0].sha256, store)]
    for lock in {id(lock): lock for _, lock in missing}.values():
        try:
            fetch(lock)
        except FarmError:
            continue  # what did not come is found out below
    lost = {p.sha256: p for p, _ in missing if not _is_whole(p.sha256, store)}
    directories = set()
    for sha256 in wanted.keys() - lost.keys():
        target = archive_path(root, sha256)
        _link(store.get(sha256), target)
        directories.add(target.parent)
    for directory in directories:
        sync_directory(directory)
    return Archived(written, len(wanted) - len(lost), tuple(lost.values()))


def _keep_lock(root: Path, lock: Lock) -> bool:
    resource, content = lock_file(lock)
    path = root / resource.uri
    if path.exists():
        return False
    write_atomic(path, content, mode=0o444)
    sync_directory(path.parent)
    return True


def _is_whole(sha256: str, store: Store) -> bool:
    """Whether the store has the file; one with other bytes leaves it."""
    path = store.path(sha256)
    try:
        if sha256_of(path) == sha256:
            return True
        path.unlink()
    except FileNotFoundError:
        pass
    return False


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        with atomic(target, mode=0o444) as draft:
            shutil.copyfile(source, draft)
        return
    handle = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""What was read once from metadata, kept on disk: `.solv` files, required files and their owners.

Everything is keyed by the checksum of what it was made from, so nothing in it is ever stale; all
of it may be deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import createrepo_c
import solv

from farm.errors import RepositoryError, StateError
from farm.model import Package
from farm.plan.metadata import modules, primary, rpmmd
from farm.plan.metadata.pins import Pin, PinnedFile
from farm.plan.metadata.unpack import MetadataError, decompressed
from farm.store import atomic, mark_used, write_atomic

OF_LAYER = "the layer"  # where metadata is from that farm itself has made
_LAYER = "layer"  # directory of the layer's packages
_FORMAT = "5"  # raised when what a kept file holds changes

_REGULAR: set[str] = set()  # checksums of what was found regular: looking takes a second

Owners = dict[str, list[list[str]]]  # path → [name, checksum] of each package that has it


@dataclass(frozen=True)
class Kept:
    """Where a repository's `.solv` file is (or, `fresh`, is to be)."""

    path: Path
    fresh: bool


def load(
    pool: Any, repo: Any, pin: Pin, wanted: Iterable[str], arch: str, cache: Path, *,
    sources: bool = False,
) -> Kept:  # fmt: skip
    """Fill `repo` from its `.solv` file, or from metadata when there is none yet.

    `sources`: the source packages of the repository, otherwise all the others.
    """
    files = owned_files(pin, wanted, cache)
    kept = cache / f"{_key(pin, files, arch, sources)}.solv"
    if kept.is_file():
        source = solv.xfopen(str(kept))
        if source is not None and repo.add_solv(source):
            mark_used(kept)
            return Kept(kept, fresh=False)
        repo.empty()  # written by another libsolv, or damaged: made again
    file = pin.file("primary")
    assert file is not None  # `fetch_pin` refuses a repository without
    pieces = canonical(pin, content_of(pin, file), files, arch, sources=sources)
    _parse(pool, repo, primary.document(pieces), f"repository {pin.repository.id!r}")
    return Kept(kept, fresh=True)


def canonical(
    pin: Pin, content: bytes, files: Owners, arch: str, *, sources: bool = False
) -> list[bytes]:
    """Packages of this pin as libsolv is to see them: those that count, with these files."""
    keep = primary.excluding(pin.repository.excludes)
    keep = _streams(pin).filter(keep, pin.repository.module_hotfixes)
    if sources:
        keep = primary.only_sources
    by_owner: dict[str, list[str]] = {}
    for path, owners in files.items():
        for _, pkgid in owners:
            by_owner.setdefault(pkgid, []).append(path)
    try:
        return primary.canonical(content, keep=keep, files=by_owner)
    except MetadataError as error:
        raise damaged(pin, str(error)) from error


def parse(pool: Any, repo: Any, content: bytes, where: str) -> None:
    """Read a primary.xml into `repo`. Raises RepositoryError naming `where` it came from."""
    _parse(pool, repo, [content], where)


def _parse(pool: Any, repo: Any, parts: Iterable[bytes], where: str) -> None:
    handle = os.memfd_create("primary.xml")
    try:
        with open(handle, "wb", closefd=False) as file:
            for part in parts:
                primary.check_depth(part)
                file.write(part)
        os.lseek(handle, 0, os.SEEK_SET)
        source = solv.xfopen_fd("primary.xml", handle)
        if not repo.add_rpmmd(source, None, 0):
            raise _unreadable(where, str(pool.errstr))
    except MetadataError as error:
        raise _unreadable(where, str(error)) from error
    finally:
        os.close(handle)


def _unreadable(where: str, why: str) -> RepositoryError:
    hint = "`farm base update` fetches it again."
    if where == OF_LAYER:
        hint = "Remove `solv` in the state directory (`farm config` names it): it is made again."
    return RepositoryError(f"the metadata of {where} is damaged", why=why, hint=hint)


def write(repo: Any, path: Path, searched: Iterable[int]) -> None:
    """Keep `repo` with the files found in it, and note which were `searched` for: the search
    is a third of the time that opening takes."""
    data = repo.first_repodata()
    if data is not None:
        for number in searched:
            data.add_idarray(solv.SOLVID_META, solv.REPOSITORY_ADDEDFILEPROVIDES, number)
        data.internalize()
    with atomic(path) as draft:
        target = solv.xfopen(str(draft), "w")
        repo.write(target)
        target.flush()
        target.close()


def _key(pin: Pin, files: Owners, arch: str, sources: bool) -> str:
    repository = pin.repository
    parts = [
        _FORMAT,
        repository.excludes,
        repository.module_hotfixes,
        sorted(files.items()),
        sources,
    ]
    parts += [getattr(pin.file(kind), "checksum", "") for kind in ("primary", "modules")]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def required_files(pin: Pin, cache: Path) -> frozenset[str]:
    """Files that this repository's dependencies name and primary.xml does not list."""
    file = pin.file("primary")
    if file is None:
        raise damaged(pin, "it has no primary metadata")
    kept = cache / f"{_short(file)}.needs"
    known = _remembered(kept)
    if known is not None:
        return frozenset(known)
    found = primary.required_files(content_of(pin, file))
    write_atomic(kept, json.dumps(sorted(found)))
    return found


def owned_files(pin: Pin, wanted: Iterable[str], cache: Path) -> Owners:
    """Who in this repository has the wanted files; only those that somebody has."""
    file = pin.file("filelists")
    if file is None:
        return {}
    kept = cache / f"{_short(file)}.owners"
    known: Owners = _remembered(kept) or {}
    wanted = frozenset(wanted)
    missing = wanted.difference(known)
    if missing:
        known |= primary.owners(content_of(pin, file), missing)
        write_atomic(kept, json.dumps(known, sort_keys=True))
    return {path: known[path] for path in sorted(wanted) if known[path]}


def _remembered(path: Path) -> Any:
    try:
        known = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    mark_used(path)
    return known


def _streams(pin: Pin) -> modules.Streams:
    file = pin.file("modules")
    if file is None or pin.repository.module_hotfixes:
        return modules.Streams(frozenset(), frozenset())
    try:
        return modules.parse_modules(content_of(pin, file))
    except MetadataError as error:
        raise damaged(pin, str(error)) from error


def content_of(pin: Pin, file: PinnedFile) -> bytes:
    """A pinned metadata file, unpacked. Raises RepositoryError when it is damaged."""
    try:
        content = decompressed(pin.path(file), file.open_size)
        if file.kind == "primary" and file.checksum not in _REGULAR:
            regular = rpmmd.regular_primary(content)
            if regular is content:
                _REGULAR.add(file.checksum)
            return regular
        if file.kind == "filelists":
            return rpmmd.regular_filelists(content)
        return content
    except MetadataError as error:
        raise damaged(pin, str(error)) from error


def layer_metadata(package: Package, path: Path, cache: Path) -> bytes:
    """One `<package>` piece for a file of the layer, with all its files, kept by its sha256."""
    kept = cache / _LAYER / package.sha256[:2] / f"{package.sha256[2:]}-{_FORMAT}"
    with contextlib.suppress(FileNotFoundError):
        digest, _, piece = kept.read_bytes().partition(b"\n")
        if hashlib.sha256(piece).hexdigest().encode() == digest:  # a damaged one is made again
            return piece
    try:
        header = createrepo_c.package_from_rpm(str(path), location_href=package.nevra.filename)
    except (OSError, createrepo_c.CreaterepoCError) as error:
        raise StateError(
            f"{package.nevra} in the store is not an RPM", why=f"{path}: {error}"
        ) from error
    header.pkgId = package.sha256
    piece = createrepo_c.xml_dump_primary(header).strip().encode()
    piece = primary.with_files(piece, (entry[1] + entry[2] for entry in header.files))
    write_atomic(kept, hashlib.sha256(piece).hexdigest().encode() + b"\n" + piece)
    return piece


def _short(file: PinnedFile) -> str:
    return hashlib.sha256(f"{_FORMAT} {file.checksum}".encode()).hexdigest()[:32]


def damaged(pin: Pin, why: str) -> RepositoryError:
    """The error for metadata of this pin that cannot be read."""
    return RepositoryError(
        f"the metadata of repository {pin.repository.id!r} is damaged",
        why=f"{pin.addresses[0]}: {why}",
        hint="`farm base update` fetches it again.",
    )

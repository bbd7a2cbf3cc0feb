"""rpm-md of the base and of the layer → a libsolv pool, kept on disk as `.solv` files.

A universe is not changed once it is open; `knowing` and `Universe.open` make new ones. One
thread at a time may use it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import createrepo_c
import solv

from farm.errors import RepositoryError, StateError
from farm.model import Chroot, LockedPackage, Nevra, Package
from farm.plan import comps, modules, primary
from farm.plan.repodata import Pin, PinnedFile
from farm.plan.transfer import join
from farm.store import atomic, write_atomic

LAYER = "layer"
_FORMAT = "2"  # raised when what a .solv file holds changes

_WHOLE_PATH = (
    solv.Dataiterator.SEARCH_STRING
    | solv.Dataiterator.SEARCH_FILES
    | solv.Dataiterator.SEARCH_COMPLETE_FILELIST
)


@dataclass(frozen=True, eq=False)
class Universe:
    """All packages that a build root of `chroot` may hold: base and layer."""

    chroot: Chroot
    pins: tuple[Pin, ...]
    cache: Path
    layer: tuple[tuple[Package, Path], ...]
    extra_files: frozenset[str]  # paths asked for beyond what dependencies name
    pool: Any
    known_files: frozenset[str]  # paths outside primary.xml that were looked up
    memory: dict[Any, Any] = field(default_factory=dict)  # answers derived from the pool

    @classmethod
    def open(
        cls,
        chroot: Chroot,
        pins: Sequence[Pin],
        cache: Path,
        layer: Sequence[tuple[Package, Path]] = (),
        *,
        files: Iterable[str] = (),
    ) -> Universe:
        """Base pins and the layer's packages (unsigned files in the store) as one pool.

        `files` are paths that will be asked for though no dependency names them.
        Raises RepositoryError for damaged metadata, StateError for a file of the layer that is
        no RPM.
        """
        pool = solv.Pool()
        pool.setarch(chroot.arch)
        cache.mkdir(parents=True, exist_ok=True)
        extra = frozenset(path for path in files if primary.outside_primary(path))
        pieces = [_layer_metadata(package, path, cache) for package, path in layer]
        wanted = extra.union(*(primary.required_files(piece) for piece in pieces))
        wanted = wanted.union(*(_required_files(pin, cache) for pin in pins))
        order = {repository.id: index for index, repository in enumerate(chroot.repositories)}
        fresh = []
        for pin in pins:
            repo = pool.add_repo(pin.repository.id)
            repo.priority = -pin.repository.priority
            repo.subpriority = -order.get(pin.repository.id, len(order))
            kept = _load(pool, repo, pin, wanted, chroot.arch, cache)
            if kept is not None:
                fresh.append((repo, kept))
        if pieces:
            repo = pool.add_repo(LAYER)
            repo.priority, repo.subpriority = -99, 1
            _parse(pool, repo, primary.assembled(dict.fromkeys(pieces)), "the layer")
        searched = pool.addfileprovides_queue()
        pool.createwhatprovides()
        for repo, kept in fresh:
            _write(repo, kept, searched)
        return cls(chroot, tuple(pins), cache, tuple(layer), extra, pool, frozenset(wanted))

    def knowing(self, paths: Iterable[str]) -> Universe:
        """A universe that can tell who has these files; itself where it can already."""
        unknown = {path for path in paths if primary.outside_primary(path)} - self.known_files
        if not unknown:
            return self
        return Universe.open(
            self.chroot, self.pins, self.cache, self.layer, files=self.extra_files | unknown
        )

    def learn(self, paths: Iterable[str]) -> None:
        """Make these files capabilities that a job can ask for: libsolv does so by itself only
        for files that a package requires."""
        learnt = self.memory.setdefault("files", set())
        fresh = set(paths) - learnt
        for path in sorted(fresh):
            dep = self.pool.Dep(path)
            known = {solvable.id for solvable in self.pool.whatprovides(dep)}
            matches = self.pool.Dataiterator(solv.SOLVABLE_FILELIST, path, _WHOLE_PATH)
            for solvable in [match.solvable for match in matches]:
                if solvable.id not in known:
                    solvable.add_provides(dep)
        if fresh:
            learnt.update(fresh)
            self.pool.createwhatprovides()

    @cached_property
    def groups(self) -> comps.Groups:
        """Groups of the base, `@id` → packages; of two repositories, both packages."""
        merged: dict[str, set[str]] = {}
        for pin in self.pins:
            file = pin.file("group")
            if file is None:
                continue
            try:
                found = comps.parse_groups(_content(pin, file))
            except primary.MetadataError as error:
                raise _damaged(pin, str(error)) from error
            for name, members in found.items():
                merged.setdefault(name, set()).update(members)
        return {name: tuple(sorted(members)) for name, members in merged.items()}

    @cached_property
    def provided_names(self) -> tuple[str, ...]:
        """Names that some package has or provides, sorted: for suggestions."""
        names = set()
        for solvable in self.pool.solvables_iter():
            names.add(solvable.name)
            for dep in solvable.lookup_deparray(solv.SOLVABLE_PROVIDES):
                names.add(str(dep).split(" ", 1)[0])
        return tuple(sorted(name for name in names if not name.startswith("/")))

    def locked(self, solvable: Any) -> LockedPackage:
        """A package of the pool as a lock has it. Raises RepositoryError without a sha256."""
        checksum = solvable.lookup_checksum(solv.SOLVABLE_CHECKSUM)
        repository = solvable.repo.name
        if checksum is None or checksum.typestr() != "sha256":
            raise RepositoryError(
                f"repository {repository!r} names no sha256 of {solvable}",
                why="A lock identifies every package by its sha256.",
            )
        location = ""
        if repository != LAYER:
            href, _ = solvable.lookup_location()
            base = solvable.lookup_str(solv.SOLVABLE_MEDIABASE) or self._bases[repository]
            location = join(base, href)
        return LockedPackage(
            nevra=nevra_of(solvable),
            sha256=checksum.hex(),
            size=solvable.lookup_num(solv.SOLVABLE_DOWNLOADSIZE),
            repository=repository,
            location=location,
        )

    @cached_property
    def _bases(self) -> dict[str, str]:
        return {pin.repository.id: pin.addresses[0] for pin in self.pins}


def nevra_of(solvable: Any) -> Nevra:
    """The identity of a package of the pool."""
    epoch, colon, rest = solvable.evr.rpartition(":")
    version, _, release = rest.partition("-")
    return Nevra(solvable.name, int(epoch) if colon else 0, version, release, solvable.arch)


def _load(
    pool: Any, repo: Any, pin: Pin, wanted: Iterable[str], arch: str, cache: Path
) -> Path | None:
    """Fill `repo` from its `.solv` file, or from metadata: then where that file is to be."""
    files = _owned_files(pin, wanted, cache)
    kept = cache / f"{_key(pin, files, arch)}.solv"
    if kept.is_file():
        source = solv.xfopen(str(kept))
        if source is not None and repo.add_solv(source):
            return None
        repo.empty()  # written by another libsolv, or damaged: made again
    file = pin.file("primary")
    assert file is not None  # `fetch_pin` refuses a repository without
    keep = primary.excluding(pin.repository.excludes, primary.secondary(arch))
    keep = _streams(pin).filter(keep, pin.repository.module_hotfixes)
    by_owner: dict[str, list[str]] = {}
    for path, owners in files.items():
        for owner in owners:
            by_owner.setdefault(owner, []).append(path)
    try:
        content = primary.canonical(_content(pin, file), keep=keep, files=by_owner)
    except primary.MetadataError as error:
        raise _damaged(pin, str(error)) from error
    _parse(pool, repo, content, f"repository {pin.repository.id!r}")
    return kept


def _parse(pool: Any, repo: Any, content: bytes, where: str) -> None:
    try:
        primary.check_depth(content)
    except primary.MetadataError as error:
        raise RepositoryError(f"the metadata of {where} is damaged", why=str(error)) from error
    handle = os.memfd_create("primary.xml")
    try:
        with open(handle, "wb", closefd=False) as file:
            file.write(content)
        os.lseek(handle, 0, os.SEEK_SET)
        source = solv.xfopen_fd("primary.xml", handle)
        if not repo.add_rpmmd(source, None, 0):
            raise RepositoryError(f"the metadata of {where} is damaged", why=str(pool.errstr))
    finally:
        os.close(handle)


def _write(repo: Any, path: Path, searched: Iterable[int]) -> None:
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


def _key(pin: Pin, files: dict[str, list[str]], arch: str) -> str:
    repository = pin.repository
    parts = [
        _FORMAT,
        primary.secondary(arch),
        repository.excludes,
        repository.module_hotfixes,
        sorted(files.items()),
    ]
    parts += [getattr(pin.file(kind), "checksum", "") for kind in ("primary", "modules")]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _required_files(pin: Pin, cache: Path) -> frozenset[str]:
    """Files that this repository's dependencies name and primary.xml does not list."""
    file = pin.file("primary")
    if file is None:
        raise _damaged(pin, "it has no primary metadata")
    kept = cache / f"{_short(file)}.needs"
    if kept.is_file():
        return frozenset(kept.read_text("utf-8").splitlines())
    found = primary.required_files(_content(pin, file))
    write_atomic(kept, "\n".join(sorted(found)))
    return found


def _owned_files(pin: Pin, wanted: Iterable[str], cache: Path) -> dict[str, list[str]]:
    """Who in this repository has the wanted files; only those that somebody has."""
    file = pin.file("filelists")
    if file is None:
        return {}
    kept = cache / f"{_short(file)}.owners"
    known: dict[str, list[str]] = json.loads(kept.read_bytes()) if kept.is_file() else {}
    wanted = frozenset(wanted)
    missing = wanted.difference(known)
    if missing:
        known |= primary.owners(_content(pin, file), missing)
        write_atomic(kept, json.dumps(known, sort_keys=True))
    return {path: known[path] for path in sorted(wanted) if known[path]}


def _streams(pin: Pin) -> modules.Streams:
    file = pin.file("modules")
    if file is None or pin.repository.module_hotfixes:
        return modules.Streams(frozenset(), frozenset())
    return modules.parse_modules(_content(pin, file).decode("utf-8", "replace"))


def _content(pin: Pin, file: PinnedFile) -> bytes:
    try:
        return primary.decompressed(pin.path(file))
    except primary.MetadataError as error:
        raise _damaged(pin, str(error)) from error


def _layer_metadata(package: Package, path: Path, cache: Path) -> bytes:
    """One `<package>` piece for a file of the layer, with all its files, kept by its sha256."""
    kept = cache / LAYER / package.sha256[:2] / f"{package.sha256[2:]}-{_FORMAT}"
    if kept.is_file():
        return kept.read_bytes()
    try:
        header = createrepo_c.package_from_rpm(str(path), location_href=package.nevra.filename)
    except (OSError, createrepo_c.CreaterepoCError) as error:
        raise StateError(
            f"{package.nevra} in the store is not an RPM", why=f"{path}: {error}"
        ) from error
    header.pkgId = package.sha256
    piece = createrepo_c.xml_dump_primary(header).strip().encode()
    names = (directory + name for _, directory, name in (entry[:3] for entry in header.files))
    piece = primary.with_files(piece, (name for name in names))
    write_atomic(kept, piece)
    return piece


def _short(file: PinnedFile) -> str:
    return hashlib.sha256(f"{_FORMAT} {file.checksum}".encode()).hexdigest()[:32]


def _damaged(pin: Pin, why: str) -> RepositoryError:
    return RepositoryError(
        f"the metadata of repository {pin.repository.id!r} is damaged",
        why=f"{pin.addresses[0]}: {why}",
        hint="`farm base update` fetches it again.",
    )

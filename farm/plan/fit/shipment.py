"""The layer's packages as sites get them on one architecture: published, or about to be.

A published snapshot is read from its own rpm-md; what was read is kept by the checksum of the
metadata, and each package's element of primary.xml, with all its files, by its own checksum, so
that hundreds of snapshots which share most of their packages cost little.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import unescape

from farm.errors import StateError
from farm.model import Nevra, Noun, Package, from_json, to_json
from farm.plan.metadata import comps, primary, solvfiles
from farm.plan.metadata.pins import PinnedFile
from farm.plan.metadata.repodata import parse_repomd
from farm.plan.metadata.unpack import MetadataError, decompressed
from farm.store import sha256_of, write_atomic

_FORMAT = "1"  # raised when what a kept file holds changes
_SHIPPED = "shipped"  # directory of published packages' elements
_NAME = re.compile(rb"<name>([^<]*)</name>")
_ARCH = re.compile(rb"<arch>([^<]*)</arch>")
_VERSION = re.compile(rb"<version ([^>]*)/>")
_ATTRIBUTE = re.compile(rb'(\w+)="([^"]*)"')
_SOURCE = re.compile(rb"<rpm:sourcerpm>([^<]*)-[^<-]*-[^<-]*</rpm:sourcerpm>")
_PKGID = re.compile(rb'pkgid="([0-9a-f]+)"')
_CHECKSUM = re.compile(rb"<checksum[^>]*>\s*([0-9a-f]+)\s*</checksum>")
_FILE = re.compile(rb"<file[^>]*>([^<]*)</file>")
_DEBUG = re.compile(r".*-debug(info|source)")


@dataclass(frozen=True)
class Shipped:
    """One package; `load` gives its `<package>` element of primary.xml."""

    nevra: Nevra
    source: str  # name of the source package, "" where it is not known
    load: Callable[[], bytes] = field(repr=False, compare=False)
    declared: bool = False  # not built yet: its rebuild counter is still to be given

    @property
    def debug(self) -> bool:
        return _DEBUG.fullmatch(self.nevra.name) is not None


@dataclass(frozen=True)
class Shipment:
    """All packages of one architecture, debug packages among them.

    `name` says whose they are, as messages call it (`snapshot 59835c915c9b71dc`); `groups` are
    the ids of its comps groups.
    """

    name: str
    packages: tuple[Shipped, ...]
    groups: tuple[str, ...] = ()

    @property
    def metapackages(self) -> tuple[str, ...]:
        """Groups that are packages as well."""
        names = {package.nevra.name for package in self.packages}
        return tuple(sorted(names.intersection(self.groups)))


def published(snapshot: Path, arch: str, cache: Path, *, name: str = "") -> Shipment | None:
    """What a published snapshot's directory has for an architecture, None where nothing.

    Raises StateError when its metadata is damaged.
    """
    if not (snapshot / arch / "repodata" / "repomd.xml").is_file():
        return None
    packages: dict[Nevra, Shipped] = {}
    groups: tuple[str, ...] = ()
    for repository in (snapshot / arch, snapshot / arch / "debug"):
        if (repository / "repodata" / "repomd.xml").is_file():
            kept = _kept(repository, cache)
            groups += kept.groups
            for entry in kept.packages:
                load = partial(_element, repository, cache, entry.pkgid)
                packages.setdefault(entry.nevra, Shipped(entry.nevra, entry.source, load))
    ordered = tuple(packages[nevra] for nevra in sorted(packages))
    return Shipment(name or f"snapshot {snapshot.name}", ordered, groups)


def to_be_shipped(
    packages: Iterable[tuple[Package, Path]],
    cache: Path,
    *,
    pieces: Iterable[bytes] = (),
    groups: Sequence[str] = (),
    name: str = "what is to be published",
) -> Shipment:
    """Built packages (unsigned files in the store) and, as `pieces`, those not built yet.

    Raises StateError for a file that is no RPM.
    """
    every = {
        package.nevra: Shipped(
            package.nevra,
            package.source,
            partial(solvfiles.layer_metadata, package, path, cache),
        )
        for package, path in packages
    }
    for piece in pieces:
        nevra, source = identity(piece)
        every[nevra] = Shipped(nevra, source, partial(bytes, piece), declared=True)
    return Shipment(name, tuple(every[nevra] for nevra in sorted(every)), tuple(groups))


def identity(piece: bytes) -> tuple[Nevra, str]:
    """Identity and source package of a `<package>` element. Raises MetadataError."""
    name, arch, version = _NAME.search(piece), _ARCH.search(piece), _VERSION.search(piece)
    if name is None or arch is None or version is None:
        raise MetadataError("a package in it has no name, version or architecture")
    said = {key.decode(): _text(value) for key, value in _ATTRIBUTE.findall(version[1])}
    epoch = said.get("epoch") or "0"
    if not epoch.isdigit():
        raise MetadataError(f"a package in it has the epoch {epoch!r}")
    source = _SOURCE.search(piece)
    nevra = Nevra(
        _text(name[1]), int(epoch), said.get("ver", ""), said.get("rel", ""), _text(arch[1])
    )
    return nevra, _text(source[1]) if source else ""


class _Entry(Noun, frozen=True):
    nevra: Nevra
    source: str
    pkgid: str


class _Kept(Noun, frozen=True):
    """What is remembered of one repository."""

    packages: tuple[_Entry, ...]
    groups: tuple[str, ...]


def _kept(repository: Path, cache: Path) -> _Kept:
    files = _files(repository)
    sums = [f"{kind} {file.checksum}" for kind, (file, _) in sorted(files.items())]
    digest = hashlib.sha256("\n".join((_FORMAT, *sums)).encode()).hexdigest()
    record = cache / _SHIPPED / f"{digest[:32]}.json"
    # One that was cut short by a crash, or is another farm's, is made again.
    with contextlib.suppress(FileNotFoundError, StateError):
        return from_json(_Kept, record.read_bytes(), where=str(record))
    kept = _parsed(repository, cache)
    write_atomic(record, to_json(kept))
    return kept


def _files(repository: Path) -> dict[str, tuple[PinnedFile, Path]]:
    where = repository / "repodata"
    try:
        files = {
            file.kind: (file, repository / href)
            for file, href in parse_repomd((where / "repomd.xml").read_bytes())
        }
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise _damaged(where, str(error)) from error
    if "primary" not in files:
        raise _damaged(where, "it has no primary metadata")
    return files


def _parsed(repository: Path, cache: Path) -> _Kept:
    """Read the metadata and keep each package's element."""
    try:
        content = {kind: _verified(*found) for kind, found in _files(repository).items()}
        every: dict[str, list[str]] = {}
        for piece in primary.packages(content["filelists"]) if "filelists" in content else ():
            owner = _PKGID.search(piece)
            if owner is not None:
                every[owner[1].decode()] = [_text(path) for path in _FILE.findall(piece)]
        entries = []
        for piece in primary.packages(content["primary"]):
            pkgid = _CHECKSUM.search(piece)
            if pkgid is None:
                raise MetadataError("a package in it has no checksum")
            nevra, source = identity(piece)
            known = {_text(path) for path in _FILE.findall(piece)}
            target = _element_path(cache, pkgid[1].decode())
            if not target.is_file():
                more = set(every.get(pkgid[1].decode(), ())) - known
                write_atomic(target, primary.with_files(piece, more))
            entries.append(_Entry(nevra, source, pkgid[1].decode()))
        groups = comps.parse_groups(content["group"]) if "group" in content else {}
    except (OSError, MetadataError) as error:
        raise _damaged(repository / "repodata", str(error)) from error
    return _Kept(tuple(entries), tuple(sorted(groups)))


def _verified(file: PinnedFile, path: Path) -> bytes:
    algorithm, _, expected = file.checksum.partition(":")
    if algorithm == "sha256" and sha256_of(path) != expected:
        raise MetadataError(f"{path.name} has other bytes than repomd.xml says")
    return decompressed(path)


def _element(repository: Path, cache: Path, pkgid: str) -> bytes:
    path = _element_path(cache, pkgid)
    if not path.is_file():  # any part of the cache may be deleted
        _parsed(repository, cache)
    return path.read_bytes()


def _element_path(cache: Path, pkgid: str) -> Path:
    return cache / _SHIPPED / pkgid[:2] / f"{pkgid[2:]}-{_FORMAT}"


def _text(raw: bytes) -> str:
    return unescape(raw.decode("utf-8", "replace"), {"&quot;": '"'})


def _damaged(where: Path, why: str) -> StateError:
    return StateError(
        f"the published metadata in {where} is damaged",
        why=why,
        hint="A published snapshot never changes: restore this directory from a copy of the tree.",
    )

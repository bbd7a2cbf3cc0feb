"""What a snapshot holds, as far as its signed metadata vouch for it."""

from __future__ import annotations

import hashlib
import re
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from xml.etree import ElementTree

from farm.errors import Refused, Unverifiable
from farm.gpg import Signature
from farm.model import Nevra, SignedPackage, Snapshot
from farm.plan.metadata.pins import PinnedFile
from farm.plan.metadata.repodata import parse_repomd
from farm.plan.metadata.rpmmd import parse
from farm.plan.metadata.transfer import TransferError
from farm.plan.metadata.unpack import MetadataError, decompressed
from farm.store import sha256_of
from farm.stranger.mirror import Mirror, NotThere, repositories_of
from farm.stranger.trust import Key
from farm.verify import claims
from farm.verify.claims import Listed
from farm.verify.foreign import (
    LARGEST_SMALL,
    is_below,
    is_digest,
    is_nevra,
    read_sums,
    shown,
)

_LARGEST_REPOMD = 16 << 20
_LARGEST_METADATA = 1 << 30
_LARGEST_SUMS = 256 << 20
_SUMS = "SHA256SUMS"
_METADATA = "/repodata/repomd.xml"
_OWN_SIGNED = ("repodata/repomd.xml", "repodata/repomd.xml.asc")
_COMMON = "{http://linux.duke.edu/metadata/common}"
_REVISION = re.compile(rb"<revision>(\d{1,12})</revision>")


@dataclass(frozen=True)
class Publication:
    """A snapshot, its packages as the signed metadata of each repository name them.

    `sums` is the signed list of all its files: sha256 by path.
    """

    mirror: Mirror
    key: Key
    files: tuple[Listed, ...]
    sums: Mapping[str, str]

    @property
    def snapshot(self) -> Snapshot:
        return self.mirror.described

    @cached_property
    def table(self) -> Mapping[Nevra, SignedPackage]:
        return {p.package.nevra: p for p in self.snapshot.packages}


def read_publication(mirror: Mirror, key: Key) -> Publication:
    """Every repository of the snapshot, each signed with the key and all of one state.

    Raises Refused for metadata that are not what was signed, Unverifiable for what is not there.
    """
    sums = _signed_list(mirror, key)
    files: list[Listed] = []
    for name in every_repository(mirror.described, sums):
        files += _repository(mirror, key, name, sums)
    claims.check_named(sums, files)
    if not files:
        raise Unverifiable(f"{mirror.snapshot} holds no package")
    return Publication(mirror, key, tuple(files), sums)


def every_repository(snapshot: Snapshot, sums: Iterable[str]) -> tuple[str, ...]:
    """The repositories that a snapshot has to have, and those that its signed list of files names:
    of an architecture for which nothing was built yet there is one with the noarch packages."""
    named = [path.removesuffix(_METADATA) for path in sums if path.endswith(_METADATA)]
    return tuple(dict.fromkeys((*repositories_of(snapshot), *sorted(named))))


def _signed_list(mirror: Mirror, key: Key) -> Mapping[str, str]:
    """The signed list of all files, snapshot.json among them."""
    with tempfile.TemporaryDirectory(prefix="farm-metadata-") as place:
        sums, signature = Path(place) / _SUMS, Path(place) / f"{_SUMS}.asc"
        _have(mirror, _SUMS, sums, _LARGEST_SUMS)
        _have(mirror, f"{_SUMS}.asc", signature, LARGEST_SMALL)
        found = key.keys.signature(sums, signature)
        if found.fault:
            raise _unsigned(mirror, key, _SUMS, "the snapshot's list of files", found)
        try:
            listed = read_sums(sums.read_bytes())
        except ValueError as error:
            raise Refused(
                "the snapshot's list of files is signed, but not what farm writes",
                why=shown(error),
                hint="Tell the maintainers.",
            ) from error
    if listed.get("snapshot.json") != mirror.digest:
        raise Refused(
            "snapshot.json has other bytes than the signed list of the snapshot's files says",
            why=f"the list: sha256 {listed.get('snapshot.json', 'none')}\n"
            f"the file: sha256 {mirror.digest}",
            hint="It was changed, or is of another snapshot; another mirror may have it whole.",
        )
    return listed


def _repository(mirror: Mirror, key: Key, name: str, sums: Mapping[str, str]) -> Iterator[Listed]:
    with tempfile.TemporaryDirectory(prefix="farm-metadata-") as place:
        scratch = Path(place)
        repomd, signature = scratch / "repomd.xml", scratch / "repomd.xml.asc"
        _have(mirror, f"{name}/repodata/repomd.xml", repomd, _LARGEST_REPOMD)
        _have(mirror, f"{name}/repodata/repomd.xml.asc", signature, LARGEST_SMALL)
        found = key.keys.signature(repomd, signature)
        if found.fault:
            where = f"{name}/repodata/repomd.xml"
            raise _unsigned(mirror, key, where, f"{name}'s metadata", found)
        text = repomd.read_bytes()
        _check_state(mirror, name, text, sums)
        try:
            declared = list(parse_repomd(text))
        except (ValueError, TransferError) as error:
            raise _unreadable(name, "repomd.xml", error) from error
        for file, href in declared:
            _check_metadata(mirror, name, file, href, scratch / file.name)
        _check_rest(mirror, name, {href for _, href in declared}, sums, scratch / "rest")
        try:
            primary = next(file for file, _ in declared if file.kind == "primary")
            yield from _listed(name, decompressed(scratch / primary.name, primary.open_size))
        except (MetadataError, StopIteration) as error:
            raise _unreadable(name, "primary.xml", error) from error


def _have(mirror: Mirror, path: str, target: Path, limit: int) -> None:
    try:
        mirror.download(path, target, limit)
    except NotThere as error:
        raise Unverifiable(
            f"{path} of the snapshot cannot be had",
            why=str(error),
            hint="Without it nothing vouches for the packages: try again, or another mirror.",
        ) from error


def _unsigned(mirror: Mirror, key: Key, path: str, what: str, found: Signature) -> Refused:
    """Why a signature over the file at `path` (`what`, in words) does not count."""
    theirs = ", ".join(sorted(key.fingerprints))
    if found.fault == "other bytes":
        return Refused(
            f"the signature of {what} is not one over what is there now",
            why=f"{mirror.snapshot}/{path}: {shown(found.why)}",
            hint="It is the signature of another state (a stale one), or the file was changed.",
        )
    if found.fault == "unknown key":
        return Refused(
            f"{what}: signed with another key",
            why=f"signed by {shown(found.signer) or 'nobody known'}\n    the key: {theirs} "
            f"({key.origin})",
            hint="If the maintainers have a new key, name it with --key.",
        )
    if found.fault in ("expired", "revoked"):
        how = "has expired" if found.fault == "expired" else "was revoked"
        return Refused(
            f"the key that signed {what} {how}",
            why=f"{found.signer}: {shown(found.why)}",
            hint="Get the maintainers' present key, and name it with --key.",
        )
    return Refused(
        f"{what}: not signed",
        why=f"{path}.asc holds no signature that can be judged: {shown(found.why)}",
        hint="It was damaged or replaced; another mirror may have it whole.",
    )


def _check_state(mirror: Mirror, name: str, text: bytes, sums: Mapping[str, str]) -> None:
    """Signed metadata of an earlier state do not belong beside those of a later one."""
    match = _REVISION.search(text)
    created = mirror.described.created
    if match is None or int(match[1]) != created:
        found = _date(int(match[1])) if match else "of no date"
        raise Refused(
            f"{name}'s metadata are those of another state than the snapshot's",
            why=f"They are signed, but made {found}; the snapshot was made {_date(created)}.",
            hint="Somebody put an earlier state back, or changed snapshot.json.",
        )
    if sums.get(f"{name}/repodata/repomd.xml") != hashlib.sha256(text).hexdigest():
        raise Refused(
            f"{name}'s metadata are not the ones in the signed list of the snapshot's files",
            why="Both are signed, and of the same time.",
            hint="Somebody put metadata of another publication there: tell the maintainers.",
        )


def _date(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def _check_metadata(mirror: Mirror, name: str, file: PinnedFile, href: str, target: Path) -> None:
    if not is_below(href):
        raise _unreadable(name, "repomd.xml", ValueError(f"it names the place {shown(href)!r}"))
    _have(mirror, f"{name}/{href}", target, _LARGEST_METADATA)
    algorithm, _, expected = file.checksum.partition(":")
    with target.open("rb") as content:
        actual = hashlib.file_digest(content, algorithm).hexdigest()
    if actual != expected:
        raise Refused(
            f"{name}/{href} has other bytes than the signed repomd.xml says",
            why=f"repomd.xml: {algorithm} {expected}\n  the file: {algorithm} {actual}",
            hint="It was damaged or changed; another mirror may have it whole.",
        )


def _check_rest(
    mirror: Mirror, name: str, known: Collection[str], sums: Mapping[str, str], target: Path
) -> None:
    """Metadata that only clients of another kind read: the signed list has them all."""
    for path, expected in sums.items():
        own = path.removeprefix(f"{name}/")
        if own == path or not own.startswith("repodata/") or own in known or own in _OWN_SIGNED:
            continue
        _have(mirror, path, target, _LARGEST_METADATA)
        actual = sha256_of(target)
        if actual != expected:
            raise Refused(
                f"{path} has other bytes than the signed list of the snapshot's files says",
                why=f"the list: sha256 {expected}\nthe file: sha256 {actual}",
                hint="It was damaged or changed; another mirror may have it whole.",
            )


def _listed(name: str, primary: bytes) -> Iterator[Listed]:
    for package in parse(primary).iterfind(f"{_COMMON}package"):
        try:
            yield _one(name, package)
        except ValueError as error:
            raise MetadataError(f"a package in it {error}") from error


def _one(name: str, package: ElementTree.Element) -> Listed:
    version = package.find(f"{_COMMON}version")
    checksum = package.find(f"{_COMMON}checksum")
    location = package.find(f"{_COMMON}location")
    size = package.find(f"{_COMMON}size")
    if version is None or checksum is None or location is None or size is None:
        raise ValueError("lacks its version, checksum, place or size")
    nevra = Nevra(
        package.findtext(f"{_COMMON}name", ""),
        _number(version.get("epoch", "0")),
        version.get("ver", ""),
        version.get("rel", ""),
        package.findtext(f"{_COMMON}arch", ""),
    )
    sha256 = (checksum.text or "").strip()
    href = location.get("href", "")
    if not is_nevra(nevra) or checksum.get("type") != "sha256" or not is_digest(sha256):
        raise ValueError(f"has a name or a checksum that is none: {shown(nevra)}")
    if not is_below(href) or href.rpartition("/")[2] != nevra.filename or len(location.attrib) > 1:
        raise ValueError(f"lies in a place that does not fit its name: {shown(href)!r}")
    return Listed(name, href, nevra, sha256, _number(size.get("package", "0")))


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise ValueError(f"has {shown(text)!r} for a number")
    return int(text)


def _unreadable(name: str, file: str, error: Exception) -> Refused:
    return Refused(
        f"{name}'s {file} is signed, but not what farm writes",
        why=shown(error),
        hint="Tell the maintainers.",
    )

"""rpm-md of a base repository, kept as a pin: its metadata files and where it was found.

A release builds against one known state of its base. The pin keeps the metadata itself, because
mirrors forget; a package that a lock names is archived when it is locked (`download`).
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

import msgspec

from farm.errors import RepositoryError
from farm.model import Repository
from farm.plan.metadata.examine import examine
from farm.plan.metadata.gpg import signed_by
from farm.plan.metadata.pins import Pin, PinnedFile, keep_pin, local_path, read_pin
from farm.plan.metadata.rpmmd import parse
from farm.plan.metadata.transfer import TransferError, fetch, join
from farm.plan.metadata.unpack import MetadataError

_WANTED = ("primary", "filelists", "modules")
_LARGEST_REPOMD = 16 << 20
_LARGEST = 4 << 30  # bytes of a metadata file
_MOST_DIGITS = 15  # of a size in bytes
_MIRRORS_KEPT = 8
_CHECKSUMS = {
    "sha": "sha1", "sha1": "sha1", "sha224": "sha224", "sha256": "sha256",
    "sha384": "sha384", "sha512": "sha512", "md5": "md5",
}  # fmt: skip


def pin_repository(repository: Repository, directory: Path) -> Pin:
    """Fetch the repository's present metadata into `directory` and make it the pin there.

    Every file is verified against repomd.xml, that against the metalink's checksum and, with
    `repo_gpgcheck`, its signature. Files of the state pinned before stay until `prune`.
    Raises RepositoryError naming the repository and the addresses tried.
    """
    pin = fetch_pin(repository, directory)
    keep_pin(pin, directory)
    return pin


def fetch_pin(repository: Repository, directory: Path) -> Pin:
    """Like `pin_repository`, but what is pinned in `directory` stays pinned."""
    directory.mkdir(parents=True, exist_ok=True)
    failures: list[str] = []
    with tempfile.TemporaryDirectory(dir=directory, prefix=".new-") as scratch:
        draft = Path(scratch)
        bases, expected = _bases(repository, draft)
        for index, base in enumerate(bases):
            try:
                pin = _from(repository, base, bases[index:], expected, draft)
            except TransferError as error:
                failures.append(f"{base}: {error}")
                if len(failures) == _MIRRORS_KEPT:
                    break
                continue
            return _settled(pin, draft, directory)
    raise RepositoryError(
        f"the metadata of repository {repository.id!r} cannot be used",
        why="\n".join(failures),
        hint=_hint(repository, failures),
    )


def moved_on(pin: Pin) -> bool:
    """Whether the repository has another state by now. Raises RepositoryError when nobody says."""
    repository = pin.repository
    failures = []
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "repomd.xml"
        for base in repository.baseurl or pin.addresses:
            address = join(base, "repodata/repomd.xml")
            try:
                fetch(address, target, limit=_LARGEST_REPOMD, sslverify=repository.sslverify)
            except TransferError as error:
                failures.append(f"{address}: {error}")
                continue
            return hashlib.sha256(target.read_bytes()).hexdigest() != pin.revision
    raise RepositoryError(
        f"repository {repository.id!r} cannot be reached", why="\n".join(failures)
    )


def prune(directory: Path) -> None:
    """Remove the metadata of every state but the pinned one."""
    pin = read_pin(directory)
    for entry in directory.iterdir() if pin is not None else ():
        if entry.is_dir() and pin is not None and entry != Path(pin.directory):
            shutil.rmtree(entry, ignore_errors=True)


def _settled(pin: Pin, draft: Path, directory: Path) -> Pin:
    final = directory / pin.revision[:16]
    final.mkdir(exist_ok=True)  # fetched before: who reads it goes on with the same bytes
    for name in ("repomd.xml", *(file.name for file in pin.files)):
        (draft / name).replace(final / name)
    return msgspec.structs.replace(pin, directory=str(final))


def _bases(repository: Repository, scratch: Path) -> tuple[list[str], frozenset[str]]:
    """Base addresses in order of preference; sha256 of repomd.xml that a metalink allows."""
    if repository.baseurl:
        return [_resolved(address) for address in repository.baseurl], frozenset()
    address = repository.metalink or repository.mirrorlist
    target = scratch / "mirrors"
    try:
        fetch(address, target, limit=_LARGEST_REPOMD, sslverify=repository.sslverify)
        text = target.read_bytes()
        if repository.metalink or b"<metalink" in text[:2000]:
            bases, expected = parse_metalink(text)
        else:
            bases, expected = parse_mirrorlist(text.decode("utf-8", "replace")), frozenset()
    except (TransferError, ValueError) as error:
        raise RepositoryError(
            f"the list of mirrors of repository {repository.id!r} cannot be used",
            why=f"{address}: {error}",
            hint=_hint(repository),
        ) from error
    if local_path(address) is None:  # a stranger's list does not name files of this machine
        bases = [base for base in bases if local_path(base) is None]
    for name, value in reversed(repository.variables):  # sorted: a longer name comes first
        bases = [base.replace(f"${name}", value) for base in bases]
    if not bases:
        raise RepositoryError(
            f"the list of mirrors of repository {repository.id!r} names no mirror",
            why=address,
            hint=_hint(repository),
        )
    return bases, expected


def parse_metalink(text: bytes) -> tuple[list[str], frozenset[str]]:
    """Mirrors by preference, and the sha256 that repomd.xml may have (older ones included).

    Raises ValueError when it is no such document.
    """
    root = parse(text)
    mirrors: list[tuple[int, int, str]] = []
    sums: set[str] = set()
    for element in root.iter():
        tag = element.tag.rpartition("}")[2]
        content = (element.text or "").strip()
        if tag == "url" and content.endswith("/repodata/repomd.xml"):
            if content.startswith(("https://", "http://", "file://")):
                preference = _preference(element)
                plain = 0 if content.startswith("https://") else 1
                mirrors.append((plain, -preference, content.removesuffix("/repodata/repomd.xml")))
        elif tag == "hash" and element.get("type") == "sha256":
            sums.add(content.lower())
    return [base for _, _, base in sorted(mirrors)], frozenset(sums)


def _preference(element: ElementTree.Element) -> int:
    text = element.get("preference", "")
    return int(text) if text.isdecimal() and len(text) < _MOST_DIGITS else 0


def parse_mirrorlist(text: str) -> list[str]:
    """Base addresses, one on a line; `#` starts a comment."""
    lines = (line.strip() for line in text.splitlines())
    return [line.rstrip("/") for line in lines if re.match(r"(https?|file)://", line)]


def _from(
    repository: Repository, base: str, mirrors: list[str], expected: frozenset[str], draft: Path
) -> Pin:
    repomd = draft / "repomd.xml"
    try:
        fetch(
            join(base, "repodata/repomd.xml"),
            repomd,
            limit=_LARGEST_REPOMD,
            sslverify=repository.sslverify,
        )
    except TransferError as error:
        raise TransferError(f"repodata/repomd.xml: {error}") from error
    text = repomd.read_bytes()
    revision = hashlib.sha256(text).hexdigest()
    if expected and revision not in expected:
        raise TransferError("repomd.xml has none of the checksums that the metalink names")
    if repository.repo_gpgcheck:
        signature = draft / "repomd.xml.asc"
        fetch(join(base, "repodata/repomd.xml.asc"), signature, limit=_LARGEST_REPOMD)
        problem = signed_by(repository, repomd, signature)
        if problem:
            raise TransferError(f"repomd.xml is not signed as it should be: {problem}")
    try:
        declared = list(parse_repomd(text))
    except ValueError as error:
        raise TransferError(f"repomd.xml is damaged: {error}") from error
    files = []
    for file, href in declared:
        _fetch_verified(repository, file, href, [base, *mirrors[1:4]], draft)
        files.append(file)
    try:
        examine((f.kind, draft / f.name, f.open_size, f.open_checksum) for f in files)
    except MetadataError as error:
        raise TransferError(f"its metadata is damaged: {error}") from error
    addresses = tuple(dict.fromkeys([base, *mirrors]))[:_MIRRORS_KEPT]
    return Pin(repository, revision, addresses, tuple(files))


def parse_repomd(text: bytes) -> Iterator[tuple[PinnedFile, str]]:
    """The files that farm uses, with their addresses below the base.

    Raises ValueError, also when it is no repomd.xml or names no primary.xml.
    """
    if b"<html" in text[:2000].lower():
        raise ValueError("it is a web page (does this network want a log-in?)")
    root = parse(text)
    namespace = root.tag.rpartition("}")[0] + "}" if "}" in root.tag else ""
    if root.tag != f"{namespace}repomd":
        raise ValueError(f"it is a document of the kind {root.tag.rpartition('}')[2][:60]!r}")
    known: list[str] = []
    for data in root.iterfind(f"{namespace}data"):
        kind = named = data.get("type", "")
        if kind.startswith("group") and not kind.endswith("_zck"):
            kind = "group"
        if kind in known and kind in _WANTED:
            raise ValueError(f"it names {kind} twice")
        if kind in _WANTED or (kind == "group" and "group" not in known):
            yield _declared(data, kind, namespace)
        known.append(kind if kind == "group" else named)
    if "primary" not in known:
        instead = f", only {', '.join(known)[:200]}" if known else ""
        raise ValueError(f"it names no primary metadata{instead}")


def _declared(data: ElementTree.Element, kind: str, namespace: str) -> tuple[PinnedFile, str]:
    location = data.find(f"{namespace}location")
    checksum = _checksum(data, f"{namespace}checksum", kind)
    if location is None or not checksum or not location.get("href"):
        raise ValueError(f"{kind} has no location or checksum")
    href = location.get("href", "")
    base = location.get("{http://www.w3.org/XML/1998/namespace}base")
    plain = re.sub(r"[^\w.+-]", "_", href.rpartition("/")[2])[-80:]
    file = PinnedFile(
        kind,
        f"{kind}-{plain}",
        checksum,
        _integer(data, f"{namespace}size"),
        _integer(data, f"{namespace}open-size"),
        _checksum(data, f"{namespace}open-checksum", kind),
    )
    return file, join(base, href) if base else href


def _checksum(data: ElementTree.Element, tag: str, kind: str) -> str:
    element = data.find(tag)
    if element is None:
        return ""
    algorithm = element.get("type", "").strip().lower()
    if algorithm not in _CHECKSUMS:
        raise ValueError(f"{kind} has a checksum of the unknown type {algorithm!r}")
    return f"{_CHECKSUMS[algorithm]}:{(element.text or '').strip().lower()}"


def _integer(data: ElementTree.Element, tag: str) -> int:
    text = (data.findtext(tag) or "").strip()
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"it declares a size of {text[:40]} bytes")
    return int(text) if text.isdecimal() else 0


def _fetch_verified(
    repository: Repository, file: PinnedFile, href: str, bases: list[str], draft: Path
) -> None:
    """One metadata file from the first address that has the declared bytes."""
    reasons = []
    for base in bases:
        target = draft / file.name
        try:
            address = join(base, href)
        except TransferError as error:
            reasons.append(f"{file.kind}: {error}")
            continue
        try:
            limit = min(file.size or _LARGEST, _LARGEST)
            fetch(address, target, limit=limit, sslverify=repository.sslverify)
        except TransferError as error:
            reasons.append(f"{address}: {error}")
            continue
        algorithm, _, expected = file.checksum.partition(":")
        with target.open("rb") as content:
            actual = hashlib.file_digest(content, algorithm).hexdigest()
        if actual == expected:
            return
        size = target.stat().st_size
        what = f"{size} of {file.size} bytes" if file.size and size != file.size else "other bytes"
        reasons.append(
            f"{address}: it has {what} ({algorithm} {actual[:16]}…, not {expected[:16]}…)"
        )
    raise TransferError("\n".join(reasons))


def _resolved(address: str) -> str:
    """A local repository by its real path: what it is a link to may move."""
    path = local_path(address)
    try:
        return address.rstrip("/") if path is None else path.resolve().as_uri()
    except ValueError:  # no path either: said when it is fetched
        return address


def _hint(repository: Repository, failures: Sequence[str] = ()) -> str:
    if any(address.startswith("file:") for address in repository.baseurl):
        missing = any(os.strerror(errno.ENOENT) in failure for failure in failures)
        return "If it is the embedded base: `farm base build` makes it." if missing else ""
    if any("damaged" in failure for failure in failures):
        return "Try again when the mirror is whole; what was pinned before stays pinned."
    return (
        "Check the addresses (in the chroot file, or after --base), and whether this machine"
        " reaches them."
    )

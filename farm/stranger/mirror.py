"""A publication by its address: what a site pastes leads to one immutable snapshot.

Only plain names below the address are ever asked for, and nothing from the network leads to a
file of this machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from farm.errors import Refused, Unverifiable, UsageError
from farm.model import Snapshot
from farm.plan.metadata.pins import local_path
from farm.plan.metadata.transfer import TransferError, Unreachable, fetch
from farm.verify.foreign import (
    LARGEST_HISTORY,
    LARGEST_SMALL,
    LARGEST_SNAPSHOT,
    is_below,
    is_name,
    read_history,
    read_snapshot,
    shown,
)

_REPO_FILE = re.compile(r"farm-([A-Za-z0-9][A-Za-z0-9._+-]*)\.repo")
_LINK = re.compile(r'href="([^"<>&?#]{1,300})"')
_LARGEST_LISTING = 4 << 20
_UP = 3  # levels above the address in which a snapshot.json is looked for


class NotThere(Exception):
    """The publication does not give a file; the message says why."""


class Silent(NotThere):
    """Nobody answers at all: asking for another file there is of no use."""


@dataclass(frozen=True)
class Mirror:
    """One snapshot of a publication. `root` and `snapshot` are addresses without a last slash.

    `described` is its snapshot.json, read but not yet believed.
    """

    root: str
    snapshot: str
    described: Snapshot
    digest: str  # sha256 of snapshot.json
    _gone: list[str] = field(default_factory=list, compare=False)

    def of_snapshot(self, path: str, limit: int) -> bytes:
        """A small file of the snapshot. Raises NotThere."""
        with self._answering():
            return read(self.snapshot, path, limit)

    def of_root(self, path: str, limit: int) -> bytes:
        """A small file below the publication root. Raises NotThere."""
        with self._answering():
            return read(self.root, path, limit)

    def download(self, path: str, target: Path, limit: int) -> None:
        """A file of the snapshot. Raises NotThere."""
        with self._answering():
            download(self.snapshot, path, target, limit)

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        """Who has not answered, however often asked, is not asked for thousands of files more."""
        if self._gone:
            raise Silent(f"the mirror answers no more ({self._gone[0]})")
        try:
            yield
        except Silent as error:
            self._gone.append(str(error))
            raise


def read(base: str, path: str, limit: int) -> bytes:
    """The bytes of a file below an address, at most `limit`. Raises NotThere."""
    with tempfile.TemporaryDirectory(prefix="farm-read-") as scratch:
        target = Path(scratch) / "file"
        download(base, path, target, limit)
        return target.read_bytes()


def download(base: str, path: str, target: Path, limit: int) -> None:
    """A file below an address, at most `limit` bytes. Raises NotThere."""
    if not is_below(path):
        raise NotThere(f"{shown(path)!r} is no place below {base}")
    address = f"{base}/{quote(path, safe='/+~^@=,:!$()')}"
    try:
        fetch(address, target, limit=limit)
    except Unreachable as error:
        raise Silent(f"{address}: {shown(error)}") from error
    except TransferError as error:
        raise NotThere(f"{address}: {shown(error)}") from error


def find(url: str, release: str, snapshot: str = "") -> Mirror:
    """The publication behind what a site pastes, and its snapshot (or the one that is named).

    `url` is the publication root, a release's or a snapshot's address, a repository in one of
    these, or the `.repo` file; a directory of this machine stands for its file:// address.
    `release` is looked for first where the root has several. Raises UsageError when there is no
    publication, Unverifiable when it cannot be reached, Refused for a snapshot.json that is none.
    """
    if snapshot and not is_name(snapshot):
        raise UsageError(f"{shown(snapshot)!r} is not the id of a snapshot")
    try:
        return _found(_address(url), release, snapshot)
    except Silent as error:
        raise Unverifiable(
            "the mirror cannot be reached",
            why=str(error),
            hint="Check the address, and whether this machine reaches it; then run it again.",
        ) from error


def _found(address: str, release: str, snapshot: str) -> Mirror:
    match = _REPO_FILE.fullmatch(unquote(address.rpartition("/")[2]))
    if match is not None:
        return find_at(address.rpartition("/")[0], match[1], snapshot)
    reasons = []
    for place in _upwards(address):
        try:
            described, digest = _described(place)
        except Silent:
            raise
        except NotThere as error:
            reasons.append(str(error))
            continue
        root = _root_of(place, described)
        if root is not None:
            return find_at(root, described.release, snapshot or described.id)
        # somebody carries the release alone: no locks, no archive, no other snapshot
        return Mirror(place.rpartition("/")[0], place, described, digest)
    return find_at(address, _release_at(address, release, reasons), snapshot)


def _address(url: str) -> str:
    text = url.strip()
    if "://" not in text:
        path = Path(text)
        if not text or not path.exists():
            raise UsageError(
                f"{text!r} is neither an address nor a directory",
                hint="Say http://HOST/… as in the publication's .repo file.",
            )
        text = path.resolve().as_uri()
    try:
        parts = urlsplit(text)
        known = parts.scheme in ("http", "https", "file") and not (parts.query or parts.fragment)
        known = known and (parts.scheme == "file" or bool(parts.hostname))
        known = known and (parts.port or 0) >= 0
    except ValueError:
        known = False
    if not known:
        raise UsageError(
            f"{shown(text)!r} is not the address of a publication",
            hint="Say http://HOST/…, https://HOST/… or file:///DIRECTORY.",
        )
    return text.rstrip("/")


def _upwards(address: str) -> Iterator[str]:
    for _ in range(_UP):
        yield address
        address, slash, last = address.rpartition("/")
        if not slash or not last or address.endswith(("/", ":")):
            return


def _described(place: str) -> tuple[Snapshot, str]:
    """What a snapshot says of itself, and the sha256 of that file."""
    text = read(place, "snapshot.json", LARGEST_SNAPSHOT)
    if text.lstrip()[:1] == b"<":  # what many servers answer to any address at all
        raise NotThere(f"{place}/snapshot.json: it is a web page, no snapshot")
    return read_snapshot(text, f"{place}/snapshot.json"), hashlib.sha256(text).hexdigest()


def _root_of(place: str, described: Snapshot) -> str | None:
    """The publication root that a release's, tree's or snapshot's address lies below.

    What is wrong with the snapshot there is said when it is read.
    """
    for root in (place.rsplit("/", levels)[0] for levels in (1, 3)):
        below = f"snapshots/{described.release}/{described.id}/snapshot.json"
        try:
            if "://" in root:
                read(root, below, LARGEST_SNAPSHOT)
                return root
        except NotThere:
            continue
    return None


def find_at(root: str, release: str, snapshot: str = "") -> Mirror:
    """A release's snapshot (its present one when none is named) below a publication root.

    Raises Unverifiable when it is not there, Refused for a snapshot.json of another one.
    """
    if not snapshot:
        try:
            snapshot = _described(f"{root}/{release}")[0].id
        except NotThere as error:
            raise Unverifiable(
                f"there is no snapshot of {release} at {root}",
                why=str(error),
                hint="Ask the publication's maintainers, or name a snapshot with --snapshot.",
            ) from error
    place = f"{root}/snapshots/{release}/{snapshot}"
    try:
        described, digest = _described(place)
    except NotThere as error:
        raise Unverifiable(
            f"the snapshot {snapshot} of {release} is not at {root}",
            why=str(error),
            hint="It may have been removed; without --snapshot the present one is taken.",
        ) from error
    if (described.id, described.release) != (snapshot, release):
        raise Refused(
            f"{place} is not the snapshot that its address names",
            why=f"Its snapshot.json is of {described.id} of {described.release}.",
            hint="Somebody put another one there; ask the maintainers, or another mirror.",
        )
    return Mirror(root, place, described, digest)


def _release_at(root: str, wanted: str, reasons: list[str]) -> str:
    """Which release a publication root has: the usual one, else the only one in its listing."""
    try:
        read(root, f"farm-{wanted}.repo", LARGEST_SMALL)
        return wanted
    except Silent:
        raise
    except NotThere as error:
        reasons.append(str(error))
    found = _listed(root)
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"{root} publishes several releases: {', '.join(found)}",
            hint=f"Name one: --repo {root}/{found[0]}",
        )
    raise Unverifiable(
        f"there is no publication of farm's at {root}",
        why="\n".join(reasons[-3:]),
        hint="Name the address that the .repo file has, up to the release: "
        f"{root}/RELEASE; and check that this machine reaches it.",
    )


def _listed(root: str) -> list[str]:
    """The releases whose .repo file a directory, or a server's listing of it, shows."""
    path = local_path(root)
    if path is not None:
        names = [file.name for file in path.glob("farm-*.repo")] if path.is_dir() else []
    else:
        with tempfile.TemporaryDirectory(prefix="farm-read-") as scratch:
            target = Path(scratch) / "listing"
            try:
                fetch(f"{root}/", target, limit=_LARGEST_LISTING)
            except TransferError:
                return []
            text = target.read_bytes().decode("utf-8", "replace")
        names = [unquote(link).rpartition("/")[2] for link in _LINK.findall(text)]
    return sorted({match[1] for name in names if (match := _REPO_FILE.fullmatch(name))})


def earlier_snapshots(mirror: Mirror) -> tuple[str, ...]:
    """Ids of snapshots that the release was at before, the newest first. Raises NotThere."""
    text = mirror.of_root(f"{mirror.described.release}/history.json", LARGEST_HISTORY)
    return read_history(text)


def key_addresses(mirror: Mirror) -> Iterator[str]:
    """Where the repository says that its key is: beside it, then wherever its .repo file says."""
    try:
        text = mirror.of_root(f"farm-{mirror.described.release}.repo", LARGEST_SMALL)
    except NotThere:
        text = b""
    named = re.findall(rb"^gpgkey=(\S{1,2000})", text, flags=re.MULTILINE)
    addresses = [part.decode("utf-8", "replace") for part in dict.fromkeys(named)]
    for address in addresses:
        name = unquote(address.rpartition("/")[2])
        if is_name(name):
            yield f"{mirror.root}/{quote(name)}"
    for address in addresses:
        if address.startswith(("http://", "https://")):
            yield address


def repositories_of(snapshot: Snapshot) -> Iterator[str]:
    """The repositories that a snapshot with these packages has."""
    packages = [signed.package for signed in snapshot.packages]
    for arch in sorted({entry.arch for entry in snapshot.entries}):
        yield arch
        if any(p.debug and p.nevra.arch == arch for p in packages):
            yield f"{arch}/debug"
    if any(p.nevra.arch == "src" for p in packages):
        yield "source"

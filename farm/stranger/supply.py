"""The packages of a build root, by checksum, from whoever has them.

What was had once is kept below the cache directory by its checksum and asked for no more.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from xml.sax.saxutils import unescape

from farm.errors import RepositoryError, Unverifiable, UsageError
from farm.model import LockedPackage, Repository, digest_of
from farm.plan.metadata.pins import Pin, read_pin
from farm.plan.metadata.primary import packages as pieces_of
from farm.plan.metadata.repodata import moved_on, pin_repository, prune
from farm.plan.metadata.rpmmd import regular_primary
from farm.plan.metadata.transfer import TransferError, Unreachable, fetch, join
from farm.plan.metadata.unpack import MetadataError, decompressed
from farm.store import Store, sha256_of
from farm.verify.foreign import LARGEST_PACKAGE, shown

_WORKERS = 8
_NAMED = 12  # packages and reasons of a list
_CHECKSUM = re.compile(rb'<checksum type="sha256" pkgid="YES">([0-9a-f]{64})</checksum>')
_PLACE = re.compile(rb'<location (?:xml:base="([^"]*)" )?href="([^"]*)"')

Tell = Callable[[str], None]
Substitute = Callable[[LockedPackage], LockedPackage | None]


@dataclass(frozen=True)
class Delivered:
    """Where packages were had from (place → how many), and what was wrong with some."""

    origins: Mapping[str, int] = field(default_factory=dict)
    substituted: Mapping[str, LockedPackage] = field(default_factory=dict)  # by locked sha256


@dataclass(frozen=True)
class Missing:
    """A package that nobody gave, and what each place said."""

    package: LockedPackage
    reasons: tuple[str, ...]


@dataclass
class Supply:
    """Packages for build roots, brought into `store`.

    `archive` is the address below which the publication keeps what its locks name. `bases` are
    repositories (addresses or directories) in which packages are found by checksum; their
    metadata are kept below `home`. `tell` hears of every file that was not what it should be.
    """

    store: Store
    archive: str
    bases: Sequence[str]
    home: Path
    tell: Tell
    _found: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    _whole: set[str] = field(default_factory=set)
    _asked: set[str] = field(default_factory=set)
    _silent: set[str] = field(default_factory=set)  # servers
    _opened: bool = False

    def have(
        self, packages: Iterable[LockedPackage], substitute: Substitute = lambda package: None
    ) -> Delivered:
        """Bring every package into the store; what those came from that were not asked for yet.

        `substitute` is asked for what is nowhere: it answers another package, in the store
        already, that installs the same files, or None. Raises Unverifiable with the list of
        those that cannot be had.
        """
        wanted = {package.sha256: package for package in packages}
        missing = [package for package in wanted.values() if not self._is_kept(package)]
        origins: dict[str, int] = {}
        kept = wanted.keys() - {package.sha256 for package in missing} - self._asked
        if kept:
            origins["what was kept from before"] = len(kept)
        self._asked.update(wanted)
        if not missing:
            return Delivered(origins)
        self._open_bases()
        self.store.root.mkdir(parents=True, exist_ok=True)
        lost: list[Missing] = []
        substituted: dict[str, LockedPackage] = {}
        with (
            tempfile.TemporaryDirectory(dir=self.store.root, prefix=".incoming-") as scratch,
            ThreadPoolExecutor(_WORKERS) as pool,
        ):
            tasks = [pool.submit(self._obtain, package, Path(scratch)) for package in missing]
            try:
                answers = [task.result() for task in tasks]
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        for package, (origin, reasons) in zip(missing, answers, strict=True):
            instead = None if origin else substitute(package)
            if instead is not None:
                substituted[package.sha256] = instead
            elif not origin:
                lost.append(Missing(package, reasons))
                continue
            place = origin or "the published, signed copies"
            origins[place] = origins.get(place, 0) + 1
        if lost:
            raise _nowhere(lost, len(wanted), bool(self.bases))
        return Delivered(origins, substituted)

    def _is_kept(self, package: LockedPackage) -> bool:
        """Whether the store has it whole; looked at once in a run."""
        if package.sha256 in self._whole:
            return True
        path = self.store.path(package.sha256)
        try:
            if sha256_of(path) == package.sha256:
                self._whole.add(package.sha256)
                return True
        except FileNotFoundError:
            return False
        self.tell(f"what was kept of {package.nevra} is damaged: it is fetched again")
        path.unlink()
        return False

    def _obtain(self, package: LockedPackage, scratch: Path) -> tuple[str, tuple[str, ...]]:
        """Where a package was had from ("" for nowhere), and why not from other places."""
        reasons = []
        target = scratch / package.sha256
        for place, address in self._places(package):
            server = urlsplit(address).netloc
            if server in self._silent:
                reasons.append(f"{address}: {server} does not answer")
                continue
            try:
                fetch(address, target, limit=min(package.size or LARGEST_PACKAGE, LARGEST_PACKAGE))
            except TransferError as error:
                if isinstance(error, Unreachable):
                    self._silent.add(server)
                reasons.append(f"{address}: {shown(error)}")
                continue
            actual = sha256_of(target)
            if actual == package.sha256:
                self.store.put(target, sha256=actual, link=True)
                self.store.path(actual).chmod(0o444)
                return place, tuple(reasons)
            reasons.append(f"{address}: other bytes (sha256 {actual[:16]}…)")
            self.tell(
                f"{package.nevra} from {place} has other bytes than the lock says "
                f"(sha256 {actual[:16]}…, not {package.sha256[:16]}…): {address}"
            )
        return "", tuple(reasons)

    def _places(self, package: LockedPackage) -> Iterator[tuple[str, str]]:
        yield from self._found.get(package.sha256, ())
        if package.location.startswith(("http://", "https://")):
            yield "the addresses in the lock", package.location
        sha256 = package.sha256
        yield "the publication's archive", f"{self.archive}/{sha256[:2]}/{sha256[2:]}.rpm"

    def _open_bases(self) -> None:
        """Read the metadata of the bases, once, when something is missing at all."""
        if self._opened:
            return
        self._opened = True
        for address in self.bases:
            try:
                for sha256, place in self._index(_base_address(address)):
                    self._found.setdefault(sha256, []).append((address, place))
            except (RepositoryError, MetadataError) as error:
                why = getattr(error, "why", "") or str(error)
                self.tell(f"the base {address} cannot be used: {shown(why)}")

    def _index(self, url: str) -> Iterator[tuple[str, str]]:
        repository = Repository(id="base", baseurl=(url,))
        directory = self.home / digest_of(url)[:16]
        pin = read_pin(directory, repository)
        if pin is None or moved_on(pin):
            pin = pin_repository(repository, directory)
            prune(directory)
        yield from _places_in(pin, url)


def _places_in(pin: Pin, url: str) -> Iterator[tuple[str, str]]:
    """sha256 → address of every package that a repository has by a sha256."""
    primary = pin.file("primary")
    if primary is None:
        return
    content = regular_primary(decompressed(pin.path(primary), primary.open_size))
    for piece in pieces_of(content):
        checksum, place = _CHECKSUM.search(piece), _PLACE.search(piece)
        if checksum is None or place is None:
            continue
        base, href = (unescape((part or b"").decode("utf-8", "replace")) for part in place.groups())
        try:
            yield checksum[1].decode(), join(join(url, base) if base else url, href)
        except TransferError:
            continue


def _base_address(address: str) -> str:
    if "://" in address:
        return address.rstrip("/")
    directory = Path(address).resolve()
    if (directory / "repodata" / "repomd.xml").is_file():
        return directory.as_uri()
    raise UsageError(
        f"{address!r} is no repository",
        why=f"there is no repodata/repomd.xml in {directory}",
        hint="`createrepo_c DIR` makes one of a directory of packages.",
    )


def check_bases(bases: Iterable[str]) -> None:
    """Raises UsageError for a directory that is no repository, before any work is done."""
    for address in bases:
        _base_address(address)


def _nowhere(lost: Sequence[Missing], wanted: int, had_bases: bool) -> Unverifiable:
    lines = []
    for missing in lost[:_NAMED]:
        lines.append(f"{missing.package.nevra} ({shown(missing.package.repository)})")
        lines += [f"  {reason}" for reason in missing.reasons[-3:]]
    if len(lost) > _NAMED:
        lines.append(f"and {len(lost) - _NAMED} more")
    return Unverifiable(
        f"{len(lost)} of the {wanted} packages of its build root cannot be had",
        why="\n".join(lines),
        hint="Name a repository that has them"
        + (" as well" if had_bases else "")
        + ": --base URL-or-directory; a base that has moved on has them in its own archive.",
    )

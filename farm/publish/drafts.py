"""Making a snapshot and the tree that serves it, as drafts; nothing here is visible to sites."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from farm.config import Publish
from farm.errors import PublishError
from farm.model import Group, Nevra, Package, SignedPackage, Snapshot, Waiver, digest_of, to_json
from farm.publish.comps import comps_xml
from farm.publish.gates import Contents
from farm.publish.keys import Key, KeyRing
from farm.publish.metadata import Entry, write_metadata
from farm.publish.signing import SignedCopy
from farm.publish.sums import NAME, write_sums
from farm.publish.tree import History, Publication, Replaced, link_or_copy, link_tree
from farm.store import Store, write_atomic

_FORMAT = 2  # raised when the same packages would be laid out in another way
# Files of a snapshot that name its state; those of earlier snapshots are not carried along.
_OWN = frozenset(
    {"repomd.xml", "repomd.xml.asc", "repomd.xml.key", "snapshot.json", NAME, f"{NAME}.asc"}
)


# unsigned sha256 → what lies beside a package: the ending of its name, where the bytes are
Beside = Mapping[str, Mapping[str, Path]]


class Earlier:
    """What was published before, in any release."""

    def __init__(self, tree: Publication, store: Store) -> None:
        self._tree = tree
        self._store = store
        self._snapshots = tree.snapshots()
        self._signed: dict[tuple[str, str], tuple[Snapshot, SignedPackage]] = {}
        self.packages: dict[Nevra, Package] = {}
        for snapshot in self._snapshots:
            for signed in snapshot.packages:
                self.packages.setdefault(signed.package.nevra, signed.package)
                self._signed[signed.package.sha256, signed.key] = (snapshot, signed)

    def has(self, release: str, snapshot: str) -> bool:
        """Whether that snapshot is in the tree."""
        return any((s.release, s.id) == (release, snapshot) for s in self._snapshots)

    def copy(self, package: Package, key: Key) -> SignedCopy | None:
        """The published copy that this key signed, None when there is none."""
        found = self._signed.get((package.sha256, key.fingerprint))
        path = found and self._path(*found)
        return SignedCopy(found[1], path) if found and path else None

    def locate(self, package: Package) -> Path:
        """A package's bytes: as built, from the store, else a published copy, signed.

        Raises StateError when they are nowhere.
        """
        if package.sha256 not in self._store:
            for (sha256, _), found in self._signed.items():
                path = self._path(*found) if sha256 == package.sha256 else None
                if path:
                    return path
        return self._store.get(package.sha256)

    def _path(self, snapshot: Snapshot, signed: SignedPackage) -> Path | None:
        directory = self._tree.snapshot_directory(snapshot.release, snapshot.id)
        place = location(signed.package)
        patterns = (f"source/{place}", f"*/{place}", f"*/debug/{place}")
        return next((path for pattern in patterns for path in directory.glob(pattern)), None)


def snapshot_id(
    release: str,
    contents: Contents,
    groups: Sequence[Group],
    key: Key,
    builds: Sequence[str] = (),
) -> str:
    """Decided by the unsigned bytes in each repository, the groups, the key, and the builds
    (digests of their records) that the provenance tells of."""
    repositories = tuple(
        (name, tuple((str(p.nevra), p.sha256) for p in packages))
        for name, packages in sorted(contents.repositories.items())
    )
    return digest_of(
        (_FORMAT, release, repositories, tuple(groups), key.fingerprint, tuple(builds))
    )[:16]


def is_binary(repository: str) -> bool:
    """Whether it is an architecture's main repository, not one of debug or source packages."""
    return repository != "source" and "/" not in repository


def location(package: Package) -> str:
    """A package's place in its repository."""
    return f"Packages/{package.nevra.name[0].lower()}/{package.nevra.filename}"


def draft_snapshot(
    draft: Path,
    snapshot: Snapshot,
    contents: Contents,
    copies: Mapping[str, SignedCopy],
    groups: Sequence[Group],
    ring: KeyRing,
    key: Key,
    beside: Beside,
) -> None:
    """Lay out every repository of a snapshot: packages and what lies `beside` them, metadata,
    signatures, snapshot.json.

    `copies` has a signed copy for each unsigned sha256. Raises PublishError for a copy whose
    bytes are not the ones that were signed.
    """
    public = ring.public(key)
    comps = comps_xml(groups)
    known: dict[Path, str] = {}
    for name, packages in contents.repositories.items():
        repository = draft / name
        repository.mkdir(parents=True, exist_ok=True)
        entries = []
        for package in packages:
            place = repository / location(package)
            if place.exists():
                raise PublishError(f"two packages would be the file {name}/{location(package)}")
            copy = copies[package.sha256]
            link_or_copy(copy.path, place)
            known[place] = copy.signed.sha256
            for ending, path in beside.get(package.sha256, {}).items():
                link_or_copy(path, place.with_name(place.name + ending))
            entries.append(Entry(copy.path, location(package), copy.signed.sha256))
        repomd = write_metadata(
            repository,
            entries,
            created=snapshot.created,
            comps=comps if groups and is_binary(name) else "",
        )
        signature = repomd.with_name("repomd.xml.asc")
        signature.write_text(ring.sign_detached(repomd, key, at=snapshot.created))
        ring.verify_detached(signature, repomd, key)
        repomd.with_name("repomd.xml.key").write_text(public)
        for path in (signature, repomd.with_name("repomd.xml.key")):
            os.utime(path, (snapshot.created, snapshot.created))
    write_atomic(draft / "snapshot.json", to_json(snapshot))
    write_sums(draft, known, ring, key, at=snapshot.created)


def next_history(
    history: History | None,
    tree: str,
    snapshot: str,
    settings: Publish,
    waivers: tuple[Waiver, ...],
    *,
    now: int,
) -> History:
    """What the tree to be made says of itself; earlier ones stay for the time of grace."""
    earlier = (Replaced(history.tree, history.snapshot, now), *history.earlier) if history else ()
    oldest = now - settings.grace_hours * 3600
    return History(
        tree=tree,
        snapshot=snapshot,
        since=now,
        address=settings.address,
        earlier=tuple(replaced for replaced in earlier if replaced.at > oldest),
        waivers=waivers,
    )


def draft_tree(
    draft: Path, tree: Publication, release: str, repositories: Sequence[str], history: History
) -> None:
    """Lay out what the release will point at.

    The snapshot itself, a mirrorlist for each repository that names this very tree, and the
    packages and metadata files that clients of earlier ones may ask for.
    """
    draft.mkdir()
    link_tree(tree.snapshot_directory(release, history.snapshot), draft)
    address = history.address.rstrip("/")
    for name in repositories:
        (draft / name / "mirrorlist").write_text(
            f"{address}/trees/{release}/{history.tree}/{name}/\n"
        )
    for snapshot in dict.fromkeys(replaced.snapshot for replaced in history.earlier):
        directory = tree.snapshot_directory(release, snapshot)
        if directory.is_dir():
            link_tree(directory, draft, skip=_OWN)
    (draft / "history.json").write_bytes(to_json(history))

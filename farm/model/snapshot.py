"""What sites see."""

from __future__ import annotations

from farm.model.noun import Noun
from farm.model.package import SignedPackage
from farm.model.verdict import Waiver


class SnapshotEntry(Noun, frozen=True):
    """One source package's standing in a snapshot, for one architecture."""

    recipe: str
    arch: str
    key: str
    counter: int


class Snapshot(Noun, frozen=True):
    """An immutable set of signed packages; published beside them as `snapshot.json`.

    `results` are the build records behind the entries: with them the ledger can be made again.
    """

    id: str
    release: str
    created: int
    commit: str
    packages: tuple[SignedPackage, ...]
    entries: tuple[SnapshotEntry, ...] = ()
    results: tuple[str, ...] = ()  # sha256 of the result records under results/
    waivers: tuple[Waiver, ...] = ()  # checks that it was published in spite of

"""What is published, as the pages tell it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from farm.errors import StateError
from farm.model import SignedPackage, Snapshot
from farm.publish.beside import MATERIALS, PROVENANCE
from farm.publish.drafts import location
from farm.publish.tree import Publication
from farm.site.status.facts import File, Shown, SnapshotRow

_SOURCE = "source"


@dataclass(frozen=True)
class OnShow:
    """A release as it is published: its snapshots, newest first; of the current one what each
    recipe has, by architecture, and its files."""

    snapshots: tuple[SnapshotRow, ...] = ()
    since: int = 0
    current: str = ""
    shown: Mapping[tuple[str, str], Shown] = field(default_factory=dict)  # recipe, architecture
    files: Mapping[str, tuple[File, ...]] = field(default_factory=dict)  # by recipe

    @property
    def recipes(self) -> frozenset[str]:
        return frozenset(recipe for recipe, _ in self.shown)


class Showcase:
    """Reads the published tree; a snapshot never changes, so each is read once."""

    def __init__(self, publication: Path) -> None:
        self._tree = Publication(publication)
        self._rows: dict[tuple[str, str], SnapshotRow] = {}
        self._onshow: dict[str, OnShow] = {}

    def of(self, release: str) -> OnShow:
        """What is published of a release now; nothing, where it cannot be read."""
        try:
            history = self._tree.history(release)
        except StateError:
            return OnShow()
        rows = self._snapshots(release, history.snapshot if history else "")
        since = history.since if history else 0
        current = history.snapshot if history else ""
        before = self._onshow.get(release)
        if before is None or before.current != current:
            before = OnShow(current=current)
            if current:
                with contextlib.suppress(StateError, OSError):
                    before = self._contents(release, self._tree.read(release, current))
        self._onshow[release] = OnShow(rows, since, current, before.shown, before.files)
        return self._onshow[release]

    def _snapshots(self, release: str, current: str) -> tuple[SnapshotRow, ...]:
        home = self._tree.root / "snapshots" / release
        names: Iterable[str] = ()
        with contextlib.suppress(OSError):
            names = [path.name for path in home.iterdir() if not path.name.startswith(".")]
        found = []
        for name in names:
            row = self._rows.get((release, name))
            if row is None:
                with contextlib.suppress(StateError, OSError):
                    row = self._rows[release, name] = _row(self._tree.read(release, name))
            if row is not None:
                fields = (row.id, row.created, row.commit, row.packages, row.waivers)
                found.append(SnapshotRow(*fields, current=name == current))
        return tuple(sorted(found, key=lambda row: (row.created, row.id), reverse=True))

    def _contents(self, release: str, snapshot: Snapshot) -> OnShow:
        signed: dict[str, list[SignedPackage]] = {}
        for package in snapshot.packages:
            signed.setdefault(package.package.source, []).append(package)
        shown = {}
        for entry in snapshot.entries:
            theirs = signed.get(entry.recipe, [])
            evr = next((p.package.nevra.evr for p in theirs), "")
            by = next((p.key for p in theirs), "")
            shown[entry.recipe, entry.arch] = Shown(evr, entry.counter, entry.key, by)
        place = f"snapshots/{release}/{snapshot.id}"
        archs = tuple(dict.fromkeys(entry.arch for entry in snapshot.entries))
        files = {
            recipe: tuple(
                file
                for package in sorted(
                    theirs, key=lambda p: (p.package.nevra.arch == "src", p.package.nevra)
                )
                if not package.package.debug
                for file in self._file(package, place, archs)
            )
            for recipe, theirs in signed.items()
        }
        return OnShow(current=snapshot.id, shown=shown, files=files)

    def _file(self, signed: SignedPackage, place: str, archs: tuple[str, ...]) -> Iterable[File]:
        """The file of a package, or none if it is in no repository."""
        nevra = signed.package.nevra
        homes = {"src": (_SOURCE,), "noarch": archs}.get(nevra.arch, (nevra.arch,))
        for home in homes:
            path = f"{place}/{home}/{location(signed.package)}"
            if (self._tree.root / path).exists():
                beside = [
                    path + ending if (self._tree.root / (path + ending)).exists() else ""
                    for ending in (PROVENANCE, MATERIALS)
                ]
                return (File(nevra.filename, path, signed.size, *beside),)
        return ()


def _row(snapshot: Snapshot) -> SnapshotRow:
    waivers = tuple((waiver.check, waiver.reason) for waiver in snapshot.waivers)
    return SnapshotRow(
        snapshot.id, snapshot.created, snapshot.commit, len(snapshot.packages), waivers
    )

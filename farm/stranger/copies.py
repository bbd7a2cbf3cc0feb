"""Published, signed copies of the layer's packages, in the place of the unsigned ones.

A lock names a package of the layer by the bytes before signing. Where nobody has those, its
published copy installs the same files: its own provenance says what it was before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from farm.errors import FarmError, Refused, Unverifiable
from farm.model import LockedPackage
from farm.stranger.exhibits import Examiner
from farm.stranger.mirror import NotThere, earlier_snapshots, find_at
from farm.stranger.published import read_publication
from farm.stranger.supply import Supply
from farm.verification.again import mend

_MOST_SNAPSHOTS = 16  # that are looked into


@dataclass
class Copies:
    """Looks in the snapshot that is verified, then in those that were published before it."""

    examiner: Examiner
    supply: Supply
    _opened: list[Examiner] = field(default_factory=list)
    _earlier: Iterator[Examiner] | None = None

    def instead_of(self, package: LockedPackage) -> LockedPackage | None:
        """The signed copy, in the store, of what a lock names; None where there is none."""
        if not package.of_layer:
            return None
        for examiner in self._examiners():
            found = self._copy(examiner, package)
            if found is not None:
                return found
        return None

    def _examiners(self) -> Iterator[Examiner]:
        yield self.examiner
        yield from self._opened
        self._earlier = self._earlier or self._open_earlier()
        for examiner in self._earlier:
            self._opened.append(examiner)
            yield examiner

    def _open_earlier(self) -> Iterator[Examiner]:
        publication = self.examiner.publication
        mirror = publication.mirror
        release = publication.snapshot.release
        try:
            names = earlier_snapshots(mirror)
        except NotThere:
            return
        for name in [n for n in names if n != publication.snapshot.id][:_MOST_SNAPSHOTS]:
            try:
                yield Examiner(
                    read_publication(find_at(mirror.root, release, name), publication.key),
                    _made(self.examiner.scratch / name),
                )
            except (Refused, Unverifiable) as error:
                self.supply.tell(f"the earlier snapshot {name} is no help: {error.what}")

    def _copy(self, examiner: Examiner, package: LockedPackage) -> LockedPackage | None:
        publication = examiner.publication
        entry = publication.table.get(package.nevra)
        if entry is None or entry.package.sha256 != package.sha256:
            return None
        found = [listed for listed in publication.files if listed.nevra == package.nevra]
        for listed, exhibit in examiner.exhibits(found[:1]).items():
            try:
                if isinstance(exhibit, FarmError):
                    raise exhibit
                told = examiner.told(exhibit)
            except (Refused, Unverifiable) as error:
                self.supply.tell(f"the published copy of {package.nevra} is no help: {error.what}")
                return None
            if told.subject.annotations.get("unsigned") == package.sha256:
                mend(self.supply.store, listed.sha256, exhibit.path)
                return msgspec.structs.replace(package, sha256=listed.sha256, size=listed.size)
        return None


def _made(directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    return directory

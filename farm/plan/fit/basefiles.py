"""Files that the layer and its base both own, found in the base's filelists.

Metadata has no digests, so nobody can tell from it whether the two are the same; unless they
are, rpm refuses to install both packages. Directories, and what the base has as %ghost, are no
matter.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import solv

from farm.errors import StateError
from farm.model import LAYER, Noun, Package, Problem, from_json, to_json
from farm.plan.fit.findings import Findings
from farm.plan.fit.rpmfiles import File, files_of, settled
from farm.plan.fit.together import Company
from farm.plan.metadata import primary, solvfiles
from farm.plan.metadata.pins import Pin, PinnedFile
from farm.plan.universe import Universe, nevra_of
from farm.store import write_atomic

_FORMAT = "1"  # raised when what a kept file holds changes
_KEPT = "in-base"
_SHOWN = 4


class _Shared(Noun, frozen=True, array_like=True):
    """A path of ours that a package of the base has, too."""

    path: str
    name: str  # of the base's package
    pkgid: str


def base_file_findings(
    universe: Universe, packages: Sequence[tuple[Package, Path]], cache: Path
) -> Findings:
    """Files of these built packages of the universe's layer that its base owns as well.

    Only of packages that a site can have both. What was found is kept below `cache`.
    Raises StateError for a file that is no RPM, RepositoryError for damaged metadata.
    """
    company = Company(universe)
    problems: list[Problem] = []
    notes: list[str] = []
    own = {nevra_of(s): s for r in universe.pool.repos if r.name == LAYER for s in r.solvables}
    for pin in universe.pins:
        filelists = pin.file("filelists")
        if filelists is None:
            notes.append(
                f"repository {pin.repository.id!r} has no filelists: whether the layer has files "
                "of its packages cannot be seen"
            )
            continue
        shared = _shared(pin, filelists, packages, cache)
        theirs = _solvables(universe, pin, {s.pkgid for some in shared.values() for s in some})
        for package, _ in packages:
            ours = own.get(package.nevra)
            by_owner: dict[str, list[str]] = {}
            for entry in shared.get(package.sha256, ()):
                by_owner.setdefault(entry.pkgid, []).append(entry.path)
            for pkgid, paths in sorted(by_owner.items()):
                other = theirs.get(pkgid)
                if ours is not None and other is not None and company.can_meet(ours, other):
                    problems.append(_problem(package, f"{other}", other.name, pin, paths))
    return Findings(tuple(problems), tuple(notes))


def _problem(package: Package, other: str, name: str, pin: Pin, paths: Sequence[str]) -> Problem:
    shown = sorted(set(paths))
    more = [f"… and {len(shown) - _SHOWN} more files"] if len(shown) > _SHOWN else []
    return Problem(
        "file-in-base",
        package.nevra.name,
        (
            f"{package.nevra} and {other} of repository {pin.repository.id} both own {shown[0]}",
            *shown[1:_SHOWN],
            *more,
            "nothing keeps a site from having both, and unless the files are the same, byte for "
            "byte, rpm refuses to install them",
        ),
        f"Move what is the layer's own to another place, or say `Conflicts: {name}`.",
    )


def _solvables(universe: Universe, pin: Pin, pkgids: set[str]) -> Mapping[str, Any]:
    if not pkgids:
        return {}
    return {
        checksum.hex(): solvable
        for repo in universe.pool.repos
        if repo.name == pin.repository.id
        for solvable in repo.solvables_iter()
        if (checksum := solvable.lookup_checksum(solv.SOLVABLE_CHECKSUM)) is not None
        and checksum.hex() in pkgids
    }


def _shared(
    pin: Pin, filelists: PinnedFile, packages: Sequence[tuple[Package, Path]], cache: Path
) -> dict[str, tuple[_Shared, ...]]:
    """By the sha256 of our package; packages that were looked up before are not again."""
    digest = hashlib.sha256(f"{_FORMAT} {filelists.checksum}".encode()).hexdigest()[:32]
    kept = cache / _KEPT / f"{digest}.json"
    known: dict[str, tuple[_Shared, ...]] = {}
    with contextlib.suppress(FileNotFoundError, StateError):  # damaged: made again
        known = from_json(dict[str, tuple[_Shared, ...]], kept.read_bytes(), where=str(kept))
    missing = [(package, path) for package, path in packages if package.sha256 not in known]
    if not missing:
        return known
    wanted: dict[str, list[tuple[str, str]]] = {}  # path as the base may write it → ours
    for package, path in missing:
        for file in files_of(package, path, cache):
            for spelling in _spellings(file):
                wanted.setdefault(spelling, []).append((package.sha256, file.path))
    found: dict[str, set[_Shared]] = {package.sha256: set() for package, _ in missing}
    content = solvfiles.content_of(pin, filelists)
    owners = primary.owners(content, wanted)
    firm = _firm(content, owners)
    for spelling, having in owners.items():
        for name, pkgid in having:
            if (spelling, pkgid) in firm:
                for sha256, ours in wanted[spelling]:
                    found[sha256].add(_Shared(ours, name, pkgid))
    known |= {sha256: tuple(sorted(some, key=to_json)) for sha256, some in found.items()}
    write_atomic(kept, to_json(known))
    return known


def _spellings(file: File) -> Iterable[str]:
    """How the base's metadata may write a path that may not be shared with it."""
    if file.is_directory or file.ghost:
        return ()
    path = settled(file.path)
    return (path, path.removeprefix("/usr")) if settled(path[4:]) == path else (path,)


def _firm(
    content: bytes, owners: Mapping[str, Sequence[Sequence[str]]]
) -> frozenset[tuple[str, str]]:
    """(path, owner) of those that are neither directory nor %ghost there."""
    by_package: dict[str, list[str]] = {}
    for path, having in owners.items():
        for _, pkgid in having:
            by_package.setdefault(pkgid, []).append(path)
    found = set()
    for pkgid, paths in by_package.items():
        at = content.find(f'pkgid="{pkgid}"'.encode())
        block = content[at : content.find(b"</package>", at)]
        for path in paths:
            if re.search(rb"<file>" + re.escape(escape(path).encode()) + rb"</file>", block):
                found.add((path, pkgid))
    return frozenset(found)

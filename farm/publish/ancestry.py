"""Packages of the layer that are in build roots only, told of as those that are published.

A bootstrap is never published, and neither is a build that another followed before farm published
again. What was built with such a package would rest on bytes that nobody can account for. So the
archive holds its source package too, and beside each such file lies the statement of the build
that made it; that build's lock is published, and so on until only packages of the base are left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from farm import rpmheader
from farm.config import Publish
from farm.model import LAYER, Lock, LockedPackage, Package, Result, from_json, to_json
from farm.model.envelope import Envelope
from farm.model.provenance import Statement
from farm.publish.archive import archive_path
from farm.publish.beside import PROVENANCE
from farm.publish.builds import Behind, Build, Of, digest, made_from
from farm.publish.envelopes import Envelopes, Unsigned
from farm.publish.keys import Key, KeyRing
from farm.publish.provenance import Subject, statement
from farm.steps import bootstrap_name, chroot_of
from farm.store import Store, write_atomic

Locate = Callable[[str], Path | None]  # by sha256


@dataclass(frozen=True)
class Ancestry:
    """Builds whose packages are only in the archive, and locked packages of unknown making."""

    builds: tuple[Build, ...]
    unknown: tuple[LockedPackage, ...] = ()

    @property
    def sources(self) -> tuple[LockedPackage, ...]:
        """Their source packages, to be archived with them."""
        found = (build.source for build in self.builds)
        return tuple(LockedPackage(p.nevra, p.sha256, p.size, LAYER) for p in found if p)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is worth saying, one sentence each."""
        return tuple(
            f"nobody knows how {package.nevra} was made, which others were built with: "
            "`farm build --force` those to have them built with what is known"
            for package in self.unknown
        )


def ancestry(
    root: Path,
    behind: Behind,
    published: Iterable[Result],
    recorded: Of,
    store: Store,
    locate: Locate,
) -> Ancestry:
    """Who made the packages of the layer in the build roots behind a snapshot, except for those
    that are in it themselves. `published` are the records in the published tree at `root`; of
    what is told of there already nothing more need be known."""
    told = {package.sha256 for build in behind.builds for package in build.packages}
    records = tuple(published)
    builds: dict[str, tuple[Result, dict[str, Package]]] = {}
    unknown: dict[str, LockedPackage] = {}
    waiting = [build.result for build in behind.builds]
    while waiting:
        result = waiting.pop()
        for locked in result.lock.packages:
            if not locked.of_layer or locked.sha256 in told:
                continue
            told.add(locked.sha256)
            maker = next(_makers(locked, chroot_of(result.step), records, recorded, locate), None)
            if maker is None:
                if not beside(root, locked.sha256).exists():
                    unknown[locked.sha256] = locked
                continue
            package = next(p for p in maker.built.packages if p.sha256 == locked.sha256)
            if digest(maker) not in builds:
                waiting.append(maker)
            builds.setdefault(digest(maker), (maker, {}))[1][package.sha256] = package
    return Ancestry(
        tuple(
            Build(maker, tuple(packages.values()), _source(maker, store, locate))
            for _, (maker, packages) in sorted(builds.items())
        ),
        tuple(unknown.values()),
    )


def tell(
    root: Path,
    found: Ancestry,
    settings: Publish,
    state: Path,
    ring: KeyRing,
    key: Key,
    locate: Locate,
) -> int:
    """Lay the statements beside the archived packages; how many had to be signed now."""
    if not settings.archive:
        return 0
    told: dict[Path, Unsigned] = {}
    for build in found.builds:
        subjects = [s for p in build.packages if (s := _subject(p, locate))]
        source = _subject(build.source, locate) if build.source is not None else None
        if not subjects:
            continue
        made = statement(build, subjects, source, layer=settings.layer, published=False)
        unsigned = Unsigned(to_json(made), int(build.result.finished))
        for subject in subjects:
            told[beside(root, subject.package.sha256)] = unsigned
    envelopes, fresh = Envelopes(state).add(told.values(), ring, key)
    for path, unsigned in told.items():
        content = envelopes[unsigned.sha256].read_bytes()
        if not path.exists() or path.read_bytes() != content:
            write_atomic(path, content, mode=0o444)
    return fresh


def reached(root: Path, locks: Iterable[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Where published locks (by sha256) lead to: sha256 of all locks, and of all archived files.

    What the statements in the archive tell of is followed. Raises StateError for a file of the
    published tree that is damaged.
    """
    waiting, found, archived = list(locks), set(), set()
    while waiting:
        name = waiting.pop()
        path = root / "locks" / name[:2] / f"{name[2:]}.json"
        if name in found or not path.exists():
            continue
        found.add(name)
        for package in from_json(Lock, path.read_bytes(), where=str(path)).packages:
            archived.add(package.sha256)
            told = beside(root, package.sha256)
            if package.of_layer and told.exists():
                envelope = from_json(Envelope, told.read_bytes(), where=str(told))
                made = from_json(Statement, envelope.content, where=str(told))
                definition = made.predicate.build_definition
                waiting.append(definition.internal_parameters.lock.digest["sha256"])
                archived |= {
                    resource.digest["sha256"]
                    for resource in definition.resolved_dependencies
                    if resource.annotations.get("kind") == "source-package"
                }
    return frozenset(found), frozenset(archived)


def beside(root: Path, sha256: str) -> Path:
    """Where the statement of an archived package is, if it has one."""
    package = archive_path(root, sha256)
    return package.with_name(package.name + PROVENANCE)


def _makers(
    locked: LockedPackage,
    chroot: str,
    published: Iterable[Result],
    recorded: Of,
    locate: Locate,
) -> Iterator[Result]:
    """Builds of a package: those that were published, then any other, the oldest first."""

    def made_it(result: Result) -> bool:
        known = result.chroot is not None and not result.scratch
        return known and any(p.sha256 == locked.sha256 for p in result.built.packages)

    yield from filter(made_it, published)
    path = locate(locked.sha256)
    if path is None:
        return
    recipe = rpmheader.read(path).source
    for name in (recipe, bootstrap_name(recipe)):
        yield from filter(made_it, recorded(f"{name}@{chroot}"))


def _source(result: Result, store: Store, locate: Locate) -> Package | None:
    package = result.built.srpm
    path = locate(package.sha256)
    if path is None:
        return None
    return package if made_from(result, rpmheader.read(path).header, store) else None


def _subject(package: Package, locate: Locate) -> Subject | None:
    path = locate(package.sha256)
    return Subject(package, package.sha256, rpmheader.identity(path)) if path else None

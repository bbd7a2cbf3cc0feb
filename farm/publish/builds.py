"""Which build made which published package: what its provenance has to tell of.

It is the first build that counts: the same package made again from other inputs (a comment in
the spec, a newer base) changes nothing about how the published bytes came to be. A build whose
recipe is not the one in the published source package does not count where there is another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from farm import rpmheader
from farm.model import Nevra, Package, Result, to_json
from farm.publish.gates import Contents
from farm.steps import chroot_of
from farm.store import Store

Of = Callable[[str], Sequence[Result]]  # every result that was recorded for a step, oldest first

_ALGORITHMS = {1: "md5", 2: "sha1", 8: "sha256", 9: "sha384", 10: "sha512"}
_FILE_DIGESTS, _FILE_DIGEST_ALGORITHM = 1035, 5011


@dataclass(frozen=True)
class Build:
    """A build, the published packages that it made (its source package may be among them), and
    the source package that it was made from: None when only another one is published."""

    result: Result
    packages: tuple[Package, ...]
    source: Package | None

    @property
    def record(self) -> str:
        """sha256 of its record below results/."""
        return digest(self.result)


@dataclass(frozen=True)
class Behind:
    """The builds behind a snapshot, and packages without one that is known well enough."""

    builds: tuple[Build, ...]
    unknown: tuple[Package, ...] = ()
    elsewhere: tuple[Package, ...] = ()  # sources made in a chroot whose build is not published

    @property
    def records(self) -> tuple[str, ...]:
        """sha256 of the builds' records, sorted."""
        return tuple(sorted(build.record for build in self.builds))

    @property
    def notes(self) -> tuple[str, ...]:
        """What is worth saying, one sentence each."""
        names = sorted({package.source for package in self.unknown})
        lines = [
            f"{len(self.unknown)} packages have no provenance, an early farm did not record "
            f"enough of their builds: `farm build --force {' '.join(names)}` and publish again"
        ]
        return (
            *(lines if names else ()),
            *(
                f"{p.nevra} has no provenance: it was made in the chroot of another architecture, "
                "of which nothing of it is published"
                for p in self.elsewhere
            ),
            *(
                f"{b.result.step}: its provenance names no source package: the published one "
                "stayed from an earlier build, of which too little is recorded"
                for b in self.builds
                if b.source is None
            ),
        )


def digest(result: Result) -> str:
    """What a build record is called below results/."""
    return hashlib.sha256(to_json(result)).hexdigest()


def builds_behind(
    contents: Contents,
    results: Mapping[str, Sequence[Result]],
    published: Sequence[Result],
    earlier: Of,
    locate: Callable[[Package], Path],
    store: Store,
) -> Behind:
    """Who made each package of a snapshot.

    `results` are those chosen for each architecture, in the release's order, `published` the
    records in the published tree, oldest first, `earlier` is asked where none of these was made
    from the published source package. `locate` finds a package's bytes, signed or not.
    """
    return _Search(results, published, earlier, locate, store).found(contents)


@dataclass(frozen=True)
class _Search:
    results: Mapping[str, Sequence[Result]]
    published: Sequence[Result]
    earlier: Of
    locate: Callable[[Package], Path]
    store: Store
    _sources: dict[str, rpmheader.Rpm] = field(default_factory=dict)

    def found(self, contents: Contents) -> Behind:
        made_by = self._makers()
        packages = contents.packages
        sources = {p.nevra: p for p in packages if p.nevra.arch == "src"}
        chosen: dict[str, tuple[Result, Package | None, list[Package]]] = {}
        unknown, elsewhere = [], []

        def choose(result: Result, source: Package | None, package: Package) -> None:
            chosen.setdefault(digest(result), (result, source, []))[2].append(package)

        for package in packages:
            if package.nevra.arch == "src":
                continue
            candidates = made_by.get(package.sha256, [])
            source = next((s for r in candidates if (s := sources.get(_srpm(r)))), None)
            result = self._first(candidates, source, package)
            if result is None:
                unknown.append(package)
            else:
                choose(result, source if source and self._fits(result, source) else None, package)
        for package in sources.values():
            results = self._made_source(package, [result for result, _, _ in chosen.values()])
            if results:
                choose(results[0], package, package)
            elif any(source == package for _, source, _ in chosen.values()):
                elsewhere.append(package)
            else:
                unknown.append(package)
        builds = (Build(r, tuple(some), source) for r, source, some in chosen.values())
        return Behind(
            tuple(sorted(builds, key=lambda b: (b.result.step, b.record))),
            tuple(unknown),
            tuple(elsewhere),
        )

    @cached_property
    def _order(self) -> Mapping[str, int]:
        """The chroots of the release, in its order."""
        return {
            chroot_of(result.step): number
            for number, some in enumerate(self.results.values())
            for result in some
        }

    def _makers(self) -> Mapping[str, Sequence[Result]]:
        """Unsigned sha256 → who can have made it: the first architecture's, then the oldest."""
        order = self._order
        known = {digest(r): r for r in (*self.published, *_every(self.results)) if _tells(r)}
        makers: dict[str, list[Result]] = {}
        for result in sorted(known.values(), key=lambda r: (r.finished, r.key)):
            if chroot_of(result.step) in order:
                for package in result.built.packages:
                    makers.setdefault(package.sha256, []).append(result)
        return {
            sha256: sorted(some, key=lambda r: order[chroot_of(r.step)])
            for sha256, some in makers.items()
        }

    def _first(
        self, candidates: Sequence[Result], source: Package | None, package: Package
    ) -> Result | None:
        """The first that was made from the published source package, else the first."""
        if source is not None:
            more = (
                result
                for step in dict.fromkeys(result.step for result in candidates)
                for result in self.earlier(step)
                if _tells(result) and package in result.built.packages
            )
            for result in _one_after_another(candidates, more):
                if self._fits(result, source):
                    return result
        return next(iter(candidates), None)

    def _made_source(self, source: Package, chosen: Sequence[Result]) -> list[Result]:
        """Of the builds in whose chroot it was made, those that are spoken of anyway."""
        arch = self._source(source).header.text(rpmheader.ARCH)
        return [
            result
            for result in sorted(chosen, key=lambda result: self._order[chroot_of(result.step)])
            if result.chroot is not None
            and arch in (result.chroot.arch, "noarch")
            and _srpm(result) == source.nevra
            and self._fits(result, source)
        ]

    def _fits(self, result: Result, source: Package) -> bool:
        """Whether the source package holds what this build was made from.

        The settler lets the published source package stay where the packages stayed, although
        the recipe had changed.
        """
        if result.built.srpm.sha256 != source.sha256:
            return False
        return made_from(result, self._source(source).header, self.store)

    def _source(self, package: Package) -> rpmheader.Rpm:
        if package.sha256 not in self._sources:
            self._sources[package.sha256] = rpmheader.read(self.locate(package))
        return self._sources[package.sha256]


def made_from(result: Result, source: rpmheader.Header, store: Store) -> bool:
    """Whether all files of a source package are inputs of a build."""
    algorithm = _ALGORITHMS.get(source.number(_FILE_DIGEST_ALGORITHM, 1), "")
    inputs = {_digest(sha256, algorithm, store) for _, sha256 in result.inputs}
    return bool(algorithm) and set(source.texts(_FILE_DIGESTS)) <= inputs


def _digest(sha256: str, algorithm: str, store: Store) -> str:
    if algorithm in ("sha256", ""):
        return sha256
    if sha256 not in store:
        return ""
    with store.get(sha256).open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _srpm(result: Result) -> Nevra:
    return result.built.srpm.nevra


def _tells(result: Result) -> bool:
    """Whether enough of it was recorded to make the same again."""
    return result.chroot is not None and not result.scratch and not result.bootstrap


def _every(results: Mapping[str, Sequence[Result]]) -> Iterator[Result]:
    for some in results.values():
        yield from some


def _one_after_another(first: Iterable[Result], then: Iterable[Result]) -> Iterator[Result]:
    yield from first
    yield from then

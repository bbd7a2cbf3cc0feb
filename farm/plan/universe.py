"""rpm-md of the base and of the layer → a libsolv pool, kept on disk as `.solv` files.

A universe's packages do not change once it is open; it only learns who has a file that is asked
for. libsolv's pool is for one thread at a time: `solver` holds `Universe.guard` for each question.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, cmp_to_key
from pathlib import Path
from typing import Any

import solv

from farm.errors import RepositoryError
from farm.model import LAYER, Chroot, LockedPackage, Nevra, Package
from farm.plan.metadata import comps, primary, solvfiles
from farm.plan.metadata.pins import Pin
from farm.plan.metadata.richdeps import excess
from farm.plan.metadata.transfer import TransferError, join
from farm.plan.metadata.unpack import MetadataError

_OPERATORS = {
    "<": solv.REL_LT,
    "<=": solv.REL_LT | solv.REL_EQ,
    "=": solv.REL_EQ,
    "==": solv.REL_EQ,
    ">=": solv.REL_GT | solv.REL_EQ,
    ">": solv.REL_GT,
}
_WHOLE_PATH = (
    solv.Dataiterator.SEARCH_STRING
    | solv.Dataiterator.SEARCH_FILES
    | solv.Dataiterator.SEARCH_COMPLETE_FILELIST
)


@dataclass(frozen=True, eq=False)
class Universe:
    """All packages that a build root of `chroot` may hold: base and layer."""

    chroot: Chroot
    pins: tuple[Pin, ...]
    cache: Path
    pool: Any
    required_files: frozenset[str]  # by the base, outside of primary.xml: known from the start
    digest: str = ""  # of all that the pool was filled from
    memory: dict[Any, Any] = field(default_factory=dict)  # answers derived from the pool
    guard: Any = field(default_factory=threading.RLock)  # held while a question is answered

    @classmethod
    def open(
        cls,
        chroot: Chroot,
        pins: Sequence[Pin],
        cache: Path,
        layer: Sequence[tuple[Package, Path]] = (),
        declared: Sequence[bytes] = (),
        *,
        sources: Sequence[Pin] = (),
    ) -> Universe:
        """Base pins and the layer's packages (unsigned files in the store) as one pool.

        `declared` are the `<package>` pieces of packages of the layer that are not built yet.
        Of `sources` the source packages are in it as well: their Requires are BuildRequires.
        What was read once is kept below `cache`. Raises RepositoryError for damaged metadata,
        StateError for a file of the layer that is no RPM.
        """
        cache.mkdir(parents=True, exist_ok=True)
        pieces = [solvfiles.layer_metadata(package, path, cache) for package, path in layer]
        pieces += declared
        universe, fresh = cls._read(chroot, pins, cache, pieces, sources)
        if fresh:  # read what was kept: the ids of a package are the same in every later run
            del universe  # two pools of a distribution are a lot of memory
            universe, _ = cls._read(chroot, pins, cache, pieces, sources)
        universe.learn(path for piece in pieces for path in primary.required_files(piece))
        return universe

    @classmethod
    def _read(
        cls,
        chroot: Chroot,
        pins: Sequence[Pin],
        cache: Path,
        pieces: Sequence[bytes],
        sources: Sequence[Pin],
    ) -> tuple[Universe, bool]:
        """The universe, and whether metadata had to be read, which then was kept."""
        pool = solv.Pool()
        pool.setarch(chroot.arch)
        # As Fedora builds libsolv: the i686 and the x86_64 package of a name can be there together.
        pool.set_flag(solv.Pool.POOL_FLAG_IMPLICITOBSOLETEUSESCOLORS, 1)
        every = [(pin, False) for pin in pins] + [(pin, True) for pin in sources]
        required = frozenset[str]().union(*(solvfiles.required_files(p, cache) for p, _ in every))
        order = {repository.id: index for index, repository in enumerate(chroot.repositories)}
        read = []
        for pin, source in every:
            repo = pool.add_repo(pin.repository.id)
            repo.priority = -pin.repository.priority
            repo.subpriority = -order.get(pin.repository.id, len(order))
            kept = solvfiles.load(pool, repo, pin, required, chroot.arch, cache, sources=source)
            read.append((repo, kept))
        if pieces:
            repo = pool.add_repo(LAYER)
            repo.priority, repo.subpriority = -99, 1
            solvfiles.parse(
                pool, repo, primary.assembled(dict.fromkeys(pieces)), solvfiles.OF_LAYER
            )
        searched = pool.addfileprovides_queue()
        pool.createwhatprovides()
        for repo, kept in read:
            if kept.fresh:
                solvfiles.write(repo, kept.path, searched)
        parts = [chroot.arch, *(kept.path.name for _, kept in read)]
        parts += [hashlib.sha256(piece).hexdigest() for piece in pieces]
        digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        every_pin = (*pins, *sources)
        universe = cls(chroot, every_pin, cache, pool, required, digest)
        return universe, any(kept.fresh for _, kept in read)

    def learn(self, paths: Iterable[str]) -> None:
        """Make these files capabilities that can be asked for.

        libsolv does so by itself only for files that a package requires, and only where
        primary.xml lists them. The pool's lists of providers are made anew: ids that
        `towhatprovides` gave before are void.
        """
        learnt = self.memory.setdefault("files", set())
        fresh = set(paths) - learnt
        beyond = {p for p in fresh if primary.outside_primary(p)} - self.required_files
        owners = [
            (pin, solvfiles.owned_files(pin, beyond, self.cache)) for pin in self.pins if beyond
        ]
        for path in sorted(fresh):
            dep = self.pool.Dep(path)
            matches = self.pool.Dataiterator(solv.SOLVABLE_FILELIST, path, _WHOLE_PATH)
            having = {match.solvable.id: match.solvable for match in matches}
            for pin, files in owners:
                for name, pkgid in files.get(path, ()):
                    having |= self._find(pin.repository.id, name, pkgid)
            known = {solvable.id for solvable in self.pool.whatprovides(dep)}
            for number in sorted(having.keys() - known):
                having[number].add_provides(dep)
        if fresh:
            learnt.update(fresh)
            self.pool.createwhatprovides()

    def _find(self, repository: str, name: str, pkgid: str) -> dict[int, Any]:
        return {
            solvable.id: solvable
            for solvable in self.pool.whatprovides(self.pool.Dep(name))
            if solvable.name == name
            and solvable.repo.name == repository
            and solvable.lookup_checksum(solv.SOLVABLE_CHECKSUM).hex() == pkgid
        }

    def dependency(self, text: str) -> Any:
        """A dependency as rpm writes it: `name`, `name >= version`, a path, or a rich one.

        The universe has to have learnt its files before: ids that are in use must stay valid.
        """
        if text.startswith("(") and not excess(text):
            dep = self.pool.parserpmrichdep(text)
            if dep is not None:
                return dep
        words = text.split()
        if len(words) == 3 and words[1] in _OPERATORS:
            name, operator, evr = words
            return self.pool.Dep(name).Rel(_OPERATORS[operator], self.pool.Dep(evr))
        return self.pool.Dep(text)

    def providers(self, text: str) -> list[Any]:
        """Packages that satisfy a dependency, those not to be installed here left out, sorted."""
        self.learn(primary.paths_in(text))
        found = self.pool.whatprovides(self.dependency(text))
        return sorted((each for each in found if each.installable()), key=str)

    @cached_property
    def groups(self) -> comps.Groups:
        """Groups of the base, `@id` → packages; of two repositories, both packages."""
        merged: dict[str, set[str]] = {}
        for pin in self.pins:
            file = pin.file("group")
            if file is None:
                continue
            try:
                found = comps.parse_groups(solvfiles.content_of(pin, file))
            except MetadataError as error:
                raise solvfiles.damaged(pin, str(error)) from error
            for name, members in found.items():
                merged.setdefault(name, set()).update(members)
        return {name: tuple(sorted(members)) for name, members in merged.items()}

    @cached_property
    def provided_names(self) -> tuple[str, ...]:
        """Names that some package has or provides, sorted: for suggestions."""
        named, provided, marker = set(), set(), {solv.SOLVABLE_FILEMARKER}
        for solvable in self.pool.solvables_iter():
            named.add(solvable.nameid)
            provided.update(solvable.lookup_idarray(solv.SOLVABLE_PROVIDES))
        names = {self.pool.dep2str(number).split(" ", 1)[0] for number in named | provided - marker}
        return tuple(sorted(name for name in names if not name.startswith("/")))

    def locked(self, solvable: Any) -> LockedPackage:
        """A package of the pool as a lock has it. Raises RepositoryError without a sha256."""
        checksum = solvable.lookup_checksum(solv.SOLVABLE_CHECKSUM)
        repository = solvable.repo.name
        if checksum is None or checksum.typestr() != "sha256":
            raise RepositoryError(
                f"repository {repository!r} names no sha256 of {solvable}",
                why="A lock identifies every package by its sha256.",
            )
        location = ""
        if repository != LAYER:
            location = self._location(solvable)
        return LockedPackage(
            nevra=nevra_of(solvable),
            sha256=checksum.hex(),
            size=solvable.lookup_num(solv.SOLVABLE_DOWNLOADSIZE),
            repository=repository,
            location=location,
        )

    def _location(self, solvable: Any) -> str:
        base = self._bases[solvable.repo.name]
        href, _ = solvable.lookup_location()
        try:
            own = solvable.lookup_str(solv.SOLVABLE_MEDIABASE)
            return join(join(base, own) if own else base, href or "")
        except TransferError as error:
            raise RepositoryError(
                f"repository {solvable.repo.name!r} does not say where {solvable} is",
                why=str(error),
            ) from error

    @cached_property
    def _bases(self) -> dict[str, str]:
        return {pin.repository.id: pin.addresses[0] for pin in self.pins}


def nevra_of(solvable: Any) -> Nevra:
    """The identity of a package of the pool."""
    epoch, colon, rest = solvable.evr.rpartition(":")
    version, _, release = rest.partition("-")
    return Nevra(solvable.name, int(epoch) if colon else 0, version, release, solvable.arch)


def by_evr(solvable: Any) -> Any:
    """A key that sorts packages of a pool by epoch, version and release, as rpm does."""
    return _EVR(solvable)


def _compare(one: Any, other: Any) -> int:
    return int(one.evrcmp(other))


_EVR = cmp_to_key(_compare)

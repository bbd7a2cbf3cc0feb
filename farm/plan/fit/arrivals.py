"""Does `dnf upgrade` bring a site to the new packages, all of the layer's that it has?

Most sites are told to be fine without an upgrade being solved. Where each of a site's packages
of the layer has exactly one successor, nothing replaces its packages of the base, and all of
these can be installed together, that is a state in which everything has arrived, and the only
update that dnf considers for each package leads there. Many sites are tried at once: what fits
all together fits for each. Sites of which this cannot be said are upgraded one by one.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import solv

from farm.errors import StateError
from farm.model import Nevra, Problem, from_json, to_json
from farm.plan.fit.findings import Findings, listed
from farm.plan.fit.shipment import Shipment
from farm.plan.fit.sitefile import KEPT, SiteFile
from farm.plan.fit.succession import Succession
from farm.plan.fit.upgradepool import Site, UpgradePool
from farm.plan.universe import nevra_of
from farm.store import write_atomic

_FORMAT = "2"  # raised when what a kept file holds changes
_MOST_HELD = 8  # sites of one metapackage, of different snapshots, of which it is found out why


@dataclass(frozen=True)
class Held:
    """A metapackage whose sites do not arrive, and why."""

    metapackage: str
    kind: str
    packages: str  # that do not arrive
    facts: tuple[str, ...]


@dataclass(frozen=True)
class _Place:
    """What a site has after installing a metapackage; the same of several snapshots."""

    metapackage: str
    layer: frozenset[int]
    base: frozenset[int]
    whole: bool = True  # False: today's base has none such, these are the layer's packages alone


@dataclass(frozen=True, eq=False)
class Arrivals:
    """Puts the question for every metapackage of every snapshot."""

    pool: UpgradePool
    succession: Succession
    arch: str
    cache: Path
    fates: dict[int, int | None] = field(default_factory=dict)
    based: dict[Nevra, int] = field(default_factory=dict)  # packages of the base
    staying: dict[int, bool] = field(default_factory=dict)

    def findings(self, earlier: Sequence[Shipment], metapackages: Sequence[str]) -> Findings:
        places: dict[_Place, list[str]] = {}
        unsolved: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        for shipment in earlier:
            for name, place, reasons in self._places(shipment, metapackages):
                places.setdefault(place, []).append(shipment.name)
                if reasons:
                    unsolved.setdefault((name, reasons), []).append(shipment.name)
        held: dict[Held, list[str]] = {}
        notes = [self._unsolved(*key, names) for key, names in unsolved.items()]
        doubtful = self._doubtful(sorted(places, key=lambda place: place.metapackage))
        for metapackage in metapackages:
            # The newest snapshot first: most sites are there.
            own = [place for place in reversed(places) if place.metapackage == metapackage]
            own = [place for place in own if place in doubtful]
            found = 0
            for index, place in enumerate(own):
                if found == _MOST_HELD:
                    notes.append(
                        f"{metapackage}: {len(own) - index} more kinds of sites, of earlier "
                        f"snapshots, are looked into once these problems are solved ({self.arch})"
                    )
                    break
                why = self._held(place)
                found += bool(why)
                for reason in why:
                    held.setdefault(reason, []).extend(places[place])
        order = {shipment.name: index for index, shipment in enumerate(earlier)}
        problems = tuple(
            self._problem(reason, sorted(set(names), key=order.__getitem__))
            for reason, names in held.items()
        )
        return Findings(problems, tuple(notes))

    def _places(
        self, shipment: Shipment, metapackages: Sequence[str]
    ) -> Iterator[tuple[str, _Place, tuple[str, ...]]]:
        """For each metapackage that the snapshot has, the site; and why today's base has none."""
        digest = self._digest(shipment)
        known = SiteFile.read(self.cache, digest)
        numbers = {package.nevra: self.pool.earlier[package.nevra] for package in shipment.packages}
        own = frozenset(numbers.values())
        answers: dict[str, frozenset[int] | tuple[str, ...]] = {}
        for nevra, number in sorted(numbers.items()):
            name = nevra.name
            if name not in metapackages:
                continue
            remembered = known.answer(name)
            if remembered is None:
                answers[name] = self.pool.install(sorted(own), number)
            else:
                site, why = remembered
                answers[name] = why or frozenset(self._found(each, numbers) for each in site)
            found = answers[name]
            whole = isinstance(found, frozenset)
            site_now = found if isinstance(found, frozenset) else self.pool.required(own, number)
            place = _Place(name, site_now & own, site_now - own, whole)
            yield name, place, () if isinstance(found, frozenset) else found
        if not answers.keys() <= known.names:
            SiteFile.of(answers, self._nevra).write(self.cache, digest)

    def _found(self, nevra: Nevra, own: Mapping[Nevra, int]) -> int:
        """The package of that identity: the snapshot's, else the base's."""
        number = own.get(nevra)
        return self._in_base(nevra) if number is None else number

    def _in_base(self, nevra: Nevra) -> int:
        if nevra not in self.based:
            named = (s for s in self._named(nevra.name) if self.pool.in_base(s.id))
            self.based[nevra] = next(int(s.id) for s in named if nevra_of(s) == nevra)
        return self.based[nevra]

    def _named(self, name: str) -> list[Any]:
        pool = self.pool.universe.pool
        return [s for s in pool.whatprovides(pool.Dep(name)) if s.name == name]

    def _digest(self, shipment: Shipment) -> str:
        universe = self.pool.universe
        parts = [_FORMAT, universe.digest]
        parts += [f"{pin.repository.id} {pin.repository.priority}" for pin in universe.pins]
        parts += [str(package.nevra) for package in shipment.packages]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]

    def _doubtful(self, places: Sequence[_Place]) -> frozenset[_Place]:
        """Those that are not known to arrive."""
        moving = [p for p in places if any(self._nevra(n) not in self.pool.new for n in p.layer)]
        targets: dict[_Place, frozenset[int]] = {}
        for place in moving:
            fates = [self._fate(number) for number in sorted(place.layer)]
            known = frozenset(fate for fate in fates if fate is not None)
            if place.whole and len(known) == len(fates) and all(map(self._stays, place.base)):
                targets[place] = known
        fine: set[_Place] = set()

        def settle(some: Sequence[_Place]) -> None:
            layer = frozenset[int]().union(*(targets[place] for place in some))
            base = frozenset[int]().union(*(place.base for place in some))
            if not some or self.pool.all_fit(layer, base):
                fine.update(some)
            elif len(some) > 1:
                half = len(some) // 2
                settle(some[:half])
                settle(some[half:])

        # A part of what fits is sure to fit only where no package wants one `unless` another is
        # there, and what stays behind at one site is of no help to others.
        groups: dict[object, list[_Place]] = {}
        for place, known in targets.items():
            groups.setdefault(place if self.pool.unless else known - self._new, []).append(place)
        for some in groups.values():
            settle(some)
        return frozenset(moving) - fine

    def _fate(self, number: int) -> int | None:
        """What a package of a snapshot becomes in an upgrade, None where that is not plain.

        A package without a successor stays as it is.
        """
        if number not in self.fates:
            self.fates[number] = self._plain_fate(number)
        return self.fates[number]

    def _stays(self, number: int) -> bool:
        """Whether an upgrade leaves a package of the base as it is."""
        if number not in self.staying:
            solvable = self.pool.solvable(number)
            named = self._named(solvable.name)
            self.staying[number] = (
                solvable.name not in self._obsoleted_by_base
                and not self.succession.obsoleters(solvable)
                and not any(
                    s.evrcmp(solvable) > 0 for s in named
                    if self.pool.in_base(s.id) or s.id in self._new
                )
            )  # fmt: skip
        return self.staying[number]

    @cached_property
    def _new(self) -> frozenset[int]:
        return frozenset(self.pool.new.values())

    def _plain_fate(self, number: int) -> int | None:
        old = self.pool.solvable(number)
        nevra = nevra_of(old)
        rivals = self.succession.successors(nevra)
        in_base = any(self.pool.in_base(s.id) for s in self._named(old.name))
        if in_base or old.name in self._multilib or self.succession.obsoleters(old):
            return None
        if old.name in self._obsoleted_by_base:
            return None
        if nevra in self.pool.new:
            return self.pool.new[nevra] if len(rivals) == 1 else None
        if not rivals:
            return number
        if len(rivals) > 1:
            return None
        return int(rivals[0].id) if rivals[0].evrcmp(old) > 0 else number

    @cached_property
    def _obsoleted_by_base(self) -> frozenset[str]:
        """Names, whatever the version."""
        digest = hashlib.sha256(f"{_FORMAT} {self.pool.universe.digest}".encode()).hexdigest()
        kept = self.cache / KEPT / f"{digest[:32]}.obsoleted"
        with contextlib.suppress(FileNotFoundError, StateError):  # damaged: made again
            return frozenset(from_json(tuple[str, ...], kept.read_bytes(), where=str(kept)))
        found = self.pool.obsoleted_by_base()
        write_atomic(kept, to_json(sorted(found)))
        return found

    @cached_property
    def _multilib(self) -> frozenset[str]:
        """Names of packages for two architectures: dnf upgrades the two together."""
        archs: dict[str, set[str]] = {}
        for nevra in (*self.pool.earlier, *self.pool.new):
            archs.setdefault(nevra.name, set()).add(nevra.arch)
        return frozenset(name for name, some in archs.items() if len(some - {"noarch"}) > 1)

    def _held(self, place: _Place) -> tuple[Held, ...]:
        """What keeps this site from the new packages; () when an upgrade brings them all."""
        with self.pool.site(place.layer | place.base) as installed:
            after = installed.upgrade()
            if not isinstance(after, frozenset):
                return (Held(place.metapackage, "upgrade-impossible", "", after),)
            reasons: dict[tuple[str, tuple[str, ...]], list[str]] = {}
            for number in sorted(place.layer, key=self._nevra):
                for kind, facts in self._left_behind(installed, number, after):
                    reasons.setdefault((kind, facts), []).append(str(self._nevra(number)))
        return tuple(
            Held(place.metapackage, kind, listed(names, 4), facts)
            for (kind, facts), names in reasons.items()
        )

    def _left_behind(
        self, installed: Site, number: int, after: frozenset[int]
    ) -> Iterable[tuple[str, tuple[str, ...]]]:
        """Nothing when the package arrived, or has no successor (`succession` says so)."""
        old = self.pool.solvable(number)
        if self._nevra(number) in self.pool.new:
            return
        rivals = [s for s in self.succession.successors(nevra_of(old)) if s.evrcmp(old) > 0]
        heirs = self.succession.obsoleters(old)
        if any(solvable.id in after for solvable in (*rivals, *heirs)):
            return
        if installed.copies[number] not in after:
            if rivals:
                yield "obsoleted-by-base", self._taken(old, after)
            return
        for wanted in (rivals or heirs)[:1]:
            yield (
                "upgrade-blocked",
                installed.why_not([wanted.id])
                or installed.why_not(self._due(installed.copies))
                or (f"dnf does not choose {nevra_of(wanted)}, although it could be installed",),
            )

    def _due(self, site: Iterable[int]) -> list[int]:
        """The new packages that have to arrive at a site, all together."""
        found = []
        for number in site:
            old = self.pool.solvable(number)
            found += [s.id for s in self.succession.successors(nevra_of(old)) if s.evrcmp(old) > 0]
        return found

    def _taken(self, old: Any, after: frozenset[int]) -> tuple[str, ...]:
        arrived = [self.pool.solvable(number) for number in sorted(after)]
        base = [
            s for s in arrived
            if self.pool.in_base(s.id)
            and (s.name == old.name or any(
                old.matchesdep(solv.SOLVABLE_NAME, dep)
                for dep in s.lookup_deparray(solv.SOLVABLE_OBSOLETES)
            ))
        ]  # fmt: skip
        return (f"the base puts {listed(str(s) for s in base)} in its place",)

    def _unsolved(self, metapackage: str, facts: tuple[str, ...], names: Sequence[str]) -> str:
        more = f" and {len(names) - 1} earlier" if len(names) > 1 else ""
        return (
            f"{metapackage} of {names[-1]}{more} can no longer be installed on today's base "
            f"({self.arch}), so its upgrade was checked without the packages of the base that a "
            f"site has: {'; '.join(facts)}"
        )

    def _problem(self, held: Held, names: Sequence[str]) -> Problem:
        more = f" (and from {len(names) - 1} earlier)" if len(names) > 1 else ""
        outcome, remedy = _KINDS[held.kind]
        first = (
            f"a site that installed {held.metapackage} from {names[-1]}{more} on {self.arch}: "
            f"`dnf upgrade` {outcome} {held.packages}".rstrip()
        )
        return Problem(held.kind, held.metapackage, (first, *held.facts), remedy)

    def _nevra(self, number: int) -> Nevra:
        return nevra_of(self.pool.solvable(number))


_KINDS = {
    "upgrade-impossible": (
        "finds no solution",
        "Make the new packages installable beside what those sites have.",
    ),
    "upgrade-blocked": (
        "keeps the old",
        "Make the new package installable there: publish what it requires, or let it obsolete "
        "what it cannot be installed with.",
    ),
    "obsoleted-by-base": (
        "removes",
        "Take the package out of the layer, or raise its version above the base's Obsoletes.",
    ),
}

"""Does `dnf upgrade` bring every site from every snapshot to what is to be published?

Two questions for each architecture. Has every package that was ever published a successor
(`succession`)? And, for each metapackage of each snapshot: is what a site has after installing
it brought to the new packages by `dnf upgrade`? dnf without `--best` keeps what it cannot
upgrade and says little about it, so a solution is not enough: every package of the layer has to
arrive.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farm.model import Chroot, Nevra, Problem
from farm.plan.findings import Findings, listed
from farm.plan.repodata import Pin
from farm.plan.shipment import Shipment
from farm.plan.succession import Succession
from farm.plan.universe import nevra_of
from farm.plan.upgradepool import Site, UpgradePool


def upgrade_findings(
    chroot: Chroot,
    pins: Sequence[Pin],
    cache: Path,
    earlier: Sequence[Shipment],
    new: Shipment,
    metapackages: Iterable[str] = (),
) -> Findings:
    """What stands between sites at any of the `earlier` snapshots and the `new` packages.

    `metapackages`: packages that sites install, beside those that a snapshot's own groups name.
    A problem that several snapshots share is there once, and names the last of them. A
    metapackage of a snapshot that today's base no longer lets anybody install is said to be so in
    the notes; its upgrade is then solved with the layer's packages alone as installed.
    Raises RepositoryError and StateError for damaged metadata.
    """
    named = frozenset(metapackages).union(*(shipment.metapackages for shipment in earlier))
    before = [shipment for shipment in earlier if shipment.packages]
    if all(_contained(shipment, new) for shipment in before):
        return Findings()
    pool = UpgradePool.open(chroot, pins, cache, before, new)
    with pool.universe.guard:
        succession = Succession(pool, chroot, new, named)
        order = succession.findings(before)
        sites = _Sites(pool, succession, chroot.arch)
        for shipment in before:
            for name in sorted(named):
                sites.check(shipment, name)
        return Findings.joined((order, sites.findings()))


def _contained(shipment: Shipment, new: Shipment) -> bool:
    """Whether everything of a snapshot is published still: then nobody has to go anywhere."""
    return {p.nevra for p in shipment.packages} <= {p.nevra for p in new.packages}


@dataclass(frozen=True)
class _Held:
    """A metapackage whose sites do not arrive, and why; the same from several snapshots."""

    metapackage: str
    kind: str
    packages: str  # that do not arrive
    facts: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Sites:
    """Solves each distinct site once and collects what was found."""

    pool: UpgradePool
    succession: Succession
    arch: str
    known: dict[tuple[str, frozenset[int]], tuple[_Held, ...]] = field(default_factory=dict)
    held: dict[_Held, list[str]] = field(default_factory=dict)
    unsolved: dict[tuple[str, tuple[str, ...]], list[str]] = field(default_factory=dict)

    def check(self, shipment: Shipment, metapackage: str) -> None:
        snapshot = [self.pool.earlier[package.nevra] for package in shipment.packages]
        wanted = [number for number in snapshot if self.pool.solvable(number).name == metapackage]
        if not wanted:
            return
        own = frozenset(snapshot)
        found = self.pool.install(snapshot, wanted[0])
        if not isinstance(found, frozenset):
            self.unsolved.setdefault((metapackage, found), []).append(shipment.name)
            found = self.pool.required(snapshot, wanted[0])
        key = (metapackage, found)
        if key not in self.known:
            self.known[key] = self._arrivals(metapackage, found, found & own)
        for held in self.known[key]:
            self.held.setdefault(held, []).append(shipment.name)

    def findings(self) -> Findings:
        problems = tuple(self._problem(held, names) for held, names in self.held.items())
        notes = tuple(
            f"{metapackage} of {names[-1]}"
            + (f" and {len(names) - 1} earlier" if len(names) > 1 else "")
            + f" can no longer be installed on today's base ({self.arch}), so its upgrade was "
            f"checked without the packages of the base that a site has: {'; '.join(facts)}"
            for (metapackage, facts), names in self.unsolved.items()
        )
        return Findings(problems, notes)

    def _arrivals(
        self, metapackage: str, site: frozenset[int], layer: frozenset[int]
    ) -> tuple[_Held, ...]:
        """What keeps this site from the new packages."""
        if all(self._nevra(number) in self.pool.new for number in layer):
            return ()
        with self.pool.site(site) as installed:
            after = installed.upgrade()
            if not isinstance(after, frozenset):
                return (_Held(metapackage, "upgrade-impossible", "", after),)
            reasons: dict[tuple[str, tuple[str, ...]], list[str]] = {}
            for number in sorted(layer, key=self._nevra):
                for kind, facts in self._left_behind(installed, number, after):
                    reasons.setdefault((kind, facts), []).append(str(self._nevra(number)))
        return tuple(
            _Held(metapackage, kind, listed(names, 4), facts)
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
                (
                    installed.why_not([wanted.id])
                    or installed.why_not(self._due(installed.copies))
                    or (f"dnf does not choose {nevra_of(wanted)}, although it could be installed",)
                ),
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
        base = [s for s in arrived if s.id in frozenset(self.pool.base)]
        names = [str(s) for s in base if s.name == old.name] or [str(s) for s in base]
        return (f"the base puts {listed(names)} in its place",)

    def _problem(self, held: _Held, names: Sequence[str]) -> Problem:
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

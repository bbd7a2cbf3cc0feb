"""Does every package that was ever published have a successor? rpm's rules, no solving.

dnf goes from a package only to a higher epoch:version-release of the same name (of the same
architecture, or to or from noarch), or to a package that obsoletes it. Everything else stays at
the sites for ever, silently.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import solv

from farm.model import Chroot, Nevra, Problem
from farm.plan.fit.findings import Findings, listed
from farm.plan.fit.shipment import Shipment, Shipped
from farm.plan.fit.upgradepool import UpgradePool
from farm.plan.universe import by_evr, nevra_of

_COUNTED = re.compile(r"(\d+)(.*)")


@dataclass(frozen=True)
class Old:
    """A package that was published, and in which snapshots."""

    shipped: Shipped
    snapshots: tuple[str, ...]

    @property
    def nevra(self) -> Nevra:
        return self.shipped.nevra


def same_place(one: str, other: str) -> bool:
    """Whether dnf takes a package of one architecture for an update of the other."""
    return one == other or "noarch" in (one, other)


@dataclass(frozen=True, eq=False)
class Succession:
    """What is to be published, as what follows on what was."""

    pool: UpgradePool
    chroot: Chroot
    new: Shipment
    metapackages: frozenset[str]

    def findings(self, earlier: Iterable[Shipment]) -> Findings:
        """Every package of every snapshot, each kind of fault once for a source package."""
        backwards: dict[tuple[str, str, str], list[tuple[Old, Any]]] = {}
        vanished: dict[str, list[Old]] = {}
        lost_debug: list[str] = []
        for old in self._highest(earlier):
            verdict = self._successor(old)
            if verdict is None and old.shipped.debug:
                if self._has_main(old):
                    lost_debug.append(old.nevra.name)
            elif verdict is None:
                vanished.setdefault(old.shipped.source or old.nevra.name, []).append(old)
            elif not isinstance(verdict, bool):
                key = (old.shipped.source or old.nevra.name, old.nevra.evr, verdict.evr)
                backwards.setdefault(key, []).append((old, verdict))
        problems = [self._backwards(source, faults) for (source, *_), faults in backwards.items()]
        for source, faults in vanished.items():
            problems += self._vanished(source, faults)
        notes = []
        # With none at all, they are not published here, or nothing is built yet.
        if lost_debug and any(package.debug for package in self.new.packages):
            notes.append(
                f"debug packages that are published no more stay as they are at sites that have "
                f"them: {listed(sorted(set(lost_debug)), 5)}"
            )
        return Findings(tuple(problems), tuple(notes))

    def successors(self, nevra: Nevra) -> tuple[Any, ...]:
        """New packages of the same name that dnf would compare with it."""
        found = (s for s in self._by_name.get(nevra.name, ()) if same_place(nevra.arch, s.arch))
        return tuple(found)

    def obsoleters(self, old: Any) -> tuple[Any, ...]:
        """New packages of another name that obsolete it."""
        return tuple(
            solvable
            for solvable, dep in self._obsoletes
            if solvable.name != old.name and old.matchesdep(solv.SOLVABLE_NAME, dep)
        )

    def taken_over(self, old: Any) -> bool:
        """Whether the base has it now: the same name no lower, or a package that obsoletes it."""
        pool = self.pool.universe.pool
        for solvable in pool.whatprovides(pool.Dep(old.name)):
            if (
                self.pool.in_base(solvable.id)
                and solvable.name == old.name
                and solvable.evrcmp(old) >= 0
            ):
                return True
        return any(
            self.pool.in_base(solvable.id) and old.matchesdep(solv.SOLVABLE_NAME, dep)
            for solvable in pool.whatmatchesdep(solv.SOLVABLE_OBSOLETES, pool.Dep(old.name))
            for dep in solvable.lookup_deparray(solv.SOLVABLE_OBSOLETES)
        )

    def _highest(self, earlier: Iterable[Shipment]) -> Iterator[Old]:
        """Of each name and architecture, each package without a successor comes out once, the
        highest one: what follows on that follows on the lower ones, too, unless by Obsoletes."""
        seen: dict[Nevra, tuple[Shipped, dict[str, None]]] = {}
        for shipment in earlier:
            for package in shipment.packages:
                seen.setdefault(package.nevra, (package, {}))[1][shipment.name] = None
        by_name: dict[tuple[str, str], list[Old]] = {}
        for nevra, (package, names) in seen.items():
            if nevra not in self.pool.new:
                old = Old(package, tuple(names))
                by_name.setdefault((nevra.name, nevra.arch), []).append(old)

        for _, olds in sorted(by_name.items()):
            faulty = [old for old in olds if self._successor(old) is not True]
            if faulty:
                highest = max(faulty, key=lambda old: by_evr(self._solvable(old)))
                names = {name: None for old in faulty for name in old.snapshots}
                yield Old(highest.shipped, tuple(names))

    def _successor(self, old: Old) -> bool | Any | None:
        """True: all is well. None: there is none. Else the new package that is no successor."""
        solvable = self._solvable(old)
        if self.obsoleters(solvable):
            return True
        rivals = self.successors(old.nevra)
        if not rivals:
            return True if self.taken_over(solvable) else None
        best: Any = max(rivals, key=by_evr)
        if best.evrcmp(solvable) > 0 or self._will_be_counted_up(old.nevra, nevra_of(best)):
            return True
        return best

    def _will_be_counted_up(self, was: Nevra, now: Nevra) -> bool:
        """Whether only the rebuild counter is lower, and it is given when the package is built."""
        return now in self._declared and _counters(was, now, self.chroot.dist) is not None

    @cached_property
    def _declared(self) -> frozenset[Nevra]:
        return frozenset(package.nevra for package in self.new.packages if package.declared)

    def _has_main(self, old: Old) -> bool:
        name = old.nevra.name
        if name.endswith("-debugsource"):
            return any(p.source == old.shipped.source for p in self.new.packages)
        return name.removesuffix("-debuginfo") in self._by_name

    def _backwards(self, source: str, faults: Sequence[tuple[Old, Any]]) -> Problem:
        old, best = faults[0]
        was, now = old.nevra, nevra_of(best)
        names = _names([fault.shipped for fault, _ in faults])
        where = _where([fault for fault, _ in faults])
        plural = len(faults) > 1
        if best.evrcmp(self._solvable(old)) == 0:
            return Problem(
                "evr-unchanged",
                source,
                (
                    f"{names}: {where} as {was}, to be published as {now}",
                    "to rpm these are the same version and release, so dnf sees nothing new: "
                    f"sites that have {was} keep it, silently",
                ),
                self._raise(source, was),
            )
        cause = _cause(was, now, self.chroot.dist)
        return Problem(
            "evr-backwards",
            source,
            (
                f"{names}: {where} at {was.evr}, to be published at {now.evr}",
                f"{was.evr} is the higher one: {cause}",
                f"dnf never goes back: sites that have the published "
                f"{'packages keep them' if plural else 'package keep it'}, silently, and get "
                f"no update until {source} is above {was.evr}",
            ),
            self._raise(source, was, now),
        )

    def _raise(self, source: str, was: Nevra, now: Nevra | None = None) -> str:
        """What to do so that the package is above `was`; None: it is level with it."""
        if source in self.metapackages:
            return f"Raise `version` of group {source} in groups.toml above {was.version}."
        counters = _counters(was, now, self.chroot.dist) if now is not None else None
        if counters is not None:
            return (
                f"The ledger has forgotten how often {source} was rebuilt; `farm ledger rebuild` "
                f"reads it from what is published. Or raise Release in {source}'s spec."
            )
        if now is not None and was.epoch > now.epoch:
            return f"Put `Epoch: {was.epoch}` back into {source}'s spec; an epoch stays for ever."
        release = f"`Release: {_above(was.release)}%{{?dist}}`"
        if now is None or was.version == now.version:
            return f"Set {release} in {source}'s spec, above every release that was published."
        return (
            f"Publish a version above {was.version}, or {was.version} again with {release}. If "
            f"the version has to go back, `Epoch: {was.epoch + 1}` in {source}'s spec is the last "
            "resort: it can never be taken out again."
        )

    def _vanished(self, source: str, faults: Sequence[Old]) -> Iterator[Problem]:
        heirs: dict[str, list[Old]] = {}
        for old in faults:
            heirs.setdefault(self._heir(old), []).append(old)
        for heir, some in heirs.items():
            names = _names([old.shipped for old in some])
            if heir == some[0].nevra.name:
                names = f"{heir}.{some[0].nevra.arch}"
            facts = [f"{names}: {_where(some)} at {listed(sorted({o.nevra.evr for o in some}))}"]
            them, they = ("them", "they stay") if len(some) > 1 else ("it", "it stays")
            facts.append(
                f"no package of {self.new.name}, nor of the base, has that name or obsoletes {them}"
            )
            facts += [
                f"{nevra_of(s)} provides {old.nevra.name}, but that replaces nothing: "
                "only Obsoletes does"
                for old in some
                for s in self._providers(old)
            ]
            facts.append(
                f"at sites that have {them}, {they} for ever, without updates, and may keep what "
                f"else is there from being upgraded"
            )
            yield Problem("vanished", source, tuple(facts), self._remedy(source, heir, some))

    def _remedy(self, source: str, heir: str, some: Sequence[Old]) -> str:
        lines = ", ".join(f"`{self._line(old)}`" for old in some)
        if heir == some[0].nevra.name:
            return (
                f"Publish {heir} for {some[0].nevra.arch} again, at the version-release that it "
                "has for the other architecture: dnf upgrades the two together or not at all."
            )
        if source in self.metapackages:
            return (
                f"Keep the group in groups.toml (a shorter list will do), or let a package that "
                f"takes its place say {lines}."
            )
        if heir:
            return f"If {heir} takes the place, write {lines} into its part of the spec."
        return (
            f"Keep it, or let a package that those sites have, or get with an upgrade, say {lines}."
        )

    def _heir(self, old: Old) -> str:
        """The new package that most probably takes its place, "" where none suggests itself."""
        if old.nevra.name in self._by_name:  # for another architecture
            return old.nevra.name
        providers = self._providers(old)
        if providers:
            return str(providers[0].name)
        if old.nevra.name in self.metapackages:
            return ""
        names = [
            p.nevra.name
            for p in self.new.packages
            if old.shipped.source and p.source == old.shipped.source and not p.debug
        ]
        if old.shipped.source in names:
            return old.shipped.source
        return min(names, default="")

    def _providers(self, old: Old) -> list[Any]:
        pool = self.pool.universe.pool
        new = frozenset(self.pool.new.values())
        found = (s for s in pool.whatprovides(pool.Dep(old.nevra.name)) if s.id in new)
        return sorted((s for s in found if s.name != old.nevra.name), key=str)

    def _line(self, old: Old) -> str:
        """The Obsoletes that covers what was published, later rebuilds of it included."""
        nevra = old.nevra
        epoch = f"{nevra.epoch}:" if nevra.epoch else ""
        following = f"{epoch}{nevra.version}-{_above(nevra.release)}"
        pool = self.pool.universe.pool
        dep = pool.Dep(nevra.name).Rel(solv.REL_LT, pool.Dep(following))
        if self._solvable(old).matchesdep(solv.SOLVABLE_NAME, dep):
            return f"Obsoletes: {nevra.name} < {following}"
        return f"Obsoletes: {nevra.name} <= {nevra.evr}"

    def _solvable(self, old: Old) -> Any:
        return self.pool.solvable(self.pool.earlier[old.nevra])

    @cached_property
    def _by_name(self) -> Mapping[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for number in self.pool.new.values():
            solvable = self.pool.solvable(number)
            found.setdefault(solvable.name, []).append(solvable)
        return found

    @cached_property
    def _obsoletes(self) -> tuple[tuple[Any, Any], ...]:
        solvables = [self.pool.solvable(number) for number in self.pool.new.values()]
        return tuple(
            (solvable, dep)
            for solvable in solvables
            for dep in solvable.lookup_deparray(solv.SOLVABLE_OBSOLETES)
        )


def _cause(was: Nevra, now: Nevra, dist: str) -> str:
    """Why the earlier of the two is the higher one."""
    if was.epoch != now.epoch:
        return f"the epoch went from {was.epoch} to {now.epoch}"
    if was.version != now.version:
        why = f"the version went from {was.version} back to {now.version}"
        if now.version.startswith(was.version + "~"):
            why += " (`~` sorts before the same version without it)"
        elif was.version.startswith(now.version + "^"):
            why += " (`^` sorts after the same version without it)"
        return why
    counters = _counters(was, now, dist)
    if counters is not None:
        return f"the rebuild counter went from {counters[0]} back to {counters[1]}"
    return f"the release went from {was.release} back to {now.release}"


def _counters(was: Nevra, now: Nevra, dist: str) -> tuple[int, int] | None:
    """Both rebuild counters, when the packages differ in nothing else."""
    found = []
    for nevra in (was, now):
        match = re.fullmatch(rf"(.*{re.escape(dist)})(?:\.(\d+))?", nevra.release)
        if match is None or (nevra.epoch, nevra.version) != (was.epoch, was.version):
            return None
        found.append((match[1], int(match[2] or 0)))
    return (found[0][1], found[1][1]) if dist and found[0][0] == found[1][0] else None


def _above(release: str) -> str:
    """The next release as one writes it in a spec: `2` above `1.deb13.4`."""
    match = _COUNTED.match(release)
    return str(int(match[1]) + 1) if match else "1"


def _names(packages: Iterable[Shipped]) -> str:
    """`munge, munge-libs and 2 debug packages`."""
    every = {package.nevra.name: package.debug for package in packages}
    names = [name for name, debug in every.items() if not debug]
    debug = len(every) - len(names)
    if debug and names:
        return listed([*names, f"{debug} debug package{'s' if debug > 1 else ''}"], 6)
    return listed(sorted(every), 6)


def _where(olds: Iterable[Old]) -> str:
    """`published in snapshot X and 3 more`, newest last in time but first in words."""
    names = list(dict.fromkeys(name for old in olds for name in old.snapshots))
    more = f" and {len(names) - 1} earlier" if len(names) > 1 else ""
    return f"published in {names[-1]}{more}"

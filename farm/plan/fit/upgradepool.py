"""A pool in which sites are upgraded: the base, what was published, what is to be published.

A site is what `dnf install METAPACKAGE` makes of the base and one snapshot; it becomes the set
of installed packages, and the base with the new packages is what is on offer. libsolv wants the
installed ones in a repository of their own, so they are copied into one, within the pool.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import solv

from farm.model import Chroot, Nevra
from farm.plan.fit.shipment import Shipment
from farm.plan.metadata import primary, solvfiles
from farm.plan.metadata.pins import Pin
from farm.plan.universe import Universe, nevra_of

EARLIER, NEW, INSTALLED = "published before", "new", "installed"
_MOST_FACTS = 8
_RULE = solv.Solver
_COPIED = (
    (solv.SOLVABLE_PROVIDES, 0),  # 0: with what is behind the marker, files and pre-requisites
    (solv.SOLVABLE_REQUIRES, 0),
    (solv.SOLVABLE_CONFLICTS, -1),
    (solv.SOLVABLE_OBSOLETES, -1),
    (solv.SOLVABLE_RECOMMENDS, -1),
    (solv.SOLVABLE_SUPPLEMENTS, -1),
    (solv.SOLVABLE_SUGGESTS, -1),
    (solv.SOLVABLE_ENHANCES, -1),
)


@dataclass(frozen=True, eq=False)
class UpgradePool:
    """Ids are those of packages in the pool."""

    universe: Universe
    unless: bool  # whether a package of the layer has such a dependency
    earlier: Mapping[Nevra, int]  # of all snapshots, each package once
    new: Mapping[Nevra, int]

    @classmethod
    def open(
        cls,
        chroot: Chroot,
        pins: Sequence[Pin],
        cache: Path,
        earlier: Iterable[Shipment],
        new: Shipment,
    ) -> UpgradePool:
        """Raises RepositoryError and StateError for damaged metadata."""
        universe = Universe.open(chroot, pins, cache)
        pool = universe.pool
        # Which packages are to be seen changes from question to question.
        pool.set_flag(solv.Pool.POOL_FLAG_WHATPROVIDESWITHDISABLED, 1)
        # The 32-bit and the 64-bit package of one name stand side by side.
        pool.set_flag(solv.Pool.POOL_FLAG_IMPLICITOBSOLETEUSESCOLORS, 1)
        before = {package.nevra: package for some in earlier for package in some.packages}
        shelves: list[dict[Nevra, int]] = []
        required: set[str] = set()
        unless = False
        for name, packages in ((EARLIER, tuple(before.values())), (NEW, new.packages)):
            pieces = [package.load() for package in packages]
            repo = pool.add_repo(name)
            repo.priority, repo.subpriority = -99, 1
            solvfiles.parse(pool, repo, primary.assembled(pieces), f"the packages {name}")
            shelves.append({nevra_of(solvable): solvable.id for solvable in repo.solvables_iter()})
            required.update(path for piece in pieces for path in primary.required_files(piece))
            unless |= any(b" unless " in piece for piece in pieces)
        pool.addfileprovides()
        pool.createwhatprovides()
        universe.learn(required)
        return cls(universe, unless, *shelves)

    def in_base(self, number: int) -> bool:
        """The base was read first."""
        return number < self._first

    @cached_property
    def _first(self) -> int:
        return min((*self.earlier.values(), *self.new.values()))

    def obsoleted_by_base(self) -> frozenset[str]:
        """Names of what packages of the base obsolete, whatever the version."""
        return frozenset(
            str(dep).split(" ", 1)[0]
            for solvable in self.universe.pool.solvables_iter()
            if self.in_base(solvable.id)
            for dep in solvable.lookup_deparray(solv.SOLVABLE_OBSOLETES)
        )

    def solvable(self, number: int) -> Any:
        return self.universe.pool.id2solvable(number)

    def show(self, numbers: Iterable[int]) -> None:
        """Have the solver see the base and, of the layer's packages, only these."""
        self.show_all()
        shown = frozenset(numbers)
        layer = (*self.earlier.values(), *self.new.values())
        self.universe.pool.set_disabled_list([n for n in layer if n not in shown])

    def show_all(self) -> None:
        """Needed whenever the pool is to grow: libsolv's map of what is seen does not grow with
        it, and is written past its end."""
        self.universe.pool.set_disabled_list([])

    def install(self, snapshot: Sequence[int], wanted: int) -> frozenset[int] | tuple[str, ...]:
        """What a site has after installing `wanted` from base and snapshot; or why it cannot.

        Where base and snapshot both would do, it has the snapshot's: the base may have come to
        offer its own only since.
        """
        self.show(snapshot)
        pool = self.universe.pool
        solver = pool.Solver()
        jobs = [pool.Job(solv.Job.SOLVER_INSTALL | solv.Job.SOLVER_SOLVABLE, wanted)]
        if snapshot:
            ids = pool.towhatprovides(sorted(snapshot))
            jobs.append(pool.Job(solv.Job.SOLVER_FAVOR | solv.Job.SOLVER_SOLVABLE_ONE_OF, ids))
        problems = solver.solve(jobs)
        if problems:
            return self.reasons(problems[0])
        return frozenset(solvable.id for solvable in solver.transaction().newsolvables())

    def all_fit(self, layer: Iterable[int], base: Iterable[int]) -> bool:
        """Whether these packages can be installed all together, with what is new or of the base."""
        wanted = {*layer, *base}
        self.show({*self.new.values(), *layer})
        pool = self.universe.pool
        solver = pool.Solver()
        solver.set_flag(solver.SOLVER_FLAG_IGNORE_RECOMMENDED, 1)
        how = solv.Job.SOLVER_INSTALL | solv.Job.SOLVER_SOLVABLE
        return not solver.solve([pool.Job(how, number) for number in sorted(wanted)])

    def required(self, snapshot: Iterable[int], wanted: int) -> frozenset[int]:
        """Packages of the snapshot that `wanted` leads to, whatever else is missing."""
        own = frozenset(snapshot)
        pool = self.universe.pool
        found, todo = {wanted}, [wanted]
        while todo:
            for dep in self.solvable(todo.pop()).lookup_deparray(solv.SOLVABLE_REQUIRES):
                having = [s for s in pool.whatprovides(dep) if s.id in own]
                named = [s for s in having if s.name == str(dep).split(" ", 1)[0]] or having
                for solvable in named[:1]:
                    if solvable.id not in found:
                        found.add(solvable.id)
                        todo.append(solvable.id)
        return frozenset(found)

    @contextlib.contextmanager
    def site(self, packages: Iterable[int]) -> Iterator[Site]:
        """A site that has these packages; what is on offer is the base and what is new."""
        pool = self.universe.pool
        self.show_all()
        repo = pool.add_repo(INSTALLED)
        copies = {}
        for number in sorted(packages):
            original, copy = self.solvable(number), repo.add_solvable()
            copy.name, copy.evr, copy.arch = original.name, original.evr, original.arch
            for key, marker in _COPIED:
                for dep in original.lookup_deparray(key, marker):
                    copy.add_deparray(key, dep)
            copies[number] = copy.id
        pool.installed = repo
        try:
            pool.createwhatprovides()
            self.show(self.new.values())
            yield Site(self, copies)
        finally:
            self.show_all()
            pool.installed = None
            repo.free(True)
            pool.createwhatprovides()  # freeing takes it away

    def reasons(self, problem: Any) -> tuple[str, ...]:
        """One of libsolv's problems in plain words, what breaks last."""
        infos = [info for rule in problem.findallproblemrules() for info in rule.allinfos()]
        told = sorted({(info.type not in _CHAIN, self._sentence(info)) for info in infos})
        facts = [sentence for _, sentence in told if sentence]
        if len(facts) > _MOST_FACTS:
            return (f"… {len(facts) - _MOST_FACTS} more of the kind", *facts[-_MOST_FACTS:])
        return tuple(facts)

    def _sentence(self, info: Any) -> str:
        kind, one, other, dep = info.type, info.solvable, info.othersolvable, info.dep
        if kind == _RULE.SOLVER_RULE_PKG_NOTHING_PROVIDES_DEP:
            return f"{named(one)} requires {dep}, which nothing provides"
        if kind == _RULE.SOLVER_RULE_PKG_REQUIRES:
            having = sorted({named(s) for s in self.universe.pool.whatprovides(dep)
                             if s.repo.name != EARLIER})  # fmt: skip
            more = f" and {len(having) - 3} more" if len(having) > 3 else ""
            return f"{named(one)} requires {dep}, provided by {', '.join(having[:3])}{more}"
        if kind == _RULE.SOLVER_RULE_PKG_CONFLICTS:
            return f"{named(one)} conflicts with {dep}, provided by {named(other)}"
        if kind in _OBSOLETES:
            return f"{named(one)} obsoletes {dep}, that is {named(other)}"
        if kind == _RULE.SOLVER_RULE_PKG_SAME_NAME:
            first, second = sorted((named(one), named(other)))
            return f"only one of {first} and {second} can be installed"
        if kind == _RULE.SOLVER_RULE_PKG_SELF_CONFLICT:
            return f"{named(one)} conflicts with {dep}, which it provides itself"
        if kind == _RULE.SOLVER_RULE_PKG_NOT_INSTALLABLE and one.repo.name != EARLIER:
            return f"{named(one)} is for another architecture"
        if kind == _RULE.SOLVER_RULE_UPDATE:
            return f"{named(one)} is there, and an upgrade removes nothing without a successor"
        return ""


_OBSOLETES = (
    _RULE.SOLVER_RULE_PKG_OBSOLETES,
    _RULE.SOLVER_RULE_PKG_IMPLICIT_OBSOLETES,
    _RULE.SOLVER_RULE_PKG_INSTALLED_OBSOLETES,
)
_CHAIN = (_RULE.SOLVER_RULE_UPDATE, _RULE.SOLVER_RULE_PKG_REQUIRES)


@dataclass(frozen=True, eq=False)
class Site:
    """Installed packages within the pool; good while its `UpgradePool.site` block lasts."""

    pool: UpgradePool
    copies: Mapping[int, int]  # package → its installed copy

    def upgrade(self) -> frozenset[int] | tuple[str, ...]:
        """Everything that is installed after `dnf upgrade` (copies among them); or why not."""
        solver = self._solver()
        problems = solver.solve([self._everything(), *self._not_wanted_before()])
        if problems:
            return self.pool.reasons(problems[0])
        transaction = solver.transaction()
        after = (*transaction.newsolvables(), *transaction.keptsolvables())
        return frozenset(solvable.id for solvable in after)

    def why_not(self, wanted: Iterable[int]) -> tuple[str, ...]:
        """Why an upgrade cannot bring these packages; () when it could, were it asked to."""
        solver = self._solver()
        job = solv.Job.SOLVER_INSTALL | solv.Job.SOLVER_SOLVABLE
        jobs = [self.pool.universe.pool.Job(job, number) for number in wanted]
        problems = solver.solve([self._everything(), *jobs])
        return self.pool.reasons(problems[0]) if problems else ()

    def _everything(self) -> Any:
        job = solv.Job.SOLVER_UPDATE | solv.Job.SOLVER_SOLVABLE_ALL
        return self.pool.universe.pool.Job(job, 0)

    def _not_wanted_before(self) -> list[Any]:
        """What the site was recommended and does not have, dnf does not bring with an upgrade."""
        pool = self.pool.universe.pool
        installed = frozenset(self.copies.values())
        unwanted: set[int] = set()
        for number in self.copies.values():
            solvable = self.pool.solvable(number)
            for dep in solvable.lookup_deparray(solv.SOLVABLE_RECOMMENDS):
                having = {provider.id for provider in pool.whatprovides(dep)}
                if not having & installed:
                    unwanted |= having
        job = solv.Job.SOLVER_EXCLUDEFROMWEAK | solv.Job.SOLVER_SOLVABLE
        return [pool.Job(job, number) for number in sorted(unwanted)]

    def _solver(self) -> Any:
        """A solver that is set as dnf sets it."""
        solver = self.pool.universe.pool.Solver()
        for flag in (
            solver.SOLVER_FLAG_ALLOW_VENDORCHANGE,
            solver.SOLVER_FLAG_KEEP_ORPHANS,
            solver.SOLVER_FLAG_BEST_OBEY_POLICY,
            solver.SOLVER_FLAG_YUM_OBSOLETES,
        ):
            solver.set_flag(flag, 1)
        return solver


def named(solvable: Any) -> str:
    """`munge-1.0-1.x86_64 (new)`; in brackets `installed`, `new`, or a repository of the base."""
    return f"{solvable} ({solvable.repo.name})"

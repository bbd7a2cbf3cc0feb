"""A layer adds to its base: it must not take the place of the base's packages or files.

A site that enables the layer's repository for one package must not get others of its system
exchanged by the next `dnf upgrade`. Where that is meant, farm.toml says so:

    [releases.debian-13.replaces]
    munge = ["munge", "libmunge*"]   # source package of the layer = packages of the base

Only what replaces: the same name, and Obsoletes, the base's of the layer's included: those take
the layer's package away. A capability that is a base package's name
replaces nothing, but dnf may choose either; that is said in a note.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import solv

from farm.config import nearest
from farm.model import LAYER, Nevra, Problem
from farm.plan.fit.findings import Findings, listed
from farm.plan.universe import Universe, by_evr, nevra_of

Declarations = Mapping[str, Sequence[str]]  # source package → names of the base, as patterns


def replaces_findings(
    universe: Universe,
    sources: Mapping[Nevra, str],
    declared: Declarations,
    *,
    release: str,
) -> Findings:
    """Which packages of the universe's layer replace or obsolete packages of its base.

    `sources` names the source package of each package of the layer; `declared` is the release's
    `replaces` in farm.toml. A declaration that nothing makes use of is said in a note, and so is
    one that does not help, because the base has the higher version.
    """
    with universe.guard:
        return _Comparison(universe, sources, declared, release).findings()


@dataclass(frozen=True)
class _Taken:
    """A package of the layer and the one of the base whose place it takes."""

    ours: Any
    theirs: Any
    by: str  # "name", or the Obsoletes


@dataclass(frozen=True, eq=False)
class _Comparison:
    universe: Universe
    sources: Mapping[Nevra, str]
    declared: Declarations
    release: str
    used: set[tuple[str, str]] = field(default_factory=set)  # source, pattern

    def findings(self) -> Findings:
        layer = [
            solvable
            for repo in self.universe.pool.repos
            if repo.name == LAYER
            for solvable in repo.solvables_iter()
        ]
        wrong: dict[tuple[str, str], list[_Taken]] = {}
        notes: list[str] = []
        taken_away: dict[str, list[_Taken]] = {}
        for ours in sorted(layer, key=str):
            source = self.sources.get(nevra_of(ours)) or ours.name
            for taken in self._obsoleted_by(ours):
                if not self._is_declared(source, taken.theirs.name):
                    taken_away.setdefault(source, []).append(taken)
            for taken in (*self._same_name(ours), *self._obsoleted(ours)):
                if not self._is_declared(source, taken.theirs.name):
                    kind = "replaces-base" if taken.by == "name" else "obsoletes-base"
                    wrong.setdefault((kind, source), []).append(taken)
                elif taken.by == "name" and taken.ours.evrcmp(taken.theirs) < 0:
                    notes.append(
                        f"{ours} is declared to replace the base's, but {_named(taken.theirs)} "
                        "is higher: sites have that one"
                    )
            notes += self._provided(ours, source)
        makers = {"replaces-base": self._replaces, "obsoletes-base": self._obsoletes}
        problems = tuple(
            makers[kind](source, some) for (kind, source), some in sorted(wrong.items(), key=_key)
        )
        problems += tuple(_loses(source, some) for source, some in sorted(taken_away.items()))
        return Findings(problems, (*dict.fromkeys(notes), *self._unused()))

    def _same_name(self, ours: Any) -> Iterator[_Taken]:
        rivals = self._base_called(ours.name)
        if rivals:
            yield _Taken(ours, max(rivals, key=by_evr), "name")

    def _obsoleted(self, ours: Any) -> Iterator[_Taken]:
        for dep in ours.lookup_deparray(solv.SOLVABLE_OBSOLETES):
            for theirs in self._base_called(str(dep).split(" ", 1)[0]):
                if theirs.name != ours.name and theirs.matchesdep(solv.SOLVABLE_NAME, dep):
                    yield _Taken(ours, theirs, str(dep))

    def _obsoleted_by(self, ours: Any) -> Iterator[_Taken]:
        """Packages of the base that say that they take our place."""
        for theirs, dep in self._obsoletes_of_base.get(ours.name, ()):
            if theirs.name != ours.name and ours.matchesdep(solv.SOLVABLE_NAME, dep):
                yield _Taken(ours, theirs, str(dep))

    @cached_property
    def _obsoletes_of_base(self) -> dict[str, list[tuple[Any, Any]]]:
        """Name → packages of the base that obsolete some version of it, and how they say so."""
        found: dict[str, list[tuple[Any, Any]]] = {}
        for said in self.universe.pool.Dataiterator(solv.SOLVABLE_OBSOLETES):
            theirs, dep = said.solvable, said.dep
            if theirs.repo.name != LAYER and theirs.installable():
                found.setdefault(str(dep).split(" ", 1)[0], []).append((theirs, dep))
        return {name: sorted(some, key=str) for name, some in found.items()}

    def _provided(self, ours: Any, source: str) -> Iterator[str]:
        """Names of base packages that ours provides without replacing them."""
        obsoleted = {taken.theirs.name for taken in self._obsoleted(ours)}
        names = {
            str(dep).split(" ", 1)[0] for dep in ours.lookup_deparray(solv.SOLVABLE_PROVIDES)
        } - {ours.name, *obsoleted}
        for name in sorted(names):
            rivals = self._base_called(name)
            if rivals and not self._is_declared(source, name):
                yield (
                    f"{ours} provides {name}, which is the name of {_named(rivals[0])}: where "
                    "something requires it, dnf may choose either"
                )

    def _base_called(self, name: str) -> list[Any]:
        pool = self.universe.pool
        found = (s for s in pool.whatprovides(pool.Dep(name)) if s.name == name)
        return sorted((s for s in found if s.repo.name != LAYER), key=str)

    def _is_declared(self, source: str, name: str) -> bool:
        patterns = [p for p in self.declared.get(source, ()) if fnmatch.fnmatchcase(name, p)]
        self.used.update((source, pattern) for pattern in patterns)
        return bool(patterns)

    def _unused(self) -> Iterator[str]:
        known = sorted({source for source in self.sources.values() if source})
        for source, patterns in sorted(self.declared.items()):
            where = f"farm.toml: releases.{self.release}.replaces.{source}"
            if source not in known:
                yield f"{where}: the layer has no package of that name. " + nearest(source, known)
                continue
            idle = [pattern for pattern in patterns if (source, pattern) not in self.used]
            if idle:
                yield (
                    f"{where}: {listed(idle, 5)} can be taken out, {source} replaces nothing of "
                    "that name in the base"
                )

    def _replaces(self, source: str, some: Sequence[_Taken]) -> Problem:
        names = listed(dict.fromkeys(taken.ours.name for taken in some), 6)
        facts = [
            f"{names}: the base has "
            + ("packages of the same names" if len(some) > 1 else "a package of the same name")
        ]
        for taken in some:
            facts.append(f"{taken.ours} of the layer, {_named(taken.theirs)}: {_wins(taken)}")
        return Problem("replaces-base", source, tuple(facts), self._remedy(source, some, "name"))

    def _obsoletes(self, source: str, some: Sequence[_Taken]) -> Problem:
        facts = [
            f"{taken.ours} obsoletes {taken.by}, and the base has {_named(taken.theirs)}"
            for taken in some
        ]
        facts.append("`dnf upgrade` removes the base's from every site that enables the layer")
        return Problem("obsoletes-base", source, tuple(facts), self._remedy(source, some, "line"))

    def _remedy(self, source: str, some: Iterable[_Taken], how: str) -> str:
        names = ", ".join(f'"{name}"' for name in sorted({taken.theirs.name for taken in some}))
        first = (
            "Take it out of the layer, or give it a name and paths of its own"
            if how == "name"
            else "Take the Obsoletes out, or narrow it to versions that only the layer had"
        )
        return (
            f"{first}. If the layer is meant to replace it, say so in farm.toml, under "
            f"[releases.{self.release}.replaces]: {source} = [{names}]"
        )


def _loses(source: str, some: Sequence[_Taken]) -> Problem:
    facts = [
        f"{_named(taken.theirs)} obsoletes {taken.by}, and the layer has {taken.ours}"
        for taken in some
    ]
    facts.append("`dnf upgrade` puts the base's in the place of the layer's at every site")
    limits = listed(dict.fromkeys(taken.by for taken in some), 5)
    return Problem(
        "obsoleted-by-base",
        source,
        tuple(facts),
        f"Take it out of the layer if the base's will do, or raise it above what the base"
        f" obsoletes ({limits}), or give it another name.",
    )


def _wins(taken: _Taken) -> str:
    order = taken.ours.evrcmp(taken.theirs)
    if order > 0:
        return "the layer's is higher and takes the place of the base's at every site"
    if order == 0:
        return "the versions are equal, and sites have the one or the other"
    return "the base's is higher, so sites never get the layer's"


def _named(solvable: Any) -> str:
    return f"{solvable} of repository {solvable.repo.name}"


def _key(item: tuple[tuple[str, str], list[_Taken]]) -> tuple[str, str]:
    (kind, source), _ = item
    return source, kind

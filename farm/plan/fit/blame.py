"""Which change of the base is behind a problem: the Provides that vanished, the new Conflicts.

Asked with the universe in which all was well and the one in which it is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import solv

from farm.model import LAYER
from farm.plan.universe import Universe, by_evr

_RULE = solv.Solver
_MOST = 8
_TOLD = 3
_VERBS = (
    ("provides", solv.SOLVABLE_PROVIDES),
    ("requires", solv.SOLVABLE_REQUIRES),
    ("conflicts with", solv.SOLVABLE_CONFLICTS),
    ("obsoletes", solv.SOLVABLE_OBSOLETES),
)
_RELATIONS = tuple(kind for _, kind in _VERBS)


@dataclass(frozen=True, eq=False)
class Bases:
    """Two states of a base, the same layer over both."""

    before: Universe
    now: Universe

    @cached_property
    def _old(self) -> dict[str, list[Any]]:
        return _by_name(self.before)

    @cached_property
    def _new(self) -> dict[str, list[Any]]:
        return _by_name(self.now)

    @cached_property
    def changed_names(self) -> frozenset[str]:
        """Names whose packages are not the same ones in both."""
        if [pin.revision for pin in self.before.pins] == [p.revision for p in self.now.pins]:
            return frozenset()
        return frozenset(
            name
            for name in self._old.keys() | self._new.keys()
            if _identities(self._old.get(name, ())) != _identities(self._new.get(name, ()))
        )

    @cached_property
    def changed(self) -> tuple[str, ...]:
        """What came, went or became another version, one sentence each, sorted."""
        return tuple(self._became(name) for name in sorted(self.changed_names))

    def had(self, capability: str) -> bool:
        """Whether the base provided it before."""
        return any(each.repo.name != LAYER for each in self.before.providers(capability))

    def behind(self, facts: Iterable[str]) -> tuple[str, ...]:
        """The changes of those packages that these facts name."""
        said = " ".join(facts)
        return tuple(
            self._became(name)
            for name in sorted(self.changed_names)
            if any(str(each) in said for each in self._new.get(name, ()))
        )[:_MOST]

    def causes(self, missing: Iterable[str], infos: Sequence[Any]) -> tuple[str, ...]:
        """The changes behind capabilities that nobody has and behind libsolv's rules, in words."""
        found: dict[str, None] = {}
        for text in missing:
            found |= dict.fromkeys(self._lost(text))
        for info in infos:
            found |= dict.fromkeys(self._of_rule(info))
        if not found:
            touched = {s.name for info in infos for s in (info.solvable, info.othersolvable) if s}
            found |= dict.fromkeys(self._became(n) for n in sorted(touched & self.changed_names))
        return tuple(found)[:_MOST]

    def _of_rule(self, info: Any) -> Iterator[str]:
        one, other, dep = info.solvable, info.othersolvable, str(info.dep)
        kind = info.type
        if kind in (
            _RULE.SOLVER_RULE_PKG_NOTHING_PROVIDES_DEP,
            _RULE.SOLVER_RULE_PKG_REQUIRES,
        ):
            lost = tuple(self._lost(dep))
            yield from lost
            if not lost:
                yield from self._newly(one, solv.SOLVABLE_REQUIRES, dep, "requires")
        elif kind == _RULE.SOLVER_RULE_PKG_CONFLICTS:
            yield from self._newly(one, solv.SOLVABLE_CONFLICTS, dep, "conflicts with")
            yield from self._newly_has(other, dep)
        elif kind in (
            _RULE.SOLVER_RULE_PKG_OBSOLETES,
            _RULE.SOLVER_RULE_PKG_IMPLICIT_OBSOLETES,
        ):
            yield from self._newly(one, solv.SOLVABLE_OBSOLETES, dep, "obsoletes")
            yield from self._newly_has(other, dep)
        elif kind == _RULE.SOLVER_RULE_PKG_SAME_NAME and one.name in self.changed_names:
            yield self._became(one.name)

    def _lost(self, capability: str) -> Iterator[str]:
        """Packages that had it and have it no more, while nobody else took it over."""
        if self.now.providers(capability):
            return
        for solvable in self.before.providers(capability):
            if solvable.repo.name == LAYER:
                continue
            new = self._new.get(solvable.name)
            if new:
                turned = _turned(solvable, _newest(new))
                yield f"{turned}: it does not provide {capability} any more"
            else:
                yield f"{solvable}, which provided {capability}, is gone from the base"

    def _newly(self, solvable: Any, kind: int, dep: str, verb: str) -> Iterator[str]:
        """A package of the base that says something it did not say before."""
        if solvable.repo.name == LAYER or solvable.name not in self.changed_names:
            return
        old = self._old.get(solvable.name)
        if not old:
            yield f"{solvable} is new in the base and {verb} {dep}"
        elif not any(dep in map(str, each.lookup_deparray(kind)) for each in old):
            yield f"{_turned(_newest(old), solvable)}: it now {verb} {dep}"

    def _newly_has(self, solvable: Any, dep: str) -> Iterator[str]:
        if solvable.repo.name == LAYER or solvable.name not in self.changed_names:
            return
        old = self._old.get(solvable.name)
        if not old:
            yield f"{solvable} is new in the base and provides {dep}"
        elif not any(each.name == solvable.name for each in self.before.providers(dep)):
            yield f"{_turned(_newest(old), solvable)}: it now provides {dep}"

    def _became(self, name: str) -> str:
        old, new = self._old.get(name), self._new.get(name)
        if not old:
            return f"{_newest(new or [])} is new in the base"
        if not new:
            return f"{_newest(old)} is gone from the base"
        if str(_newest(old)) == str(_newest(new)):
            before, now = set(map(str, old)), set(map(str, new))
            if before == now:
                return f"{_newest(old)} {_difference(_newest(old), _newest(new))}"
            came = [f"{each} is there as well" for each in sorted(now - before)]
            went = [f"{each} is gone from the base" for each in sorted(before - now)]
            return ", ".join((*came, *went))
        return f"{_newest(old)} became {_newest(new).evr}"


def _by_name(universe: Universe) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for repo in universe.pool.repos:
        if repo.name != LAYER:
            for solvable in repo.solvables:
                found.setdefault(solvable.name, []).append(solvable)
    return found


def _identities(solvables: Iterable[Any]) -> frozenset[tuple[str, ...]]:
    """What packages are and say of themselves: a mirror may tell other things of the same file."""
    return frozenset(
        (
            str(solvable),
            str(solvable.lookup_checksum(solv.SOLVABLE_CHECKSUM)),
            *(_said(solvable, kind) for kind in _RELATIONS),
        )
        for solvable in solvables
    )


def _said(solvable: Any, kind: int) -> str:
    # files are added to Provides as they are asked for
    texts = (str(dep) for dep in solvable.lookup_deparray(kind))
    return ",".join(sorted(text for text in texts if not text.startswith("/")))


def _difference(old: Any, new: Any) -> str:
    """What a package says of itself that it did not say before; at most some of it."""
    told = []
    for verb, kind in _VERBS:
        before, now = (
            {str(dep) for dep in each.lookup_deparray(kind)} for each in (old, new)
        )  # fmt: skip
        gone, come = (
            sorted(text for text in texts if not text.startswith("/"))
            for texts in (before - now, now - before)
        )
        told += [f"{verb} {text} no more" for text in gone]
        told += [f"now {verb} {text}" for text in come]
    if not told:
        return "has other bytes"
    more = f" and says {len(told) - _TOLD} other things" if len(told) > _TOLD else ""
    return ", ".join(told[:_TOLD]) + more


def _turned(old: Any, new: Any) -> str:
    return f"{old} changed" if str(old) == str(new) else f"{old} became {new.evr}"


def _newest(solvables: Sequence[Any]) -> Any:
    return max(solvables, key=by_evr)

"""Why libsolv found no solution, as the smallest set of facts that cannot hold together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import solv

from farm.model import LAYER, Problem
from farm.plan.fit.blame import Bases
from farm.plan.metadata.rich import Rich, parse
from farm.plan.metadata.richdeps import excess
from farm.plan.metadata.rpmmd import MALFORMED
from farm.plan.metadata.unlisted import REMEDY, unknown, without_packages
from farm.plan.spelling import suggestion
from farm.plan.universe import Universe, by_evr

_MOST_FACTS = 12
_MOST_MISSING = 10
_RULE = solv.Solver


@dataclass(frozen=True)
class Wish:
    """Something to be installed, and what asks for it: BuildRequires, set-up, request."""

    text: str
    origin: str


@dataclass(frozen=True)
class Failure:
    """libsolv's problems; they may not outlive the solver that they came from."""

    solver: Any
    problems: tuple[Any, ...]


Solve = Callable[[Universe, Iterable[Wish], Iterable[str]], "frozenset[int] | Failure"]


def problem_of(
    universe: Universe,
    subject: str,
    wishes: Sequence[Wish],
    conflicts: Sequence[str],
    solve: Solve,
    missing: Sequence[Wish],
    bases: Bases | None = None,
) -> Problem:
    """The Problem of wishes that cannot be fulfilled together; `missing`: nobody has them.

    With `bases`, it names the changes of the base that are behind it.
    """
    if missing:
        facts = [_nobody_has(universe, wish) for wish in missing[:_MOST_MISSING]]
        if len(missing) > _MOST_MISSING:
            facts.append(f"… and {len(missing) - _MOST_MISSING} more that nothing provides")
        empty = without_packages(universe)
        facts += [
            f"repository {name!r} has no package for {universe.chroot.arch}" for name in empty
        ]
        remedies = dict.fromkeys(suggestion(universe, wish.text) for wish in missing[:3])
        changes = bases.causes([wish.text for wish in missing], ()) if bases else ()
        remedy = " ".join(r for r in remedies if r)
        if all(unknown(universe, wish.text) for wish in missing):
            return Problem("unknown", subject, tuple(facts), REMEDY, changes)
        return Problem("nothing-provides", subject, tuple(facts), remedy, changes)
    wishes, conflicts = _smallest(universe, tuple(wishes), tuple(conflicts), solve)
    failure = solve(universe, wishes, conflicts)
    assert isinstance(failure, Failure)  # `_smallest` keeps what cannot be solved
    kind, told, remedy = facts_of(universe, failure)
    facts = [*_headline(universe, wishes, conflicts, told), *told]
    changes = bases.causes((), _infos(failure.problems[0])) if bases else ()
    return Problem(kind, subject, tuple(facts), remedy, changes)


def facts_of(
    universe: Universe, failure: Failure, names: Iterable[str] | None = None
) -> tuple[str, tuple[str, ...], str]:
    """Kind of the first problem, its facts in plain words, and the remedy if there is one.

    `names` as for `suggestion`.
    """
    infos = _infos(failure.problems[0])
    lost = [info for info in infos if info.type == _RULE.SOLVER_RULE_PKG_NOTHING_PROVIDES_DEP]
    facts = list(dict.fromkeys(filter(None, (_sentence(universe, info) for info in infos))))
    if len(facts) >= _MOST_FACTS:
        # the last ones tell where it breaks
        half = _MOST_FACTS // 2
        left_out = f"… and {len(facts) - 2 * half + 1} more"
        facts = [*facts[:half], left_out, *facts[1 - half :]]
    if any(unknown(universe, str(info.dep)) for info in lost):
        return "unknown", tuple(facts), REMEDY
    remedy = suggestion(universe, str(lost[0].dep), names) if lost else ""
    return "nothing-provides" if lost else "conflict", tuple(facts), remedy


def nothing_provides(universe: Universe, solvable: Any, text: str) -> str:
    """`solvable` requires `text`, which nothing provides, as far as it can be known."""
    if text.startswith(MALFORMED):
        words = text.removeprefix(MALFORMED) or "it has no name"
        return f"{_named(solvable)} has a dependency that is not well-formed: {words}"
    doubt = unknown(universe, text)
    if doubt:
        return f"{_named(solvable)} requires {text}; {doubt}"
    lacking = _lacking(universe, text)
    if lacking:
        return f"{_named(solvable)} requires {text}, and {lacking}"
    name, _, version = text.partition(" ")
    newest = _newest(universe, name) if version and not name.startswith("(") else ""
    known = f"; the newest there is {newest}" if newest else ""
    return f"{_named(solvable)} requires {text}, which nothing provides{known}"


def requires_from(solvable: Any, text: str, providers: Iterable[Any]) -> str:
    """`solvable` requires `text`, which these packages provide."""
    return f"{_named(solvable)} requires {text}, provided by {_some(providers)}"


def _nobody_has(universe: Universe, wish: Wish) -> str:
    name, _, version = wish.text.partition(" ")
    what = _asked(wish)
    if name.startswith("@"):
        return f"{what}: the base has no such group"
    doubt = unknown(universe, wish.text)
    if doubt:
        return f"{what}: {doubt}"
    if wish.text.startswith("("):
        return f"{what}: {_lacking(universe, wish.text) or 'no choice of packages fulfils it'}"
    newest = _newest(universe, name) if version else ""
    return f"{what}: the newest there is {newest}" if newest else f"{what}: nothing provides it"


def _asked(wish: Wish) -> str:
    return wish.text if wish.origin == "request" else f"{wish.origin}: {wish.text}"


def _lacking(universe: Universe, text: str) -> str:
    """The parts of a rich dependency that nobody has, in words, or ""."""
    tree = parse(text) if text.startswith("(") and not excess(text) else None
    lost = [
        part
        for part in dict.fromkeys(_leaves(tree) if tree else ())
        if not universe.pool.whatprovides(universe.dependency(part))
    ]
    return f"nothing provides {', nor '.join(lost)}" if lost else ""


def _leaves(tree: Rich) -> Iterator[str]:
    if not tree.parts:
        yield tree.text
    for part in tree.parts:
        yield from _leaves(part)


def _newest(universe: Universe, name: str) -> str:
    """The package with the highest version among those that provide `name`, "" without any.

    Where it has `name` in another version than its own, that is said.
    """
    solvables: list[Any] = sorted(universe.pool.whatprovides(universe.pool.Dep(name)), key=str)
    if not solvables:
        return ""

    newest = max(solvables, key=by_evr)
    said = [str(dep) for dep in newest.lookup_deparray(solv.SOLVABLE_PROVIDES)]
    versions = [text for text in said if text.startswith(f"{name} ")]
    if not versions or f"{name} = {newest.evr}" in versions:
        return _named(newest)
    return f"{versions[0]} of {_named(newest)}"


def _smallest(
    universe: Universe, wishes: tuple[Wish, ...], conflicts: tuple[str, ...], solve: Solve
) -> tuple[tuple[Wish, ...], tuple[str, ...]]:
    """Wishes and conflicts of which none can be left out without making the rest solvable."""
    items: list[tuple[bool, Wish | str]] = [(True, wish) for wish in wishes]
    items += [(False, text) for text in conflicts]

    def split(chosen: Sequence[tuple[bool, Any]]) -> tuple[tuple[Wish, ...], tuple[str, ...]]:
        return tuple(x for w, x in chosen if w), tuple(x for w, x in chosen if not w)

    def fails(chosen: Sequence[tuple[bool, Any]]) -> bool:
        return isinstance(solve(universe, *split(chosen)), Failure)

    size = max(1, len(items) // 2)
    while True:
        start = 0
        while start < len(items):
            rest = items[:start] + items[start + size :]
            if rest and fails(rest):
                items = rest
            else:
                start += size
        if size == 1:
            return split(items)
        size //= 2


def _infos(problem: Any) -> list[Any]:
    """The rules of a problem, from what was asked for to where it breaks, most telling last."""
    last = (
        _RULE.SOLVER_RULE_PKG_NOTHING_PROVIDES_DEP, _RULE.SOLVER_RULE_PKG_CONFLICTS,
        _RULE.SOLVER_RULE_PKG_OBSOLETES, _RULE.SOLVER_RULE_PKG_IMPLICIT_OBSOLETES,
        _RULE.SOLVER_RULE_PKG_SAME_NAME, _RULE.SOLVER_RULE_PKG_SELF_CONFLICT,
        _RULE.SOLVER_RULE_PKG_NOT_INSTALLABLE,
    )  # fmt: skip
    infos = [info for rule in problem.findallproblemrules() for info in rule.allinfos()]
    depth = _depths(infos)

    def telling(info: Any) -> bool:
        requires = info.type == _RULE.SOLVER_RULE_PKG_REQUIRES
        return info.type in last or (requires and not info.solvable.pool.whatprovides(info.dep))

    return sorted(infos, key=lambda info: (telling(info), depth(info), _text(info)))


def _depths(infos: Sequence[Any]) -> Callable[[Any], int]:
    """How many requirements lie between a rule's package and what was asked for."""
    needs: dict[int, set[int]] = {}
    for info in infos:
        if info.type == _RULE.SOLVER_RULE_PKG_REQUIRES:
            having = {each.id for each in info.solvable.pool.whatprovides(info.dep)}
            needs.setdefault(info.solvable.id, set()).update(having)
    reached = needs.keys() - set[int]().union(*needs.values()) or needs.keys()
    found: dict[int, int] = {}
    depth = 0
    while reached:
        found |= dict.fromkeys(reached, depth)
        depth += 1
        reached = set[int]().union(*(needs.get(each, ()) for each in reached)) - found.keys()
    return lambda info: found.get(info.solvable.id, depth) if info.solvable else 0


def _text(info: Any) -> str:
    return f"{info.solvable} {info.dep} {info.othersolvable}"


def _headline(
    universe: Universe, wishes: Sequence[Wish], conflicts: Sequence[str], told: Sequence[str]
) -> Iterator[str]:
    """What was asked for, as far as the facts that are `told` do not say it themselves."""
    asked = [_asked(wish) for wish in wishes]
    asked += [f"BuildConflicts: {text}" for text in conflicts]
    if len(asked) == 1:
        lacking = _lacking(universe, wishes[0].text) if wishes else ""
        if not told or lacking or wishes[0].origin != "request":
            yield f"{asked[0]}: {lacking or 'it cannot be installed'}"
        return
    yield f"these cannot be had together: {'; '.join(asked)}"
    texts = dict.fromkeys((*(wish.text for wish in wishes), *conflicts))
    if told or len(texts) < len(asked):
        return
    reasons = list(filter(None, (_lacking(universe, text) for text in texts)))
    yield from reasons or (
        f"{text} is provided by {_some(universe.providers(text))}" for text in texts
    )


def _some(solvables: Iterable[Any]) -> str:
    having = sorted({str(s) for s in solvables})
    return ", ".join(having[:3]) + (f" and {len(having) - 3} more" if len(having) > 3 else "")


def _sentence(universe: Universe, info: Any) -> str:
    """One rule in plain words; "" for what only libsolv's own machinery needs."""
    kind, one, other, dep = info.type, info.solvable, info.othersolvable, info.dep
    if kind == _RULE.SOLVER_RULE_PKG_NOTHING_PROVIDES_DEP:
        return nothing_provides(universe, one, str(dep))
    if kind == _RULE.SOLVER_RULE_PKG_REQUIRES:
        having = universe.pool.whatprovides(dep)
        lacking = "" if having else _lacking(universe, str(dep))
        if having:
            return requires_from(one, str(dep), having)
        return f"{_named(one)} requires {dep}" + (f", and {lacking}" if lacking else "")
    if kind == _RULE.SOLVER_RULE_PKG_CONFLICTS:
        return f"{_named(one)} conflicts with {dep}, provided by {_named(other)}"
    if kind in (
        _RULE.SOLVER_RULE_PKG_OBSOLETES,
        _RULE.SOLVER_RULE_PKG_IMPLICIT_OBSOLETES,
    ):
        return f"{_named(one)} obsoletes {dep}, provided by {_named(other)}"
    if kind == _RULE.SOLVER_RULE_PKG_SAME_NAME:
        return f"only one of {_named(one)} and {_named(other)} can be installed"
    if kind == _RULE.SOLVER_RULE_PKG_SELF_CONFLICT:
        return f"{_named(one)} conflicts with {dep}, which it provides itself"
    if kind == _RULE.SOLVER_RULE_PKG_NOT_INSTALLABLE:
        return f"{_named(one)} is for another architecture"
    if kind == _RULE.SOLVER_RULE_BEST:
        return "the newest version is wanted, an older one is not taken in its place"
    return ""


def _named(solvable: Any) -> str:
    """`name-version-release.arch (layer)`."""
    where = f" ({LAYER})" if solvable.repo.name == LAYER else f" ({solvable.repo.name})"
    return f"{solvable}{where}"

"""Why libsolv found no solution, as the smallest set of facts that cannot hold together."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import solv

from farm.model import Problem
from farm.plan.fit.blame import Bases
from farm.plan.metadata.rpmmd import MALFORMED
from farm.plan.metadata.unlisted import REMEDY, unknown, without_packages
from farm.plan.universe import LAYER, Universe

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
    facts = [_headline(wishes, conflicts), *told]
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
        facts = [
            *facts[: _MOST_FACTS - 1],
            f"… and {len(facts) - _MOST_FACTS + 1} more of the kind",
        ]
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
    name, _, version = text.partition(" ")
    newest = _newest(universe, name) if version and not name.startswith("(") else None
    known = f"; the newest there is {_named(newest)}" if newest is not None else ""
    return f"{_named(solvable)} requires {text}, which nothing provides{known}"


def requires_from(solvable: Any, text: str, providers: Iterable[Any]) -> str:
    """`solvable` requires `text`, which these packages provide."""
    having = sorted({str(s) for s in providers})
    shown = ", ".join(having[:3]) + (f" and {len(having) - 3} more" if len(having) > 3 else "")
    return f"{_named(solvable)} requires {text}, provided by {shown}"


def suggestion(universe: Universe, text: str, names: Iterable[str] | None = None) -> str:
    """What to write in place of a capability that nobody has, or "".

    `names` are the words that may have been meant, all that is provided unless they are given.
    """
    name, _, rest = text.partition(" ")
    if text.startswith("(") or not name:
        return ""
    pool = universe.pool
    if rest and pool.whatprovides(pool.Dep(name)):
        return f"Lower the version, or wait for the package that has {text}."
    learn_spellings(universe, [text])
    for other in _spellings(name):
        having = sorted(pool.whatprovides(pool.Dep(other)), key=str)
        if having:
            return f"{name!r} is not there, but {other!r} is{_whose(having[0], other)}."
    known = universe.provided_names if names is None else names
    close = [word for word in known if abs(len(word) - len(name)) <= 3]
    close = [word for word in close if word[:1] == name[:1] or word[1:3] == name[1:3]]
    nearest = difflib.get_close_matches(name, close, 1, 0.8)
    if not nearest:
        return ""
    having = sorted(pool.whatprovides(pool.Dep(nearest[0])), key=str)
    whose = _whose(having[0], nearest[0]) if having else ""
    return f"Perhaps {nearest[0]!r} is meant by {name!r}{whose}."


def learn_spellings(universe: Universe, texts: Iterable[str]) -> None:
    """Prepare `suggestion` for these capabilities: for many at once it takes no longer."""
    names = {text.partition(" ")[0] for text in texts}
    universe.learn(o for name in names for o in _spellings(name) if o.startswith("/"))


def _whose(solvable: Any, name: str) -> str:
    """Which package has something, in which repository."""
    where = "the layer" if solvable.repo.name == LAYER else f"repository {solvable.repo.name}"
    return f" (in {where})" if solvable.name == name else f" ({solvable.name} of {where})"


def _spellings(name: str) -> list[str]:
    """Other names under which the same thing is often provided."""
    bare = name.removesuffix("-dev").removesuffix("-devel").removeprefix("lib")
    module = name.removeprefix("python3-").removeprefix("python-")
    names = [
        f"{name}-devel", f"{name.removesuffix('-dev')}-devel", f"{bare}-devel", f"lib{bare}-devel",
        f"/usr/bin/{name}", f"/usr/sbin/{name}", f"pkgconfig({name})", f"pkgconfig({bare})",
        f"python3-{module}", f"python3dist({module})", f"perl({name})", f"perl-{name}",
        name.lower(), name.replace("_", "-"),
    ]  # fmt: skip
    return [other for other in dict.fromkeys(names) if other != name]


def _nobody_has(universe: Universe, wish: Wish) -> str:
    name, _, version = wish.text.partition(" ")
    what = f"{wish.origin}: {wish.text}"
    if name.startswith("@"):
        return f"{what}: the base has no such group"
    doubt = unknown(universe, wish.text)
    if doubt:
        return f"{what}: {doubt}"
    if wish.text.startswith("("):
        return f"{what}: no choice of packages fulfils it"
    newest = _newest(universe, name) if version else None
    if newest is not None:
        return f"{what}: the newest there is {_named(newest)}"
    return f"{what}: nothing provides it"


def _newest(universe: Universe, name: str) -> Any:
    """The package with the highest version among those that provide `name`, None without any."""
    solvables: list[Any] = sorted(universe.pool.whatprovides(universe.pool.Dep(name)), key=str)

    def compare(one: Any, other: Any) -> int:
        return int(one.evrcmp(other))

    return max(solvables, key=functools.cmp_to_key(compare), default=None)


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
    return sorted(infos, key=lambda info: (info.type in last, _text(info)))


def _text(info: Any) -> str:
    return f"{info.solvable} {info.dep} {info.othersolvable}"


def _headline(wishes: Sequence[Wish], conflicts: Sequence[str]) -> str:
    asked = [f"{wish.origin}: {wish.text}" for wish in wishes]
    asked += [f"BuildConflicts: {text}" for text in conflicts]
    if len(asked) == 1:
        return f"{asked[0]}: it cannot be installed"
    return f"these cannot be had together: {'; '.join(asked)}"


def _sentence(universe: Universe, info: Any) -> str:
    """One rule in plain words; "" for what only libsolv's own machinery needs."""
    kind, one, other, dep = info.type, info.solvable, info.othersolvable, info.dep
    if kind == _RULE.SOLVER_RULE_PKG_NOTHING_PROVIDES_DEP:
        return nothing_provides(universe, one, str(dep))
    if kind == _RULE.SOLVER_RULE_PKG_REQUIRES:
        return requires_from(one, str(dep), universe.pool.whatprovides(dep))
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

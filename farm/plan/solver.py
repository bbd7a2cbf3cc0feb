"""Buildable? Installable? libsolv's answer as a Lock or a Problem.

The same inputs give the same lock: packages come sorted into the pool, jobs are sorted here,
and every question gets a Solver of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import solv

from farm.model import Chroot, Lock, Problem
from farm.plan.explain import Failure, Wish, problem_of
from farm.plan.fit.blame import Bases
from farm.plan.metadata.primary import paths_in
from farm.plan.metadata.richdeps import excess
from farm.plan.metadata.unlisted import REMEDY, doubts
from farm.plan.universe import Universe

_INSTALL = solv.Job.SOLVER_INSTALL
_PROVIDES = solv.Job.SOLVER_SOLVABLE_PROVIDES
_CONDITION = re.compile(r"^\(.*\b(if|unless)\b")
_DNF_SPEC = (
    solv.Selection.SELECTION_NAME
    | solv.Selection.SELECTION_DOTARCH
    | solv.Selection.SELECTION_CANON
    | solv.Selection.SELECTION_GLOB
)


def resolve(
    universe: Universe,
    chroot: Chroot,
    build_requires: Sequence[str],
    build_conflicts: Sequence[str] = (),
    *,
    subject: str = "",
    bases: Bases | None = None,
) -> Lock | Problem:
    """The build root: what the chroot sets up, plus BuildRequires; weak dependencies off.

    The answer depends neither on the order of the requirements nor on that of the metadata.
    `Lock.setup` names what set-up alone brings in; it is empty where the BuildRequires force
    another choice. `subject` is the package in question, named in the problem; with `bases` the
    problem says which change of the base is behind it.
    """
    with universe.guard:
        asked = _build_root(universe, chroot, build_requires, build_conflicts)
        solved = _answer(universe, asked)
        if not isinstance(solved, frozenset):
            return _problem(universe, subject or chroot.name, asked, solved, bases)
        base = asked.favoured
        return _lock(universe, solved, base if base <= solved else frozenset())


def buildable(
    universe: Universe,
    chroot: Chroot,
    build_requires: Sequence[str],
    build_conflicts: Sequence[str] = (),
) -> bool:
    """Whether `resolve` would give a lock; nothing is explained, so no is as cheap as yes."""
    with universe.guard:
        asked = _build_root(universe, chroot, build_requires, build_conflicts)
        return isinstance(_answer(universe, asked), frozenset)


def chosen(
    universe: Universe,
    chroot: Chroot,
    build_requires: Sequence[str],
    build_conflicts: Sequence[str] = (),
) -> frozenset[int] | None:
    """Ids of the packages that `resolve` would lock, None where it would give a Problem."""
    with universe.guard:
        asked = _build_root(universe, chroot, build_requires, build_conflicts)
        solved = _answer(universe, asked)
        return solved if isinstance(solved, frozenset) else None


def possible_without(
    universe: Universe,
    chroot: Chroot,
    build_requires: Sequence[str],
    build_conflicts: Sequence[str],
    packages: Iterable[int],
) -> bool:
    """Whether any build root, be its packages the newest or not, can do without these."""
    with universe.guard:
        asked = _build_root(universe, chroot, build_requires, build_conflicts)
        universe.pool.set_disabled_list(sorted(packages))
        try:
            solved = _solve(universe, asked.wishes, asked.conflicts, best=False)
        finally:
            universe.pool.set_disabled_list([])
        return isinstance(solved, frozenset)


def brought_along(universe: Universe, packages: Iterable[int]) -> frozenset[int] | None:
    """Ids of all that these packages of the pool need to be installed together, or None."""
    with universe.guard:
        pool = universe.pool
        solver = pool.Solver()
        solver.set_flag(solv.Solver.SOLVER_FLAG_IGNORE_RECOMMENDED, 1)
        what = _INSTALL | solv.Job.SOLVER_SOLVABLE
        if solver.solve([pool.Job(what, number) for number in sorted(packages)]):
            return None
        return frozenset(solvable.id for solvable in solver.transaction().newsolvables())


def resolve_setup(universe: Universe, chroot: Chroot) -> Lock | Problem:
    """The lock of a build root before any BuildRequires: every package of it is set-up."""
    return resolve(universe, chroot, ())


def installable(
    universe: Universe,
    names: Sequence[str],
    weak: bool = True,
    *,
    subject: str = "",
    bases: Bases | None = None,
) -> Lock | Problem:
    """What a site's `dnf install NAMES` would install into an empty root.

    `weak`: recommended packages come along, as they do by default at a site.
    """
    with universe.guard:
        asked = _request(universe, names, weak)
        solved = _answer(universe, asked)
        if not isinstance(solved, frozenset):
            return _problem(universe, subject or ", ".join(names), asked, solved, bases)
        return _lock(universe, solved, frozenset())


def can_install(universe: Universe, names: Sequence[str]) -> bool:
    """Whether `installable` without weak dependencies would give a lock; nothing is explained."""
    with universe.guard:
        return isinstance(_answer(universe, _request(universe, names, weak=False)), frozenset)


def providers(universe: Universe, capability: str) -> tuple[str, ...]:
    """NEVRAs of the packages that satisfy a capability (versions and files included), sorted."""
    (capability,) = _cleaned([capability]) or ("",)
    with universe.guard:
        return tuple(str(solvable) for solvable in universe.providers(capability))


@dataclass(frozen=True)
class _Asked:
    """A question to libsolv. `missing` are the wishes that nobody can fulfil at all."""

    wishes: tuple[Wish, ...]
    conflicts: tuple[str, ...] = ()
    favoured: frozenset[int] = frozenset()
    weak: bool = False
    missing: tuple[Wish, ...] = ()


def _build_root(
    universe: Universe, chroot: Chroot, requires: Iterable[str], conflicts: Iterable[str]
) -> _Asked:
    requires, conflicts = _cleaned(requires), _cleaned(conflicts)
    universe.learn(path for text in (*requires, *conflicts) for path in paths_in(text))
    base = _setup(universe, chroot)
    wishes = (
        *(Wish(text, "set-up") for text in base.names),
        *(Wish(text, "BuildRequires") for text in requires),
    )
    return _Asked(wishes, conflicts, base.ids, missing=_missing(universe, wishes))


def _request(universe: Universe, names: Iterable[str], weak: bool) -> _Asked:
    wanted = _expanded(universe, _cleaned(names))
    universe.learn(path for text in wanted for path in paths_in(text))
    wishes = tuple(Wish(text, "request") for text in wanted)
    return _Asked(wishes, weak=weak, missing=_missing(universe, wishes))


@dataclass(frozen=True)
class _Doubt:
    """Why it cannot be known whether the packages that were found fit together."""

    facts: tuple[str, ...]


_Answer = frozenset[int] | Failure | _Doubt | None


def _answer(universe: Universe, asked: _Asked) -> _Answer:
    """Ids of the packages, or why there are none (None: something is nowhere to be had)."""
    if asked.missing:
        return None
    found = _solve(
        universe, asked.wishes, asked.conflicts, favoured=asked.favoured, weak=asked.weak
    )
    facts = () if isinstance(found, Failure) else tuple(doubts(universe, found, asked.conflicts))
    return _Doubt(facts) if facts else found


def _problem(
    universe: Universe, subject: str, asked: _Asked, answer: _Answer, bases: Bases | None
) -> Problem:
    if isinstance(answer, _Doubt):
        return Problem("unknown", subject, answer.facts, REMEDY)
    return problem_of(
        universe, subject, asked.wishes, asked.conflicts, _solve, asked.missing, bases
    )


@dataclass(frozen=True)
class _Setup:
    names: tuple[str, ...]
    ids: frozenset[int]


def _setup(universe: Universe, chroot: Chroot) -> _Setup:
    """The packages that set-up alone brings in; none when it cannot be installed at all."""
    known: _Setup | None = universe.memory.get(("set-up", chroot.setup))
    if known is None:
        names = _expanded(universe, chroot.setup)
        universe.learn(path for text in names for path in paths_in(text))
        solved = _solve(universe, [Wish(text, "set-up") for text in names], ())
        known = _Setup(names, solved if isinstance(solved, frozenset) else frozenset())
        universe.memory["set-up", chroot.setup] = known
    return known


def _solve(
    universe: Universe,
    wishes: Iterable[Wish],
    conflicts: Iterable[str],
    *,
    favoured: frozenset[int] = frozenset(),
    weak: bool = False,
    best: bool = True,
) -> frozenset[int] | Failure:
    """Ids of the packages that fulfil all wishes, or why none do."""
    pool = universe.pool
    solver = pool.Solver()
    solver.set_flag(solv.Solver.SOLVER_FLAG_IGNORE_RECOMMENDED, 0 if weak else 1)
    install = _INSTALL | (solv.Job.SOLVER_FORCEBEST if best else 0)
    jobs = [
        pool.Job(install | how, what) for how, what in (_job(universe, wish) for wish in wishes)
    ]
    for text in conflicts:
        jobs.append(pool.Job(solv.Job.SOLVER_ERASE | _PROVIDES, universe.dependency(text).id))
    if favoured:
        ids = pool.towhatprovides(sorted(favoured))
        jobs.append(pool.Job(solv.Job.SOLVER_FAVOR | solv.Job.SOLVER_SOLVABLE_ONE_OF, ids))
    problems = solver.solve(jobs)
    if problems:
        return Failure(solver, tuple(problems))
    return frozenset(solvable.id for solvable in solver.transaction().newsolvables())


def _job(universe: Universe, wish: Wish) -> tuple[int, int]:
    """(selection, id) of a wish: a dependency, or else what dnf accepts after `install`."""
    pool, text = universe.pool, wish.text
    dep = universe.dependency(text)
    spec = wish.origin != "BuildRequires" and not text.startswith(("(", "/"))
    if spec and not pool.whatprovides(dep):
        ids = sorted(solvable.id for solvable in pool.select(text, _DNF_SPEC).solvables())
        if ids:
            return solv.Job.SOLVER_SOLVABLE_ONE_OF, pool.towhatprovides(ids)
    return _PROVIDES, dep.id


def _missing(universe: Universe, wishes: Iterable[Wish]) -> tuple[Wish, ...]:
    """Those that no package fulfils, whatever the others are.

    A rich one with a condition may be fulfilled by nothing at all: libsolv decides.
    """
    pool = universe.pool
    sure = (wish for wish in wishes if not _conditional(universe, wish.text))
    jobs = ((wish, *_job(universe, wish)) for wish in sure)
    return tuple(
        wish for wish, how, what in jobs if how == _PROVIDES and not pool.whatprovides(what)
    )


def _conditional(universe: Universe, text: str) -> bool:
    if not _CONDITION.search(text) or excess(text):
        return False
    return universe.pool.parserpmrichdep(text) is not None


def _expanded(universe: Universe, names: Iterable[str]) -> tuple[str, ...]:
    """Names with every `@group` and every pattern replaced by packages; sorted, each once.

    Like dnf, packages of a group that exist nowhere are passed over. What stands for nothing
    stays as it is, and is reported as missing.
    """
    pool = universe.pool
    result: set[str] = set()
    for name in names:
        found: set[str] | None = None
        if name.startswith("@"):
            members = universe.groups.get(name[1:])
            if members is not None:
                found = {member for member in members if pool.whatprovides(pool.Dep(member))}
        elif set(name) & set("*?[") and name[0] not in "(/":
            found = {solvable.name for solvable in pool.select(name, _DNF_SPEC).solvables()} or None
        result |= {name} if found is None else found
    return tuple(sorted(result))


def _lock(universe: Universe, ids: frozenset[int], setup: frozenset[int]) -> Lock:
    pool = universe.pool
    packages = {number: universe.locked(pool.id2solvable(number)) for number in ids}
    ordered = sorted(packages.values(), key=lambda package: (package.nevra, package.sha256))
    return Lock(tuple(ordered), tuple(sorted(packages[number].sha256 for number in setup)))


def _cleaned(texts: Iterable[str]) -> tuple[str, ...]:
    """Sorted, each once, without what rpm itself provides."""
    words = {" ".join(text.encode("utf-8", "backslashreplace").decode().split()) for text in texts}
    return tuple(sorted(word for word in words if word and not word.startswith("rpmlib(")))

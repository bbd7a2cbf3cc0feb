"""Does the layer still fit its base? Verdicts for source packages and for what sites install.

All questions are tried as one first: packages that can be had all together can be had one by
one, so a layer in good order costs a single solution. What fails is halved until the guilty are
found, and only they are explained.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec
import solv

from farm.model import Evaluation, Group, Lock, Nevra, Problem, Verdict
from farm.plan.fit.blame import Bases
from farm.plan.fit.declared import generated
from farm.plan.fit.view import View
from farm.plan.planner import exclusion
from farm.plan.solver import buildable, can_install, installable, resolve
from farm.plan.universe import Universe, nevra_of

BUILD, INSTALL = "build", "install"

Evaluations = Mapping[str, Evaluation | Problem]  # by recipe


@dataclass(frozen=True)
class Installation:
    """A package to be installed, and the metapackages each of which it has to get along with."""

    nevra: Nevra
    beside: tuple[Nevra, ...] = ()

    @property
    def exact(self) -> tuple[str, ...]:
        """The request that only these very packages fulfil."""
        return tuple(f"{nevra.name} = {nevra.evr}" for nevra in (self.nevra, *self.beside))


def layer_verdicts(
    open_view: Callable[[frozenset[str]], View],
    evaluations: Evaluations,
    groups: Sequence[Group],
    names: Iterable[str],
    bases: Bases | None = None,
) -> tuple[Verdict, ...]:
    """Every question about these recipes: can each be built, can a site install what it gives?

    `open_view` opens the layer over the base with the packages of some recipes taken as to be
    built again. A package that only does not fit as it was built, and whose source can be built,
    is no break: it wants a rebuild, and so does what cannot be had because of it.
    """
    names = frozenset(names)
    view = open_view(frozenset())
    first = _all_verdicts(view, evaluations, groups, names, bases)
    if all(verdict.state != "broken" for verdict in first):
        return first
    stale = misfits(view)
    while stale:
        again = _all_verdicts(open_view(stale), evaluations, groups, names | stale, bases)
        after = {question(verdict): verdict for verdict in again}
        hopeless = {v.package for v in again if v.check == BUILD and v.state == "broken"}
        hopeless |= _not_cured(view, first, after)
        if not stale & hopeless:
            rebuilt = _Rebuilt(open_view(stale), evaluations, groups, stale)
            return tuple(rebuilt.verdict(v, after) for v in first)
        stale -= hopeless
    return first


def _not_cured(
    view: View, first: Iterable[Verdict], after: Mapping[tuple[str, str], Verdict]
) -> frozenset[str]:
    """Recipes of which no package that cannot be installed could be once they are rebuilt."""
    recipes = {str(nevra): recipe for nevra, recipe in view.recipes.items()}
    broken: dict[str, list[bool]] = {}
    for verdict in first:
        if verdict.check == INSTALL and verdict.state == "broken":
            then = after.get(question(verdict))
            cured = then is None or then.state != "broken"
            broken.setdefault(recipes[verdict.package], []).append(cured)
    return frozenset(recipe for recipe, cured in broken.items() if not any(cured))


def _explained(verdict: Verdict, left_out: Mapping[str, str]) -> Verdict:
    """With the reason why a package of the layer is not there, where that is what is missing."""
    problem = verdict.problem
    if problem is None or problem.kind != "nothing-provides":
        return verdict
    said = " ".join(problem.facts)
    reasons = [
        reason
        for name, reason in left_out.items()
        if re.search(rf"(?<![\w.+-]){re.escape(name)}(?![\w.+-])", said)
    ]
    if not reasons:
        return verdict
    problem = msgspec.structs.replace(problem, remedy=f"{reasons[0]}.")
    return msgspec.structs.replace(verdict, problem=problem)


def _left_out(evaluations: Evaluations, arch: str) -> dict[str, str]:
    """Names that recipes would provide, were they not left out on this architecture, and why."""
    found: dict[str, str] = {}
    for recipe, evaluation in sorted(evaluations.items()):
        if isinstance(evaluation, Problem):
            found[recipe] = f"{recipe} of the layer has it, but its spec cannot be read"
            continue
        reason = exclusion(evaluation, arch)
        for nevra, provides in evaluation.packages if reason else ():
            for name in (nevra.name, *(text.split(" ", 1)[0] for text in provides)):
                found[name] = f"{recipe} of the layer has it, but is not for {arch} ({reason})"
    return found


def question(verdict: Verdict) -> tuple[str, str]:
    """Check and package, whatever release the package comes in."""
    if verdict.check == INSTALL:
        nevra = Nevra.parse(verdict.package)
        return verdict.check, f"{nevra.name}.{nevra.arch}"
    problem = verdict.problem
    if verdict.check == BUILD or problem is None:
        return verdict.check, verdict.package
    # one package may have several of the other kinds
    return verdict.check, " ".join((verdict.package, problem.kind, *problem.facts[:1]))


@dataclass(frozen=True)
class _Rebuilt:
    """The layer over the base as it would be once the stale recipes are built again."""

    view: View
    evaluations: Evaluations
    groups: Sequence[Group]
    stale: frozenset[str]

    def verdict(self, verdict: Verdict, after: Mapping[tuple[str, str], Verdict]) -> Verdict:
        """A broken verdict becomes `rebuild` when all is well after that."""
        then = after.get(question(verdict))
        if verdict.state != "broken" or then is None or then.state == "broken":
            return verdict
        problem, names = verdict.problem, self._needed(then)
        if problem is not None:
            remedy = f"Build {', '.join(names)} again over this base; nothing else has to change."
            problem = msgspec.structs.replace(problem, remedy=remedy)
        return msgspec.structs.replace(verdict, state="rebuild", problem=problem, missing=names)

    def _needed(self, then: Verdict) -> tuple[str, ...]:
        """The stale recipes whose packages the answer has; all, if it is open."""
        lock = self._lock(then)
        used = self.view.recipes_in(lock.packages) if isinstance(lock, Lock) else self.stale
        return tuple(sorted(used & self.stale or self.stale))

    def _lock(self, then: Verdict) -> Lock | Problem | None:
        view = self.view
        if then.check == BUILD:
            own = self.evaluations[then.package]
            if isinstance(own, Problem):
                return None
            return resolve(view.universe, view.chroot, own.build_requires, own.build_conflicts)
        for each in installations(view.recipes, self.groups):
            if str(each.nevra) == then.package:
                return installable(view.universe, each.exact[:1], weak=False)
        return None


def misfits(view: View) -> frozenset[str]:
    """Recipes whose packages, as they were built last, require what nobody has any more."""
    pool = view.universe.pool
    found = set()
    for solvable in view.layer:
        recipe = view.recipes.get(nevra_of(solvable))
        if recipe is None:
            continue
        for dep in solvable.lookup_deparray(solv.SOLVABLE_REQUIRES):
            if not pool.whatprovides(dep) and generated(str(dep)):
                found.add(recipe)
    return frozenset(found)


def _all_verdicts(
    view: View,
    evaluations: Evaluations,
    groups: Sequence[Group],
    names: frozenset[str],
    bases: Bases | None,
) -> tuple[Verdict, ...]:
    wanted = [
        each for each in installations(view.recipes, groups) if view.recipes[each.nevra] in names
    ]
    verdicts = (
        *build_verdicts(view, evaluations, names, bases),
        *install_verdicts(view, wanted, bases),
    )
    left_out = {
        name: f"{recipe} of the layer had it when it was built last, but its spec cannot be read"
        for name, recipe in view.unreadable.items()
    } | _left_out(evaluations, view.chroot.arch)
    return tuple(_explained(verdict, left_out) for verdict in verdicts)


def build_verdicts(
    view: View, evaluations: Evaluations, names: Iterable[str], bases: Bases | None = None
) -> tuple[Verdict, ...]:
    """Can the BuildRequires of these recipes be installed, their BuildConflicts kept out?

    Recipes without an evaluation are passed over: nothing is known of what they need.
    """
    chroot = view.chroot
    verdicts: dict[str, Verdict] = {}
    asked: list[str] = []
    for name in sorted(set(names) & evaluations.keys()):
        evaluation = evaluations[name]
        if isinstance(evaluation, Problem):
            verdicts[name] = Verdict(BUILD, name, chroot.name, "broken", evaluation)
        elif not exclusion(evaluation, chroot.arch):
            asked.append(name)

    def needed(name: str) -> Evaluation:
        evaluation = evaluations[name]
        assert isinstance(evaluation, Evaluation)
        return evaluation

    def together(some: Sequence[str]) -> bool:
        texts = {text for name in some for text in needed(name).build_requires}
        return buildable(view.universe, chroot, sorted(texts))

    def one(name: str, universe: Universe) -> Lock | Problem:
        own = needed(name)
        return resolve(
            universe, chroot, own.build_requires, own.build_conflicts, subject=name, bases=bases
        )

    fine = _fine([name for name in asked if not needed(name).build_conflicts], together)
    for name in asked:
        verdicts[name] = (
            Verdict(BUILD, name, chroot.name, "ok")
            if name in fine
            else _verdict(
                view, BUILD, name, name, partial(one, name), needed(name).build_requires, bases
            )
        )
    return tuple(verdicts[name] for name in sorted(verdicts))


def install_verdicts(
    view: View, wanted: Sequence[Installation], bases: Bases | None = None
) -> tuple[Verdict, ...]:
    """Can a site install each of these packages, together with its metapackages?"""
    by_name = {str(each.nevra): each for each in wanted}

    def together(some: Sequence[str]) -> bool:
        texts = {text for name in some for text in by_name[name].exact}
        return can_install(view.universe, sorted(texts))

    def one(each: Installation, universe: Universe) -> Lock | Problem:
        subject = str(each.nevra)
        alone = installable(universe, each.exact[:1], weak=False, subject=subject, bases=bases)
        # a metapackage that cannot be had at all is its own problem, not its members', and two
        # metapackages may well be alternatives
        beside = [text for text in each.exact[1:] if can_install(universe, [text])]
        answer = alone
        for text in beside if isinstance(alone, Lock) else ():
            asked = (each.exact[0], text)
            answer = installable(universe, asked, weak=False, subject=subject, bases=bases)
            if isinstance(answer, Problem):
                break
        return answer

    fine = _fine(sorted(by_name), together)
    return tuple(
        Verdict(INSTALL, name, view.chroot.name, "ok")
        if name in fine
        else _verdict(
            view, INSTALL, name, view.recipes[each.nevra], partial(one, each), each.exact, bases
        )
        for name, each in sorted(by_name.items())
    )


def installations(packages: Iterable[Nevra], groups: Iterable[Group]) -> tuple[Installation, ...]:
    """Each binary package with the metapackages that name it; metapackages stand for themselves.

    Optional members of a group are its business as well: whoever adds one keeps the rest.
    """
    own = sorted(set(packages))
    by_name = {nevra.name: nevra for nevra in own}
    beside: dict[str, list[Nevra]] = {}
    for group in groups:
        metapackage = by_name.get(group.id) if group.metapackage else None
        if metapackage is None:
            continue
        for member in (*group.packages, *group.optional):
            beside.setdefault(member, []).append(metapackage)
    return tuple(
        Installation(nevra, tuple(m for m in beside.get(nevra.name, ()) if m != nevra))
        for nevra in own
    )


def _verdict(
    view: View,
    check: str,
    name: str,
    recipe: str,
    ask: Callable[[Universe], Lock | Problem],
    texts: Iterable[str],
    bases: Bases | None,
) -> Verdict:
    """The answer to one question; what hangs on packages that are not built yet stays open."""
    answer = ask(view.universe)
    if isinstance(answer, Lock):
        return Verdict(check, name, view.chroot.name, "ok")
    if view.may_reveal(recipe) and view.open_capabilities:
        hoped = ask(view.hopeful)
        if isinstance(hoped, Lock):
            missing = view.hoped_for(hoped.packages, texts)
            # what the base had, no package of the layer is expected to bring back
            if bases is None or not any(bases.had(text) for text in missing):
                return Verdict(check, name, view.chroot.name, "open", missing=missing)
        else:
            # what is only open need not be explained: the rest is what is wrong
            answer = hoped
    return Verdict(check, name, view.chroot.name, "broken", answer)


def _fine(names: Sequence[str], together: Callable[[Sequence[str]], bool]) -> frozenset[str]:
    """Those that are found in order, tried in ever smaller sets."""
    return frozenset(_halved(names, together))


def _halved(names: Sequence[str], together: Callable[[Sequence[str]], bool]) -> Iterator[str]:
    if not names:
        return
    if together(names):
        yield from names
    elif len(names) > 1:
        middle = len(names) // 2
        yield from _halved(names[:middle], together)
        yield from _halved(names[middle:], together)

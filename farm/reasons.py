"""Why is a package in the layer, and why does one need another? Answers in words, from locks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from farm.checks import known_evaluations
from farm.config import nearest
from farm.errors import UsageError
from farm.model import Evaluation, Lock, Nevra, Problem
from farm.plan.fit.view import View
from farm.plan.planner import exclusion
from farm.plan.solver import installable, resolve
from farm.plan.universe import Universe, nevra_of
from farm.plan.why import Asked, Link, absent, chain, requirements
from farm.survey import Survey

_ISA = re.compile(r"\((?:x86|aarch|ppc|s390|riscv|arm)-?\w*\)")


@dataclass(frozen=True)
class WhyRequest:
    """What `farm why` was asked for; `capability` "" asks for everything about the package."""

    name: str
    capability: str = ""
    archs: tuple[str, ...] = ()
    release: str | None = None


@dataclass(frozen=True)
class Chain:
    """One chain: `purpose` ("to build pdsh") needs what it leads to, on these architectures."""

    purpose: str
    links: tuple[Link, ...]
    archs: tuple[str, ...]
    problem: Problem | None = None  # the purpose cannot be fulfilled at all

    @property
    def direct(self) -> bool:
        """Whether no other package of the layer lies between."""
        return not any(link.provider.endswith("(layer)") for link in self.links[:-1])


@dataclass(frozen=True)
class Why:
    """What `farm why` answers."""

    name: str
    capability: str
    about: tuple[str, ...]  # what the package is, in sentences
    needed_by: tuple[Chain, ...]
    needs: tuple[Chain, ...]
    absent: tuple[str, ...] = ()


def why(survey: Survey, request: WhyRequest) -> Why:
    """Chains of reasons on every architecture asked for; the same chain is told once.

    Raises UsageError for a name that neither the layer nor the base has.
    """
    if request.capability:
        if request.capability.split()[-1] in ("=", "<", "<=", ">", ">="):
            raise UsageError(f"{request.capability!r} lacks a version after the comparison")
        return _why_needs(survey, request)
    needed_by: list[tuple[str, Chain]] = []
    needs: list[tuple[str, Chain]] = []
    known = False
    for chroot in survey.chroots:
        view = survey.view(chroot)
        own = _packages(view, request.name)
        known = known or bool(own) or bool(view.universe.providers(request.name))
        goals = own or (request.name,)
        for asking in _purposes(survey, view):
            if asking.recipe == request.name or asking.package in own:
                continue
            found = asking.chain_to(view, goals)
            if found is not None:
                needed_by.append((chroot.arch, found))
        if request.name in survey.recipes:
            needs += (
                (chroot.arch, reason) for reason in _from_the_layer(survey, view, request.name)
            )
    if not known and request.name not in survey.recipes:
        raise _nobody(survey, request.name)
    return Why(request.name, "", _about(survey, request.name), _merged(needed_by), _merged(needs))


def _why_needs(survey: Survey, request: WhyRequest) -> Why:
    found: list[tuple[str, Chain]] = []
    missing: dict[str, None] = {}
    names = set()
    for chroot in survey.chroots:
        view = survey.view(chroot)
        asking = [
            purpose
            for purpose in _purposes(survey, view)
            if request.name in (purpose.recipe, purpose.package)
        ] or list(_of_the_base(view, request.name))
        names |= {purpose.package for purpose in asking}
        reasons = [purpose.chain_to(view, (request.capability,)) for purpose in asking]
        found += ((chroot.arch, reason) for reason in reasons if reason is not None)
        if not any(reasons):
            missing |= dict.fromkeys(absent(view.universe, request.capability))
    if not names and request.name not in survey.recipes:
        raise _nobody(survey, request.name)
    about = () if found else (f"{request.name} does not need {request.capability}",)
    about = (*_state(survey, request.name), *about)
    nowhere = () if found else tuple(missing)
    return Why(request.name, request.capability, about, (), _merged(found), nowhere)


@dataclass(frozen=True)
class _Purpose:
    """Something that has a lock: a source package to be built, a binary one to be installed."""

    text: str
    recipe: str
    package: str
    asked: tuple[Asked, ...]
    solved: Callable[[Universe], Lock | Problem]

    def solve(self, view: View) -> Lock | Problem:
        """The lock, be it one that hangs on what only a build reveals."""
        lock = self.solved(view.universe)
        if isinstance(lock, Problem) and view.may_reveal(self.recipe) and view.open_capabilities:
            hoped = self.solved(view.hopeful)
            return hoped if isinstance(hoped, Lock) else lock
        return lock

    def chain_to(self, view: View, goals: tuple[str, ...]) -> Chain | None:
        """The shortest chain to any of the goals."""
        lock = self.solve(view)
        found = [
            links
            for goal in goals
            if (
                links := chain(
                    view.universe, self.asked, lock if isinstance(lock, Lock) else None, goal
                )
            )
        ]
        if not found:
            return None
        problem = lock if isinstance(lock, Problem) else None
        return Chain(self.text, min(found, key=len), (), problem)


def _purposes(survey: Survey, view: View) -> Iterator[_Purpose]:
    chroot, universe = view.chroot, view.universe
    for name, evaluation in sorted(known_evaluations(survey, view)[0].items()):
        if isinstance(evaluation, Problem) or exclusion(evaluation, chroot.arch):
            continue
        yield _Purpose(
            f"to build {name}", name, "",
            (
                Asked(name, "BuildRequires", evaluation.build_requires),
                Asked("every build root", "is set up with", chroot.setup),
            ),
            partial(
                resolve, chroot=chroot, build_requires=evaluation.build_requires,
                build_conflicts=evaluation.build_conflicts, subject=name,
            ),
        )  # fmt: skip
    for nevra, recipe in sorted(view.recipes.items()):
        yield _to_install(universe, nevra, recipe)


def _to_install(universe: Universe, nevra: Nevra, recipe: str = "") -> _Purpose:
    exact = f"{nevra.name} = {nevra.evr}"
    return _Purpose(
        f"to install {nevra.name}", recipe, nevra.name,
        requirements(universe, exact),
        partial(installable, names=(exact,), weak=False, subject=str(nevra)),
    )  # fmt: skip


def _of_the_base(view: View, name: str) -> Iterator[_Purpose]:
    """A package of the base to be installed; of several versions the newest."""
    own = [nevra_of(each) for each in view.universe.providers(name) if each.name == name]
    if own:
        yield _to_install(view.universe, max(own))


def _from_the_layer(survey: Survey, view: View, name: str) -> Iterator[Chain]:
    """What a recipe needs of other recipes, to be built and to be installed."""
    others = {
        recipe: tuple(n.name for n, r in view.recipes.items() if r == recipe)
        for recipe in sorted(set(view.recipes.values()) - {name})
    }
    for purpose in _purposes(survey, view):
        if purpose.recipe != name:
            continue
        lock = purpose.solve(view)
        if isinstance(lock, Problem):
            yield Chain(purpose.text, (), (), lock)
            continue
        for recipe in sorted(view.recipes_in(lock.packages) - {name}):
            found = purpose.chain_to(view, others[recipe])
            if found is not None:
                yield found


def _packages(view: View, name: str) -> tuple[str, ...]:
    """Binary packages of a recipe, or the layer's package of that name."""
    return tuple(
        sorted(nevra.name for nevra, recipe in view.recipes.items() if name in (recipe, nevra.name))
    )


def _every(view: View) -> Iterator[str]:
    return (nevra.name for nevra in view.recipes)


def _about(survey: Survey, name: str) -> tuple[str, ...]:
    """Which groups name it, and who owns it."""
    names, source = {name}, name
    for (owner, _), evaluation in survey.evaluations.items():
        packages = evaluation.packages if isinstance(evaluation, Evaluation) else ()
        own = {nevra.name for nevra, _ in packages}
        if owner == name:
            names.update(own)
        elif name in own and name not in survey.recipes:
            source = owner
    recipe = survey.recipes.get(source)
    lines = [f"it is a package of {source}"] if source != name else []
    for group in survey.layer.groups:
        for members, how in ((group.packages, "has"), (group.optional, "offers")):
            named = sorted(names & set(members))
            if named:
                lines.append(f"the group {group.id} {how} {', '.join(named)}")
    owner = dict(survey.layer.owners).get(source) or (recipe.group if recipe else "")
    if owner:
        lines.append(f"it belongs to {owner}")
    lines += _state(survey, source)
    if recipe is None and not lines:
        lines.append("it is the base's, not the layer's")
    return tuple(lines)


def _state(survey: Survey, name: str) -> Iterator[str]:
    """Why what can be said of a recipe is not all."""
    for chroot in survey.chroots:
        evaluation = survey.evaluations.get((name, chroot.name))
        if isinstance(evaluation, Problem):
            yield f"its spec cannot be used on {chroot.arch}: {'; '.join(evaluation.facts[:1])}"
        elif evaluation is not None and exclusion(evaluation, chroot.arch):
            yield f"it is not for {chroot.arch} ({exclusion(evaluation, chroot.arch)})"
        elif (
            evaluation is not None
            and evaluation.dynamic
            and not survey.found_out(name, evaluation, survey.view(chroot))[1]
        ):
            yield (
                f"on {chroot.arch} it finds out more BuildRequires in its build root"
                " (%generate_buildrequires), which are not known yet"
            )


def _nobody(survey: Survey, name: str) -> UsageError:
    names = {*survey.recipes, *(p for c in survey.chroots for p in _every(survey.view(c)))}
    return UsageError(
        f"neither the layer nor its base has {name!r}",
        hint=nearest(name, sorted(names)) or "`farm status` lists the layer's packages.",
    )


def _merged(reasons: list[tuple[str, Chain]]) -> tuple[Chain, ...]:
    """The same chain on several architectures once."""
    merged: dict[object, tuple[Chain, list[str]]] = {}
    for arch, reason in reasons:
        said = (str(link).replace(f".{arch}", "") for link in reason.links)
        key = (reason.purpose, tuple(_ISA.sub("(isa)", text) for text in said))
        merged.setdefault(key, (reason, []))[1].append(arch)
    return tuple(
        Chain(reason.purpose, reason.links, tuple(archs), reason.problem)
        for reason, archs in merged.values()
    )

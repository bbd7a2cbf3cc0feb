"""Recipes and chroots → a plan: which steps, in which order, and what stands in the way.

Pure: what rpm said of each recipe comes in as `Evaluation`s, what the base provides as a
predicate. Nothing is solved here; a lock is made when a step's needs have their results.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from farm.model import Chroot, Evaluation, Plan, Problem, Step

Evaluations = Mapping[tuple[str, str], Evaluation | Problem]  # (recipe, chroot name)
InBase = Callable[[Chroot, str], bool]

_RICH_WORDS = {"and", "or", "if", "else", "unless", "with", "without"}
_COMPARISONS = {"<", "<=", "=", "==", ">=", ">"}


def capabilities(requirement: str) -> tuple[str, ...]:
    """The names in a dependency, versions and operators left out; rich ones name several.

    >>> capabilities("(munge-devel >= 0.5 or pkgconfig(munge))")
    ('munge-devel', 'pkgconfig(munge)')
    """
    text = requirement.strip()
    if not text.startswith("("):
        return (text.split()[0],) if text else ()
    names: list[str] = []
    after_comparison = False
    for word in re.findall(r"[^\s()]+(?:\([^()]*\)(?:\([^()]*\))?)?", text):
        if word in _COMPARISONS:
            after_comparison = True
        elif after_comparison:
            after_comparison = False
        elif word not in _RICH_WORDS:
            names.append(word)
    return tuple(dict.fromkeys(names))


def make_plan(
    names: Sequence[str],
    chroots: Sequence[Chroot],
    evaluations: Evaluations,
    in_base: InBase,
) -> Plan:
    """The steps for `names` and everything they need from the layer, nothing else."""
    steps: list[Step] = []
    problems: list[Problem] = []
    for chroot in chroots:
        ours = {
            recipe: evaluation
            for (recipe, where), evaluation in evaluations.items()
            if where == chroot.name
        }
        more, trouble = _steps_in(chroot, tuple(names), ours, in_base)
        steps += more
        problems += trouble
    return Plan(_interleave(steps, chroots), tuple(problems))


def _steps_in(
    chroot: Chroot,
    names: tuple[str, ...],
    ours: Mapping[str, Evaluation | Problem],
    in_base: InBase,
) -> tuple[list[Step], list[Problem]]:
    providers = _providers(ours)

    def recipes_for(requirements: Iterable[str]) -> tuple[str, ...]:
        found = (
            providers[capability]
            for requirement in requirements
            for capability in capabilities(requirement)
            if capability in providers and not in_base(chroot, capability)
        )
        return tuple(sorted(set(found)))

    build: dict[str, tuple[str, ...]] = {}
    run: dict[str, tuple[str, ...]] = {}
    for recipe, evaluation in ours.items():
        if isinstance(evaluation, Problem):
            build[recipe] = run[recipe] = ()
            continue
        build[recipe] = tuple(r for r in recipes_for(evaluation.build_requires) if r != recipe)
        wanted = (text for _, texts in evaluation.requires for text in texts)
        run[recipe] = tuple(r for r in recipes_for(wanted) if r != recipe)

    needs = {recipe: _needs(recipe, build, run) for recipe in ours}
    included = _closure(names, lambda recipe: (*build[recipe], *run[recipe]))
    order, stuck = _order({recipe: needs[recipe] & included for recipe in included})
    loops = _loops(stuck, {recipe: {*build[recipe], *run[recipe]} for recipe in ours})
    problems = []
    steps = []
    for recipe in order:
        evaluation = ours[recipe]
        problem = evaluation if isinstance(evaluation, Problem) else loops.get(recipe)
        if problem is None and isinstance(evaluation, Evaluation):
            problem = _unusable(recipe, evaluation)
        if problem is not None:
            problems.append(problem)
        excluded = "" if isinstance(evaluation, Problem) else exclusion(evaluation, chroot.arch)
        steps.append(
            Step(
                recipe=recipe,
                chroot=chroot.name,
                needs=tuple(sorted(needs[recipe])),
                direct=build[recipe],
                requested=recipe in names,
                problem=problem,
                excluded=excluded,
            )
        )
    return steps, problems


def exclusion(evaluation: Evaluation, arch: str) -> str:
    """Why this architecture is left out, or "". The set `noarch` stands for any architecture."""
    exclusive = tuple(a for a in evaluation.exclusive_arch if a != "noarch")
    if exclusive and arch not in exclusive:
        return f"ExclusiveArch: {' '.join(exclusive)}"
    if arch in evaluation.exclude_arch:
        return f"ExcludeArch: {' '.join(evaluation.exclude_arch)}"
    return ""


def _unusable(recipe: str, evaluation: Evaluation) -> Problem | None:
    if not evaluation.has_dist:
        return Problem(
            "no-dist",
            recipe,
            ("its Release does not mention %{?dist}, so a rebuild could not be told apart",),
            "Write `Release: 1%{?dist}`.",
        )
    return None


def _providers(ours: Mapping[str, Evaluation | Problem]) -> dict[str, str]:
    """Capability name → the recipe whose packages declare it; a package's own name wins."""
    names: dict[str, str] = {}
    declared: dict[str, str] = {}
    for recipe in sorted(ours):
        evaluation = ours[recipe]
        if isinstance(evaluation, Problem):
            names.setdefault(recipe, recipe)
            continue
        for nevra, provides in evaluation.packages:
            names.setdefault(nevra.name, recipe)
            for provide in provides:
                declared.setdefault(provide.split()[0], recipe)
    return declared | names


def _needs(
    recipe: str, build: Mapping[str, tuple[str, ...]], run: Mapping[str, tuple[str, ...]]
) -> frozenset[str]:
    """All recipes that must have their result before `recipe` can be locked.

    What a build dependency needs when it is installed counts, and since some of that (sonames)
    is known only after its own build, so does what it was built with.
    """
    first = build[recipe]
    return _closure(first, lambda name: (*build[name], *run[name])) if first else frozenset()


def _closure(start: Iterable[str], following: Callable[[str], Iterable[str]]) -> frozenset[str]:
    seen = set(start)
    queue = deque(seen)
    while queue:
        for name in following(queue.popleft()):
            if name not in seen:
                seen.add(name)
                queue.append(name)
    return frozenset(seen)


def _order(needs: Mapping[str, frozenset[str]]) -> tuple[list[str], list[str]]:
    """Topological order, ties by name; those in or behind a cycle come last, and again apart."""
    remaining = {name: set(wanted) & set(needs) for name, wanted in needs.items()}
    order: list[str] = []
    while remaining:
        ready = sorted(name for name, wanted in remaining.items() if not wanted)
        if not ready:
            break
        order += ready
        for name in ready:
            del remaining[name]
        for wanted in remaining.values():
            wanted.difference_update(ready)
    stuck = sorted(remaining)
    return order + stuck, stuck


def _loops(stuck: Iterable[str], edges: Mapping[str, set[str]]) -> dict[str, Problem]:
    found = {}
    for name in stuck:
        loop = _shortest_loop(name, edges)
        if loop:
            found[name] = Problem(
                "cycle",
                name,
                (f"it needs itself to be built: {' -> '.join(loop)}",),
                "Break the loop in one of these specs.",
            )
    return found


def _shortest_loop(start: str, needs: Mapping[str, set[str]]) -> tuple[str, ...]:
    queue: deque[tuple[str, ...]] = deque([(start,)])
    seen: set[str] = set()
    while queue:
        path = queue.popleft()
        for name in sorted(needs.get(path[-1], ())):
            if name == start:
                return (*path, start)
            if name not in seen:
                seen.add(name)
                queue.append((*path, name))
    return ()


def _interleave(steps: Sequence[Step], chroots: Sequence[Chroot]) -> tuple[Step, ...]:
    """The chroots' steps in turn, each chroot's own order kept."""
    columns = [[step for step in steps if step.chroot == chroot.name] for chroot in chroots]
    longest = max((len(column) for column in columns), default=0)
    return tuple(column[row] for row in range(longest) for column in columns if row < len(column))

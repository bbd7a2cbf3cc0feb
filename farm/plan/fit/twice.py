"""Binary packages of one name that two source packages make: sites get the one or the other."""

from __future__ import annotations

from collections.abc import Iterable

from farm.model import Problem
from farm.plan.fit.findings import Findings, listed


def made_twice(packages: Iterable[tuple[str, str]]) -> Findings:
    """A problem for each two or more recipes that share names; `packages`: name and recipe.

    >>> [problem.facts[0] for problem in made_twice([("a", "x"), ("a", "y"), ("b", "y")]).problems]
    ['x and y both make the package a']
    """
    makers: dict[str, set[str]] = {}
    for name, recipe in packages:
        makers.setdefault(name, set()).add(recipe)
    shared: dict[tuple[str, ...], list[str]] = {}
    for name, recipes in sorted(makers.items()):
        if len(recipes) > 1:
            shared.setdefault(tuple(sorted(recipes)), []).append(name)
    return Findings(tuple(_problem(recipes, names) for recipes, names in sorted(shared.items())))


def _problem(recipes: tuple[str, ...], names: list[str]) -> Problem:
    what = "packages" if len(names) > 1 else "package"
    every = "both" if len(recipes) == 2 else "all"
    return Problem(
        "made-twice",
        recipes[0],
        (
            f"{listed(recipes, 6)} {every} make the {what} {listed(names, 6)}",
            "sites get the one with the highest version, and the others never",
        ),
        f"Take {listed(names, 6)} out of all but one of them.",
    )

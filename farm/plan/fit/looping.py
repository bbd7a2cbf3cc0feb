"""Which recipes may need themselves to be built: a quick look before the planner's exact one.

Whoever could provide something counts as who will, so a layer without a loop here has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import solv

from farm.model import LAYER, Evaluation, Problem
from farm.plan.cycles import closure, loops
from farm.plan.fit.view import View
from farm.plan.universe import nevra_of


def may_loop(view: View, evaluations: Mapping[str, Evaluation | Problem]) -> frozenset[str]:
    """Recipes in a loop of what is, or may be, built with what."""
    recipes = _recipes(view)
    brings = _brought_along(view, recipes)
    graph = {
        name: closure(_having(view, recipes, evaluation.build_requires), brings.__getitem__)
        for name, evaluation in evaluations.items()
        if isinstance(evaluation, Evaluation) and name in brings
    }
    return frozenset().union(*loops({name: needs & graph.keys() for name, needs in graph.items()}))


def _recipes(view: View) -> dict[int, str]:
    return {
        solvable.id: recipe
        for solvable in view.layer
        if (recipe := view.recipes.get(nevra_of(solvable))) is not None
    }


def _brought_along(view: View, recipes: Mapping[int, str]) -> dict[str, set[str]]:
    """Recipe → those whose packages its own packages require when they are installed."""
    pool = view.universe.pool
    found: dict[str, set[str]] = {recipe: set() for recipe in view.recipes.values()}
    for solvable in view.layer:
        own = recipes.get(solvable.id)
        for dep in solvable.lookup_deparray(solv.SOLVABLE_REQUIRES) if own else ():
            others = {recipes.get(s.id) for s in pool.whatprovides(dep) if s.repo.name == LAYER}
            found[own or ""] |= {other for other in others if other and other != own}
    return found


def _having(view: View, recipes: Mapping[int, str], texts: Iterable[str]) -> set[str]:
    solvables = (each for text in texts for each in view.universe.providers(text))
    return {recipe for each in solvables if (recipe := recipes.get(each.id)) is not None}

"""Whether packages that were built once still fit: what only their build found out to be required
(sonames, `pkgconfig()`) has to be there still."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import solv

from farm.model import LAYER, Package
from farm.plan.fit.declared import generated
from farm.plan.fit.view import View
from farm.plan.universe import Universe, nevra_of


def misfit(
    universe: Universe, packages: Collection[Package], view: View, settled: Collection[str]
) -> str:
    """Why these packages of the universe's layer do not fit any more, in words, or "".

    The universe holds them and what the `settled` recipes have put out by now. The rest of the
    layer counts as it is in `view`.
    """
    own = {package.nevra for package in packages}
    for solvable in universe.pool.solvables_iter():
        if solvable.repo.name != LAYER or nevra_of(solvable) not in own:
            continue
        for dep in solvable.lookup_deparray(solv.SOLVABLE_REQUIRES):
            text = str(dep)
            if (
                generated(text)
                and not universe.pool.whatprovides(dep)
                and not any(_elsewhere(view, text, settled))
            ):
                return f"{solvable} requires {text}, which nothing provides any more"
    return ""


def _elsewhere(view: View, text: str, settled: Collection[str]) -> Iterator[bool]:
    """Whether each provider in the view is one that counts."""
    for solvable in view.universe.providers(text):
        recipe = view.recipes.get(nevra_of(solvable))
        yield solvable.repo.name != LAYER or recipe not in settled

"""The layer as it stands over a base: packages that are built as they are, others as declared.

What is not built yet can already be solved against, so most questions have their answer before
the first build. What only a build reveals is called open, never broken: `View.hopeful` is the
same universe in which somebody provides all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import solv

from farm.model import LAYER, Chroot, Evaluation, LockedPackage, Nevra, Package
from farm.plan.fit.contribution import Contribution
from farm.plan.fit.declared import Declared, built_relations, declared, generated
from farm.plan.metadata import solvfiles
from farm.plan.metadata.pins import Pin
from farm.plan.planner import capabilities
from farm.plan.universe import Universe, nevra_of

_STAND_IN = Nevra("farm-not-built-yet", 0, "0", "0", "noarch")


@dataclass(frozen=True, eq=False)
class View:
    """Base and layer in one universe. `recipes`: package of the layer → its recipe."""

    chroot: Chroot
    universe: Universe
    recipes: Mapping[Nevra, str]
    unbuilt: frozenset[str]  # recipes of which only the declaration is known
    stale: frozenset[str]  # among them those that are to be built again as they were
    pieces: tuple[bytes, ...]  # of declared packages
    built: tuple[tuple[Package, Path], ...]
    wanted: tuple[str, ...]  # what the layer's BuildRequires name
    # what the last build of a recipe provided whose spec cannot be read now → the recipe
    unreadable: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        chroot: Chroot,
        pins: Sequence[Pin],
        cache: Path,
        contributions: Iterable[Contribution],
    ) -> View:
        """Raises what `Universe.open` raises."""
        recipes: dict[Nevra, str] = {}
        built: list[tuple[Package, Path]] = []
        pieces: list[bytes] = []
        unbuilt, stale = set(), set()
        wanted: set[str] = set()
        unreadable: dict[str, str] = {}
        for contribution in contributions:
            evaluation = contribution.evaluation
            if evaluation is not None:
                wanted.update(evaluation.build_requires)
            own = [(p, path) for p, path in contribution.packages if not p.debug]
            if contribution.current and not contribution.stale:
                built += own
                recipes |= {package.nevra: contribution.recipe for package, _ in own}
            elif evaluation is not None:
                unbuilt.add(contribution.recipe)
                if contribution.current:
                    stale.add(contribution.recipe)
                for package in _declared(contribution, evaluation, cache):
                    pieces.append(package.piece)
                    recipes[package.nevra] = contribution.recipe
            else:
                unreadable |= dict.fromkeys(_provided(own, cache), contribution.recipe)
        universe = Universe.open(chroot, pins, cache, built, pieces)
        return cls(
            chroot, universe, recipes, frozenset(unbuilt), frozenset(stale),
            tuple(pieces), tuple(built), tuple(sorted(wanted)), unreadable,
        )  # fmt: skip

    def may_reveal(self, asking: str) -> bool:
        """Whether a build yet to come may turn out to provide what this recipe asks for.

        Not its own, nor one that was built before from the same recipe: that one's are known.
        """
        return bool(self.unbuilt - self.stale - {asking})

    @cached_property
    def hopeful(self) -> Universe:
        """The universe in which whatever only a build reveals is there."""
        if not self.open_capabilities:
            return self.universe
        stand_in = Declared(_STAND_IN, provides=self.open_capabilities)
        universe = self.universe
        return Universe.open(
            self.chroot, universe.pins, universe.cache, self.built, (*self.pieces, stand_in.piece)
        )

    @cached_property
    def open_capabilities(self) -> tuple[str, ...]:
        """What the layer asks for, nobody has, and a package that is not built may turn out to."""
        texts = set(self.wanted)
        for solvable in self.layer:
            texts.update(str(dep) for dep in solvable.lookup_deparray(solv.SOLVABLE_REQUIRES))
        atoms = {atom for text in texts for atom in _atoms(text)}
        self.universe.learn(atom for atom in atoms if atom.startswith("/"))
        return tuple(
            sorted(atom for atom in atoms if generated(atom) and not self.universe.providers(atom))
        )

    @cached_property
    def layer(self) -> tuple[Any, ...]:
        """The layer's packages in the pool."""
        return tuple(s for repo in self.universe.pool.repos if repo.name == LAYER
                     for s in repo.solvables)  # fmt: skip

    def recipes_in(self, packages: Iterable[LockedPackage]) -> frozenset[str]:
        """The recipes whose packages are among those of a lock."""
        own = (p.nevra for p in packages if p.of_layer)
        return frozenset(self.recipes[nevra] for nevra in own if nevra in self.recipes)

    def hoped_for(self, packages: Iterable[LockedPackage], asked: Iterable[str]) -> tuple[str, ...]:
        """Of what is open, that which a lock of the hopeful universe (or its wishes) relies on."""
        texts = {atom for text in asked for atom in _atoms(text)}
        wanted = {p.nevra for p in packages}
        for solvable in self.layer:
            if nevra_of(solvable) in wanted:
                for dep in solvable.lookup_deparray(solv.SOLVABLE_REQUIRES):
                    texts.update(_atoms(str(dep)))
        return tuple(text for text in self.open_capabilities if text in texts)


def _declared(
    contribution: Contribution, evaluation: Evaluation, cache: Path
) -> tuple[Declared, ...]:
    last = {
        (package.nevra.name, package.nevra.arch): solvfiles.layer_metadata(package, path, cache)
        for package, path in contribution.packages
        if not package.debug
    }
    return declared(evaluation, last, requires=not contribution.stale)


def _provided(packages: Iterable[tuple[Package, Path]], cache: Path) -> Iterator[str]:
    for package, path in packages:
        provides = built_relations(solvfiles.layer_metadata(package, path, cache))["provides"]
        yield from (text.split(" ", 1)[0] for text in provides)


def _atoms(text: str) -> tuple[str, ...]:
    """A dependency itself, or the names that a rich one is made of."""
    return capabilities(text) if text.startswith("(") else (text,)

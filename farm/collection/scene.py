"""Where a collection takes place, and what of the layer there is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from farm.collection.reach import Retention
from farm.config import Config
from farm.inputs import layer_of
from farm.model import Result
from farm.publish.tree import Publication
from farm.rebuild.space import roots_directory
from farm.steps import chroot_of, recipe_of
from farm.store import Store


@dataclass(frozen=True)
class Scene:
    """The directories, the retention, and the recipes and chroots that there are now.

    `recipes` are of all releases; recipes that cannot be used just now count as well.
    """

    state: Path
    publication: Path
    retention: Retention
    recipes: frozenset[str]
    chroots: frozenset[str]
    generated: frozenset[Path] = frozenset()  # directories of recipes that nobody writes
    roots: Path | None = None
    bases: Path | None = None

    @property
    def store(self) -> Store:
        return Store(self.state / "store")

    @property
    def tree(self) -> Publication:
        return Publication(self.publication)

    def present(self, step: str) -> bool:
        """Whether a step is part of the layer."""
        return recipe_of(step) in self.recipes and chroot_of(step) in self.chroots

    def counts(self, result: Result) -> bool:
        """Whether a standing result does: one whose recipe is gone does for a while."""
        return self.present(result.step) or self.retention.young(result.finished)


def scene_of(config: Config) -> Scene:
    """The directories of a farm, and what its layer has for any of its releases.

    Raises LayerError when there is no layer: then nobody knows what is needed.
    """
    state, settings = config.path("state"), config.publish
    layers = [layer_of(config, release) for release in config.releases]
    recipes = [recipe for layer in layers for recipe in layer.recipes]
    left_out = {problem.subject for layer in layers for problem in layer.problems}
    return Scene(
        state=state,
        publication=config.path("publication"),
        retention=Retention(
            now=time.time(),
            snapshots=settings.keep_snapshots,
            days=settings.keep_days,
            attested_days=settings.keep_attested_days,
            grace_hours=settings.grace_hours,
        ),
        recipes=frozenset({recipe.name for recipe in recipes} | left_out),
        chroots=frozenset(
            f"{release}-{arch}"
            for release, each in config.releases.items()
            for arch in each.architectures
        ),
        generated=frozenset(Path(r.directory) for r in recipes if r.origin == "generated"),
        roots=roots_directory(config.paths.roots, state),
        bases=config.base_directory,
    )

"""What the recipes of a layer give to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from farm.model import Evaluation, Package


@dataclass(frozen=True)
class Contribution:
    """What one recipe gives to the layer: its packages in the store, or what its spec says.

    `current`: the packages were built from the recipe as it is now. Those of an earlier state
    tell what the next build will probably provide and require; when they are `stale`, they do
    not fit the base any more, and what the next build requires is not known.
    """

    recipe: str
    evaluation: Evaluation | None = None
    packages: tuple[tuple[Package, Path], ...] = ()
    current: bool = False
    stale: bool = False

"""What is to be built, in which order, and why."""

from __future__ import annotations

from farm.model.noun import Noun
from farm.model.verdict import Problem
from farm.steps import bootstrap_name


class Step(Noun, frozen=True):
    """A recipe in a chroot. `needs` are the names of steps that must have their result first,
    `direct` those among them that its own BuildRequires resolve to; `after` are waited for as well,
    since they may turn out to be needed, but may fail. With `bootstrap` it is built with the
    condition of that name, for the sake of its cycle; what comes out is never published."""

    recipe: str
    chroot: str
    needs: tuple[str, ...]
    direct: tuple[str, ...] = ()
    problem: Problem | None = None
    excluded: str = ""  # why this architecture is left out (ExclusiveArch, ExcludeArch)
    bootstrap: bool = False
    after: tuple[str, ...] = ()

    @property
    def awaited(self) -> tuple[str, ...]:
        return (*self.needs, *self.after)

    @property
    def name(self) -> str:
        """What `needs` of the same chroot call it."""
        return bootstrap_name(self.recipe) if self.bootstrap else self.recipe

    @property
    def id(self) -> str:
        return f"{self.name}@{self.chroot}"


class Plan(Noun, frozen=True):
    """Steps in an order in which they can run."""

    steps: tuple[Step, ...]
    problems: tuple[Problem, ...] = ()

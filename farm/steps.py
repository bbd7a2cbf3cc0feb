"""What steps are called: `recipe@chroot`, and `recipe~bootstrap@chroot` for what only lets a cycle
be built. No package has a `~` in its name."""

from __future__ import annotations

BOOTSTRAP = "bootstrap"  # the build condition that breaks a cycle


def bootstrap_name(recipe: str) -> str:
    """The name of the step that builds a recipe with its bootstrap condition."""
    return f"{recipe}~{BOOTSTRAP}"


def is_bootstrap(step: str) -> bool:
    """Whether a step's name or id is that of a bootstrap."""
    return step.partition("@")[0].endswith(f"~{BOOTSTRAP}")


def recipe_of(step: str) -> str:
    """The recipe in a step's name or id."""
    return step.partition("@")[0].removesuffix(f"~{BOOTSTRAP}")


def chroot_of(step: str) -> str:
    """The chroot in a step's id."""
    return step.partition("@")[2]

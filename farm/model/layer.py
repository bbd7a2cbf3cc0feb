"""What contributors push, and what rpm says of it."""

from __future__ import annotations

from typing import Literal

from farm.model.noun import Noun, digest_of
from farm.model.package import Nevra
from farm.model.verdict import Problem


class RecipeFile(Noun, frozen=True):
    """One file of a recipe's directory, `path` relative to it."""

    path: str
    sha256: str
    executable: bool = False


class SourceFile(Noun, frozen=True):
    """A line of Fedora's `sources` format: a file kept outside git, known by its SHA512."""

    name: str
    sha512: str


class Recipe(Noun, frozen=True):
    """A spec directory with its source checksums.

    `directory` is where the files are (absolute; a generated recipe lies in the state
    directory). It is not part of the digest; `files` and `sources` are.
    """

    name: str
    spec: str  # file name of the spec
    directory: str
    files: tuple[RecipeFile, ...]
    sources: tuple[SourceFile, ...] = ()
    commit: str = ""  # last commit that touched it
    scratch: bool = False  # uncommitted changes, or a foreign .src.rpm: never published
    origin: Literal["spec", "generated", "srpm"] = "spec"
    group: str = ""  # who owns it

    @property
    def digest(self) -> str:
        return digest_of((self.name, self.spec, self.files, self.sources))


class Group(Noun, frozen=True):
    """A set of packages that is a comps group and, if `metapackage`, a package of that name."""

    id: str
    name: str
    description: str
    version: str
    packages: tuple[str, ...]  # binary package names, mandatory
    optional: tuple[str, ...] = ()
    metapackage: bool = True
    changelog: tuple[tuple[str, str, str], ...] = ()  # ISO date, author, text; newest first


class Layer(Noun, frozen=True):
    """The layer at one commit."""

    commit: str
    recipes: tuple[Recipe, ...]
    groups: tuple[Group, ...]
    owners: tuple[tuple[str, str], ...] = ()  # source package, owning group of people
    problems: tuple[Problem, ...] = ()  # of recipes left out, of groups and owners
    notes: tuple[str, ...] = ()  # worth saying, in the way of nothing

    def recipe(self, name: str) -> Recipe | None:
        return next((recipe for recipe in self.recipes if recipe.name == name), None)


class Evaluation(Noun, frozen=True):
    """What rpm says of a recipe in one chroot (rpmspec in the sandbox)."""

    source: Nevra  # arch "src"
    packages: tuple[tuple[Nevra, tuple[str, ...]], ...]  # binary package, its declared Provides
    build_requires: tuple[str, ...]
    build_conflicts: tuple[str, ...] = ()
    exclusive_arch: tuple[str, ...] = ()
    exclude_arch: tuple[str, ...] = ()
    dynamic: bool = False  # has %generate_buildrequires
    epoch_seconds: int = 0  # newest changelog entry, SOURCE_DATE_EPOCH
    has_dist: bool = True  # Release mentions %{?dist}
    requires: tuple[tuple[str, tuple[str, ...]], ...] = ()  # binary name, declared Requires
    files: tuple[str, ...] = ()  # names of the declared Source and Patch files
    conflicts: tuple[tuple[str, tuple[str, ...]], ...] = ()  # binary name, declared Conflicts
    obsoletes: tuple[tuple[str, tuple[str, ...]], ...] = ()  # binary name, declared Obsoletes
    bootstrap: bool = False  # has a build condition of that name

"""The git layer → Layer: every recipe that can be used, and what is wrong with the others."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from farm.config import Config
from farm.errors import LayerError, MachineError
from farm.layer import groups, owners
from farm.layer.generated import metapackage_recipe, release_recipe
from farm.layer.memory import Memory
from farm.layer.recipe import Place, Reading, read_recipe
from farm.layer.tree import (
    Entry,
    Tree,
    committed_tree,
    directories,
    recipe_directories,
    unit_of,
    working_tree,
)
from farm.model import Group, Layer, Problem, Recipe


@dataclass(frozen=True)
class ReleaseTexts:
    """What the release package holds: a release's .repo file and its signing key (armoured)."""

    release: str
    repo: str
    key: str


def read_layer(
    config: Config,
    *,
    commit: str | None = None,
    release: ReleaseTexts | None = None,
    now: datetime.datetime | None = None,
) -> Layer:
    """The layer as its working tree has it, or at a commit (written below the state directory).

    With `release`, the release package is among the recipes (if the list of groups declares it).
    A recipe that cannot be used is left out and is a Problem of the layer; the others are there.
    Recipes with uncommitted changes are scratch; outside of a git repository all are.
    Raises LayerError when there is no layer at all, UsageError for an unknown commit, MachineError
    when the state directory cannot be written.
    """
    now = now or datetime.datetime.now(datetime.UTC)
    specs, state = config.path("specs"), config.path("state")
    memory = Memory(state / "layer.json")
    try:
        if commit is None:
            tree = working_tree(specs, memory)
        else:
            tree = committed_tree(specs, commit, state / "layer", memory)
        layer = _Reader(config, specs, tree, memory, now, release, on_disk=commit is None).read()
    except OSError as error:
        raise MachineError(
            f"the layer cannot be read: {error.strerror or error}", why=str(error.filename or "")
        ) from error
    memory.save()
    return layer


@dataclass(frozen=True)
class _Reader:
    config: Config
    specs: Path
    tree: Tree
    memory: Memory
    now: datetime.datetime
    release: ReleaseTexts | None
    on_disk: bool

    def read(self) -> Layer:
        readings, problems = self._recipes()
        listed, group_problems = self._groups(readings, {p.subject for p in problems})
        written = [reading.recipe for reading in readings if reading.recipe is not None]
        generated = self._generated(listed)
        recipes = sorted([*written, *generated], key=lambda recipe: recipe.name)
        owned, owner_problems = self._owners(recipes)
        for reading in readings:
            problems += reading.problems
        return Layer(
            commit=self.tree.commit,
            recipes=owned,
            groups=listed.groups,
            owners=tuple((recipe.name, recipe.group) for recipe in owned if recipe.group),
            problems=(*problems, *group_problems, *owner_problems),
            notes=self.tree.notes,
        )

    def _recipes(self) -> tuple[list[Reading], list[Problem]]:
        paths = [entry.path for entry in self.tree.entries]
        found = recipe_directories(paths)
        inside: dict[str, list[Entry]] = {directory: [] for directory in sorted(found)}
        for entry in self.tree.entries:
            unit = unit_of(entry.path, found)
            if unit in inside:
                inside[unit].append(entry)
        changed = {unit_of(path, found) for path in self.tree.removed} | {
            unit_of(entry.path, found) for entry in self.tree.entries if entry.changed
        }
        readings = [
            self._reading(directory, entries, directory in changed)
            for directory, entries in inside.items()
        ]
        problems = [*self._without_spec(paths, found), *_outside(self._shown, paths)]
        return _without_namesakes(readings, list(inside), self._shown), problems

    def _reading(self, directory: str, entries: Sequence[Entry], changed: bool) -> Reading:
        name = directory.rpartition("/")[2]
        disk = str(entries[0].file).removesuffix(entries[0].path[len(directory) :])
        place = Place(
            name,
            self._shown(directory),
            Path(disk),
            commit=self.tree.touched.get(directory, ""),
            scratch=changed,
        )
        within = [replace(entry, path=entry.path[len(directory) + 1 :]) for entry in entries]
        try:
            return read_recipe(place, within, self.memory, self.now)
        except OSError as error:
            fact = f"{place.path}: {error.strerror or error}"
            return Reading(name, problems=(Problem("unreadable", name, (fact,)),))

    def _without_spec(self, paths: Iterable[str], found: frozenset[str]) -> list[Problem]:
        """Directories that hold files but no spec, neither in them nor further in."""
        above = {parent for directory in found for parent in directories(directory)}
        lost: set[str] = set()
        for path in paths:
            chain = directories(path)
            hidden = any(part.startswith(".") for part in chain[:1])
            if chain and not hidden and not any(part in found for part in chain):
                outermost = next((part for part in chain if part not in above), None)
                if outermost is not None:
                    lost.add(outermost)
        if self.on_disk:
            # git may ignore all of a directory: it is then not in `paths`.
            known = {path.partition("/")[0] for path in paths}
            lost |= {
                child.name
                for child in self.specs.iterdir()
                if child.name not in known and child.is_dir() and any(child.glob("*.spec"))
            }
        return [self._no_spec(directory) for directory in sorted(lost)]

    def _no_spec(self, directory: str) -> Problem:
        shown, name = self._shown(directory), directory.rpartition("/")[2]
        ignored = sorted((self.specs / directory).glob("*.spec")) if self.on_disk else []
        if ignored:
            return Problem(
                "no-spec",
                name,
                (f"{shown}/{ignored[0].name}: git ignores the spec",),
                "See which .gitignore does, with `git check-ignore -v` (a common template"
                " ignores *.spec), and take that line out.",
            )
        return Problem(
            "no-spec", name, (f"{shown}: there is no spec",), "Add one, or remove the directory."
        )

    def _groups(
        self, readings: Sequence[Reading], unreadable: set[str]
    ) -> tuple[groups.GroupList, list[Problem]]:
        text = self._text(groups.FILE)
        if text is None:
            return groups.GroupList(), []
        where = self._shown(groups.FILE)
        try:
            listed = groups.parse(text, where, self.now.date())
        except LayerError as error:
            facts = tuple(part for part in (error.what, error.why) if part)
            return groups.GroupList(), [Problem("bad-groups", groups.FILE, facts, error.hint)]
        good: list[Group] = []
        problems: list[Problem] = []
        names = {reading.name for reading in readings}
        packages = {package for reading in readings for package in reading.look.packages}
        packages |= names | unreadable
        metapackages = {group.id for group in listed.groups if group.metapackage}
        # A spec whose packages cannot be seen may hold any: then the planner, which has rpm's
        # own word, is the one to tell.
        sure = all(reading.look.packages_sure for reading in readings)
        for group in listed.groups:
            against = groups.unknown_members(group, packages, metapackages, where) if sure else ()
            if group.metapackage and group.id in names:
                fact = f"{where}: group {group.id} has the name of a recipe"
                against = (Problem("bad-groups", group.id, (fact,), "Rename one of the two."),)
            problems += against
            if not against:
                good.append(group)
        return replace(listed, groups=tuple(good)), problems

    def _generated(self, listed: groups.GroupList) -> list[Recipe]:
        """What the list of groups makes: as old, and as committed, as the list is."""
        below = self.config.path("state") / "generated"
        commit = self.tree.touched.get(groups.FILE, "")
        scratch = any(entry.changed and entry.path == groups.FILE for entry in self.tree.entries)
        recipes = [
            metapackage_recipe(group, below / group.id, commit=commit, scratch=scratch)
            for group in listed.groups
            if group.metapackage
        ]
        if self.release is not None and listed.release_package is not None:
            recipes.append(
                release_recipe(
                    listed.release_package,
                    release=self.release.release,
                    repo_text=self.release.repo,
                    key_text=self.release.key,
                    directory=below / f"{listed.release_package.name}-{self.release.release}",
                    commit=commit,
                    scratch=scratch,
                )
            )
        return recipes

    def _owners(self, recipes: Sequence[Recipe]) -> tuple[tuple[Recipe, ...], list[Problem]]:
        text, where = self._text(owners.FILE), self._shown(owners.FILE)
        if text is None:
            fact = f"{where}: is not there, so nobody owns any package"
            remedy = "Add a line `*  maintainers`, or one for each package."
            problem = Problem("no-owner", owners.FILE, (fact,), remedy)
            return tuple(recipes), [problem] if recipes else []
        try:
            rules = owners.parse(text, where)
        except LayerError as error:
            facts = tuple(part for part in (error.what, error.why) if part)
            return tuple(recipes), [Problem("bad-owners", owners.FILE, facts, error.hint)]
        owned = tuple(
            msgspec.structs.replace(recipe, group=owners.owner(recipe.name, rules))
            for recipe in recipes
        )
        problems = [
            Problem(
                "no-owner",
                recipe.name,
                (f"{where}: no line matches {recipe.name}",),
                f"Add a line `{recipe.name}  <group>`.",
            )
            for recipe in owned
            if not recipe.group
        ]
        return owned, problems

    def _text(self, name: str) -> str | None:
        """Of a top-level file of the layer, None when it is not there."""
        for entry in self.tree.entries:
            if entry.path == name and entry.kind == "file":
                return entry.file.read_text("utf-8", "replace")
        return None

    def _shown(self, path: str) -> str:
        """A path of the layer as people write it: from the directory of farm.toml."""
        whole = self.specs / path
        if whole.is_relative_to(self.config.root):
            return whole.relative_to(self.config.root).as_posix()
        return whole.as_posix()


def _outside(shown: Callable[[str], str], paths: Iterable[str]) -> list[Problem]:
    """Specs that lie beside the recipes' directories."""
    return [
        Problem(
            "bad-spec",
            path.removesuffix(".spec"),
            (f"{shown(path)}: the spec is in no directory of its own",),
            f"Move it to {shown(path.removesuffix('.spec'))}/{path}.",
        )
        for path in paths
        if "/" not in path and path.endswith(".spec")
    ]


def _without_namesakes(
    readings: Sequence[Reading], where: Sequence[str], shown: Callable[[str], str]
) -> list[Reading]:
    """Packages of one name are refused all together: which one is meant, nobody can know."""
    places: dict[str, list[str]] = {}
    for reading, directory in zip(readings, where, strict=True):
        places.setdefault(reading.name, []).append(directory)
    kept: list[Reading] = []
    for reading, directory in zip(readings, where, strict=True):
        others = [place for place in places[reading.name] if place != directory]
        if not others:
            kept.append(reading)
            continue
        facts = (f"{shown(directory)}: the name is also that of {', '.join(map(shown, others))}",)
        problem = Problem("duplicate", reading.name, facts, "Keep one of them.")
        kept.append(Reading(reading.name, None, reading.look, (problem,)))
    return kept

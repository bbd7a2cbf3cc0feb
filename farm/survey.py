"""A release as one run finds it: its layer, its base, what stands, and what rpm says of it.

Whoever only asks (check, why, publish) needs no more; `workshop` builds with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec

from farm.bases import pin_directory
from farm.config import Config
from farm.errors import SolveError
from farm.inputs import check_names, layer_of, read_chroots
from farm.lazily import lazily
from farm.ledger import Ledger
from farm.model import (
    Chroot,
    Evaluation,
    Layer,
    Lock,
    Package,
    Plan,
    Problem,
    Recipe,
    digest_of,
)
from farm.overview import Overview
from farm.plan.fit.contribution import Contribution
from farm.plan.metadata.pins import Pin, read_pin
from farm.plan.planner import exclusion
from farm.plan.setup import setup_lock
from farm.progress import Emit
from farm.rebuild.space import roots_directory
from farm.rebuild.spec import READING_NUMBER
from farm.store import Checked, Store

with lazily():  # a layer that is read and planned as it was asks none of them
    from farm.layer import srpm as source_packages
    from farm.plan import solver
    from farm.plan import universe as universes
    from farm.plan.fit import view as views
    from farm.plan.metadata import download, repodata
    from farm.rebuild import roots as build_roots
    from farm.rebuild import srpm


@dataclass(frozen=True)
class Survey:
    """The layer of one release over its base, read and evaluated."""

    config: Config
    ledger: Ledger
    emit: Emit
    release: str
    chroots: tuple[Chroot, ...]  # those asked for
    every_chroot: tuple[Chroot, ...]  # all of the release: the canonical SRPM may want another
    layer: Layer
    foreign: tuple[Recipe, ...] = ()  # unpacked from .src.rpm files, scratch

    @cached_property
    def state(self) -> Path:
        return self.config.path("state")

    @cached_property
    def store(self) -> Store:
        return Store(self.state / "store")

    @cached_property
    def checked(self) -> Checked:
        """Which files of the store are known to be whole."""
        return Checked(self.store, self.state / "checked.json")

    def sound(self, sha256: str, *, anew: bool = False) -> bool:
        """Whether the store has a file, whole. A damaged one is taken out of it, and told."""
        if self.checked.sound(sha256, anew=anew):
            return True
        if self.store.drop(sha256):
            self.emit(
                "warning",
                text=f"the file {self.store.path(sha256)} was damaged: it is made or fetched again",
            )
        return False

    def looks_sound(self, sha256: str, *, anew: bool = False) -> bool:
        """The same for a question: a damaged file stays."""
        if self.checked.sound(sha256, anew=anew):
            return True
        if sha256 in self.store:
            self.emit("warning", text=f"the file {self.store.path(sha256)} is damaged")
        return False

    @cached_property
    def roots(self) -> build_roots.RootCache:
        directory = roots_directory(self.config.paths.roots, self.state)
        return build_roots.RootCache(
            directory, self.store, report=lambda text: self.emit("warning", text=text)
        )

    @cached_property
    def recipes(self) -> Mapping[str, Recipe]:
        """By name; a foreign source package takes the place of the layer's own."""
        return {recipe.name: recipe for recipe in (*self.layer.recipes, *self.foreign)}

    @cached_property
    def _pins(self) -> dict[str, tuple[Pin, ...]]:
        return {}

    def pins(self, chroot: Chroot) -> tuple[Pin, ...]:
        """The known state of each base repository; fetched when there is none yet."""
        if chroot.name not in self._pins:
            self._pins[chroot.name] = tuple(
                self._pin(chroot, index) for index in range(len(chroot.repositories))
            )
        return self._pins[chroot.name]

    def _pin(self, chroot: Chroot, index: int) -> Pin:
        repository = chroot.repositories[index]
        directory = pin_directory(self.state, chroot, repository)
        pin = read_pin(directory, repository)
        if pin is None:
            self.emit("note", text=f"pinning {repository.id} of {chroot.name} as it is now")
            pin = repodata.pin_repository(repository, directory)
        return pin

    def universe(self, chroot: Chroot, packages: Iterable[Package] = ()) -> universes.Universe:
        """Base and these packages of the layer, for the solver."""
        layer = [(p, self.store.get(p.sha256)) for p in packages if not p.debug]
        return universes.Universe.open(chroot, self.pins(chroot), self.state / "solv", layer)

    @cached_property
    def _bases(self) -> dict[str, universes.Universe]:
        return {}

    def base(self, chroot: Chroot) -> universes.Universe:
        """The base alone."""
        if chroot.name not in self._bases:
            self._bases[chroot.name] = self.universe(chroot)
        return self._bases[chroot.name]

    @cached_property
    def _setup_locks(self) -> dict[str, Lock]:
        return {}

    def setup_lock(self, chroot: Chroot) -> Lock:
        """What the chroot's set-up alone installs, archived. Raises SolveError."""
        if chroot.name not in self._setup_locks:
            cache = self.state / "solv"
            lock = setup_lock(chroot, self.pins(chroot), cache, lambda: self.base(chroot))
            if isinstance(lock, Problem):
                raise SolveError(
                    f"the build root of {chroot.name} cannot be set up",
                    why="\n".join(lock.facts),
                    hint=lock.remedy,
                )
            self.archive(lock)
            self._setup_locks[chroot.name] = lock
        return self._setup_locks[chroot.name]

    def check_names(self, names: Iterable[str]) -> None:
        """Raises UsageError for a package that the layer does not have."""
        check_names(self.layer, names)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Directories of recipes that cannot be used: packages as well, whose build fails."""
        subjects = dict.fromkeys(problem.subject for problem in self.layer.problems)
        specs = self.config.path("specs")
        return tuple(s for s in subjects if s not in self.recipes and (specs / s).is_dir())

    @cached_property
    def evaluations(self) -> Mapping[tuple[str, str], Evaluation | Problem]:
        """What rpm says of every recipe in every chroot asked for; only the new ones are asked."""
        answers: dict[tuple[str, str], Evaluation | Problem] = {}
        for chroot in self.chroots:
            for recipe, answer in self.evaluated(chroot, tuple(self.recipes.values())).items():
                answers[recipe, chroot.name] = answer
            for problem in self.layer.problems:
                answers.setdefault((problem.subject, chroot.name), problem)
        return answers

    def evaluated(
        self, chroot: Chroot, recipes: Sequence[Recipe]
    ) -> Mapping[str, Evaluation | Problem]:
        """What rpm says of these recipes in a chroot; what it said before is remembered."""
        setup = self.setup_lock(chroot)
        asked = (READING_NUMBER, chroot.digest, setup.digest)
        keys = {r.name: digest_of((r.digest, *asked)) for r in recipes}
        known: dict[str, Evaluation | Problem] = {}
        new = []
        for recipe in recipes:
            evaluation = self.ledger.evaluation(keys[recipe.name])
            if evaluation is None:
                new.append(recipe)
            else:
                known[recipe.name] = evaluation
        if new:
            self.emit("note", text=f"reading {len(new)} specs with rpm on {chroot.name}")
            answers = srpm.evaluate(new, chroot, setup, self.roots)
            for recipe, answer in zip(new, answers, strict=True):
                known[recipe.name] = answer
                if isinstance(answer, Evaluation):
                    self.ledger.remember_evaluation(keys[recipe.name], answer)
        return known

    @cached_property
    def overview(self) -> Overview:
        """The layer over its base as it stands when this run begins."""
        return Overview(
            ledger=self.ledger,
            store=self.store,
            cache=self.state / "solv",
            recipes=self.recipes,
            chroots=self.chroots,
            evaluations=self.evaluations,
            evaluate=self.evaluated,
            pins=self.pins,
        )

    def view(self, chroot: Chroot) -> views.View:
        """Base and layer in one universe, what is built and what is declared."""
        return self.overview.view(chroot)

    def contributions(self, chroot: Chroot) -> Iterator[Contribution]:
        """What each recipe gives to that view."""
        return self.overview.contributions(chroot)

    def plan(self, names: Sequence[str]) -> Plan:
        """The steps for `names` and what they need."""
        return self.overview.plan(names)

    def problems_beside(self, plan: Plan) -> tuple[Problem, ...]:
        """What is wrong with the layer, but is not the business of a step of the plan."""
        planned = {step.recipe for step in plan.steps}
        return tuple(p for p in self.layer.problems if p.subject not in planned)

    def found_out(
        self, name: str, evaluation: Evaluation, view: views.View
    ) -> tuple[Evaluation, bool]:
        """The evaluation with what %generate_buildrequires said in the root that the view would
        give it, and whether that is known; without it, what is said plainly is a lower bound."""
        chroot, recipe = view.chroot, self.recipes[name]
        while True:
            required = evaluation.build_requires
            lock = solver.resolve(view.universe, chroot, required, evaluation.build_conflicts)
            if isinstance(lock, Problem):
                return evaluation, False
            known = self.ledger.evaluation(dynamic_key(recipe, chroot, lock))
            if known is None:
                return evaluation, False
            more = tuple(sorted({*required, *known.build_requires}))
            if set(more) == set(required):
                return evaluation, True
            evaluation = msgspec.structs.replace(evaluation, build_requires=more)

    def excluded(self, recipe: str, arch: str) -> bool:
        """ExclusiveArch or ExcludeArch keep this recipe from an architecture."""
        chroot = next(chroot for chroot in self.chroots if chroot.arch == arch)
        evaluation = self.evaluations[recipe, chroot.name]
        return isinstance(evaluation, Evaluation) and bool(exclusion(evaluation, arch))

    def archive(self, lock: Lock) -> None:
        """Every package of a lock into the store, whole."""
        for package in lock.packages:
            self.sound(package.sha256)
        download.download(
            lock.packages, self.store, [pin for pins in self._pins.values() for pin in pins]
        )


def dynamic_key(recipe: Recipe, chroot: Chroot, lock: Lock) -> str:
    """Under what is remembered what a spec found out in the root of a lock."""
    return digest_of(("dynamic", recipe.digest, chroot.digest, lock.digest))


def open_survey(
    config: Config,
    ledger: Ledger,
    emit: Emit,
    *,
    release: str | None,
    archs: Sequence[str] = (),
    srpms: Sequence[Path] = (),
) -> Survey:
    """Layer, chroots and ledger of one release. Raises UsageError, ConfigError, LayerError."""
    name, _ = config.release(release)
    every = read_chroots(config, name)
    wanted = read_chroots(config, name, archs)
    scratch = config.path("state") / "scratch"
    foreign = tuple(source_packages.recipe_from_srpm(path, scratch) for path in srpms)
    layer = layer_of(config, name)
    for note in layer.notes:
        emit("note", text=note)
    return Survey(config, ledger, emit, name, wanted, every, layer, foreign)

"""The stages bound together for one run: what `pipeline` needs to tell its story.

Stages do not know one another. Here one stage's function is handed to another, with the
configuration, the state directory and the ledger of this run around it.
"""

from __future__ import annotations

import os
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec

from farm.config import Config
from farm.errors import MachineError, SolveError
from farm.inputs import check_names, layer_of, pin_directory, read_chroots
from farm.layer.sources import SourceCache, fetch
from farm.layer.srpm import recipe_from_srpm
from farm.ledger import Ledger
from farm.model import (
    Chroot,
    Evaluation,
    Layer,
    Limits,
    Lock,
    Nevra,
    Package,
    Plan,
    Problem,
    Recipe,
    Result,
    Step,
    digest_of,
    from_json,
    to_json,
)
from farm.overview import Overview, remember_found
from farm.plan.fit.view import Contribution, View
from farm.plan.metadata.download import download
from farm.plan.metadata.repodata import Pin, pin_repository, read_pin
from farm.plan.planner import exclusion
from farm.plan.setup import setup_lock
from farm.plan.solver import resolve
from farm.plan.universe import Universe
from farm.progress import Emit
from farm.publish.gates import same_noarch
from farm.publish.snapshot import read_results
from farm.rebuild import mock
from farm.rebuild.dynamic import dynamic_requires
from farm.rebuild.keys import srpm_key
from farm.rebuild.roots import RootCache, emulator_for
from farm.rebuild.scheduler import estimate
from farm.rebuild.settle import Inputs, Settler, Stages, free_megabytes
from farm.rebuild.space import roots_directory
from farm.rebuild.spec import READING_NUMBER
from farm.rebuild.srpm import evaluate, make_srpm
from farm.store import Store


@dataclass(frozen=True)
class Workshop:
    """One run over one release: what it works on, and the stages at its service."""

    config: Config
    ledger: Ledger
    emit: Emit
    release: str
    chroots: tuple[Chroot, ...]  # those asked for
    every_chroot: tuple[Chroot, ...]  # all of the release: the canonical SRPM may want another
    layer: Layer
    foreign: tuple[Recipe, ...] = ()  # unpacked from .src.rpm files, scratch
    builder: str = "embedded"
    jobs: int = 1

    @cached_property
    def state(self) -> Path:
        return self.config.path("state")

    @cached_property
    def store(self) -> Store:
        return Store(self.state / "store")

    @cached_property
    def roots(self) -> RootCache:
        return RootCache(roots_directory(self.config.paths.roots, self.state), self.store)

    @cached_property
    def sources(self) -> SourceCache:
        return SourceCache(self.config)

    @cached_property
    def recipes(self) -> Mapping[str, Recipe]:
        """By name; a foreign source package takes the place of the layer's own."""
        return {recipe.name: recipe for recipe in (*self.layer.recipes, *self.foreign)}

    @cached_property
    def _by_name(self) -> Mapping[str, Chroot]:
        return {chroot.name: chroot for chroot in self.chroots}

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
            pin = pin_repository(repository, directory)
        return pin

    def universe(self, chroot: Chroot, packages: Iterable[Package] = ()) -> Universe:
        """Base and these packages of the layer, for the solver."""
        layer = [(p, self.store.get(p.sha256)) for p in packages if not p.debug]
        return Universe.open(chroot, self.pins(chroot), self.state / "solv", layer)

    @cached_property
    def _bases(self) -> dict[str, Universe]:
        return {}

    def base(self, chroot: Chroot) -> Universe:
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
            self._archive(lock)
            self._setup_locks[chroot.name] = lock
        return self._setup_locks[chroot.name]

    def check_names(self, names: Iterable[str]) -> None:
        """Raises UsageError for a package that the layer does not have."""
        check_names(self.layer, names)

    @cached_property
    def evaluations(self) -> Mapping[tuple[str, str], Evaluation | Problem]:
        """What rpm says of every recipe in every chroot asked for; only the new ones are asked."""
        answers: dict[tuple[str, str], Evaluation | Problem] = {}
        for chroot in self.chroots:
            for recipe, answer in self._evaluated(chroot, tuple(self.recipes.values())).items():
                answers[recipe, chroot.name] = answer
            for problem in self.layer.problems:
                answers.setdefault((problem.subject, chroot.name), problem)
        return answers

    def _evaluated(
        self, chroot: Chroot, recipes: Sequence[Recipe]
    ) -> Mapping[str, Evaluation | Problem]:
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
            answers = evaluate(new, chroot, setup, self.roots)
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
            evaluate=self._evaluated,
            pins=self.pins,
        )

    def view(self, chroot: Chroot) -> View:
        """Base and layer in one universe, what is built and what is declared."""
        return self.overview.view(chroot)

    def contributions(self, chroot: Chroot) -> Iterator[Contribution]:
        """What each recipe gives to that view."""
        return self.overview.contributions(chroot)

    def plan(self, names: Sequence[str]) -> Plan:
        """The steps for `names` and what they need."""
        return self.overview.plan(names)

    def planned_again(self, names: Sequence[str]) -> Plan:
        """The same with what has been built since this run began."""
        return self.overview.renewed().plan(names)

    def problems_beside(self, plan: Plan) -> tuple[Problem, ...]:
        """What is wrong with the layer, but is not the business of a step of the plan."""
        planned = {step.recipe for step in plan.steps}
        return tuple(p for p in self.layer.problems if p.subject not in planned)

    def settler(self, force: Iterable[str] = ()) -> Settler:
        """The rules of key, policy and counter, with this run's stages in their hands."""
        build = self.config.build
        return Settler(
            ledger=self.ledger,
            store=self.store,
            state=self.state,
            roots=self.roots.directory,
            recipes=self.recipes,
            chroots=self._by_name,
            evaluations=ChainMap(self.overview.bootstraps, dict(self.evaluations)),
            setup_locks={chroot.name: self.setup_lock(chroot) for chroot in self.chroots},
            published=self._published(),
            stages=Stages(
                lock=self._lock,
                archive=self._archive,
                inputs=self._inputs,
                srpm=self._srpm,
            ),
            policy=self.config.release(self.release)[1].policy,
            builder=self.builder,
            cpus=max(1, len(os.sched_getaffinity(0))),
            limits=Limits(build.timeout, build.silence, build.memory << 20),
            force=frozenset(force),
        )

    def chroot_of(self, step: Step) -> Chroot:
        """The chroot that a step is built in, its build conditions with it."""
        chroot = self._by_name[step.chroot]
        return chroot.bootstrapping if step.bootstrap else chroot

    def _lock(
        self, step: Step, evaluation: Evaluation, needs: Mapping[str, Result]
    ) -> Lock | Problem:
        chroot = self._by_name[step.chroot]
        packages = [p for name in sorted(needs) for p in needs[name].built.packages]
        universe = self.universe(chroot, packages) if packages else self.base(chroot)
        conflicts = evaluation.build_conflicts
        required = evaluation.build_requires
        lock = resolve(universe, chroot, required, conflicts, subject=step.recipe)
        while evaluation.dynamic and isinstance(lock, Lock):
            found = self._dynamic_requires(step, lock)
            if set(found) <= set(required):
                break
            required = tuple(sorted({*required, *found}))
            lock = resolve(universe, chroot, required, conflicts, subject=step.recipe)
        if evaluation.dynamic:
            recipe = self.recipes[step.recipe]
            remember_found(self.ledger, recipe, self.chroot_of(step), required)
        return lock

    def _dynamic_requires(self, step: Step, lock: Lock) -> tuple[str, ...]:
        """What %generate_buildrequires says in the root of this lock; asked once for each."""
        recipe, chroot = self.recipes[step.recipe], self.chroot_of(step)
        key = _dynamic_key(recipe, chroot, lock)
        known = self.ledger.evaluation(key)
        if known is None:
            self._archive(lock)
            srpm = self.store.get(self._srpm(recipe, 0, step.bootstrap).sha256)
            self.emit("note", text=f"asking {step.name} what else it needs on {chroot.name}")
            found = dynamic_requires(recipe.name, srpm, lock, chroot, self.roots)
            known = Evaluation(Nevra(recipe.name, 0, "", "", "src"), (), found)
            self.ledger.remember_evaluation(key, known)
        return known.build_requires

    def found_out(self, name: str, evaluation: Evaluation, view: View) -> tuple[Evaluation, bool]:
        """The evaluation with what %generate_buildrequires said in the root that the view would
        give it, and whether that is known; without it, what is said plainly is a lower bound."""
        chroot, recipe = view.chroot, self.recipes[name]
        while True:
            required = evaluation.build_requires
            lock = resolve(view.universe, chroot, required, evaluation.build_conflicts)
            if isinstance(lock, Problem):
                return evaluation, False
            known = self.ledger.evaluation(_dynamic_key(recipe, chroot, lock))
            if known is None:
                return evaluation, False
            more = tuple(sorted({*required, *known.build_requires}))
            if set(more) == set(required):
                return evaluation, True
            evaluation = msgspec.structs.replace(evaluation, build_requires=more)

    def _archive(self, lock: Lock) -> None:
        download(lock.packages, self.store, [pin for pins in self._pins.values() for pin in pins])

    def _inputs(self, recipe: Recipe) -> Inputs:
        files = fetch(recipe, self.config, self.sources, lambda text: self.emit("note", text=text))
        return tuple((name, self.store.put(path)) for name, path in files)

    def _srpm(self, recipe: Recipe, counter: int, bootstrap: bool) -> Package:
        """The canonical source package: made in the first chroot of the release that can."""
        chroot, evaluation = self._first_chroot(recipe, bootstrap)
        key = srpm_key(recipe.digest, chroot, counter)
        known = self.ledger.srpm(key)
        if known is not None:
            package = from_json(Package, known, where="the ledger")
            if package.sha256 in self.store:
                return package
        package = make_srpm(
            recipe,
            self._inputs(recipe),
            chroot,
            self.setup_lock(chroot),
            self.roots,
            self.store,
            counter=counter,
            epoch_seconds=evaluation.epoch_seconds,
        )
        self.ledger.remember_srpm(key, package.sha256, to_json(package))
        return package

    def _first_chroot(self, recipe: Recipe, bootstrap: bool) -> tuple[Chroot, Evaluation]:
        for plain in self.every_chroot:
            chroot = plain.bootstrapping if bootstrap else plain
            evaluation = self._evaluated(chroot, (recipe,))[recipe.name]
            if isinstance(evaluation, Evaluation) and not exclusion(evaluation, chroot.arch):
                return chroot, evaluation
        raise SolveError(f"{recipe.name}: no chroot of {self.release} can make its source package")

    def excluded(self, recipe: str, arch: str) -> bool:
        """ExclusiveArch or ExcludeArch keep this recipe from an architecture."""
        chroot = next(chroot for chroot in self.chroots if chroot.arch == arch)
        evaluation = self.evaluations[recipe, chroot.name]
        return isinstance(evaluation, Evaluation) and bool(exclusion(evaluation, arch))

    def _published(self) -> Mapping[tuple[str, str], str]:
        return {
            (result.step, str(package.nevra)): package.sha256
            for result in read_results(self.config.path("publication"))
            for package in result.built.packages
        }

    def expect(self, step: Step) -> float:
        """Seconds that a step will take."""
        chroot = self._by_name[step.chroot]
        return estimate(
            self.ledger.expected_seconds(step.id),
            emulated=emulator_for(chroot) is not None,
            assisted=bool(chroot.native_tools),
        )

    def check_room(self) -> None:
        """Raises MachineError when the state directory is nearly full."""
        free, wanted = free_megabytes(self.state), self.config.build.minimum_free
        if free < wanted:
            raise MachineError(
                f"only {free} MiB are free in {self.state}, builds want {wanted}",
                hint="Free some, move paths.state, or lower build.minimum_free in farm.toml.",
            )

    def noarch_differences(self, results: Iterable[Result]) -> tuple[str, ...]:
        """noarch packages whose copies from two architectures are not the same."""
        copies: dict[str, list[tuple[str, Package]]] = {}
        for result in results:
            for package in result.built.packages:
                if package.nevra.arch == "noarch" and not result.bootstrap:
                    arch = result.step.rpartition("-")[2]
                    copies.setdefault(str(package.nevra), []).append((arch, package))
        found = []
        for nevra, (first, *others) in sorted(copies.items()):
            for arch, package in others:
                if package.sha256 == first[1].sha256:
                    continue
                differences = same_noarch(
                    self.store.get(first[1].sha256), self.store.get(package.sha256)
                )
                if differences:
                    found.append(
                        f"{nevra} from {first[0]} and {arch} differ: {'; '.join(differences[:3])}"
                    )
        return tuple(found)


def _dynamic_key(recipe: Recipe, chroot: Chroot, lock: Lock) -> str:
    """Under what is remembered what a spec found out in the root of a lock."""
    return digest_of(("dynamic", recipe.digest, chroot.digest, lock.digest))


def open_workshop(
    config: Config,
    ledger: Ledger,
    emit: Emit,
    *,
    release: str | None,
    archs: Sequence[str] = (),
    srpms: Sequence[Path] = (),
    builder: str | None = None,
    jobs: int | None = None,
) -> Workshop:
    """Everything for one run over one release. Raises UsageError, ConfigError, LayerError."""
    name, _ = config.release(release)
    every = read_chroots(config, name)
    wanted = read_chroots(config, name, archs)
    state = config.path("state")
    for attempt in ledger.abandon():
        emit(
            "note", text=f"attempt {attempt} was cut short when farm was stopped; it counts as none"
        )
    foreign = tuple(recipe_from_srpm(path, state / "scratch") for path in srpms)
    layer = layer_of(config, name)
    for note in layer.notes:
        emit("note", text=note)
    return Workshop(
        config=config,
        ledger=ledger,
        emit=emit,
        release=name,
        chroots=wanted,
        every_chroot=every,
        layer=layer,
        foreign=foreign,
        builder=chosen_builder(builder or config.build.builder, wanted),
        jobs=jobs or config.build.jobs or max(1, len(os.sched_getaffinity(0))),
    )


def chosen_builder(wanted: str, chroots: Iterable[Chroot]) -> str:
    """`auto` is mock where it can build for all `chroots`. Raises MachineError for a mock that
    cannot be used at all."""
    if wanted == "auto":
        return "mock" if mock.available(chroots) else "embedded"
    if wanted == "mock" and not mock.available():
        raise MachineError(
            "the mock builder was asked for, but mock cannot be used here",
            hint="`farm doctor` says why; `--builder embedded` needs no mock.",
        )
    return wanted

"""The stages bound together for one run: what `pipeline` needs to tell its story.

Stages do not know one another. Here one stage's function is handed to another, with the
configuration, the state directory and the ledger of this run around it.
"""

from __future__ import annotations

from collections import ChainMap, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from farm.config import nearest
from farm.errors import MachineError, SolveError
from farm.lazily import lazily
from farm.model import (
    Chroot,
    Demand,
    Evaluation,
    Lock,
    Nevra,
    Package,
    Problem,
    Recipe,
    Result,
    Step,
    digest_of,
    from_json,
    to_json,
)
from farm.overview import remember_found
from farm.plan.planner import exclusion
from farm.plan.rules import rules
from farm.published import published_before
from farm.rebuild.demand import Expectations, Kind, Looks, way_of
from farm.rebuild.keys import srpm_key
from farm.rebuild.mockaccess import available
from farm.rebuild.settle import Inputs, Settler, Stages, free_megabytes
from farm.run import processors
from farm.survey import Survey, dynamic_key

with lazily():  # a run with nothing to build asks none of them
    from farm.layer import sources as archives
    from farm.plan import solver
    from farm.plan.fit import misfit
    from farm.publish import gates
    from farm.rebuild import dynamic, srpm


@dataclass(frozen=True)
class Workshop:
    """One run that builds: the release as it was found, and the stages at its service."""

    survey: Survey
    builder: str = "embedded"
    jobs: int = 1

    @cached_property
    def sources(self) -> archives.SourceCache:
        return archives.SourceCache(self.survey.config)

    @cached_property
    def _by_name(self) -> Mapping[str, Chroot]:
        return {chroot.name: chroot for chroot in self.survey.chroots}

    def settler(
        self,
        force: Iterable[str] = (),
        *,
        looking: bool = False,
        tries_again: Callable[[Step], bool] = lambda _: True,
    ) -> Settler:
        """The rules of key, policy and counter, with this run's stages in their hands.

        `looking`: nothing is to be built, so nothing is taken out of the store either.
        `tries_again`: whether a step is built that failed before with the same inputs.
        """
        config = self.survey.config
        return Settler(
            ledger=self.survey.ledger,
            store=self.survey.store,
            state=self.survey.state,
            roots=self.survey.roots.directory,
            recipes=self.survey.recipes,
            chroots=self._by_name,
            evaluations=ChainMap(self.survey.overview.bootstraps, dict(self.survey.evaluations)),
            setup_locks={
                chroot.name: self.survey.setup_lock(chroot) for chroot in self.survey.chroots
            },
            published=published_before(self.survey.config),
            stages=Stages(
                lock=self._lock,
                archive=self.survey.archive,
                inputs=self._inputs,
                srpm=self._srpm,
                misfit=self._misfit,
                solved=self._solved,
                sound=self.survey.looks_sound if looking else self.survey.sound,
            ),
            policy=config.release(self.survey.release)[1].policy,
            builder=self.builder,
            cpus=processors(),
            limits=config.limits_of,
            force=frozenset(force),
            tries_again=tries_again,
            cores={name: own.cores for name, own in config.limits.items() if own.cores},
            expect=self.expect,
        )

    def chroot_of(self, step: Step) -> Chroot:
        """The chroot that a step is built in, its build conditions with it."""
        chroot = self._by_name[step.chroot]
        return chroot.bootstrapping if step.bootstrap else chroot

    def _lock(
        self, step: Step, evaluation: Evaluation, needs: Mapping[str, Result]
    ) -> Lock | Problem:
        chroot = self._by_name[step.chroot]
        packages = _packages(needs)
        conflicts = evaluation.build_conflicts
        required = evaluation.build_requires
        lock = self._resolved(step, chroot, packages, required, conflicts)
        while evaluation.dynamic and isinstance(lock, Lock):
            found = self._dynamic_requires(step, lock)
            if set(found) <= set(required):
                break
            required = tuple(sorted({*required, *found}))
            lock = self._resolved(step, chroot, packages, required, conflicts)
        if evaluation.dynamic:
            recipe = self.survey.recipes[step.recipe]
            remember_found(self.survey.ledger, recipe, self.chroot_of(step), required)
        return lock

    def _resolved(
        self, step: Step, chroot: Chroot, packages: Sequence[Package],
        required: tuple[str, ...], conflicts: tuple[str, ...],
    ) -> Lock | Problem:  # fmt: skip
        """The solver's answer, which is remembered if it is a lock."""
        question = self._question(chroot, packages, required, conflicts)
        known = self.survey.ledger.solution(question)
        if known is not None:
            return known
        universe = self.survey.universe(chroot, packages) if packages else self.survey.base(chroot)
        lock = solver.resolve(universe, chroot, required, conflicts, subject=step.recipe)
        if isinstance(lock, Lock):
            self.survey.ledger.remember_solution(question, lock)
        return lock

    def _solved(self, step: Step, evaluation: Evaluation, needs: Mapping[str, Result]) -> str:
        if evaluation.dynamic:  # what else it wants is asked of a root of the lock itself
            return ""
        question = self._question(
            self._by_name[step.chroot], _packages(needs),
            evaluation.build_requires, evaluation.build_conflicts,
        )  # fmt: skip
        return self.survey.ledger.solved(question)

    def _question(
        self, chroot: Chroot, packages: Sequence[Package],
        required: tuple[str, ...], conflicts: tuple[str, ...],
    ) -> str:  # fmt: skip
        """What names all that a lock follows from: base, layer, what is asked, how it is solved."""
        if chroot.name not in self._grounds:
            states = tuple(
                (p.revision, p.addresses, p.repository) for p in self.survey.pins(chroot)
            )
            self._grounds[chroot.name] = digest_of((rules(), chroot.arch, chroot.setup, states))
        layer = tuple((str(p.nevra), p.sha256) for p in packages)
        return digest_of((self._grounds[chroot.name], layer, required, conflicts))

    @cached_property
    def _grounds(self) -> dict[str, str]:
        return {}

    def _dynamic_requires(self, step: Step, lock: Lock) -> tuple[str, ...]:
        """What %generate_buildrequires says in the root of this lock; asked once for each."""
        recipe, chroot = self.survey.recipes[step.recipe], self.chroot_of(step)
        key = dynamic_key(recipe, chroot, lock)
        known = self.survey.ledger.evaluation(key)
        if known is None:
            self.survey.archive(lock)
            srpm = self.survey.store.get(self._srpm(recipe, 0, step.bootstrap).sha256)
            self.survey.emit("note", text=f"asking {step.name} what else it needs on {chroot.name}")
            found = dynamic.dynamic_requires(recipe.name, srpm, lock, chroot, self.survey.roots)
            known = Evaluation(Nevra(recipe.name, 0, "", "", "src"), (), found)
            self.survey.ledger.remember_evaluation(key, known)
        return known.build_requires

    def _misfit(self, step: Step, result: Result, needs: Mapping[str, Result]) -> str:
        chroot = self._by_name[step.chroot]
        results = (result, *needs.values())
        packages = [package for each in results for package in each.built.packages]
        universe = self.survey.universe(chroot, packages)
        view = self.survey.view(chroot)
        return misfit.misfit(universe, result.built.packages, view, {step.recipe, *needs})

    def _inputs(self, recipe: Recipe) -> Inputs:
        files = archives.fetch(
            recipe,
            self.survey.config,
            self.sources,
            lambda text: self.survey.emit("note", text=text),
        )
        names = tuple((name, self.survey.store.put(path)) for name, path in files)
        for (_, sha256), (_, path) in zip(names, files, strict=True):
            if not self.survey.sound(sha256):
                self.survey.store.put(path)
        return names

    def _srpm(self, recipe: Recipe, counter: int, bootstrap: bool) -> Package:
        """The canonical source package: made in the first chroot of the release that can."""
        chroot, evaluation = self._first_chroot(recipe, bootstrap)
        key = srpm_key(recipe.digest, chroot, counter)
        known = self.survey.ledger.srpm(key)
        if known is not None:
            package = from_json(Package, known, where="the ledger")
            if self.survey.sound(package.sha256):
                return package
        package = srpm.make_srpm(
            recipe,
            self._inputs(recipe),
            chroot,
            self.survey.setup_lock(chroot),
            self.survey.roots,
            self.survey.store,
            counter=counter,
            epoch_seconds=evaluation.epoch_seconds,
        )
        self.survey.ledger.remember_srpm(key, package.sha256, to_json(package))
        return package

    def _first_chroot(self, recipe: Recipe, bootstrap: bool) -> tuple[Chroot, Evaluation]:
        for plain in self.survey.every_chroot:
            chroot = plain.bootstrapping if bootstrap else plain
            evaluation = self.survey.evaluated(chroot, (recipe,))[recipe.name]
            if isinstance(evaluation, Evaluation) and not exclusion(evaluation, chroot.arch):
                return chroot, evaluation
        raise SolveError(
            f"{recipe.name}: no chroot of {self.survey.release} can make its source package"
        )

    @cached_property
    def _kinds(self) -> Mapping[str, Kind]:
        return {chroot.name: (chroot.arch, way_of(chroot)) for chroot in self.survey.chroots}

    @cached_property
    def _guesses(self) -> Mapping[str, float]:
        """Seconds that a native build of each recipe may take; of one that has left the layer,
        what little is known says nothing."""
        guesses = defaultdict(lambda: Looks().seconds)
        for name, recipe in self.survey.recipes.items():
            guesses[name] = self._looks(recipe).seconds
        return guesses

    def _looks(self, recipe: Recipe) -> Looks:
        chroots = (chroot.name for chroot in self.survey.chroots)
        evaluations = (self.survey.evaluations.get((recipe.name, name)) for name in chroots)
        said = next((each for each in evaluations if isinstance(each, Evaluation)), None)
        archs = {nevra.arch for nevra, _ in said.packages} if said is not None else set()
        archives = (self.sources.path(each.sha512, each.name) for each in recipe.sources)
        files = (Path(recipe.directory, each.path) for each in recipe.files)
        sizes = [path.stat().st_size for path in (*archives, *files) if path.is_file()]
        known = len(sizes) == len(recipe.sources) + len(recipe.files)
        return Looks(recipe.origin == "generated", archs == {"noarch"}, sum(sizes) if known else 0)

    @cached_property
    def _expectations(self) -> Expectations:
        return Expectations(
            self.survey.ledger.pasts(), self._kinds, lambda name: self._guesses[name]
        )

    def expect(self, step: Step) -> Demand:
        """What a step will need, by what was known when the run began, or `learn` was called."""
        config = self.survey.config
        limits = config.limits_of(step.recipe, self._by_name[step.chroot].timeout)
        own = config.limits.get(step.recipe)
        return self._expectations.demand(step.id, self._kinds[step.chroot], limits, own)

    def measured(self, step: Step) -> bool:
        """Whether its own attempts say how long it takes; else that is estimated."""
        return self._expectations.measured(step.id, self._kinds[step.chroot])

    def learn(self) -> None:
        """From now on what has been built meanwhile counts in what is expected."""
        self.__dict__.pop("_expectations", None)

    def check_room(self) -> None:
        """Raises MachineError when the state directory is nearly full."""
        free, wanted = free_megabytes(self.survey.state), self.survey.config.build.minimum_free
        if free < wanted:
            raise MachineError(
                f"only {free} MiB are free in {self.survey.state}, builds want {wanted}",
                hint="`farm gc` removes what nothing needs; or move paths.state, or lower "
                "build.minimum_free in farm.toml.",
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
                differences = gates.same_noarch(
                    self.survey.store.get(first[1].sha256), self.survey.store.get(package.sha256)
                )
                if differences:
                    found.append(
                        f"{nevra} from {first[0]} and {arch} differ: {'; '.join(differences[:3])}"
                    )
        return tuple(found)


def _packages(needs: Mapping[str, Result]) -> tuple[Package, ...]:
    """What a step's needs put out, as far as a lock may hold it."""
    return tuple(p for name in sorted(needs) for p in needs[name].built.packages if not p.debug)


def open_workshop(
    survey: Survey, *, builder: str | None = None, jobs: int | None = None
) -> Workshop:
    """The stages for a run over what was found. Raises MachineError."""
    build = survey.config.build
    for name in sorted(survey.config.limits.keys() - survey.recipes.keys()):
        hint = nearest(name, survey.recipes)
        text = f"farm.toml has limits for {name}, which is no package of the layer. {hint}"
        survey.emit("warning", text=text.strip())
    return Workshop(
        survey,
        chosen_builder(builder or build.builder, survey.chroots),
        build.slots(jobs),
    )


def chosen_builder(wanted: str, chroots: Iterable[Chroot]) -> str:
    """`auto` is mock where it can build for all `chroots`. Raises MachineError for a mock that
    cannot be used at all."""
    if wanted == "auto":
        return "mock" if available(chroots) else "embedded"
    if wanted == "mock" and not available():
        raise MachineError(
            "the mock builder was asked for, but mock cannot be used here",
            hint="`farm doctor` says why; `--builder embedded` needs no mock.",
        )
    return wanted

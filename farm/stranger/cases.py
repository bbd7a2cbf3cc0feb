"""One build of a publication as a stranger can do it again: statement, lock, source package."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from farm.config import Config
from farm.errors import FarmError, LayerError, MachineError, Refused, Unverifiable
from farm.layer.srpm import recipe_from_srpm
from farm.model import Chroot, Job, Lock, LockedPackage, Recipe
from farm.model.provenance import Statement
from farm.rebuild import native
from farm.rebuild.keys import RECIPE_NUMBER
from farm.rebuild.roots import emulator_for
from farm.run import processors
from farm.stranger.exhibits import Examiner, Exhibit, Told
from farm.stranger.supply import Supply
from farm.verification.again import Rebuild, mend
from farm.verify import claims
from farm.verify.claims import Listed
from farm.verify.foreign import shown, usable_chroot

_EMULATED, _UNASSISTED = 20, 4  # times as long as natively; as with native tools


@dataclass(frozen=True)
class Case:
    """A build that is to be done again, and the published files that have to come out of it."""

    told: tuple[Told, ...]
    statement: Statement
    lock: Lock
    chroot: Chroot
    recipe: Recipe
    inputs: tuple[tuple[str, str], ...]
    source: Exhibit

    @property
    def makes_source(self) -> bool:
        """Whether the published source package was made in this very build's chroot."""
        return any(told.exhibit.listed.repository == "source" for told in self.told)

    @property
    def step(self) -> str:
        return f"{self.recipe.name}@{self.chroot.name}"

    @property
    def other_number(self) -> bool:
        """Whether it was built in a way that this farm does not build in any more, or not yet."""
        internal = self.statement.predicate.build_definition.internal_parameters
        return internal.recipe_number != RECIPE_NUMBER


def case_of(
    group: Sequence[Told],
    examiner: Examiner,
    sources: Mapping[str, Exhibit | FarmError],
    supply: Supply,
    work: Path,
    *,
    tools: Path | None,
) -> Case:
    """What the files of one statement are built from, everything checked and in our store.

    `sources` are the published source packages by file name, `tools` native tools of this
    machine. Raises Refused for what contradicts the statement, Unverifiable for what is not
    there, MachineError for what this machine cannot.
    """
    first = group[0]
    name, statement = first.exhibit.listed.path, first.statement
    definition = statement.predicate.build_definition
    chroot = usable_chroot(definition.internal_parameters.chroot, name)
    emulated = emulator_for(chroot) is not None
    if emulated and tools is not None:
        chroot = msgspec.structs.replace(chroot, native_tools=str(tools))
    lock = examiner.lock(statement, name)
    source = _source(statement, sources, name)
    try:
        recipe = recipe_from_srpm(source.path, work)
    except LayerError as error:
        raise Refused(
            f"{source.listed.path} is signed, but holds no recipe", why=f"{error.what}\n{error.why}"
        ) from error
    claims.check_recipe(statement, recipe.name, recipe.spec, name)
    inputs = tuple((file.path, file.sha256) for file in recipe.files)
    claims.check_inputs(statement, inputs, source.listed.path)
    for file, sha256 in inputs:
        mend(supply.store, sha256, Path(recipe.directory, file))
    mend(supply.store, source.listed.sha256, source.path)
    return Case(tuple(group), statement, lock, chroot, recipe, inputs, source)


def rebuild_of(case: Case, substituted: Mapping[str, LockedPackage], config: Config) -> Rebuild:
    """The job that does a build again, in the packages that could be had."""
    internal = case.statement.predicate.build_definition.internal_parameters
    lock = _with(case.lock, substituted)
    names = frozenset(lock.setup)
    setup = tuple(p for p in lock.packages if p.sha256 in names) or lock.packages
    job = Job(
        attempt="",
        step=case.step,
        recipe=case.recipe,
        chroot=case.chroot,
        lock=lock,
        setup_lock=Lock(setup, tuple(p.sha256 for p in setup)),
        counter=internal.counter,
        key=internal.key,
        epoch_seconds=internal.epoch_seconds,
        inputs=case.inputs,
        srpm="" if case.makes_source else case.source.listed.sha256,
        cpus=other_cores(case.statement, processors()),
        limits=config.limits_of(case.recipe.name, case.chroot.timeout),
    )
    return Rebuild(job, label=case.step, expected=expected_seconds(case))


def other_cores(statement: Statement, here: int) -> int:
    """How many `make -j` is given: what this machine has, `here`, or one more where the original
    was given as many. What comes out the same then does not depend on it."""
    theirs = statement.predicate.build_definition.internal_parameters.cores
    return here + 1 if here == theirs else here


def expected_seconds(case: Case) -> float:
    """How long the build may take here, by what it took where it was made; 0 when unknown."""
    details = case.statement.predicate.run_details
    try:
        began, ended = (
            datetime.fromisoformat(text)
            for text in (details.metadata.started_on, details.metadata.finished_on)
        )
        took = (ended - began).total_seconds()
    except (ValueError, TypeError):  # a date with a time zone less one without
        return 0.0
    took = min(max(took, 0.0), 7 * 86400.0)
    assistants = {resource.name for resource in details.builder.builder_dependencies}
    if emulator_for(case.chroot) is None or case.chroot.native_tools:
        return took
    if "native-tools" in assistants:
        return took * _UNASSISTED
    return took if "qemu" in assistants else took * _EMULATED


def tools_for(config: Config, release: str, arch: str) -> Path | None:
    """This machine's native tools for an architecture; None where it runs that natively.

    Raises MachineError when there are none.
    """
    if emulator_for(Chroot(f"{release}-{arch}", release, arch, (), (), "")) is None:
        return None
    directory = config.base_directory / release / f"native-{arch}"
    if not native.are_in(directory):
        raise MachineError(
            f"there are no native tools for {arch} on this machine",
            why=str(directory),
            hint="`farm base build` makes them; without --native the build is emulated as it is.",
        )
    return directory.resolve()


def _source(statement: Statement, sources: Mapping[str, Exhibit | FarmError], name: str) -> Exhibit:
    resource = claims.source_package(statement, name)
    found = sources.get(resource.name)
    if found is None:
        raise Unverifiable(
            f"{name}: the source package that it was built from is not published",
            why=shown(resource.name),
            hint="Ask the maintainers for it.",
        )
    if isinstance(found, FarmError):
        raise type(found)(
            f"{name}: its source package cannot be used: {found.what}",
            why=found.why,
            hint=found.hint,
        )
    claims.check_source(resource, found.listed, found.identity, name)
    return found


def source_names(groups: Iterable[Sequence[Told]], files: Iterable[Listed]) -> tuple[Listed, ...]:
    """The published source packages that these builds name."""
    wanted = {
        resource.name
        for group in groups
        for resource in claims.dependencies(group[0].statement, "source-package")
    }
    return tuple(f for f in files if f.repository == "source" and f.name in wanted)


def _with(lock: Lock, substituted: Mapping[str, LockedPackage]) -> Lock:
    if not substituted:
        return lock
    instead = {old: new.sha256 for old, new in substituted.items()}
    return Lock(
        tuple(substituted.get(p.sha256, p) for p in lock.packages),
        tuple(instead.get(sha256, sha256) for sha256 in lock.setup),
    )

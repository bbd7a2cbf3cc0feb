"""What was built once is built again: jobs made from results, and attempts that count for nothing.

The ledger learns nothing of such an attempt: it is compared and thrown away.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from farm.errors import StateError
from farm.layer.srpm import recipe_from_srpm
from farm.model import (
    Chroot,
    Compiler,
    Job,
    Limits,
    Lock,
    Outcome,
    Recipe,
    Result,
    WorkOrder,
    to_json,
)
from farm.progress import Emit
from farm.rebuild.attempts import new_attempt_id
from farm.rebuild.engines import Engine, Moved
from farm.rebuild.engines.local import LocalEngine
from farm.rebuild.keys import RECIPE_NUMBER
from farm.rebuild.spec import source_date
from farm.rpmheader import ARCH, read
from farm.sandbox import clear_abandoned, remove
from farm.store import Store, sha256_of, write_atomic

_PATIENCE = 0.25  # seconds to wait for news at a time
_CHANGELOG_TIME = 1080


@dataclass(frozen=True)
class Rebuild:
    """A job to be done again, what is to differ in its root, and what to call it meanwhile.

    A job without a source package makes it again as well.
    """

    job: Job
    variations: tuple[str, ...] = ()
    label: str = ""
    expected: float = 0.0  # seconds

    @property
    def title(self) -> str:
        return self.label or self.job.step


@dataclass(frozen=True)
class Again:
    """How a rebuild ended, and what it left: it is there until the next one is asked for."""

    rebuild: Rebuild
    outcome: Outcome
    directory: Path
    seconds: float

    def file(self, name: str) -> Path | None:
        """The package of that file name; None when this attempt did not make it."""
        places = (self.directory / "results", self.directory, self.directory / "srpm" / "out")
        return next((place / name for place in places if (place / name).is_file()), None)

    @property
    def log(self) -> Path:
        return self.directory / "build.log"


def build_again(
    rebuilds: Iterable[Rebuild],
    *,
    store: Path,
    roots: Path,
    work: Path,
    slots: int,
    emit: Emit,
    compilers: tuple[Compiler, ...] = (),
    start_engine: Callable[[int], Engine] = LocalEngine,
) -> Generator[Again, None, None]:
    """Do these jobs, `slots` at a time, and answer each as it ends.

    `rebuilds` is asked for more whenever one has ended, also when it had none the last time.
    What was left by the attempt that was answered last is deleted when the next one is asked
    for; everything ends and is deleted when the iterator is closed (`contextlib.closing`).
    `compilers` are for variations that preload something. `emit` hears what runs; how an
    attempt ended is for the caller to tell.
    """
    work.mkdir(parents=True, exist_ok=True)
    clear_abandoned(work)
    area = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=work)).resolve()
    area.chmod(0o711)
    engine = start_engine(slots)
    source = iter(rebuilds)
    running: dict[str, tuple[Rebuild, float]] = {}
    ended: list[Again] = []
    try:
        while True:
            while (
                len(running) < engine.capacity.slots and (rebuild := next(source, None)) is not None
            ):
                attempt = new_attempt_id()
                _start(engine, rebuild, attempt, area / attempt, store, roots, compilers)
                running[attempt] = (rebuild, time.monotonic())
                emit("running", rebuild.title, phase="start", expected=rebuild.expected)
            if ended:
                again = ended.pop(0)
                yield again
                _delete(again.directory)
            elif not running:
                return
            else:
                for word in engine.poll(_PATIENCE):
                    if isinstance(word, Moved):
                        _tell(word, running, emit)
                    elif word.attempt in running:  # else a second word about one that is over
                        rebuild, began = running.pop(word.attempt)
                        took = time.monotonic() - began
                        place = area / word.attempt
                        ended.append(Again(rebuild, word.came_to("it"), place, took))
    finally:
        engine.stop()
        _delete(area)


def _start(
    engine: Engine,
    rebuild: Rebuild,
    attempt: str,
    directory: Path,
    store: Path,
    roots: Path,
    compilers: tuple[Compiler, ...],
) -> None:
    job = msgspec.structs.replace(rebuild.job, attempt=attempt)
    order = WorkOrder(
        job,
        str(store),
        str(roots),
        keep=False,
        variations=rebuild.variations,
        compilers=compilers,
    )
    directory.mkdir()
    write_atomic(directory / "job.json", to_json(order))
    engine.start(job, directory)


def _tell(moved: Moved, running: Mapping[str, tuple[Rebuild, float]], emit: Emit) -> None:
    if moved.attempt in running:
        rebuild, _ = running[moved.attempt]
        emit("running", rebuild.title, phase=moved.phase, expected=rebuild.expected)


def _delete(path: Path) -> None:
    """A file tree in which a worker that was killed may have left what is the sandbox's."""
    shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        if path.exists():
            remove(path)


def job_again(
    result: Result,
    store: Store,
    work: Path,
    *,
    chroot: Chroot,
    setup_lock: Callable[[], Lock],
    maker: Result | None,
    cpus: int,
    limits: Limits,
    note: Callable[[str], None],
) -> Job:
    """The job that a result came from, its recipe taken out of the source package.

    `chroot` is the one of that name as it is configured here; of an old result that did not
    record its own it has to be the same still. With a `maker`, the result whose build made the
    source package, that is made again as well, with the same packages set up; `setup_lock`
    answers those of the set-up alone where the maker's lock does not name them. `note` hears
    what was found and mended on the way. Recipes are unpacked below `work`, which has to stay
    until the job is done.

    Raises StateError for what is missing or damaged, LayerError for a source package that
    cannot be read.
    """
    name = result.step.partition("@")[0]
    chroot = chroot_of(result, chroot)
    if result.manifest.recipe_number != RECIPE_NUMBER or result.lock.digest != result.manifest.lock:
        raise StateError(
            f"{name} was built in another way than this farm builds",
            hint=f"`farm build {name} --force` builds it again in the present way.",
        )
    recipe, inputs = _inputs(result, store, work, note)
    lock = (maker or result).lock
    setup = frozenset(lock.setup)
    own = tuple(package for package in lock.packages if package.sha256 in setup)
    in_lock = bool(setup) and len(own) == len(setup)
    return Job(
        attempt="",
        step=result.step,
        recipe=recipe,
        chroot=chroot,
        lock=result.lock,
        setup_lock=Lock(own, lock.setup) if in_lock else setup_lock(),
        counter=result.counter,
        key=result.key,
        epoch_seconds=result.epoch_seconds or _newest_change(store, result),
        inputs=inputs,
        srpm="" if maker is not None else result.built.srpm.sha256,
        cpus=cpus,
        limits=limits,
    )  # fmt: skip


def chroot_of(result: Result, here: Chroot) -> Chroot:
    """The chroot that a result was built in, with what of `here` helps to run it.

    Raises StateError when an old result did not record it and it has changed since.
    """
    recorded = result.chroot
    if recorded is None:
        if here.digest == result.manifest.chroot:
            return here
        name = result.step.partition("@")[0]
        raise StateError(
            f"{name} was built by an earlier farm, which did not record the chroot's settings",
            why=f"chroots/{here.name}.cfg has changed since then",
            hint=f"`farm build {name} --force` builds it again and records them.",
        )
    return msgspec.structs.replace(recorded, emulator=here.emulator, native_tools=here.native_tools)


def source_arch(result: Result, store: Store, archs: Iterable[str]) -> str:
    """The architecture (of `archs`, in the release's order) whose chroot made the source package.

    It is in the package, unless that is for no architecture in particular: then the first one's.
    Raises StateError when the package is missing or damaged.
    """
    path = store.get(result.built.srpm.sha256)
    arch = read(path).header.text(ARCH)
    known = tuple(archs)
    return arch if arch in known else next(iter(known), arch)


def whole(path: Path, sha256: str) -> bool:
    """Whether a file of the store is there and has the bytes that its name says."""
    try:
        return sha256_of(path) == sha256
    except OSError:
        return False


def mend(store: Store, sha256: str, good: Path) -> bool:
    """Put `good` in the place of the store's damaged or missing file; False where it is whole."""
    path = store.path(sha256)
    if whole(path, sha256):
        return False
    path.unlink(missing_ok=True)
    store.put(good, sha256=sha256)
    return True


def _inputs(
    result: Result, store: Store, work: Path, note: Callable[[str], None]
) -> tuple[Recipe, tuple[tuple[str, str], ...]]:
    """Recipe and inputs as the source package has them; each of them whole in the store."""
    srpm = result.built.srpm
    path = store.get(srpm.sha256)
    if not whole(path, srpm.sha256):
        name = result.step.partition("@")[0]
        raise StateError(
            f"the store's copy of {srpm.nevra.filename} is damaged",
            why=f"{path} has other bytes than its name says",
            hint=f"Delete that file; `farm build {name}` makes it again.",
        )
    recipe = recipe_from_srpm(path, work)
    inputs = tuple((file.path, file.sha256) for file in recipe.files)
    for name, sha256 in inputs:
        if sha256 not in store:
            store.put(Path(recipe.directory, name), sha256=sha256)
        elif mend(store, sha256, Path(recipe.directory, name)):
            note(f"the store's copy of {name} was damaged: the source package's took its place")
    recorded = dict(result.inputs)
    others = sorted(n for n, sha256 in inputs if recorded and recorded.get(n) != sha256)
    if others:
        note(
            f"{', '.join(others)}: the recipe has changed since {srpm.nevra.filename} was made, "
            "the packages have not"
        )
    return recipe, inputs


def _newest_change(store: Store, result: Result) -> int:
    """SOURCE_DATE_EPOCH of a result that did not record it, as its source package has it."""
    newest = read(store.get(result.built.srpm.sha256)).header.number(_CHANGELOG_TIME)
    return source_date(newest)

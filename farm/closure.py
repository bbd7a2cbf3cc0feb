"""A whole distribution: can each of its packages be installed, each of its sources be built?"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from farm.bases import PINNED, PRESENT, other_base, pin_directory
from farm.config import Config
from farm.errors import RepositoryError
from farm.model import Chroot, Problem
from farm.plan.graphfile import graph_of
from farm.plan.reasons import reasons
from farm.plan.repodata import Pin, pin_repository, read_pin
from farm.plan.universe import Universe
from farm.plan.witness import check
from farm.progress import Emit


@dataclass(frozen=True)
class ClosureRequest:
    """What `farm closure` was asked for."""

    bases: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    archs: tuple[str, ...] = ()
    release: str | None = None
    explained: int | None = None  # how many of the broken get their reasons; None: all


@dataclass(frozen=True)
class Broken:
    """A package that cannot be installed, or a source that cannot be built."""

    package: str
    problem: Problem | None = None


@dataclass(frozen=True)
class Closure:
    """One chroot's answers. `seconds` are for reading the metadata and for the verdicts."""

    chroot: str
    asked: str  # packages, sources
    total: int
    broken: tuple[Broken, ...]
    provably: int  # verdicts that came without libsolv
    reading: float
    deciding: float


@dataclass(frozen=True)
class ClosureReport:
    """What `farm closure` found."""

    closures: tuple[Closure, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        return not any(closure.broken for closure in self.closures)


def closure(config: Config, request: ClosureRequest, emit: Emit) -> ClosureReport:
    """Every package of the base, or every package of `request.sources`, one by one.

    Raises RepositoryError for metadata that cannot be had, and where there is nothing to ask.
    """
    started = time.monotonic()
    with _no_collection():
        closures = [_closure(config, chroot, request, emit) for chroot in _chroots(config, request)]
    return ClosureReport(tuple(closures), time.monotonic() - started)


def _chroots(config: Config, request: ClosureRequest) -> tuple[Chroot, ...]:
    """The release's chroots; of a base that is given, no more than the architecture matters."""
    name, settings = config.release(request.release)
    if not request.bases or {PINNED, PRESENT}.intersection(request.bases + request.sources):
        from farm.inputs import read_chroots  # noqa: PLC0415 - a tenth of a second, and not needed

        archs = request.archs or (settings.architectures[:1] if request.bases else ())
        return read_chroots(config, name, archs)
    archs = request.archs or settings.architectures[:1]
    return tuple(Chroot(f"{name}-{arch}", name, arch, (), (), "") for arch in archs)


def _closure(config: Config, chroot: Chroot, request: ClosureRequest, emit: Emit) -> Closure:
    started = time.monotonic()
    state = config.path("state")
    if request.bases:
        pins = other_base(config, chroot, request.bases)
    else:
        pins = tuple(_own_pins(state, chroot, emit))
    sources = _renamed(other_base(config, chroot, request.sources))
    universe = Universe.open(chroot, pins, state / "solv", sources=sources)
    _warn_of_files(universe, emit)
    graph = graph_of(universe)
    read = time.monotonic()
    questions = [n for n, name in enumerate(graph.names) if name]
    questions = [n for n in questions if (n in graph.sources) == bool(sources)]
    if not questions:
        where = ", ".join(pin.addresses[0] for pin in sources or pins)
        raise RepositoryError(
            f"there is no {'source ' if sources else ''}package for {chroot.arch}", why=where
        )
    verdicts = check(universe.pool, graph, questions)
    decided = time.monotonic()
    named = sorted((str(universe.pool.id2solvable(n)), n) for n in verdicts.broken)
    told = [number for _, number in named[: request.explained]]
    problems = reasons(universe, graph, verdicts.decided, told)
    broken = [Broken(package, next(problems, None)) for package, _ in named]
    return Closure(
        chroot=chroot.name,
        asked="sources" if sources else "packages",
        total=len(questions),
        broken=tuple(broken),
        provably=len(questions) - len(verdicts.answers),
        reading=read - started,
        deciding=decided - read,
    )


def _own_pins(state: Path, chroot: Chroot, emit: Emit) -> Iterator[Pin]:
    """The chroot's own repositories as they are pinned; pinned now where they are not yet."""
    for repository in chroot.repositories:
        directory = pin_directory(state, chroot, repository)
        pin = read_pin(directory, repository)
        if pin is None:
            emit("note", text=f"pinning {repository.id} of {chroot.name} as it is now")
            pin = pin_repository(repository, directory)
        yield pin


def _renamed(pins: Sequence[Pin]) -> tuple[Pin, ...]:
    """Repositories of sources by names of their own, for the messages."""
    renamed = []
    for number, pin in enumerate(pins):
        name = f"sources-{number + 1}" if number else "sources"
        repository = msgspec.structs.replace(pin.repository, id=name)
        renamed.append(msgspec.structs.replace(pin, repository=repository))
    return tuple(renamed)


def _warn_of_files(universe: Universe, emit: Emit) -> None:
    """Without filelists nobody can say who has a file, and it looks as though nobody had it."""
    blind = [pin.repository.id for pin in universe.pins if pin.file("filelists") is None]
    if blind and universe.required_files:
        emit(
            "warning",
            text=f"{', '.join(blind)} without filelists: who needs one of"
            f" {len(universe.required_files)} files may be called broken without being so,"
            f" such as {min(universe.required_files)}",
        )


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Nothing here is garbage before the end, and looking for it takes a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()

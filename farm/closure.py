"""A whole distribution: can each of its packages be installed, each of its sources be built?"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from farm.bases import PINNED, PRESENT, other_base, pin_directory
from farm.config import Config
from farm.errors import RepositoryError
from farm.model import Chroot, Problem
from farm.plan.closure.graph import Graph
from farm.plan.closure.graphfile import graph_of
from farm.plan.closure.moved import apply, update_between
from farm.plan.closure.reasons import reasons
from farm.plan.closure.witness import Verdicts, check
from farm.plan.metadata.pins import Pin, read_pin
from farm.plan.metadata.repodata import pin_repository
from farm.plan.universe import Universe
from farm.progress import Emit

_LARGEST_UPDATE = 3_000  # packages gone and new


@dataclass(frozen=True)
class ClosureRequest:
    """What `farm closure` was asked for."""

    bases: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    archs: tuple[str, ...] = ()
    release: str | None = None
    updates: tuple[str, ...] = ()  # the base as it may become
    explained: int | None = None  # how many of the broken get their reasons; None: all


@dataclass(frozen=True)
class Broken:
    """A package that cannot be installed, or a source that cannot be built."""

    package: str
    problem: Problem | None = None


@dataclass(frozen=True)
class Moved:
    """What an update of the base changes. Times in seconds, as in `Closure`."""

    gone: int  # packages of the base that are no more, or not the same
    come: int
    broken: tuple[Broken, ...]  # that were not broken before
    repaired: tuple[str, ...]
    reading: float
    deciding: float


@dataclass(frozen=True)
class Closure:
    """One chroot's answers. Times in seconds: reading the metadata, finding the verdicts."""

    chroot: str
    asked: str  # packages, sources
    total: int
    broken: tuple[Broken, ...]
    provably: int  # verdicts that came without libsolv
    reading: float
    deciding: float
    update: Moved | None = None

    @property
    def ok(self) -> bool:
        """Nothing is broken; of an update: nothing that was not broken before."""
        return not (self.broken if self.update is None else self.update.broken)


@dataclass(frozen=True)
class ClosureReport:
    """What `farm closure` found."""

    closures: tuple[Closure, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        return all(closure.ok for closure in self.closures)


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
    named = request.bases + request.sources + request.updates
    if not request.bases or {PINNED, PRESENT}.intersection(named):
        from farm.inputs import read_chroots  # noqa: PLC0415 - a tenth of a second, and not needed

        archs = request.archs or (settings.architectures[:1] if request.bases else ())
        return read_chroots(config, name, archs)
    archs = request.archs or settings.architectures[:1]
    return tuple(Chroot(f"{name}-{arch}", name, arch, (), (), "") for arch in archs)


@dataclass(frozen=True, eq=False)
class _State:
    """A universe and what was found in it."""

    universe: Universe
    graph: Graph
    verdicts: Verdicts

    def named(self, numbers: Iterable[int]) -> dict[str, int]:
        """name.arch: what a package is called before and after an update."""
        found = map(self.universe.pool.id2solvable, numbers)
        return {f"{solvable.name}.{solvable.arch}": solvable.id for solvable in found}

    def explained(self, numbers: Iterable[int], most: int | None) -> tuple[Broken, ...]:
        """The broken by name; the first ones with their reasons."""
        name = self.universe.pool.id2solvable
        named = sorted((str(name(number)), number) for number in numbers)
        told = [number for _, number in named[:most]]
        problems = reasons(self.universe, self.graph, self.verdicts.decided, told)
        return tuple(Broken(package, next(problems, None)) for package, _ in named)


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
    questions = _questions(graph, of_sources=bool(sources))
    if not questions:
        where = ", ".join(pin.addresses[0] for pin in sources or pins)
        raise RepositoryError(
            f"there is no {'source ' if sources else ''}package for {chroot.arch}", why=where
        )
    known = _State(universe, graph, check(universe.pool, graph, questions))
    decided = time.monotonic()
    said = Closure(
        chroot=chroot.name,
        asked="sources" if sources else "packages",
        total=len(questions),
        broken=known.explained(known.verdicts.broken, request.explained),
        provably=len(questions) - len(known.verdicts.answers),
        reading=read - started,
        deciding=decided - read,
    )
    if not request.updates:
        return said
    started = time.monotonic()
    new = other_base(config, chroot, request.updates)
    return replace(said, update=_moved(known, (pins, new), sources, request.explained, started))


def _questions(graph: Graph, *, of_sources: bool) -> list[int]:
    every = (number for number, name in enumerate(graph.names) if name)
    return [number for number in every if (number in graph.sources) == of_sources]


def _moved(
    known: _State,
    states: tuple[Sequence[Pin], Sequence[Pin]],
    sources: Sequence[Pin],
    most: int | None,
    started: float,
) -> Moved:
    """The verdicts after an update, from the state of the check before.

    Of a base that is another one altogether everything is read anew: that is sooner done.
    """
    universe = known.universe
    update = update_between(universe, known.graph, *states)
    if update.size <= _LARGEST_UPDATE:
        read = time.monotonic()
        graph, verdicts = apply(universe, known.graph, update, known.verdicts)
    else:
        universe = Universe.open(universe.chroot, states[1], universe.cache, sources=sources)
        graph = graph_of(universe)
        read = time.monotonic()
        verdicts = check(universe.pool, graph, _questions(graph, of_sources=bool(sources)))
    decided = time.monotonic()
    after = _State(universe, graph, verdicts)
    was, now = known.named(known.verdicts.broken), after.named(verdicts.broken)
    gone = was.keys() - now.keys()
    fine = set(verdicts.decided.questions).difference(verdicts.broken) if gone else ()
    return Moved(
        gone=len(update.gone),
        come=update.come.count(b"<package "),
        broken=after.explained((now[name] for name in now.keys() - was.keys()), most),
        repaired=tuple(sorted(gone & after.named(fine).keys())),
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

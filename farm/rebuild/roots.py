"""Build roots: what a lock says, installed once and shared.

A root is a stack of sealed layers: what the chroot's set-up installs, shared by every package;
what the BuildRequires add to it; for a foreign architecture native tools over both. Each layer
is named by what is in it, made once whatever the number of processes that want it, held while
it is in use, and thrown away, least recently used first, when room is short.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from farm.errors import MachineError
from farm.model import Chroot, Lock, LockedPackage, digest_of
from farm.rebuild import fill, native, space
from farm.rebuild.seal import Seal, intact, seal
from farm.sandbox import Emulator, Overlay, own, remove
from farm.store import Store, sha256_of

# Raised when roots made by an older farm must not be used any more.
_FORMAT = 2
_TOOLS_FORMAT = 3  # the same, of layers of native tools

# Unpacked packages against their files, the staged copies included: the largest ratio seen.
_GROWTH = 6
_SPARE = 512 << 20  # bytes that a build should find free at least
_IDLE = 600.0  # seconds: what was used since then is worth its memory

_DRAFT = ".draft"
_TRIES = 5  # another process may evict a layer between its making and its use
_Packages = tuple[LockedPackage, ...]
_Record = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Root:
    """A prepared root, as it may be used while it is held."""

    layers: tuple[Path, ...]  # topmost first
    emulator: Emulator | None
    host: _Record  # what made it and assists it, for the record

    def has(self, name: str) -> bool:
        """Whether there is something at a path of the root (no leading slash)."""
        return native.has(self.layers, name)

    def overlay(self, *, upper: Path | None = None, size: int = 0) -> Overlay:
        """Something writable over it: in memory, at most `size` bytes, or in `upper`."""
        return Overlay(self.layers, upper, size)


@dataclass(frozen=True)
class _Layer:
    path: Path
    seal: Seal

    @property
    def tree(self) -> Path:
        return self.path / "tree"


@dataclass(frozen=True)
class RootCache:
    """The build roots of one machine, in `directory` (see `space.roots_directory`).

    With a `parent` it is one that nobody shares, in the room of that one: packages are given
    to rpm in the opposite order there.
    """

    directory: Path
    store: Store
    parent: RootCache | None = None
    report: Callable[[str], None] = lambda text: None  # hears of damage

    @contextlib.contextmanager
    def prepare(
        self, lock: Lock, chroot: Chroot, *, on_requires: Callable[[], None] = lambda: None
    ) -> Iterator[Root]:
        """The root that `lock` describes, made if need be and held until the block ends.

        `on_requires` is called when what the BuildRequires add comes after the set-up.
        Raises StateError when a package of the lock is missing or damaged, LockRefused when
        rpm does not install it, MachineError when this machine cannot.
        """
        emulator = emulator_for(chroot)
        self.make_room(_SPARE, idle=_IDLE)
        with contextlib.ExitStack() as held:
            layers = self._packages(lock, chroot, emulator, held, on_requires)
            trees = tuple(layer.tree for layer in layers)
            host = layers[0].seal.host
            tools = assistance(chroot)
            if tools is not None:
                over = self._native(tools, layers, held)
                trees, host = (over.tree, *trees), host + over.seal.host
            if emulator is not None:
                host += (("qemu", sha256_of(emulator.interpreter)),)
            yield Root(trees, emulator, host)

    @contextlib.contextmanager
    def unshared(self) -> Iterator[RootCache]:
        """Build roots that nobody else has used or will, filled in the opposite order."""
        with contextlib.ExitStack() as held:
            path = self._free_place(held)
            remove(path)  # what somebody left who was killed
            path.mkdir()
            path.chmod(0o711)
            try:
                yield RootCache(path, self.store, self, self.report)
            finally:
                remove(path)

    def _free_place(self, held: contextlib.ExitStack) -> Path:
        """The first place for unshared roots that nobody has, held: there are few of them."""
        number = 0
        while True:
            path = self.directory / f"own-{number}"
            with contextlib.suppress(BlockingIOError):
                held.enter_context(self.held(path, wait=False))
                return path
            number += 1

    def layer(
        self,
        kind: str,
        digest: str,
        make: Callable[[Path, Path], Seal],
        held: contextlib.ExitStack,
    ) -> Path:
        """Some other tree that is kept beside the roots: made once by `make`, which is given a
        draft directory and the empty tree in it, and held until `held` ends."""
        return self._layer(kind, digest, "", lambda draft: make(draft, _tree(draft)), held).tree

    def make_room(self, wanted: int, *, idle: float = 0) -> None:
        """Throw away what is least recently used until `wanted` bytes are free in comfort.

        What is in use stays, and what was used in the last `idle` seconds; it is no error when
        there is still too little. What makers left that were killed goes first.
        """
        if self.parent is not None:
            self.parent.make_room(wanted, idle=idle)
            return
        if space.comfortable(self.directory) >= wanted:
            return
        found = [(_last_used(path), path) for path in self.directory.glob("*-*")]
        found.sort(key=lambda each: (not each[1].name.endswith(_DRAFT), each))
        for used, path in found:
            if space.comfortable(self.directory) >= wanted:
                return
            if used <= time.time() - idle:
                with contextlib.suppress(BlockingIOError), self.held(path, wait=False):
                    remove(path)

    def kept(self, attempt: str) -> Path:
        """Where what a failed attempt left is kept, for a while."""
        return self.directory / f"kept-{attempt}"

    def forget_kept(self, number: int) -> None:
        """Leave only the newest `number` of what failed attempts left."""
        for path in sorted(self.directory.glob("kept-*"), key=_last_used)[:-number]:
            with contextlib.suppress(BlockingIOError), self.held(path, wait=False):
                remove(path)

    def _packages(
        self,
        lock: Lock,
        chroot: Chroot,
        emulator: Emulator | None,
        held: contextlib.ExitStack,
        on_requires: Callable[[], None],
    ) -> tuple[_Layer, ...]:
        """The layers of packages, topmost first."""
        names = frozenset(lock.setup)
        shared = tuple(p for p in lock.packages if p.sha256 in names)
        rest = tuple(p for p in lock.packages if p.sha256 not in names)
        if not (shared and rest):
            return (self._base(lock.packages, chroot, emulator, held),)
        below = self._base(shared, chroot, emulator, held)
        on_requires()
        return self._delta(below, lock, rest, chroot, emulator, held), below

    def _base(
        self,
        packages: _Packages,
        chroot: Chroot,
        emulator: Emulator | None,
        held: contextlib.ExitStack,
    ) -> _Layer:
        def make(draft: Path) -> Seal:
            given = self._in_order(packages)
            staged, files, tree = self._staged(given, draft), draft / "files", _tree(draft)
            fill.lay_out(chroot, files)
            filled = fill.install(tree, staged, chroot, database="", emulator=emulator, files=files)
            fill.check_installed(tree, packages, given, staged, filled.database)
            return _sealed(draft, "", filled)

        facts = (
            _FORMAT, chroot.arch, chroot.unprivileged_user, chroot.files, chroot.directories,
            _names(packages),
        )  # fmt: skip
        return self._layer("base", digest_of(facts), "", make, held)

    def _delta(
        self,
        below: _Layer,
        lock: Lock,
        packages: _Packages,
        chroot: Chroot,
        emulator: Emulator | None,
        held: contextlib.ExitStack,
    ) -> _Layer:
        def make(draft: Path) -> Seal:
            given = self._in_order(packages)
            staged = self._staged(given, draft)
            target = Overlay((below.tree,), _tree(draft))
            filled = fill.install(
                target, staged, chroot, database=below.seal.database, emulator=emulator
            )
            fill.check_installed(target, lock.packages, given, staged, filled.database)
            return _sealed(draft, below.seal.digest, filled)

        digest = digest_of((below.path.name, _names(packages)))
        return self._layer("delta", digest, below.seal.digest, make, held)

    def _in_order(self, packages: _Packages) -> _Packages:
        return packages if self.parent is None else packages[::-1]

    def _staged(self, packages: _Packages, draft: Path) -> Path:
        """Room for these packages, and a directory of them beside the tree that is to hold them."""
        self._room_for(packages)
        staged = draft / "packages"
        fill.stage_packages(packages, self.store, staged)
        return staged

    def _native(
        self, tools: Path, layers: tuple[_Layer, ...], held: contextlib.ExitStack
    ) -> _Layer:
        def make_pool(draft: Path) -> Seal:
            self.make_room(_SPARE * 2)
            native.copy(tools, _tree(draft))
            return seal(draft, host=(("native-tools", tools.name), *native.record(tools)))

        def make(draft: Path) -> Seal:
            native.select(names, pool.tree, _tree(draft))
            return seal(draft, on=pool.seal.digest, host=pool.seal.host)

        pool = self._layer("tools", digest_of((_TOOLS_FORMAT, str(tools))), "", make_pool, held)
        names = native.chosen(native.manifest(tools), tuple(layer.tree for layer in layers))
        return self._layer(
            "native", digest_of((pool.path.name, names)), pool.seal.digest, make, held
        )

    def _layer(
        self,
        kind: str,
        digest: str,
        on: str,
        make: Callable[[Path], Seal],
        held: contextlib.ExitStack,
    ) -> _Layer:
        """A sealed layer, made earlier, by another process that we wait for, or by us."""
        path = self.directory / f"{kind}-{digest[:40]}"
        for _ in range(_TRIES):
            with contextlib.ExitStack() as attempt:
                attempt.enter_context(self.held(path, exclusive=False))
                found = intact(path, on=on)
                if found is not None:
                    os.utime(path)
                    held.push(attempt.pop_all())
                    return _Layer(path, found)
            with self.held(path):
                if intact(path, on=on) is None:
                    if (path / "tree").exists():
                        self.report(f"the build root {path.name} was damaged: it is made again")
                    self._make(path, make)
        raise MachineError(
            f"the build root {path} is damaged as soon as it is made",
            hint="Something else changes files there; set paths.roots in farm.toml to a "
            "directory of farm's own.",
        )

    def _make(self, path: Path, make: Callable[[Path], Seal]) -> None:
        draft = path.with_name(path.name + _DRAFT)
        remove(path, draft)
        draft.mkdir()
        draft.chmod(0o711)  # whatever our umask
        try:
            make(draft)
        except BaseException:
            remove(draft)
            raise
        draft.rename(path)

    def _room_for(self, packages: _Packages) -> None:
        wanted = sum(package.size for package in packages) * _GROWTH + _SPARE
        self.make_room(wanted)
        if space.free(self.directory) < wanted - _SPARE:
            raise MachineError(
                f"there is no room for a build root in {self.directory}",
                why=f"{space.free(self.directory) >> 20} MiB are free, "
                f"about {(wanted - _SPARE) >> 20} MiB are wanted",
                hint="Free some, or set paths.roots in farm.toml to a larger file system.",
            )

    @contextlib.contextmanager
    def held(self, path: Path, *, exclusive: bool = True, wait: bool = True) -> Iterator[None]:
        """Hold a layer: shared to use it, exclusive to make or delete it.

        Raises BlockingIOError when it is held by others and we should not `wait`. The lock
        files stay for ever; deleting one would let two processes hold the same name.
        """
        locks = self.directory / "locks"
        locks.mkdir(mode=0o755, exist_ok=True)
        name = path.name.removesuffix(_DRAFT)
        handle = os.open(locks / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
            fcntl.flock(handle, kind if wait else kind | fcntl.LOCK_NB)
            yield
        finally:
            os.close(handle)


def emulator_for(chroot: Chroot) -> Emulator | None:
    """What runs the chroot's programs where this machine cannot; None where it can.

    Raises MachineError when there is nothing.
    """
    machine = platform.machine()
    if chroot.arch in _RUNS.get(machine, {machine}):
        return None
    candidates = [Path(chroot.emulator)] if chroot.emulator else []
    candidates += [Path(f"/usr/bin/qemu-{chroot.arch}-static")]
    interpreter = next((path.resolve() for path in candidates if path.is_file()), None)
    if interpreter is None:
        raise MachineError(
            f"{chroot.name} cannot be built on this {machine} machine",
            why=f"there is no emulator for {chroot.arch}",
            hint="Install qemu-user-static.",
        )
    return Emulator(chroot.arch, interpreter)


def assistance(chroot: Chroot) -> Path | None:
    """The native tools that are laid over the chroot's roots on this machine, if any are.

    Without them the bytes are the same and the build takes its time.
    """
    tools = Path(chroot.native_tools).resolve() if chroot.native_tools else None
    if tools is None or emulator_for(chroot) is None or not native.are_in(tools):
        return None
    return tools


_RUNS = {
    "x86_64": {"x86_64", "i386", "i486", "i586", "i686", "noarch"},
    "aarch64": {"aarch64", "noarch"},
}


def _tree(draft: Path) -> Path:
    """An empty tree that belongs to the sandbox's root."""
    tree = draft / "tree"
    tree.mkdir()
    tree.chmod(0o755)
    return own(tree)


def _sealed(draft: Path, on: str, filled: fill.Filled) -> Seal:
    remove(*(draft / name for name in ("packages", "files", "work")))
    return seal(
        draft,
        on=on,
        database=filled.database,
        host=(("rpm", filled.rpm), ("kernel", platform.release())),
    )


def _names(packages: _Packages) -> tuple[str, ...]:
    return tuple(sorted(package.sha256 for package in packages))


def _last_used(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0

"""What can leave the state directory, the build roots and the cache."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from farm.collection.items import Item
from farm.collection.reach import files_of
from farm.collection.scene import Scene
from farm.errors import StateError
from farm.ledger import Ledger
from farm.model import Job, Lock, Result, WorkOrder, from_json
from farm.plan.metadata.pins import Pin, read_pin
from farm.rebuild.attempts import attempt_directory, log_path, root_log_path
from farm.rebuild.seal import Seal
from farm.sandbox import is_abandoned
from farm.site.status.pages import HOME
from farm.steps import chroot_of, recipe_of

_DAY = 86400
_NOWHERE = Path("/")
_UNUSED = 14 * _DAY  # seconds: caches that nobody used for so long go
_LEFT_OVER = 1 * _DAY  # and build roots
_ROOTS = ("base-", "delta-", "tools-", "native-", "preload-", "locale-", "own-", "kept-")


def local_items(
    scene: Scene, ledger: Ledger, results: tuple[Result, ...], *, bases: bool
) -> tuple[Item, ...]:
    """Everything that nothing reaches, what refers to other things first."""
    last = {
        attempt.id: attempt.step
        for step in ledger.steps()
        if scene.present(step)
        for attempt in ledger.attempts(step, limit=1)
    }
    # what a farm that was stopped left open may have been finished: the next build takes it up
    last |= {going.id: going.step for going in ledger.going()}
    jobs = [job for name in last if (job := _job(attempt_directory(scene.state, name))) is not None]
    packages = {p.sha256 for r in results for p in (*r.built.packages, r.built.srpm)}
    old = _older_than(scene.retention.now - _UNUSED)
    solv = scene.state / "solv"
    caches = [p for p in _files(solv) if p.parent == solv and old(p)]
    setup = [lock for p in _files(solv) if p not in caches and (lock := _setup(p)) is not None]
    wanted = files_of(results, jobs, setup)
    logs = _logs(ledger, results, last)
    return (
        *_items("attempts", (p for p in _entries(scene.state / "attempts") if p.name not in last)),
        *_items("logs", _others(scene.state / "logs", logs)),
        *_items("shown logs", _others(scene.publication / HOME / "logs", logs)),
        *_items("signed copies", _unsigned(scene, packages, old)),
        *_items("bills of materials", _unused(scene.state / "sbom", old)),
        *_items("generated recipes", _generated(scene)),
        *_items("scratch", _entries(scene.state / "scratch")),
        *_items("scratch", _entries(scene.state / "layer")),
        *_items("scratch", filter(is_abandoned, _entries(scene.state / "verifying"))),
        *_items("verdicts", _verdicts(scene, old)),
        *_items("pins", _pins(scene)),
        *_items("other bases", (p for p in _other_bases(scene) if old(p / "pin.json"))),
        *_items("solver caches", caches),
        *_items("solver caches", _pieces(solv / "layer", packages)),
        *_items("stored files", _stored(scene, wanted)),
        *_roots(scene, last),
        *(_items("embedded bases", _embedded(scene)) if bases else ()),
    )


def _items(kind: str, paths: Iterable[Path]) -> Iterator[Item]:
    return (Item(kind, path) for path in paths)


def _job(directory: Path) -> Job | None:
    with contextlib.suppress(OSError, StateError):
        return from_json(WorkOrder, (directory / "job.json").read_bytes()).job
    return None


def _setup(path: Path) -> Lock | None:
    """The lock of a set-up that is kept, None for any other file."""
    if not path.name.startswith("setup-"):
        return None
    with contextlib.suppress(OSError, StateError):
        return from_json(Lock, path.read_bytes())
    return None


def _logs(ledger: Ledger, results: Iterable[Result], last: dict[str, str]) -> frozenset[Path]:
    """Where, below a directory of logs, those lie that stay."""
    built = ledger.attempts_at({result.key for result in results})
    return frozenset(
        path(_NOWHERE, recipe_of(step), chroot_of(step), attempt).relative_to(_NOWHERE / "logs")
        for attempt, step in (*built, *last.items())
        for path in (log_path, root_log_path)
    )


def _others(directory: Path, kept: frozenset[Path]) -> Iterator[Path]:
    return (path for path in _files(directory) if path.relative_to(directory) not in kept)


def _unsigned(scene: Scene, packages: set[str], old: Callable[[Path], bool]) -> Iterator[Path]:
    """Signed copies of packages that are not kept, and other signed things that nobody wanted
    for a while: those are made again."""
    for path in _files(scene.state / "signed"):
        if path.suffix == ".rpm" and path.parent.name + path.stem not in packages:
            yield path
    others = _unused(scene.state / "signed", old)
    yield from (path for path in others if path.suffix != ".rpm")


def _unused(directory: Path, old: Callable[[Path], bool]) -> Iterator[Path]:
    """Files that no snapshot has a link to, and that nobody wanted for a while."""
    return (path for path in _files(directory) if old(path) and path.stat().st_nlink == 1)


def _verdicts(scene: Scene, old: Callable[[Path], bool]) -> Iterator[Path]:
    """What `farm verify` said and kept of packages that are gone, and of others long ago."""
    for kind in ("verified", "differences"):
        for recipe in _entries(scene.state / kind):
            if recipe.name not in scene.recipes:
                yield recipe
                continue
            for path in _entries(recipe):
                known = any(path.name.startswith(chroot) for chroot in scene.chroots)
                if not known or (kind == "differences" and old(path)):
                    yield path


def _generated(scene: Scene) -> Iterator[Path]:
    return (path for path in _entries(scene.state / "generated") if path not in scene.generated)


def _pins(scene: Scene) -> Iterator[Path]:
    """Pins of chroots that there are no more, and states that were pinned before."""
    for chroot in _entries(scene.state / "pins"):
        if chroot.name not in scene.chroots:
            yield chroot
            continue
        for home in _entries(chroot):
            pin = _pin(home)
            if pin is not None:
                yield from (p for p in _entries(home) if p.is_dir() and p != Path(pin.directory))


def _pin(home: Path) -> Pin | None:
    with contextlib.suppress(StateError):
        return read_pin(home)
    return None


def _other_bases(scene: Scene) -> Iterator[Path]:
    for arch in _entries(scene.state / "bases"):
        yield from _entries(arch)


def _pieces(directory: Path, packages: set[str]) -> Iterator[Path]:
    """What was read of packages of the layer that are not kept."""
    for path in _files(directory):
        if path.parent.name + path.name.rpartition("-")[0] not in packages:
            yield path


def _stored(scene: Scene, wanted: frozenset[str]) -> Iterator[Path]:
    return (p for p in _files(scene.store.root) if p.parent.name + p.name not in wanted)


def _roots(scene: Scene, last: dict[str, str]) -> Iterator[Item]:
    """Layers of build roots that nobody used for a day, and what failed attempts left."""
    if scene.roots is None:
        return
    old = _older_than(scene.retention.now - _LEFT_OVER)
    for path in _entries(scene.roots):
        kept = path.name.removeprefix("kept-")
        theirs = path.name.startswith(_ROOTS) and old(path)
        if not theirs or (kept != path.name and kept in last):
            continue
        yield Item("build roots", path, _sealed_size(path))


def _sealed_size(layer: Path) -> int | None:
    with contextlib.suppress(OSError, StateError):
        return from_json(Seal, (layer / "seal.json").read_bytes()).size
    return None


def _embedded(scene: Scene) -> Iterator[Path]:
    """Embedded bases in the cache that no name leads to, and no pin of this farm."""
    if scene.bases is None:
        return
    pinned = {
        address
        for chroot in _entries(scene.state / "pins")
        for home in _entries(chroot)
        if (pin := _pin(home)) is not None
        for address in pin.addresses
    }
    for release in _entries(scene.bases):
        named = {path.resolve() for path in _entries(release) if path.is_symlink()}
        for path in _entries(release):
            whole = path.is_dir() and not path.is_symlink() and (path / "recipe").exists()
            if whole and path.resolve() not in named and not _leads_to(path, pinned):
                yield path


def _leads_to(path: Path, addresses: set[str]) -> bool:
    return any(address.rstrip("/") == path.resolve().as_uri() for address in addresses)


def _older_than(oldest: float) -> Callable[[Path], bool]:
    def old(path: Path) -> bool:
        with contextlib.suppress(OSError):
            return path.stat().st_mtime < oldest
        return True

    return old


def _entries(directory: Path) -> list[Path]:
    """What is in a directory, sorted; nothing where there is none."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return sorted(directory.iterdir())
    return []


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file() or path.is_symlink())

"""What can leave the published tree, and how it does: whole, and out of sight first."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from farm.collection.items import Item
from farm.collection.reach import in_grace, kept_snapshots, lock_names
from farm.collection.scene import Scene
from farm.errors import StateError
from farm.model import Result
from farm.publish.ancestry import reached
from farm.publish.attestations import speaks_of, waiting
from farm.publish.beside import PROVENANCE
from farm.publish.tree import sync_directory


@dataclass(frozen=True)
class Published:
    """What stays of the published tree, and what does not."""

    kept: frozenset[tuple[str, str]]  # release, id of a snapshot
    results: tuple[Result, ...]  # the builds behind those
    gone: tuple[Result, ...]  # builds whose records go
    items: tuple[Item, ...]

    @classmethod
    def read(cls, scene: Scene) -> Published:
        """Raises StateError for records that are damaged."""
        tree = scene.tree
        snapshots = tree.snapshots()
        kept: set[tuple[str, str]] = set()
        for release in sorted({snapshot.release for snapshot in snapshots}):
            of_release = [s for s in snapshots if s.release == release]
            attested = frozenset(_names(tree.root / "attestations" / release))
            ids = kept_snapshots(of_release, tree.history(release), attested, scene.retention)
            kept |= {(release, id_) for id_ in ids}
        kept |= set(waiting(tree, {snapshot.release for snapshot in snapshots}))
        wanted = {
            name for s in snapshots if (s.release, s.id) in kept for name in s.results
        }  # fmt: skip
        records = {name: tree.result(name) for name in tree.result_names()}
        results = tuple(records[name] for name in sorted(wanted & records.keys()))
        gone = {name: result for name, result in records.items() if name not in wanted}
        items = [
            Item("snapshots", tree.snapshot_directory(s.release, s.id))
            for s in snapshots
            if (s.release, s.id) not in kept
        ]
        items += (Item("published trees", path) for path in _old_trees(scene))
        files = {p.sha256 for s in snapshots if (s.release, s.id) in kept for p in s.packages}
        items += (
            Item("attestations", path)
            for path in _children(tree.root / "attestations", depth=2)
            if (path.parent.name, path.name) not in kept
            # what was attested counts for every snapshot that has the same file
            and not any(_told(said) & files for said in path.iterdir())
        )
        items += (Item("build records", tree.result_path(name)) for name in sorted(gone))
        locks, archived = reached(tree.root, lock_names(results))
        items += _unnamed(tree.root / "locks", ".json", locks, "locks")
        for suffix in (".rpm", f".rpm{PROVENANCE}"):
            items += _unnamed(tree.root / "archive", suffix, archived, "archived packages")
        return cls(frozenset(kept), results, tuple(gone.values()), tuple(items))


def remove_published(scene: Scene, published: Published) -> None:
    """Remove it. A snapshot vanishes in one step; what it referred to goes afterwards.

    Raises PublishError when another farm is publishing, StateError when something was published
    since `published` was read: then nothing is removed.
    """
    tree = scene.tree
    if not published.items and not (tree.root / ".drafts").exists():  # of a run that was killed
        return
    with tree.writing("gc") as draft:
        now = Published.read(scene)
        for number, item in enumerate(now.items):
            if item.kind in ("snapshots", "published trees", "attestations"):
                item.path.rename(draft / str(number))
                sync_directory(item.path.parent)
        if now.gone:
            tree.add_formers(now.gone)
        for kind in ("build records", "locks", "archived packages"):
            for item in now.items:
                if item.kind == kind:
                    item.path.unlink(missing_ok=True)
                    with contextlib.suppress(OSError):
                        item.path.parent.rmdir()
        for path in draft.iterdir():
            shutil.rmtree(path, ignore_errors=True)


def _old_trees(scene: Scene) -> Iterator[Path]:
    tree = scene.tree
    for home in _children(tree.root / "trees", depth=1):
        history = tree.history(home.name)
        if history is None:  # nothing is published: what lies there was never finished
            continue
        kept = {history.tree, *(r.tree for r in in_grace(history, scene.retention))}
        yield from (path for path in _children(home, depth=1) if path.name not in kept)


def _told(attestation: Path) -> frozenset[str]:
    """The files that an attestation speaks of; a damaged one speaks of none."""
    try:
        return frozenset(speaks_of(attestation))
    except StateError:
        return frozenset()


def _unnamed(root: Path, suffix: str, names: Iterable[str], kind: str) -> Iterator[Item]:
    """Files named by a sha256 that is not among these."""
    wanted = frozenset(names)
    for path in _children(root, depth=2):
        name = path.parent.name + path.name.removesuffix(suffix)
        if path.name.endswith(suffix) and name not in wanted:
            yield Item(kind, path)


def _children(directory: Path, depth: int) -> Iterator[Path]:
    """Entries so far below, sorted; none where there is no such directory."""
    if directory.is_dir() and not directory.is_symlink():
        for path in sorted(directory.iterdir()):
            if depth > 1:
                yield from _children(path, depth - 1)
            else:
                yield path


def _names(directory: Path) -> tuple[str, ...]:
    return tuple(path.name for path in _children(directory, depth=1) if any(path.iterdir()))

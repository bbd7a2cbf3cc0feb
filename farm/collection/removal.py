"""Removing what lies in the state directory and in memory."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence

from farm.collection.items import Item
from farm.collection.scene import Scene
from farm.progress import Emit
from farm.rebuild.roots import RootCache
from farm.sandbox import remove


def remove_items(items: Sequence[Item], scene: Scene, emit: Emit) -> None:
    """Remove these in their order; what somebody is using stays, and is told."""
    for item in items:
        if item.kind == "build roots":
            _remove_root(item, scene, emit)
        elif item.path.is_dir() and not item.path.is_symlink():
            shutil.rmtree(item.path, ignore_errors=True)
        else:
            item.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            item.path.parent.rmdir()  # if nothing else is in it


def _remove_root(item: Item, scene: Scene, emit: Emit) -> None:
    assert scene.roots is not None
    cache = RootCache(scene.roots, scene.store)
    try:
        with cache.held(item.path, wait=False):
            remove(item.path)
    except BlockingIOError:
        emit("note", text=f"the build root {item.path.name} is in use and stays")

"""The lock of a build root's set-up, kept for as long as neither base nor chroot change.

Every run wants it, and solving it anew means to open the whole base.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from farm.errors import StateError
from farm.lazily import lazily
from farm.model import Chroot, Lock, Problem, digest_of, from_json, to_json
from farm.plan.metadata.pins import Pin
from farm.store import mark_used, write_atomic

with lazily():  # most runs find the answer kept
    from farm.plan import solver, universe

_FORMAT = 1  # raised when the same question has another answer


def setup_lock(
    chroot: Chroot, pins: Sequence[Pin], cache: Path, base: Callable[[], universe.Universe]
) -> Lock | Problem:
    """`resolve_setup` over the base, which is opened only when the answer is not kept."""
    states = tuple((pin.revision, pin.addresses, pin.repository) for pin in pins)
    digest = digest_of((_FORMAT, chroot.arch, chroot.setup, states))
    kept = cache / f"setup-{digest[:32]}.json"
    with contextlib.suppress(FileNotFoundError, StateError):  # damaged: made again
        known = from_json(Lock, kept.read_bytes(), where=str(kept))
        mark_used(kept)
        return known
    lock = solver.resolve_setup(base(), chroot)
    if isinstance(lock, Lock):
        write_atomic(kept, to_json(lock))
    return lock

"""Cores that would stay idle are lent: more processes of make for a job that starts (`-j`).

What is lent is not held: a step that gets ready meanwhile starts all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from farm.rebuild.room import Need


@dataclass(frozen=True)
class Scene:
    """What is known when an attempt starts. `free` is before it takes its share."""

    cores: int  # of the engine; 0: not counted, so nothing is lent
    free: Need
    rivals: Sequence[int]  # cores that the other steps that are ready want
    other_work: float  # core-seconds left that could be done beside it


def lent(need: Need, scene: Scene) -> int:
    """Cores that the attempt gets beyond those that it holds."""
    if not scene.cores or need.slots > 1:
        return 0
    spare = int(scene.free.cores - need.cores)
    most = int(scene.cores - need.cores)
    if need.memory and need.cores and scene.free.memory > 0:
        # every process more is expected to want as much memory as those that it is known by
        left = scene.free.memory - need.memory
        most = min(most, int(left / (need.memory / need.cores)))
    now = 0
    if len(scene.rivals) < spare:
        now = (spare - sum(scene.rivals)) // (len(scene.rivals) + 1)
    meanwhile = 0
    if need.seconds > 0:
        capable = (scene.cores - need.cores) * need.seconds
        meanwhile = int((capable - scene.other_work) / need.seconds)
    return max(0, min(most, max(now, meanwhile)))

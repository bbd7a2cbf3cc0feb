"""Cores that would stay idle are lent: more processes of make for a job that starts (`-j`).

What is lent is not held: a step that gets ready meanwhile starts all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from farm.rebuild.board import Board
from farm.rebuild.outlook import Outlook, work_of
from farm.rebuild.room import Need
from farm.rebuild.underway import Underway


@dataclass(frozen=True)
class Scene:
    """What is known when an attempt starts. `free` is before it takes its share."""

    cores: int  # of the engine; 0: not counted, so nothing is lent
    free: Need
    rivals: Sequence[int]  # cores that the other steps that are ready want
    other_work: float  # core-seconds left that could be done beside it
    lent: int = 0  # cores that attempts have beyond those that they hold


def scene(name: str, cores: int, board: Board, underway: Underway, outlook: Outlook) -> Scene:
    """What is known when an attempt at a step starts on an engine with so many cores."""
    free = underway.room.free()
    if len(board.queue) <= free.cores:
        rivals = [int(board.needs[other].cores) for other in board.queue if other != name]
    else:
        rivals = [int(free.cores)]
    # its own chain cannot be done beside it
    chain = board.ranks[name].path - board.needs[name].seconds
    other_work = outlook.work - work_of(outlook.demands[name]) - chain
    return Scene(cores, free, rivals, other_work, underway.lent)


def lent(need: Need, scene: Scene) -> int:
    """Cores that the attempt gets beyond those that it holds: its part of what stays idle now, or
    of what the other work does not fill as long as it runs."""
    if not scene.cores or need.slots > 1:
        return 0
    spare = int(scene.free.cores - need.cores)
    most = int(scene.cores - need.cores)
    if need.memory and need.cores and scene.free.memory > 0:
        # every process more is expected to want as much memory as those that it is known by
        left = scene.free.memory - need.memory
        most = min(most, int(left / (need.memory / need.cores)))
    idle = spare - sum(scene.rivals) if len(scene.rivals) < spare else 0
    if need.seconds > 0:
        capable = (scene.cores - need.cores) * need.seconds
        idle = max(idle, int((capable - scene.other_work) / need.seconds))
    part = (idle - scene.lent) // (len(scene.rivals) + 1)
    return max(0, min(most, part))

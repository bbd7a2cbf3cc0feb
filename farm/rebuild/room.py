"""What an engine has room for: what attempts hold of it, and what is held back for whom.

EASY backfilling: the first step in the order that does not fit has its start reserved at the time
when, as far as is expected, enough will have ended; a later one may overtake it if it will have
ended by then, or holds nothing of what the first will take.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from farm.model import Demand
from farm.rebuild.engines import Capacity

_EVER = float("inf")


class Need(NamedTuple):
    """What an attempt holds while it runs, and for how many seconds it is expected to."""

    slots: float
    cores: float
    memory: float
    disk: float
    seconds: float

    def within(self, limits: Need) -> bool:
        """Whether there is no more of anything than in `limits`."""
        return (
            self[0] <= limits[0]
            and self[1] <= limits[1]
            and self[2] <= limits[2]
            and self[3] <= limits[3]
            and self[4] <= limits[4]
        )

    def less(self, other: Need) -> Need:
        """What is left of it."""
        slots, cores, memory, disk, seconds = self
        return Need(slots - other[0], cores - other[1], memory - other[2], disk - other[3], seconds)

    def more(self, other: Need) -> Need:
        """Both together."""
        slots, cores, memory, disk, seconds = self
        return Need(slots + other[0], cores + other[1], memory + other[2], disk + other[3], seconds)

    def least(self, other: Need) -> Need:
        """Of everything, what both have."""
        slots, cores, memory, disk, seconds = map(min, self, other)
        return Need(slots, cores, memory, disk, seconds)


ANYTHING = Need(_EVER, _EVER, _EVER, _EVER, _EVER)
ABSENT = Need(_EVER, _EVER, _EVER, _EVER, _EVER)  # of a step that is not to be had


def need_of(demand: Demand, capacity: Capacity) -> Need:
    """What is held of an engine for this demand; of what it does not count, nothing.

    What wants more of anything than there is runs alone.
    """
    wanted = (
        (max(demand.cores, 1), capacity.cores),
        (demand.memory, capacity.memory),
        (demand.disk, capacity.disk),
    )
    if any(there and much > there for much, there in wanted):
        cores, memory, disk = (there for _, there in wanted)
        return Need(capacity.slots, cores, memory, disk, demand.seconds)
    cores, memory, disk = (much if there else 0 for much, there in wanted)
    return Need(1, cores, memory, disk, demand.seconds)


@dataclass(frozen=True)
class _Held:
    need: Need
    since: float

    def ends(self, now: float) -> float:
        """When it is expected to end. One that is late is expected to be late as long again."""
        end = self.since + self.need.seconds
        return end if end > now else now + (now - end)


class Room:
    """The accounts of one engine. Times are of the walk's clock."""

    def __init__(self, capacity: Capacity) -> None:
        self.capacity = capacity
        self._held: dict[str, _Held] = {}
        self._free = Need(capacity.slots, capacity.cores, capacity.memory, capacity.disk, _EVER)

    @property
    def full(self) -> bool:
        """Whether nothing at all can be started."""
        return self._free[0] < 1 or (self.capacity.cores > 0 and self._free[1] < 1)

    def free(self, seconds: float = _EVER) -> Need:
        """What may be taken now, for so many seconds."""
        return self._free._replace(slots=max(self._free[0], 0), seconds=seconds)

    def take(self, attempt: str, need: Need, now: float) -> None:
        """An attempt starts. One that goes on from before may take more than there is."""
        self._held[attempt] = _Held(need, now)
        self._free = self._free.less(need)

    def give(self, attempt: str) -> None:
        """An attempt has ended."""
        self._free = self._free.more(self._held.pop(attempt).need)

    def reserved(self, head: Need, now: float) -> tuple[float, Need]:
        """For what does not fit now: in how many seconds it is expected to, and what may be taken
        for longer than that."""
        free, when = self._free, now
        for end, need in sorted((held.ends(now), held.need) for held in self._held.values()):
            if head.within(free):
                break
            free, when = free.more(need), end
        return when - now, free.less(head).least(self._free)

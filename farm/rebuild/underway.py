"""Attempts that are under way, in the hands of one engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from farm.model import Step
from farm.rebuild.decisions import Run
from farm.rebuild.engines import Capacity, Ended, Moved
from farm.rebuild.room import Need, Room


@dataclass(frozen=True)
class Running:
    """An attempt at a step, as that was when the attempt was begun."""

    step: Step
    run: Run
    cores: int  # that it was given, lent ones included
    lent: int = 0


class Underway:
    """All that run, and what they hold of the engine's room. Each ends once, whatever the engine
    says, and the end of one that is not known yet is not lost."""

    def __init__(self, capacity: Capacity, unclaimed: Iterable[Ended] = ()) -> None:
        self.room = Room(capacity)
        self._running: dict[str, Running] = {}  # by attempt
        self._steps: set[str] = set()
        self._known: set[str] = set()  # attempts that run or did
        self._early = {ended.attempt: ended for ended in unclaimed}  # of attempts not known yet

    def __iter__(self) -> Iterator[Running]:
        return iter(self._running.values())

    def __len__(self) -> int:
        return len(self._running)

    def __contains__(self, name: object) -> bool:
        """Whether an attempt at a step (by id) is among them."""
        return name in self._steps

    @property
    def unclaimed(self) -> tuple[Ended, ...]:
        """Ends of attempts that are not known yet."""
        return tuple(self._early.values())

    @property
    def lent(self) -> int:
        """Cores that they have beyond those that they hold."""
        return sum(attempt.lent for attempt in self)

    def add(self, attempt: Running, need: Need, now: float) -> Ended | None:
        """One more holds what it needs; its end, if that was told already."""
        name = attempt.run.job.attempt
        self._running[name] = attempt
        self._steps.add(attempt.step.id)
        self._known.add(name)
        self.room.take(name, need, now)
        return self._early.pop(name, None)

    def meant(self, news: Ended | Moved) -> Running | None:
        """Of which one the engine speaks, None if it is over or not known; one that has ended
        holds nothing any more."""
        attempt = self._running.get(news.attempt)
        if attempt is None:
            if isinstance(news, Ended) and news.attempt not in self._known:
                self._early[news.attempt] = news
        elif isinstance(news, Ended):
            del self._running[news.attempt]
            self._steps.remove(attempt.step.id)
            self.room.give(news.attempt)
        return attempt

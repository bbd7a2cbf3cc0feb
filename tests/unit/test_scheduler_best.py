"""Schedules of tiny plans beside the best that there is, found by trying everything."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from farm.model import Demand, Plan, Step
from farm.rebuild.engines import Capacity
from farm.rebuild.simulation import simulated


@dataclass(frozen=True)
class Tiny:
    """Steps by number: what each needs, and how many seconds it takes."""

    needs: Sequence[Sequence[int]]
    seconds: Sequence[float]
    workers: int

    @classmethod
    def made(cls, chance: random.Random) -> Tiny:
        number = chance.randint(2, 6)
        needs = [chance.sample(range(n), min(n, chance.choice([0, 0, 1, 1, 2])))
                 for n in range(number)]  # fmt: skip
        seconds = [float(chance.choice([1, 2, 3, 5, 8, 13])) for _ in range(number)]
        return cls(needs, seconds, chance.randint(1, 3))

    def ours(self) -> float:
        names = [[f"p{need}" for need in each] for each in self.needs]
        steps = [Step(f"p{place}", "c", tuple(each)) for place, each in enumerate(names)]
        demands = {s.id: Demand(seconds=took) for s, took in zip(steps, self.seconds, strict=True)}
        return simulated(Plan(tuple(steps)), demands, [Capacity(self.workers)]).seconds

    def first_come(self) -> float:
        """What got ready first is started first."""
        now, over, started = 0.0, set[int](), set[int]()
        ready: list[int] = []
        running: dict[int, float] = {}
        while len(over) < len(self.needs):
            for place, needs in enumerate(self.needs):
                if place not in started and over.issuperset(needs):
                    started.add(place)
                    ready.append(place)
            while ready and len(running) < self.workers:
                place = ready.pop(0)
                running[place] = now + self.seconds[place]
            now = min(running.values())
            ended = {place for place, end in running.items() if end <= now}
            over |= ended
            running = {place: end for place, end in running.items() if place not in ended}
        return now

    def best(self) -> float:
        """Every order in which steps can be given to workers, the idle ones of each included."""
        return self._best({}, (0.0,) * self.workers, sum(self.seconds))

    def _best(self, ends: dict[int, float], free: tuple[float, ...], known: float) -> float:
        if len(ends) == len(self.needs):
            return min(known, max(ends.values()))
        for place, needs in enumerate(self.needs):
            if place in ends or any(need not in ends for need in needs):
                continue
            for worker in dict(zip(free, range(self.workers), strict=True)).values():
                start = max([free[worker], *(ends[need] for need in needs)])
                end = start + self.seconds[place]
                if end < known:
                    others = (*free[:worker], end, *free[worker + 1 :])
                    known = self._best({**ends, place: end}, others, known)
        return known


def test_tiny_plans_are_walked_nearly_as_fast_as_can_be() -> None:
    chance = random.Random(5)
    plans = [Tiny.made(chance) for _ in range(300)]
    best = [plan.best() for plan in plans]
    ours = [plan.ours() / least for plan, least in zip(plans, best, strict=True)]
    first_come = [plan.first_come() / least for plan, least in zip(plans, best, strict=True)]
    assert min(ours) >= 1 - 1e-9 and min(first_come) >= 1 - 1e-9, "nothing is better than the best"
    over, theirs_over = (sum(each) / len(plans) - 1 for each in (ours, first_come))
    assert over < 0.005 and theirs_over > 4 * over
    assert max(ours) < 4 / 3, "as far as a list can be off"
    # now and then luck beats a rule: a short chain keeps a worker from the longer of two others
    assert sum(mine > theirs + 1e-9 for mine, theirs in zip(ours, first_come, strict=True)) <= 3

"""Who goes first: what is urgent with all that it needs, then the longest remaining path."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from farm.model import Plan, Step

# What an urgent step is ahead of the others in the rank that engines see: more seconds than any
# path of a plan has.
URGENT = 1e9


@dataclass(frozen=True)
class Rank:
    """The place of a step in the order."""

    urgent: bool
    path: float  # seconds from its start to the end of the longest chain that begins with it

    @property
    def number(self) -> float:
        """The same as one number: a higher one goes first."""
        return self.path + (URGENT if self.urgent else 0.0)


class Graph:
    """Which steps of a plan wait for which, by their places in the plan."""

    def __init__(self, steps: Sequence[Step]) -> None:
        places: dict[str, dict[str, int]] = {}
        for place, step in enumerate(steps):
            places.setdefault(step.chroot, {})[step.name] = place
        self.awaited: list[list[int]] = []
        self.following: list[list[int]] = [[] for _ in steps]
        for place, step in enumerate(steps):
            there = places[step.chroot]
            awaited = list(dict.fromkeys(there[need] for need in step.awaited if need in there))
            self.awaited.append(awaited)
            for need in awaited:
                self.following[need].append(place)

    def sorted(self) -> Iterator[int]:
        """Places in an order in which every step comes after what it waits for; those in a cycle,
        and what waits for them, are left out."""
        left = [len(awaited) for awaited in self.awaited]
        ready = [place for place, number in enumerate(left) if not number]
        while ready:
            place = ready.pop()
            yield place
            for after in self.following[place]:
                left[after] -= 1
                if not left[after]:
                    ready.append(after)


def remaining_paths(plan: Plan, seconds: Mapping[str, float]) -> dict[str, float]:
    """For each step, the length of the longest chain that starts with it, in seconds."""
    return _paths(plan.steps, Graph(plan.steps), seconds)


def ranks(
    steps: Sequence[Step], graph: Graph, seconds: Mapping[str, float], urgent: Collection[str]
) -> dict[str, Rank]:
    """The rank of each step; what an urgent one waits for is urgent as well."""
    hurried = {place for place, step in enumerate(steps) if step.id in urgent}
    waiting = list(hurried)
    while waiting:
        for need in graph.awaited[waiting.pop()]:
            if need not in hurried:
                hurried.add(need)
                waiting.append(need)
    paths = _paths(steps, graph, seconds)
    return {step.id: Rank(place in hurried, paths[step.id]) for place, step in enumerate(steps)}


def critical_path(plan: Plan, seconds: Mapping[str, float]) -> tuple[Step, ...]:
    """The longest chain of steps, first to last; steps that take no time are left out."""
    graph = Graph(plan.steps)
    paths = _paths(plan.steps, graph, seconds)
    chain: list[Step] = []
    places: Collection[int] = range(len(plan.steps))
    while places:
        place = max(places, key=lambda each: (paths[plan.steps[each].id], -each))
        if seconds[plan.steps[place].id] > 0:
            chain.append(plan.steps[place])
        places = graph.following[place]
    return tuple(chain)


def _paths(steps: Sequence[Step], graph: Graph, seconds: Mapping[str, float]) -> dict[str, float]:
    lengths = [seconds[step.id] for step in steps]
    for place in reversed(tuple(graph.sorted())):
        lengths[place] += max((lengths[after] for after in graph.following[place]), default=0.0)
    return {step.id: lengths[place] for place, step in enumerate(steps)}

"""Who waits for whom in a plan, and what is ready, in its order."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from farm.model import Demand, Plan, Step
from farm.rebuild.engines import Capacity
from farm.rebuild.queue import Queue
from farm.rebuild.ranks import Graph, ranks
from farm.rebuild.room import Need, need_of


class Board:
    """A plan of which some steps are over; steps are named by their ids."""

    def __init__(
        self,
        plan: Plan,
        demands: Mapping[str, Demand],
        capacity: Capacity,
        urgent: Collection[str],
        over: Collection[str],
        graph: Graph | None = None,
    ) -> None:
        self.plan = plan
        self._capacity = capacity
        self.steps = {step.id: step for step in plan.steps}
        self.names = tuple(self.steps)
        self.needs: dict[str, Need] = {}
        self._graph = graph or Graph(plan.steps)
        self._places = {name: place for place, name in enumerate(self.names)}
        seconds = {name: demands[name].seconds for name in self.names}
        self.ranks = ranks(plan.steps, self._graph, seconds, urgent)
        for name in self.names:
            self.demand(name, demands[name])
        left = [name for name in self.names if name not in over]
        left.sort(key=lambda name: -self.ranks[name].number)
        self.queue = Queue(left, self.needs)
        ended = {self._places[name] for name in over if name in self._places}
        self._open = [sum(need not in ended for need in awaited) for awaited in self._graph.awaited]

    def revised(
        self, demands: Mapping[str, Demand], urgent: Collection[str], over: Collection[str]
    ) -> Board:
        """The same plan when steps demand something else than was thought; nothing is queued."""
        return Board(self.plan, demands, self._capacity, urgent, over, self._graph)

    def demand(self, name: str, demand: Demand) -> None:
        """A step that is not queued demands something else from now on."""
        need = need_of(demand, self._capacity)
        hurried = self._capacity.queues and self.ranks[name].urgent
        self.needs[name] = need._replace(slots=0) if hurried else need

    def __contains__(self, name: str) -> bool:
        return name in self.steps

    @property
    def ready(self) -> Iterator[str]:
        """Steps that wait for nothing (more)."""
        return (name for name in self.names if self.is_ready(name))

    def is_ready(self, name: str) -> bool:
        """Whether a step waits for nothing (more)."""
        return not self._open[self._places[name]]

    def awaited(self, name: str) -> Iterator[Step]:
        """The steps of the plan that this one waits for."""
        return (self.plan.steps[place] for place in self._graph.awaited[self._places[name]])

    def following(self, name: str) -> Iterator[Step]:
        """The steps that wait for this one."""
        return (self.plan.steps[place] for place in self._graph.following[self._places[name]])

    def over(self, name: str) -> list[str]:
        """A step has ended; those that wait for nothing more now."""
        ready = []
        for place in self._graph.following[self._places[name]]:
            self._open[place] -= 1
            if not self._open[place]:
                ready.append(self.names[place])
        return ready

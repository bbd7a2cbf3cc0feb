"""How far a run is, as its events tell it: what the terminal shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from farm.progress.events import Event

LEAST = 1.0  # seconds that something which takes longer than expected is thought to take still


@dataclass
class Running:
    """A step that is being done. `began` is seconds since 1970, 0 while it only waits."""

    step: str
    began: float
    phase: str = ""
    expected: float = 0.0
    place: str = ""
    attempt: str = ""
    urgent: bool = False

    def elapsed(self, now: float) -> float:
        return max(0.0, now - self.began) if self.began else 0.0

    def left(self, now: float) -> float:
        """Seconds that it should still take."""
        return max(self.expected - self.elapsed(now), LEAST)


@dataclass
class Tally:
    """What is queued, what runs, what has ended."""

    states: dict[str, str] = field(default_factory=dict)  # by step
    running: dict[str, Running] = field(default_factory=dict)  # by step, in the order they began
    total: int = 0
    done: int = 0
    most: int = 1  # that ever ran at once
    _needs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _expected: dict[str, float] = field(default_factory=dict)

    def see(self, event: Event) -> None:
        if event.total:
            self.done, self.total = event.done, event.total
        if not event.step or event.state in ("note", "warning"):
            return
        self.states[event.step] = event.state
        if event.state == "queued":
            self._needs[event.step] = event.needs
            self._expected[event.step] = event.expected
        if event.state == "running":
            self._run(event)
        else:
            self.running.pop(event.step, None)

    def _run(self, event: Event) -> None:
        before = self.running.get(event.step)
        if before is None or event.waits or (event.attempt and event.attempt != before.attempt):
            before = Running(event.step, 0.0 if event.waits else event.at)
        if not event.waits and not before.began:
            before.began = event.at
        before.phase = event.phase
        before.expected = event.expected or before.expected
        before.place = event.place or before.place
        before.attempt = event.attempt or before.attempt
        before.urgent = event.urgent
        self.running[event.step] = before
        self.most = max(self.most, sum(1 for each in self.running.values() if each.began))

    def counts(self) -> Counter[str]:
        """How many steps are in each state."""
        return Counter(self.states.values())

    def left(self, now: float) -> float:
        """Seconds until the end, about: the longest chain of what is left, or all of it divided
        by how many ran at once, whichever is longer. 0 when nothing says."""
        queued = [step for step, state in self.states.items() if state == "queued"]
        running = {step: each.left(now) for step, each in self.running.items() if each.expected}
        work = sum(running.values()) + sum(self._expected[step] for step in queued)
        return max(work / self.most, self._longest(queued, running))

    def _longest(self, queued: Iterable[str], running: dict[str, float]) -> float:
        """The longest chain of steps, each of which waits for the one before."""
        ends = dict(running)
        for first in queued:
            if first in ends:
                continue
            chain = [(first, self._open(first, ends))]
            while chain:
                step, needs = chain[-1]
                need = next(needs, None)
                if need is None:
                    chain.pop()
                    latest = max((ends.get(n, 0.0) for n in self._needs[step]), default=0.0)
                    ends[step] = latest + self._expected[step]
                elif need not in ends:
                    ends[need] = 0.0  # in a loop it is not asked again
                    chain.append((need, self._open(need, ends)))
        return max(ends.values(), default=0.0)

    def _open(self, step: str, ends: dict[str, float]) -> Iterator[str]:
        """Queued steps that this one waits for, and whose end is not known yet."""
        return (n for n in self._needs[step] if self.states.get(n) == "queued" and n not in ends)

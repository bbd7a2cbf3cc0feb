"""What steps met with that was nobody's fault of theirs: how often they were tried, and when they
go on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import msgspec

from farm.model import Demand, Failed, Step
from farm.rebuild.decisions import Mishap, Run

_BACKOFF = 4.0  # how many times as long each further wait is


class Mishaps:
    """Those of the steps of one walk; steps are named by their ids, times are of its clock.

    `retries`: attempts after the first, `seconds`: the wait before the first of them. `before` are
    those of a walk that was left off: they count on, and are waited for unless the next attempt
    is `going` already, but what comes next is settled again by then.
    """

    def __init__(
        self,
        retries: int,
        seconds: float,
        before: Iterable[Mishap] = (),
        going: frozenset[str] = frozenset(),
    ) -> None:
        self._retries, self._seconds = retries, seconds
        self._last = {mishap.step.id: mishap for mishap in before}
        self._waiting = self._last.keys() - going
        self._anew = set(self._last)  # to be settled again

    def __contains__(self, name: object) -> bool:
        """Whether a step has met with one."""
        return name in self._last

    @property
    def waiting(self) -> tuple[Mishap, ...]:
        """Those whose steps wait for the time to go on."""
        return tuple(last for name, last in self._last.items() if name in self._waiting)

    @property
    def left(self) -> tuple[Mishap, ...]:
        """Those of all steps that have not ended."""
        return tuple(self._last.values())

    def waits(self, name: str) -> bool:
        """Whether a step waits for the time to go on."""
        return name in self._waiting

    def wait_of(self, name: str, now: float) -> float:
        """Seconds until it goes on, 0 if it does not wait."""
        return max(0.0, self._last[name].due - now) if name in self._waiting else 0.0

    def tries(self, name: str) -> int:
        """Attempts at a step that met with one."""
        return self._last[name].tries if name in self._last else 0

    def may_go_on(self, step: Step, failed: Failed) -> bool:
        """Whether a step that failed like this is tried again."""
        return failed.kind == "infrastructure" and self.tries(step.id) < self._retries

    def wait(
        self, step: Step, failed: Failed, run: Run | None, now: float, *, anew: bool = False
    ) -> float:
        """One mishap more, and what is tried next, after it was settled again if `anew`; the wait
        in seconds."""
        name, tries = step.id, self.tries(step.id) + 1
        seconds = self._seconds * _BACKOFF ** (tries - 1)
        self._last[name] = Mishap(step, tries, failed, now + seconds, run)
        self._waiting.add(name)
        (self._anew.add if anew else self._anew.discard)(name)
        return seconds

    def due(self, now: float, steps: Mapping[str, Step]) -> list[tuple[str, Run | None]]:
        """The steps that go on now, each with its attempt, or None to settle it again: also when
        the attempt was made for other needs."""
        found: list[tuple[str, Run | None]] = []
        for mishap in [each for each in self.waiting if each.due <= now]:
            name = mishap.step.id
            self._waiting.remove(name)
            same = name not in self._anew and steps.get(name) == mishap.step
            found.append((name, mishap.run if same else None))
        return found

    def taken_up(self, name: str, run: Run) -> Run:
        """A step was settled: the same inputs go on where they were, elsewhere if they were to be
        built elsewhere; with others it begins anew."""
        mishap = self._last.get(name)
        if mishap is None:
            return run
        self._anew.discard(name)
        if mishap.run is not None and mishap.run.job.key != run.job.key:
            self.over(name)
            return run
        if mishap.run is not None and not run.going:
            job = msgspec.structs.replace(run.job, avoid=mishap.run.job.avoid)
            run = replace(run, job=job, reason=mishap.run.reason)
        self._last[name] = replace(mishap, run=run)
        return run

    def wanted(self, name: str) -> Demand | None:
        """What the next attempt at a step wants, if there is one after a mishap."""
        run = self._last[name].run if name in self._last else None
        return run.job.demand if run is not None else None

    def over(self, name: str) -> None:
        """A step has ended."""
        self._last.pop(name, None)
        self._waiting.discard(name)
        self._anew.discard(name)

    def pause(self, most: float, now: float) -> float:
        """Seconds until the next one goes on, `most` at most."""
        due = min((mishap.due for mishap in self.waiting), default=None)
        return most if due is None else max(0.0, min(most, due - now))

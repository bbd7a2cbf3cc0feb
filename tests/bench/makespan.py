"""How close did the last build come to the shortest that its own durations allow?

    python -m tests.bench.makespan STATE [--cores N]

From the run's journal (who waited for whom) and the ledger (when attempts began and ended, chroot
set-up included). No schedule of the same durations is shorter than max(critical path, total work /
cores); work is counted in the cores that each attempt held.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from farm.errors import FarmError, UsageError
from farm.ledger import reader
from farm.model import Attempt, Built, Failed, Plan, Step
from farm.progress import Event
from farm.progress.journal import journal_path
from farm.rebuild.ranks import critical_path, remaining_paths

_OVER = ("built", "kept", "failed", "skipped")


@dataclass(frozen=True)
class Measure:
    """One run, in seconds (work and idle time: core-seconds)."""

    attempts: int
    cores: int
    makespan: float  # first start to last end
    whole: float  # from the beginning of the run
    path: float
    chain: tuple[str, ...]  # the steps on it
    work: float
    processor: float  # that attempts used, as far as they said it
    idle_for_want: float  # while nothing was ready
    idle_with_work: float  # while a ready step waited: it was being settled, or did not fit

    @property
    def bound(self) -> float:
        return max(self.path, self.work / self.cores)

    @property
    def ratio(self) -> float:
        return self.makespan / self.bound if self.bound else 1.0


def measured(events: Sequence[Event], attempts: Sequence[Attempt], cores: int) -> Measure:
    """What the journal and the ledger say of a run. Raises UsageError if nothing was built in it.

    A step that was tried more than once took as long as all its attempts.
    """
    names = {event.attempt for event in events if event.attempt}
    those = [attempt for attempt in attempts if attempt.id in names]
    if not those:
        raise UsageError("no attempt of the last run has ended", hint="`farm build` makes some.")
    queued = {event.step: event for event in events if event.state == "queued"}
    seconds = dict.fromkeys(queued, 0.0)
    for attempt in those:
        seconds[attempt.step] = seconds.get(attempt.step, 0.0) + attempt.ended - attempt.started
    held = {name: max(queued[name].cores, 1) if name in queued else 1 for name in seconds}
    plan = Plan(tuple(_step(name, queued.get(name)) for name in seconds))
    first, last = min(a.started for a in those), max(a.ended for a in those)
    want, work = _idle(events, those, held, cores)
    return Measure(
        attempts=len(those),
        cores=cores,
        makespan=last - first,
        whole=last - min(event.at for event in events),
        path=max(remaining_paths(plan, seconds).values()),
        chain=tuple(step.id for step in critical_path(plan, seconds)),
        work=sum(seconds[name] * held[name] for name in seconds),
        processor=sum(a.outcome.usage.cpu for a in those if isinstance(a.outcome, (Built, Failed))),
        idle_for_want=want,
        idle_with_work=work,
    )


def _step(name: str, queued: Event | None) -> Step:
    """The step as far as its place among the others goes: ids instead of names, in no chroot."""
    needs = queued.needs if queued is not None else ()
    chroot = name.partition("@")[2]
    return Step(name.partition("@")[0], chroot, tuple(each.partition("@")[0] for each in needs))


def _idle(
    events: Sequence[Event], attempts: Sequence[Attempt], held: Mapping[str, int], cores: int
) -> tuple[float, float]:
    """Core-seconds between first start and last end that nobody held, with nothing ready and with
    something ready."""
    over = {event.step: event.at for event in events if event.state in _OVER}
    started: dict[str, float] = {}
    for attempt in sorted(attempts, key=lambda each: each.started):
        started.setdefault(attempt.step, attempt.started)
    changes: list[tuple[float, int, int]] = []  # when, cores that are taken, steps that are ready
    for attempt in attempts:
        changes.append((attempt.started, held[attempt.step], 0))
        changes.append((attempt.ended, -held[attempt.step], 0))
    for event in events:
        if event.state == "queued" and event.step in started:
            ready = max([event.at, *(over[need] for need in event.needs if need in over)])
            changes.append((min(ready, started[event.step]), 0, 1))
            changes.append((started[event.step], 0, -1))
    first, last = min(started.values()), max(attempt.ended for attempt in attempts)
    want, work, taken, waiting, since = 0.0, 0.0, 0, 0, first
    for when, more, ready in sorted(changes):
        idle = max(0, cores - taken) * max(0.0, min(when, last) - since)
        want, work = (want, work + idle) if waiting else (want + idle, work)
        taken, waiting, since = taken + more, waiting + ready, max(since, when)
    return want, work


def told(measure: Measure) -> str:
    """The same in words."""
    chain = " → ".join(measure.chain)
    total = measure.makespan * measure.cores
    return "\n".join(
        (
            f"attempts        {measure.attempts}, {measure.cores} cores",
            f"makespan        {measure.makespan:.1f} s ({measure.whole:.1f} s with what came"
            " before the first start)",
            f"critical path   {measure.path:.1f} s: {chain}",
            f"total work      {measure.work:.1f} core-seconds held, {measure.processor:.1f} used:"
            f" {measure.work / measure.cores:.1f} s on all cores",
            f"bound           {measure.bound:.1f} s",
            f"idle            {measure.idle_for_want / total:.1%} while nothing was ready,"
            f" {measure.idle_with_work / total:.1%} while something was",
            f"ratio           {measure.ratio:.3f} of the bound,"
            f" {measure.whole / measure.bound:.3f} with what came before",
        )
    )


def read(state: Path) -> tuple[list[Event], tuple[Attempt, ...]]:
    """The last run of a state directory. Raises UsageError when there was none."""
    journal = journal_path(state)
    if not journal.exists():
        raise UsageError(f"there is no journal of a run in {state}")
    lines = journal.read_bytes().splitlines()
    events = [msgspec.json.decode(line, type=Event) for line in lines]
    with reader(state) as ledger:
        return events, ledger.attempts(limit=1 << 30) if ledger is not None else ()


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("state", type=Path)
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args(argv)
    print(told(measured(*read(asked.state), asked.cores)))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except FarmError as error:
        sys.exit(str(error))

"""Walks a plan: ready steps → jobs → engine → outcomes.

The scheduler knows nothing of libsolv, the ledger or rpm. `settle` turns a ready step into a
decision, `finish` turns an attempt's outcome into what counts; both are handed in.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from farm.model import Built, Demand, Failed, Job, Outcome, Plan, Problem, Result, Skipped, Step
from farm.progress import Emit
from farm.rebuild.engines import Ended, Engine, Moved

# An emulated build against a native one, before anything was measured of it.
_EMULATED, _ASSISTED = 20.0, 3.0
_UNKNOWN_SECONDS = 30.0
_PATIENCE = 0.25  # seconds to wait for news at a time


@dataclass(frozen=True)
class Keep:
    """Nothing to build: this result stands, and why."""

    result: Result
    reason: str


@dataclass(frozen=True)
class Run:
    """Build this, and why; `directory` is the attempt's own.

    `going`: an attempt that an earlier coordinator began goes on; it is neither begun nor started.
    """

    job: Job
    directory: Path
    reason: str
    going: bool = False


@dataclass(frozen=True)
class Refuse:
    """It cannot even be tried."""

    failed: Failed


Decision = Keep | Run | Refuse
Settle = Callable[[Step, Mapping[str, Result]], Decision]
Finish = Callable[[Step, Job, Outcome], Result | Failed | Run]
Expect = Callable[[Step], Demand]
# Right before an attempt starts, with the cores that it is given (make -j).
Begin = Callable[[Step, Run, int], Run]
# After a mishap of the infrastructure: what to try next, if anything. How many attempts there have
# been, and the machine that the last one ran on.
Again = Callable[[Step, Job, Failed, int, str], Run | None]
Stays = Callable[[Step, Mapping[str, Result], Result], bool]


@dataclass(frozen=True)
class Joined:
    """What a walk goes on with from now on: the plan, with all that it had, and the ids of all
    steps that overtake the others."""

    plan: Plan
    urgent: frozenset[str] = frozenset()


Joining = Callable[[], Joined | None]


@dataclass(frozen=True)
class Ending:
    """How one step of the plan ended."""

    step: Step
    outcome: Outcome
    result: Result | None = None
    kept: bool = False
    reason: str = ""

    @property
    def may_show_more(self) -> bool:
        """Whether the layer is better known now than when the plan was made."""
        return self.unlocked or (self.result is not None and not self.kept)

    @property
    def unlocked(self) -> bool:
        """Whether it failed for want of something in its build root."""
        return isinstance(self.outcome, Failed) and self.outcome.phase == "lock"


def _as_it_is(_: Step, run: Run, cores: int) -> Run:
    return run


def _never_again(step: Step, job: Job, failed: Failed, tries: int, place: str) -> Run | None:
    return None


def _nobody() -> Joined | None:
    return None


class _Ready:
    """Which steps can start: those whose needs are over, the most urgent first."""

    def __init__(self, steps: Iterable[Step], urgency: Mapping[str, float]) -> None:
        self._order = sorted(steps, key=lambda step: (urgency[step.id], step.id), reverse=True)
        places = {step.id: place for place, step in enumerate(self._order)}
        self._following: dict[str, list[int]] = {}
        self._open: list[int] = []  # of each step, how many needs are not over
        self._heap: list[int] = []
        for place, step in enumerate(self._order):
            needs = {f"{need}@{step.chroot}" for need in step.awaited} & places.keys()
            self._open.append(len(needs))
            for need in needs:
                self._following.setdefault(need, []).append(place)
            if not needs:
                heapq.heappush(self._heap, place)

    def pop(self) -> Step | None:
        """The next one, None while there is none."""
        return self._order[heapq.heappop(self._heap)] if self._heap else None

    def over(self, step: Step) -> None:
        """A step has ended: others may be ready now."""
        for place in self._following.pop(step.id, ()):
            self._open[place] -= 1
            if not self._open[place]:
                heapq.heappush(self._heap, place)


@dataclass
class _Walk:
    plan: Plan
    waiting: dict[str, Step]
    ready: _Ready
    running: dict[str, tuple[Step, Job]] = field(default_factory=dict)
    endings: dict[str, Ending] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    stopping: bool = False


def estimate(learnt: float | None, *, emulated: bool, assisted: bool) -> float:
    """Expected seconds of a step: what its last build took, or a guess."""
    if learnt is not None:
        return learnt
    if not emulated:
        return _UNKNOWN_SECONDS
    return _UNKNOWN_SECONDS * (_ASSISTED if assisted else _EMULATED)


def remaining_paths(plan: Plan, seconds: Mapping[str, float]) -> dict[str, float]:
    """For each step, the length of the longest chain that starts with it, in seconds."""
    following: dict[str, list[str]] = {step.id: [] for step in plan.steps}
    for step in plan.steps:
        for need in step.awaited:
            following.setdefault(f"{need}@{step.chroot}", []).append(step.id)
    lengths: dict[str, float] = {}
    # needs are transitively closed, so a step's depth in reversed plan order is well-founded
    for step in reversed(plan.steps):
        after = max((lengths.get(name, 0.0) for name in following[step.id]), default=0.0)
        lengths[step.id] = seconds[step.id] + after
    return lengths


def walk(
    plan: Plan,
    engine: Engine,
    settle: Settle,
    finish: Finish,
    expect: Expect,
    emit: Emit,
    *,
    begin: Begin = _as_it_is,
    again: Again = _never_again,
    joining: Joining = _nobody,
    urgent: frozenset[str] = frozenset(),
    retries: int = 0,
    retry_seconds: float = 5.0,
    clock: Callable[[], float] = time.monotonic,
    fail_fast: bool = False,
    ended: Sequence[Ending] = (),
) -> tuple[Ending, ...]:
    """Run every step that can be run; the endings in the plan's order.

    `urgent` are ids of steps that overtake all others, with what they need. Steps in `ended` count
    as over already.

    On any exception, Ctrl-C included, the engine is stopped before it is passed on.
    """
    over = {ending.step.id: ending for ending in ended}
    waiting = {step.id: step for step in plan.steps if step.id not in over}
    seconds = {step.id: expect(step).seconds for step in plan.steps}
    ready = _Ready(waiting.values(), remaining_paths(plan, seconds))
    state = _Walk(plan, waiting, ready, endings=over)
    try:
        while state.waiting or state.running:
            started = _start_ready(state, engine, settle, begin, seconds, emit)
            if not state.running:
                if not started:
                    break
                continue
            for news in engine.poll(_PATIENCE):
                _hear(state, engine, news, finish, begin, seconds, emit)
            if fail_fast and any(isinstance(e.outcome, Failed) for e in state.endings.values()):
                state.stopping = True
    except BaseException:
        engine.stop()
        raise
    for step in tuple(state.waiting.values()):
        _end(state, Ending(step, Skipped("the run was stopped at the first failure")), emit)
    return tuple(state.endings[step.id] for step in plan.steps)


def replanned(
    before: Plan, now: Plan, endings: Sequence[Ending], stays: Stays
) -> tuple[Plan, tuple[Ending, ...]]:
    """A plan made anew after builds that showed what else is needed, and the endings that stay.

    To be walked again are new steps, those without a lock that turn out to need more, those
    whose result does not stay with what they need now, and whatever needs one of these. What is
    no longer planned keeps its ending.
    """
    ended = {ending.step.id: ending for ending in endings}
    again: set[str] = set()
    for step in now.steps:
        ending = ended.get(step.id)
        needs = {need: f"{need}@{step.chroot}" for need in step.awaited}
        if ending is None or not again.isdisjoint(needs.values()):
            again.add(step.id)
        elif ending.unlocked:
            if not needs.keys() <= set(ending.step.awaited):
                again.add(step.id)
        elif ending.result is not None and needs.keys() != set(ending.step.awaited):
            have = {n: r for n, id_ in needs.items() if (r := ended[id_].result) is not None}
            if not set(step.needs) <= have.keys() or not stays(step, have, ending.result):
                again.add(step.id)
    planned = {step.id for step in now.steps}
    steps = (*(step for step in before.steps if step.id not in planned), *now.steps)
    kept = (replace(ended[s.id], step=s) for s in steps if s.id in ended and s.id not in again)
    return Plan(steps, now.problems), tuple(kept)


def _start_ready(
    state: _Walk,
    engine: Engine,
    settle: Settle,
    begin: Begin,
    seconds: Mapping[str, float],
    emit: Emit,
) -> bool:
    """Settle ready steps, most urgent first, until the engine is full. True if any moved on."""
    moved = False
    while not state.stopping and len(state.running) < engine.capacity.slots:
        step = state.ready.pop()
        if step is None:
            break
        del state.waiting[step.id]
        moved = True
        unfit = _unfit(state, step)
        if unfit is not None:
            _end(state, Ending(step, unfit), emit)
            continue
        decision = settle(step, _results_for(state, step))
        if isinstance(decision, Keep):
            kept = Ending(step, decision.result.built, decision.result, True, decision.reason)
            _end(state, kept, emit)
        elif isinstance(decision, Refuse):
            _end(state, Ending(step, decision.failed), emit)
        else:
            _launch(state, engine, step, decision, begin, seconds, emit)
    return moved


def _launch(
    state: _Walk,
    engine: Engine,
    step: Step,
    run: Run,
    begin: Begin,
    seconds: Mapping[str, float],
    emit: Emit,
) -> None:
    if not run.going:
        run = begin(step, run, run.job.cpus)
    state.reasons[step.id] = run.reason
    state.running[run.job.attempt] = (step, run.job)
    emit("running", step.id, phase="start", text=run.reason, expected=seconds[step.id])
    if not run.going:
        engine.start(run.job, run.directory)


def _hear(
    state: _Walk,
    engine: Engine,
    news: Ended | Moved,
    finish: Finish,
    begin: Begin,
    seconds: Mapping[str, float],
    emit: Emit,
) -> None:
    if news.attempt not in state.running:
        return  # a second word about an attempt that is over
    if isinstance(news, Moved):
        step, _ = state.running[news.attempt]
        emit("running", step.id, phase=news.phase, expected=seconds[step.id])
        return
    step, job = state.running.pop(news.attempt)
    for text in news.notes:
        emit("warning", step.id, text=text)
    outcome = news.outcome or Failed(
        "infrastructure",
        "the worker ended without a word",
        tuple(news.detail.splitlines()),
        hint="Run the build again; `farm doctor` checks this machine.",
    )
    counted = finish(step, job, outcome)
    if isinstance(counted, Run):
        _launch(state, engine, step, counted, begin, seconds, emit)
    elif isinstance(counted, Failed):
        _end(state, Ending(step, counted, reason=state.reasons[step.id]), emit)
    else:
        _end(state, Ending(step, counted.built, counted, reason=state.reasons[step.id]), emit)


def _unfit(state: _Walk, step: Step) -> Failed | Skipped | None:
    if step.excluded:
        return Skipped(step.excluded)
    if step.problem is not None:
        return failed_plan(step.problem)
    for need in step.needs:
        ending = state.endings.get(f"{need}@{step.chroot}")
        if ending is not None and not isinstance(ending.outcome, Built):
            why = "failed" if isinstance(ending.outcome, Failed) else "was skipped"
            return Skipped(f"{need}, which it needs, {why}")
    return None


def failed_plan(problem: Problem) -> Failed:
    """A problem that was known before anything was tried."""
    facts = problem.facts or (problem.kind,)
    message = facts[0] if problem.subject in facts[0] else f"{problem.subject}: {facts[0]}"
    return Failed("package", message, facts[1:], phase="plan", hint=problem.remedy)


def _results_for(state: _Walk, step: Step) -> dict[str, Result]:
    results = {}
    for need in step.awaited:
        ending = state.endings.get(f"{need}@{step.chroot}")
        if ending is not None and ending.result is not None:
            results[need] = ending.result
    return results


def _end(state: _Walk, ending: Ending, emit: Emit) -> None:
    step = ending.step
    state.waiting.pop(step.id, None)
    state.endings[step.id] = ending
    state.ready.over(step)
    done = {"done": len(state.endings), "total": len(state.plan.steps)}
    outcome = ending.outcome
    if isinstance(outcome, Failed):
        text = outcome.message.partition("\n")[0]
        emit("failed", step.id, text=text, seconds=outcome.seconds, **done)
    elif isinstance(outcome, Skipped):
        emit("skipped", step.id, text=outcome.because, **done)
    else:
        verdict = "kept" if ending.kept else "built"
        emit(verdict, step.id, text=ending.reason, seconds=outcome.seconds, **done)

"""Walks a plan: ready steps → jobs → engine → outcomes.

The scheduler knows nothing of libsolv, the ledger or rpm. `settle` turns a ready step into a
decision, `finish` turns an attempt's outcome into what counts; these and all other effects are
handed in. docs/scheduling.md has the rules.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from farm.model import Built, Demand, Failed, Job, Plan, Skipped, Step
from farm.progress import Emit
from farm.rebuild.board import Board
from farm.rebuild.decisions import (
    Again,
    Begin,
    Decision,
    Ending,
    Expect,
    Finish,
    Joined,
    Joining,
    Keep,
    LeftOff,
    Mishap,
    Refuse,
    Run,
    Settle,
    as_it_is,
    failed_plan,
    never_again,
    nobody,
    nothing_new,
)
from farm.rebuild.engines import Ended, Engine, Moved
from farm.rebuild.lending import Scene, lent
from farm.rebuild.mishaps import Mishaps, more
from farm.rebuild.ranks import remaining_paths
from farm.rebuild.replan import replanned
from farm.rebuild.room import Room
from farm.rebuild.telling import Count, Teller, because_of

__all__ = [
    "Decision", "Ending", "Joined", "Keep", "LeftOff", "Mishap", "Refuse", "Run",
    "failed_plan", "remaining_paths", "replanned", "walk",
]  # fmt: skip

_PATIENCE = 0.25  # seconds to wait for news at a time
# With more steps left than that, the order is made anew only after one in so many of them.
_LARGE, _LESSONS = 50, 5


def walk(
    plan: Plan,
    engine: Engine,
    settle: Settle,
    finish: Finish,
    expect: Expect,
    emit: Emit,
    *,
    begin: Begin = as_it_is,
    again: Again = never_again,
    joining: Joining = nobody,
    learn: Callable[[], None] = nothing_new,
    urgent: frozenset[str] = frozenset(),
    going: frozenset[str] = frozenset(),
    retries: int = 0,
    retry_seconds: float = 5.0,
    mishaps: Sequence[Mishap] = (),
    clock: Callable[[], float] = time.monotonic,
    patience: float = _PATIENCE,
    fail_fast: bool = False,
    ended: Sequence[Ending] = (),
) -> tuple[Ending, ...]:
    """Run every step that can be run; the endings in the plan's order.

    `urgent` are ids of steps that overtake all others, with what they need; `going` those of which
    an attempt goes on from before, they are settled whether there is room or not. Steps in `ended`
    count as over already. With `fail_fast` nothing is started after the first failure that counts;
    what runs is let end. The engine is asked for news every `patience` seconds at least. `learn` is
    called now and then after builds, and those that wait are expected anew.

    On any exception, Ctrl-C included, the engine is stopped before it is passed on; not on
    LeftOff, with which `joining` ends the walk alone. It comes out with the `mishaps` that the
    next walk is to be given, so that nothing is tried more often or sooner because of it.
    """
    effects = _Effects(settle, finish, expect, begin, again, learn)
    endings = {ending.step.id: ending for ending in ended}
    open_ = {step.id for step in plan.steps} - endings.keys()
    before = [mishap for mishap in mishaps if mishap.step.id in open_]
    state = _Walk(
        engine, effects, Teller(emit), clock, Mishaps(retries, retry_seconds, before), fail_fast,
        going=going, endings=endings,
    )  # fmt: skip
    try:
        state.enter(plan, urgent)
        while True:
            joined = joining(state.endings)
            if joined is not None:
                state.enter(joined.plan, joined.urgent)
            busy = state.advance()
            if not busy and not state.running and not state.mishaps.waiting:
                break
            if state.running or not busy:
                for news in engine.poll(0 if busy else state.mishaps.pause(patience, clock())):
                    state.hear(news)
                state.learn()
    except LeftOff:
        raise LeftOff(state.mishaps.left) from None
    except BaseException:
        engine.stop()
        raise
    return state.conclude()


@dataclass(frozen=True)
class _Effects:
    settle: Settle
    finish: Finish
    expect: Expect
    begin: Begin
    again: Again
    learn: Callable[[], None]


@dataclass(frozen=True)
class _Running:
    step: Step
    run: Run
    cores: int  # that it was given, lent ones included
    lent: int


@dataclass
class _Walk:
    engine: Engine
    effects: _Effects
    teller: Teller
    clock: Callable[[], float]
    mishaps: Mishaps
    fail_fast: bool
    going: frozenset[str]
    endings: dict[str, Ending]  # by step
    demands: dict[str, Demand] = field(default_factory=dict)  # by step
    settled: dict[str, Run] = field(default_factory=dict)  # by step: ready, and not begun
    running: dict[str, _Running] = field(default_factory=dict)  # by attempt
    at_work: set[str] = field(default_factory=set)  # steps of which an attempt runs
    reasons: dict[str, str] = field(default_factory=dict)  # by step
    known: set[str] = field(default_factory=set)  # attempts that run or did
    early: dict[str, Ended] = field(default_factory=dict)  # of attempts not known yet
    work: float = 0.0  # core-seconds of all that has not ended
    built: int = 0  # since something was learnt from it
    urgent: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.room = Room(self.engine.capacity)
        self.board = Board(Plan(()), {}, self.engine.capacity, (), ())
        failures = (e.step.name for e in self.endings.values() if isinstance(e.outcome, Failed))
        self.failure = next(failures, "")  # the first one

    @property
    def stopping(self) -> bool:
        return self.fail_fast and bool(self.failure)

    @property
    def count(self) -> Count:
        return Count(len(self.endings), len(self.board.steps))

    def enter(self, plan: Plan, urgent: frozenset[str]) -> None:
        """Go on with this plan, whatever was done of the one before."""
        before = self.board.steps
        there = {step.id: step for step in plan.steps}
        steps = (*(step for name, step in before.items() if name not in there), *plan.steps)
        for name in [name for name, step in there.items() if before.get(name, step) != step]:
            self.settled.pop(name, None)  # it needs something else now
        new = [step for step in steps if step.id not in before]
        for step in new:
            self.demands[step.id] = self.mishaps.demand(step, self.effects.expect(step))
        self.urgent = urgent
        whole = Plan(steps, plan.problems)
        self.board = Board(whole, self.demands, self.engine.capacity, urgent, self.endings)
        new = [step for step in new if step.id not in self.endings]
        self.work += sum(_work(self.demands[step.id]) for step in new)
        self._hurry()
        for step in new:
            self._tell_queued(step)
        for name in self.board.ready:
            self._ready(name)
        for ending in [e for e in self.endings.values() if e.step.id in self.board]:
            for skipped in self._skipped_by(ending):
                self._end(skipped)
        for step in new:
            if step.id in self.endings:
                continue
            if step.excluded:
                self._end(Ending(step, Skipped(step.excluded), cause=step.id))
            elif step.problem is not None:
                self._end(Ending(step, failed_plan(step.problem), cause=step.id))

    def _hurry(self) -> None:
        """Tell an engine with a queue of its own, where they may still be waiting, which of its
        attempts are urgent."""
        for attempt in self.running.values() if self.engine.capacity.queues else ():
            rank = self.board.ranks[attempt.step.id]
            if rank.urgent:
                self.engine.start(attempt.run.job, attempt.run.directory, rank.number)

    def advance(self) -> bool:
        """Do the next thing that can be done without waiting, if there is one: settle one step or
        start one attempt. At most one step is settled, so that news are heard in between."""
        if self.stopping:
            for mishap in self.mishaps.waiting:
                self._fail(self.board.steps[mishap.step.id], mishap.failed)
            return False
        now = self.clock()
        for due, run in self.mishaps.due(now, self.board.steps):
            self._resume(due, run)
        queue = self.board.queue
        unclaimed = (each for each in self.going if each in queue and each not in self.settled)
        name = next(unclaimed, None) or queue.choice(self.room, now) or self._ahead()
        if name is None:
            return False
        if name in self.settled:
            self._launch(name)
        else:
            self._settle(self.board.steps[name])
        return True

    def hear(self, news: Ended | Moved) -> None:
        """An attempt moved on or is over. A second word about one that is over is ignored."""
        attempt = self.running.get(news.attempt)
        if attempt is None:
            if isinstance(news, Ended) and news.attempt not in self.known:
                self.early[news.attempt] = news
            return
        step, job = attempt.step, attempt.run.job
        if isinstance(news, Moved):
            self._tell_running(attempt, news.phase, place=news.place)
            return
        del self.running[news.attempt]
        self.at_work.remove(step.id)
        self.room.give(news.attempt)
        for text in news.notes:
            self.teller.emit("warning", step.id, text=text)
        outcome = news.outcome or Failed(
            "infrastructure",
            "the worker ended without a word",
            tuple(news.detail.splitlines()),
            hint="Run the build again; `farm doctor` checks this machine.",
        )
        counted = self.effects.finish(step, job, outcome)
        said = {"attempt": job.attempt, "place": news.place}
        if isinstance(counted, Run):
            self._resume(step.id, counted)
        elif isinstance(counted, Failed):
            if not self._retry(step, counted, job, news.place):
                self._fail(step, counted, **said)
        else:
            self.built += 1
            reason = self.reasons[step.id]
            self._end(Ending(step, counted.built, counted, reason=reason), **said)

    def learn(self) -> None:
        """After builds, in a large plan after many, make the order by what they have taught."""
        left = len(self.board.steps) - len(self.endings)
        if not self.built or self.built < (left // _LESSONS if left > _LARGE else 1):
            return
        self.built = 0
        self.effects.learn()
        news = {}
        for name, step in self.board.steps.items():
            before = self.demands[name]
            if name in self.endings or name in self.at_work or name in self.mishaps:
                continue
            now = self.effects.expect(step)
            if now != before:
                news[name] = now
                self.work += _work(now) - _work(before)
        if news:
            self.demands |= news
            self.board = self.board.revised(self.demands, self.urgent, self.endings)
            for name in self.board.ready:
                self._ready(name)

    def conclude(self) -> tuple[Ending, ...]:
        """The endings, with one for each step that was not even tried."""
        for step in self.board.steps.values():
            if step.id not in self.endings:
                because = (
                    f"the run was stopped at the first failure, of {self.failure}"
                    if self.stopping
                    else "what it needs waits for it: there is a cycle in the plan"
                )
                self._record(Ending(step, Skipped(because)))
        return tuple(self.endings[name] for name in self.board.names)

    def _ready(self, name: str) -> None:
        elsewhere = name in self.at_work or name in self.endings or self.mishaps.waits(name)
        if not elsewhere and self.board.is_ready(name):
            self.board.queue.add(name, settled=name in self.settled)

    def _resume(self, name: str, run: Run | None) -> None:
        if run is not None:
            self.settled[name] = run
        self._ready(name)

    def _ahead(self) -> str | None:
        """A step to settle while there is no room: of those that will start next, as many as the
        engine has slots, one that is not settled."""
        queue = self.board.queue
        name = queue.next_unsettled(self.settled)
        if name is None:
            return None
        place = queue.place(name)
        before = sum(queue.place(other) < place for other in self.settled)
        return name if before < self.engine.capacity.slots else None

    def _settle(self, step: Step) -> None:
        results = {}
        for need in self.board.awaited(step.id):
            result = self.endings[need.id].result
            if result is not None:
                results[need.name] = result
        decision = self.effects.settle(step, results)
        if isinstance(decision, Keep):
            kept = Ending(step, decision.result.built, decision.result, True, decision.reason)
            self._end(kept)
        elif isinstance(decision, Refuse):
            self._refused(step, decision.failed)
        elif (run := self.mishaps.taken_up(step.id, decision)).going:
            attempt = self._hold(step, run, max(run.job.cpus, 1))
            self._tell_running(attempt, "goes on", text=run.reason)
            over = self.early.pop(run.job.attempt, None)
            if over is not None:
                self.hear(over)
        else:
            self.settled[step.id] = run

    def _launch(self, name: str) -> None:
        step, need = self.board.steps[name], self.board.needs[name]
        more = lent(need, self._scene(name))
        cores = max(self.demands[name].cores, self.engine.capacity.share) + more
        run = self.settled.pop(name)
        # more may have been learnt since it was settled
        job = msgspec.structs.replace(run.job, demand=self.demands[name])
        begun = self.effects.begin(step, replace(run, job=job), cores)
        if isinstance(begun, Refuse):
            self._refused(step, begun.failed)
            return
        attempt = self._hold(step, begun, cores, more)
        self._tell_running(attempt, "start", text=begun.reason)
        try:
            self.engine.start(begun.job, begun.directory, self.board.ranks[name].number)
        except OSError as error:  # no space, no process: a mishap of this attempt alone
            what = f"the attempt could not be started: {error}"
            self.hear(Ended(begun.job.attempt, Failed("infrastructure", what)))

    def _refused(self, step: Step, failed: Failed) -> None:
        """It cannot be tried, now at least."""
        self.board.queue.remove(step.id)
        if not self._retry(step, failed):
            self._fail(step, failed)

    def _hold(self, step: Step, run: Run, cores: int, more: int = 0) -> _Running:
        self.board.queue.remove(step.id)
        attempt = _Running(step, run, cores, more)
        self.running[run.job.attempt] = attempt
        self.at_work.add(step.id)
        self.known.add(run.job.attempt)
        self.reasons[step.id] = run.reason
        self.room.take(run.job.attempt, self.board.needs[step.id], self.clock())
        return attempt

    def _scene(self, name: str) -> Scene:
        board, free = self.board, self.room.free()
        rivals: list[int] = []
        if len(board.queue) <= free.cores:
            rivals = [int(board.needs[other].cores) for other in board.queue if other != name]
        else:
            rivals = [int(free.cores)]
        # its own chain cannot be done beside it
        chain = board.ranks[name].path - board.needs[name].seconds
        other = self.work - _work(self.demands[name]) - chain
        out = sum(attempt.lent for attempt in self.running.values())
        return Scene(self.engine.capacity.cores, free, rivals, other, out)

    def _retry(self, step: Step, failed: Failed, job: Job | None = None, place: str = "") -> bool:
        """Whether a step that met with a mishap is tried again, after a while."""
        if self.stopping or not self.mishaps.may_go_on(step, failed):
            return False
        tries = self.mishaps.tries(step.id) + 1
        run = self.effects.again(step, job, failed, tries, place) if job is not None else None
        if job is not None and run is None:
            return False
        if run is not None:
            self._demand_more(step, run.job.demand)
        wait = self.mishaps.wait(step, failed, run, self.clock())
        self.teller.retry(step, failed, wait, self.demands[step.id].seconds)
        return True

    def _demand_more(self, step: Step, demand: Demand) -> None:
        """A new attempt may need more than the last one, which met with a mishap, was given."""
        known = self.demands[step.id]
        wanted = self.demands[step.id] = more(known, demand)
        self.work += _work(wanted) - _work(known)
        self.board.demand(step.id, wanted)

    def _fail(self, step: Step, failed: Failed, **said: str) -> None:
        reason = self.reasons.get(step.id, "")
        self._end(Ending(step, failed, reason=reason, cause=step.id), **said)

    def _end(self, ending: Ending, **said: str) -> None:
        """A step is over: what waited for it may be ready now, or is over as well."""
        left = deque([ending])
        while left:
            ending = left.popleft()
            if ending.step.id not in self.endings:
                self._record(ending, **said)
                said = {}
                for ready in self.board.over(ending.step.id):
                    self._ready(ready)
                left.extend(self._skipped_by(ending))

    def _record(self, ending: Ending, **said: str) -> None:
        name = ending.step.id
        self.endings[name] = ending
        self.work -= _work(self.demands[name])
        self.settled.pop(name, None)
        self.mishaps.over(name)
        self.board.queue.remove(name)
        if isinstance(ending.outcome, Failed) and not self.failure:
            self.failure = ending.step.name
        self.teller.over(ending, self.count, **said)

    def _skipped_by(self, ending: Ending) -> Iterator[Ending]:
        """The endings of steps that need one without a result. They say because of whom."""
        if isinstance(ending.outcome, Built):
            return
        cause = self.endings.get(ending.cause or ending.step.id, ending)
        for step in self.board.following(ending.step.id):
            if step.id not in self.endings and ending.step.name in step.needs:
                skipped = Skipped(because_of(step, ending, cause))
                yield Ending(step, skipped, cause=cause.step.id)

    def _tell_queued(self, step: Step) -> None:
        demand, hurried = self.demands[step.id], self.board.ranks[step.id].urgent
        awaited = tuple(need.id for need in self.board.awaited(step.id))
        self.teller.queued(step, awaited, demand, hurried, self.count)
        wait = self.mishaps.wait_of(step.id, self.clock())
        if wait > 0:
            self.teller.waiting(step, wait, demand.seconds)

    def _tell_running(
        self, attempt: _Running, phase: str, *, text: str = "", place: str = ""
    ) -> None:
        name = attempt.step.id
        expected, hurried = self.demands[name].seconds, self.board.ranks[name].urgent
        self.teller.running(
            attempt.run.job, phase, expected, attempt.cores, hurried, text=text, place=place
        )


def _work(demand: Demand) -> float:
    return max(demand.cores, 1) * demand.seconds

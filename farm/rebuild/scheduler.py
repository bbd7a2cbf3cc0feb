"""Walks a plan: ready steps → jobs → engine → outcomes.

The scheduler knows nothing of libsolv, the ledger or rpm. `settle` turns a ready step into a
decision, `finish` turns an attempt's outcome into what counts; these and all other effects are
handed in. docs/scheduling.md has the rules.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from farm.model import Built, Failed, Job, Plan, Result, Skipped, Step
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
from farm.rebuild.lending import lent, scene
from farm.rebuild.mishaps import Mishaps
from farm.rebuild.outlook import Outlook
from farm.rebuild.ranks import remaining_paths
from farm.rebuild.replan import replanned
from farm.rebuild.telling import Count, Teller, because_of
from farm.rebuild.underway import Running, Underway

__all__ = [
    "Decision", "Ending", "Joined", "Keep", "LeftOff", "Mishap", "Refuse", "Run",
    "failed_plan", "remaining_paths", "replanned", "walk",
]  # fmt: skip

_PATIENCE = 0.25  # seconds to wait for news at a time


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
    unclaimed: Sequence[Ended] = (),
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
    LeftOff, with which `joining` ends the walk alone. It comes out with the `mishaps` and
    `unclaimed` ends that the next walk is to be given, so that nothing is tried more often or
    sooner because of it, and no end is waited for that was told already.
    """
    endings = {ending.step.id: ending for ending in ended}
    open_ = {step.id for step in plan.steps} - endings.keys()
    before = [mishap for mishap in mishaps if mishap.step.id in open_]
    state = _Walk(
        engine, _Effects(settle, finish, begin, again), Teller(emit), clock, fail_fast, going,
        endings, Mishaps(retries, retry_seconds, before, going), Outlook(expect, learn),
        Underway(engine.capacity, unclaimed),
    )  # fmt: skip
    try:
        state.enter(plan, urgent)
        while True:
            joined = joining(state.endings)
            if joined is not None:
                state.enter(joined.plan, joined.urgent)
            busy = state.advance()
            if not busy and not state.underway and not state.mishaps.waiting:
                break
            if state.underway or not busy:
                for news in engine.poll(0 if busy else state.mishaps.pause(patience, clock())):
                    state.hear(news)
                state.learn()
    except LeftOff:
        raise LeftOff(state.mishaps.left, state.underway.unclaimed) from None
    except BaseException:
        engine.stop()
        raise
    return state.conclude()


@dataclass(frozen=True)
class _Effects:
    settle: Settle
    finish: Finish
    begin: Begin
    again: Again


@dataclass
class _Walk:
    engine: Engine
    effects: _Effects
    teller: Teller
    clock: Callable[[], float]
    fail_fast: bool
    going: frozenset[str]
    endings: dict[str, Ending]  # by step
    mishaps: Mishaps
    outlook: Outlook
    underway: Underway
    settled: dict[str, Run] = field(default_factory=dict)  # by step: ready, and not begun
    reasons: dict[str, str] = field(default_factory=dict)  # by step
    urgent: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
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
            self.outlook.enter(step, self.mishaps.wanted(step.id), over=step.id in self.endings)
        self.urgent = urgent
        whole, demands = Plan(steps, plan.problems), self.outlook.demands
        self.board = Board(whole, demands, self.engine.capacity, urgent, self.endings)
        new = [step for step in new if step.id not in self.endings]
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
        for attempt in self.underway if self.engine.capacity.queues else ():
            rank = self.board.ranks[attempt.step.id]
            if rank.urgent:
                self.engine.start(attempt.run.job, attempt.run.directory, rank.number)

    def advance(self) -> bool:
        """Do the next thing that can be done without waiting, if there is one: settle one step or
        start one attempt. At most one step is settled, so that news are heard in between."""
        queue, now = self.board.queue, self.clock()
        unclaimed = (each for each in self.going if each in queue and each not in self.settled)
        name = next(unclaimed, None)
        if name is None and self.stopping:
            for mishap in self.mishaps.waiting:
                self._fail(self.board.steps[mishap.step.id], mishap.failed)
            return False
        if name is None:
            for due, run in self.mishaps.due(now, self.board.steps):
                self._resume(due, run)
            name = queue.choice(self.underway.room, now) or self._ahead()
        if name is None:
            return False
        if name in self.settled:
            self._launch(name)
        else:
            self._settle(self.board.steps[name])
        return True

    def hear(self, news: Ended | Moved) -> None:
        """An attempt moved on or is over. A second word about one that is over is ignored."""
        attempt = self.underway.meant(news)
        if attempt is None:
            return
        if isinstance(news, Moved):
            self._tell_running(attempt, news.phase, place=news.place)
            return
        step, job = attempt.step, attempt.run.job
        for text in news.notes:
            self.teller.emit("warning", step.id, text=text)
        counted = self.effects.finish(step, job, news.came_to("the build"))
        said = {"attempt": job.attempt, "place": news.place}
        if isinstance(counted, Run):
            same = step == self.board.steps[step.id]  # it may need something else by now
            self._resume(step.id, counted if same else None)
        elif isinstance(counted, Failed):
            if not self._retry(step, counted, job, news.place):
                self._fail(step, counted, **said)
        else:
            self.outlook.built()
            reason = self.reasons[step.id]
            self._end(Ending(step, counted.built, counted, reason=reason), **said)

    def learn(self) -> None:
        """Make the order by what builds have taught, now and then."""
        if not self.outlook.learnt(len(self.board.steps) - len(self.endings)):
            return
        waiting = (
            step
            for name, step in self.board.steps.items()
            if not (name in self.endings or name in self.underway or name in self.mishaps)
        )
        if self.outlook.revise(waiting):
            self.board = self.board.revised(self.outlook.demands, self.urgent, self.endings)
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
        elsewhere = name in self.underway or name in self.endings or self.mishaps.waits(name)
        if not elsewhere and self.board.is_ready(name):
            self.board.queue.add(name, settled=name in self.settled)

    def _resume(self, name: str, run: Run | None) -> None:
        """A step that was tried goes on with this attempt, or is settled again; unless it came to
        need one meanwhile that has no result."""
        step = self.board.steps[name]
        needs = [self.endings[n.id] for n in self.board.awaited(name) if n.id in self.endings]
        skipped = next(filter(None, (self._skipped(step, need) for need in needs)), None)
        if skipped is not None:
            self._end(skipped)
            return
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
        decision = self.effects.settle(step, self._results_for(step))
        if isinstance(decision, Keep):
            kept = Ending(step, decision.result.built, decision.result, True, decision.reason)
            self._end(kept)
        elif isinstance(decision, Refuse):
            self._refused(step, decision.failed)
        elif (run := self.mishaps.taken_up(step.id, decision)).going:
            over = self._hold("goes on", Running(step, run, max(run.job.cpus, 1)))
            if over is not None:
                self.hear(over)
        else:
            self.settled[step.id] = run

    def _results_for(self, step: Step) -> Mapping[str, Result]:
        """Those that what a step waited for has come to, by the names that it has for them."""
        ended = {need.name: self.endings[need.id].result for need in self.board.awaited(step.id)}
        return {name: result for name, result in ended.items() if result is not None}

    def _launch(self, name: str) -> None:
        step, need = self.board.steps[name], self.board.needs[name]
        capacity, demand = self.engine.capacity, self.outlook.demands[name]
        more = lent(need, scene(name, capacity.cores, self.board, self.underway, self.outlook))
        cores = max(demand.cores, capacity.share) + more
        run = self.settled.pop(name)
        # more may have been learnt since it was settled
        job = msgspec.structs.replace(run.job, demand=demand)
        begun = self.effects.begin(step, replace(run, job=job), cores)
        if isinstance(begun, Refuse):
            self._refused(step, begun.failed, run)
            return
        self._hold("start", Running(step, begun, cores, more))
        try:
            self.engine.start(begun.job, begun.directory, self.board.ranks[name].number)
        except OSError as error:  # no space, no process: a mishap of this attempt alone
            what = f"the attempt could not be started: {error}"
            self.hear(Ended(begun.job.attempt, Failed("infrastructure", what)))

    def _refused(self, step: Step, failed: Failed, run: Run | None = None) -> None:
        """It cannot be tried now, though this attempt may have been meant: it is settled again."""
        self.board.queue.remove(step.id)
        if self._may_go_on(step, failed):
            self._wait(step, failed, run, anew=True)
        else:
            self._fail(step, failed)

    def _hold(self, phase: str, attempt: Running) -> Ended | None:
        """An attempt begins or goes on; its end, if that was told already."""
        name = attempt.step.id
        self.board.queue.remove(name)
        self.reasons[name] = attempt.run.reason
        over = self.underway.add(attempt, self.board.needs[name], self.clock())
        self._tell_running(attempt, phase, text=attempt.run.reason)
        return over

    def _may_go_on(self, step: Step, failed: Failed) -> bool:
        return not self.stopping and self.mishaps.may_go_on(step, failed)

    def _retry(self, step: Step, failed: Failed, job: Job, place: str) -> bool:
        """Whether a step whose attempt met with a mishap is tried again, after a while."""
        if not self._may_go_on(step, failed):
            return False
        tries = self.mishaps.tries(step.id) + 1
        run = self.effects.again(step, job, failed, tries, place)
        if run is None:
            return False
        # it may need more than the last one was given
        self.board.demand(step.id, self.outlook.raise_to(step.id, run.job.demand))
        self._wait(step, failed, run)
        return True

    def _wait(self, step: Step, failed: Failed, run: Run | None, *, anew: bool = False) -> None:
        seconds = self.mishaps.wait(step, failed, run, self.clock(), anew=anew)
        self.teller.retry(step, failed, seconds, self.outlook.demands[step.id].seconds)

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
        self.outlook.over(name)
        self.settled.pop(name, None)
        self.mishaps.over(name)
        self.board.queue.remove(name)
        if isinstance(ending.outcome, Failed) and not self.failure:
            self.failure = ending.step.name
        self.teller.over(ending, self.count, **said)

    def _skipped_by(self, ending: Ending) -> Iterator[Ending]:
        """The endings of steps that need one without a result. What runs is let end."""
        for step in self.board.following(ending.step.id):
            if step.id not in self.endings and step.id not in self.underway:
                skipped = self._skipped(step, ending)
                if skipped is not None:
                    yield skipped

    def _skipped(self, step: Step, need: Ending) -> Ending | None:
        """The ending of a step if it needs one without a result. It says because of whom."""
        if isinstance(need.outcome, Built) or need.step.name not in step.needs:
            return None
        cause = self.endings.get(need.cause or need.step.id, need)
        return Ending(step, Skipped(because_of(step, need, cause)), cause=cause.step.id)

    def _tell_queued(self, step: Step) -> None:
        demand, hurried = self.outlook.demands[step.id], self.board.ranks[step.id].urgent
        awaited = tuple(need.id for need in self.board.awaited(step.id))
        self.teller.queued(step, awaited, demand, hurried, self.count)
        wait = self.mishaps.wait_of(step.id, self.clock())
        if wait > 0:
            self.teller.waiting(step, wait, demand.seconds)

    def _tell_running(
        self, attempt: Running, phase: str, *, text: str = "", place: str = ""
    ) -> None:
        name = attempt.step.id
        expected, hurried = self.outlook.demands[name].seconds, self.board.ranks[name].urgent
        self.teller.running(
            attempt.run.job, phase, expected, attempt.cores, hurried, text=text, place=place
        )

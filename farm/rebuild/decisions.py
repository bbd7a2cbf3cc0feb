"""What a walk is told and what it tells: decisions on steps, how steps ended, who joins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from farm.model import Demand, Failed, Job, Outcome, Plan, Problem, Result, Step
from farm.rebuild.engines import Ended


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


@dataclass(frozen=True)
class Joined:
    """What a walk goes on with from now on: the plan, with all that it had, and the ids of all
    steps that overtake the others."""

    plan: Plan
    urgent: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Ending:
    """How one step of the plan ended. Of a skipped one, `cause` is the step at the root of it."""

    step: Step
    outcome: Outcome
    result: Result | None = None
    kept: bool = False
    reason: str = ""
    cause: str = ""

    @property
    def may_show_more(self) -> bool:
        """Whether the layer is better known now than when the plan was made."""
        return self.unlocked or (self.result is not None and not self.kept)

    @property
    def unlocked(self) -> bool:
        """Whether it failed for want of something in its build root."""
        return isinstance(self.outcome, Failed) and self.outcome.phase == "lock"


@dataclass(frozen=True)
class Mishap:
    """What a step met with that has not ended: its attempts so far, the last one's failure, and
    when the next one is due by the walk's clock. `run` is that one, waiting or at work; None
    while there is none, since it could not even be prepared."""

    step: Step
    tries: int
    failed: Failed
    due: float
    run: Run | None


class LeftOff(Exception):
    """Raised by `joining`: the walk ends here, and what runs goes on without it, for a walk of a
    plan made anew to take over, with the `mishaps` and the ends of attempts that nobody has taken
    up (`unclaimed`), which the walk adds: an engine tells of each end once."""

    def __init__(self, mishaps: tuple[Mishap, ...] = (), unclaimed: tuple[Ended, ...] = ()) -> None:
        super().__init__()
        self.mishaps, self.unclaimed = mishaps, unclaimed


Decision = Keep | Run | Refuse
Settle = Callable[[Step, Mapping[str, Result]], Decision]
Finish = Callable[[Step, Job, Outcome], Result | Failed | Run]
Expect = Callable[[Step], Demand]
# Right before an attempt starts, with the cores that it is given (make -j).
Begin = Callable[[Step, Run, int], Run | Refuse]
# After a mishap of the infrastructure: what to try next, if anything. How many attempts there have
# been, and the machine that the last one ran on.
Again = Callable[[Step, Job, Failed, int, str], Run | None]
# Who joins, asked again and again with the endings there are, by step: it must be cheap.
Joining = Callable[[Mapping[str, Ending]], Joined | None]
Stays = Callable[[Step, Mapping[str, Result], Result], bool]


def as_it_is(_: Step, run: Run, cores: int) -> Run:
    """A beginning without a record of it."""
    return run


def never_again(step: Step, job: Job, failed: Failed, tries: int, place: str) -> Run | None:
    """No attempt after the first."""
    return None


def nobody(endings: Mapping[str, Ending]) -> Joined | None:
    """Nobody joins."""
    return None


def nothing_new() -> None:
    """Nothing is learnt while a walk goes on."""


def failed_plan(problem: Problem) -> Failed:
    """A problem that was known before anything was tried."""
    facts = problem.facts or (problem.kind,)
    message = facts[0] if problem.subject in facts[0] else f"{problem.subject}: {facts[0]}"
    return Failed("package", message, facts[1:], phase="plan", hint=problem.remedy)

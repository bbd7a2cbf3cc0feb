"""What a walk tells of its steps, as events."""

from __future__ import annotations

from dataclasses import dataclass

from farm.model import Demand, Failed, Job, Skipped, Step
from farm.progress import Emit
from farm.rebuild.decisions import Ending


@dataclass(frozen=True)
class Count:
    """How many steps of how many are over."""

    done: int
    total: int


@dataclass(frozen=True)
class Teller:
    """Puts what happens to a step into an event."""

    emit: Emit

    def queued(
        self, step: Step, needs: tuple[str, ...], demand: Demand, urgent: bool, count: Count
    ) -> None:
        """The step is part of the walk now."""
        self.emit(
            "queued", step.id, needs=needs, expected=demand.seconds, cores=demand.cores,
            urgent=urgent, done=count.done, total=count.total,
        )  # fmt: skip

    def running(
        self, job: Job, phase: str, expected: float, cores: int, urgent: bool,
        *, text: str = "", place: str = "",
    ) -> None:  # fmt: skip
        """An attempt begins, or has come to a phase."""
        self.emit(
            "running", job.step, phase=phase, text=text, expected=expected, attempt=job.attempt,
            place=place, cores=cores, urgent=urgent,
        )  # fmt: skip

    def retry(self, step: Step, failed: Failed, seconds: float, expected: float) -> None:
        """The step met with a mishap and is tried again after so many seconds."""
        what = failed.message.partition("\n")[0]
        self.emit("warning", step.id, text=f"{step.id}: {what}; tried again in {seconds:.0f} s")
        self.waiting(step, seconds, expected)

    def waiting(self, step: Step, seconds: float, expected: float) -> None:
        """The step is tried again after so many seconds."""
        self.emit("running", step.id, phase=f"retry in {seconds:.0f} s", expected=expected)

    def over(self, ending: Ending, count: Count, **said: str) -> None:
        """The step has ended; `said` is what is known of its attempt."""
        name, outcome = ending.step.id, ending.outcome
        done = {"done": count.done, "total": count.total}
        if isinstance(outcome, Failed):
            text = outcome.message.partition("\n")[0]
            more = {"seconds": outcome.seconds, "kind": outcome.kind}
            self.emit("failed", name, text=text, **more, **said, **done)
        elif isinstance(outcome, Skipped):
            self.emit("skipped", name, text=outcome.because, **done)
        else:
            verdict = "kept" if ending.kept else "built"
            self.emit(verdict, name, text=ending.reason, seconds=outcome.seconds, **said, **done)


def because_of(step: Step, need: Ending, cause: Ending) -> str:
    """Why a step is skipped that needs one without a result: of whom, at the root of it."""
    what = "failed"
    if isinstance(cause.outcome, Skipped):
        what = f"is left out: {cause.step.excluded or cause.outcome.because}"
    if need is not cause and cause.step.name not in step.needs:
        return f"{need.step.name}, which it needs, was skipped because {cause.step.name} {what}"
    return f"{cause.step.name}, which it needs, {what}"

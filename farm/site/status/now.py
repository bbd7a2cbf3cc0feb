"""`status/now.json`: what goes on this moment, small enough to be asked for every other second.

A `Run` hears the events of a run and is asked for what a page should show.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec
from msgspec.structs import replace

from farm.model import Noun
from farm.progress import Event
from farm.steps import chroot_of, recipe_of

FORMAT = 1
_MOST = 12  # endings, and waiting steps, that are named
_LONGEST = 300  # characters of a text

Ending = Literal["built", "kept", "failed", "skipped"]
_ENDINGS = ("built", "kept", "failed", "skipped")


class Counts(Noun, frozen=True):
    """Steps of this run in one chroot."""

    queued: int = 0
    running: int = 0
    built: int = 0
    kept: int = 0
    failed: int = 0
    skipped: int = 0


class Running(Noun, frozen=True):
    """An attempt that runs: since when, in which phase since when, of how many seconds in all."""

    step: str
    package: str
    chroot: str
    attempt: str = ""
    phase: str = ""
    since: float = 0.0
    started: float = 0.0
    expected: float = 0.0
    place: str = ""
    cores: int = 0
    urgent: bool = False
    log: bool = False  # whether there is one to follow


class Ended(Noun, frozen=True):
    """A step that has ended lately."""

    step: str
    package: str
    chroot: str
    state: Ending
    at: float
    seconds: float = 0.0
    text: str = ""
    kind: str = ""


class Now(Noun, frozen=True):
    """The file. `at` is when it was written; while a run goes on it is written again within
    `every` seconds (0: nothing goes on, it stays). `revision` changes with the pages."""

    format: int
    at: float
    every: float
    revision: str
    verb: str = ""
    release: str = ""
    begun: float = 0.0
    ended: float = 0.0
    outcome: Literal["", "done", "error", "interrupted"] = ""
    left: float = 0.0  # seconds that the rest will take at least, as far as is known
    counts: Mapping[str, Counts] = {}
    running: tuple[Running, ...] = ()
    waiting: tuple[str, ...] = ()  # the first steps in the queue
    recent: tuple[Ended, ...] = ()  # newest first
    note: str = ""


@dataclass
class _Step:
    """`job` is what is shown of it while it runs, as far as that is known."""

    job: Running
    state: str
    at: float
    needs: tuple[str, ...] = ()
    text: str = ""
    kind: str = ""
    planned: bool = False  # whether a plan said what it needs


class Run:
    """One run as its events tell it. Cheap to tell: the scheduler waits for it."""

    def __init__(self) -> None:
        self.steps: dict[str, _Step] = {}
        self.verb = self.release = self.note = ""
        self.begun = self.ended = 0.0
        self.outcome: Literal["", "done", "error", "interrupted"] = ""
        self._most_at_once = 1
        self._running: dict[str, None] = {}
        self._recent: list[Ended] = []

    @property
    def running(self) -> tuple[str, ...]:
        """Steps that run, longest first."""
        return tuple(self._running)

    @property
    def looking(self) -> bool:
        """Whether nothing has happened yet but that steps were queued, and some kept."""
        return all(step.state in ("queued", "kept") for step in self.steps.values())

    def copied(self) -> Run:
        """The same, that hears nothing more."""
        other = copy.copy(self)
        other.steps = {name: copy.copy(step) for name, step in self.steps.items()}
        other._running, other._recent = dict(self._running), list(self._recent)
        return other

    def hear(self, event: Event) -> None:
        """Take an event in; whatever is unknown about it is left out."""
        if event.state == "begun":
            self.verb, self.release, self.begun = event.text, event.release, event.at
        elif event.state == "ended":
            self.ended = event.at
            kinds: dict[str, Literal["error", "interrupted"]] = {
                "error": "error", "interrupted": "interrupted",
            }  # fmt: skip
            self.outcome = kinds.get(event.kind, "done")
            self._running.clear()
        elif event.state in ("note", "warning", "published") and event.text:
            self.note = event.text if event.state != "published" else f"published {event.text}"
        elif event.step and "@" in event.step:
            self._hear_step(event)

    def _hear_step(self, event: Event) -> None:
        step = self.steps.get(event.step)
        if step is None:
            job = Running(event.step, recipe_of(event.step), chroot_of(event.step))
            step = self.steps[event.step] = _Step(job, "queued", event.at)
        job = step.job
        if event.state == "running":
            begins = event.phase == "start" or step.state != "running"
            if begins or (event.attempt and event.attempt != job.attempt):
                job = replace(job, attempt=event.attempt, started=event.at, phase="")
            if event.waits or not job.started:
                job = replace(job, started=0.0 if event.waits else event.at)
            if event.phase != job.phase:
                job = replace(job, phase=event.phase, since=event.at)
            self._running[event.step] = None
            self._most_at_once = max(self._most_at_once, len(self._running))
        else:
            self._running.pop(event.step, None)
        step.job = replace(
            job,
            attempt=event.attempt or job.attempt,
            expected=event.expected or job.expected,
            place=event.place or job.place,
            cores=event.cores or job.cores,
            urgent=event.urgent or job.urgent,
        )
        step.state, step.at = event.state, event.at
        if event.state == "queued":
            step.needs, step.planned = event.needs, True
        step.kind = event.kind
        step.text = event.text or (step.text if event.state == "running" else "")
        if event.state in _ENDINGS:
            others = (each for each in self._recent if each.step != event.step)
            self._recent = [_ended(event), *others][:_MOST]

    def now(self, at: float, revision: str, *, every: float, logs: frozenset[str]) -> Now:
        """The file's content; `logs` are the attempts whose logs can be followed."""
        going = not self.ended
        return Now(
            format=FORMAT,
            at=round(at, 3),
            every=every if going else 0.0,
            revision=revision,
            verb=self.verb,
            release=self.release,
            begun=self.begun,
            ended=self.ended,
            outcome=self.outcome,
            left=round(self._left(at)) if going else 0.0,
            counts=self._counts(),
            running=tuple(self._shown(name, logs) for name in self._running),
            waiting=self._waiting() if going else (),
            recent=tuple(self._recent),
            note=shortened(self.note),
        )

    def _counts(self) -> dict[str, Counts]:
        found: dict[str, dict[str, int]] = {}
        for name, step in self.steps.items():
            if step.state in Counts.__struct_fields__:
                count = found.setdefault(chroot_of(name), {})
                count[step.state] = count.get(step.state, 0) + 1
        return {chroot: Counts(**count) for chroot, count in sorted(found.items())}

    def _left(self, at: float) -> float:
        """What is left, spread over as many attempts as ran at once before, but no less than what
        the longest of those that run still takes."""
        queued = sum(step.job.expected for step in self.steps.values() if step.state == "queued")
        going = [
            max(0.0, job.expected - (at - (job.started or at)))
            for job in (self.steps[name].job for name in self._running)
        ]
        return max([*going, (queued + sum(going)) / self._most_at_once])

    def _waiting(self) -> tuple[str, ...]:
        """Urgent ones first, then in the order of the queue: those whose needs are over."""
        queued = [name for name, step in self.steps.items() if step.state == "queued"]
        open_ = {*queued, *self._running}
        ready = [name for name in queued if not any(n in open_ for n in self.steps[name].needs)]
        ordered = (
            sorted(queued, key=lambda n: (not self.steps[n].job.urgent, n not in set(ready)))
            if len(queued) <= _MOST
            else sorted(ready, key=lambda n: not self.steps[n].job.urgent)
        )
        return tuple(ordered[:_MOST])

    def _shown(self, name: str, logs: frozenset[str]) -> Running:
        job = self.steps[name].job
        return replace(job, expected=round(job.expected, 1), log=job.attempt in logs)


def _ended(event: Event) -> Ended:
    return Ended(
        event.step, recipe_of(event.step), chroot_of(event.step),
        event.state,  # type: ignore[arg-type]
        event.at, round(event.seconds, 1), shortened(event.text), event.kind,
    )  # fmt: skip


def shortened(text: str) -> str:
    """The first line, cut where it gets long."""
    line = text.strip().partition("\n")[0]
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def encoded(now: Now) -> bytes:
    """The bytes of now.json."""
    return msgspec.json.encode(now)

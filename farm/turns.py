"""One farm at a time works on a state directory: whoever comes second waits for its turn, or has
what it wants done by the one at work."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Literal

from farm.errors import Busy, Interrupted
from farm.ledger import Ledger, coordinator
from farm.progress import Emit
from farm.progress.follow import Follower
from farm.progress.journal import journal_path
from farm.wishes import Answer, OwnWish, Wish, wishing

Waiting = Literal["follow", "wait", "no"]
_TICK = 0.2  # seconds between looks at the lock
_OVER = ("built", "kept", "failed", "skipped")


@contextlib.contextmanager
def turn(state: Path, emit: Emit, *, waiting: Waiting) -> Iterator[Ledger]:
    """The ledger, ours alone, as soon as whoever is at work with it has ended.

    Raises Busy at once when `waiting` is "no".
    """
    with contextlib.ExitStack() as stack:
        told = None
        while isinstance(ledger := _claimed(stack, state), Busy):
            if waiting == "no":
                raise ledger
            if ledger.process != told:
                told = ledger.process
                emit("note", text=f"{at_work(told)} is at work here: waiting for it to end")
            time.sleep(_TICK)
        yield ledger


@contextlib.contextmanager
def turn_or_answer(
    state: Path, emit: Emit, wish: Callable[[], Wish | None], *, waiting: Waiting
) -> Iterator[Ledger | Answer]:
    """The ledger as above; or the answer of the one at work, once it has done what it was asked.

    `wish` is asked for when somebody is at work and `waiting` is "follow"; with None there is only
    waiting. What the other does for it is told as if it were done here. Raises Interrupted when
    it is given up, saying what goes on all the same.
    """
    with contextlib.ExitStack() as stack:
        ledger = _claimed(stack, state)
        if isinstance(ledger, Ledger):
            yield ledger
            return
        if waiting == "no":
            raise ledger
        asked = wish() if waiting == "follow" else None
        if asked is None:
            yield stack.enter_context(turn(state, emit, waiting="wait"))
        else:
            mine = stack.enter_context(wishing(state, asked))
            yield _followed(stack, state, mine, _Told(emit, asked, journal_path(state)))


def _followed(
    stack: contextlib.ExitStack, state: Path, mine: OwnWish, told: _Told
) -> Ledger | Answer:
    """Wait until the wish is fulfilled or the state directory is ours, whichever is first."""
    try:
        while True:
            answer = mine.answer()
            with contextlib.ExitStack() as claim:
                done = answer is not None and answer.state == "done"
                ledger = None if done else _claimed(claim, state)
                if isinstance(ledger, Ledger):
                    answer = mine.answer()  # the last word is said before the lock is let go
                    done = answer is not None and answer.state == "done"
                told.see(ledger.process if isinstance(ledger, Busy) else 0, answer)
                if answer is not None and done:
                    return answer
                if isinstance(ledger, Ledger):
                    told.taken_over()
                    mine.take_back()
                    stack.push(claim.pop_all())
                    return ledger
            time.sleep(_TICK)
    except KeyboardInterrupt as error:
        answer = mine.answer()
        if answer is None or answer.state != "taken":
            raise
        raise Interrupted(
            "interrupted",
            hint=f"Process {answer.process} goes on with what it took on; Ctrl-C there stops it.\n"
            "Run the same command again to follow it.",
        ) from error


@dataclass
class _Told:
    """What the one who wishes is told of the one at work: each thing once."""

    emit: Emit
    wish: Wish
    journal: Path
    process: int = -1  # that was told of last
    answer: Answer | None = None  # that was told last
    steps: frozenset[str] = frozenset()
    over: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._follower = Follower(self.journal)

    def see(self, process: int, answer: Answer | None) -> None:
        if process and process != self.process:
            self.process = process
            who = at_work(process)
            builds = who.startswith("farm build ")
            does = f"it is asked to build {self._what}" if builds else "waiting for it to end"
            self._note(f"{who} is at work here: {does}")
        if answer is not None and answer != self.answer:
            self._hear(answer)
        if self.steps:
            self._pass_on()

    def taken_over(self) -> None:
        if self.answer is not None and self.answer.state == "taken":
            self._note(f"process {self.answer.process} ended before it was done: going on here")

    def _hear(self, answer: Answer) -> None:
        before, self.answer = self.answer, answer
        if answer.state == "declined":
            self._note(f"process {answer.process} cannot: {answer.why}; waiting for it to end")
            return
        self.steps = frozenset(answer.steps)
        if before is None or before.process != answer.process or not before.steps:
            steps = f"{len(answer.steps)} step{'s' if len(answer.steps) != 1 else ''}"
            self._note(f"process {answer.process} takes it on, {steps}; Ctrl-C leaves it to it")
            self._tell_jobs(answer)

    def _tell_jobs(self, answer: Answer) -> None:
        wanted = self.wish.jobs
        if wanted and answer.jobs and wanted != answer.jobs:
            many = f"{answer.jobs} attempt{'s' if answer.jobs != 1 else ''}"
            self.emit(
                "warning", text=f"process {answer.process} has at most {many} at a time: --jobs"
                f" {wanted} does not change that; with --wait you build by yourself",
            )  # fmt: skip

    def _pass_on(self) -> None:
        """Its events, as far as they are of our steps, counted by these."""
        for event in self._follower.read():
            if event.step not in self.steps:
                continue
            if event.state in _OVER:
                self.over.add(event.step)
            elif event.state in ("queued", "running"):
                self.over.discard(event.step)
            fields = {name: getattr(event, name) for name in event.__struct_fields__}
            fields |= {"done": len(self.over), "total": len(self.steps)}
            self.emit(fields.pop("state"), fields.pop("step"), **fields)

    @property
    def _what(self) -> str:
        if self.wish.everything:
            return "everything as well"
        if not self.wish.names:
            return "what failed before as well"
        some = self.wish.names[:3]
        more = len(self.wish.names) - len(some)
        return ", ".join(some) + (f" and {more} more" if more else "") + " as well"

    def _note(self, text: str) -> None:
        self.emit("note", text=text)


def at_work(process: int) -> str:
    """`farm publish (process 4711)`, or as much of it as can be found out."""
    words: list[str] = []
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{process}/cmdline").read_text("utf-8", "replace").split("\0")
    names = [PurePath(word).name for word in words]
    for place, name in enumerate(names):
        if name == "farm" and words[place - 1] != "-C":
            rest = words[place + 1 :]
            rest = rest[2:] if rest[:1] == ["-C"] else rest
            if rest and rest[0]:
                return f"farm {rest[0]} (process {process})"
    return f"another farm (process {process})" if process else "another farm"


def _claimed(stack: contextlib.ExitStack, state: Path) -> Ledger | Busy:
    try:
        return stack.enter_context(coordinator(state))
    except Busy as busy:
        return busy

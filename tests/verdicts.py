"""What farm makes of a base, asked in a child process: a crash of libsolv is seen as one."""

from __future__ import annotations

import contextlib
import multiprocessing
import resource
import signal
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from farm.errors import FarmError
from farm.model import Lock, Problem, Repository
from farm.plan.metadata import transfer
from farm.plan.metadata.repodata import fetch_pin
from farm.plan.solver import installable, resolve
from farm.plan.universe import Universe
from tests.repositories import chroot

_CONTEXT = multiprocessing.get_context("spawn")
_MEMORY = 6 << 30  # bytes of address space for the child: a bomb ends as an error, not the machine


@dataclass(frozen=True)
class Question:
    """Pin these repositories below `scratch`, open them, and solve for these requirements."""

    repositories: tuple[Repository, ...]
    scratch: Path
    requires: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    site: bool = False
    timeout: float = 5.0  # seconds without a byte from a server


@dataclass(frozen=True)
class Verdict:
    """`kind` is lock, problem, error (a FarmError), traceback, crash or hang."""

    kind: str
    text: str  # what a person would read, or what a lock holds
    problem: Problem | None = None

    @property
    def packages(self) -> list[str]:
        assert self.kind == "lock", self
        return self.text.split()


class Child:
    """A process that answers questions; it is started again when one of them killed it."""

    def __init__(self) -> None:
        self._process: Any = None
        self._line: Connection | None = None

    def ask(self, question: Question, patience: float = 60.0) -> Verdict:
        """The verdict; `patience` in seconds, then the child is ended and it was a hang."""
        if self._process is None:
            ours, theirs = _CONTEXT.Pipe()
            self._process = _CONTEXT.Process(target=_serve, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()
            self._line = ours
        assert self._line is not None
        self._line.send(question)
        if not self._line.poll(patience):
            self.end()
            return Verdict("hang", f"no answer in {patience} s")
        try:
            verdict: Verdict = self._line.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            code = self._process.exitcode
            self.end()
            name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            return Verdict("crash", name)
        return verdict

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = self._line = None


@contextlib.contextmanager
def child() -> Iterator[Child]:
    one = Child()
    try:
        yield one
    finally:
        one.end()


def _serve(line: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    transfer._PAUSES = (0.0, 0.0)
    while True:
        try:
            question = line.recv()
        except (EOFError, ConnectionError):
            return
        line.send(verdict_of(question))


def verdict_of(question: Question) -> Verdict:
    """The same in this process: a crash is this process's."""
    transfer._TIMEOUT = question.timeout
    try:
        answer = _answer(question)
    except FarmError as error:
        return Verdict("error", str(error))
    except Exception:
        return Verdict("traceback", traceback.format_exc())
    if isinstance(answer, Problem):
        return Verdict("problem", str(answer), answer)
    return Verdict("lock", " ".join(str(package.nevra) for package in answer.packages))


def _answer(question: Question) -> Lock | Problem:
    pins = [fetch_pin(r, question.scratch / f"pin-{r.id}") for r in question.repositories]
    where = chroot(*question.repositories, setup=question.setup)
    universe = Universe.open(where, pins, question.scratch / "solv")
    if question.site:
        return installable(universe, question.requires)
    return resolve(universe, where, question.requires, question.conflicts)

"""Two builds at once on one state directory: the second hands its wish to the first.

A wish is a file, held by a lock for as long as the process that wishes is there. The build that is
at work answers beside it: what it took on, why it did not, and at last how that ended. It answers
before it gives the state directory up, and whoever wishes looks for the answer once more when the
state directory has become its own: so a wish is either fulfilled or done by the one who had it,
whenever the first ends or is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from farm.errors import StateError
from farm.model.noun import Noun, from_json, to_json
from farm.store import write_atomic

_WISH, _ANSWER = ".wish", ".answer"


class Wish(Noun, frozen=True):
    """What another `farm build` is asked to build as well.

    `layer` names the layer as the one who wishes has read it; `builder` and `engine` are "" where
    any will do; `archs` are those of the release when none were named.
    """

    process: int
    release: str
    names: tuple[str, ...]
    archs: tuple[str, ...]
    layer: str
    everything: bool = False
    urgent: bool = False
    fail_fast: bool = False  # its own first failure is answer enough
    again: bool = False  # what failed before is tried again
    builder: str = ""
    engine: str = ""
    jobs: int = 0  # attempts at a time that were asked for; 0: any number


class Answer(Noun, frozen=True):
    """What became of a wish: `taken` by `process`, with the ids of its `steps`; `declined`, and
    `why`; `done`, with a report (JSON) of its own steps. `jobs` are attempts at a time there."""

    state: Literal["taken", "declined", "done"]
    process: int
    steps: tuple[str, ...] = ()
    why: str = ""
    jobs: int = 0
    report: msgspec.Raw = msgspec.Raw(b"null")


@dataclass
class OwnWish:
    """A wish of this process, for as long as the block of `wishing` lasts."""

    path: Path

    def answer(self) -> Answer | None:
        """The last word about it, None before the first."""
        return _answer_to(self.path)

    def take_back(self) -> None:
        """Nobody else is to see to it any more."""
        self.path.unlink(missing_ok=True)
        self.path.with_suffix(_ANSWER).unlink(missing_ok=True)


@contextlib.contextmanager
def wishing(state: Path, wish: Wish) -> Iterator[OwnWish]:
    """Lay a wish down; it is taken back, with its answer, when the block ends."""
    directory = _directory(state)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{time.time_ns():020d}-{secrets.token_hex(4)}{_WISH}"
    draft = path.with_suffix(".draft")
    with draft.open("xb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(to_json(wish))
            file.flush()
            draft.rename(path)
            yield OwnWish(path)
        finally:
            draft.unlink(missing_ok=True)
            OwnWish(path).take_back()


@dataclass
class Wishes:
    """What others wish of the build that is at work here."""

    state: Path
    _seen: set[str] = field(default_factory=set)

    def new(self) -> tuple[tuple[str, Wish], ...]:
        """Names and wishes that were laid down since the last call, oldest first.

        Of one that nobody waits for any more nothing remains.
        """
        directory = _directory(self.state)
        try:
            names = sorted(path.name for path in directory.iterdir())
        except FileNotFoundError:
            return ()
        found = []
        for name in names:
            if name in self._seen:
                continue
            path = directory / name
            if path.suffix != _WISH:
                _forget(path, names)
                continue
            self._seen.add(name)
            if _left(path):
                path.unlink(missing_ok=True)
                path.with_suffix(_ANSWER).unlink(missing_ok=True)
                continue
            with contextlib.suppress(FileNotFoundError, StateError):
                wish = from_json(Wish, path.read_bytes(), where=str(path))
                answer = _answer_to(path)
                if answer is None or answer.state != "done":  # by a build that has ended since
                    found.append((path.stem, wish))
        return tuple(found)

    def answer(self, name: str, answer: Answer) -> None:
        """Say what became of a wish. One that was taken back needs no answer; one that gets none,
        for want of space, is seen to by the one who had it."""
        path = _directory(self.state) / f"{name}{_WISH}"
        with contextlib.suppress(OSError):
            if path.exists():
                write_atomic(path.with_suffix(_ANSWER), to_json(answer))


def _directory(state: Path) -> Path:
    return state / "wishes"


def _answer_to(path: Path) -> Answer | None:
    try:
        return from_json(Answer, path.with_suffix(_ANSWER).read_bytes(), where="a wish")
    except (FileNotFoundError, StateError):
        return None


def _left(path: Path) -> bool:
    """Whether the process that laid this file down is gone."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except FileNotFoundError:
        return True
    return True


def _forget(path: Path, names: list[str]) -> None:
    """Drafts and answers that a killed process left."""
    answers = path.suffix == _ANSWER and path.stem + _WISH in names
    if not answers:
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > 60:
                path.unlink()

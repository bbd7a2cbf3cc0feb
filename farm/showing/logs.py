"""Build logs below the publication root: links to the compressed ones of attempts that have
ended, and to those that grow."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from farm.publish.tree import link_or_copy
from farm.rebuild.attempts import attempt_directory, log_path, root_log_path
from farm.site.status.pages import HOME
from farm.steps import chroot_of, recipe_of

FOLDER = f"{HOME}/logs"
_LINGERING = 15.0  # seconds
_PIECE = 4 << 20  # bytes copied at a time where links are not possible


class Logs:
    """What is below status/logs/."""

    def __init__(self, publication: Path, state: Path) -> None:
        self._root, self._state = publication / FOLDER, state
        self._growing: dict[str, str] = {}  # attempt: step
        self._over: dict[str, tuple[str, float]] = {}  # attempt: step, when it was seen to be over

    def show_ended(self, step: str, attempt: str) -> tuple[bool, bool]:
        """Whether there are a log of an ended attempt, and a list of its build root."""
        names = (recipe_of(step), chroot_of(step), attempt)
        found = []
        for place in (log_path, root_log_path):
            source = place(self._state, *names)
            target = self._root / names[0] / names[1] / source.name
            found.append(source.exists())
            if source.exists() and not target.exists():
                with contextlib.suppress(FileNotFoundError, FileExistsError):
                    link_or_copy(source, target)
        return found[0], found[1]

    def follow(self, running: Iterable[tuple[str, str]]) -> frozenset[str]:
        """Have the logs of these (step, attempt) grow here as well, and take away those of
        attempts that run no more; the attempts that have one."""
        there = set()
        wanted = {attempt: step for step, attempt in running if attempt}
        for attempt, step in wanted.items():
            if self._grow(step, attempt):
                self._growing[attempt] = step
                there.add(attempt)
        for attempt, step in list(self._growing.items()):
            if attempt not in wanted:
                self.show_ended(step, attempt)  # before the other one vanishes
                self._over[attempt] = (step, time.monotonic())
                del self._growing[attempt]
        self.take_away(_LINGERING)
        return frozenset(there)

    def take_away(self, after: float = 0.0) -> None:
        """Remove the growing logs of attempts that ended so many seconds ago: whoever follows one
        has heard by then that it is over. Those that are left when a run ends go with the next."""
        for attempt, (step, ended) in list(self._over.items()):
            if time.monotonic() - ended >= after:
                self._target(step, attempt).unlink(missing_ok=True)
                del self._over[attempt]

    def clear_growing(self) -> None:
        """Take away what a run that was killed left."""
        for path in self._root.glob("*/*/*.log"):
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        """No logs are to be shown (any more)."""
        shutil.rmtree(self._root, ignore_errors=True)

    def _target(self, step: str, attempt: str) -> Path:
        return self._root / recipe_of(step) / chroot_of(step) / f"{attempt}.log"

    def _grow(self, step: str, attempt: str) -> bool:
        source = attempt_directory(self._state, attempt) / "build.log"
        target = self._target(step, attempt)
        try:
            found = source.stat()
        except FileNotFoundError:
            return target.exists()
        if target.exists() and target.stat().st_ino == found.st_ino:
            return True
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except FileExistsError:
            _append(source, target)  # a copy, because links are not possible
        except FileNotFoundError:
            return False
        except OSError:
            target.touch()
            _append(source, target)
        return True


def _append(source: Path, target: Path) -> None:
    """What `source` has more than `target`."""
    with contextlib.suppress(FileNotFoundError), source.open("rb") as more, target.open("ab") as to:
        more.seek(to.tell())
        while piece := more.read(_PIECE):
            to.write(piece)

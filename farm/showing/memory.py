"""What the pages tell and no ledger knows: why a step was built, what it waits for, why it was
skipped. Kept in the state directory; lost, it is found again with the next runs."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from farm.errors import StateError
from farm.model import Noun, from_json, to_json
from farm.site.status.files import put
from farm.site.status.now import Run

_ENDINGS = ("built", "kept", "failed", "skipped")


class Last(Noun, frozen=True):
    """How a step ended in the last run that had it. `key`: of the result that `reason` is of."""

    state: Literal["", "built", "kept", "failed", "skipped"] = ""
    at: float = 0.0
    text: str = ""
    kind: str = ""
    needs: tuple[str, ...] = ()
    planned: bool = False  # whether `needs` are what a plan said
    key: str = ""
    reason: str = ""


class _Kept(Noun, frozen=True):
    steps: Mapping[str, Last] = {}
    pages: Mapping[str, str] = {}  # of packages: what the page was made of, as a checksum
    ground: str = ""
    newest: float = 0.0
    requires: Mapping[str, tuple[str, ...]] = {}  # sha256 of a source package: its BuildRequires


class Memory:
    """The file `.farm/status.json`. `ground`: what all pages were made of, as a checksum, "" when
    that is not known; `newest`: when the newest attempt of that ended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        kept = _Kept()
        with contextlib.suppress(OSError, StateError):
            kept = from_json(_Kept, path.read_bytes(), where=str(path))
        self.steps, self.requires = dict(kept.steps), dict(kept.requires)
        self.pages = dict(kept.pages)
        self.ground, self.newest = kept.ground, kept.newest

    def of(self, step: str) -> Last:
        return self.steps.get(step, Last())

    def learn(self, run: Run) -> frozenset[str]:
        """Take in what a run has told; the steps of which something is new."""
        new = set()
        for name, heard in run.steps.items():
            before = self.of(name)
            after = before
            if heard.planned:
                after = msgspec.structs.replace(after, needs=heard.needs, planned=True)
            if heard.state in _ENDINGS and heard.at > before.at:
                after = msgspec.structs.replace(
                    after, state=heard.state, at=heard.at, text=heard.text, kind=heard.kind
                )
            if after != before:
                self.steps[name] = after
                new.add(name)
        return frozenset(new)

    def knows(self, run: Run) -> bool:
        """Whether all that a run told was known before: each of its steps is kept, as it was the
        last time, and no attempt came after that."""
        for name, heard in run.steps.items():
            last = self.steps.get(name)
            if last is None or not heard.state == last.state == "kept" or last.at < self.newest:
                return False
            if heard.planned and not (last.planned and last.needs == heard.needs):
                return False
        return True

    def remember_reason(self, step: str, key: str, reason: str) -> None:
        """Why the result of that key was built."""
        self.steps[step] = msgspec.structs.replace(self.of(step), key=key, reason=reason)

    def doubt(self) -> None:
        """Have the file say that no page is known to be right, until it is saved: pages will tell
        of a run that goes on, and it may be killed."""
        put(self._path, to_json(_Kept(self.steps, requires=self.requires)))

    def save(self, steps: frozenset[str], sources: frozenset[str]) -> None:
        """Write it, less what belongs to steps and source packages that are gone."""
        kept = _Kept(
            {name: last for name, last in sorted(self.steps.items()) if name in steps},
            self.pages,
            self.ground,
            self.newest,
            {sha256: words for sha256, words in sorted(self.requires.items()) if sha256 in sources},
        )
        put(self._path, to_json(kept))

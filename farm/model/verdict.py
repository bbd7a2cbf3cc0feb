"""What is wrong, and what that means."""

from __future__ import annotations

from typing import Literal

from farm.model.noun import Noun


class Problem(Noun, frozen=True):
    """Why something cannot be built, installed or upgraded, as data."""

    kind: str  # "nothing-provides", "conflict", "bad-spec", "cycle", …
    subject: str  # the package in question
    facts: tuple[str, ...]  # the smallest set that cannot hold together, one sentence each
    remedy: str = ""
    changes: tuple[str, ...] = ()  # what of the base became different and does it

    def __str__(self) -> str:
        first = self.facts[0] if self.facts else self.kind
        lines = [first if first.startswith(self.subject) else f"{self.subject}: {first}"]
        lines += [f"  {fact}" for fact in self.facts[1:]]
        lines += [f"  because {change}" for change in self.changes]
        return "\n".join(lines + ([f"  -> {self.remedy}"] if self.remedy else []))


class Verdict(Noun, frozen=True):
    """What one check says of one package.

    `open`: nothing is wrong, but what it needs can only be known after a build (`missing` names
    it). `rebuild`: as built it does not fit any more, its source does.
    """

    check: str  # "build", "install", "replaces", "files", "upgrade"
    package: str  # of the layer: source package (build) or binary package
    chroot: str
    state: Literal["ok", "open", "rebuild", "broken"]
    problem: Problem | None = None
    missing: tuple[str, ...] = ()


class Waiver(Noun, frozen=True):
    """A check that a publication was forced through, why, and what it had found."""

    check: str
    reason: str
    problems: tuple[Problem, ...] = ()

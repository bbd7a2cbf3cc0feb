"""From what builds under variations showed: which to try next, and what it all says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from farm.verify.difference import Difference

Round = tuple[str, ...]
Verdict = Literal["same", "differs", "failed", "cannot"]


@dataclass(frozen=True)
class Differing:
    """A package that came out with other bytes; `problem` where these could not be compared."""

    package: str  # file name
    differences: tuple[Difference, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Finding:
    """What one build under a round of variations showed.

    `cannot`: it says nothing about the package (this machine failed, or a limit was hit).
    """

    round: Round
    verdict: Verdict
    differing: tuple[Differing, ...] = ()
    message: str = ""  # why it failed, or says nothing
    hint: str = ""
    seconds: float = 0.0

    @property
    def is_bad(self) -> bool:
        return self.verdict in ("differs", "failed")


@dataclass(frozen=True)
class Judged:
    """What all builds of a package say together.

    `guilty` are the variations that each alone change the package or fail its build; `telling`
    is the build to look at, under the fewest variations.
    """

    verdict: Verdict
    why: str = ""
    guilty: Round = ()
    searched: bool = True
    telling: Finding | None = None


def next_rounds(findings: Sequence[Finding], *, searching: bool) -> tuple[Round, ...]:
    """What to build next: nothing, the package as usual, or under one variation at a time.

    The latter only when `searching`, and only when it is the variations that matter.
    """
    done = {finding.round for finding in findings}
    bad = [finding for finding in findings if finding.is_bad]
    if bad and () not in done:
        return ((),)
    usual = next((finding for finding in findings if not finding.round), None)
    if not searching or usual is None or usual.verdict != "same":
        return ()
    wanted = dict.fromkeys((name,) for finding in bad for name in finding.round)
    return tuple(each for each in wanted if each not in done)


def judged(findings: Sequence[Finding]) -> Judged:
    """The verdict over a package."""
    bad = sorted((f for f in findings if f.is_bad), key=lambda finding: len(finding.round))
    if not bad:
        silent = next((finding for finding in findings if finding.verdict == "cannot"), None)
        if silent is not None:
            return Judged("cannot", silent.message, telling=silent)
        return Judged("same")
    telling = bad[0]
    differing = [finding for finding in bad if finding.verdict == "differs"]
    verdict: Verdict = "differs" if differing else "failed"
    if not telling.round:
        why = (
            "it differs when it is built as usual, too"
            if telling.verdict == "differs"
            else f"it does not build any more, not even as usual: {telling.message}"
        )
        return Judged(verdict, why, telling=telling)
    alone = {finding.round[0]: finding for finding in findings if len(finding.round) == 1}
    guilty = tuple(name for name, finding in alone.items() if finding.is_bad)
    involved = dict.fromkeys(name for finding in bad for name in finding.round)
    searched = all(name in alone for name in involved)
    what = "it differs" if differing else f"it does not build ({telling.message})"
    if guilty:
        why = f"{what} under {_listed(guilty)}"
    elif searched:
        why = f"{what} under {_listed(tuple(involved))} together, under none of them alone"
    else:
        why = f"{what} under {_listed(telling.round)}; which of them is not known"
    return Judged(verdict, why, guilty, searched, telling)


def _listed(names: Round) -> str:
    return ", ".join(names)

"""From what builds under variations showed: which to try next, and what it all says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from farm.verify.difference import Difference
from farm.verify.variations import NAMES

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
    """What to build next: nothing, the package as usual, or under some of the variations.

    The latter only when `searching`, and only when it is the variations that matter. Whom the
    likely causes point at is tried alone, everybody else together; a group that changes the
    package is halved until those are left that do so alone.
    """
    tried = {finding.round for finding in findings}
    if any(finding.is_bad for finding in findings) and () not in tried:
        return ((),)
    usual = next((finding for finding in findings if not finding.round), None)
    if not searching or usual is None or usual.verdict != "same":
        return ()
    unknown = open_names(findings)
    bad = [f for f in findings if f.is_bad and set(f.round) <= set(unknown)]
    if bad:
        smallest = min(bad, key=lambda finding: len(finding.round))
        wanted = _divided(smallest.round, suspects(smallest))
    else:
        wanted = (unknown,) if unknown else ()
    return tuple(each for each in wanted if each not in tried)


def open_names(findings: Sequence[Finding]) -> Round:
    """Variations that a bad build was made under and that are neither guilty nor innocent."""
    innocent = {name for f in findings if f.verdict == "same" for name in f.round}
    guilty = {f.round[0] for f in findings if f.is_bad and len(f.round) == 1}
    involved = dict.fromkeys(name for f in findings if f.is_bad for name in f.round)
    return tuple(name for name in involved if name not in innocent | guilty)


def suspects(finding: Finding) -> Round:
    """The variations of a round that the likely causes of its differences point at."""
    causes = " ".join(d.cause for each in finding.differing for d in each.differences)
    return tuple(
        name for name in finding.round if any(word in causes for word in _POINTS_AT.get(name, ()))
    )


# What an explanation says → who may have brought it about.
_POINTS_AT = {
    "clock": ("a date",),
    "hostname": ("host name",),
    "cores": ("number of cores",),
    "ids": ("user and group",),
    "umask": ("umask",),
    "locale": ("locale",),
    "environment": ("environment",),
    "kernel": ("kernel",),
    "order": ("order of a directory", "a directory's files"),
}


def _divided(group: Round, suspected: Round) -> tuple[Round, ...]:
    if len(group) < 2:
        return ()
    rest = tuple(name for name in group if name not in suspected)
    if suspected and (rest or len(suspected) < len(group)):
        return (*((name,) for name in suspected), *((rest,) if rest else ()))
    half = len(group) // 2
    return (group[:half], group[half:])


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
    guilty = tuple(f.round[0] for f in bad if len(f.round) == 1)
    searched = not open_names(findings)
    what = "it differs" if differing else f"it does not build ({telling.message})"
    if guilty:
        more = "" if searched else "; whether others change it as well is not known"
        why = f"{what} under {_listed(guilty)}{more}"
    elif searched:
        together = f"{_listed(telling.round)} together"
        why = f"{what} under {together}, but under no smaller part that was tried"
    else:
        why = f"{what} under {_listed(telling.round)}; which of them is not known"
    return Judged(verdict, why, guilty, searched, telling)


def _listed(names: Round) -> str:
    return "all variations" if names == NAMES else ", ".join(names)

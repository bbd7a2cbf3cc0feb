"""What `farm verify` is about: the packages that were built, on each architecture."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from farm.errors import FarmError
from farm.ledger import Ledger
from farm.model import Chroot, Evaluation, Job, Result
from farm.plan.planner import exclusion
from farm.rebuild.demand import estimate, way_of
from farm.rebuild.roots import emulator_for
from farm.survey import Survey
from farm.verify.search import Finding, Round
from farm.verify.variations import parse

_PLAIN = "plain emulation"
_SLOWER = 6  # that is, about
_SAMPLE = 2  # packages of an emulated architecture that are built without native tools, too


@dataclass(frozen=True)
class VerifyRequest:
    """What `farm verify` was asked for. `report` is where what differs is kept."""

    names: tuple[str, ...] = ()
    everything: bool = False
    archs: tuple[str, ...] = ()
    release: str | None = None
    variations: str = "all"
    report: Path | None = None
    jobs: int | None = None

    def __post_init__(self) -> None:
        """Raises UsageError for a variation that does not exist, before anything is done."""
        parse(self.variations)

    @property
    def rounds(self) -> tuple[Round, ...]:
        return parse(self.variations)


@dataclass
class Subject:
    """A package on an architecture, and what is known of it by now."""

    recipe: str
    chroot: Chroot
    result: Result | None
    maker: Result | None  # the first with the same source package: it was made in its root
    waiting: deque[Round]
    how: str = ""
    expected: float = 0.0
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    building: int = 0
    packages: int = 0
    job: Job | None = None
    problem: FarmError | None = None
    searched: bool = False
    kept: str = ""

    @property
    def title(self) -> str:
        how = f" ({self.how})" if self.how else ""
        return f"{self.recipe}@{self.chroot.name}{how}"

    @property
    def place(self) -> Path:
        """Where what differs is kept, below the directory for that."""
        how = f"-{self.how.replace(' ', '-')}" if self.how else ""
        return Path(self.recipe, f"{self.chroot.name}{how}")

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def label(self, under: Round) -> str:
        several = len(self.findings) + len(self.waiting) + self.building > 1
        if not several and not self.searched:
            return self.title
        if len(under) > 2:
            return f"{self.title} [{under[0]} and {len(under) - 1} others]"
        return f"{self.title} [{', '.join(under) or 'as usual'}]"


def subjects(survey: Survey, ledger: Ledger, request: VerifyRequest) -> tuple[Subject, ...]:
    """What is to be verified, in the order of its builds: of everything, the one built last
    comes first. Raises UsageError for a package that the layer does not have."""
    survey.check_names(request.names)
    every = (*survey.recipes, *survey.left_out) if request.everything else request.names
    names = tuple(dict.fromkeys(every))
    found: list[Subject] = []
    for chroot in survey.chroots:
        results = {name: ledger.standing(f"{name}@{chroot.name}") for name in names}
        left_out = _excluded(survey, chroot, [name for name in names if results[name] is None])
        found += [
            Subject(
                name, chroot, results[name], _maker(ledger, results[name]), deque(request.rounds),
                expected=_expected(ledger, f"{name}@{chroot.name}", chroot),
            )
            for name in names
            if name not in left_out
        ]  # fmt: skip
    found.sort(key=lambda subject: names.index(subject.recipe))
    if request.everything:
        found.sort(key=lambda s: -(s.result.finished if s.result is not None else 0.0))
        found += _sample(survey, found)
    return tuple(found)


def _excluded(survey: Survey, chroot: Chroot, names: Sequence[str]) -> set[str]:
    """Those of the packages that are not for this architecture."""
    recipes = [survey.recipes[name] for name in names if name in survey.recipes]
    if not recipes:
        return set()
    return {
        name
        for name, said in survey.evaluated(chroot, recipes).items()
        if isinstance(said, Evaluation) and exclusion(said, chroot.arch)
    }


def _maker(ledger: Ledger, result: Result | None) -> Result | None:
    """The base may have moved on since the source package was made; that is made only once."""
    if result is None:
        return None
    srpm = result.built.srpm.sha256
    same = (r for r in ledger.results_of(result.step) if r.built.srpm.sha256 == srpm)
    return min((result, *same), key=lambda each: each.finished)


def _expected(ledger: Ledger, step: str, chroot: Chroot) -> float:
    return estimate(ledger.expected_seconds(step), way_of(chroot))


def _sample(survey: Survey, found: Sequence[Subject]) -> list[Subject]:
    """The quickest packages of each architecture that native tools help with, to be built without
    them: a C package that is configured by a script, and any other."""
    chosen = []
    for chroot in survey.chroots:
        if not chroot.native_tools or emulator_for(chroot) is None:
            continue
        here = [
            s for s in found if s.chroot.name == chroot.name and s.result is not None
            and any(p.nevra.arch == chroot.arch for p in s.result.built.packages)
        ]  # fmt: skip
        here.sort(key=lambda s: s.result.built.seconds if s.result is not None else 0.0)
        configured = [s for s in here if "%configure" in _spec_text(survey, s.recipe)]
        sample = dict.fromkeys(s.recipe for s in (*configured[:1], *here))
        plain = msgspec.structs.replace(chroot, native_tools="")
        chosen += [
            Subject(s.recipe, plain, s.result, s.maker, deque([()]), _PLAIN, s.expected * _SLOWER)
            for name in list(sample)[:_SAMPLE]
            for s in here
            if s.recipe == name
        ]
    return chosen


def _spec_text(survey: Survey, name: str) -> str:
    recipe = survey.recipes.get(name)
    if recipe is None:
        return ""
    with contextlib.suppress(OSError):
        return Path(recipe.directory, recipe.spec).read_text("utf-8", "replace")
    return ""

"""Does the layer fit its base? The solver's questions, put to one run's layer and snapshots."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from farm.bases import other_base
from farm.errors import ConfigError, SolveError, UsageError
from farm.model import Chroot, Evaluation, Package, Problem, Snapshot, Verdict
from farm.plan.fit.basefiles import base_file_findings
from farm.plan.fit.check import BUILD, INSTALL, layer_verdicts
from farm.plan.fit.compare import Comparison, compare
from farm.plan.fit.contribution import Contribution
from farm.plan.fit.findings import Findings
from farm.plan.fit.looping import may_loop
from farm.plan.fit.ownership import ownership_problems, together_in
from farm.plan.fit.replaces import replaces_findings
from farm.plan.fit.shipment import Shipment, published, to_be_shipped
from farm.plan.fit.twice import made_twice
from farm.plan.fit.upgrade import upgrade_findings
from farm.plan.fit.view import View
from farm.plan.metadata.pins import Pin
from farm.plan.planner import exclusion
from farm.publish.snapshot import read_snapshots
from farm.publish.tree import Publication
from farm.survey import Survey

REPLACES, FILES, UPGRADE = "replaces", "files", "upgrade"
CHECKS = (BUILD, INSTALL, REPLACES, FILES, UPGRADE)
EVERY = "all"


@dataclass(frozen=True)
class CheckRequest:
    """What `farm check` was asked for."""

    names: tuple[str, ...] = ()
    archs: tuple[str, ...] = ()
    releases: tuple[str, ...] = ()
    bases: tuple[str, ...] = ()
    upgrade_from: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckReport:
    """What `farm check` found."""

    release: str
    commit: str
    chroots: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    comparisons: tuple[Comparison, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()  # with the layer itself
    unbuilt: tuple[str, ...] = ()  # recipes that are not built as they are now
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Nothing is broken; what is open or wants a rebuild is in nobody's way yet."""
        return not self.problems and all(v.state != "broken" for v in self.verdicts)


OpenView = Callable[[frozenset[str]], View]  # some recipes taken as to be built again


def views(
    survey: Survey,
    chroot: Chroot,
    pins: tuple[Pin, ...],
    contributions: Callable[[], Iterable[Contribution]],
) -> OpenView:
    """How to see these contributions over the base that `pins` make up, each way opened once."""
    over = msgspec.structs.replace(chroot, repositories=tuple(pin.repository for pin in pins))

    def open_view(stale: frozenset[str]) -> View:
        some = (
            replace(each, stale=True) if each.recipe in stale else each for each in contributions()
        )
        return View.open(over, pins, survey.state / "solv", some)

    return cache(open_view)


def opener(survey: Survey, chroot: Chroot, pins: tuple[Pin, ...] = ()) -> OpenView:
    """How to see the layer over `pins` (none: the chroot's own), some recipes to be rebuilt."""
    anew = views(survey, chroot, pins or survey.pins(chroot), lambda: survey.contributions(chroot))
    return lambda stale: anew(stale) if stale or pins else survey.view(chroot)


def compared(
    survey: Survey,
    here: OpenView,
    there: OpenView,
) -> Comparison:
    """The whole layer over another base, both as `opener` opens them."""
    evaluations, _ = known_evaluations(survey, here(frozenset()))
    names = frozenset(survey.recipes) & evaluations.keys()
    return compare(here, there, evaluations, survey.layer.groups, names)


def attempted(one: Callable[[str], CheckReport], release: str) -> CheckReport:
    """The report on one of several releases; one that cannot be checked does not stop the rest."""
    try:
        return one(release)
    except (SolveError, ConfigError) as error:
        facts = (f"{release} cannot be checked: {error.what}", *error.why.splitlines())
        problem = Problem("unchecked", release, facts, error.hint)
        return CheckReport(release, "", (), (), problems=(problem,))


def joined(reports: Sequence[CheckReport]) -> CheckReport:
    """Reports on several releases of the same layer as one."""

    def every(field: str) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(each for report in reports for each in getattr(report, field)))

    return CheckReport(
        release=", ".join(report.release for report in reports),
        commit=max(report.commit for report in reports),
        chroots=every("chroots"),
        verdicts=every("verdicts"),
        comparisons=every("comparisons"),
        notes=every("notes"),
        problems=every("problems"),
        unbuilt=every("unbuilt"),
        seconds=sum(report.seconds for report in reports),
    )


def check(survey: Survey, request: CheckRequest) -> CheckReport:
    """Verdicts on every package asked for, on every architecture."""
    started = time.monotonic()
    survey.check_names(request.names)
    names = frozenset(request.names) or frozenset(survey.recipes)
    verdicts: list[Verdict] = []
    comparisons = []
    notes: dict[str, None] = {}
    unbuilt: set[str] = set()
    for chroot in survey.chroots:
        here = opener(survey, chroot)
        evaluations, bounds = known_evaluations(survey, here(frozenset()))
        names_here = names & evaluations.keys()
        notes |= dict.fromkeys(note for name, note in bounds.items() if name in names_here)
        unbuilt |= here(frozenset()).unbuilt & names_here
        notes |= dict.fromkeys(_left_out(chroot, evaluations, request.names))
        soundness = _Soundness(survey, chroot, evaluations, names_here if request.names else None)
        pins = other_base(survey.config, chroot, request.bases) if request.bases else ()
        if pins:
            there = opener(survey, chroot, pins)
            found = compare(
                here, there, evaluations, survey.layer.groups, names_here, soundness.verdicts
            )
            comparisons.append(found)
            verdicts += found.after
            seen = there(frozenset())
        else:
            verdicts += layer_verdicts(here, evaluations, survey.layer.groups, names_here)
            seen = here(frozenset())
            verdicts += soundness.verdicts(seen)
        notes |= dict.fromkeys(soundness.notes(seen))
        verdicts = _with_cycles(survey, here(frozenset()), evaluations, verdicts)
        if request.upgrade_from:
            shipment = _to_be_shipped(survey, here(frozenset()))
            findings = _not_accepted(
                survey, upgrades(survey, chroot, shipment, request.upgrade_from, pins)
            )
            verdicts += as_verdicts(UPGRADE, chroot, findings)
            notes |= dict.fromkeys(findings.notes)
    if request.names:
        notes |= {
            f"{' '.join(problem.facts[:1])}; whether packages get along with its metapackages"
            " was not asked": None
            for problem in survey.layer.problems
            if problem.kind == "bad-groups"
        }
    return CheckReport(
        release=survey.release,
        commit=survey.layer.commit,
        chroots=tuple(chroot.name for chroot in survey.chroots),
        verdicts=tuple(verdicts),
        comparisons=tuple(comparisons),
        notes=tuple(notes),
        problems=tuple(p for p in survey.layer.problems if not request.names or p.subject in names),
        unbuilt=tuple(sorted(unbuilt)),
        seconds=time.monotonic() - started,
    )


def _with_cycles(
    survey: Survey,
    view: View,
    evaluations: Mapping[str, Evaluation | Problem],
    verdicts: Sequence[Verdict],
) -> list[Verdict]:
    """A recipe that needs itself to be built cannot be, whatever the solver says of its needs."""
    suspects = may_loop(view, evaluations)
    if not suspects:
        return list(verdicts)
    cycles = {
        (BUILD, problem.subject, step.chroot): problem
        for step in survey.plan(sorted(suspects)).steps
        if (problem := step.problem) is not None and problem.kind == "cycle"
    }
    return [
        msgspec.structs.replace(verdict, state="broken", problem=cycles[key], missing=())
        if (key := (verdict.check, verdict.package, verdict.chroot)) in cycles
        else verdict
        for verdict in verdicts
    ]


def known_evaluations(
    survey: Survey, view: View
) -> tuple[dict[str, Evaluation | Problem], dict[str, str]]:
    """What is known of each recipe, and of which only a lower bound is."""
    found: dict[str, Evaluation | Problem] = {}
    bounds: dict[str, str] = {}
    for (recipe, where), evaluation in survey.evaluations.items():
        if where != view.chroot.name:
            continue
        found[recipe] = evaluation
        if isinstance(evaluation, Evaluation) and evaluation.dynamic:
            found[recipe], known = survey.found_out(recipe, evaluation, view)
            if not known:
                bounds[recipe] = (
                    f"{recipe} finds out more BuildRequires in its build root"
                    " (%generate_buildrequires): those checked are a lower bound"
                )
    return found, bounds


def sound(
    survey: Survey,
    chroot: Chroot,
    view: View,
    files: Sequence[tuple[Package, Path]],
    evaluations: Mapping[str, Evaluation | Problem],
) -> tuple[tuple[str, Findings], ...]:
    """What the layer must not do to its base and to itself; `files` are its built packages."""
    kept = survey.state / "solv"
    universe = view.universe
    declared = survey.config.release(survey.release)[1].replaces
    names = {(package.nevra.name, package.source) for package, _ in files}
    names |= {
        (nevra.name, recipe)
        for recipe, own in evaluations.items()
        if isinstance(own, Evaluation) and not exclusion(own, chroot.arch)
        for nevra, _ in own.packages
    }
    clashes = ownership_problems(files, together_in(universe), kept)
    return (
        (REPLACES, replaces_findings(universe, view.recipes, declared, release=survey.release)),
        (REPLACES, made_twice(names)),
        (FILES, Findings(clashes)),
        (FILES, base_file_findings(universe, files, kept)),
    )


@dataclass(frozen=True, eq=False)
class _Soundness:
    """What else is wrong with the layer over one base or another; `names`: None for all of it."""

    survey: Survey
    chroot: Chroot
    evaluations: Mapping[str, Evaluation | Problem]
    names: frozenset[str] | None
    memory: dict[View, tuple[tuple[str, Findings], ...]] = field(default_factory=dict)

    def verdicts(self, view: View) -> tuple[Verdict, ...]:
        return tuple(
            verdict
            for kind, findings in self._found(view)
            for verdict in as_verdicts(kind, self.chroot, findings)
        )

    def notes(self, view: View) -> tuple[str, ...]:
        return tuple(note for _, findings in self._found(view) for note in findings.notes)

    def _found(self, view: View) -> Iterable[tuple[str, Findings]]:
        if view not in self.memory:
            self.memory[view] = sound(self.survey, self.chroot, view, view.built, self.evaluations)
        for kind, findings in self.memory[view]:
            yield kind, findings if self.names is None else _about(findings, self.names, view)


def _left_out(
    chroot: Chroot, evaluations: Mapping[str, Evaluation | Problem], asked: Iterable[str]
) -> Iterable[str]:
    """Why there is no verdict on a package that was asked for by name."""
    for name in asked:
        own = evaluations.get(name)
        reason = exclusion(own, chroot.arch) if isinstance(own, Evaluation) else ""
        if reason:
            yield f"{name} is not for {chroot.arch} ({reason})"


def accepted(survey: Survey) -> dict[tuple[str, str, str, tuple[str, ...]], str]:
    """Check, kind, subject and facts of what was published in spite of a check, and why."""
    return {
        (waiver.check, problem.kind, problem.subject, problem.facts): waiver.reason
        for snapshot in read_snapshots(survey.config.path("publication"), survey.release)
        for waiver in snapshot.waivers
        for problem in waiver.problems
    }


def _not_accepted(survey: Survey, findings: Findings) -> Findings:
    """What keeps sites from upgrading, less what was published in spite of it: nothing that is
    built from now on makes it better."""
    known = accepted(survey)
    problems, notes = [], list(findings.notes)
    for problem in findings.problems:
        reason = known.get((UPGRADE, problem.kind, problem.subject, problem.facts))
        if reason is None:
            problems.append(problem)
        else:
            notes.append(f"{problem.facts[0]}; that it goes was accepted: {reason}"
                         if problem.kind == "vanished"
                         else f"{problem.facts[0]}; it was accepted: {reason}")  # fmt: skip
    return Findings(tuple(problems), tuple(notes))


def _about(findings: Findings, names: frozenset[str], view: View) -> Findings:
    """Only what concerns these recipes or their packages."""
    own = names | {nevra.name for nevra, recipe in view.recipes.items() if recipe in names}
    return Findings(tuple(p for p in findings.problems if p.subject in own), ())


def _to_be_shipped(survey: Survey, view: View) -> Shipment:
    """The layer as it would be published once everything is built."""
    return to_be_shipped(
        view.built,
        survey.state / "solv",
        pieces=view.pieces,
        groups=[group.id for group in survey.layer.groups],
    )


def upgrades(
    survey: Survey,
    chroot: Chroot,
    new: Shipment,
    snapshots: Sequence[str] = (EVERY,),
    pins: tuple[Pin, ...] = (),
) -> Findings:
    """What keeps sites at published snapshots from getting to the new packages, over the
    base that is pinned or over `pins`.

    Raises UsageError for a snapshot that was never published.
    """
    publication = Publication(survey.config.path("publication"))
    cache = survey.state / "solv"
    earlier = [
        shipment
        for snapshot in _chosen(publication.snapshots(survey.release), snapshots, survey.release)
        if (
            shipment := published(
                publication.snapshot_directory(survey.release, snapshot.id), chroot.arch, cache,
                name=f"snapshot {snapshot.id[:16]}",
            )
        ) is not None
    ]  # fmt: skip
    if not earlier:
        note = f"nothing was published for {chroot.name} yet: no site has anything to upgrade"
        return Findings(notes=(note,))
    metapackages = [group.id for group in survey.layer.groups if group.metapackage]
    if pins:
        repositories = tuple(pin.repository for pin in pins)
        chroot = msgspec.structs.replace(chroot, repositories=repositories)
    pins = pins or survey.pins(chroot)
    return upgrade_findings(chroot, pins, cache, earlier, new, metapackages)


def _chosen(
    snapshots: Sequence[Snapshot], wanted: Sequence[str], release: str
) -> tuple[Snapshot, ...]:
    if EVERY in wanted:
        return tuple(snapshots)
    chosen = []
    for text in wanted:
        found = [snapshot for snapshot in snapshots if snapshot.id.startswith(text)]
        if len(found) != 1:
            known = ", ".join(snapshot.id[:16] for snapshot in snapshots[-5:]) or "none"
            raise UsageError(
                f"{'no' if not found else 'more than one'} snapshot of {release} is called {text}",
                why=f"the newest are: {known}",
                hint="`all` stands for every snapshot ever published.",
            )
        chosen += found
    return tuple(chosen)


def as_verdicts(check: str, chroot: Chroot, findings: Findings) -> Iterable[Verdict]:
    """Problems of a check as broken verdicts."""
    for problem in findings.problems:
        yield Verdict(check, problem.subject, chroot.name, "broken", problem)

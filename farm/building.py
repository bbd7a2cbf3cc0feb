"""`farm build`: which packages are meant, and the plan walked until nothing more shows; others who
join it with a wish meanwhile (farm/wishes.py) get theirs built as well."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from farm.config import Config
from farm.errors import FarmError
from farm.inputs import check_names, layer_of, read_chroots
from farm.model import Failed, Layer, Plan, Step, digest_of
from farm.parties import Parties, Party
from farm.rebuild.engines.choice import open_engine
from farm.rebuild.scheduler import Ending, Joined, replanned, walk
from farm.recovery import take_over
from farm.reports import BuildReport, BuildRow, ended_row
from farm.survey import Survey
from farm.turns import Waiting
from farm.wishes import Answer, Wish, Wishes
from farm.workshop import Workshop

_MOST_PLANS = 4  # of one run: what one build shows may lead to another that shows more


@dataclass(frozen=True)
class BuildRequest:
    """What `farm build` was asked for. `waiting`: what to do while another farm is at work here."""

    names: tuple[str, ...] = ()
    everything: bool = False
    archs: tuple[str, ...] = ()
    release: str | None = None
    builder: str | None = None
    engine: str | None = None
    jobs: int | None = None
    dry_run: bool = False
    fail_fast: bool = False
    force: bool = False
    retry_failed: bool = False
    urgent: bool = False
    waiting: Waiting = "follow"

    @property
    def srpms(self) -> tuple[Path, ...]:
        """Source packages of elsewhere among the names."""
        return tuple(Path(name) for name in self.names if name.endswith(".src.rpm"))


def wanted(survey: Survey, request: BuildRequest) -> tuple[str, ...]:
    """The packages asked for, by name. Raises UsageError for one that the layer does not have."""
    if request.everything:
        return (*survey.recipes, *survey.left_out)
    if request.retry_failed and not request.names:
        return failed_before(survey)
    names = [name for name in request.names if not name.endswith(".src.rpm")]
    survey.check_names(names)
    return (*names, *(recipe.name for recipe in survey.foreign))


def tries_again(request: BuildRequest, names: tuple[str, ...]) -> Callable[[Step], bool]:
    """Which of the steps for these names are built although they failed before with the same
    inputs: those that were named, all with --retry-failed."""
    named = frozenset(() if request.everything else names)
    return lambda step: request.retry_failed or step.recipe in named


def failed_before(survey: Survey) -> tuple[str, ...]:
    """Packages whose last attempt failed, and those that were skipped because of them."""
    ledger = survey.ledger
    lost = set(ledger.failing())
    names = (*survey.recipes, *survey.left_out)
    found = []
    for step in survey.plan(names).steps if lost else ():  # what is needed comes first
        needs = {f"{need}@{step.chroot}" for need in step.needs}
        if step.id in lost or (needs & lost and ledger.standing(step.id) is None):
            lost.add(step.id)
            found.append(step.recipe)
    return tuple(dict.fromkeys(found))


def wish_of(config: Config, request: BuildRequest) -> Wish | None:
    """What a build that is at work can be asked for in our stead; None when it cannot.

    Raises UsageError for a package that the layer does not have.
    """
    if request.force or request.srpms:
        return None
    release, _ = config.release(request.release)
    layer = layer_of(config, release)
    check_names(layer, request.names)
    return Wish(
        process=os.getpid(),
        release=release,
        names=request.names,
        archs=tuple(chroot.arch for chroot in read_chroots(config, release, request.archs)),
        layer=digest_of_layer(layer),
        everything=request.everything,
        urgent=request.urgent,
        fail_fast=request.fail_fast,
        again=request.retry_failed,
        builder=request.builder or "",
        engine=request.engine or "",
    )


def granted(answer: Answer) -> BuildReport:
    """The report of a build that another process made for us."""
    return msgspec.json.decode(answer.report, type=BuildReport)


def digest_of_layer(layer: Layer) -> str:
    """Of all in it that a build goes by, and of where it lies."""
    problems = tuple((problem.subject, problem.facts) for problem in layer.problems)
    return digest_of((layer.recipes, layer.groups, problems))


class Build:
    """One run of `farm build`: what was asked for here, and what others wish of it meanwhile."""

    def __init__(self, shop: Workshop, request: BuildRequest) -> None:
        survey = shop.survey
        self._began = time.monotonic()
        self._shop, self._request = shop, request
        self._names = wanted(survey, request)
        self._parties = Parties(
            Party("", os.getpid(), self._names, frozenset(c.name for c in survey.chroots),
                  urgent=request.urgent, again=request.retry_failed,
                  named=frozenset(() if request.everything else self._names))
        )  # fmt: skip
        self._wishes = Wishes(survey.state)
        self._plan, self._ended = Plan(()), tuple[Ending, ...]()
        self._said = False
        force = self._names if request.force else ()
        self._settler = shop.settler(force=force, tries_again=self._tries_again)

    def run(self) -> BuildReport:
        """Walk the plan until no rebuild counter moves any more (one counter, all architectures)
        and builds show nothing more that is needed."""
        survey, config = self._shop.survey, self._shop.survey.config
        engine = self._request.engine or config.build.engine
        at = open_engine(
            engine, config, survey.state, self._shop.jobs,
            tell=lambda text: survey.emit("warning", text=text),
        )  # fmt: skip
        recovered = take_over(config, survey.ledger, at, survey.emit)
        self._settler = replace(self._settler, recovered=recovered)
        self._plan = self._planned()
        for problem in survey.problems_beside(self._plan):
            survey.emit("warning", text=str(problem))
        plans = 1
        while len(self._ended) < len(self._plan.steps):
            known = {ending.step.id for ending in self._ended}
            settler = self._settler
            self._parties.begin()
            endings = walk(
                self._plan,
                at,
                settler.settle,
                settler.finish,
                self._shop.expect,
                survey.emit,
                begin=settler.begin,
                again=settler.again,
                joining=self._join,
                urgent=self._parties.urgent,
                going=frozenset(recovered),
                retries=config.build.retries,
                retry_seconds=config.build.retry_seconds,
                fail_fast=self._request.fail_fast,
                ended=self._ended,
            )
            self._ended = settler.still_good(endings)
            self._settler = settler.unforced()
            new = [ending for ending in endings if ending.step.id not in known]
            stopped = self._request.fail_fast and any(_failed(ending) for ending in endings)
            if any(e.may_show_more for e in new) and not stopped and plans < _MOST_PLANS:
                plans += 1
                now = self._planned(renewed=True)
                self._plan, self._ended = replanned(
                    self._plan, now, self._ended, self._settler.stays
                )
        ended = {ending.step.id: ending for ending in self._ended}
        for party in self._parties.waiting:
            self._fulfil(party, ended)
        return self._report(self._parties.own, ended)

    def _tries_again(self, step: Step) -> bool:
        """Whether somebody wants a step built although it failed before with the same inputs."""
        return any(
            step.recipe in party.named or (party.again and step.id in party.steps)
            for party in self._parties.all
        )

    def _planned(self, *, renewed: bool = False) -> Plan:
        """The plan for all who want something, with what has been built since if `renewed`."""
        overview = self._shop.survey.overview
        overview = overview.renewed() if renewed else overview
        if len(self._parties.all) == 1:
            plan = overview.plan(self._names)
            self._parties.own.wants((step.id for step in plan.steps), ())
            return plan
        steps: dict[str, Step] = {}
        for party in self._parties.all:
            plan = overview.plan(party.names)
            own = {step.id: step for step in plan.steps if step.chroot in party.chroots}
            party.wants(own, ())
            steps |= own
        together = tuple(dict.fromkeys(n for party in self._parties.all for n in party.names))
        plan = overview.plan(together)
        now = {step.id: step for step in plan.steps if step.id in steps}
        alone = (step for step in steps.values() if step.id not in now)
        return Plan((*alone, *now.values()), plan.problems)

    def _join(self, endings: Mapping[str, Ending]) -> Joined | None:
        """Answer those whose steps are over, take on those who are new."""
        if self._parties.count(endings):
            self._answer(endings)
        new = self._wishes.new()
        taken = [party for name, wish in new if (party := self._taken(name, wish)) is not None]
        if not taken:
            return None
        self._parties.all += taken
        try:
            self._plan = self._planned()
        except FarmError as error:
            self._parties.all = [party for party in self._parties.all if party not in taken]
            self._plan = self._planned()
            for party in taken:
                self._decline(party.name, error.what)
            return None
        for party in taken:
            party.wants(party.steps, endings)
            self._tell_taken(party)
        self._answer(endings)
        return Joined(self._plan, self._parties.urgent)

    def _taken(self, name: str, wish: Wish) -> Party | None:
        why = self._why_not(wish)
        if why:
            self._decline(name, why)
            return None
        survey = self._shop.survey
        names = (*survey.recipes, *survey.left_out) if wish.everything else wish.names
        chroots = frozenset(c.name for c in survey.chroots if c.arch in wish.archs)
        return Party(
            name, wish.process, names, chroots, wish.urgent, wish.fail_fast,
            again=wish.again, named=frozenset(() if wish.everything else wish.names),
        )  # fmt: skip

    def _why_not(self, wish: Wish) -> str:
        """Why a wish has to wait for its own run, or ""."""
        survey, request = self._shop.survey, self._request
        engine = request.engine or survey.config.build.engine
        if wish.release != survey.release:
            return f"it builds {survey.release}"
        if wish.builder not in ("", "auto", self._shop.builder):
            return f"its builder is {self._shop.builder}"
        if wish.engine not in ("", engine):
            return f"its engine is {engine}"
        if request.fail_fast:
            return "it stops at the first failure"
        if survey.foreign:
            return "it tries a source package of elsewhere"
        if not set(wish.archs) <= {chroot.arch for chroot in survey.chroots}:
            return f"it builds for {', '.join(chroot.arch for chroot in survey.chroots)} only"
        if wish.layer != digest_of_layer(survey.layer):
            return "the layer has changed since it began"
        return ""

    def _answer(self, endings: Mapping[str, Ending]) -> None:
        """Tell those who can be told: all of theirs is over, for good."""
        for party in self._parties.waiting:
            own = [endings[step] for step in party.steps if step in endings]
            failed = party.fail_fast and any(_failed(ending) for ending in own)
            if failed or (not party.left and self._final(own)):
                self._fulfil(party, endings)
        if not self._parties.own.left and self._parties.waiting and not self._said:
            self._said = True
            others = ", ".join(str(party.process) for party in self._parties.waiting)
            self._shop.survey.emit(
                "note", text="what was asked for here is done; going on for process"
                f" {others} (Ctrl-C leaves the rest to it)",
            )  # fmt: skip

    def _final(self, endings: list[Ending]) -> bool:
        """Whether a plan made anew would leave them as they are."""
        return not any(e.unlocked for e in endings) and len(
            self._settler.still_good(endings)
        ) == len(endings)

    def _fulfil(self, party: Party, endings: Mapping[str, Ending]) -> None:
        party.answered = True
        report = msgspec.Raw(msgspec.json.encode(self._report(party, endings)))
        steps = tuple(sorted(party.steps))
        self._wishes.answer(party.name, Answer("done", os.getpid(), steps, report=report))

    def _decline(self, name: str, why: str) -> None:
        self._wishes.answer(name, Answer("declined", os.getpid(), why=why))

    def _tell_taken(self, party: Party) -> None:
        steps = tuple(sorted(party.steps))
        self._wishes.answer(party.name, Answer("taken", os.getpid(), steps))
        what = ", ".join(party.names[:3]) + (" …" if len(party.names) > 3 else "")
        self._shop.survey.emit(
            "note", text=f"process {party.process} wants {what} as well: {len(steps)} steps"
            + (", before everything else" if party.urgent else ""),
        )  # fmt: skip

    def _report(self, party: Party, endings: Mapping[str, Ending]) -> BuildReport:
        survey = self._shop.survey
        own = [endings[s.id] for s in self._plan.steps if s.id in party.steps and s.id in endings]
        rows = tuple(ended_row(ending, self._settler.chroots) for ending in own)
        rest = tuple(
            BuildRow(step.recipe, self._settler.chroots[step.chroot].arch, "skipped",
                     f"process {os.getpid()} goes on with it", bootstrap=step.bootstrap)
            for step in self._plan.steps if step.id in party.steps and step.id not in endings
        )  # fmt: skip
        warnings = self._shop.noarch_differences(e.result for e in own if e.result is not None)
        took = time.monotonic() - self._began
        commit = survey.layer.commit
        return BuildReport(survey.release, commit, rows + rest, took, warnings=warnings)


def _failed(ending: Ending) -> bool:
    return isinstance(ending.outcome, Failed)

"""One run of `farm build`: the plan walked until nothing more shows, for all who want something."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from farm.building.joining import (
    Reading,
    fits,
    obstacle,
    party_of,
    read_again,
    tried_again,
)
from farm.building.parties import Parties, Party, first_told, handed_over
from farm.building.request import BuildRequest, wanted
from farm.errors import FarmError
from farm.model import Failed, Job, Plan, Step
from farm.rebuild.engines import Ended, Engine
from farm.rebuild.engines.choice import open_engine
from farm.rebuild.scheduler import Ending, Joined, LeftOff, Mishap, replanned, walk
from farm.recovery import going_on, take_over
from farm.reports import BuildReport, ended_row
from farm.wishes import Answer, Wish, Wishes
from farm.workshop import Workshop

_MOST_PLANS = 4  # of one run: what one build shows may lead to another that shows more


class Build:
    """What was asked for here, and what others wish of it meanwhile."""

    def __init__(self, shop: Workshop, request: BuildRequest) -> None:
        survey = shop.survey
        self._began = time.monotonic()
        self._shop, self._request = shop, request
        wants = wanted(survey, request)
        self._parties = Parties(
            Party("", os.getpid(), wants, frozenset(c.name for c in survey.chroots),
                  urgent=request.urgent, again=request.retry_failed,
                  named=frozenset(() if request.everything else wants.names))
        )  # fmt: skip
        self._wishes = Wishes(survey.state)
        self._plan, self._ended, self._plans = Plan(()), tuple[Ending, ...](), 1
        self._waiting: list[tuple[str, Wish]] = []  # that the walk was left off for
        self._mishaps: tuple[Mishap, ...] = ()  # of the walk that was left off, as is
        self._unclaimed: tuple[Ended, ...] = ()
        self._built: dict[str, Ending] = {}  # by step: what is only kept when walked again
        self._reasons: dict[str, str] = {}  # why steps were begun
        self._said = False
        self._jobs = shop.jobs  # at a time: of this machine, until the engine is known
        force = wants.names if request.force else ()
        self._settler = shop.settler(force=force, tries_again=self._tries_again)

    def run(self) -> BuildReport:
        """Walk the plan until no rebuild counter moves any more (one counter, all architectures)
        and builds show nothing more that is needed; then answer those who wait still."""
        survey, config = self._shop.survey, self._shop.survey.config
        engine = open_engine(
            self._request.engine or config.build.engine, config, survey.state, self._shop.jobs,
            tell=lambda text: survey.emit("warning", text=text),
        )  # fmt: skip
        self._jobs = engine.capacity.slots
        going = take_over(config, survey.ledger, engine, survey.emit)
        self._plan = self._planned()
        for problem in survey.problems_beside(self._plan):
            survey.emit("warning", text=str(problem))
        try:
            while len(self._ended) < len(self._plan.steps):
                going = self._round(engine, going)
        except BaseException:
            engine.stop()
            raise
        self._shop.survey.checked.save()
        ended = {ending.step.id: ending for ending in self._ended}
        for party in self._parties.waiting:
            self._fulfil(party, ended)
        return self._report(self._parties.own, ended)

    def _round(self, engine: Engine, going: dict[str, Job]) -> dict[str, Job]:
        """Walk the plan once, and make the next one if there is more to do; what goes on in the
        engine's hands meanwhile, by step."""
        self._settler = replace(self._settler, recovered=going, reasons=self._reasons)
        known = {ending.step.id for ending in self._ended}
        try:
            endings = self._walk(engine, frozenset(going))
        except LeftOff as left:
            self._mishaps, self._unclaimed = left.mishaps, left.unclaimed
            return self._begin_anew()
        self._mishaps, self._unclaimed = (), ()
        self._ended = self._settler.still_good(endings)
        self._settler = self._settler.unforced()
        new = [ending for ending in endings if ending.step.id not in known]
        stopped = self._request.fail_fast and any(_failed(ending) for ending in endings)
        if any(e.may_show_more for e in new) and not stopped and self._plans < _MOST_PLANS:
            self._plans += 1
            self._replan()
        return {}

    def _walk(self, engine: Engine, going: frozenset[str]) -> tuple[Ending, ...]:
        settler, build = self._settler, self._shop.survey.config.build
        self._parties.begin()
        return walk(
            self._plan, engine, settler.settle, settler.finish, self._shop.expect,
            self._emit,
            begin=settler.begin,
            again=settler.again,
            joining=self._join,
            learn=self._shop.learn,
            urgent=self._parties.urgent,
            going=going,
            retries=build.retries,
            retry_seconds=build.retry_seconds,
            mishaps=self._mishaps,
            unclaimed=self._unclaimed,
            fail_fast=self._request.fail_fast,
            ended=self._ended,
        )  # fmt: skip

    def _emit(self, state: str, step: str = "", **fields: Any) -> None:
        if state == "running" and fields.get("phase") == "start":
            self._reasons[step] = fields.get("text", "")
        self._shop.survey.emit(state, step, **fields)

    def _replan(self, again: Callable[[Ending], bool] = lambda _: False) -> None:
        """The plan with what is known by now; of what has ended stays what still holds, and is not
        wanted `again`."""
        self._built |= {e.step.id: e for e in self._ended if e.result is not None and not e.kept}
        now = self._planned(renewed=True)
        stay = {e.step.id: e for e in self._ended if not again(e)}
        before = Plan(tuple(step for step in self._plan.steps if step.id in stay))
        endings = tuple(stay.values())
        self._plan, self._ended = replanned(before, now, endings, self._settler.stays)

    def _begin_anew(self) -> dict[str, Job]:
        """The walk was left off for wishes that want the layer read again, or something tried
        again: what runs goes on, what has ended stays as far as it still holds."""
        survey, waiting = self._shop.survey, self._waiting
        self._waiting, self._ended = [], self._settler.still_good(self._ended)
        try:
            reading = read_again(self._shop, [wish for _, wish in waiting])
        except FarmError as error:
            for name, _ in [each for each in waiting if not fits(each[1], survey)]:
                self._decline(name, error.what)
            waiting = [each for each in waiting if fits(each[1], survey)]
            reading = read_again(self._shop, [wish for _, wish in waiting])
        before = self._shop, self._settler, self._parties.all
        try:
            self._take_in(reading, waiting)
        except FarmError as error:  # of what only they want: it fails nobody else
            self._shop, self._settler, self._parties.all = before
            for name, _ in waiting:
                self._decline(name, error.what)
            self._replan()
        survey = self._shop.survey
        planned = {step.id for step in self._plan.steps} - {e.step.id for e in self._ended}
        return going_on(survey.config, survey.ledger, planned)

    def _take_in(self, reading: Reading, wishes: Collection[tuple[str, Wish]]) -> None:
        """Go on with the layer as it was read again, and with these wishes, as far as they are
        of that layer."""
        if reading.shop is not self._shop:
            self._shop.survey.checked.save()
            self._shop = reading.shop
            self._settler = self._shop.settler(tries_again=self._tries_again)
            what = ", ".join(sorted(reading.changed)) or "for more architectures"
            self._shop.survey.emit("note", text=f"the layer was read again: {what}")
        survey = self._shop.survey
        for name in [name for name, wish in wishes if not fits(wish, survey)]:
            self._decline(name, "its layer is another one, or changes just now")
        new = [party_of(name, wish, survey) for name, wish in wishes if fits(wish, survey)]
        self._parties.all = [*self._parties.all, *new]
        if new:
            self._settler = replace(self._settler, since=time.time())

        def again(ending: Ending) -> bool:
            changed = ending.step.recipe in reading.changed
            return changed or (_failed(ending) and _tried_again(ending.step, new))

        self._replan(again)
        self._mishaps = tuple(m for m in self._mishaps if m.step.recipe not in reading.changed)
        for party in new:
            self._tell_taken(party)

    def _tries_again(self, step: Step) -> bool:
        return _tried_again(step, self._parties.all)

    def _planned(self, *, renewed: bool = False) -> Plan:
        """The plan for all who want something, with what has been built since if `renewed`."""
        overview = self._shop.survey.overview
        overview = overview.renewed() if renewed else overview
        own = self._parties.own
        steps: dict[str, Step] = {}
        for party in self._parties.all:
            plan = overview.plan(party.names)
            wants = {step.id: step for step in party.part_of(plan)}
            party.wants(wants)
            steps |= wants
        if self._parties.all == [own] and len(plan.steps) == len(own.steps):
            return plan
        together = tuple(dict.fromkeys(n for party in self._parties.all for n in party.names))
        plan = overview.plan(together)
        now = {step.id: step for step in plan.steps if step.id in steps}
        alone = (step for step in steps.values() if step.id not in now)
        return Plan((*alone, *now.values()), plan.problems)

    def _join(self, endings: Mapping[str, Ending]) -> Joined | None:
        """Answer those whose steps are over, take on those who are new."""
        if self._parties.count(endings):
            self._answer(endings)
        taken = []
        for name, wish in self._wishes.new():
            why = obstacle(wish, self._shop, self._request)
            anew = not fits(wish, self._shop.survey) or tried_again(wish, endings)
            if anew and self._settler.force:
                why = why or "it builds by force what it was called for"
            if why:
                self._decline(name, why)
            elif anew:
                self._waiting.append((name, wish))
            else:
                taken.append(party_of(name, wish, self._shop.survey))
        joined = self._joined(taken, endings) if taken else None
        if self._waiting:
            self._leave_off(endings)
        return joined

    def _joined(self, taken: list[Party], endings: Mapping[str, Ending]) -> Joined | None:
        before = self._parties.all
        self._parties.all = [*before, *taken]
        try:
            self._plan = self._planned()
        except FarmError as error:
            self._parties.all = before
            self._plan = self._planned()
            for party in taken:
                self._decline(party.name, error.what)
            return None
        self._parties.begin()
        self._parties.count(endings)
        for party in taken:
            self._tell_taken(party)
        self._answer(endings)
        return Joined(self._plan, self._parties.urgent)

    def _leave_off(self, endings: Mapping[str, Ending]) -> None:
        self._ended = tuple(endings.values())
        raise LeftOff

    def _answer(self, endings: Mapping[str, Ending]) -> None:
        """Tell those who can be told: all of theirs is over, for good."""
        for party in self._parties.waiting:
            own = [endings[step] for step in party.steps if step in endings]
            if party.fail_fast and any(_failed(ending) for ending in own):
                self._fulfil(party, endings)
            elif not party.left and self._shows_more(party, own):
                party.plans += 1
                self._leave_off(endings)
            elif not party.left:
                self._fulfil(party, endings)
        if not self._parties.own.left and self._parties.waiting and not self._said:
            self._said = True
            others = ", ".join(str(party.process) for party in self._parties.waiting)
            self._shop.survey.emit(
                "note", text="what was asked for here is done; going on for process"
                f" {others} (Ctrl-C leaves the rest to it)",
            )  # fmt: skip

    def _shows_more(self, party: Party, endings: list[Ending]) -> bool:
        """Whether what was built for a party has shown that it needs more, or a rebuild counter
        moved: the plan is made anew for it now, not when all the others are done."""
        if party.plans >= _MOST_PLANS:
            return False
        if len(self._settler.still_good(endings)) < len(endings):
            return True
        if not any(ending.may_show_more for ending in endings):
            return False
        plan = self._shop.survey.overview.renewed().plan(party.names)
        steps = party.part_of(plan)
        _, ended = replanned(Plan(()), Plan(steps), endings, self._settler.stays)
        return len(ended) < len(steps)

    def _fulfil(self, party: Party, endings: Mapping[str, Ending]) -> None:
        party.answered = True
        report = msgspec.Raw(msgspec.json.encode(self._report(party, endings)))
        steps = tuple(sorted(party.steps))
        self._wishes.answer(
            party.name, Answer("done", os.getpid(), steps, report=report, jobs=self._jobs)
        )

    def _decline(self, name: str, why: str) -> None:
        self._wishes.answer(name, Answer("declined", os.getpid(), why=why))

    def _tell_taken(self, party: Party) -> None:
        steps = tuple(sorted(party.steps))
        self._wishes.answer(party.name, Answer("taken", os.getpid(), steps, jobs=self._jobs))
        what = ", ".join(party.names[:3]) + (" …" if len(party.names) > 3 else "")
        number = f"{len(steps)} step{'' if len(steps) == 1 else 's'}"
        order = ", before everything else" if party.urgent else ""
        text = f"process {party.process} wants {what} as well: {number}{order}"
        self._shop.survey.emit("note", text=text)

    def _report(self, party: Party, endings: Mapping[str, Ending]) -> BuildReport:
        survey, chroots = self._shop.survey, self._settler.chroots
        steps = [step for step in self._plan.steps if step.id in party.steps]
        ended = [first_told(endings[s.id], self._built) for s in steps if s.id in endings]
        rest = [step for step in steps if step.id not in endings]
        rows = (*(ended_row(ending, chroots) for ending in ended),
                *(handed_over(step, chroots) for step in rest))  # fmt: skip
        warnings = self._shop.noarch_differences(e.result for e in ended if e.result is not None)
        took = time.monotonic() - self._began
        return BuildReport(survey.release, survey.layer.commit, rows, took, warnings=warnings)


def _tried_again(step: Step, parties: Collection[Party]) -> bool:
    """Whether somebody wants a step built although it failed before with the same inputs."""
    return any(
        step.recipe in party.named or (party.again and step.id in party.steps) for party in parties
    )


def _failed(ending: Ending) -> bool:
    return isinstance(ending.outcome, Failed)

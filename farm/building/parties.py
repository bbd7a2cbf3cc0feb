"""Who wants what of a build that goes on: whoever called, and those who joined with a wish."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

from farm.building.request import Wanted
from farm.model import Chroot, Plan, Step
from farm.rebuild.scheduler import Ending
from farm.reports import BuildRow


@dataclass
class Party:
    """One of those who want something; `name` is that of its wish, "" for whoever called.

    `steps` are ids of what is built for it, `left` those without an ending. What is `named`, or
    with `again` all of its steps, is built although it failed before with the same inputs.
    """

    name: str
    process: int
    wanted: Wanted
    chroots: frozenset[str]
    urgent: bool = False
    fail_fast: bool = False
    again: bool = False
    named: frozenset[str] = frozenset()
    steps: frozenset[str] = frozenset()
    left: set[str] = field(default_factory=set)
    plans: int = 1  # that were made for it, because builds showed more
    answered: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The packages that it wants."""
        return self.wanted.names

    def part_of(self, plan: Plan) -> tuple[Step, ...]:
        """What of a plan for the names that it wants is built for it."""
        return tuple(step for step in self.wanted.of(plan).steps if step.chroot in self.chroots)

    def wants(self, steps: Iterable[str]) -> None:
        """These are its steps from now on."""
        self.steps = frozenset(steps)
        self.left = set(self.steps)


class Parties:
    """All of them, and how far each is."""

    def __init__(self, own: Party) -> None:
        self.own = own
        self.all = [own]
        self._seen = 0  # endings that were counted

    @property
    def waiting(self) -> tuple[Party, ...]:
        """Those that wait for their answer; whoever called waits for the end of the run."""
        return tuple(party for party in self.all if party.name and not party.answered)

    @property
    def urgent(self) -> frozenset[str]:
        """What overtakes everything else."""
        return frozenset(step for party in self.all if party.urgent for step in party.steps)

    def begin(self) -> None:
        """A walk begins: what has ended is to be counted anew."""
        self._seen = 0
        for party in self.all:
            party.wants(party.steps)

    def count(self, endings: Mapping[str, Ending]) -> bool:
        """Note what has ended since the last time; whether anything has."""
        new = list(islice(endings, self._seen, None))
        self._seen += len(new)
        for party in self.all:
            party.left.difference_update(new)
        return bool(new)


def first_told(ending: Ending, built: Mapping[str, Ending]) -> Ending:
    """What this run has built (by step) is not told as kept because it was walked again."""
    before = built.get(ending.step.id)
    if before is None or not ending.kept or before.result is None or ending.result is None:
        return ending
    return before if before.result.key == ending.result.key else ending


def handed_over(step: Step, chroots: Mapping[str, Chroot]) -> BuildRow:
    """A row for a step that whoever wished it waits for no longer."""
    reason = f"process {os.getpid()} goes on with it"
    arch = chroots[step.chroot].arch
    return BuildRow(step.recipe, arch, "skipped", reason, bootstrap=step.bootstrap)

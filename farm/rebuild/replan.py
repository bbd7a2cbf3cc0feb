"""A plan made anew after builds that showed what else is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from farm.model import Plan
from farm.rebuild.decisions import Ending, Stays


def replanned(
    before: Plan, now: Plan, endings: Sequence[Ending], stays: Stays
) -> tuple[Plan, tuple[Ending, ...]]:
    """The plan to be walked now, and the endings that stay.

    To be walked again are new steps, those without a lock that turn out to need more, those
    whose result does not stay with what they need now, and whatever needs one of these. What is
    no longer planned keeps its ending.
    """
    ended = {ending.step.id: ending for ending in endings}
    again: set[str] = set()
    for step in now.steps:
        ending = ended.get(step.id)
        needs = {need: f"{need}@{step.chroot}" for need in step.awaited}
        if ending is None or not again.isdisjoint(needs.values()):
            again.add(step.id)
        elif ending.unlocked:
            if not needs.keys() <= set(ending.step.awaited):
                again.add(step.id)
        elif ending.result is not None and needs.keys() != set(ending.step.awaited):
            have = {n: r for n, id_ in needs.items() if (r := ended[id_].result) is not None}
            if not set(step.needs) <= have.keys() or not stays(step, have, ending.result):
                again.add(step.id)
    planned = {step.id for step in now.steps}
    steps = (*(step for step in before.steps if step.id not in planned), *now.steps)
    kept = (replace(ended[s.id], step=s) for s in steps if s.id in ended and s.id not in again)
    return Plan(steps, now.problems), tuple(kept)

"""`farm build`: which packages are meant, and the plan walked until nothing more shows."""

from __future__ import annotations

from dataclasses import dataclass

from farm.model import Failed, Plan
from farm.rebuild.engines.local import LocalEngine
from farm.rebuild.scheduler import Ending, replanned, walk
from farm.rebuild.settle import Settler
from farm.survey import Survey
from farm.workshop import Workshop

_MOST_PLANS = 4  # of one run: what one build shows may lead to another that shows more


@dataclass(frozen=True)
class BuildRequest:
    """What `farm build` was asked for."""

    names: tuple[str, ...] = ()
    everything: bool = False
    archs: tuple[str, ...] = ()
    release: str | None = None
    builder: str | None = None
    jobs: int | None = None
    dry_run: bool = False
    fail_fast: bool = False
    force: bool = False


def wanted(survey: Survey, request: BuildRequest) -> tuple[str, ...]:
    """The packages asked for, by name. Raises UsageError for one that the layer does not have."""
    if request.everything:
        return (*survey.recipes, *survey.left_out)
    names = [name for name in request.names if not name.endswith(".src.rpm")]
    survey.check_names(names)
    return (*names, *(recipe.name for recipe in survey.foreign))


def rebuild(
    shop: Workshop, names: tuple[str, ...], plan: Plan, settler: Settler, *, fail_fast: bool
) -> tuple[Ending, ...]:
    """Walk the plan until no rebuild counter moves any more (one counter, all architectures) and
    builds show nothing more that is needed."""
    ended: tuple[Ending, ...] = ()
    plans = 1
    while len(ended) < len(plan.steps):
        known = {ending.step.id for ending in ended}
        endings = walk(
            plan,
            LocalEngine(shop.jobs),
            settler.settle,
            settler.finish,
            shop.expect,
            shop.survey.emit,
            fail_fast=fail_fast,
            ended=ended,
        )
        ended = settler.still_good(endings)
        settler = settler.unforced()
        new = [ending for ending in endings if ending.step.id not in known]
        stopped = fail_fast and any(isinstance(ending.outcome, Failed) for ending in endings)
        if any(e.may_show_more for e in new) and not stopped and plans < _MOST_PLANS:
            plans += 1
            plan, ended = replanned(plan, shop.survey.planned_again(names), ended, settler.stays)
    return ended

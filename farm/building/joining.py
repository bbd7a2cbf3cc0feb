"""Who may join a build that is at work, and what of the layer has to be read again for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from farm.building.parties import Party
from farm.building.request import BuildRequest, Wanted, digest_of_layer, failed_before
from farm.errors import StateError
from farm.model import Failed
from farm.rebuild.scheduler import Ending
from farm.survey import Survey, open_survey
from farm.wishes import Wish
from farm.workshop import Workshop, open_workshop


def obstacle(wish: Wish, shop: Workshop, request: BuildRequest) -> str:
    """Why a wish has to wait for its own run, or ""."""
    survey = shop.survey
    engine = request.engine or survey.config.build.engine
    if wish.release != survey.release:
        return f"it builds {survey.release}"
    if wish.builder not in ("", "auto", shop.builder):
        return f"its builder is {shop.builder}"
    if wish.engine not in ("", engine):
        return f"its engine is {engine}"
    if request.fail_fast:
        return "it stops at the first failure"
    if survey.foreign:
        return "it tries a source package of elsewhere"
    return ""


def fits(wish: Wish, survey: Survey) -> bool:
    """Whether the layer is still the one that was read, and read for these architectures."""
    archs = {chroot.arch for chroot in survey.chroots}
    return set(wish.archs) <= archs and wish.layer == digest_of_layer(survey.layer)


def tried_again(wish: Wish, endings: Mapping[str, Ending]) -> bool:
    """Whether something has failed already that is to be tried again for this wish."""
    return any(
        isinstance(ending.outcome, Failed)
        and (wish.again or (ending.step.recipe in wish.names and not wish.everything))
        for ending in endings.values()
    )


def party_of(name: str, wish: Wish, survey: Survey) -> Party:
    """Who wishes that."""
    wants = Wanted((*survey.recipes, *survey.left_out) if wish.everything else wish.names)
    if wish.again and not wants.names:
        wants = failed_before(survey)
    chroots = frozenset(c.name for c in survey.chroots if c.arch in wish.archs)
    return Party(
        name, wish.process, wants, chroots, wish.urgent, wish.fail_fast,
        again=wish.again, named=frozenset(() if wish.everything else wish.names),
    )  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """The layer as it is now: `changed` are recipes that have other contents than before."""

    shop: Workshop
    changed: frozenset[str] = frozenset()


def read_again(shop: Workshop, wishes: Sequence[Wish]) -> Reading:
    """The layer with what was committed since, for the wishes' architectures as well.

    Raises FarmError for what a build that goes on cannot take up.
    """
    if all(fits(wish, shop.survey) for wish in wishes):
        return Reading(shop)
    before = shop.survey
    archs = {chroot.arch for chroot in before.chroots}.union(*(wish.archs for wish in wishes))
    survey = open_survey(
        before.config, before.ledger, before.emit, release=before.release,
        archs=tuple(chroot.arch for chroot in before.every_chroot if chroot.arch in archs),
    )  # fmt: skip
    was, now = before.recipes, survey.recipes
    changed = {
        name
        for name in was.keys() | now.keys()
        if name not in was or name not in now or was[name].digest != now[name].digest
        or was[name].scratch != now[name].scratch
    }  # fmt: skip
    gone = sorted(changed - now.keys())
    if gone:
        raise StateError(f"{gone[0]} has left the layer since it began")
    scratch = sorted(name for name in changed if now[name].scratch)
    if scratch:
        raise StateError(f"{scratch[0]} has uncommitted changes, which it does not read again")
    return Reading(open_workshop(survey, builder=shop.builder, jobs=shop.jobs), frozenset(changed))

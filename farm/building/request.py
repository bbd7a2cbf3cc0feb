"""What `farm build` was asked for: which packages are meant, and what can be wished of another."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from farm.config import Config
from farm.inputs import check_names, layer_of, read_chroots
from farm.model import Layer, Plan, Step, digest_of
from farm.reports import BuildReport
from farm.survey import Survey
from farm.turns import Waiting
from farm.wishes import Answer, Wish


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


@dataclass(frozen=True)
class Wanted:
    """Packages by name, and of their steps these alone (by id), or all (None)."""

    names: tuple[str, ...]
    steps: frozenset[str] | None = None

    def of(self, plan: Plan) -> Plan:
        """What of a plan for these names is wanted, with what that needs."""
        if self.steps is None:
            return plan
        there = {(step.chroot, step.name): step for step in plan.steps}
        left = [step for step in plan.steps if step.id in self.steps]
        found = set[str]()
        while left:
            step = left.pop()
            if step.id not in found:
                found.add(step.id)
                needs = (there.get((step.chroot, name)) for name in step.awaited)
                left += [need for need in needs if need is not None]
        return Plan(tuple(step for step in plan.steps if step.id in found), plan.problems)


def wanted(survey: Survey, request: BuildRequest) -> Wanted:
    """The packages asked for. Raises UsageError for one that the layer does not have."""
    if request.everything:
        return Wanted((*survey.recipes, *survey.left_out))
    if request.retry_failed and not request.names:
        return failed_before(survey)
    names = [name for name in request.names if not name.endswith(".src.rpm")]
    survey.check_names(names)
    return Wanted((*names, *(recipe.name for recipe in survey.foreign)))


def tries_again(request: BuildRequest, names: tuple[str, ...]) -> Callable[[Step], bool]:
    """Which of the steps for these names are built although they failed before with the same
    inputs: those that were named, all with --retry-failed."""
    named = frozenset(() if request.everything else names)
    return lambda step: request.retry_failed or step.recipe in named


def failed_before(survey: Survey) -> Wanted:
    """Packages whose last attempt failed, and those that were skipped because of them, where they
    failed: nobody notes these, so it is all that need one; what need not be built again is
    kept."""
    lost = set(survey.ledger.failing())
    names = (*survey.recipes, *survey.left_out)
    found = []
    for step in survey.plan(names).steps if lost else ():  # what is needed comes first
        needs = {f"{need}@{step.chroot}" for need in step.needs}
        if step.id in lost or needs & lost:
            lost.add(step.id)
            found.append(step)
    return Wanted(
        tuple(dict.fromkeys(step.recipe for step in found)), frozenset(step.id for step in found)
    )


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
        jobs=request.jobs or 0,
    )


def granted(answer: Answer) -> BuildReport:
    """The report of a build that another process made for us."""
    return msgspec.json.decode(answer.report, type=BuildReport)


def digest_of_layer(layer: Layer) -> str:
    """Of all in it that a build goes by, and of where it lies."""
    problems = tuple((problem.subject, problem.facts) for problem in layer.problems)
    return digest_of((layer.recipes, layer.groups, problems))

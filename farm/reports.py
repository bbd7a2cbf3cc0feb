"""What the verbs answer, as data: rows for screens and for programs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from farm.errors import FarmError
from farm.ledger import Ledger
from farm.model import Attempt, Built, Chroot, Failed, Layer, Result, Snapshot, Step
from farm.rebuild.scheduler import Ending, Keep, Refuse, failed_plan
from farm.rebuild.settle import Settler
from farm.steps import bootstrap_name, is_bootstrap

Verdict = Literal["built", "kept", "failed", "skipped", "build", "keep", "wait"]
_NEVER = " (bootstrap: never published)"


@dataclass(frozen=True)
class BuildRow:
    """How one step ended, or would. `seconds`: of the build, or expected of it."""

    recipe: str
    arch: str
    verdict: Verdict
    reason: str = ""
    seconds: float = 0.0
    evr: str = ""
    commit: str = ""
    failed: Failed | None = None
    bootstrap: bool = False  # not the package itself, but what lets its cycle be built

    @property
    def title(self) -> str:
        return f"{self.recipe} (bootstrap)" if self.bootstrap else self.recipe


@dataclass(frozen=True)
class BuildReport:
    """How a build went, or would go."""

    release: str
    commit: str
    rows: tuple[BuildRow, ...]
    seconds: float
    dry_run: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Nothing failed (an excluded architecture is no failure)."""
        return not any(row.verdict == "failed" for row in self.rows)


@dataclass(frozen=True)
class PackageStatus:
    """One package on one architecture."""

    recipe: str
    arch: str
    stands: str  # version-release that counts, "" for none
    seconds: float  # that its build took
    commit: str  # of the layer, that it was built from
    published: str  # version-release in the release's current snapshot
    last: str  # how the last attempt went, in words
    verified: str = ""  # what `farm verify` said of what stands, "" for nothing yet


def ended_row(ending: Ending, chroots: Mapping[str, Chroot]) -> BuildRow:
    """A row for a step that ran."""
    step, outcome = ending.step, ending.outcome
    row = partial(BuildRow, step.recipe, chroots[step.chroot].arch, bootstrap=step.bootstrap)
    if isinstance(outcome, Failed):
        what = outcome.message.splitlines()[0]
        return row("failed", what, outcome.seconds, failed=outcome)
    if not isinstance(outcome, Built):
        return row("skipped", outcome.because)
    result = ending.result
    scratch = " (scratch: never published)" if result is not None and result.scratch else ""
    return row(
        "kept" if ending.kept else "built",
        ending.reason + (scratch or (_NEVER if step.bootstrap else "")),
        seconds=0.0 if ending.kept else outcome.seconds,
        evr=outcome.srpm.nevra.evr,
        commit=result.commit if result is not None else "",
    )


def foreseen_rows(
    settler: Settler,
    steps: Sequence[Step],
    seconds: Mapping[str, float],
    kept: dict[str, Result] | None = None,
) -> tuple[BuildRow, ...]:
    """What would be built and why. Behind a step that would be built, the answer is open.

    `kept` is given the results of the steps that would keep theirs.
    """
    rows = []
    results: dict[str, Result] = kept if kept is not None else {}
    lost: set[str] = set()
    for step in steps:
        arch = settler.chroots[step.chroot].arch
        row = partial(BuildRow, step.recipe, arch, bootstrap=step.bootstrap)
        never = _NEVER if step.bootstrap else ""
        ids = {name: f"{name}@{step.chroot}" for name in step.awaited}
        gone = [name for name in step.needs if ids[name] in lost]
        waiting = [n for n, need in ids.items() if need not in results and need not in lost]
        about = seconds[step.id]
        if step.excluded:
            rows.append(row("skipped", step.excluded))
        elif step.problem is not None:
            failed = failed_plan(step.problem)
            rows.append(row("failed", failed.message, failed=failed))
        elif gone:
            rows.append(row("skipped", f"{gone[0]}, which it needs, cannot be built"))
        elif waiting:
            certain = _certain(settler, step, ids)
            if certain:
                reason = f"{certain}; after {', '.join(waiting)}"
                rows.append(row("build", reason + never, about))
            else:
                reason = f"if the bytes of {', '.join(waiting)} change"
                rows.append(row("wait", reason + never, about))
        else:
            own = {name: results[need] for name, need in ids.items() if need in results}
            decision = settler.foresee(step, own)
            if isinstance(decision, Keep):
                results[step.id] = decision.result
                evr = decision.result.built.srpm.nevra.evr
                rows.append(row("keep", decision.reason + never, evr=evr))
            elif isinstance(decision, Refuse):
                what = decision.failed.message.splitlines()[0]
                rows.append(row("failed", what, failed=decision.failed))
            else:
                rows.append(row("build", decision[2] + never, about))
        if rows[-1].verdict in ("failed", "skipped"):
            lost.add(step.id)
    return tuple(rows)


def _certain(settler: Settler, step: Step, ids: Mapping[str, str]) -> str:
    """Why a step is built whatever becomes of the needs that it waits for, or ""."""
    certain = settler.certain(step)
    if certain:
        return "" if settler.built_before(step) else certain
    needs = {name: settler.ledger.standing(need) for name, need in ids.items()}
    there = {name: result for name, result in needs.items() if result is not None}
    with contextlib.suppress(FarmError):  # a file that is lost
        return settler.certain_of_base(step, there) if set(step.needs) <= set(there) else ""
    return ""


def package_statuses(
    layer: Layer,
    chroots: Sequence[Chroot],
    ledger: Ledger | None,
    current: Snapshot | None,
    verified: Callable[[Result], str],
) -> tuple[PackageStatus, ...]:
    """Every recipe of the layer on every architecture; `verified` says what was found of one."""
    published: dict[tuple[str, str], str] = {}
    if current is not None:
        for signed in current.packages:
            nevra = signed.package.nevra
            published.setdefault((signed.package.source, nevra.arch), nevra.vr)
    rows = []
    for recipe in layer.recipes:
        for chroot in chroots:
            step = f"{recipe.name}@{chroot.name}"
            standing = ledger.standing(step) if ledger else None
            attempts = _newest(ledger, recipe.name, chroot)
            there = published.get((recipe.name, chroot.arch)) or published.get(
                (recipe.name, "noarch"), ""
            )
            rows.append(
                PackageStatus(
                    recipe=recipe.name,
                    arch=chroot.arch,
                    stands=standing.built.srpm.nevra.evr if standing else "",
                    seconds=standing.built.seconds if standing else 0.0,
                    commit=standing.commit if standing else "",
                    published=there,
                    last=_last(attempts[0]) if attempts else "never tried",
                    verified=verified(standing) if standing else "",
                )
            )
    return tuple(rows)


def _last(attempt: Attempt) -> str:
    outcome = attempt.outcome
    what = "bootstrap " if is_bootstrap(attempt.step) else ""
    if isinstance(outcome, Built):
        return f"{what}built"
    if isinstance(outcome, Failed):
        how = "interrupted" if outcome.kind == "interrupted" else "failed"
        return f"{what}{how}: {outcome.message.splitlines()[0]}"
    return f"{what}skipped: {outcome.because}"


def _newest(ledger: Ledger | None, name: str, chroot: Chroot) -> tuple[Attempt, ...]:
    """The last attempt of a package, or of its bootstrap."""
    steps = (f"{each}@{chroot.name}" for each in (name, bootstrap_name(name)))
    found = [attempt for step in steps if ledger for attempt in ledger.attempts(step, limit=1)]
    return tuple(sorted(found, key=lambda attempt: attempt.started)[-1:])

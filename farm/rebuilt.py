"""Why would a package be built again, or why not? The first input that differs, old and new."""

from __future__ import annotations

import contextlib
import difflib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from farm.errors import FarmError, UsageError
from farm.layer.history import earlier_bytes
from farm.ledger import Ledger
from farm.model import Chroot, Lock, Recipe, Result, Step
from farm.plan.why import Asked, Link, chain
from farm.rebuild.changes import Change, of_chroot, of_lock, of_recipe, summed_up
from farm.rebuild.keys import changed_inputs
from farm.rebuild.settle import Settler
from farm.reports import BuildRow, foreseen_rows
from farm.steps import recipe_of
from farm.workshop import Workshop

_MOST_LINES = 8  # of a changed text
_MOST_BYTES = 1 << 20  # of a text that is compared line by line


@dataclass(frozen=True)
class RebuildRequest:
    """What `farm why PKG --rebuild` was asked for."""

    name: str
    archs: tuple[str, ...] = ()
    release: str | None = None


@dataclass(frozen=True)
class Differing:
    """An input that differs; of a text the first changed lines, of a package of the build root
    the chain of requirements that leads to it."""

    change: Change
    lines: tuple[str, ...] = ()
    because: tuple[Link, ...] = ()


@dataclass(frozen=True)
class Standing:
    """What stands for a step: version, when it was built (seconds since 1970), of which commit,
    and for what reason it took the place of the one before."""

    evr: str
    finished: float
    commit: str
    instead: str


@dataclass(frozen=True)
class Rebuild:
    """One step: what would be done with it, why, and what is not as it was."""

    recipe: str
    arch: str
    verdict: str  # as of `farm build --dry-run`
    reason: str
    policy: str
    standing: Standing | None = None
    first: Differing | None = None
    others: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    bootstrap: bool = False
    compared: bool = False  # with all of what it would be built from now


def rebuilds(shop: Workshop, name: str) -> tuple[Rebuild, ...]:
    """What differs for every step of a recipe. Raises UsageError for a name not in the layer."""
    shop.survey.check_names((name,))
    if name not in shop.survey.recipes:
        raise UsageError(
            f"the spec of {name} cannot be used, so nobody knows what would be built",
            hint=f"`farm check {name}` says why.",
        )
    plan = shop.survey.plan((name,))
    settler = shop.settler(looking=True)
    foreseen: dict[str, Result] = {}
    rows = foreseen_rows(settler, plan.steps, {s.id: 0.0 for s in plan.steps}, foreseen)
    return tuple(
        _Asked(shop, settler, step, row, foreseen).answer()
        for step, row in zip(plan.steps, rows, strict=True)
        if step.recipe == name
    )


@dataclass(frozen=True)
class _Asked:
    shop: Workshop
    settler: Settler
    step: Step
    row: BuildRow
    foreseen: Mapping[str, Result]

    def answer(self) -> Rebuild:
        result = self.settler.ledger.standing(self.step.id)
        answer = Rebuild(
            self.step.recipe, self.row.arch, self.row.verdict, self.row.reason,
            self.settler.policy, bootstrap=self.step.bootstrap,
        )  # fmt: skip
        if result is None:
            return answer
        answer = replace(answer, standing=standing_of(self.settler.ledger, result))
        if self.row.verdict in ("skipped", "failed"):
            return answer
        kept, lock = self.foreseen.get(self.step.id), self._lock()
        notes = []
        if kept is not None and kept.key != result.key:
            notes.append(f"the same inputs were built on {date_of(kept.finished)}: that is taken")
        if lock is None:
            notes.append("its build root cannot be told before what it needs is built")
        recipe, chroot = self.shop.survey.recipes[self.step.recipe], self.settler.chroot(self.step)
        changes = changed_inputs(result, recipe, chroot, lock or result.lock)
        return replace(
            answer,
            first=self._told(changes[0], result, recipe, chroot, lock) if changes else None,
            others=changes[1:],
            notes=tuple(notes),
            compared=lock is not None,
        )

    def _lock(self) -> Lock | None:
        """The lock over what stands of its needs, which is what it will be if they stay."""
        found = self._needs()
        if found is None:
            return None
        with contextlib.suppress(FarmError):
            lock = self.settler.stages.lock(self.step, self.settler.evaluation(self.step), found)
            return lock if isinstance(lock, Lock) else None
        return None

    def _needs(self) -> dict[str, Result] | None:
        found = {}
        for need in self.step.awaited:
            where = f"{need}@{self.step.chroot}"
            result = self.foreseen.get(where) or self.settler.ledger.standing(where)
            if result is not None:
                found[need] = result
            elif need in self.step.needs:
                return None
        return found

    def _told(
        self, change: Change, result: Result, recipe: Recipe, chroot: Chroot, lock: Lock | None
    ) -> Differing:
        if change.kind == "recipe":
            return Differing(change, tuple(self._changed_lines(change, result, recipe)))
        if change.kind == "chroot" and "\n" in change.old + change.new:
            return Differing(change, tuple(_diff(change.subject, change.old, change.new)))
        if change.kind == "lock" and change.new and lock is not None:
            return Differing(change, because=self._chain(change, chroot, lock))
        return Differing(change)

    def _changed_lines(self, change: Change, result: Result, recipe: Recipe) -> Iterator[str]:
        new = _text(Path(recipe.directory, change.subject).read_bytes()) if change.new else ""
        old = _text(self._earlier(change, result)) if change.old else ""
        if old is None or new is None:
            yield f"sha256 {change.old or '-'} → {change.new or '-'}"
        else:
            yield from _diff(change.subject, old, new)

    def _earlier(self, change: Change, result: Result) -> bytes | None:
        """The bytes of then: from the store, which keeps a result's inputs, or from git."""
        if change.old in self.settler.store:
            return self.settler.store.path(change.old).read_bytes()
        specs = self.shop.survey.config.path("specs")
        path = f"{self.step.recipe}/{change.subject}"
        return earlier_bytes(specs, result.commit, path, change.old) if result.commit else None

    def _chain(self, change: Change, chroot: Chroot, lock: Lock) -> tuple[Link, ...]:
        evaluation = self.settler.evaluation(self.step)
        needs = self._needs() or {}
        packages = [p for name in sorted(needs) for p in needs[name].built.packages if not p.debug]
        universe = self.shop.survey.universe(self.settler.chroots[self.step.chroot], packages)
        asked = (
            Asked(self.step.name, "BuildRequires", evaluation.build_requires),
            Asked("every build root", "is set up with", chroot.setup),
        )
        return chain(universe, asked, lock, change.subject)


def standing_of(ledger: Ledger, result: Result) -> Standing:
    """A result as `farm why` tells it: what it replaced is the newest before it that counted."""
    evr = result.built.srpm.nevra.evr
    earlier = [r for r in ledger.results_of(result.step) if r.finished < result.finished]
    before = next((r for r in reversed(earlier) if not r.scratch), None)
    return Standing(evr, result.finished, result.commit, _instead(before, result))


def _instead(before: Result | None, result: Result) -> str:
    """Why a result took the place of the one before it."""
    if before is None:
        return "nothing was built before it"
    recipe = Recipe(
        recipe_of(result.step), result.spec or _spec_of(result), "", result.recipe_files
    )
    changes: tuple[Change, ...] = ()
    if before.manifest.recipe != result.manifest.recipe:
        changes += of_recipe(before, recipe)
    if before.manifest.chroot != result.manifest.chroot:
        unknown = Change("chroot", "", "the chroot's settings, which were not recorded, changed")
        changes += of_chroot(before, result.chroot) if result.chroot is not None else (unknown,)
    if before.manifest.recipe_number != result.manifest.recipe_number:
        changes += (Change("farm", "recipe number", "farm's way of building changed"),)
    changes += of_lock(before.lock, result.lock)
    if not changes and before.counter != result.counter:
        return f"the rebuild counter moved to {result.counter}"
    return summed_up(changes, most=1) or "nothing differs: it was asked for"


def _spec_of(result: Result) -> str:
    """The spec of a result whose farm did not record it."""
    return next((f.path for f in result.recipe_files if f.path.endswith(".spec")), "")


def date_of(seconds: float) -> str:
    """A moment (seconds since 1970) as people read it."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def _text(content: bytes | None) -> str | None:
    """None for what is no text, or too long to be compared."""
    if content is None or len(content) > _MOST_BYTES or b"\0" in content:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _diff(name: str, old: str, new: str) -> Iterator[str]:
    """The first changed lines of a text, each with its place in the old or the new one."""
    matcher = difflib.SequenceMatcher(None, old.splitlines(), new.splitlines(), autojunk=False)
    lines = [
        line
        for tag, i1, i2, j1, j2 in matcher.get_opcodes()
        if tag != "equal"
        for line in (
            *(f"{name}:{n + 1} - {old.splitlines()[n]}" for n in range(i1, i2)),
            *(f"{name}:{n + 1} + {new.splitlines()[n]}" for n in range(j1, j2)),
        )
    ]
    yield from lines[:_MOST_LINES]
    if len(lines) > _MOST_LINES:
        yield f"… and {len(lines) - _MOST_LINES} more changed lines"

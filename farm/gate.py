"""What a snapshot has to pass before sites see it: every check, on the very packages to be
published, over the base as it is pinned and as sites have it now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from farm.bases import PRESENT, other_base
from farm.checks import CHECKS, UPGRADE, accepted, as_verdicts, sound, upgrades, views
from farm.config import nearest
from farm.errors import FarmError, PublishError, SnapshotRefused, UsageError
from farm.model import Chroot, Evaluation, Package, Problem, Result, Verdict, Waiver
from farm.plan.fit.blame import Bases
from farm.plan.fit.check import layer_verdicts, question
from farm.plan.fit.contribution import Contribution
from farm.plan.fit.findings import Findings, listed
from farm.plan.fit.shipment import to_be_shipped
from farm.plan.metadata.pins import Pin
from farm.plan.metadata.repodata import moved_on
from farm.publish.attestations import CHECK as ATTESTATIONS
from farm.publish.attestations import Quorum
from farm.publish.gates import Contents
from farm.survey import Survey

Locate = Callable[[Package], Path]
_FORCED = (*CHECKS, ATTESTATIONS)  # what may be published in spite of
_SHOWN = 12  # problems in one refusal
_SHARED = ("nothing-provides", "conflict", "unknown")  # kinds of which one can be behind others


@dataclass(frozen=True)
class Gate:
    """Judges what is about to be published. `forced`: check → why it may fail this time."""

    survey: Survey
    results: Mapping[str, Sequence[Result]]  # by architecture
    forced: Mapping[str, str]

    def judge(self, contents: Contents, locate: Locate) -> tuple[Waiver, ...]:
        """What was let through in spite of a check. Raises PublishError for the rest."""
        broken: dict[str, list[Problem]] = {}
        for verdict in self._verdicts(contents, locate):
            if verdict.state != "ok" and verdict.problem is not None:
                broken.setdefault(verdict.check, []).append(verdict.problem)
        broken = {check: list(dict.fromkeys(problems)) for check, problems in broken.items()}
        accepted = self._accepted_before(broken)
        refused = {
            check: [p for p in problems if p not in accepted]
            for check, problems in broken.items()
            if check not in self.forced
        }
        if any(refused.values()):
            raise _refusal(self.survey.release, {c: ps for c, ps in refused.items() if ps})
        for check in self.forced:
            if check not in broken and check != ATTESTATIONS:
                self.survey.emit("note", text=f"--force {check} was not needed: nothing fails it")
        return tuple(
            Waiver(check, self.forced.get(check) or accepted[problems[0]], tuple(problems))
            for check, problems in broken.items()
        )

    def promote(self, found: Quorum) -> tuple[Waiver, ...] | None:
        """Whether a snapshot may be what its release now is, as far as strangers' word goes.

        Answers with what was let through in spite of it, None when more attestations are to
        come first. That is asked anew for every snapshot. Raises SnapshotRefused when an
        attester made other bytes.
        """
        problems = (*found.different, *found.missing)
        if ATTESTATIONS in self.forced:
            if problems:
                return (Waiver(ATTESTATIONS, self.forced[ATTESTATIONS], problems),)
            self.survey.emit(
                "note", text=f"--force {ATTESTATIONS} was not needed: nothing is amiss"
            )
        if found.different:
            raise _refusal(
                self.survey.release,
                {ATTESTATIONS: found.different},
                f"{self.survey.release} stays where it is: attesters found other bytes in "
                f"{found.snapshot}",
            )
        return None if problems else ()

    def _accepted_before(self, broken: Mapping[str, list[Problem]]) -> dict[Problem, str]:
        """Problems that an earlier publication was forced through with, and why."""
        known = accepted(self.survey)
        return {
            problem: known[check, problem.kind, problem.subject, problem.facts]
            for check, problems in broken.items()
            for problem in problems
            if (check, problem.kind, problem.subject, problem.facts) in known
        }

    def _verdicts(self, contents: Contents, locate: Locate) -> Iterator[Verdict]:
        for chroot in self.survey.chroots:
            if chroot.arch not in contents.repositories:
                continue
            packages = contents.repositories[chroot.arch]
            debug = contents.repositories.get(f"{chroot.arch}/debug", ())
            files = [(package, locate(package)) for package in (*packages, *debug)]
            present = self._present(chroot)
            bases = [self.survey.pins(chroot), *([present] if present else ())]
            yield from self._fit(chroot, files, bases)
            self.survey.emit("note", text=f"solving the upgrades of every site on {chroot.arch}")
            groups = [group.id for group in self.survey.layer.groups]
            new = to_be_shipped(files, self.survey.state / "solv", groups=groups)
            yield from self._told_once(
                (UPGRADE, chroot, upgrades(self.survey, chroot, new, pins=pins)) for pins in bases
            )

    def _told_once(self, findings: Iterable[tuple[str, Chroot, Findings]]) -> Iterator[Verdict]:
        """What was found over one base after the other, the same only over the first."""
        seen: set[tuple[str, str]] = set()
        notes: dict[str, None] = {}
        for check, chroot, found in findings:
            notes |= dict.fromkeys(found.notes)
            fresh = [v for v in as_verdicts(check, chroot, found) if question(v) not in seen]
            yield from fresh
            seen |= {question(verdict) for verdict in fresh}
        for note in notes:
            self.survey.emit("note", text=note)

    def _fit(
        self,
        chroot: Chroot,
        files: Sequence[tuple[Package, Path]],
        bases: Sequence[tuple[Pin, ...]],
    ) -> Iterator[Verdict]:
        """Whether the packages fit each of the bases, the pinned one first, and one another."""
        contributions = self._contributions(chroot, files)
        evaluations: dict[str, Evaluation | Problem] = {
            each.recipe: each.evaluation for each in contributions if each.evaluation is not None
        }
        names = {each.recipe for each in contributions}
        groups = self.survey.layer.groups
        pinned, *others = (
            views(self.survey, chroot, pins, lambda: contributions) for pins in bases
        )
        yield from map(_to_be_rebuilt, layer_verdicts(pinned, evaluations, groups, names))
        for now in others:
            both = Bases(pinned(frozenset()).universe, now(frozenset()).universe)
            for verdict in layer_verdicts(now, evaluations, groups, names, both):
                yield _to_be_rebuilt(verdict, "`farm base update`, then ")
        yield from self._told_once(
            (check, chroot, found)
            for view in (pinned, *others)
            for check, found in sound(self.survey, chroot, view(frozenset()), files, evaluations)
        )

    def _contributions(
        self, chroot: Chroot, files: Sequence[tuple[Package, Path]]
    ) -> tuple[Contribution, ...]:
        """The packages by recipe; what a recipe needs to be built, if it is still as it was."""
        survey = self.survey
        digests = {
            result.step.partition("@")[0]: result.manifest.recipe
            for result in self.results.get(chroot.arch, ())
        }
        by_recipe: dict[str, list[tuple[Package, Path]]] = {}
        for package, path in files:
            by_recipe.setdefault(package.source, []).append((package, path))
        found = []
        for name, own in sorted(by_recipe.items()):
            recipe = survey.recipes.get(name)
            evaluation = None
            if recipe is not None and digests.get(name) == recipe.digest:
                answer = survey.evaluations.get((name, chroot.name))
                evaluation = answer if isinstance(answer, Evaluation) else None
            found.append(Contribution(name, evaluation, tuple(own), current=True))
        return tuple(found)

    def _present(self, chroot: Chroot) -> tuple[Pin, ...]:
        """The base as sites have it now, () if that is what is pinned or it cannot be asked."""
        pins = self.survey.pins(chroot)
        try:
            if not any(moved_on(pin) for pin in pins):
                return ()
            self.survey.emit(
                "note", text=f"the base of {chroot.name} has moved on since it was pinned"
            )
            return other_base(self.survey.config, chroot, (PRESENT,))
        except FarmError as error:
            text = f"whether the base of {chroot.name} has changed could not be asked: {error.what}"
            self.survey.emit("warning", text=text)
            return ()


def _to_be_rebuilt(verdict: Verdict, first: str = "") -> Verdict:
    """With the commands that mend it, where building again is all that is wanted."""
    if verdict.state != "rebuild" or verdict.problem is None:
        return verdict
    remedy = f"{first}`farm build {' '.join(verdict.missing)}`, and publish again."
    problem = msgspec.structs.replace(verdict.problem, remedy=remedy)
    return msgspec.structs.replace(verdict, problem=problem)


def forced(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """`--force CHECK REASON`, each check once. Raises UsageError."""
    found: dict[str, str] = {}
    for check, reason in pairs:
        if check not in _FORCED:
            raise UsageError(
                f"no check is called {check!r}",
                why=f"there are {', '.join(_FORCED)}",
                hint=nearest(check, _FORCED),
            )
        if not reason.strip():
            raise UsageError(f"--force {check} wants a reason", hint="It is published with it.")
        found[check] = reason.strip()
    return found


def alike(problems: Iterable[Problem]) -> list[tuple[Problem, tuple[str, ...]]]:
    """Problems that rest on the same last fact as one: the plainest, and what the others are about.

    >>> deep, plain = (Problem("conflict", who, facts) for who, facts in
    ...                (("b", ("b requires a", "a is gone")), ("a", ("a is gone",))))
    >>> [(problem.subject, others) for problem, others in alike([deep, plain])]
    [('a', ('b',))]
    """
    groups: dict[object, list[Problem]] = {}
    for problem in problems:
        # the last fact of other kinds is the same for many and says nothing of the cause
        shared = problem.facts[-1:] if problem.kind in _SHARED else ()
        groups.setdefault(shared or problem, []).append(problem)
    return [
        (first, tuple(dict.fromkeys(other.subject for other in others)))
        for first, *others in (sorted(some, key=lambda p: len(p.facts)) for some in groups.values())
    ]


def _refusal(
    release: str, refused: Mapping[str, Sequence[Problem]], what: str = ""
) -> PublishError:
    lines = []
    for check, problems in refused.items():
        told = alike(problems)
        for problem, others in told[:_SHOWN]:
            lines.append(f"[{check}] {problem}")
            if others:
                lines.append(f"  and for the same reason: {listed(others, 12)}")
        if len(told) > _SHOWN:
            lines.append(f"[{check}] … and {len(told) - _SHOWN} more problems")
    checks = ", ".join(refused)
    first = next(iter(refused))
    return SnapshotRefused(
        what or f"{release} was not published: it would fail its sites ({checks})",
        why="\n".join(lines),
        hint="Nothing was published, sites see what they saw before. Correct it, or say"
        f" `farm publish --force {first} 'why it may'`: the reason is published with the snapshot.",
        problems=refused,
    )

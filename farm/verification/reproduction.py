"""`farm verify`: what stands is built again in roots that differ on purpose, and compared."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from farm.errors import FarmError, Interrupted
from farm.model import Built, Compiler, Failed, Package
from farm.run import processors
from farm.sandbox import clear_abandoned
from farm.steps import recipe_of
from farm.survey import Survey
from farm.verification.again import Again, Rebuild, build_again, job_again, source_arch
from farm.verification.probing import compilers_of, probed
from farm.verification.subjects import Subject, VerifyRequest
from farm.verification.verdicts import ProbeRow, VerifyRow, compared, keep_evidence, remember
from farm.verify.search import Finding, Judged, judged, next_rounds

_SEARCH_SECONDS = 20 * 60.0  # what finding the guilty variation may take without being asked to
_SEARCH_BUILDS = 8  # that it takes, about


@dataclass
class Reproduction:
    """One run of `farm verify`."""

    survey: Survey
    request: VerifyRequest
    found: tuple[Subject, ...]
    slots: int
    work: Path
    compilers: tuple[Compiler, ...] = ()
    rows: list[VerifyRow] = field(default_factory=list)
    by_title: dict[str, Subject] = field(default_factory=dict)

    def run(self) -> tuple[VerifyRow, ...]:
        """Build and compare until every subject is judged; a row for each, in their order."""
        for subject in self.found:
            if subject.result is None:
                subject.waiting.clear()
                self._end(subject, Judged("cannot", "it was never built"))
        builds = build_again(
            _Queue(self),
            store=self.survey.store.root,
            roots=self.survey.roots.directory,
            work=self.survey.state / "verifying",
            slots=self.slots,
            emit=self.survey.emit,
            compilers=self.compilers,
        )
        with contextlib.closing(builds):
            for again in builds:
                self._hear(self.by_title.pop(again.rebuild.title), again)
        order = {subject.title: number for number, subject in enumerate(self.found)}
        return tuple(sorted(self.rows, key=lambda row: order[row.title]))

    def next_rebuild(self) -> Rebuild | None:
        """What is to be built next; a subject that cannot be is judged at once."""
        for subject in self.found:
            while subject.waiting:
                if subject.job is None and subject.problem is None:
                    self._prepare(subject)
                if subject.problem is not None or subject.job is None:
                    subject.waiting.clear()
                    break
                under = subject.waiting.popleft()
                rebuild = Rebuild(subject.job, under, subject.label(under), subject.expected)
                subject.building += 1
                self.by_title[rebuild.title] = subject
                return rebuild
        return None

    def _prepare(self, subject: Subject) -> None:
        assert subject.result is not None
        survey, result = self.survey, subject.result
        own = survey.config.limits_of(recipe_of(result.step), subject.chroot.timeout)
        try:
            arch = source_arch(result, survey.store, [c.arch for c in survey.every_chroot])
            makes_source = arch == subject.chroot.arch
            if not makes_source and not self._asks_for(result.built.srpm, arch):
                subject.note(f"its source package was made on {arch}: not verified here")
            subject.job = job_again(
                result,
                survey.store,
                self.work,
                chroot=subject.chroot,
                setup_lock=lambda: survey.setup_lock(subject.chroot),
                maker=subject.maker if makes_source else None,
                cpus=result.built.cores or processors(),
                limits=own,
                note=subject.note,
            )
            survey.archive(subject.job.lock)
            survey.archive(subject.job.setup_lock)
        except FarmError as error:
            subject.problem = error
            self._end(subject, Judged("cannot", error.what))
            subject.job = None

    def _asks_for(self, source: Package, arch: str) -> bool:
        """Whether a source package is made again on that architecture in this run."""
        here = (s.result for s in self.found if s.chroot.arch == arch and s.result is not None)
        return any(result.built.srpm.sha256 == source.sha256 for result in here)

    def _hear(self, subject: Subject, again: Again) -> None:
        subject.building -= 1
        finding = self._finding(subject, again)
        subject.findings.append(finding)
        if finding.is_bad:
            self._keep(subject, again, finding)
        if subject.building or subject.waiting:
            return
        searching = _SEARCH_BUILDS * again.seconds / self.slots <= _SEARCH_SECONDS
        more = next_rounds(subject.findings, searching=searching)
        if more:
            subject.searched = True
            subject.waiting.extend(more)
            if more == ((),):
                verdicts = {each.verdict for each in subject.findings}
                said = "differs" if "differs" in verdicts else "does not build"
                self.survey.emit(
                    "note", text=f"{subject.title} {said}: looking for what brings it about"
                )
            return
        self._end(subject, judged(subject.findings))

    def _finding(self, subject: Subject, again: Again) -> Finding:
        under, outcome = again.rebuild.variations, again.outcome
        if not isinstance(outcome, Built):
            failed = outcome if isinstance(outcome, Failed) else Failed("package", outcome.because)
            verdict = "failed" if failed.kind == "package" else "cannot"
            message = failed.message.partition("\n")[0]
            return Finding(under, verdict, (), message, failed.hint, again.seconds)  # type: ignore[arg-type]
        assert subject.result is not None
        expected, made = subject.result.built, outcome
        whole = not again.rebuild.job.srpm  # the source package was made again as well
        subject.packages = len(expected.packages) + whole
        differing = compared(
            (*expected.packages, *((expected.srpm,) if whole else ())),
            (*made.packages, *((made.srpm,) if whole else ())),
            again,
            store=self.survey.store,
            finished=subject.result.finished,
            note=subject.note,
        )
        return Finding(under, "differs" if differing else "same", differing, "", "", again.seconds)

    def _keep(self, subject: Subject, again: Again, finding: Finding) -> None:
        """What to look at: of the build under the fewest variations."""
        if any(f.is_bad and len(f.round) <= len(finding.round) for f in subject.findings[:-1]):
            return
        assert subject.result is not None
        place = self.request.report or self.survey.state / "differences"
        how = f"-{subject.how.replace(' ', '-')}" if subject.how else ""
        directory = place / subject.recipe / f"{subject.chroot.name}{how}"
        built = subject.result.built
        store = self.survey.store
        subject.kept = keep_evidence(
            directory, again, finding, (*built.packages, built.srpm), store
        )

    def _end(self, subject: Subject, verdict: Judged) -> None:
        result = subject.result
        telling = verdict.telling
        row = VerifyRow(
            recipe=subject.recipe,
            arch=subject.chroot.arch,
            verdict=verdict.verdict,
            title=subject.title,
            how=subject.how,
            evr=result.built.srpm.nevra.evr if result is not None else "",
            why=verdict.why,
            hint=self._hint(subject, verdict),
            guilty=verdict.guilty,
            rounds=tuple(finding.round for finding in subject.findings),
            telling=telling.round if telling is not None else (),
            packages=subject.packages,
            seconds=round(sum(finding.seconds for finding in subject.findings), 1),
            differing=telling.differing if telling is not None else (),
            notes=tuple(subject.notes),
            kept=subject.kept,
        )
        self.rows.append(row)
        if result is not None:
            remember(self.survey.state, result, row)
        if row.verdict == "same":  # what was kept of an earlier verdict
            shutil.rmtree(self.survey.state / "differences" / subject.place, ignore_errors=True)
        done = {"done": len(self.rows), "total": len(self.found)}
        state = "unverified" if row.verdict == "cannot" else row.verdict
        self.survey.emit(state, subject.title, text=row.why, seconds=row.seconds, **done)

    def _hint(self, subject: Subject, verdict: Judged) -> str:
        name = subject.recipe
        if subject.problem is not None:
            return subject.problem.hint
        if subject.result is None:
            return f"`farm build {name}` builds it; then it can be verified."
        if verdict.verdict == "cannot" and verdict.telling is not None:
            return verdict.telling.hint
        if not verdict.searched:
            arch = subject.chroot.arch
            return f"`farm verify {name} --arch {arch} --variations each` names the guilty one."
        return ""


class _Queue:
    """The builds that are wanted next; there may be more after one has ended."""

    def __init__(self, run: Reproduction) -> None:
        self._run = run

    def __iter__(self) -> Iterator[Rebuild]:
        return self

    def __next__(self) -> Rebuild:
        rebuild = self._run.next_rebuild()
        if rebuild is None:
            raise StopIteration
        return rebuild


def reproduce(
    survey: Survey, found: tuple[Subject, ...], request: VerifyRequest
) -> tuple[tuple[VerifyRow, ...], tuple[ProbeRow, ...]]:
    """Build again what was found, and compare: a row for each subject."""
    slots = survey.config.build.slots(request.jobs)
    parent = survey.state / "verifying"
    parent.mkdir(parents=True, exist_ok=True)
    clear_abandoned(parent)
    work = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=parent))
    try:
        known = (Compiler(s.chroot, s.result.lock) for s in found if s.result is not None)
        compilers = compilers_of(survey, known) if any(request.rounds) else ()
        run = Reproduction(survey, request, found, slots, work, compilers)
        probes = (
            probed(survey, request.rounds, work, slots, compilers) if request.everything else ()
        )
        return run.run(), probes
    except KeyboardInterrupt:
        raise Interrupted(
            "the verification was stopped",
            hint="`farm status` has the verdicts so far. The same command begins anew.",
        ) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)

"""Whether variations do anything at all on each architecture: the probe, built twice there."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path

from farm.errors import FarmError
from farm.model import Built, Chroot, Compiler, Failed, Lock
from farm.plan.solver import resolve
from farm.run import processors
from farm.survey import Survey
from farm.verification.again import Again, Rebuild, build_again
from farm.verification.verdicts import ProbeRow
from farm.verify.probes import BUILD_REQUIRES, judge, probe_job
from farm.verify.search import Round

_SECONDS = 30.0  # what the probe takes, about


def compilers_of(survey: Survey, known: Iterable[Compiler] = ()) -> tuple[Compiler, ...]:
    """Roots in which what variations preload is made, for every architecture of the release.

    Of those `known` the smallest that have a compiler are taken, others are solved for; without
    any for an architecture the builds that want one say so.
    """
    having: dict[str, list[Compiler]] = {}
    for each in known:
        if any(package.nevra.name in BUILD_REQUIRES[:1] for package in each.lock.packages):
            having.setdefault(each.chroot.name, []).append(each)
    found = []
    for chroot in survey.every_chroot:
        if chroot.name in having:
            found.append(min(having[chroot.name], key=lambda each: len(each.lock.packages)))
            continue
        with contextlib.suppress(FarmError, OSError):
            lock = _lock(survey, chroot)
            if lock is not None:
                found.append(Compiler(chroot, lock))
    return tuple(found)


def probed(
    survey: Survey,
    rounds: Iterable[Round],
    work: Path,
    slots: int,
    compilers: tuple[Compiler, ...],
) -> tuple[ProbeRow, ...]:
    """A row for each architecture asked for, over all variations in `rounds` together."""
    under = tuple(dict.fromkeys(name for each in rounds for name in each))
    if not under:
        return ()
    rebuilds, answers = [], []
    for chroot in survey.chroots:
        try:
            rebuilds += _rebuilds(survey, chroot, under, work)
        except FarmError as error:
            answers.append(ProbeRow(chroot.arch, why=error.what))
    ended: dict[str, dict[Round, Again]] = {chroot.arch: {} for chroot in survey.chroots}
    builds = build_again(
        rebuilds,
        store=survey.store.root,
        roots=survey.roots.directory,
        work=work.parent,
        slots=slots,
        emit=survey.emit,
        compilers=compilers,
    )
    with contextlib.closing(builds):
        for again in builds:
            chroot = again.rebuild.job.chroot
            pair = ended[chroot.arch]
            pair[again.rebuild.variations] = again
            if len(pair) < 2:
                continue
            row = _row(chroot.arch, pair[()], pair[under], under)
            state = "built" if row.ok else "unverified"
            survey.emit(state, f"probe@{chroot.name}", text=told(row), seconds=row.seconds)
            answers.append(row)
    order = [chroot.arch for chroot in survey.chroots]
    return tuple(sorted(answers, key=lambda row: order.index(row.arch)))


def told(row: ProbeRow) -> str:
    """What a row says, in words."""
    said = []
    if row.why:
        said.append(f"the probe cannot be built: {row.why}")
    if row.ineffective:
        said.append(f"proves nothing here, it has no effect: {', '.join(row.ineffective)}")
    if row.leaked:
        said.append(f"differs without being asked to: {', '.join(row.leaked)}")
    return "; ".join(said) or f"all {len(row.effective)} variations have an effect"


def _rebuilds(survey: Survey, chroot: Chroot, under: Round, work: Path) -> list[Rebuild]:
    lock = _lock(survey, chroot)
    if lock is None:
        raise FarmError(f"{chroot.name} has no {' or no '.join(BUILD_REQUIRES)}")
    job = probe_job(
        chroot,
        lock,
        survey.setup_lock(chroot),
        directory=work / f"probe-{chroot.name}",
        store=survey.store,
        attempt="",
        written=int(time.time()),
        cpus=processors(),
    )
    return [
        Rebuild(job, (), f"probe@{chroot.name} [as usual]", _SECONDS),
        Rebuild(job, under, f"probe@{chroot.name}", _SECONDS),
    ]


def _row(arch: str, usual: Again, varied: Again, under: Round) -> ProbeRow:
    seconds = round(usual.seconds + varied.seconds, 1)
    for again in (usual, varied):
        if not isinstance(again.outcome, Built):
            failed = again.outcome
            why = failed.message if isinstance(failed, Failed) else failed.because
            return ProbeRow(arch, why=why.partition("\n")[0], seconds=seconds)
    assert isinstance(usual.outcome, Built)
    assert isinstance(varied.outcome, Built)
    said = judge(usual.outcome, varied.outcome, under)
    return ProbeRow(arch, said.effective, said.ineffective, said.leaked, seconds=seconds)


def _lock(survey: Survey, chroot: Chroot) -> Lock | None:
    """The lock of the probe's root, archived; None where the base lacks what it needs."""
    lock = resolve(survey.base(chroot), chroot, BUILD_REQUIRES)
    if not isinstance(lock, Lock):
        return None
    survey.archive(lock)
    return lock

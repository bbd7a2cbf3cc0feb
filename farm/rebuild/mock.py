"""The same job through mock, driven as a subprocess.

mock gets a configuration of its own for every attempt and one repository, which holds the
lock's packages and nothing else. What it really installed is compared with the lock afterwards.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from farm.errors import MachineError, StateError
from farm.model import CORES, Built, Failed, Job, Usage
from farm.rebuild import mockconfig
from farm.rebuild.builder import (
    Clock,
    OnPhase,
    Workspace,
    finished,
    refuse_foreign_options,
    source_package,
)
from farm.rebuild.diagnosis import diagnose, last_lines, telling
from farm.rebuild.mockaccess import Access, access
from farm.rebuild.mockconfig import Area
from farm.rebuild.mocklock import compared, write_repository
from farm.rebuild.mockrun import Mock, forget, held, make_directory
from farm.rebuild.space import in_memory
from farm.run import Completed
from farm.sandbox.limits import Peak
from farm.store import Store, write_atomic

__all__ = ["Access", "MockBuilder", "access"]

# mock begins its build when the root is filled; the phases after that are rpmbuild's own.
_UNPACKING = re.compile(r"^Start: build setup for")
_COMPARING = "compare"
# rpmbuild's words are between these; the rest is mock's own.
_BUILDING = re.compile(r"^Start: rpmbuild ")
_VERDICT = re.compile(r"^(Finish: rpmbuild |Exception\(|Command failed)")

# mock's exit codes (its exception.py): the package manager did not do as told, out of time.
_TOO_LONG, _PACKAGE_MANAGER = 11, 30

_GROWTH, _SPARE = 6, 512 << 20  # unpacked packages against their files, and what a build wants
_KEPT = 1  # roots of failed builds
_GRACE = 60  # seconds after which farm ends a mock that does not keep its own limit


class MockBuilder:
    """mock, restricted to the job's lock."""

    name = "mock"

    def build(self, job: Job, workspace: Workspace, on_phase: OnPhase) -> Built | Failed:
        refuse_foreign_options(job)
        mock = Mock(area_of(job, workspace), granted(job), job.chroot.nice)
        clock = Clock(on_phase)
        workspace.results.mkdir(parents=True, exist_ok=True)
        source = source_package(job, workspace, clock)
        clock.enter("root")
        forget(mock.area.path.parent, mock.access, _KEPT)
        workspace.roots.make_room(sum(p.size for p in job.lock.packages) * _GROWTH + _SPARE)
        make_directory(mock.area.path)
        with held(mock.area):
            mock.clean(inside=True)  # this attempt may have begun before
            keep = False
            try:
                prepare(job, workspace.store, mock, source)
                done, peak = self._rpmbuild(job, workspace, mock, clock)
                used = _used(peak, mock.area)
                if not done.ok:
                    keep = workspace.keep and clock.current != "root"
                    return _failed(job, workspace, done, clock, used)
                clock.enter(_COMPARING)
                _compare(job, workspace.store, mock.installed())
                for path in sorted(mock.area.results.glob("*.rpm")):
                    if not path.name.endswith(".src.rpm"):  # mock packs it once more
                        shutil.copyfile(path, workspace.results / path.name)
            finally:
                if not keep:
                    mock.clean()
        host = (("builder", self.name), (CORES, str(job.cpus)), ("mock", mock.version()))
        return finished(job, workspace, source, clock, host, used)

    def _rpmbuild(
        self, job: Job, workspace: Workspace, mock: Mock, clock: Clock
    ) -> tuple[Completed, Peak]:
        def on_line(line: str) -> None:
            if _UNPACKING.match(line):
                clock.enter("unpack")
            clock.hear(line)

        return mock.build(
            ("--rebuild", str(mock.seen.inputs / _source_name(job))),
            log=workspace.log,
            limits=job.limits,
            timeout=job.limits.time + _GRACE if job.limits.time else 0,
            on_line=on_line,
        )


def area_of(job: Job, workspace: Workspace) -> Area:
    """Where an attempt with mock keeps everything; it stays for a while when rpmbuild failed."""
    return Area(workspace.roots.directory / "mock" / job.attempt)


def open_shell(job: Job, workspace: Workspace, command: Sequence[str] = ()) -> int | None:
    """Give the terminal to a shell in what a failed attempt left; None when nothing is left.

    Raises StateError when it is in use, MachineError when mock is not to be had any more.
    """
    area = area_of(job, workspace)
    if not area.root.exists():
        return None
    try:
        with held(area):
            return Mock(area, granted(job)).shell(command)
    except BlockingIOError as error:
        raise StateError(f"the build root of {job.step} is in use") from error


def prepare(job: Job, store: Store, mock: Mock, source: Path) -> None:
    """Write what mock reads.

    Raises StateError when a package of the lock is missing or damaged.
    """
    area = mock.area
    for path in (area.settings, area.inputs, area.results):
        make_directory(path)
    if os.getuid() == 0:
        os.chown(area.results, mock.access.uid, mock.access.gid)
    isolation = "simple" if os.getuid() == 0 else "nspawn"
    write_atomic(area.settings / "logging.ini", mockconfig.LOGGING)
    write_atomic(area.settings / "site-defaults.cfg", "")  # older ones insist on it
    write_atomic(area.macros, mockconfig.macro_file(job))
    write_atomic(
        area.configuration,
        mockconfig.configuration(job, mock.seen, isolation=isolation, database=mock.database),
    )
    shutil.copyfile(source, area.inputs / _source_name(job))
    write_repository(job.lock, store, area.repository)


def _compare(job: Job, store: Store, installed: tuple[str, ...]) -> None:
    differences = compared(job.lock, installed, store)
    if differences:
        raise MachineError(
            f"mock did not build {job.recipe.name} in what the lock says",
            why="\n".join(differences[:20]),
            hint="Build it with --builder embedded, and please report this.",
        )


def granted(job: Job) -> Access:
    """Raises MachineError when mock cannot do this job here."""
    found = access()
    if not found.granted:
        raise MachineError(
            f"mock cannot build {job.recipe.name} here",
            why=found.problem or "it is not installed",
            hint=found.remedy or "Install mock, or build with --builder embedded.",
        )
    if not mockconfig.runs_here(job.chroot):
        raise MachineError(
            f"mock cannot build {job.recipe.name} for {job.chroot.arch} here",
            why=f"this machine has no emulator for {job.chroot.arch} registered",
            hint="Build with --builder embedded, which registers one in its sandbox.",
        )
    return found


def _used(peak: Peak, area: Area) -> Usage:
    """What a build wrote is memory where its root lies on a tmpfs."""
    if in_memory(area.path):
        return Usage(memory=peak.memory + peak.disk)
    return Usage(memory=peak.memory, disk=peak.disk)


def _failed(job: Job, workspace: Workspace, done: Completed, clock: Clock, used: Usage) -> Failed:
    lines = last_lines(workspace.log)
    remedy = (
        f"`farm log {job.recipe.name}` shows the whole log, "
        f"`farm shell {job.recipe.name} --arch {job.chroot.arch}` opens a shell in the build."
    )
    seconds = round(clock.seconds, 3)
    reason = done.reason
    if done.code == _TOO_LONG and not reason:
        reason = f"time: it ran for more than {job.limits.time} s"
    if not reason and (clock.current == "root" or done.code == _PACKAGE_MANAGER):
        return Failed(
            "infrastructure",
            f"mock cannot fill the build root of {job.recipe.name} with what the lock says",
            telling(lines),
            phase=clock.current,
            hint="Build with --builder embedded to see whether the lock or mock is at fault.",
            seconds=seconds,
            usage=used,
        )
    return diagnose(
        rpmbuilds_own(lines),
        package=job.recipe.name,
        phase=clock.current,
        reason=reason,
        limits=job.limits,
        used=used,
        seconds=seconds,
        remedy=remedy,
    )


def rpmbuilds_own(lines: Sequence[str]) -> Sequence[str]:
    """The part of mock's log that rpmbuild wrote, all of it when the build did not come to that."""
    first = next((n + 1 for n, line in enumerate(lines) if _BUILDING.match(line)), 0)
    last = (n for n, line in enumerate(lines) if n >= first and _VERDICT.match(line))
    return lines[first : next(last, len(lines))]


def _source_name(job: Job) -> str:
    return f"{job.recipe.name}.src.rpm"

"""Builders behind one Protocol, and farm's own: lock → overlay root → rpmbuild."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec

from farm.errors import MachineError
from farm.lazily import lazily
from farm.model import CORES, Built, Compiler, Failed, Job, Package, Phase, Usage
from farm.rebuild.attempts import ROOT_LOG
from farm.rebuild.fill import made
from farm.rebuild.macros import SHELL, TOPDIR, rpmmacros
from farm.rebuild.phases import phase_of
from farm.rebuild.roots import Root, RootCache
from farm.rebuild.srpm import describe, make_srpm_file
from farm.rebuild.varied import Varying, applied, opening, varying
from farm.rpmheader import read
from farm.run import run
from farm.sandbox import BUILDER, Bind, Collect, Ended, Sandbox, execute, own, remove
from farm.store import Store, sha256_of, write_atomic

with lazily():  # most builds do not fail
    from farm.rebuild import diagnosis

_KEPT = 6  # failed attempts whose build directories are kept

OnPhase = Callable[[str], None]


@dataclass(frozen=True)
class Workspace:
    """Where one attempt works: its `directory` (build.log, results/), the store, the roots."""

    directory: Path
    store: Store
    roots: RootCache
    keep: bool = True  # what a failed build left
    variations: tuple[str, ...] = ()
    compilers: tuple[Compiler, ...] = ()

    def varied(self, job: Job) -> Varying | None:
        """What is to differ in this attempt; None: nothing. Raises UsageError."""
        compilers = (*self.compilers, Compiler(job.chroot, job.lock))
        return varying(self.variations, self.roots, self.directory, compilers)

    @property
    def log(self) -> Path:
        return self.directory / "build.log"

    @property
    def results(self) -> Path:
        return self.directory / "results"


class Builder(Protocol):
    """Turns a job into packages. The same job gives the same bytes whoever builds it."""

    name: str

    def build(self, job: Job, workspace: Workspace, on_phase: OnPhase) -> Built | Failed:
        """Build, leaving the packages in `workspace.results` under their customary names.

        `on_phase` hears of every phase as it begins. Raises FarmError for what is not the
        package's own fault and could be told before rpmbuild ran.
        """


@dataclass
class Clock:
    """Notes when phases begin, and tells."""

    tell: OnPhase
    started: float = field(default_factory=time.monotonic)
    begun: list[tuple[str, float]] = field(default_factory=list)

    def enter(self, phase: str) -> None:
        self.begun.append((phase, time.monotonic()))
        self.tell(phase)

    def hear(self, line: str) -> None:
        """A line of the log: it may begin a phase."""
        phase = phase_of(line)
        if phase and phase != self.current:
            self.enter(phase)

    @property
    def current(self) -> str:
        return self.begun[-1][0] if self.begun else ""

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def phases(self) -> tuple[Phase, ...]:
        ends = [at for _, at in self.begun[1:]] + [time.monotonic()]
        return tuple(
            Phase(name, round(end - at, 3))
            for (name, at), end in zip(self.begun, ends, strict=True)
        )


class EmbeddedBuilder:
    """rpmbuild in an overlay over a prepared root, in farm's own sandbox."""

    name = "embedded"

    def build(self, job: Job, workspace: Workspace, on_phase: OnPhase) -> Built | Failed:
        refuse_foreign_options(job)
        clock = Clock(on_phase)
        workspace.results.mkdir(parents=True, exist_ok=True)
        varied = workspace.varied(job)
        if varied is None:
            return self._build(job, workspace, None, clock)
        cpus = varied.differences.cpus(job.cpus)
        job = msgspec.structs.replace(job, cpus=cpus)
        varied.make_ready(job.chroot)
        with varied.roots() as roots:
            return self._build(job, replace(workspace, roots=roots, keep=False), varied, clock)

    def _build(
        self, job: Job, workspace: Workspace, varied: Varying | None, clock: Clock
    ) -> Built | Failed:
        source = source_package(job, workspace, clock, varied)
        clock.enter("root")
        requires = partial(clock.enter, "BuildRequires")
        with workspace.roots.prepare(job.lock, job.chroot, on_requires=requires) as root:
            keep_root_log(root, workspace)
            ended = self._rpmbuild(job, workspace, root, source, clock, varied)
        if not ended.ok:
            return _failed(job, workspace, ended, clock)
        host = (("builder", self.name), (CORES, str(job.cpus)), *root.host, *_host())
        return finished(job, workspace, source, clock, host, _used(ended))

    def _rpmbuild(
        self,
        job: Job,
        workspace: Workspace,
        root: Root,
        source: Path,
        clock: Clock,
        varied: Varying | None,
    ) -> Ended:
        def on_line(line: str) -> None:
            clock.hear(line)

        out = own(made(workspace.directory / "out"))
        kept = own(made(workspace.roots.kept(job.attempt))) if workspace.keep else None
        clock.enter("unpack")
        sandbox = build_sandbox(job, workspace, root, source, out, kept)
        limits = job.limits
        with applied(varied, sandbox, job.chroot) as sandbox:
            ended = execute(
                sandbox,
                [*SHELL, _script(job, opening(varied))],
                log=workspace.log,
                timeout=limits.time,
                silence=limits.silence,
                memory=limits.memory,
                disk=limits.disk,
                on_line=on_line,
            )
        for path in out.iterdir():
            if path.is_file() and not path.is_symlink():
                shutil.move(path, workspace.results / path.name)
        shutil.rmtree(out)
        if kept is not None:
            if ended.ok:
                remove(kept)
            workspace.roots.forget_kept(_KEPT)
        return ended


def source_package(
    job: Job, workspace: Workspace, clock: Clock, varied: Varying | None = None
) -> Path:
    """The job's source package; without one it is made here, the same for every builder."""
    if job.srpm:
        return workspace.store.get(job.srpm)
    clock.enter("srpm")
    work = workspace.directory / "srpm"
    work.mkdir(exist_ok=True)
    return make_srpm_file(
        job.recipe, job.inputs, job.chroot, job.setup_lock,
        workspace.roots, workspace.store, work,
        counter=job.counter, epoch_seconds=job.epoch_seconds, varied=varied,
    )  # fmt: skip


def finished(
    job: Job,
    workspace: Workspace,
    source: Path,
    clock: Clock,
    host: tuple[tuple[str, str], ...],
    used: Usage,
) -> Built | Failed:
    """What a build that succeeded left in the results; none at all is a failure, too."""
    packages = take_results(workspace.results)
    if not packages:
        return Failed(
            "package",
            f"{job.recipe.name} built no package",
            phase=clock.current,
            hint="A %files section makes a package of a %package.",
            seconds=clock.seconds,
            usage=used,
        )
    return Built(
        packages=packages,
        srpm=describe(source),
        seconds=round(clock.seconds, 3),
        phases=clock.phases(),
        host=host,
        usage=used,
    )


def keep_root_log(root: Root, workspace: Workspace) -> None:
    """What is in the root, as rpm said when it was filled, beside the build's log."""
    logs = (tree.parent / ROOT_LOG for tree in root.layers)
    found = next((log for log in logs if log.exists()), None)
    if found is not None:  # a root that an early farm filled has none
        shutil.copyfile(found, workspace.directory / ROOT_LOG)


def build_sandbox(
    job: Job,
    workspace: Workspace,
    root: Root,
    source: Path,
    out: Path | None,
    kept: Path | None,
    *,
    upper: Path | None = None,
) -> Sandbox:
    """What a build, or a shell into one, sees."""
    dist = job.dist
    macros = workspace.directory / "rpmmacros"
    write_atomic(macros, rpmmacros(job.chroot, dist, job.cpus))
    collect = (Collect(f"{TOPDIR}/RPMS", "*.rpm", out),) if out is not None else ()
    return Sandbox(
        binds=(
            Bind(root.overlay(upper=upper, size=job.limits.disk), "/", writable=True),
            Bind(source, f"{TOPDIR}/originals/{job.recipe.name}.src.rpm"),
            Bind(macros, "/builddir/.rpmmacros"),
        ),
        user=BUILDER,
        environment=dict(job.chroot.environment),
        directory=TOPDIR,
        emulator=root.emulator,
        collect=collect,
        keep=kept,
    )


def refuse_foreign_options(job: Job) -> None:
    """Raises MachineError for options of the chroot file that would change the result."""
    if job.chroot.refused:
        raise MachineError(
            f"the chroot {job.chroot.name} has options that farm does not honour",
            why="\n".join(job.chroot.refused),
            hint="Take them out of the chroot file.",
        )


def take_results(directory: Path) -> tuple[Package, ...]:
    """The binary packages in a directory, made 0644, in the order of their names."""
    found = []
    for path in sorted(directory.glob("*.rpm")):
        path.chmod(0o644)
        rpm = read(path)
        if rpm.is_source:
            continue
        name = rpm.nevra.name
        found.append(
            Package(
                nevra=rpm.nevra,
                sha256=sha256_of(path),
                size=path.stat().st_size,
                source=rpm.source,
                debug=name.endswith(("-debuginfo", "-debugsource")),
            )
        )
    return tuple(found)


def _script(job: Job, opening: list[str]) -> str:
    """What the build user runs: unpack, then build, never `--rebuild`.

    The latter would copy the source package's own host and time into the binaries.
    """
    nice = f"nice -n {job.chroot.nice} " if job.chroot.nice else ""
    return "\n".join(
        [
            "set -e",
            *opening,
            f"rpm -i {TOPDIR}/originals/*.src.rpm 2>&1",
            f"exec {nice}rpmbuild -bb --target {job.chroot.arch} {TOPDIR}/SPECS/*.spec",
        ]
    )


def _failed(job: Job, workspace: Workspace, ended: Ended, clock: Clock) -> Failed:
    done = ended.completed
    lines = diagnosis.last_lines(workspace.log)
    killed = -done.code if done.code < 0 else max(0, done.code - 128)
    return diagnosis.diagnose(
        lines,
        package=job.recipe.name,
        phase=clock.current,
        reason=done.reason,
        signal=killed,
        limits=job.limits,
        used=_used(ended),
        limited_in_memory=not ended.on_disk,
        seconds=round(clock.seconds, 3),
        remedy=f"`farm log {job.recipe.name}` shows the whole log, "
        f"`farm shell {job.recipe.name} --arch {job.chroot.arch}` opens a shell in the build.",
    )


def _used(ended: Ended) -> Usage:
    return Usage(memory=ended.peak.memory, disk=ended.peak.disk)


def _host() -> tuple[tuple[str, str], ...]:
    """Programs of this machine that took part, for the record."""
    version = run(["bwrap", "--version"]).stdout.strip().removeprefix("bubblewrap ")
    return (("bubblewrap", version),)

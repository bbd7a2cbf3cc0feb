"""`farm verify --repo URL`: are a mirror's packages what their sources make of them?

Without layer, ledger or store, with nothing but the mirror's address (and, better, the
maintainers' key): signed metadata → packages → provenance → lock and source package → the same
build again → yes, no, or cannot.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from farm.config import Config, nearest
from farm.errors import FarmError, MachineError, Refused, Unverifiable, UsageError
from farm.model import Built
from farm.progress import Emit
from farm.rebuild.roots import emulator_for
from farm.rebuild.space import roots_directory
from farm.store import Store
from farm.stranger.answers import (
    Answer,
    StrangerReport,
    answered,
    failed,
    not_built,
    unanswered,
)
from farm.stranger.attest import attested
from farm.stranger.cases import (
    Case,
    case_of,
    expected_seconds,
    rebuild_of,
    source_names,
    tools_for,
)
from farm.stranger.copies import Copies
from farm.stranger.exhibits import Examiner, Exhibit, Told, by_statement
from farm.stranger.mirror import find
from farm.stranger.published import Key, Publication, read_publication, trusted_key
from farm.stranger.supply import Supply, check_bases
from farm.verification import Again, Rebuild, build_again
from farm.verify.claims import Listed, forgotten
from farm.verify.foreign import is_below, shown

__all__ = ["Answer", "StrangerReport", "StrangerRequest", "attested", "verify_published"]


@dataclass(frozen=True)
class StrangerRequest:
    """What `farm verify --repo` was asked for."""

    url: str
    names: tuple[str, ...] = ()  # none: everything
    archs: tuple[str, ...] = ()
    release: str | None = None
    snapshot: str = ""
    key: Path | None = None
    bases: tuple[str, ...] = ()
    native: bool = False
    jobs: int | None = None
    attest: str = ""  # name of the key that signs the answer
    output: Path | None = None  # where the signed answer goes


@dataclass
class _Run:
    """One verification: what it reads, where it works, what it has found so far."""

    config: Config
    request: StrangerRequest
    publication: Publication
    examiner: Examiner
    supply: Supply
    scratch: Path
    emit: Emit
    answers: dict[str, Answer] = field(default_factory=dict)  # by file
    rebuilt: int = 0

    def say(self, text: str) -> None:
        self.emit("note", text=text)


def verify_published(config: Config, request: StrangerRequest, emit: Emit) -> StrangerReport:
    """A mirror's address → every file's answer.

    Raises Refused when what vouches for everything is not as it should be, Unverifiable when
    the mirror cannot be read, UsageError for names that it does not have.
    """
    started = time.monotonic()
    check_bases(request.bases)
    home = config.path("cache") / "verify"
    home.mkdir(parents=True, exist_ok=True)
    mirror = find(request.url, request.release or config.default_release, request.snapshot)
    with (
        trusted_key(mirror, request.key) as key,
        tempfile.TemporaryDirectory(dir=home, prefix=f"{os.getpid()}-") as scratch,
    ):
        publication = read_publication(mirror, key)
        _introduce(publication, key, emit)
        run = _Run(
            config, request, publication, Examiner(publication, Path(scratch)),
            Supply(
                Store(home / "store"), f"{mirror.root}/archive", request.bases, home / "bases",
                lambda text: emit("warning", text=text),
            ),
            Path(scratch), emit,
        )  # fmt: skip
        groups = _examined(run, _chosen(publication, request))
        cases = tuple(_cases(run, groups))
        rebuilds = tuple(_rebuilds(run, cases))
        _built_again(run, rebuilds)
    described = publication.snapshot
    return StrangerReport(
        address=mirror.snapshot,
        release=described.release,
        snapshot=described.id,
        created=described.created,
        keys=tuple(sorted(key.fingerprints)),
        key_from=key.origin,
        key_is_the_repositorys=key.own,
        answers=tuple(answer for _, answer in sorted(run.answers.items())),
        seconds=time.monotonic() - started,
        rebuilt=run.rebuilt,
    )


def _introduce(publication: Publication, key: Key, emit: Emit) -> None:
    snapshot = publication.snapshot
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(snapshot.created))
    emit("note", text=f"{snapshot.release}, snapshot {snapshot.id}, made {made}")
    emit("note", text=f"{publication.mirror.snapshot}: all metadata signed and whole")
    fingerprints = ", ".join(sorted(key.fingerprints))
    if key.own:
        emit(
            "warning",
            text=f"the key {fingerprints} came from the repository itself ({key.origin}): "
            "compare it with what the maintainers tell elsewhere, or name theirs with --key",
        )
    else:
        emit("note", text=f"checked with the key {fingerprints} ({key.origin})")


def _chosen(publication: Publication, request: StrangerRequest) -> tuple[Listed, ...]:
    """The files that are asked about. Raises UsageError for a name that there is not."""
    archs = sorted({entry.arch for entry in publication.snapshot.entries})
    for arch in request.archs:
        if arch not in archs:
            raise UsageError(
                f"{publication.snapshot.release} is not published for {shown(arch)!r}",
                why=f"There is: {', '.join(archs)}",
                hint=nearest(arch, archs),
            )
    wanted = [
        listed
        for listed in publication.files
        if listed.repository == "source"
        or not request.archs
        or listed.repository.partition("/")[0] in request.archs
    ]
    if not request.names:
        return tuple(wanted)
    sources = {p.package.nevra: p.package.source for p in publication.snapshot.packages}
    named = {listed: {*_names(listed), sources.get(listed.nevra, "")} for listed in wanted}
    for name in request.names:
        if not any(name in names for names in named.values()):
            known = sorted({n for names in named.values() for n in names if n})
            raise UsageError(
                f"the snapshot has no package {shown(name)!r}",
                hint=nearest(name, known)
                or "Name a package, its source package, a name-version-release.arch or a file.",
            )
    return tuple(listed for listed in wanted if named[listed].intersection(request.names))


def _names(listed: Listed) -> Iterator[str]:
    yield from (listed.nevra.name, str(listed.nevra), listed.name)


def _examined(run: _Run, chosen: Sequence[Listed]) -> tuple[tuple[Told, ...], ...]:
    """The files that are what their signatures and provenance say, those of one build together."""
    run.say(f"fetching {len(chosen)} packages with their signatures and provenance")
    told: list[Told] = []
    for listed, exhibit in run.examiner.exhibits(chosen).items():
        try:
            if isinstance(exhibit, FarmError):
                raise exhibit
            told.append(run.examiner.told(exhibit))
        except (Refused, Unverifiable) as error:
            _unanswered(run, listed, error)
    if not run.request.names:
        _missing(run)
    archs = run.request.archs
    return tuple(
        group
        for group in by_statement(told)
        if not archs or _external_arch(group) in archs
    )  # fmt: skip


def _external_arch(group: Sequence[Told]) -> str:
    return group[0].statement.predicate.build_definition.external_parameters.arch


def _missing(run: _Run) -> None:
    """Packages that the snapshot names and no repository's metadata do."""
    for signed in forgotten(run.publication.snapshot, run.publication.files):
        nevra = signed.package.nevra
        listed = Listed("snapshot.json", nevra.filename, nevra, signed.sha256, signed.size)
        error = Refused(
            f"{nevra} is in snapshot.json, but in no repository's signed metadata",
            hint="snapshot.json was changed, or a repository of another state lies beside it.",
        )
        _unanswered(run, listed, error)


def _unanswered(run: _Run, listed: Listed, error: FarmError) -> None:
    entry = run.publication.table.get(listed.nevra)
    source = entry.package.source if entry else listed.nevra.name
    arch = listed.repository.partition("/")[0]
    run.answers[listed.path] = unanswered(listed, source, arch, error)
    _tell(run, listed.path, error)


def _tell(run: _Run, what: str, error: FarmError) -> None:
    text = error.what if error.what.startswith(what) else f"{what}: {error.what}"
    run.emit("failed" if isinstance(error, Refused) else "skipped", what, text=text)


def _cases(run: _Run, groups: Sequence[Sequence[Told]]) -> Iterator[Case]:
    """The builds that can be done again, as far as lock and source package say."""
    wanted = source_names(groups, run.publication.files)
    exhibits = run.examiner.exhibits(wanted)
    sources: dict[str, Exhibit | FarmError] = {f.name: e for f, e in exhibits.items()}
    for group in groups:
        try:
            tools = None
            if run.request.native:
                release = run.publication.snapshot.release
                tools = tools_for(run.config, release, _external_arch(group))
            yield case_of(
                group, run.examiner, sources, run.supply, run.scratch / "recipes", tools=tools
            )
        except (Refused, Unverifiable, MachineError) as error:
            for told in group:
                _unanswered(run, told.exhibit.listed, error)


def _rebuilds(run: _Run, cases: Iterable[Case]) -> Iterator[tuple[Case, Rebuild]]:
    """Jobs whose packages are all here, told what they will take."""
    emulated: dict[str, float] = {}
    origins: dict[str, int] = {}
    copies = Copies(run.examiner, run.supply)
    for case in cases:
        try:
            delivered = run.supply.have(case.lock.packages, copies.instead_of)
        except Unverifiable as error:
            _give_up(run, case, error)
            continue
        for origin, number in delivered.origins.items():
            origins[origin] = origins.get(origin, 0) + number
        if emulator_for(case.chroot) is not None and not case.chroot.native_tools:
            arch = case.chroot.arch
            emulated[arch] = emulated.get(arch, 0.0) + expected_seconds(case)
        yield case, rebuild_of(case, delivered.substituted, run.config)
    if origins:
        told = ", ".join(f"{number} from {origin}" for origin, number in origins.items())
        run.say(f"packages of the build roots: {told}")
    for arch, seconds in emulated.items():
        minutes = max(1, round(seconds / 60))
        run.say(
            f"{arch} is emulated here, without native tools: expect about {minutes} "
            f"minute{'' if minutes == 1 else 's'} of building"
        )


def _built_again(run: _Run, rebuilds: Sequence[tuple[Case, Rebuild]]) -> None:
    """Each build done again and compared, one after the other as they end."""
    cases = {id(rebuild): case for case, rebuild in rebuilds}
    home = run.config.path("cache") / "verify"
    endings = build_again(
        [rebuild for _, rebuild in rebuilds],
        store=run.supply.store.root,
        roots=roots_directory(run.config.paths.roots, home),
        work=run.scratch / "work",
        slots=run.request.jobs or run.config.build.jobs or max(1, len(os.sched_getaffinity(0))),
        emit=run.emit,
    )
    with contextlib.closing(endings):
        for again in endings:
            _compared(run, cases[id(again.rebuild)], again)


def _compared(run: _Run, case: Case, again: Again) -> None:
    run.rebuilt += 1
    if not isinstance(again.outcome, Built):
        _give_up(run, case, not_built(case, again, _kept_log(run, case, again)))
        return
    found = [answered(case, told, again) for told in case.told]
    for answer in found:
        run.answers[answer.file] = answer
    wrong = [answer for answer in found if answer.verdict != "yes"]
    if wrong:
        run.emit("failed", case.step, seconds=again.seconds, text=wrong[0].what)
    else:
        number = len(found)
        text = f"{number} file{'' if number == 1 else 's'} bit for bit the same"
        run.emit("built", case.step, seconds=again.seconds, text=text)


def _give_up(run: _Run, case: Case, error: FarmError) -> None:
    for told in case.told:
        answer = failed(case, told, error)
        run.answers[answer.file] = answer
    _tell(run, case.step, error)


def _kept_log(run: _Run, case: Case, again: Again) -> Path | None:
    """The log of a build that failed, where it can be read afterwards."""
    if not again.log.is_file() or not is_below(case.step):
        return None
    target = run.config.path("cache") / "verify" / "logs" / f"{case.step}.log"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(again.log, target)
    return target

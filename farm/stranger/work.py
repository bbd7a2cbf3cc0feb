"""One verification at work: evidence, what it takes to build again, the builds, the answers."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from farm.config import Config
from farm.errors import FarmError, MachineError, Refused, Unverifiable
from farm.model import Built
from farm.progress import Emit
from farm.rebuild.roots import emulator_for
from farm.rebuild.space import roots_directory
from farm.stranger.answers import (
    Answer,
    answered,
    failed,
    not_built,
    unanswered,
)
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
from farm.stranger.published import Publication
from farm.stranger.supply import Supply
from farm.verification.again import Again, Rebuild, build_again
from farm.verify.claims import Listed, forgotten
from farm.verify.foreign import is_below


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
class Run:
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


def examined(run: Run, chosen: Sequence[Listed]) -> tuple[tuple[Told, ...], ...]:
    """The files that are what their signatures and provenance say, those of one build together."""
    number = f"{len(chosen)} packages" if len(chosen) != 1 else "one package"
    run.say(f"fetching {number}, with signatures and provenance")
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
    return tuple(filter(None, (_asked_for(run, group) for group in by_statement(told))))


def _asked_for(run: Run, group: Sequence[Told]) -> tuple[Told, ...]:
    """Of one build's files those of the architectures that are asked for.

    A noarch package is, wherever it was built; a source package where it was made.
    """
    archs = run.request.archs
    return tuple(
        told
        for told in group
        if not archs or told.exhibit.listed.repository != "source" or _external_arch(group) in archs
    )


def _external_arch(group: Sequence[Told]) -> str:
    return group[0].statement.predicate.build_definition.external_parameters.arch


def _missing(run: Run) -> None:
    """Packages that the snapshot names and no repository's metadata do."""
    for signed in forgotten(run.publication.snapshot, run.publication.files):
        nevra = signed.package.nevra
        listed = Listed("snapshot.json", nevra.filename, nevra, signed.sha256, signed.size)
        error = Refused(
            f"{nevra} is in snapshot.json, but in no repository's signed metadata",
            hint="snapshot.json was changed, or a repository of another state lies beside it.",
        )
        _unanswered(run, listed, error)


def _unanswered(run: Run, listed: Listed, error: FarmError) -> None:
    entry = run.publication.table.get(listed.nevra)
    source = entry.package.source if entry else listed.nevra.name
    arch = listed.repository.partition("/")[0]
    run.answers[listed.path] = unanswered(listed, source, arch, error)
    _tell(run, listed.path, error)


def _tell(run: Run, what: str, error: FarmError) -> None:
    text = error.what.removeprefix(what).lstrip(": ")  # the step's name stands before it
    run.emit("failed" if isinstance(error, Refused) else "skipped", what, text=text)


def cases_of(run: Run, groups: Sequence[Sequence[Told]]) -> Iterator[Case]:
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


def rebuilds_of(run: Run, cases: Iterable[Case]) -> Iterator[tuple[Case, Rebuild]]:
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


def build_all_again(run: Run, rebuilds: Sequence[tuple[Case, Rebuild]]) -> None:
    """Each build done again and compared, one after the other as they end."""
    cases = {id(rebuild): case for case, rebuild in rebuilds}
    home = run.config.path("cache") / "verify"
    endings = build_again(
        [rebuild for _, rebuild in rebuilds],
        store=run.supply.store.root,
        roots=roots_directory(run.config.paths.roots, home),
        work=run.scratch / "work",
        slots=run.config.build.slots(run.request.jobs),
        emit=run.emit,
    )
    with contextlib.closing(endings):
        for again in endings:
            _compared(run, cases[id(again.rebuild)], again)


def _compared(run: Run, case: Case, again: Again) -> None:
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


def _give_up(run: Run, case: Case, error: FarmError) -> None:
    for told in case.told:
        answer = failed(case, told, error)
        run.answers[answer.file] = answer
    _tell(run, case.step, error)


def _kept_log(run: Run, case: Case, again: Again) -> Path | None:
    """The log of a build that failed, where it can be read afterwards."""
    if not again.log.is_file() or not is_below(case.step):
        return None
    target = run.config.path("cache") / "verify" / "logs" / f"{case.step}.log"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(again.log, target)
    return target

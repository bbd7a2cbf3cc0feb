"""What `farm verify` answers and remembers, and what it keeps of packages that differ."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from farm.errors import StateError
from farm.model import Noun, Package, Result, from_json, to_json
from farm.run import run
from farm.sandbox.variation import DAYS, HOST, LOCALE, RELEASE, TIME_ZONE, VERSION, differences
from farm.store import Store, write_atomic
from farm.verification.again import Again, mend, whole
from farm.verify.compare import Clues, Difference, cause_of_names
from farm.verify.compare import differences as compare
from farm.verify.search import Differing, Finding, Round, Verdict

_DAY = 86400
_DIFFOSCOPE_SECONDS = 600
_SHORTEST_WORD = 7  # of the environment: what is shorter is found in any text
_MOST_TOLD = 100  # differences of one package in the report


@dataclass(frozen=True)
class VerifyRow:
    """The verdict over one package on one architecture.

    `evr` and `packages` are of what stands, `rounds` the variations it was built under, one
    build each; `seconds` is how long these took together. `telling` are the variations of the
    build whose differences are told. `how` names another way of building than the usual one.
    """

    recipe: str
    arch: str
    verdict: Verdict
    title: str = ""
    how: str = ""
    evr: str = ""
    why: str = ""
    hint: str = ""
    guilty: Round = ()
    rounds: tuple[Round, ...] = ()
    telling: Round = ()
    packages: int = 0
    seconds: float = 0.0
    differing: tuple[Differing, ...] = ()
    notes: tuple[str, ...] = ()
    kept: str = ""  # directory with both builds' packages

    @property
    def causes(self) -> tuple[str, ...]:
        """The likely causes, each once; what is a consequence of others comes last."""
        every = [d for each in self.differing for d in each.differences]
        every.sort(key=lambda difference: difference.consequence)
        return tuple(dict.fromkeys(d.cause for d in every if d.cause))


@dataclass(frozen=True)
class ProbeRow:
    """Whether variations do anything at all on an architecture; `why` when that is not known."""

    arch: str
    effective: Round = ()
    ineffective: Round = ()
    leaked: Round = ()
    why: str = ""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return not (self.ineffective or self.leaked or self.why)


@dataclass(frozen=True)
class VerifyReport:
    """How a verification went."""

    release: str
    commit: str
    rows: tuple[VerifyRow, ...]
    probes: tuple[ProbeRow, ...] = ()
    seconds: float = 0.0

    @property
    def code(self) -> int:
        """0: all the same; 1: something differs; 9: nothing does, but not all could be told."""
        if any(row.verdict in ("differs", "failed") for row in self.rows):
            return 1
        if any(row.verdict == "cannot" for row in self.rows):
            return 9
        return 0 if all(probe.ok for probe in self.probes) else 9


class Verified(Noun, frozen=True):
    """What was last found out about a result. `when` is seconds since 1970."""

    key: str
    verdict: Verdict
    when: float
    rounds: tuple[Round, ...] = ()
    guilty: Round = ()
    why: str = ""
    seconds: float = 0.0


def remember(state: Path, result: Result, row: VerifyRow) -> None:
    """Keep a verdict, for `farm status`. One that says nothing replaces none."""
    if row.verdict == "cannot" or row.how:
        return
    verified = Verified(
        result.key, row.verdict, time.time(), row.rounds, row.guilty, row.why, row.seconds
    )
    write_atomic(_record(state, result.step), to_json(verified))


def remembered(state: Path, result: Result) -> Verified | None:
    """What was found out about this very result; None when it was never verified."""
    path = _record(state, result.step)
    try:
        verified = from_json(Verified, path.read_bytes(), where=str(path))
    except (OSError, StateError):
        return None
    return verified if verified.key == result.key else None


def in_words(state: Path, result: Result) -> str:
    """What was last found out about this very result, in a few words; "" for nothing."""
    verified = remembered(state, result)
    if verified is None:
        return ""
    if verified.verdict == "same":
        most = max((len(under) for under in verified.rounds), default=0)
        return "same" if most else "same, nothing varied"
    return f"{verified.verdict}: {', '.join(verified.guilty)}" if verified.guilty else "differs"


def _record(state: Path, step: str) -> Path:
    name, _, chroot = step.partition("@")
    return state / "verified" / name / f"{chroot}.json"


def compared(
    expected: Sequence[Package],
    made: Sequence[Package],
    again: Again,
    *,
    store: Store,
    finished: float,
    note: Callable[[str], None],
) -> tuple[Differing, ...]:
    """The packages that came out with other bytes.

    A file of the store that is damaged counts as none: what was just built takes its place when
    it has the right bytes. `finished` is when the first build was (seconds since 1970).
    """
    second = {package.nevra.filename: package for package in made}
    found = []
    for package in expected:
        name = package.nevra.filename
        other, path = second.pop(name, None), again.file(name)
        if other is None or path is None:
            found.append(_missing(package, second, clues_of(again.rebuild.variations, finished)))
        elif other.sha256 == package.sha256:
            if mend(store, package.sha256, path):
                note(f"the store's copy of {name} was damaged: what was built took its place")
        elif not whole(store.path(package.sha256), package.sha256):
            note(f"the store's copy of {name} is damaged or gone")
            found.append(Differing(name, problem="how it differs cannot be told: no first copy"))
        else:
            clues = clues_of(again.rebuild.variations, finished)
            found.append(Differing(name, compare(store.get(package.sha256), path, clues)))
    found += [Differing(name, problem="only the second build made it") for name in second]
    return tuple(found)


def _missing(package: Package, second: dict[str, Package], clues: Clues) -> Differing:
    """A package that the second build did not make, or made in another version: `second` is
    what it made beside those that were expected, and loses that."""
    ours = package.nevra
    for name, made in second.items():
        theirs = made.nevra
        if (theirs.name, theirs.arch) == (ours.name, ours.arch):
            del second[name]
            told = tuple(
                Difference(
                    kind="tag", path=tag, old=old, new=new, cause=cause_of_names(old, new, clues)
                )
                for tag, old, new in (
                    ("VERSION", ours.version, theirs.version),
                    ("RELEASE", ours.release, theirs.release),
                )
                if old != new
            )
            return Differing(ours.filename, told, problem=f"the second build made {name} instead")
    return Differing(ours.filename, problem="the second build did not make it")


def clues_of(under: Round, finished: float) -> Clues:
    """What a build under these variations could have seen, and nothing else could."""
    now = time.time()
    times = (finished, now, *((now + DAYS * _DAY,) if "clock" in under else ()))
    made = differences(under)
    telling = {value for value in made.environment.values() if len(value) > _SHORTEST_WORD}
    environment = telling - {HOST, LOCALE, TIME_ZONE}
    ids = (str(made.user.uid), str(made.user.gid))
    words = (
        ("the host name", (HOST,) if "hostname" in under else ()),
        ("the kernel", (RELEASE, VERSION) if "kernel" in under else ()),
        ("the locale", (LOCALE, LOCALE.partition(".")[0]) if "locale" in under else ()),
        ("the umask of the build", (f"0{made.umask}",) if "umask" in under else ()),
        ("the user and group of the build", ids if "ids" in under else ()),
        ("the environment", tuple(sorted(environment)) if "environment" in under else ()),
    )
    return Clues(times, words)


def keep_evidence(
    directory: Path, again: Again, finding: Finding, first: Iterable[Package], store: Store
) -> str:
    """Both builds' packages where they differ, the log, and what differs in words; where."""
    shutil.rmtree(directory, ignore_errors=True)
    for side in ("first", "second"):
        (directory / side).mkdir(parents=True)
    with contextlib.suppress(OSError):
        shutil.copyfile(again.log, directory / "build.log")
    under = f"with {', '.join(finding.round)} varied" if finding.round else "as usual"
    lines = [f"{again.rebuild.job.step}, built {under}", ""]
    lines += [finding.message, ""] if finding.message else []
    originals = {package.nevra.filename: package for package in first}
    for each in finding.differing:
        lines += report_lines(each)
        before, after = (directory / side / each.package for side in ("first", "second"))
        path, original = again.file(each.package), originals.get(each.package)
        if path is not None:
            shutil.copyfile(path, after)
        if original is not None and whole(store.path(original.sha256), original.sha256):
            shutil.copyfile(store.path(original.sha256), before)
        report = directory / f"{each.package}.diffoscope.txt"
        if before.exists() and after.exists() and diffoscope(before, after, report):
            lines += [f"  diffoscope's report: {report.name}", ""]
    write_atomic(directory / "report.txt", "\n".join(lines) + "\n")
    return str(directory)


def diffoscope(first: Path, second: Path, report: Path) -> bool:
    """Attach diffoscope's report; False where it is not installed or came to no end."""
    if shutil.which("diffoscope") is None:
        return False
    done = run(
        ["diffoscope", "--text", report, "--max-text-report-size", "4194304", first, second],
        check=False,
        timeout=_DIFFOSCOPE_SECONDS,
    )
    return done.code in (0, 1) and not done.reason and report.exists()


def report_lines(differing: Differing) -> list[str]:
    """What differs in one package, as text."""
    lines = [differing.package]
    if differing.problem:
        lines.append(f"  {differing.problem}")
    for difference in differing.differences[:_MOST_TOLD]:
        lines += difference_lines(difference)
    more = len(differing.differences) - _MOST_TOLD
    return [*lines, *([f"  … and {more} more"] if more > 0 else []), ""]


def difference_lines(difference: Difference) -> list[str]:
    """One difference as text: what, the likely cause, the bytes."""
    lines = [f"  {difference.plainly}"]
    lines += [f"      {difference.cause}"] if difference.cause else []
    return lines + [f"      {line}" for line in difference.excerpt]


def encoded(report: VerifyReport) -> str:
    """The report as one line of JSON."""
    return msgspec.json.encode({"summary": report}, enc_hook=str).decode()

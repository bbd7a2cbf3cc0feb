"""Which variations are guilty, what is built again and how, and what is said of it."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import StateError, UsageError
from farm.model import (
    Built,
    Chroot,
    Evaluation,
    Failed,
    Going,
    Job,
    Limits,
    Lock,
    LockedPackage,
    Manifest,
    Nevra,
    Outcome,
    Package,
    Recipe,
    Result,
    WorkOrder,
    from_json,
)
from farm.rebuild.engines import Capacity, Ended, Moved
from farm.rebuild.keys import RECIPE_NUMBER
from farm.screens.verifying import show_verification, write_table
from farm.store import Store, sha256_of
from farm.verification.again import Again, Rebuild, build_again, job_again, mend, source_arch
from farm.verification.reproduction import Reproduction
from farm.verification.subjects import Subject, VerifyRequest, subjects
from farm.verification.verdicts import (
    ProbeRow,
    Verified,
    VerifyReport,
    VerifyRow,
    clues_of,
    compared,
    in_words,
    keep_evidence,
    remember,
    remembered,
)
from farm.verify.difference import Difference
from farm.verify.search import Differing, Finding, Round, judged, next_rounds
from farm.verify.variations import NAMES, parse
from tests import rpms
from tests.rpms import needs_rpmbuild

Bad = Callable[[Round], bool]


def search(first: tuple[Round, ...], bad: Bad, causes: str = "") -> list[Finding]:
    """What a whole search finds of a package that is bad under the rounds that `bad` names."""
    findings: list[Finding] = []
    waiting = list(first)
    while waiting:
        for under in waiting:
            told = (Differing("p", (Difference(kind="content", path="/p", cause=causes),)),)
            findings.append(
                Finding(under, "differs", told) if bad(under) else Finding(under, "same")
            )
        waiting = list(next_rounds(findings, searching=True))
        assert len(findings) < 60, "the search does not end"
    return findings


sets = st.frozensets(st.sampled_from(NAMES))


@given(sets.filter(bool), st.sampled_from(["", "a date", "the umask of the build", "the locale"]))
def test_exactly_the_guilty_variations_are_named(guilty: frozenset[str], causes: str) -> None:
    findings = search((NAMES,), lambda under: bool(guilty & set(under)), causes)
    said = judged(findings)
    assert said.verdict == "differs"
    assert set(said.guilty) == guilty
    assert said.searched
    assert said.telling is not None
    assert len(said.telling.round) == 1


@given(sets.filter(lambda names: len(names) > 1))
def test_variations_that_only_matter_together_end_the_search(together: frozenset[str]) -> None:
    said = judged(search((NAMES,), lambda under: together <= set(under)))
    assert said.verdict == "differs"
    assert said.guilty == ()
    assert "together" in said.why or "not known" in said.why


def test_a_suspect_is_tried_alone_and_spares_the_others() -> None:
    findings = search((NAMES,), lambda under: "umask" in under, "the umask of the build")
    rest = tuple(name for name in NAMES if name != "umask")
    assert [finding.round for finding in findings] == [NAMES, (), ("umask",), rest]


def test_what_differs_as_usual_is_not_searched_any_further() -> None:
    findings = search((NAMES,), lambda under: True)
    assert [finding.round for finding in findings] == [NAMES, ()]
    said = judged(findings)
    assert (said.guilty, said.why) == ((), "it differs when it is built as usual, too")


def test_what_is_the_same_is_built_once() -> None:
    assert [f.round for f in search((NAMES,), lambda under: False)] == [NAMES]
    assert judged([Finding(NAMES, "same")]).verdict == "same"


def test_one_at_a_time_needs_no_further_build_but_the_usual_one() -> None:
    findings = search(parse("each"), lambda under: "clock" in under)
    assert [finding.round for finding in findings] == [*((name,) for name in NAMES), ()]
    assert judged(findings).guilty == ("clock",)


def test_without_a_search_it_is_said_that_the_guilty_one_is_not_known() -> None:
    findings = [Finding(NAMES, "differs"), Finding((), "same")]
    assert next_rounds(findings, searching=False) == ()
    said = judged(findings)
    assert not said.searched
    assert "which of them is not known" in said.why


def test_a_build_that_fails_under_a_variation_is_bad_and_one_that_says_nothing_is_not() -> None:
    findings = [Finding(("clock",), "failed", message="no"), Finding((), "same")]
    assert (judged(findings).verdict, judged(findings).guilty) == ("failed", ("clock",))
    silent = [Finding(NAMES, "cannot", message="the worker died")]
    assert next_rounds(silent, searching=True) == ()
    assert (judged(silent).verdict, judged(silent).why) == ("cannot", "the worker died")


def test_a_group_that_says_nothing_ends_the_search_without_a_false_acquittal() -> None:
    findings = [Finding(("clock", "ids"), "differs"), Finding((), "same"),
                Finding(("clock",), "same"), Finding(("ids",), "cannot")]  # fmt: skip
    assert next_rounds(findings, searching=True) == ()
    assert not judged(findings).searched


class ScriptedEngine:
    """Attempts that end as a test wants, newest first; no process is started."""

    def __init__(self, slots: int, outcome: Callable[[WorkOrder], Outcome | None]) -> None:
        self.capacity, self._outcome = Capacity(slots), outcome
        self.running: list[tuple[str, Path]] = []
        self.most, self.stopped = 0, False

    def start(self, job: Job, directory: Path, rank: float = 0.0) -> None:
        self.running.append((job.attempt, directory))
        self.most = max(self.most, len(self.running))

    def recover(self, attempts: Sequence[Going]) -> frozenset[str]:
        return frozenset()

    def poll(self, seconds: float) -> tuple[Ended | Moved, ...]:
        name, directory = self.running.pop()
        order = from_json(WorkOrder, (directory / "job.json").read_bytes())
        (directory / "results").mkdir()
        (directory / "results" / "x.rpm").write_text(name)
        gone = Ended(name, self._outcome(order), "killed")
        return (Moved(name, "%build"), gone, gone)  # every engine is at-least-once

    def stop(self) -> None:
        self.stopped = True


CHROOT = Chroot("debian-13-x86_64", "debian-13", "x86_64", (), (), ".deb13")
BUILT = Built((), Package(Nevra("thing", 0, "1", "1", "src"), "0" * 64, 1, "thing"), 1.0)


def job(name: str = "thing") -> Job:
    return Job(
        attempt="", step=f"{name}@{CHROOT.name}", recipe=Recipe(name, f"{name}.spec", "/x", ()),
        chroot=CHROOT, lock=Lock(()), setup_lock=Lock(()), counter=0, key="k", epoch_seconds=1,
    )  # fmt: skip


def again(
    tmp_path: Path,
    rebuilds: Iterator[Rebuild],
    engine: ScriptedEngine,
    emit: Callable[..., None] = lambda *a, **k: None,
) -> contextlib.closing[Generator[Again, None, None]]:
    return contextlib.closing(
        build_again(
            rebuilds, store=tmp_path / "store", roots=tmp_path / "roots", work=tmp_path / "work",
            slots=engine.capacity.slots, emit=emit, start_engine=lambda slots: engine,
        )
    )  # fmt: skip


def test_builds_run_as_many_at_once_as_there_are_slots_and_leave_nothing(tmp_path: Path) -> None:
    engine = ScriptedEngine(2, lambda order: BUILT)
    rebuilds = [Rebuild(job(str(number)), ("clock",)) for number in range(5)]
    seen: list[Rebuild] = []
    places: list[Path] = []
    with again(tmp_path, iter(rebuilds), engine) as builds:
        for each in builds:
            assert all(not place.exists() for place in places)
            assert each.file("x.rpm") == each.directory / "results" / "x.rpm"
            assert each.file("y.rpm") is None
            places.append(each.directory)
            seen.append(each.rebuild)
    assert sorted(rebuild.job.step for rebuild in seen) == [r.job.step for r in rebuilds]
    assert engine.most == 2
    assert engine.stopped
    assert list((tmp_path / "work").iterdir()) == []


def test_more_builds_may_be_wanted_once_one_has_ended(tmp_path: Path) -> None:
    class Growing:
        def __init__(self) -> None:
            self.waiting = [Rebuild(job("first"))]

        def __iter__(self) -> Iterator[Rebuild]:
            return self

        def __next__(self) -> Rebuild:
            if not self.waiting:
                raise StopIteration
            return self.waiting.pop()

    source = Growing()
    names = []
    with again(tmp_path, iter(source), ScriptedEngine(3, lambda order: BUILT)) as builds:
        for each in builds:
            names.append(each.rebuild.job.recipe.name)
            if len(names) == 1:
                source.waiting = [Rebuild(job("second")), Rebuild(job("third"))]
    assert sorted(names) == ["first", "second", "third"]


def test_a_worker_without_a_word_is_the_infrastructures_fault(tmp_path: Path) -> None:
    with again(tmp_path, iter([Rebuild(job())]), ScriptedEngine(1, lambda order: None)) as builds:
        (outcome,) = (each.outcome for each in builds)
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.excerpt) == ("infrastructure", ("killed",))


def test_the_job_file_has_the_variations_and_an_attempt_of_its_own(tmp_path: Path) -> None:
    orders = []

    def outcome(order: WorkOrder) -> Outcome:
        orders.append(order)
        return BUILT

    rebuilds = [Rebuild(job(), ("clock",)), Rebuild(job(), ())]
    with again(tmp_path, iter(rebuilds), ScriptedEngine(1, outcome)) as builds:
        assert len(list(builds)) == 2
    assert [order.variations for order in orders] == [("clock",), ()]
    assert len({order.job.attempt for order in orders}) == 2
    assert not any(order.keep for order in orders)


def test_an_error_of_the_caller_ends_what_runs(tmp_path: Path) -> None:
    engine = ScriptedEngine(2, lambda order: BUILT)
    with (
        pytest.raises(KeyboardInterrupt),
        again(tmp_path, iter([Rebuild(job("a")), Rebuild(job("b"))]), engine) as builds,
    ):
        for _ in builds:
            raise KeyboardInterrupt
    assert engine.stopped
    assert list((tmp_path / "work").iterdir()) == []


def locked(name: str, sha256: str) -> LockedPackage:
    return LockedPackage(Nevra(name, 0, "1", "1", "noarch"), sha256, 1, "base")


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Result, Store]:
    """A result as `farm build` records it, of a package that the host's rpmbuild made."""
    store = Store(tmp_path / "store")
    spec = rpms.Spec("thing", files=(("/usr/share/thing/one", "1\n"),))
    result = rpms.result("thing", "x86_64", rpms.build(tmp_path, spec), store)
    lock = Lock((locked("a", "a" * 64), locked("b", "b" * 64)), ("a" * 64,))
    return msgspec.structs.replace(
        result,
        lock=lock,
        manifest=Manifest("recipe", lock.digest, CHROOT.digest, RECIPE_NUMBER),
        chroot=CHROOT,
        epoch_seconds=rpms.EPOCH_SECONDS,
        spec="thing.spec",
    ), store


def job_of(
    result: Result, store: Store, tmp_path: Path, **changes: object
) -> tuple[Job, list[str]]:
    notes: list[str] = []
    options = {"chroot": CHROOT, "maker": result} | changes
    made = job_again(
        result, store, tmp_path / "work", setup_lock=lambda: Lock((locked("s", "c" * 64),)),
        cpus=3, limits=Limits(), note=notes.append, **options,  # type: ignore[arg-type]
    )  # fmt: skip
    return made, notes


@needs_rpmbuild
def test_a_job_is_made_from_a_result_and_its_source_package(
    stored: tuple[Result, Store], tmp_path: Path
) -> None:
    result, store = stored
    made, notes = job_of(result, store, tmp_path)
    assert notes == []
    assert (made.srpm, made.counter, made.epoch_seconds) == ("", 0, rpms.EPOCH_SECONDS)
    assert [name for name, _ in made.inputs] == ["thing.spec"]
    assert all(sha256_of(store.get(sha256)) == sha256 for _, sha256 in made.inputs)
    assert [p.nevra.name for p in made.setup_lock.packages] == ["a"]
    other, _ = job_of(result, store, tmp_path, maker=None)
    assert other.srpm == result.built.srpm.sha256


@needs_rpmbuild
def test_a_source_package_is_made_where_it_was_made_first(
    stored: tuple[Result, Store], tmp_path: Path
) -> None:
    result, store = stored
    first = msgspec.structs.replace(
        result, lock=Lock((locked("older", "d" * 64),), ("d" * 64,)), finished=0.0
    )
    made, _ = job_of(result, store, tmp_path, maker=first)
    assert [p.nevra.name for p in made.setup_lock.packages] == ["older"]
    assert made.lock == result.lock
    unnamed = msgspec.structs.replace(first, lock=Lock(first.lock.packages))
    made, _ = job_of(result, store, tmp_path, maker=unnamed)
    assert [p.nevra.name for p in made.setup_lock.packages] == ["s"]


@needs_rpmbuild
def test_what_helps_to_run_the_chroot_is_this_machines(
    stored: tuple[Result, Store], tmp_path: Path
) -> None:
    result, store = stored
    here = msgspec.structs.replace(CHROOT, native_tools="/tools", dist=".other")
    made, _ = job_of(result, store, tmp_path, chroot=here)
    assert (made.chroot.native_tools, made.chroot.dist) == ("/tools", ".deb13")


@needs_rpmbuild
def test_an_old_result_is_built_in_the_same_chroot_or_not_at_all(
    stored: tuple[Result, Store], tmp_path: Path
) -> None:
    result, store = stored
    old = msgspec.structs.replace(result, chroot=None, epoch_seconds=0)
    made, _ = job_of(old, store, tmp_path)
    assert made.chroot == CHROOT
    changed = msgspec.structs.replace(CHROOT, dist=".other")
    with pytest.raises(StateError, match="did not record") as refused:
        job_of(old, store, tmp_path, chroot=changed)
    assert "farm build thing --force" in refused.value.hint


@needs_rpmbuild
def test_a_damaged_source_package_is_refused_and_a_damaged_input_is_mended(
    stored: tuple[Result, Store], tmp_path: Path
) -> None:
    result, store = stored
    made, _ = job_of(result, store, tmp_path)
    spec = store.path(made.inputs[0][1])
    spec.chmod(0o644)
    spec.write_text("Name: other\n")
    made, notes = job_of(result, store, tmp_path)
    assert "thing.spec was damaged" in notes[0]
    assert sha256_of(spec) == made.inputs[0][1]
    damaged = store.path(result.built.srpm.sha256)
    damaged.chmod(0o644)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(StateError, match="is damaged"):
        job_of(result, store, tmp_path)


@needs_rpmbuild
def test_other_inputs_than_recorded_are_mentioned(
    stored: tuple[Result, Store], tmp_path: Path
) -> None:
    result, store = stored
    changed = msgspec.structs.replace(result, inputs=(("thing.spec", "f" * 64),))
    _, notes = job_of(changed, store, tmp_path)
    assert "the recipe has changed since" in notes[0]


@needs_rpmbuild
def test_the_source_package_says_which_architecture_made_it(
    stored: tuple[Result, Store], tmp_path: Path
) -> None:
    result, store = stored
    assert source_arch(result, store, ("aarch64", "x86_64")) == "x86_64"
    noarch = rpms.build(tmp_path / "n", rpms.Spec("n", arch="noarch"))
    other = rpms.result("n", "x86_64", noarch, store)
    assert source_arch(other, store, ("aarch64", "x86_64")) == "aarch64"


@needs_rpmbuild
def test_the_same_bytes_mend_a_damaged_store_and_others_differ(
    stored: tuple[Result, Store], tmp_path: Path
) -> None:
    result, store = stored
    (package,) = result.built.packages
    directory = tmp_path / "attempt"
    (directory / "results").mkdir(parents=True)
    (directory / "results" / package.nevra.filename).write_bytes(
        store.get(package.sha256).read_bytes()
    )
    attempt = Again(Rebuild(job()), result.built, directory, 1.0)
    notes: list[str] = []

    def differing(made: Package) -> tuple[Differing, ...]:
        return compared((package,), (made,), attempt, store=store, finished=0.0, note=notes.append)

    assert differing(package) == ()
    store.path(package.sha256).unlink()
    assert differing(package) == ()
    assert len(notes) == 1
    assert sha256_of(store.path(package.sha256)) == package.sha256
    other = msgspec.structs.replace(package, sha256="e" * 64)
    assert [each.package for each in differing(other)] == [package.nevra.filename]
    store.path(package.sha256).unlink()
    (lost,) = differing(other)
    assert "no first copy" in lost.problem


def test_a_package_that_only_one_of_the_builds_made_differs(tmp_path: Path) -> None:
    one = Package(Nevra("one", 0, "1", "1", "noarch"), "a" * 64, 1, "thing")
    other = Package(Nevra("other", 0, "1", "1", "noarch"), "b" * 64, 1, "thing")
    attempt = Again(Rebuild(job()), BUILT, tmp_path, 1.0)
    found = compared(
        (one,), (other,), attempt, store=Store(tmp_path), finished=0.0, note=lambda text: None
    )
    assert [(each.package, each.problem) for each in found] == [
        ("one-1-1.noarch.rpm", "the second build did not make it"),
        ("other-1-1.noarch.rpm", "only the second build made it"),
    ]


def test_a_release_that_holds_a_time_is_told_as_one(tmp_path: Path) -> None:
    ours, theirs = (
        Package(Nevra("one", 0, "1", f"1.{at}", "noarch"), str(n) * 64, 1, "one")
        for n, at in enumerate((1_790_000_000, 1_790_000_300))
    )
    attempt = Again(Rebuild(job()), BUILT, tmp_path, 1.0)
    (found,) = compared(
        (ours,), (theirs,), attempt, store=Store(tmp_path), finished=1_790_000_000.0,
        note=lambda text: None,
    )  # fmt: skip
    assert found.package == "one-1-1.1790000000.noarch.rpm"
    assert "made one-1-1.1790000300.noarch.rpm instead" in found.problem
    (difference,) = found.differences
    assert difference.path == "RELEASE"
    assert difference.cause.startswith("a date")


def test_what_is_looked_for_is_what_any_build_showed_and_not_the_one_that_ended_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    survey = SimpleNamespace(emit=lambda state, text="", **_: said.append(text))
    run = Reproduction(survey, VerifyRequest(("thing",)), (), 1, tmp_path)  # type: ignore[arg-type]
    subject = Subject(
        "thing", CHROOT, None, None, deque(), findings=[Finding(("cores",), "differs")], building=1
    )
    monkeypatch.setattr(run, "_finding", lambda *_: Finding(("umask",), "same"))
    run._hear(subject, Again(Rebuild(job()), BUILT, tmp_path, 1.0))
    assert said == ["thing@debian-13-x86_64 differs: looking for what brings it about"]


def test_mending_leaves_a_whole_file_alone(tmp_path: Path) -> None:
    store, good = Store(tmp_path / "store"), tmp_path / "good"
    good.write_text("good")
    sha256 = store.put(good)
    before = store.path(sha256).stat().st_ino
    assert not mend(store, sha256, good)
    assert store.path(sha256).stat().st_ino == before


def test_only_what_was_varied_is_looked_for() -> None:
    plain, varied = clues_of((), 0.0), clues_of(NAMES, 0.0)
    assert not any(words for _, words in plain.words)
    assert all(words for _, words in varied.words)
    assert len(varied.times) == len(plain.times) + 1


@needs_rpmbuild
def test_both_builds_are_kept_with_a_report_and_diffoscopes_where_it_is_installed(
    stored: tuple[Result, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, store = stored
    (package,) = result.built.packages
    name = package.nevra.filename
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "diffoscope").write_text('#!/bin/sh\nshift; echo "seen $4 $5" > "$1"; exit 1\n')
    (tools / "diffoscope").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    attempt = tmp_path / "attempt"
    (attempt / "results").mkdir(parents=True)
    (attempt / "results" / name).write_bytes(b"other")
    (attempt / "build.log").write_text("words\n")
    difference = Difference(kind="content", path="/usr/bin/x", cause="a date")
    finding = Finding(("clock",), "differs", (Differing(name, (difference,)),))
    done = Again(Rebuild(job(), ("clock",)), result.built, attempt, 1.0)
    kept = Path(keep_evidence(tmp_path / "kept", done, finding, result.built.packages, store))
    assert sha256_of(kept / "first" / name) == package.sha256
    assert (kept / "second" / name).read_bytes() == b"other"
    assert (kept / "build.log").read_text() == "words\n"
    report = (kept / "report.txt").read_text()
    assert "with clock varied" in report
    assert "/usr/bin/x differs" in report
    attached = kept / f"{name}.diffoscope.txt"
    assert attached.name in report
    assert attached.read_text() == f"seen {kept / 'first' / name} {kept / 'second' / name}\n"


ROW = VerifyRow("munge", "x86_64", "same", rounds=(NAMES,), packages=6, seconds=98.0)
DIFFERS = VerifyRow(
    "pdsh", "aarch64", "differs", why="it differs under hostname", guilty=("hostname",),
    rounds=(NAMES, (), ("hostname",)), telling=("hostname",), packages=17, seconds=141.0,
    differing=(
        Differing(
            "pdsh-2.35-1.deb13.aarch64.rpm",
            (
                Difference(
                    kind="content", path="/usr/bin/pdsh", part="section .rodata", offset=296,
                    excerpt=("- 00000120  66 61 72 6d", "+ 00000120  61 6e 6f 74"),
                    cause="the host name: 'another-host' is only in the second build",
                ),
                Difference(kind="content", path="/usr/bin/pdsh", consequence=True, cause="id"),
            ),
        ),
    ),
    kept="/home/someone/layer/.farm/differences/pdsh/debian-13-aarch64",
)  # fmt: skip
CANNOT = VerifyRow("lmod", "x86_64", "cannot", why="it was never built", hint="`farm build lmod`")
SILENT = ProbeRow("aarch64", ("umask",), ("clock",))


@pytest.mark.parametrize(
    ("rows", "probes", "code"),
    [
        ((ROW,), (), 0),
        ((ROW, DIFFERS, CANNOT), (), 1),
        ((ROW, replace(DIFFERS, verdict="failed")), (), 1),
        ((ROW, CANNOT), (), 9),
        ((ROW,), (SILENT,), 9),
        ((ROW,), (ProbeRow("x86_64", NAMES),), 0),
        ((ROW,), (ProbeRow("x86_64", why="no gcc"),), 9),
    ],
)  # fmt: skip
def test_the_exit_code_never_hides_what_was_not_verified(
    rows: tuple[VerifyRow, ...], probes: tuple[ProbeRow, ...], code: int
) -> None:
    assert VerifyReport("debian-13", "c" * 40, rows, probes).code == code


def test_the_screen_names_file_cause_bytes_and_what_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = VerifyReport("debian-13", "c" * 40, (ROW, DIFFERS, CANNOT), (SILENT,), 300.0)
    show_verification(report, as_json=False)
    shown = capsys.readouterr().out
    for text in (
        "munge    x86_64   same",
        "guilty: hostname",
        "/usr/bin/pdsh, section .rodata differs from byte 296",
        "the host name: 'another-host' is only in the second build",
        "+ 00000120  61 6e 6f 74",
        "/home/someone/layer/.farm/differences/pdsh/debian-13-aarch64",
        "-> `farm build lmod`",
        "proves nothing here, it has no effect: clock",
        "1 of 3 the same bit for bit, 1 differs, 1 could not be verified",
        "without effect here: clock",
    ):
        assert text in shown
    assert "… and 1 more in the report" in shown


def test_the_json_answer_is_one_line_with_everything(capsys: pytest.CaptureFixture[str]) -> None:
    report = VerifyReport("debian-13", "c" * 40, (DIFFERS,), (SILENT,))
    show_verification(report, as_json=True)
    (line,) = capsys.readouterr().out.splitlines()
    answer = msgspec.json.decode(line)["summary"]
    assert answer["rows"][0]["differing"][0]["differences"][0]["path"] == "/usr/bin/pdsh"
    assert answer["probes"][0]["ineffective"] == ["clock"]


def test_the_table_lists_what_differs_with_its_cause(tmp_path: Path) -> None:
    report = VerifyReport("debian-13", "c" * 40, (ROW, DIFFERS, CANNOT), (SILENT,))
    write_table(report, tmp_path / "table.md")
    text = (tmp_path / "table.md").read_text()
    assert "| munge | x86_64 |" in text
    assert "DIFFERS: it differs under hostname (the host name: 'another-host'" in text
    assert "cannot say: it was never built" in text


def test_a_verdict_is_remembered_for_the_very_result(tmp_path: Path) -> None:
    result = Result(
        key="k1", step="munge@debian-13-x86_64", manifest=Manifest("r", "l", "c", 1),
        lock=Lock(()), recipe_files=(), counter=0, commit="", built=BUILT, finished=0.0,
    )  # fmt: skip
    assert in_words(tmp_path, result) == ""
    remember(tmp_path, result, ROW)
    assert in_words(tmp_path, result) == "same"
    remember(tmp_path, result, replace(CANNOT, recipe="munge"))
    found = remembered(tmp_path, result)
    assert isinstance(found, Verified)
    assert found.verdict == "same"
    assert remembered(tmp_path, msgspec.structs.replace(result, key="k2")) is None
    remember(tmp_path, result, DIFFERS)
    assert in_words(tmp_path, result) == "differs: hostname"
    next(tmp_path.rglob("*.json")).write_text("{")
    assert in_words(tmp_path, result) == ""


class Records:
    """What a ledger knows of some steps."""

    def __init__(self, *results: Result) -> None:
        self._results = results

    def standing(self, step: str) -> Result | None:
        return next((r for r in reversed(self._results) if r.step == step), None)

    def results_of(self, step: str) -> tuple[Result, ...]:
        return tuple(result for result in self._results if result.step == step)

    def expected_seconds(self, step: str) -> float:
        return 5.0


def stands(name: str, chroot: Chroot, finished: float, seconds: float = 1.0) -> Result:
    nevra = Nevra(name, 0, "1", "1", chroot.arch)
    source = msgspec.structs.replace(nevra, arch="src")
    return Result(
        key=f"{name}{chroot.arch}{finished}", step=f"{name}@{chroot.name}",
        manifest=Manifest("r", "l", "c", 1), lock=Lock(()), recipe_files=(), counter=0, commit="",
        built=Built(
            (Package(nevra, "1" * 64, 1, name),), Package(source, "2" * 64, 1, name), seconds
        ),
        finished=finished,
    )  # fmt: skip


@dataclass
class Layered:
    """A survey of a layer with these specs, for two architectures."""

    directory: Path
    specs: dict[str, str]
    only: tuple[str, ...] = ()  # recipes for x86_64 alone
    left_out: tuple[str, ...] = ()
    chroots: tuple[Chroot, ...] = (
        CHROOT,
        Chroot("debian-13-aarch64", "debian-13", "aarch64", (), (), ".deb13", native_tools="/t"),
    )

    @property
    def recipes(self) -> dict[str, Recipe]:
        found = {}
        for name, text in self.specs.items():
            (self.directory / f"{name}.spec").write_text(text)
            found[name] = Recipe(name, f"{name}.spec", str(self.directory), ())
        return found

    def check_names(self, names: tuple[str, ...]) -> None:
        assert set(names) <= set(self.specs)

    def evaluated(self, chroot: Chroot, recipes: list[Recipe]) -> dict[str, Evaluation]:
        return {
            recipe.name: Evaluation(
                Nevra(recipe.name, 0, "1", "1", "src"), (), (),
                exclusive_arch=("x86_64",) if recipe.name in self.only else (),
            )
            for recipe in recipes
        }  # fmt: skip


def found(survey: Layered, ledger: Records, **asked: object) -> tuple[Subject, ...]:
    return subjects(survey, ledger, VerifyRequest(**asked))  # type: ignore[arg-type]


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "farm.verification.subjects.emulator_for",
        lambda chroot: None if chroot.arch == "x86_64" else "qemu",
    )


def test_of_everything_what_was_built_last_is_verified_first(
    tmp_path: Path, emulated: None
) -> None:
    survey = Layered(tmp_path, {"a": "", "b": "%configure", "c": "", "x": ""}, only=("x",))
    x86, arm = survey.chroots
    ledger = Records(
        stands("a", x86, 1.0), stands("b", x86, 2.0), stands("x", x86, 3.0),
        stands("a", arm, 4.0, 9.0), stands("b", arm, 5.0, 10.0), stands("c", arm, 6.0, 8.0),
    )  # fmt: skip
    told = [(s.recipe, s.chroot.arch, s.how) for s in found(survey, ledger, everything=True)]
    assert told == [
        ("c", "aarch64", ""), ("b", "aarch64", ""), ("a", "aarch64", ""), ("x", "x86_64", ""),
        ("b", "x86_64", ""), ("a", "x86_64", ""), ("c", "x86_64", ""),  # never built: not hidden
        ("b", "aarch64", "plain emulation"), ("c", "aarch64", "plain emulation"),
    ]  # fmt: skip


def test_the_sample_is_built_without_native_tools_and_without_variations(
    tmp_path: Path, emulated: None
) -> None:
    survey = Layered(tmp_path, {"b": "%configure"})
    _, arm = survey.chroots
    *_, sample = found(survey, Records(stands("b", arm, 1.0)), everything=True)
    assert (sample.chroot.native_tools, list(sample.waiting)) == ("", [()])
    assert sample.title == "b@debian-13-aarch64 (plain emulation)"


def test_named_packages_keep_their_order(tmp_path: Path, emulated: None) -> None:
    survey = Layered(tmp_path, {"a": "", "b": ""})
    x86, arm = survey.chroots
    ledger = Records(*(stands(n, c, 1.0) for n in "ab" for c in (x86, arm)))
    told = [(s.recipe, s.chroot.arch) for s in found(survey, ledger, names=("b", "a", "b"))]
    assert told == [("b", "x86_64"), ("b", "aarch64"), ("a", "x86_64"), ("a", "aarch64")]


def test_the_first_result_with_a_source_package_made_it(tmp_path: Path, emulated: None) -> None:
    survey = Layered(tmp_path, {"a": ""})
    older, newer = (stands("a", CHROOT, when) for when in (1.0, 2.0))
    other = msgspec.structs.replace(
        older, finished=0.5,
        built=msgspec.structs.replace(
            older.built, srpm=msgspec.structs.replace(older.built.srpm, sha256="3" * 64)
        ),
    )  # fmt: skip
    subject, *_ = found(survey, Records(other, older, newer), names=("a",))
    assert (subject.result, subject.maker) == (newer, older)


def test_an_unknown_variation_is_refused_before_anything_is_done() -> None:
    with pytest.raises(UsageError, match="clok"):
        VerifyRequest(variations="clok")

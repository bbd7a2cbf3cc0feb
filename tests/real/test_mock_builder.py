"""mock on the embedded base, beside farm's own builder.

They run where a usable mock is in the PATH, as it is after ci/setup on Fedora and EL. Debian has
no package of it: there a checkout of its repository, with an executable `mock` in the PATH, a
group mock and a member of that, does.
"""

from __future__ import annotations

import ast
import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from farm.model import Built, Failed, Limits, Lock, Outcome, Recipe, WorkOrder, from_json, to_json
from farm.plan.chroots import read_chroot
from farm.rebuild import mock
from farm.rebuild.mockconfig import LOGGING
from farm.rebuild.mockrun import forget
from farm.rebuild.worker import read_order, work, workspace_of
from farm.run import run
from farm.sandbox import remove
from tests.builds import ROOT, Ground, elsewhere, ground, order, tiny

_ACCESS = mock.access()

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        not _ACCESS.granted,
        reason=f"mock cannot be used here: {_ACCESS.problem or 'it is not installed'}",
    ),
]

OFFLINE = (
    "%build\n",
    "%build\nif grep -v '^ *lo:' /proc/net/dev | grep : ; then echo on the network; exit 1; fi\n",
)
BROKEN_TEST = ("test -s libtiny.so.1", "echo 'tiny.c:4:2: error: one is missing' >&2; false")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Build roots of its own, because failed builds are left in them."""
    state = tmp_path_factory.mktemp("state")
    state.chmod(0o755)
    usual = ground("x86_64", state)
    own = elsewhere(usual, usual.cache.directory / f"test-mock-{os.getpid()}")
    yield own
    forget(own.cache.directory / "mock", _ACCESS, 0)
    remove(own.cache.directory)


def attempt(
    place: Ground, recipe: Recipe, builder: str, name: str, *,
    limits: Limits | None = None, lock: Lock | None = None, srpm: bool = True,
) -> tuple[Outcome, Path]:  # fmt: skip
    """What a worker made of the job with that builder, and the attempt's directory."""
    job_file = order(place, recipe, name, limits=limits, srpm=srpm)
    written = from_json(WorkOrder, job_file.read_bytes())
    job = msgspec.structs.replace(written.job, builder=builder, lock=lock or written.job.lock)
    job_file.write_bytes(to_json(msgspec.structs.replace(written, job=job)))
    return work(job_file), job_file.parent


def bytes_of(made: Outcome) -> dict[str, str]:
    assert isinstance(made, Built), made
    return {str(p.nevra): p.sha256 for p in (*made.packages, made.srpm)}


@pytest.mark.parametrize("path", sorted((ROOT / "chroots").glob("*.cfg")), ids=lambda p: p.stem)
def test_mock_reads_in_a_chroot_file_what_farm_reads(path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # where mock's user may read
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "logging.ini").write_text(LOGGING)
        copy = directory / path.name
        copy.write_bytes(path.read_bytes())
        told = run(
            [_ACCESS.program, "--configdir", directory, "-r", copy, "--debug-config-expanded"],
            env=_ACCESS.environment,
        ).stdout
    options: dict[str, Any] = {}
    for statement in ast.parse(told).body:
        assert isinstance(statement, ast.Assign)
        assert isinstance(statement.targets[0], ast.Subscript)
        name = ast.literal_eval(statement.targets[0].slice)
        with contextlib.suppress(ValueError):  # of no kind that a chroot file could hold
            options[name] = ast.literal_eval(statement.value)
    chroot = read_chroot(path, {})
    assert options["root"] == chroot.name
    assert options["target_arch"] == chroot.arch
    assert tuple(options["chroot_setup_cmd"].split()[1:]) == chroot.setup
    assert options["macros"]["%dist"] == chroot.dist
    for repository in chroot.repositories:
        assert f"[{repository.id}]" in options["dnf.conf"]


def test_both_builders_give_the_same_bytes_for_the_same_job(place: Ground, tmp_path: Path) -> None:
    recipe = tiny(tmp_path, OFFLINE)
    embedded, _ = attempt(place, recipe, "embedded", "both-embedded")
    through_mock, directory = attempt(place, recipe, "mock", "both-mock")
    assert bytes_of(through_mock) == bytes_of(embedded)
    assert isinstance(through_mock, Built)
    assert len(through_mock.packages) == 5
    assert dict(through_mock.host)["builder"] == "mock"
    phases = ["root", "unpack", "%prep", "%build", "%install", "%check", "packaging", "compare"]
    assert (directory / "phases").read_text().splitlines() == phases
    assert not (place.cache.directory / "mock" / "both-mock").exists()


def test_build_requires_that_the_package_generates_leave_the_bytes_alone(
    place: Ground, tmp_path: Path
) -> None:
    recipe = tiny(tmp_path, ("%build\n", "%generate_buildrequires\necho make\n\n%build\n"))
    embedded, _ = attempt(place, recipe, "embedded", "dynamic-embedded")
    through_mock, _ = attempt(place, recipe, "mock", "dynamic-mock")
    assert bytes_of(through_mock) == bytes_of(embedded)


def test_a_source_package_that_is_not_there_yet_is_made_the_same(
    place: Ground, tmp_path: Path
) -> None:
    recipe = tiny(tmp_path)
    given, _ = attempt(place, recipe, "mock", "given")
    made, _ = attempt(place, recipe, "mock", "made", srpm=False)
    assert bytes_of(made) == bytes_of(given)


def test_a_failing_check_is_told_as_the_embedded_builder_tells_it(
    place: Ground, tmp_path: Path
) -> None:
    recipe = tiny(tmp_path, BROKEN_TEST)
    embedded, _ = attempt(place, recipe, "embedded", "broken-embedded")
    through_mock, directory = attempt(place, recipe, "mock", "broken-mock")
    assert isinstance(embedded, Failed)
    assert isinstance(through_mock, Failed), through_mock
    assert (through_mock.kind, through_mock.phase) == ("package", "%check")
    assert through_mock.message == embedded.message
    assert through_mock.where == embedded.where == "tiny.c:4"
    assert "tiny.c:4:2: error: one is missing" in through_mock.excerpt
    # mock may lose the last line of rpmbuild, and names of scripts differ
    told, told_through_mock = (
        [line for line in each.excerpt if "rpm-tmp" not in line]
        for each in (embedded, through_mock)
    )
    assert told_through_mock == told
    written = read_order(directory / "job.json")
    workspace = workspace_of(written, directory)
    command = ("test", "-s", "BUILD/tiny-1.0-build/tiny-1.0/libtiny.so.1")
    assert mock.open_shell(written.job, workspace, command) == 0
    assert mock.open_shell(written.job, workspace, ("sh", "-c", "exit 3")) == 3


def test_what_failed_before_is_forgotten_for_what_fails_next(place: Ground, tmp_path: Path) -> None:
    kept = place.cache.directory / "mock"
    for name in ("first", "second", "third"):
        attempt(place, tiny(tmp_path / name, ("%make_build", "false")), "mock", name)
    assert {path.name for path in kept.iterdir()} >= {"third"}
    assert not (kept / "first").exists()


def test_a_lock_that_cannot_be_installed_is_no_fault_of_the_package(
    place: Ground, tmp_path: Path
) -> None:
    broken = tuple(p for p in place.lock.packages if not p.nevra.name.startswith("libmpc"))
    assert len(broken) < len(place.lock.packages)
    outcome, _ = attempt(place, tiny(tmp_path), "mock", "hole", lock=Lock(broken))
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.phase) == ("infrastructure", "root")
    assert any("libmpc" in line for line in outcome.excerpt), outcome.excerpt


def test_a_build_without_end_is_ended_and_leaves_nothing_running(
    place: Ground, tmp_path: Path
) -> None:
    recipe = tiny(tmp_path, ("%make_build", "sleep 98765\n%make_build"))
    limits = Limits(time=12, silence=300)
    outcome, _ = attempt(place, recipe, "mock", "endless", limits=limits)
    assert isinstance(outcome, Failed)
    assert outcome.kind == "limit", outcome
    assert not _running("98765")


def test_silence_is_a_limit_too(place: Ground, tmp_path: Path) -> None:
    recipe = tiny(tmp_path, ("%make_build", "sleep 98764\n%make_build"))
    outcome, _ = attempt(place, recipe, "mock", "silent", limits=Limits(time=600, silence=8))
    assert isinstance(outcome, Failed)
    assert outcome.kind == "limit", outcome
    assert "no output" in outcome.message
    assert not _running("98764")


def _running(word: str) -> bool:
    """Whether such a process is there still, a moment after it was told to end."""
    deadline = time.monotonic() + 5
    while _processes_with(word):
        if time.monotonic() > deadline:
            return True
        time.sleep(0.1)
    return False


def _processes_with(word: str) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if word.encode() in words:
            found.append(entry.name)
    return found

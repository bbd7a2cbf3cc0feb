"""Roots that differ on purpose: each variation is seen, alone, by programs of every kind."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest

import farm.rebuild.fill
from farm.errors import MachineError
from farm.model import (
    Built,
    Chroot,
    Compiler,
    Failed,
    Job,
    Limits,
    Outcome,
    WorkOrder,
    from_json,
    to_json,
)
from farm.rebuild.roots import RootCache
from farm.rebuild.varied import applied, varying
from farm.rebuild.worker import work
from farm.run import run
from farm.sandbox import BUILDER, Bind, Overlay, Sandbox, execute, own, remove
from farm.verify.probes import BUILD_REQUIRES, judge, probe_job
from farm.verify.variations import NAMES
from tests.builds import ROOT, Ground, ground, order, tiny
from tests.real.test_builder import _ordinary_user, _python

pytestmark = pytest.mark.real

_WRITTEN = int(time.time())
_NOISE = ("cannot be preloaded", "lock skew", "in the future", "setlocale", "Setting locale failed")


@dataclass(frozen=True)
class Probed:
    """A chroot in which the probe is built, and its usual packages."""

    place: Ground
    chroot: Chroot
    compilers: tuple[Compiler, ...]
    usual: Built

    def under(self, *names: str) -> tuple[Built, Path]:
        return build(self.place, self.chroot, self.compilers, names)


def build(
    place: Ground, chroot: Chroot, compilers: tuple[Compiler, ...], names: tuple[str, ...]
) -> tuple[Built, Path]:
    """The probe under some variations, and the attempt's directory."""
    attempt = f"probe-{time.monotonic_ns()}"
    directory = place.state / "attempts" / attempt
    directory.mkdir(parents=True)
    job = probe_job(
        chroot, place.lock, place.setup_lock, directory=place.state / "probe",
        store=place.store, attempt=attempt, written=_WRITTEN, cpus=2,
    )  # fmt: skip
    return varied(place, job, directory, names, compilers), directory


def varied(
    place: Ground,
    job: Job,
    directory: Path,
    names: tuple[str, ...],
    compilers: tuple[Compiler, ...] = (),
) -> Built:
    """What a worker makes of a job under some variations."""
    written = WorkOrder(
        job, str(place.store.root), str(place.cache.directory), True, names, compilers
    )
    (directory / "job.json").write_bytes(to_json(written))
    outcome = work(directory / "job.json")
    assert isinstance(outcome, Built), outcome
    return outcome


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("state")
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def native(state: Path) -> Probed:
    """On the machine's own architecture."""
    place = ground("x86_64", state, BUILD_REQUIRES)
    return Probed(place, place.chroot, (), build(place, place.chroot, (), ())[0])


@pytest.fixture(scope="module")
def foreign(state: Path, native: Probed) -> Probed:
    """aarch64 by plain emulation."""
    place = ground("aarch64", state, BUILD_REQUIRES)
    chroot = msgspec.structs.replace(place.chroot, native_tools="")
    return Probed(place, chroot, (), build(place, chroot, (), ())[0])


@pytest.fixture(scope="module")
def assisted(foreign: Probed, native: Probed) -> Probed:
    """aarch64 with x86_64 tools over it."""
    if not foreign.place.chroot.native_tools:
        pytest.skip("the native tools are not there: farm base build")
    compilers = (Compiler(native.chroot, native.place.lock),)
    return Probed(foreign.place, foreign.place.chroot, compilers, foreign.usual)


def content(directory: Path, name: str) -> str:
    """What the probe of a variation recorded."""
    (package,) = (directory / "results").glob(f"probe-{name}-1-*.rpm")
    unpack = 'rpm2cpio "$1" | cpio -i --quiet --to-stdout'
    return run(["sh", "-c", unpack, "sh", package]).stdout


def test_nothing_differs_where_nothing_is_varied(native: Probed) -> None:
    assert judge(native.usual, native.under()[0], ()).ok


@pytest.mark.parametrize("name", NAMES)
def test_each_variation_is_seen_and_changes_nothing_else(native: Probed, name: str) -> None:
    made, directory = native.under(name)
    assert judge(native.usual, made, (name,)).ok, judge(native.usual, made, (name,))
    log = (directory / "build.log").read_text()
    assert not [line for line in log.splitlines() if any(noise in line for noise in _NOISE)]


def test_every_program_sees_the_later_clock(native: Probed) -> None:
    _, directory = native.under("clock")
    *ages, timed_out, python = content(directory, "clock").splitlines()
    assert {word for line in ages for word in line.split()} == {"4"}
    assert timed_out == "Connection timed out"
    assert python == "[4, 4]"


_OF_PROGRAMS = ("clock", "locale", "kernel", "order")  # what every program has to play along in


def test_emulated_programs_and_native_tools_see_the_same_differences_and_no_others(
    foreign: Probed, assisted: Probed
) -> None:
    found = []
    for each in (foreign, assisted):
        made, directory = each.under(*_OF_PROGRAMS)
        assert judge(each.usual, made, _OF_PROGRAMS).ok, judge(each.usual, made, _OF_PROGRAMS)
        assert "0" not in content(directory, "clock")
        assert not [noise for noise in _NOISE if noise in (directory / "build.log").read_text()]
        found.append({p.nevra.name: p.sha256 for p in made.packages})
    assert found[0] == found[1]


@pytest.mark.parametrize("clock", ["the time of day", "since the start"])
def test_no_wait_takes_as_long_as_the_clock_is_ahead(
    native: Probed, tmp_path: Path, clock: str
) -> None:
    place, words = native.place, [] if clock == "the time of day" else ["since the start"]
    tmp_path.chmod(0o755)
    source = tmp_path / "waits.c"
    shutil.copyfile(ROOT / "tests/data/waits.c", source)
    differs = varying(("clock",), place.cache, tmp_path, [Compiler(place.chroot, place.lock)])
    script = 'gcc -o /tmp/waits /waits.c -pthread && exec /tmp/waits "$@"'
    with place.cache.prepare(place.lock, place.chroot) as root:
        binds = (Bind(root.overlay(), "/", writable=True), Bind(source, "/waits.c"))
        with applied(differs, Sandbox(binds, user=BUILDER), place.chroot) as sandbox:
            ended = execute(sandbox, ["/bin/sh", "-c", script, "sh", *words], timeout=60)
    assert ended.ok, ended.completed
    answers = dict(line.split(" ", 1) for line in ended.completed.stdout.splitlines())
    at_once = {"clock_nanosleep", "timerfd", "timer"}
    assert {what: text for what, text in answers.items() if what in at_once} == dict.fromkeys(
        at_once, "Success"
    )
    others = set(answers) - at_once
    assert len(others) == (9 if not words else 4)
    assert {answers[what] for what in others} == {"Connection timed out"}


def test_all_variations_together_are_seen_in_an_emulated_root(assisted: Probed) -> None:
    made, _ = assisted.under(*NAMES)
    assert judge(assisted.usual, made, NAMES).ok, judge(assisted.usual, made, NAMES)


def test_native_tools_are_recorded_with_their_checksums_and_change_nothing(
    assisted: Probed, foreign: Probed
) -> None:
    made, _ = assisted.under()
    assert judge(foreign.usual, made, ()).ok
    tools = {name: digest for name, digest in made.host if name.startswith("native:")}
    assert any(name.startswith("native:make ") for name in tools)
    assert all(len(digest) == 64 for digest in tools.values())
    assert not [name for name, _ in foreign.usual.host if name.startswith("native")]


def job_of(path: Path) -> Job:
    return from_json(WorkOrder, path.read_bytes()).job


def test_a_library_comes_out_the_same_under_all_variations(native: Probed, tmp_path: Path) -> None:
    place = ground("x86_64", native.place.state)
    usual = order(place, tiny(tmp_path / "recipe"), f"usual-{os.getpid()}", srpm=False)
    before = work(usual)
    assert isinstance(before, Built), before
    compilers = (Compiler(place.chroot, place.lock),)
    for names in (NAMES, ("umask", "order")):
        directory = tmp_path / "-".join(names)[:40]
        directory.mkdir()
        job = msgspec.structs.replace(job_of(usual), attempt=directory.name)
        after = varied(place, job, directory, names, compilers)
        assert (after.packages, after.srpm) == (before.packages, before.srpm)
        assert not [noise for noise in _NOISE if noise in (directory / "build.log").read_text()]


def test_a_lock_without_a_compiler_is_varied_with_the_help_of_another(
    native: Probed, tmp_path: Path
) -> None:
    job = _noarch(native, tmp_path)
    place = native.place
    (tmp_path / "a").mkdir()
    compilers = (Compiler(place.chroot, place.lock),)
    with _own_roots(place) as cache:
        made = varied(replace(place, cache=cache), job, tmp_path / "a", ("clock",), compilers)
    assert [p.nevra.name for p in made.packages] == ["words"]


def _noarch(native: Probed, directory: Path) -> Job:
    """A package that is built in the set-up root, where there is no compiler."""
    place = replace(native.place, lock=native.place.setup_lock)
    recipe = tiny(directory / "words")
    spec = directory / "words" / "tiny.spec"
    spec.write_text(
        "Name: words\nVersion: 1\nRelease: 1%{?dist}\nSummary: Words\nLicense: MIT\n"
        "BuildArch: noarch\n%description\nWords.\n%install\n"
        "mkdir -p %{buildroot}/usr/share\ntouch %{buildroot}/usr/share/words\n"
        "%files\n/usr/share/words\n"
        "%changelog\n* Mon Nov 03 2025 Farm Test <test@example.org> - 1-1\n- First\n"
    )
    (directory / "words" / "tiny-1.0.tar.gz").unlink()
    file = msgspec.structs.replace(recipe.files[1], sha256=place.store.put(spec))
    recipe = msgspec.structs.replace(recipe, name="words", files=(file,))
    return job_of(order(place, recipe, f"words-{os.getpid()}", srpm=False))


@contextlib.contextmanager
def _own_roots(place: Ground) -> Iterator[RootCache]:
    """Build roots that no other test has made."""
    directory = place.cache.directory / f"varied-{os.getpid()}"
    directory.mkdir(mode=0o711)
    try:
        yield RootCache(directory, place.store)
    finally:
        remove(directory)


def test_a_disk_limit_holds_for_a_build_directory_in_memory(native: Probed, tmp_path: Path) -> None:
    place = ground("x86_64", native.place.state)
    recipe = tiny(tmp_path, ("test -s libtiny.so.1", "dd if=/dev/zero of=big bs=1M count=200"))
    limits = Limits(time=600, disk=64 << 20)
    path = order(place, recipe, f"disk-{os.getpid()}", limits=limits)
    written = from_json(WorkOrder, path.read_bytes())
    path.write_bytes(to_json(msgspec.structs.replace(written, variations=("filesystem",))))
    outcome = work(path)
    assert isinstance(outcome, Failed), outcome
    assert (outcome.kind, outcome.phase) == ("limit", "%check")


def test_a_build_directory_that_is_a_link_leads_nowhere(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    root, secret = tmp_path / "root", tmp_path / "secret"
    for path in (root, secret):
        path.mkdir()
        path.chmod(0o755)
    (secret / "words").write_text("of the host's")
    (root / "builddir").symlink_to(secret)
    own(root)
    sandbox = Sandbox((Bind(Overlay((root,)), "/", writable=True),), in_memory="/builddir")
    with pytest.raises(MachineError) as refused:
        execute(sandbox, ["/bin/true"])
    assert "is reached through a link" in refused.value.why


def test_files_of_the_build_user_are_never_given_away_outside_its_directory(
    native: Probed, tmp_path: Path
) -> None:
    """The root renumbers files by paths inside; a link there names nothing of the host's."""
    place = native.place
    tmp_path.chmod(0o755)
    mine = tmp_path / "mine"
    mine.write_text("")
    with place.cache.prepare(place.setup_lock, place.chroot) as root:
        sandbox = Sandbox(
            (Bind(root.overlay(), "/", writable=True), Bind(mine, "/builddir/mine")),
            user=BUILDER,
            first=("chown -h 871:872 /builddir/mine 2>/dev/null && exit 9 || :",),
        )
        assert execute(sandbox, ["/bin/true"]).ok
    assert mine.stat().st_uid == os.getuid()


def test_an_ordinary_user_sees_all_variations_and_the_same_bytes(
    native: Probed,
) -> None:
    name = _ordinary_user()
    entry = pwd.getpwnam(name)
    made, directory = native.under(*NAMES)
    home = Path(f"/tmp/farm-vary-{os.getpid()}")
    try:
        shutil.copytree(native.place.store.root, home / "store")
        attempt = home / directory.name
        attempt.mkdir()
        written = from_json(WorkOrder, (directory / "job.json").read_bytes())
        theirs = msgspec.structs.replace(written, store=str(home / "store"), roots="")
        (attempt / "job.json").write_bytes(to_json(theirs))
        shutil.copytree(Path(farm.rebuild.fill.__file__).parents[1], home / "code/farm")
        for path in (home, attempt):
            os.chown(path, entry.pw_uid, entry.pw_gid)
        packages = Path(msgspec.__file__).parents[1]
        program = (
            "from pathlib import Path\nfrom farm.rebuild.worker import work\nwork(Path('job.json'))"
        )
        run(
            ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--init-groups",
             _python(), "-c", program],
            cwd=attempt,
            env={"HOME": entry.pw_dir, "USER": name, "PYTHONPATH": f"{home / 'code'}:{packages}"},
        )  # fmt: skip
        outcome: Outcome = from_json(Outcome, (attempt / "outcome.json").read_bytes())  # type: ignore[arg-type]
        assert isinstance(outcome, Built), outcome
        assert judge(native.usual, outcome, NAMES).ok
        assert {p.sha256 for p in outcome.packages} == {p.sha256 for p in made.packages}
    finally:
        shutil.rmtree(home, ignore_errors=True)

"""The embedded builder on the embedded base: real roots, real rpmbuild."""

from __future__ import annotations

import os
import pwd
import shutil
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

import farm.rebuild.fill
from farm.errors import LayerError, MachineError, StateError
from farm.model import (
    Built,
    Evaluation,
    Failed,
    Limits,
    Outcome,
    Problem,
    WorkOrder,
    from_json,
    to_json,
)
from farm.rebuild.dynamic import dynamic_requires
from farm.rebuild.fill import LockRefused
from farm.rebuild.roots import RootCache
from farm.rebuild.shell import open_shell
from farm.rebuild.srpm import evaluate, make_srpm
from farm.rebuild.worker import work
from farm.run import run
from farm.sandbox import remove
from farm.store import Store
from tests.builds import Ground, elsewhere, ground, order, tiny

pytestmark = pytest.mark.real


@pytest.fixture
def own_roots(place: Ground) -> Iterator[RootCache]:
    """A directory of build roots that no other test uses."""
    directory = place.cache.directory / f"test-{os.getpid()}"
    directory.mkdir(mode=0o711)
    yield RootCache(directory, place.store)
    remove(directory)


def built(outcome: Outcome) -> Built:
    assert isinstance(outcome, Built), outcome
    return outcome


def failed(outcome: Outcome) -> Failed:
    assert isinstance(outcome, Failed), outcome
    return outcome


def bytes_of(made: Built) -> dict[str, str]:
    return {str(p.nevra): p.sha256 for p in (*made.packages, made.srpm)}


@pytest.fixture(scope="module")
def first(place: Ground, tmp_path_factory: pytest.TempPathFactory) -> tuple[Built, Path]:
    """What a worker made of the tiny library, and its directory."""
    job_file = order(place, tiny(tmp_path_factory.mktemp("recipe")), "first")
    return built(work(job_file)), job_file.parent


def test_a_job_becomes_its_packages(first: tuple[Built, Path]) -> None:
    made, directory = first
    assert [str(p.nevra) for p in made.packages] == [
        "tiny-1.0-1.deb13.x86_64",
        "tiny-debuginfo-1.0-1.deb13.x86_64",
        "tiny-debugsource-1.0-1.deb13.x86_64",
        "tiny-devel-1.0-1.deb13.x86_64",
        "tiny-doc-1.0-1.deb13.noarch",
    ]
    assert [p.nevra.name for p in made.packages if p.debug] == [
        "tiny-debuginfo",
        "tiny-debugsource",
    ]
    for package in made.packages:
        path = directory / "results" / package.nevra.filename
        assert path.stat().st_size == package.size
        assert path.stat().st_mode & 0o777 == 0o644
        assert path.stat().st_uid == os.getuid()


def test_phases_and_log_are_there_to_be_followed(first: tuple[Built, Path]) -> None:
    made, directory = first
    phases = [
        "root",
        "BuildRequires",
        "unpack",
        "%prep",
        "%build",
        "%install",
        "%check",
        "packaging",
    ]
    assert (directory / "phases").read_text().splitlines() == phases
    assert [phase.name for phase in made.phases] == phases
    assert "Executing(%build)" in (directory / "build.log").read_text()


def test_a_build_says_on_what_it_ran(first: tuple[Built, Path]) -> None:
    host = dict(first[0].host)
    assert host["builder"] == "embedded"
    assert host["kernel"] == os.uname().release
    assert {"rpm", "bubblewrap"} <= set(host)


def test_the_same_job_gives_the_same_bytes_in_another_root_and_at_another_time(
    place: Ground, own_roots: RootCache, first: tuple[Built, Path], tmp_path: Path
) -> None:
    elsewhere = replace(place, cache=own_roots)
    again = built(work(order(elsewhere, tiny(tmp_path / "other"), "again", srpm=False)))
    assert bytes_of(again) == bytes_of(first[0])


def test_an_ordinary_user_gets_the_same_bytes_as_root(
    first: tuple[Built, Path], place: Ground, tmp_path: Path
) -> None:
    name = _ordinary_user()
    job_file = first[1] / "job.json"
    entry = pwd.getpwnam(name)
    home = Path(f"/tmp/farm-test-{os.getpid()}")
    try:
        shutil.copytree(place.store.root, home / "store")
        directory = home / "attempt"
        directory.mkdir()
        written = from_json(WorkOrder, job_file.read_bytes())
        theirs = WorkOrder(written.job, str(home / "store"), "")
        (directory / "job.json").write_bytes(to_json(theirs))
        shutil.copytree(Path(farm.rebuild.fill.__file__).parents[1], home / "code/farm")
        for path in (home, directory):
            os.chown(path, entry.pw_uid, entry.pw_gid)
        packages = Path(msgspec.__file__).parents[1]
        program = (
            "from pathlib import Path\nfrom farm.rebuild.worker import work\nwork(Path('job.json'))"
        )
        run(
            ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--init-groups",
             _python(), "-c", program],
            cwd=directory,
            env={"HOME": entry.pw_dir, "USER": name, "PYTHONPATH": f"{home / 'code'}:{packages}"},
        )  # fmt: skip
        outcome: Outcome = from_json(Outcome, (directory / "outcome.json").read_bytes())  # type: ignore[arg-type]
        assert bytes_of(built(outcome)) == bytes_of(first[0])
    finally:
        shutil.rmtree(home, ignore_errors=True)


def test_a_strict_umask_and_closed_directories_are_no_obstacle(
    tmp_path: Path, first: tuple[Built, Path]
) -> None:
    before = os.umask(0o077)
    try:
        closed = tmp_path / "closed"
        closed.mkdir()
        place = elsewhere(ground("x86_64", closed / "state"), closed / "roots")
        job_file = order(place, tiny(closed / "recipe"), f"umask-{os.getpid()}")
        assert bytes_of(built(work(job_file))) == bytes_of(first[0])
    finally:
        os.umask(before)
        remove(closed / "roots")


def test_a_failing_check_is_told_kept_and_opened(
    place: Ground, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny(tmp_path, ("test -s libtiny.so.1", "echo wanted 4, got 3; echo x >clue; false"))
    job_file = order(place, recipe, f"check-{os.getpid()}")
    outcome = failed(work(job_file))
    assert (outcome.kind, outcome.phase) == ("package", "%check")
    assert "wanted 4, got 3" in outcome.excerpt
    assert "farm shell tiny --arch x86_64" in outcome.hint
    kept = place.cache.kept(f"check-{os.getpid()}")
    assert kept.exists()
    try:
        assert open_shell(job_file.parent, ["sh", "-c", "cat BUILD/*/tiny-1.0/clue; id -un"]) == 0
        assert capfd.readouterr().out.split() == ["x", "mockbuild"]
        assert open_shell(job_file.parent, ["sh", "-c", "exit 7"]) == 7
    finally:
        remove(kept)


def test_a_compile_error_names_the_line(place: Ground, tmp_path: Path) -> None:
    recipe = tiny(tmp_path, ("%autosetup", "%autosetup\nsed -i 's/a + 1/b + 1/' tiny.c"))
    outcome = failed(work(order(place, recipe, f"compile-{os.getpid()}")))
    assert (outcome.kind, outcome.phase, outcome.where) == ("package", "%build", "tiny.c:4")


@pytest.mark.parametrize(
    ("name", "script", "limits"),
    [
        ("time", "sleep 600", Limits(time=2)),
        ("disk", "dd if=/dev/zero of=big bs=1M count=200", Limits(disk=64 << 20)),
        ("memory", "dd if=/dev/zero of=big bs=1M count=300; sleep 60", Limits(memory=150 << 20)),
    ],
)
def test_a_limit_ends_a_build_and_is_named(
    place: Ground, tmp_path: Path, name: str, script: str, limits: Limits
) -> None:
    recipe = tiny(tmp_path, ("test -s libtiny.so.1", script))
    outcome = failed(work(order(place, recipe, f"{name}-{os.getpid()}", limits=limits)))
    assert (outcome.kind, outcome.phase) == ("limit", "%check")
    assert name in outcome.message
    remove(place.cache.kept(f"{name}-{os.getpid()}"))


def test_the_build_cannot_reach_what_its_lock_does_not_name(place: Ground, tmp_path: Path) -> None:
    recipe = tiny(tmp_path, ("BuildRequires:  pkgconfig(zlib)", "BuildRequires:  lz4-devel"))
    outcome = failed(work(order(place, recipe, f"unlocked-{os.getpid()}")))
    assert "lz4-devel is needed by" in outcome.message


def test_a_spec_is_evaluated_without_a_sight_of_the_host(place: Ground, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "secret").write_text("visible")
    spying = f"%(cat {tmp_path}/secret 2>/dev/null || echo hidden)"
    recipe = tiny(tmp_path / "recipe", ("A tiny library", "A tiny library"), ("MIT", "MIT"))
    spec = Path(recipe.directory, "tiny.spec")
    spec.write_text(spec.read_text().replace("Version:        1.0", f"Version:        1.0{spying}"))
    recipe = msgspec.structs.replace(
        recipe,
        files=tuple(
            msgspec.structs.replace(f, sha256=place.store.put(Path(recipe.directory, f.path)))
            for f in recipe.files
        ),
    )
    answer = evaluate([recipe], place.chroot, place.setup_lock, place.cache)[0]
    assert isinstance(answer, Evaluation)
    assert answer.source.version == "1.0hidden"


def test_specs_are_evaluated_together_and_a_bad_one_harms_nobody(
    place: Ground, tmp_path: Path
) -> None:
    good = tiny(tmp_path / "good")
    bad = tiny(tmp_path / "bad", ("License:        MIT", "Nonsense:       MIT"))
    dynamic = tiny(
        tmp_path / "dynamic", ("%build\n", "%generate_buildrequires\necho a\n\n%build\n")
    )
    answers = evaluate([good, bad, dynamic], place.chroot, place.setup_lock, place.cache, counter=2)
    assert isinstance(answers[0], Evaluation)
    assert answers[0].source.release == "1.deb13.2"
    assert answers[0].build_requires == ("gcc", "make", "pkgconfig(zlib)")
    assert answers[0].epoch_seconds == 1762128000
    assert not answers[0].dynamic
    assert isinstance(answers[1], Problem)
    assert answers[1].facts[0].startswith("tiny.spec:5: ")
    assert isinstance(answers[2], Evaluation)
    assert answers[2].dynamic


def test_a_spec_says_what_it_needs_once_it_is_unpacked(place: Ground, tmp_path: Path) -> None:
    generate = "%generate_buildrequires\ntest -e tiny.c && echo 'lz4-devel >= 1.0'\n\n%build\n"
    job_file = order(place, tiny(tmp_path, ("%build\n", generate)), f"dynamic-{os.getpid()}")
    job = from_json(WorkOrder, job_file.read_bytes()).job
    srpm = place.store.get(job.srpm)
    found = dynamic_requires("tiny", srpm, place.lock, place.chroot, place.cache)
    assert found == ("gcc", "lz4-devel >= 1.0", "make", "pkgconfig(zlib)")
    wider = ground("x86_64", place.state, ("gcc", "make", "zlib-devel", "lz4-devel"))
    assert dynamic_requires("tiny", srpm, wider.lock, place.chroot, place.cache) == found


def test_a_missing_source_file_is_named(place: Ground, tmp_path: Path) -> None:
    recipe = tiny(tmp_path)
    spec = ("tiny.spec", place.store.put(tmp_path / "tiny.spec"))
    with pytest.raises(LayerError, match="source package of tiny") as caught:
        make_srpm(recipe, (spec,), place.chroot, place.setup_lock, place.cache, place.store,
                  counter=0, epoch_seconds=1)  # fmt: skip
    assert "tiny-1.0.tar.gz" in caught.value.why


def test_a_lock_that_lacks_something_is_refused(place: Ground, own_roots: RootCache) -> None:
    short = tuple(p for p in place.lock.packages if p.nevra.name != "libc6")
    lock = msgspec.structs.replace(place.lock, packages=short, setup=())
    with (
        pytest.raises(LockRefused, match="cannot be filled") as caught,
        own_roots.prepare(lock, place.chroot),
    ):
        pass
    assert "libc6" in caught.value.why or "libc.so.6" in caught.value.why
    assert [path.name for path in own_roots.directory.iterdir()] == ["locks"]


def test_a_package_with_other_bytes_than_the_lock_says_is_refused(
    place: Ground, own_roots: RootCache, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    shutil.copytree(place.store.root, store.root)
    victim = store.path(place.setup_lock.packages[3].sha256)
    victim.chmod(0o644)
    victim.write_bytes(victim.read_bytes()[:-1] + b"!")
    with (
        pytest.raises(StateError, match="other bytes") as caught,
        replace(own_roots, store=store).prepare(place.setup_lock, place.chroot),
    ):
        pass
    assert str(place.setup_lock.packages[3].nevra) in caught.value.what


def test_roots_are_made_once_shared_and_made_again_when_damaged(
    place: Ground, own_roots: RootCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    install = farm.rebuild.fill.install

    def counted(*args: object, **kwargs: object) -> object:
        made.append(1)
        return install(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(farm.rebuild.fill, "install", counted)
    layers: list[tuple[Path, ...]] = []

    def prepare() -> None:
        with own_roots.prepare(place.lock, place.chroot) as root:
            layers.append(root.layers)

    together = [threading.Thread(target=prepare) for _ in range(3)]
    for thread in together:
        thread.start()
    for thread in together:
        thread.join()
    assert len(made) == 2  # the set-up's layer and the one over it, each once
    assert len(set(layers)) == 1
    with own_roots.prepare(place.setup_lock, place.chroot) as root:
        assert root.layers == layers[0][1:]
    assert len(made) == 2
    remove(layers[0][0] / "usr/include/zlib.h")
    prepare()
    assert len(made) == 3
    assert (layers[0][0] / "usr/include/zlib.h").exists()


def test_a_root_that_was_left_half_made_is_no_root(place: Ground, own_roots: RootCache) -> None:
    with own_roots.prepare(place.setup_lock, place.chroot) as root:
        tree = root.layers[0]
    (tree.parent / "seal.json").unlink()
    (tree.parent / "rubbish").touch()
    tree.parent.with_name(tree.parent.name + ".draft").mkdir()
    with own_roots.prepare(place.setup_lock, place.chroot) as root:
        assert root.layers == (tree,)
        assert not (tree.parent / "rubbish").exists()


def test_room_is_made_of_what_nobody_uses(place: Ground, own_roots: RootCache) -> None:
    with own_roots.prepare(place.lock, place.chroot):
        pass
    with own_roots.prepare(place.setup_lock, place.chroot) as root:
        own_roots.make_room(1 << 60)
        left = {path.name for path in own_roots.directory.iterdir()}
        assert left == {root.layers[0].parent.name, "locks"}
    own_roots.make_room(1 << 60)
    assert {path.name for path in own_roots.directory.iterdir()} == {"locks"}


def test_a_chroots_files_directories_and_build_user_are_in_the_root(
    place: Ground, own_roots: RootCache
) -> None:
    chroot = msgspec.structs.replace(
        place.chroot,
        files=(("etc/greeting", "hello\n"),),
        directories=("/run/lock/mine",),
    )
    with own_roots.prepare(place.setup_lock, chroot) as root:
        tree = root.layers[0]
        assert (tree / "etc/greeting").read_text() == "hello\n"
        assert (tree / "run/lock/mine").is_dir()
        assert "mockbuild:x:1000:135::/builddir:/bin/bash" in (tree / "etc/passwd").read_text()
        assert (tree / "builddir/build/SPECS").is_dir()


def test_aarch64_packages_hold_aarch64_code_with_native_tools_or_without(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    state = tmp_path_factory.mktemp("foreign")
    state.chmod(0o755)
    foreign = ground("aarch64", state)
    job_file = order(foreign, tiny(state / "recipe"), f"foreign-{os.getpid()}")
    made = built(work(job_file))
    assert "qemu" in dict(made.host)
    library = next(p for p in made.packages if p.nevra.name == "tiny")
    assert library.nevra.arch == "aarch64"
    path = job_file.parent / "results" / library.nevra.filename
    run(["sh", "-c", f"rpm2cpio {path} | cpio -idm --quiet"], cwd=state)
    (found,) = state.glob("usr/lib*/**/libtiny.so.1")
    assert int.from_bytes(found.read_bytes()[18:20], "little") == 183  # EM_AARCH64
    if "native-tools" in dict(made.host):
        chroot = msgspec.structs.replace(foreign.chroot, native_tools="")
        plain = order(
            replace(foreign, chroot=chroot), tiny(state / "recipe"), f"plain-{os.getpid()}"
        )
        emulated = built(work(plain))
        assert "native-tools" not in dict(emulated.host)
        assert bytes_of(emulated) == bytes_of(made)


def test_a_foreign_chroot_without_an_emulator_says_what_to_install(place: Ground) -> None:
    chroot = msgspec.structs.replace(place.chroot, arch="vax")
    with (
        pytest.raises(MachineError, match="cannot be built on this") as caught,
        place.cache.prepare(place.setup_lock, chroot),
    ):
        pass
    assert "qemu-user-static" in caught.value.hint


def _ordinary_user() -> str:
    if os.getuid() != 0:
        pytest.skip("needs root, to become somebody else")
    for line in Path("/etc/subuid").read_text().splitlines():
        name = line.partition(":")[0]
        if name != "root" and any(entry.pw_name == name for entry in pwd.getpwall()):
            return name
    pytest.skip("no ordinary user here has a range of subordinate ids")


def _python() -> str:
    """A Python of our version that anybody may run."""
    name = f"python3.{sys.version_info.minor}"
    found = Path("/usr/bin", name)
    if not found.exists():
        pytest.skip(f"{found} is not there")
    return str(found)

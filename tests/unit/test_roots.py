"""Where build roots are kept, what is given to them, and what a shared lock protects."""

from __future__ import annotations

import os
import platform
import stat
from pathlib import Path

import pytest

from farm.errors import MachineError
from farm.model import Chroot, LockedPackage, Nevra
from farm.rebuild import native, roots, space
from farm.rebuild.fill import lay_out, stage_packages
from farm.rebuild.roots import RootCache, emulator_for
from farm.store import Store

TOOLS = native.ToolsManifest(replaces=("usr/bin/make", "usr/bin/sed"), support=("usr/lib/parts",))


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_a_configured_directory_is_taken_and_made(tmp_path: Path) -> None:
    wanted = tmp_path / "a" / "b"
    assert space.roots_directory(str(wanted), tmp_path / "state") == wanted
    assert wanted.is_dir()


def test_a_directory_that_cannot_be_made_is_named_with_the_option(tmp_path: Path) -> None:
    touch(tmp_path / "file")
    with pytest.raises(MachineError, match="cannot be made") as caught:
        space.roots_directory(str(tmp_path / "file" / "roots"), tmp_path)
    assert "paths.roots" in caught.value.hint


def test_without_room_in_memory_the_state_directory_holds_the_roots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(space, "free", lambda path: 0)
    assert space.roots_directory("", tmp_path) == tmp_path / "roots"


def test_a_kernel_that_takes_no_overlays_in_memory_gets_roots_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(space, "memory_holds_overlays", lambda: False)
    assert space.roots_directory("", tmp_path) == tmp_path / "roots"


def test_file_systems_in_memory_are_told_by_their_mount() -> None:
    assert space.in_memory(Path("/dev/shm/farm"))
    assert not space.in_memory(Path("/proc/self"))


def test_only_tools_that_the_root_has_take_the_place_of_its_own(tmp_path: Path) -> None:
    touch(tmp_path / "lower/usr/bin/make")
    (tmp_path / "upper").mkdir()
    layers = (tmp_path / "upper", tmp_path / "lower")
    assert native.chosen(TOOLS, layers) == ("usr/bin/make", "usr/lib/parts")
    touch(tmp_path / "upper/usr/bin/sed")
    assert native.chosen(TOOLS, layers) == ("usr/bin/make", "usr/bin/sed", "usr/lib/parts")


def test_a_tool_that_an_upper_layer_deleted_is_not_given_back(tmp_path: Path) -> None:
    touch(tmp_path / "lower/usr/bin/make")
    whiteout = tmp_path / "upper/usr/bin/make"
    whiteout.parent.mkdir(parents=True)
    try:
        os.mknod(whiteout, stat.S_IFCHR, 0)
    except PermissionError:
        pytest.skip("this kernel lets nobody but root make a whiteout")
    assert native.chosen(TOOLS, (tmp_path / "upper", tmp_path / "lower")) == ("usr/lib/parts",)


def test_native_tools_that_were_never_made_are_asked_for(tmp_path: Path) -> None:
    assert not native.are_in(tmp_path)
    with pytest.raises(MachineError) as caught:
        native.manifest(tmp_path)
    assert "farm base build" in caught.value.hint


CHROOT = Chroot(
    name="c-aarch64", release="c", arch="aarch64", repositories=(), setup=("bash",), dist=".c",
    files=(("etc/hosts", "127.0.0.1 localhost\n"), ("etc/a/b", "deep\n")),
)  # fmt: skip


def test_an_emulator_of_the_bases_own_goes_before_the_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    chroot = _replaced(emulator=str(touch(tmp_path / "qemu")))
    found = emulator_for(chroot)
    assert found is not None
    assert (found.arch, found.interpreter) == ("aarch64", tmp_path / "qemu")


def test_a_machine_of_the_chroots_own_architecture_emulates_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert emulator_for(CHROOT) is None
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert emulator_for(_replaced(arch="i686")) is None


def test_the_chroots_files_are_laid_out_readable_by_all(tmp_path: Path) -> None:
    lay_out(CHROOT, tmp_path / "files")
    assert (tmp_path / "files/etc/a/b").read_text() == "deep\n"
    assert (tmp_path / "files/etc/a/b").stat().st_mode & 0o777 == 0o644


def test_packages_are_staged_in_the_locks_order(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    packages = tuple(_package(name, store.put_bytes(name.encode())) for name in ("b", "a"))
    stage_packages(packages, store, tmp_path / "staged")
    assert [p.read_bytes() for p in sorted((tmp_path / "staged").iterdir())] == [b"b", b"a"]


def test_a_layer_in_use_cannot_be_taken_away(tmp_path: Path) -> None:
    cache = RootCache(tmp_path, Store(tmp_path / "store"))
    layer = tmp_path / "base-1"
    with (
        cache.held(layer, exclusive=False),
        cache.held(layer, exclusive=False),
        pytest.raises(BlockingIOError),
        cache.held(layer, wait=False),
    ):
        pass
    with cache.held(layer, wait=False):
        pass


def test_only_the_newest_of_what_failed_builds_left_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[str] = []
    monkeypatch.setattr(roots, "remove", lambda path: removed.append(path.name))
    cache = RootCache(tmp_path, Store(tmp_path / "store"))
    for age, name in enumerate(("old", "older", "oldest")):
        cache.kept(name).mkdir()
        os.utime(cache.kept(name), (1000 - age, 1000 - age))
    cache.forget_kept(1)
    assert removed == ["kept-oldest", "kept-older"]


def _replaced(**changes: str) -> Chroot:
    fields = {name: getattr(CHROOT, name) for name in CHROOT.__struct_fields__}
    return Chroot(**{**fields, **changes})


def _package(name: str, sha256: str) -> LockedPackage:
    return LockedPackage(Nevra(name, 0, "1", "1", "noarch"), sha256, 1, "base")

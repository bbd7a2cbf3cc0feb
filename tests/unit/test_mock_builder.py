"""What mock is told, who may run it, and what is made of its answers; mock itself is a script."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import createrepo_c
import msgspec
import pytest

from farm.errors import MachineError, StateError
from farm.model import (
    Built,
    Chroot,
    Failed,
    Job,
    Limits,
    Lock,
    LockedPackage,
    Nevra,
    Recipe,
)
from farm.rebuild import mock, mockaccess, mockconfig
from farm.rebuild.builder import Workspace
from farm.rebuild.diagnosis import diagnose
from farm.rebuild.macros import rpmmacros
from farm.rebuild.mockaccess import Access
from farm.rebuild.mockconfig import Area
from farm.rebuild.mocklock import compared, write_repository
from farm.rebuild.mockrun import held
from farm.rebuild.roots import RootCache
from farm.rpmheader import read
from farm.sandbox.script import ENVIRONMENT
from farm.store import Store
from tests.rpms import Spec, build, needs_rpmbuild

HOST = os.uname().machine
CHROOT = Chroot(
    name=f"debian-13-{HOST}",
    release="debian-13",
    arch=HOST,
    repositories=(),
    setup=("bash",),
    dist=".deb13",
    macros=(("_lto_cflags", "-flto=%{_smp_build_ncpus}"), ("nothing", "")),
    with_options=("mpi",),
    environment=(("FLAVOUR", "plain"),),
    files=(("etc/hosts", "127.0.0.1 localhost\n"),),
    directories=("/run/lock",),
)
JOB = Job(
    attempt="attempt-1",
    step=f"tiny@{CHROOT.name}",
    recipe=Recipe("tiny", "tiny.spec", "/specs/tiny", ()),
    chroot=CHROOT,
    lock=Lock(
        (
            LockedPackage(Nevra("bash", 0, "5.2", "1", "x86_64"), "a" * 64, 1, "base"),
            LockedPackage(Nevra("g++", 4, "14.2.0", "1", "x86_64"), "b" * 64, 1, "base"),
        )
    ),
    setup_lock=Lock(()),
    counter=3,
    key="0" * 64,
    epoch_seconds=1_700_000_000,
    cpus=2,
    limits=Limits(time=100, silence=50),
)
AREA = Area(Path("/run/farm"))


def told(job: Job = JOB, isolation: str = "simple") -> dict[str, Any]:
    """config_opts after mock would have executed the configuration."""
    text = mockconfig.configuration(job, AREA, isolation=isolation, database="/var/lib/rpm")
    options: dict[str, Any] = {
        "plugin_conf": {
            "root_cache_enable": True, "root_cache_opts": {}, "ccache_enable": True,
            "selinux_enable": True, "of_next_year_enable": True,
        },
    }  # fmt: skip
    exec(text, {"config_opts": options})  # it is what mock does with it
    return options


def test_mock_is_told_to_install_exactly_the_lock() -> None:
    options = told()
    assert options["chroot_setup_cmd"] == [
        "install", "bash-0:5.2-1.x86_64", "g++-4:14.2.0-1.x86_64",
    ]  # fmt: skip
    assert options["dnf.conf"].count("baseurl=") == 1
    assert "baseurl=file:///run/farm/lock\n" in options["dnf.conf"]
    for line in ("reposdir=/dev/null", "install_weak_deps=0", "best=1"):
        assert line in options["dnf.conf"].splitlines()
    assert options["use_bootstrap"] is False
    assert options["update_before_build"] is False
    assert options["chroot_additional_packages"] == []


def test_no_plugin_of_mock_takes_part_not_even_one_that_farm_does_not_know() -> None:
    enabled = {k for k, v in told()["plugin_conf"].items() if k.endswith("_enable") and v}
    assert enabled == {"selinux_enable"}


def test_the_build_has_no_network_and_does_not_look_like_this_machine() -> None:
    options = told()
    assert options["rpmbuild_networking"] is False
    assert options["use_host_resolv"] is False
    assert options["use_container_host_hostname"] is False
    assert options["macros"]["%_buildhost"] == "farm"
    assert options["environment"] == {**ENVIRONMENT, "FLAVOUR": "plain"}


def test_macros_are_those_of_the_embedded_builder_to_the_letter() -> None:
    assert mockconfig.macro_file(JOB) == rpmmacros(CHROOT, ".deb13.3", 2)
    lines = mockconfig.macro_file(JOB).splitlines()
    for name, value in told()["macros"].items():
        if name not in ("%_dbpath", "%_platform_multiplier"):
            assert f"{name} {value}" in lines, "what mock adds must repeat, never change"


def test_what_the_chroot_file_says_is_passed_on() -> None:
    options = told()
    assert options["files"] == {"etc/hosts": "127.0.0.1 localhost\n"}
    assert options["extra_chroot_dirs"] == ["/run/lock"]
    assert options["chrootuser"] == "mockbuild"
    assert options["target_arch"] == HOST
    assert options["rpmbuild_timeout"] == 100
    slower = msgspec.structs.replace(JOB, chroot=msgspec.structs.replace(CHROOT, timeout=7))
    assert told(slower)["rpmbuild_timeout"] == 7


def test_everything_of_mock_is_below_the_attempts_own_directory() -> None:
    options = told()
    for name in ("basedir", "cache_topdir", "resultdir"):
        assert Path(options[name]).is_relative_to(AREA.path), name


class People:
    """The accounts of a machine, and who we are."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
        self.patch = monkeypatch
        self.home = home
        self.accounts: dict[str, pwd.struct_passwd] = {}
        self.members: list[str] = []
        self.patch.setattr(pwd, "getpwnam", self.accounts.__getitem__)
        self.patch.setattr(pwd, "getpwuid", self._by_number)
        self.patch.setattr(grp, "getgrnam", self._group)
        self.patch.delenv("SUDO_UID", raising=False)
        self.launcher("consolehelper")
        self.patch.setattr(mockaccess, "_init_is_systemd", lambda: True)
        self.account("root", 0)

    def account(self, name: str, uid: int, *, member: bool = False) -> None:
        entry = ("x", uid, 100, "", str(self.home), "/bin/sh")
        self.accounts[name] = pwd.struct_passwd((name, *entry))
        if member:
            self.members.append(name)

    def launcher(self, name: str) -> None:
        """An executable `mock` in the PATH that is a link to a program of that name."""
        directory = self.home / f"bin-{name}"
        directory.mkdir(exist_ok=True)
        for program in (name, "systemd-nspawn"):
            (directory / program).write_text("#!/bin/sh\n")
            (directory / program).chmod(0o755)
        (directory / "mock").symlink_to(name)
        self.patch.setenv("PATH", str(directory))

    def we_are(self, name: str, *, groups: Sequence[int] = ()) -> None:
        uid = self.accounts[name].pw_uid
        self.patch.setattr(os, "getuid", lambda: uid)
        self.patch.setattr(os, "getgroups", lambda: [100, *groups])

    def _by_number(self, uid: int) -> pwd.struct_passwd:
        return next(entry for entry in self.accounts.values() if entry.pw_uid == uid)

    def _group(self, name: str) -> grp.struct_group:
        if name != "mock" or not self.members:
            raise KeyError(name)
        return grp.struct_group(("mock", "x", 135, self.members))


@pytest.fixture
def people(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> People:
    return People(monkeypatch, tmp_path)


def test_where_mock_is_not_installed_there_is_nothing_to_say(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert mock.access() == Access()
    assert not mockaccess.available()


def test_a_member_of_the_group_may_run_mock(people: People) -> None:
    people.account("ada", 1000, member=True)
    people.we_are("ada", groups=[135])
    found = mock.access()
    assert found.granted
    assert mockaccess.available()
    assert mockaccess.available([CHROOT])
    assert not mockaccess.available([CHROOT, msgspec.structs.replace(CHROOT, arch="s390x")])
    assert (found.user, found.uid, dict(found.environment)) == ("ada", 1000, {})


def test_anybody_else_is_told_how_to_become_one(people: People) -> None:
    people.account("ada", 1000)
    people.account("mockbuilder", 990, member=True)
    people.we_are("ada")
    found = mock.access()
    assert not found.granted
    assert found.problem == "ada is not in the group mock"
    assert "usermod -a -G mock ada" in found.remedy


def test_root_acts_for_the_member_who_called_sudo(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    people.account("ada", 1000, member=True)
    people.account("bob", 1001, member=True)
    people.we_are("root")
    monkeypatch.setenv("SUDO_UID", "1001")
    assert mock.access().environment["SUDO_UID"] == "1001"
    monkeypatch.setenv("SUDO_UID", "0")
    assert mock.access().environment["SUDO_UID"] == "1000"


def test_plain_root_needs_a_member_to_act_for(people: People) -> None:
    people.members.append("gone")
    people.we_are("root")
    found = mock.access()
    assert not found.granted
    assert "useradd" in found.remedy


def test_a_mock_that_cannot_become_root_is_not_usable(people: People) -> None:
    people.account("ada", 1000, member=True)
    people.we_are("ada", groups=[135])
    people.launcher("script")
    assert "cannot become root" in mock.access().problem
    launcher = people.home / "bin-script/script"
    launcher.chmod(launcher.stat().st_mode | stat.S_ISUID)
    assert mock.access().granted


def test_without_nspawn_an_ordinary_users_builds_would_have_the_network(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    people.account("ada", 1000, member=True)
    people.we_are("ada", groups=[135])
    monkeypatch.setattr(mockaccess, "_init_is_systemd", lambda: False)
    assert "network" in mock.access().problem


def test_a_personal_configuration_of_mock_would_change_what_is_built(people: People) -> None:
    people.account("ada", 1000, member=True)
    people.we_are("ada", groups=[135])
    (people.home / ".config").mkdir()
    (people.home / ".config/mock.cfg").write_text("config_opts['nosync'] = True\n")
    assert "mock.cfg" in mock.access().problem


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    directory = tmp_path_factory.mktemp("rpms")
    specs = (Spec("tiny"), Spec("other", epoch=2, arch="noarch"))
    return tuple(build(directory, spec)[0] for spec in specs)


def lock_of(paths: Sequence[Path], store: Store) -> Lock:
    return Lock(
        tuple(
            LockedPackage(read(p).nevra, store.put(p), p.stat().st_size, "base")
            for p in sorted(paths)
        )
    )


def asked(paths: Sequence[Path]) -> list[str]:
    """What rpm answers when these are installed."""
    lines = []
    for path in paths:
        rpm = read(path)
        nevra = rpm.nevra
        digest = rpm.signature.text(273)
        lines.append(
            f"{nevra.name} {nevra.epoch} {nevra.version} {nevra.release} {nevra.arch} {digest}"
        )
    return lines


@needs_rpmbuild
def test_the_repository_holds_the_lock_and_nothing_else(
    packages: tuple[Path, ...], tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    lock = lock_of(packages, store)
    write_repository(lock, store, tmp_path / "lock")
    seen: list[Any] = []
    reader = createrepo_c.RepositoryReader.from_path(str(tmp_path / "lock"))
    seen.extend(reader.iter_packages())
    assert {package.pkgId for package in seen} == {package.sha256 for package in lock.packages}
    for package in seen:
        file = tmp_path / "lock" / package.location_href
        assert file.resolve() == store.path(package.pkgId).resolve(), "links, never copies"


@needs_rpmbuild
def test_a_damaged_package_never_gets_into_the_repository(
    packages: tuple[Path, ...], tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    lock = lock_of(packages, store)
    damaged = store.path(lock.packages[0].sha256)
    damaged.chmod(0o644)
    with damaged.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    with pytest.raises(StateError, match="other bytes than the lock"):
        write_repository(lock, store, tmp_path / "lock")


@needs_rpmbuild
def test_every_difference_from_the_lock_is_named(
    packages: tuple[Path, ...], tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    lock = lock_of(packages, store)
    right = asked(packages)
    assert compared(lock, right, store) == ()
    assert compared(lock, [*right, "gpg-pubkey 0 1 2 (none) (none)"], store) == ()
    (missing,) = compared(lock, right[:1], store)
    assert missing == "other-2:1.0-1.noarch is in the lock but not installed"
    (added,) = compared(lock, [*right, f"extra 0 1 1 x86_64 {'f' * 64}"], store)
    assert added == "extra-1-1.x86_64 is installed but not in the lock"
    swapped = [right[0].rsplit(" ", 1)[0] + " " + "f" * 64, right[1]]
    (other,) = compared(lock, swapped, store)
    assert "another header" in other


SCRIPT = """\
#!/bin/sh
here=$(dirname "$0")
for word; do
  case $word in
    --version) echo 6.7; exit 0;;
    --rebuild) mode=rebuild;;
    --chroot) mode=chroot;;
    */job.cfg) area=$(dirname "$word");;
  esac
done
case $mode in
  rebuild)
    echo "$SUDO_UID" >"$here/sudo"
    cat "$here/says"
    cp "$here"/made/*.rpm "$area/results/" 2>/dev/null
    mkdir -p "$area/mock/root/root"
    exit "$(cat "$here/code")";;
  chroot) cat "$here/installed";;
esac
"""
GOOD_LOG = """\
Start: chroot init
Finish: chroot init
Start: build phase for tiny.src.rpm
Start: build setup for tiny.src.rpm
Finish: build setup for tiny.src.rpm
Start: rpmbuild tiny.src.rpm
Executing(%prep): /bin/sh -e /var/tmp/rpm-tmp.a
Executing(%build): /bin/sh -e /var/tmp/rpm-tmp.b
Processing files: tiny-1.0-1.x86_64
"""
FAILED_LOG = """\
Start: chroot init
Start: build setup for tiny.src.rpm
Package make is already installed.
Finish: build setup for tiny.src.rpm
Start: rpmbuild tiny.src.rpm
Executing(%build): /bin/sh -e /var/tmp/rpm-tmp.b
tiny.c:3:1: error: no
error: Bad exit status from /var/tmp/rpm-tmp.b (%build)
Finish: rpmbuild tiny.src.rpm
Exception(tiny.src.rpm) Config(root) 0 minutes 1 seconds
Command failed:
 # bash --login -c /usr/bin/rpmbuild -bb
error: of mock's own
"""


class Bench:
    """A workspace and a script that says what a test wants."""

    def __init__(self, directory: Path, packages: tuple[Path, ...]) -> None:
        self.store = Store(directory / "store")
        roots = directory / "roots"
        roots.mkdir()
        roots.chmod(0o755)
        self.workspace = Workspace(directory / "attempt", self.store, RootCache(roots, self.store))
        self.workspace.directory.mkdir()
        self.bin = directory / "bin"
        (self.bin / "made").mkdir(parents=True)
        self.program = self.bin / "mock"
        self.program.write_text(SCRIPT)
        self.program.chmod(0o755)
        self.packages = packages
        source = build(directory, Spec("tiny"))[-1]
        lock = lock_of(packages, self.store)
        self.job = msgspec.structs.replace(JOB, lock=lock, srpm=self.store.put(source))
        self.says(GOOD_LOG, 0, made=packages[:1], installed=packages)

    def says(
        self, log: str, code: int, *, made: Sequence[Path] = (), installed: Sequence[Path] = ()
    ) -> None:
        (self.bin / "says").write_text(log)
        (self.bin / "code").write_text(str(code))
        lines = [f"@farm-installed {line}" for line in asked(installed)]
        (self.bin / "installed").write_text("\n".join(["INFO: chatter", *lines, ""]))
        for path in made:
            (self.bin / "made" / path.name).write_bytes(path.read_bytes())

    def build(self) -> tuple[Built | Failed, list[str]]:
        phases: list[str] = []
        return mock.MockBuilder().build(self.job, self.workspace, phases.append), phases

    @property
    def area(self) -> Path:
        return mock.area_of(self.job, self.workspace).path


@pytest.fixture
def bench(tmp_path: Path, packages: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch) -> Bench:
    tmp_path.chmod(0o755)
    made = Bench(tmp_path, packages)
    nobody = Access(str(made.program), "ada", os.getuid() or 1000, os.getgid(), str(tmp_path))
    monkeypatch.setattr(mock, "access", lambda: nobody)
    return made


@needs_rpmbuild
def test_what_mock_made_is_taken_and_nothing_of_it_stays(bench: Bench) -> None:
    made, phases = bench.build()
    assert isinstance(made, Built)
    assert [str(p.nevra) for p in made.packages] == ["tiny-1.0-1.x86_64"]
    assert made.srpm.sha256 == bench.job.srpm
    assert dict(made.host) == {"builder": "mock", "cores": "2", "mock": "6.7"}
    assert phases == ["root", "unpack", "%prep", "%build", "packaging", "compare"]
    assert (bench.workspace.results / "tiny-1.0-1.x86_64.rpm").exists()
    assert not bench.area.exists()


@needs_rpmbuild
def test_what_mock_packed_again_is_not_the_source_package(bench: Bench) -> None:
    (bench.bin / "made/tiny-1.0-1.src.rpm").write_bytes(b"something else")
    made, _ = bench.build()
    assert isinstance(made, Built)
    assert [path.name for path in bench.workspace.results.iterdir()] == ["tiny-1.0-1.x86_64.rpm"]


@needs_rpmbuild
def test_a_root_with_something_else_in_it_is_no_success(bench: Bench) -> None:
    bench.says(GOOD_LOG, 0, made=bench.packages[:1], installed=bench.packages[:1])
    with pytest.raises(MachineError, match="in what the lock says") as caught:
        bench.build()
    assert "other-2:1.0-1.noarch is in the lock but not installed" in caught.value.why
    assert not bench.area.exists()


@needs_rpmbuild
def test_a_failing_build_is_told_without_mocks_own_words(bench: Bench) -> None:
    bench.says(FAILED_LOG, 1)
    made, _ = bench.build()
    assert isinstance(made, Failed)
    assert (made.kind, made.phase, made.where) == ("package", "%build", "tiny.c:3")
    own = mock.rpmbuilds_own(FAILED_LOG.splitlines())
    assert made.excerpt == diagnose(own, package="tiny", phase="%build").excerpt
    assert set(made.excerpt) <= set(own)
    assert len(own) == 3
    assert bench.area.exists(), "farm shell looks there"


@needs_rpmbuild
def test_what_failed_is_not_kept_where_nobody_wants_it(bench: Bench) -> None:
    bench.says(FAILED_LOG, 1)
    bench.workspace = Workspace(
        bench.workspace.directory, bench.store, bench.workspace.roots, keep=False
    )
    bench.build()
    assert not bench.area.exists()


@needs_rpmbuild
@pytest.mark.parametrize(
    ("log", "code", "kind", "word"),
    [
        ("Start: chroot init\nError: nothing provides libmpc\n", 30, "infrastructure", "libmpc"),
        ("Start: chroot init\nERROR: no idea\n", 1, "infrastructure", "no idea"),
        (
            "Start: build setup for tiny.src.rpm\nNo matching package to install: 'x'\n",
            30, "infrastructure", "No matching package",
        ),
        ("Start: build setup for x\nExecuting(%check): sh\n", 11, "limit", "100 s"),
        ("Start: build setup for x\nerror: line 3: Unknown tag: X\n", 1, "package", "Unknown tag"),
    ],
)  # fmt: skip
def test_whose_fault_it_is_depends_on_how_far_mock_came(
    bench: Bench, log: str, code: int, kind: str, word: str
) -> None:
    bench.says(log, code)
    made, _ = bench.build()
    assert isinstance(made, Failed)
    assert made.kind == kind
    assert word in "\n".join([made.message, *made.excerpt])


@needs_rpmbuild
def test_a_build_that_makes_no_package_has_failed(bench: Bench) -> None:
    for path in (bench.bin / "made").iterdir():
        path.unlink()
    made, _ = bench.build()
    assert isinstance(made, Failed)
    assert "built no package" in made.message


@needs_rpmbuild
def test_another_architecture_wants_an_emulator_on_this_machine(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(mockconfig, "_EMULATORS", tmp_path)
    bench.job = msgspec.structs.replace(
        bench.job, chroot=msgspec.structs.replace(CHROOT, arch="s390x", name="x-s390x")
    )
    with pytest.raises(MachineError, match="s390x") as caught:
        bench.build()
    assert "--builder embedded" in caught.value.hint
    (tmp_path / "qemu-s390x").touch()
    assert isinstance(bench.build()[0], Built)


@needs_rpmbuild
def test_options_that_neither_builder_honours_are_refused_by_name(bench: Bench) -> None:
    bench.job = msgspec.structs.replace(
        bench.job, chroot=msgspec.structs.replace(CHROOT, refused=("nspawn_args",))
    )
    with pytest.raises(MachineError) as caught:
        bench.build()
    assert "nspawn_args" in caught.value.why


@needs_rpmbuild
def test_an_attempt_that_is_under_way_is_left_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.area.mkdir(parents=True)
    (bench.area / "mine").touch()
    with held(Area(bench.area)), pytest.raises(BlockingIOError):
        bench.build()
    assert (bench.area / "mine").exists()


def test_without_mock_the_builder_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(mock, "access", Access)
    store = Store(tmp_path / "store")
    workspace = Workspace(tmp_path, store, RootCache(tmp_path, store))
    with pytest.raises(MachineError) as caught:
        mock.MockBuilder().build(JOB, workspace, SimpleNamespace())  # type: ignore[arg-type]
    assert "not installed" in caught.value.why
    assert "--builder embedded" in caught.value.hint

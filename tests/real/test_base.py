"""The embedded base on this machine: real archive, real rpm, real dnf, a real compiler in it."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from farm.base import deb, elf
from farm.base.build import RELEASE, BaseBuilt, build_base
from farm.base.bytecode import RUNTIME, Compiler
from farm.base.recipe import recipe
from farm.config import Config, load
from farm.plan.chroots import read_chroot
from farm.run import run
from farm.sandbox import Bind, Sandbox, execute, host_tool, own, remove, scratch
from farm.store import Store

pytestmark = pytest.mark.real

ROOT = Path(__file__).parent.parent.parent
ARCH = platform.machine()
TRIPLET = f"{ARCH}-linux-gnu"
INSIDE = "/run/trial"

# What specs in Fedora's style ask for, by Fedora's names.
BUILD_REQUIRES = (
    "gcc", "gcc-c++", "gcc-gfortran", "make", "cmake", "meson", "autoconf", "automake", "libtool",
    "bison", "flex", "gettext-devel", "texinfo", "git-core", "perl-interpreter", "perl-generators",
    "perl-devel", "perl(ExtUtils::MakeMaker)", "perl(Test::More) >= 0.96", "zlib-devel",
    "bzip2-devel", "xz-devel", "libzstd-devel", "openssl-devel", "ncurses-devel",
    "readline-devel", "libgcrypt-devel", "pam-devel", "libcurl-devel", "libxml2-devel",
    "json-c-devel", "systemd-devel", "systemd-rpm-macros", "expat-devel", "sqlite-devel",
    "libevent-devel", "numactl-devel", "hwloc-devel", "libtool-ltdl-devel", "expect",
    "python3-devel", "python3-setuptools", "python3-pip", "python3-wheel", "python3-pytest",
    "python3-pyyaml", "python3-Cython", "python3-numpy", "python3dist(setuptools) >= 60",
    "openmpi-devel", "openblas-devel", "lua-devel", "lua-posix", "lua-filesystem", "tcl-devel",
    "blast+", "pkgconfig(zlib)", "pkgconfig(libsystemd)", "pkgconfig(openssl) >= 3",
    "which", "procps-ng", "openssh-clients", "dejagnu", "check-devel", "man-db", "wget", "curl",
)  # fmt: skip


@pytest.fixture(scope="module")
def base() -> BaseBuilt:
    (built, *_) = build_base(load(ROOT), [ARCH], print)
    return built


@pytest.fixture(scope="module")
def installed(base: BaseBuilt) -> Iterator[Path]:
    """A root with the set-up packages and typical BuildRequires, filled by dnf."""
    area = own(Path(tempfile.mkdtemp(prefix="test-base-", dir=scratch())))
    chroot = read_chroot(ROOT / f"chroots/debian-13-{ARCH}.cfg", {})
    host_tool(["mkdir", f"{INSIDE}/root", f"{INSIDE}/home"], binds=(_at(area),))
    host_tool(
        [
            "sh", "-ec",
            f"printf '%%_dbpath /var/lib/rpm\\n%%_netsharedpath /proc:/dev\\n' "
            f">{INSIDE}/home/.rpmmacros; exec \"$@\"", "sh",
            "dnf", "--assumeyes", "--quiet", "--noplugins", "--releasever=13",
            f"--installroot={INSIDE}/root",
            "--repofrompath=base,file:///run/base", "--repo=base", "--setopt=reposdir=/none",
            "--setopt=install_weak_deps=0", "--setopt=gpgcheck=0", "--setopt=cachedir=/tmp/dnf",
            "install", *chroot.setup, *BUILD_REQUIRES,
        ],
        binds=(_at(area), Bind(base.directory.resolve(), "/run/base")),
        environment={"HOME": f"{INSIDE}/home"},
        system=("/", f"{INSIDE}/root"),
        timeout=600,
    )  # fmt: skip
    yield area / "root"
    remove(area)


def _at(area: Path) -> Bind:
    return Bind(area, INSIDE, writable=True)


def inside(root: Path, script: str) -> str:
    """Run a shell script in the root; what it printed."""
    done = execute(
        Sandbox(binds=(Bind(root, "/", writable=True),), directory="/tmp"),
        ["/bin/sh", "-ec", f"exec 2>&1\n{script}"],
        timeout=300,
    ).completed
    assert done.ok, done.stdout
    return done.stdout


def test_a_finished_base_is_found_at_once(base: BaseBuilt) -> None:
    said: list[str] = []
    started = time.monotonic()
    (again, *_) = build_base(load(ROOT), [ARCH], said.append)
    assert time.monotonic() - started < 1
    assert (again.directory, again.fresh, said) == (base.directory, False, [])


def test_rpm_finds_every_package_whole(base: BaseBuilt) -> None:
    packages = sorted((base.directory / "Packages").glob("*.rpm"))
    assert len(packages) > 400
    checked = run(["rpmkeys", "--checksig", "--nosignature", *packages]).stdout
    assert checked.count("digests OK") == len(packages)


def test_no_package_that_the_layer_owns_is_in_the_base(base: BaseBuilt) -> None:
    names = {path.name for path in (base.directory / "Packages").iterdir()}
    owned = {path.parent.name for path in (ROOT / "specs").glob("*/*.spec")}
    owned |= set(recipe().layer_owned)
    clash = re.compile(rf"(?:lib)?(?:{'|'.join(map(re.escape, sorted(owned)))})\d*-")
    assert not [name for name in names if clash.match(name)]
    needs = run(["rpm", "-qp", "--requires", *(base.directory / "Packages").glob("*.rpm")]).stdout
    assert "libmunge" not in needs


def test_no_link_leads_to_itself(base: BaseBuilt) -> None:
    query = "[%{FILENAMES}\\t%{FILELINKTOS}\\n]"
    packages = (base.directory / "Packages").glob("*.rpm")
    lines = run(["rpm", "-qp", "--nosignature", "--qf", query, *packages]).stdout.splitlines()
    pairs = [line.split("\t") for line in lines]
    links = {path: os.path.normpath(Path(path).parent / target) for path, target in pairs if target}
    assert len(links) > 1000
    circles = [path for path, target in links.items() if links.get(target) == path]
    assert circles == []


def test_dnf_installs_what_specs_ask_for_by_fedoras_names(installed: Path) -> None:
    said = inside(installed, "rpm -qa | wc -l; rpm -q --whatprovides glibc-devel zlib-devel")
    assert int(said.split()[0]) > 200
    assert "zlib1g-dev" in said


def test_installed_files_are_what_their_packages_say(installed: Path) -> None:
    said = inside(installed, "rpm -Va --nomtime --nordev || :")
    surprising = [
        line
        for line in said.splitlines()
        # Directories that the sandbox lays over.
        if not line.endswith((" /dev", " /proc", " /sys", " /tmp", " /run"))
    ]
    assert not surprising


def test_the_locale_of_build_roots_is_there(installed: Path) -> None:
    said = inside(installed, "LANG=C.UTF-8 perl -e 1; LANG=C.UTF-8 locale charmap")
    assert said == "UTF-8\n"


def test_mpi_blas_and_blast_work_inside(installed: Path) -> None:
    said = inside(
        installed,
        r"""
cat >a.c <<'X'
#include <cblas.h>
#include <mpi.h>
#include <stdio.h>
int main(int c, char **v) {
  double x[2] = {1, 2}, s, t;
  MPI_Init(&c, &v);
  s = cblas_ddot(2, x, 1, x, 1);
  MPI_Allreduce(&s, &t, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
  printf("sum %g\n", t);
  MPI_Finalize();
  return 0;
}
X
mpicc -o a a.c -lopenblas
mpiexec --allow-run-as-root --oversubscribe -n 2 ./a
printf '>a\nACGTACGTTGCATGCATTGACCATGACCATGATTACG\n>b\nTTTTGGGGCCCCAAAATTTTGGGGCCCCAAAA\n' >db.fa
makeblastdb -in db.fa -dbtype nucl -out db
printf '>q\nTGCATGCATTGACCATGACCATGATTACG\n' >q.fa
blastn -query q.fa -db db -outfmt 6 -task blastn
""",
    )
    assert said.count("sum 10") == 2
    assert re.search(r"^q\ta\t100\.000", said, re.MULTILINE)


SPEC = r"""
Name: sample
Version: 1.0
Release: 1
Summary: A sample
License: MIT
%description
x
%package -n python3-sample
Summary: Python
%description -n python3-sample
x
%prep
%setup -q -c -T
mkdir cm me py py/sample
cat >cm/CMakeLists.txt <<'X'
cmake_minimum_required(VERSION 3.10)
project(a C)
include(GNUInstallDirs)
add_library(samplecm SHARED a.c)
install(TARGETS samplecm)
enable_testing()
X
echo 'int f(void) { return 1; }' >cm/a.c
cat >me/meson.build <<'X'
project('a', 'c')
executable('sampleme', 'm.c', install: true)
X
echo 'int main(void) { return 0; }' >me/m.c
cat >py/pyproject.toml <<'X'
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "sample"
version = "1.0"
dependencies = ["PyYAML>=5"]
[tool.setuptools]
packages = ["sample"]
X
echo 'X = 1' >py/sample/__init__.py
%build
cd cm
%cmake
%cmake_build
cd ../me
%meson
%meson_build
cd ../py
%pyproject_wheel
%install
cd cm
%cmake_install
cd ../me
%meson_install
cd ../py
%pyproject_install
%pyproject_save_files sample
%check
cd cm
%ctest
cd ../py
%pyproject_check_import
%files
%{_bindir}/sampleme
%{_libdir}/libsamplecm.so
%files -n python3-sample -f %{pyproject_files}
%changelog
* Thu Jan 02 2025 A B <a@b.c> - 1.0-1
- x
"""


def test_fedoras_macros_build_packages_with_debuginfo_and_generated_dependencies(
    installed: Path,
) -> None:
    said = inside(
        installed,
        f"""
mkdir -p /builddir; cd /builddir
cat >sample.spec <<'SPEC'
{SPEC}
SPEC
export HOME=/builddir
rpmbuild -bb --define '_topdir /builddir/build' sample.spec >log 2>&1 || {{ cat log; exit 1; }}
cd build/RPMS/*
ls
echo provides; rpm -qp --provides python3-sample-*.rpm
echo requires; rpm -qp --requires python3-sample-*.rpm
rpm -qpl sample-debuginfo-*.rpm sample-debugsource-*.rpm
""",
    )
    assert "sample-debuginfo-1.0-1" in said
    assert "python3dist(sample) = 1\n" in said
    assert "python3dist(pyyaml) >= 5\n" in said
    assert f"/usr/lib/debug/usr/bin/sampleme-1.0-1.{ARCH}.debug" in said
    assert f"/usr/src/debug/sample-1.0-1.{ARCH}/cm/a.c" in said


def test_capabilities_of_libraries_are_rpms_own() -> None:
    elfdeps = Path("/usr/lib/rpm/elfdeps")
    if not elfdeps.exists():
        pytest.skip("rpm's elfdeps is not on this machine")
    libraries = sorted(Path(f"/usr/lib/{TRIPLET}").glob("lib*.so.*"))
    # of a library that is a program as well rpm goes by its mode, which Debian leaves at 644
    libraries = [
        path
        for path in libraries
        if path.is_file() and not path.is_symlink() and b"/ld-linux" not in path.read_bytes()
    ][:40]
    assert libraries
    for path in libraries:
        ours = elf.facts(path.read_bytes(), path.name)
        assert ours is not None
        for kind, found in (("--provides", ours.provides), ("--requires", ours.requires)):
            theirs = run([elfdeps, kind], input=f"{path}\n").stdout.split("\n")
            assert set(found) == {line for line in theirs if line}, f"{path} {kind}"


def test_modules_compile_to_the_same_bytes_whatever_runs_beside(
    base: BaseBuilt, tmp_path: Path
) -> None:
    store = Store(load(ROOT).path("cache") / "downloads")
    listed = json.loads((base.directory / "packages.json").read_bytes())
    debs = {item["name"]: store.get(item["sha256"]) for item in listed}
    entries = deb.read(debs["libpython3.13-minimal"]).entries
    results = set()
    for number in range(2):
        place = tmp_path / str(number)
        place.mkdir()
        compiler = Compiler(place, ARCH, [debs[name] for name in RUNTIME])
        with ThreadPoolExecutor(3) as pool:
            results |= set(pool.map(compiler.compile, [entries] * 3))
    assert len(results) == 1
    assert len(next(iter(results))) > 100


def test_an_interrupted_build_goes_on_and_gives_the_same_bytes(
    base: BaseBuilt, tmp_path: Path
) -> None:
    usual = load(ROOT)
    here = at(usual, tmp_path)
    (tmp_path / "downloads").symlink_to(usual.path("cache") / "downloads")
    # The state that an interruption leaves: some packages done, one half written.
    partial = tmp_path / "base" / RELEASE / f".{base.directory.name}.partial" / "Packages"
    partial.mkdir(parents=True)
    done = sorted((base.directory / "Packages").glob("[a-k]*.rpm"))
    for path in done:
        shutil.copy2(path, partial / path.name)
    (partial / "bash.part").write_bytes(b"half")
    before = {path.name: (partial / path.name).stat().st_mtime_ns for path in done}
    (again, *_) = build_base(here, [ARCH], print)
    if again.directory.name != base.directory.name:
        pytest.skip("the archive has moved on since the base was made")
    assert again.fresh
    for name, mtime in before.items():
        assert (again.directory / "Packages" / name).stat().st_mtime_ns == mtime
    assert run(["diff", "-rq", base.directory.resolve(), again.directory], check=False).stdout == ""


def at(config: Config, cache: Path) -> Config:
    return msgspec.structs.replace(
        config, paths=msgspec.structs.replace(config.paths, cache=str(cache))
    )

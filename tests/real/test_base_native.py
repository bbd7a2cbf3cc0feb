"""The layer of native tools: what is in it, and that it changes no byte of what is built."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from pathlib import Path

import msgspec
import pytest

from farm.base import elf
from farm.base.build import NATIVE, RELEASE, build_base
from farm.config import load
from farm.model import Built, Limits, Outcome, Recipe, RecipeFile
from farm.rebuild.worker import work
from farm.run import run
from farm.store import sha256_of
from tests.builds import ground, order

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="native tools are x86_64 programs"),
]

ROOT = Path(__file__).parent.parent.parent
LIBRARIES = "usr/lib/x86_64-linux-gnu"


@pytest.fixture(scope="module")
def layer() -> Path:
    built = {result.arch: result for result in build_base(load(ROOT), ["aarch64"], print)}
    return built[NATIVE].directory


def test_the_manifest_names_all_that_is_in_the_tree(layer: Path) -> None:
    manifest = json.loads((layer / "manifest.json").read_bytes())
    tree = layer / "tree"
    assert (load(ROOT).base_directory / RELEASE / NATIVE).resolve() == layer.resolve()
    for path in (*manifest["replaces"], *manifest["support"]):
        assert os.path.lexists(tree / path), path
    named = set(manifest["replaces"])
    for path in (p.relative_to(tree).as_posix() for p in tree.rglob("*") if not p.is_dir()):
        inside = any(f"{path}/".startswith(f"{top}/") for top in manifest["support"])
        assert inside or path in named, path


def test_the_programs_are_native_and_find_all_their_libraries_in_the_layer(layer: Path) -> None:
    tree = layer / "tree"
    manifest = json.loads((layer / "manifest.json").read_bytes())
    there = {path.name for path in (tree / LIBRARIES).iterdir()}
    programs = 0
    for name in manifest["replaces"]:
        data = (tree / name).read_bytes()
        if data.startswith(elf.MAGIC):
            found = elf.facts(data)
            assert found is not None
            assert found.machine == "x86_64", name
            assert set(found.needed) <= there, name
            programs += 1
    assert programs > 150
    assert not {"usr/bin/uname", "usr/bin/arch", "usr/bin/nproc", "usr/bin/rpmbuild"} & set(
        manifest["replaces"]
    )


def test_native_programs_tell_the_machine_that_they_stand_for(layer: Path) -> None:
    tree = layer / "tree"
    loader: list[str | Path] = [
        tree / LIBRARIES / "ld-linux-x86-64.so.2",
        "--library-path",
        tree / LIBRARIES,
    ]
    said = run([*loader, tree / "usr/bin/bash", "-c", "echo $HOSTTYPE $MACHTYPE"]).stdout
    assert said == "aarch64 aarch64-unknown-linux-gnu\n"
    said = run([*loader, tree / "usr/bin/make", "--version"]).stdout
    assert "Built for aarch64-unknown-linux-gnu" in said


def test_the_emulator_runs_by_itself(layer: Path) -> None:
    assert "qemu-aarch64 version" in run([layer / "qemu", "--version"]).stdout


SPEC = r"""
Name: tongues
Version: 1.0
Release: 1%{?dist}
Summary: OpenMP, LTO, Fortran objects, MPI, flex and bison, gettext, autotools
License: MIT
%description
x
%prep
%setup -q -c -T
cat > a.c <<'X'
#include <omp.h>
#include <stdio.h>
#include <math.h>
int main(void) { double s = 0;
#pragma omp parallel for reduction(+:s)
for (int i = 0; i < 1000; i++) s += sin(i);
printf("%.3f %d\n", s, omp_get_max_threads() > 0); return 0; }
X
cat > b.f90 <<'X'
module m
contains
subroutine f(x, n)
  integer, intent(in) :: n
  real(8), intent(inout) :: x(n)
  integer :: i
!$omp parallel do
  do i = 1, n
    x(i) = sqrt(x(i)) + i
  end do
end subroutine
end module
X
cat > c.f90 <<'X'
program p
  use m
  real(8) :: x(10)
  x = 4
  call f(x, 10)
  print *, sum(x)
end program
X
cat > d.cc <<'X'
#include <map>
#include <string>
#include <thread>
#include <iostream>
int main() {
  std::map<std::string, int> m;
  m["a"] = 1;
  std::thread t([&] { m["b"] = 2; });
  t.join();
  std::cout << m.size() << "\n";
  try { throw 3; } catch (int i) { return i - 3; }
}
X
cat > e.c <<'X'
#include <mpi.h>
#include <stdio.h>
int main(int c, char **v) { MPI_Init(&c, &v); puts("mpi"); MPI_Finalize(); return 0; }
X
cat > l.l <<'X'
%%%%
[0-9]+ printf("N");
%%%%
int yywrap(void) { return 1; }
int main(void) { return yylex(); }
X
cat > y.y <<'X'
%%{
int yylex(void) { return 0; }
void yyerror(const char *s) { }
%%}
%%token A
%%%%
s: | s A ;
%%%%
int main(void) { return yyparse(); }
X
mkdir at; cat > at/configure.ac <<'X'
AC_INIT([at],[1.0])
AM_INIT_AUTOMAKE([foreign])
AC_CONFIG_HEADERS([config.h])
AC_PROG_CC
AM_PROG_AR
LT_INIT
AC_CHECK_FUNCS([strlcpy memfd_create getrandom])
AC_CHECK_HEADERS([zlib.h sys/epoll.h])
AC_C_BIGENDIAN
AC_CHECK_SIZEOF([long double])
AC_CONFIG_FILES([Makefile])
AC_OUTPUT
X
cat > at/Makefile.am <<'X'
lib_LTLIBRARIES = libat.la
libat_la_SOURCES = at.c
libat_la_LDFLAGS = -version-info 1:0:0
bin_PROGRAMS = atp
atp_SOURCES = atp.c
atp_LDADD = libat.la
dist_man_MANS = at.1
X
echo 'int at(void) { return 7; }' > at/at.c
cat > at/atp.c <<'X'
#include "config.h"
int at(void);
int main(void) { return at() - 7 + SIZEOF_LONG_DOUBLE - SIZEOF_LONG_DOUBLE; }
X
echo '=head1 NAME' > at/at.pod
printf '.TH at 1\nat\n' > at/at.1
printf 'msgid ""\nmsgstr "Content-Type: text/plain; charset=ISO-8859-1\\n"\n' > x.po
printf 'msgid "a"\nmsgstr "\344"\n' >> x.po
%build
%set_build_flags
gcc $CFLAGS -fopenmp $LDFLAGS -o oc a.c -lm
gcc $CFLAGS -fopenmp -c a.c -o a.o; gcc $LDFLAGS -fopenmp -o oc2 a.o -lm
gfortran $FFLAGS -fopenmp -c b.f90; gfortran $FFLAGS -fopenmp -o of c.f90 b.o
gfortran $FFLAGS -fPIC -c b.f90 -o b2.o; gcc -shared -o libb.so b2.o -lgfortran
g++ $CXXFLAGS -c d.cc; g++ $LDFLAGS -o ox d.o
g++ $CXXFLAGS -flto -fopenmp -o ox2 d.cc
gcc $CFLAGS -flto -o ol a.c -fopenmp -lm
gcc $CFLAGS -flto -c e.c -I%{_libdir}/openmpi/include
gcc -flto $CFLAGS -o om2 e.o -L%{_libdir}/openmpi/lib -lmpi
mpicc $CFLAGS -o om e.c
flex l.l; gcc $CFLAGS -o fl lex.yy.c
bison y.y; gcc $CFLAGS -o by y.tab.c
msgfmt -o x.mo x.po
ar rcs liba.a a.o; ranlib liba.a
cd at
autoreconf -fi
%configure
make V=1 %{?_smp_mflags}
pod2man --release=1 --center=x --date=2020-01-01 at.pod > at.pod.1
%install
install -Dm755 -t %{buildroot}%{_bindir} oc oc2 of ox ox2 ol om om2 fl by
install -Dm755 -t %{buildroot}%{_libdir} libb.so
install -Dm644 -t %{buildroot}%{_datadir}/tongues liba.a x.mo lex.yy.c y.tab.c m.mod
cd at
install -Dm644 -t %{buildroot}%{_datadir}/tongues configure Makefile.in config.h libtool at.pod.1
%make_install
%check
./oc; ./oc2; ./of; ./ox; ./ol
cd at; make check; ./atp
%files
%{_bindir}/*
%{_libdir}/*
%{_datadir}/tongues
%{_mandir}/*/*
%changelog
* Thu Jan 02 2025 A B <a@b.c> - 1.0-1
- x
"""

LIMITS = Limits(time=5400, silence=1800)
REQUIRES = (
    "gcc", "gcc-c++", "gcc-gfortran", "make", "openmpi-devel", "flex", "bison", "gettext",
    "autoconf", "automake", "libtool", "perl-interpreter", "zlib-devel",
)  # fmt: skip


@pytest.mark.soak
def test_every_compiler_gives_the_bytes_of_plain_emulation(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    place = ground("aarch64", tmp_path, REQUIRES)
    assert place.chroot.native_tools
    directory = tmp_path / "recipe"
    directory.mkdir()
    (directory / "tongues.spec").write_text(SPEC.lstrip("\n"))
    recipe = Recipe(
        name="tongues",
        spec="tongues.spec",
        directory=str(directory),
        files=(RecipeFile("tongues.spec", sha256_of(directory / "tongues.spec")),),
    )
    assisted = built(work(order(place, recipe, f"assisted-{os.getpid()}", limits=LIMITS)))
    chroot = msgspec.structs.replace(place.chroot, native_tools="")
    plain_place = dataclasses.replace(place, chroot=chroot)
    plain = built(work(order(plain_place, recipe, f"plain-{os.getpid()}", limits=LIMITS)))
    assert "native-tools" in dict(assisted.host)
    assert "native-tools" not in dict(plain.host)
    assert bytes_of(assisted) == bytes_of(plain)
    assert len(bytes_of(plain)) == 3


def built(outcome: Outcome) -> Built:
    assert isinstance(outcome, Built), outcome
    return outcome


def bytes_of(result: Built) -> dict[str, str]:
    return {str(package.nevra): package.sha256 for package in result.packages}

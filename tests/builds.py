"""Real ground for tests of building: the embedded base, real locks, a tiny C library."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest

from farm.config import load
from farm.model import (
    Chroot,
    Evaluation,
    Job,
    Limits,
    Lock,
    Recipe,
    RecipeFile,
    WorkOrder,
    to_json,
)
from farm.plan.chroots import read_chroot
from farm.plan.metadata.download import download
from farm.plan.metadata.repodata import pin_repository
from farm.plan.solver import resolve, resolve_setup
from farm.plan.universe import Universe
from farm.rebuild.roots import RootCache
from farm.rebuild.space import roots_directory
from farm.rebuild.srpm import evaluate, make_srpm
from farm.store import Store, sha256_of

ROOT = Path(__file__).parent.parent

SPEC = """\
Name:           tiny
Version:        1.0
Release:        1%{?dist}
Summary:        A tiny library
License:        MIT
Source0:        %{name}-%{version}.tar.gz
BuildRequires:  gcc make
BuildRequires:  pkgconfig(zlib)

%description
A function that adds one.

%package devel
Summary:        Header of tiny
Requires:       %{name}%{?_isa} = %{version}-%{release}

%description devel
Its header.

%package doc
Summary:        Words about tiny
BuildArch:      noarch

%description doc
Words.

%prep
%autosetup

%build
%make_build CFLAGS="%{optflags}" LDFLAGS="%{?build_ldflags}"

%install
install -D -m 755 libtiny.so.1 %{buildroot}%{_libdir}/libtiny.so.1
ln -s libtiny.so.1 %{buildroot}%{_libdir}/libtiny.so
install -D -m 644 tiny.h %{buildroot}%{_includedir}/tiny.h

%check
test -s libtiny.so.1

%files
%{_libdir}/libtiny.so.1

%files devel
%{_libdir}/libtiny.so
%{_includedir}/tiny.h

%files doc
%doc README

%changelog
* Mon Nov 03 2025 Farm Test <test@example.org> - 1.0-1
- First
"""
_FILES = {
    "tiny.c": '#include "tiny.h"\nint tiny(int a)\n{\n\treturn a + 1;\n}\n',
    "tiny.h": "int tiny(int a);\n",
    "README": "It adds one.\n",
    "Makefile": "libtiny.so.1: tiny.c tiny.h\n"
    "\t$(CC) $(CFLAGS) $(LDFLAGS) -fPIC -shared -Wl,-soname,$@ -o $@ tiny.c\n",
}


@dataclass(frozen=True)
class Ground:
    """A chroot with its locks, and where things are."""

    chroot: Chroot
    setup_lock: Lock
    lock: Lock
    state: Path
    store: Store
    cache: RootCache


def ground(
    arch: str, state: Path, requires: Sequence[str] = ("gcc", "make", "zlib-devel")
) -> Ground:
    """The embedded base's chroot of `arch`, with a lock for `requires`."""
    base = load(ROOT).base_directory
    if not (base / "debian-13" / arch).exists():
        pytest.skip(f"the embedded base for {arch} is not there: farm base build")
    chroot = read_chroot(ROOT / f"chroots/debian-13-{arch}.cfg", {"farm_base": str(base)})
    if chroot.native_tools and not Path(chroot.native_tools).exists():
        chroot = msgspec.structs.replace(chroot, native_tools="")
    store = Store(state / "store")
    pins = [pin_repository(r, state / "pins" / chroot.name / r.id) for r in chroot.repositories]
    universe = Universe.open(chroot, pins, state / "solv")
    setup_lock, lock = resolve_setup(universe, chroot), resolve(universe, chroot, requires)
    assert isinstance(setup_lock, Lock), setup_lock
    assert isinstance(lock, Lock), lock
    download(setup_lock.packages, store)
    download(lock.packages, store)
    cache = RootCache(roots_directory("", state), store)
    return Ground(chroot, setup_lock, lock, state, store, cache)


def tiny(directory: Path, *changes: tuple[str, str]) -> Recipe:
    """The recipe of the tiny library, its spec's text changed."""
    directory.mkdir(parents=True, exist_ok=True)
    spec = SPEC
    for old, new in changes:
        assert old in spec
        spec = spec.replace(old, new)
    (directory / "tiny.spec").write_text(spec)
    (directory / "tiny-1.0.tar.gz").write_bytes(_archive())
    return Recipe(
        name="tiny",
        spec="tiny.spec",
        directory=str(directory),
        files=tuple(RecipeFile(f.name, sha256_of(f)) for f in sorted(directory.iterdir())),
    )


def order(
    place: Ground,
    recipe: Recipe,
    attempt: str,
    *,
    limits: Limits | None = None,
    srpm: bool = True,
    cpus: int = 2,
) -> Path:
    """The job file of an attempt at a recipe, in a directory of its own."""
    evaluation = evaluate([recipe], place.chroot, place.setup_lock, place.cache)[0]
    assert isinstance(evaluation, Evaluation), evaluation
    inputs = tuple(
        (file.path, place.store.put(Path(recipe.directory, file.path))) for file in recipe.files
    )
    job = Job(
        attempt=attempt,
        step=f"{recipe.name}@{place.chroot.name}",
        recipe=recipe,
        chroot=place.chroot,
        lock=place.lock,
        setup_lock=place.setup_lock,
        counter=0,
        key="0" * 64,
        epoch_seconds=evaluation.epoch_seconds,
        inputs=inputs,
        cpus=cpus,
        limits=limits or Limits(time=600, silence=300),
    )
    if srpm:
        package = make_srpm(
            recipe, inputs, place.chroot, place.setup_lock, place.cache, place.store,
            counter=0, epoch_seconds=evaluation.epoch_seconds,
        )  # fmt: skip
        job = msgspec.structs.replace(job, srpm=package.sha256)
    directory = place.state / "attempts" / attempt
    directory.mkdir(parents=True)
    written = WorkOrder(job, str(place.store.root), str(place.cache.directory))
    (directory / "job.json").write_bytes(to_json(written))
    return directory / "job.json"


def elsewhere(place: Ground, directory: Path) -> Ground:
    """The same ground with build roots of its own."""
    directory.mkdir(parents=True, exist_ok=True)
    return replace(place, cache=RootCache(directory, place.store))


def _archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in _FILES.items():
            member = tarfile.TarInfo(f"tiny-1.0/{name}")
            member.size, member.mtime = len(text), 1_700_000_000
            archive.addfile(member, io.BytesIO(text.encode()))
    return gzip.compress(buffer.getvalue(), mtime=0)

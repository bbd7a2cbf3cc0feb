"""Two packages that need each other, built and published through the command line."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from farm.run import run
from tests.real.site import Site

pytestmark = pytest.mark.real

X86, ARM = "x86_64", "aarch64"

_CHANGELOG = """
%changelog
* Mon Jun 01 2026 Farm Tests <tests@example.org> - 1.0-1
- First
"""

CHICKEN = (
    """\
%bcond_with bootstrap
%global debug_package %{nil}
Name:           chicken
Version:        1.0
Release:        1%{?dist}
Summary:        A library that comes from an egg
License:        MIT
URL:            https://example.org/chicken
BuildRequires:  gcc
%if %{without bootstrap}
BuildRequires:  egg
%endif

%description
A library.

%package devel
Summary:        Build against chicken
Requires:       %{name}%{?_isa} = %{version}-%{release}

%description devel
The link of the library.

%build
echo 'int chicken_legs(void) { return 2; }' >chicken.c
gcc %{optflags} -fPIC -shared -Wl,-soname,libchicken.so.1 -o libchicken.so.1 chicken.c
%if %{with bootstrap}
echo "hatched from nothing" >origin
%else
egg >origin
%endif

%install
install -D -m 755 libchicken.so.1 %{buildroot}%{_libdir}/libchicken.so.1
ln -s libchicken.so.1 %{buildroot}%{_libdir}/libchicken.so
install -D -m 644 origin %{buildroot}%{_datadir}/chicken/origin

%files
%{_libdir}/libchicken.so.1
%{_datadir}/chicken

%files devel
%{_libdir}/libchicken.so
"""
    + _CHANGELOG
)

EGG = (
    """\
%global debug_package %{nil}
Name:           egg
Version:        1.0
Release:        1%{?dist}
Summary:        Made by a chicken
License:        MIT
URL:            https://example.org/egg
BuildRequires:  gcc, chicken-devel

%description
A program.

%build
echo '#include <stdio.h>' >egg.c
echo 'int chicken_legs(void);' >>egg.c
echo 'int main(void) { printf("an egg of %d legs\\n", chicken_legs()); }' >>egg.c
gcc %{optflags} -o egg egg.c -lchicken

%install
install -D -m 755 egg %{buildroot}%{_bindir}/egg

%files
%{_bindir}/egg
"""
    + _CHANGELOG
)

OMELETTE = (
    """\
Name:           omelette
Version:        1.0
Release:        1%{?dist}
Summary:        Made with eggs
License:        MIT
URL:            https://example.org/omelette
BuildArch:      noarch
BuildRequires:  egg

%description
Text.

%build
egg >omelette.txt
rpm -qa --qf '%%{NAME} %%{VERSION}-%%{RELEASE}\\n' 'chicken*' >>omelette.txt

%install
install -D -m 644 omelette.txt %{buildroot}%{_datadir}/omelette/omelette.txt

%files
%{_datadir}/omelette
"""
    + _CHANGELOG
)

SPECS = {"chicken": CHICKEN, "egg": EGG, "omelette": OMELETTE}


def make(root: Path, *archs: str) -> Site:
    site = Site.make(root)
    for name in ("tally", "tallyprint", "tallynotes"):
        shutil.rmtree(root / "specs" / name)
    (root / "specs" / "groups.toml").unlink()
    for name, text in SPECS.items():
        (root / "specs" / name).mkdir()
        site.spec(name).write_text(text)
    toml = root / "farm.toml"
    wanted = ", ".join(f'"{arch}"' for arch in archs)
    toml.write_text(toml.read_text().replace('"x86_64", "aarch64"', wanted))
    site.commit()
    return site


def rows(site: Site, *words: str, code: int = 0) -> list[tuple[str, str]]:
    """`chicken~`, which is its bootstrap, and the like, with their verdicts."""
    return [
        (row["recipe"] + "~" * row["bootstrap"], row["verdict"])
        for row in site.summary("build", *words, code=code)["rows"]
    ]


FIRST = ["chicken~", "egg", "chicken", "omelette"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = make(tmp_path_factory.mktemp("farm") / "layer", X86)
    assert rows(site, "--all") == [(name, "built") for name in FIRST]
    assert site.summary("publish")["moved"]
    return site


@pytest.fixture
def site(built: Site, tmp_path: Path) -> Site:
    """A copy of it that a test may change."""
    return built.copied(tmp_path)


def content(site: Site, package: str, path: str, tmp_path: Path) -> str:
    """A file of the published package."""
    (rpm,) = (site.root / "repo" / "debian-13" / X86).rglob(f"{package}-1*.rpm")
    run(["sh", "-c", f"rpm2cpio {rpm} | cpio -idm --quiet"], cwd=tmp_path)
    return (tmp_path / path).read_text()


def test_a_second_build_has_nothing_to_do(built: Site) -> None:
    assert rows(built, "--all") == [(name, "kept") for name in FIRST]
    assert "Nothing to do" in built.farm("build", "--all").stdout


def test_no_bootstrap_is_published(built: Site, tmp_path: Path) -> None:
    names = [name.rpartition("/")[2] for name in built.published()]
    assert sorted(names) == [
        "chicken-1.0-1.deb13.src.rpm",
        "chicken-1.0-1.deb13.x86_64.rpm",
        "chicken-devel-1.0-1.deb13.x86_64.rpm",
        "egg-1.0-1.deb13.src.rpm",
        "egg-1.0-1.deb13.x86_64.rpm",
        "omelette-1.0-1.deb13.noarch.rpm",
        "omelette-1.0-1.deb13.src.rpm",
    ]
    origin = content(built, "chicken", "usr/share/chicken/origin", tmp_path)
    assert origin == "an egg of 2 legs\n"


def test_outside_of_the_cycle_only_the_package_itself_is_in_build_roots(
    built: Site, tmp_path: Path
) -> None:
    text = content(built, "omelette", "usr/share/omelette/omelette.txt", tmp_path)
    assert text == "an egg of 2 legs\nchicken 1.0-1.deb13\n"


def test_the_bootstrap_is_shown_as_such(built: Site, tmp_path: Path) -> None:
    text = built.farm("build", "--all", "--dry-run").stdout
    assert "chicken (bootstrap)" in text and "never published" in text
    assert "chicken" in built.farm("status").stdout
    assert "+ egg\n" in built.farm("log", "chicken").stdout  # the newest is the last one
    assert "from nothing" in built.farm("log", "chicken~bootstrap").stdout


def test_another_spec_in_the_cycle_rebuilds_the_rest_once(site: Site) -> None:
    site.edit("egg", "an egg of", "a better egg of")
    site.commit()
    changed = rows(site, "--all")
    assert changed[:3] == [("chicken~", "kept"), ("egg", "built"), ("chicken", "built")]
    assert {verdict for _, verdict in rows(site, "--all")} == {"kept"}
    assert site.summary("publish")["moved"]
    assert not any("bootstrap" in name for name in site.published())


def test_a_comment_in_the_bootstrapped_spec_goes_no_further_than_its_own_bytes(
    site: Site,
) -> None:
    site.edit("chicken", "%description\n", "# A word to the reader.\n%description\n")
    site.commit()
    verdicts = dict(rows(site, "--all"))
    assert verdicts == {"chicken~": "built", "egg": "kept", "chicken": "built", "omelette": "kept"}
    assert not site.summary("publish")["moved"]


def test_a_lost_ledger_costs_one_bootstrap_and_nothing_else(site: Site) -> None:
    for name in ("ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"):
        (site.root / ".farm" / name).unlink(missing_ok=True)
    site.farm("ledger", "rebuild")
    verdicts = dict(rows(site, "--all"))
    assert verdicts == {"chicken~": "built", "egg": "kept", "chicken": "kept", "omelette": "kept"}
    assert not site.summary("publish")["moved"]


def test_a_failed_bootstrap_skips_what_it_was_for(site: Site) -> None:
    site.edit("chicken", 'echo "hatched from nothing" >origin', "echo 'no way to begin' >&2; false")
    site.commit()
    verdicts = rows(site, "--all", code=1)
    assert verdicts[0] == ("chicken~", "failed")
    assert {verdict for _, verdict in verdicts[1:]} == {"skipped"}
    text = site.farm("build", "egg", code=1)
    assert "chicken (bootstrap) on x86_64 (%build)" in text.stderr
    assert "no way to begin" in site.farm("log", "chicken").stdout
    assert "bootstrap failed" in site.farm("status").stdout
    shell = site.farm("shell", "chicken", "--", "sh", "-c", "rpm --eval %{dist}; id -un")
    assert "~bootstrap" in shell.stdout and "mockbuild" in shell.stdout


def test_what_was_bootstrapped_for_a_site_is_built_in_full(tmp_path: Path) -> None:
    site = make(tmp_path / "layer", X86)
    assert rows(site, "egg") == [("chicken~", "built"), ("egg", "built"), ("chicken", "built")]


def test_what_was_stopped_behind_the_bootstrap_goes_on_there(tmp_path: Path) -> None:
    site = make(tmp_path / "layer", X86)
    site.edit("egg", "%build\n", "%build\nsleep 4\n")
    site.commit()
    child = site.begin("build", "--all")
    log = site.root.parent / "begun.log"
    deadline = time.monotonic() + 120
    while "egg@" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    while child.poll() is None:
        time.sleep(0.05)
    verdicts = dict(rows(site, "--all"))
    assert verdicts == {"chicken~": "kept"} | dict.fromkeys(FIRST[1:], "built")


def test_a_cycle_that_nothing_breaks_is_named_with_its_loop(site: Site) -> None:
    site.edit("chicken", "%bcond_with bootstrap\n", "%global with_bootstrap 0\n")
    site.edit("chicken", "%if %{without bootstrap}\nBuild", "%if 1\nBuild")
    site.commit()
    text = site.farm("build", "omelette", code=1).stderr
    assert "it needs itself to be built: chicken -> egg -> chicken" in text
    assert "egg BuildRequires: chicken-devel" in text
    assert "%bcond_with bootstrap" in text
    assert rows(site, "omelette", code=1)[-1] == ("omelette", "skipped")


def test_a_bootstrap_that_breaks_nothing_says_so(site: Site) -> None:
    site.edit("chicken", "%if %{without bootstrap}\nBuild", "%if 1\nBuild")
    site.commit()
    text = site.farm("build", "chicken", code=1).stderr
    assert "the bootstrap of chicken does not break it" in text


@pytest.mark.soak
def test_both_architectures_are_bootstrapped(tmp_path: Path) -> None:
    site = make(tmp_path / "layer", X86, ARM)
    verdicts = rows(site, "--all")
    assert sorted(verdicts) == sorted((name, "built") for name in FIRST for _ in (X86, ARM))
    assert {verdict for _, verdict in rows(site, "--all")} == {"kept"}
    assert site.summary("publish")["moved"]
    names = list(site.published())
    assert not any("bootstrap" in name for name in names)
    assert any(name.endswith(f"egg-1.0-1.deb13.{ARM}.rpm") for name in names)

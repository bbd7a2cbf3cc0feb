"""What comes before what, where a spec alone does not tell it, through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.real.site import Site

pytestmark = pytest.mark.real

X86 = "x86_64"
TEXT = """\
Name:           {name}
Version:        1
Release:        1%{{?dist}}
Summary:        A package of the tests
License:        MIT
URL:            https://example.org/{name}
BuildArch:      noarch
{head}

%description
Text.

%build
{build}

%install
install -d %{{buildroot}}%{{_bindir}} %{{buildroot}}%{{_datadir}}/{name}
{install}

%files
%{{_datadir}}/{name}
{files}

%changelog
* Mon Jun 01 2026 Farm Tests <tests@example.org> - 1-1
- First
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site.make(tmp_path / "layer")


def add(
    site: Site, name: str, head: str = "", install: str = "", files: str = "", build: str = ""
) -> None:
    (site.root / "specs" / name).mkdir()
    text = TEXT.format(name=name, head=head, build=build, install=install, files=files)
    site.spec(name).write_text(text)


def add_script(site: Site, name: str, text: str) -> None:
    path = f"%{{buildroot}}%{{_bindir}}/{name}"
    install = f"printf '{text}\\n' >{path}; chmod 755 {path}"
    add(site, name, install=install, files=f"%{{_bindir}}/{name}")


def verdicts(site: Site, *names: str) -> list[tuple[str, str]]:
    rows = site.summary("build", *names, "--arch", X86)["rows"]
    return [(row["recipe"], row["verdict"]) for row in rows]


def test_what_only_a_build_shows_to_provide_it_is_built_first(site: Site) -> None:
    site.edit("tally", "%install\n", "%install\ninstall -d %{buildroot}%{_datadir}/pkgconfig\n"
              "printf 'Name: tally\\nDescription: t\\nVersion: 1.0\\nLibs: -ltally\\n'"
              " >%{buildroot}%{_datadir}/pkgconfig/tally.pc\n")  # fmt: skip
    site.edit("tally", "%files devel\n", "%files devel\n%{_datadir}/pkgconfig/tally.pc\n")
    site.edit("tally", "BuildRequires:  gcc", "BuildRequires:  gcc, pkgconf")
    site.edit("tallyprint", "tally-devel", "pkgconfig(tally) >= 1")
    site.commit()
    assert verdicts(site, "tallyprint") == [("tally", "built"), ("tallyprint", "built")]
    assert verdicts(site, "tallyprint") == [("tally", "kept"), ("tallyprint", "kept")]


def test_what_a_build_shows_to_be_needed_as_well_is_built_in_the_same_run(site: Site) -> None:
    """`helper` turns out to require /usr/bin/speaker, which nothing in a spec says."""
    add_script(site, "helper", "#!/usr/bin/speaker")
    add_script(site, "speaker", "#!/bin/sh\\necho speaks")
    add(site, "user", "BuildRequires: helper", build='test "$(helper)" = speaks')
    site.commit()
    assert verdicts(site, "user") == [
        ("helper", "built"), ("speaker", "built"), ("user", "built"),
    ]  # fmt: skip
    assert {verdict for _, verdict in verdicts(site, "user")} == {"kept"}


def test_what_a_spec_finds_out_by_itself_may_come_from_the_layer(site: Site) -> None:
    site.edit("tallyprint", "BuildRequires:  tally-devel\n", "")
    site.edit("tallyprint", "%build\n", "%generate_buildrequires\necho tally-devel\n\n%build\n")
    site.commit()
    assert verdicts(site, "tallyprint") == [("tally", "built"), ("tallyprint", "built")]
    assert verdicts(site, "tallyprint") == [("tally", "kept"), ("tallyprint", "kept")]

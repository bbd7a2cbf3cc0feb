"""What a maintainer reads: `farm check`, `farm why` and refusals on a layer of odd packages."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.layers import group_text, spec_text
from tests.real.bases import MovingBase
from tests.real.site import Site

pytestmark = pytest.mark.real

SPECS = {
    "lib": "BuildArch: noarch\nProvides: counting = 2:1.0~rc1",
    "tool": "BuildArch: noarch\nRequires: lib",
    "choosy": "BuildArch: noarch\nBuildRequires: (gcc and nowhere)",
    "early": "BuildArch: noarch\nRequires: counting >= 2:1.0",
    "arm": "ExclusiveArch: aarch64",
    "chicken": "BuildArch: noarch\nBuildRequires: egg",
    "egg": "BuildArch: noarch\nBuildRequires: chicken",
}
SOUND = ("lib", "tool", "retired", "outdated")


def layer(root: Path, specs: dict[str, str], *members: str) -> tuple[Site, MovingBase]:
    site = Site.make(root / "layer")
    config = site.root / "farm.toml"
    config.write_text(config.read_text().replace(', "aarch64"]', "]"))
    shutil.rmtree(site.root / "specs")
    for name, tags in specs.items():
        site.spec(name).parent.mkdir(parents=True)
        site.spec(name).write_text(
            spec_text(name, tags=tags).replace(
                "%files\n", f"%package -n of-{name}\nSummary: x\n%description -n of-{name}\nx\n"
                f"%files -n of-{name}\n%files\n" if name == "tool" else "%files\n",
            )
        )  # fmt: skip
    (site.root / "specs" / "OWNERS").write_text("*  core\n")
    (site.root / "specs" / "groups.toml").write_text(group_text("cluster", list(members)))
    base = MovingBase.under(site, root / "base")
    site.commit()
    return site, base


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return layer(tmp_path_factory.mktemp("odd"), SPECS, "tool")[0]


def said(site: Site, *words: str, code: int = 0) -> str:
    return site.farm(*words, code=code).stdout


def test_problems_name_what_is_missing_and_a_loop_is_told_once(odd: Site) -> None:
    told = said(odd, "check", code=1)
    assert "(gcc and nowhere): nothing provides nowhere" in told
    assert "the newest there is counting = 2:1.0~rc1 of lib-1.0-1" in told
    assert told.count("it needs itself to be built: chicken -> egg -> chicken") == 1
    assert "for the same reason cannot be built: egg" in told
    assert "request:" not in told
    assert "arm is not for x86_64 (ExclusiveArch: aarch64)" in said(odd, "check", "arm")


def test_a_package_that_two_recipes_make_is_named(odd: Site, tmp_path: Path) -> None:
    root = tmp_path / "layer"
    shutil.copytree(odd.root, root, symlinks=True)
    site = Site(root, odd.port)
    site.edit("tool", "%package -n of-tool", "%package -n lib")
    site.edit("tool", "%description -n of-tool", "%description -n lib")
    site.edit("tool", "%files -n of-tool", "%files -n lib")
    told = said(site, "check", "lib", "tool", code=1)
    assert "lib and tool both make the package lib" in told


def test_why_knows_sub_packages_and_tells_what_is_alike_once(odd: Site) -> None:
    told = said(odd, "why", "of-tool")
    assert "it is a package of tool" in told and "base's" not in told
    told = said(odd, "why", "bash")
    assert told.count("every build root is set up with bash") == 1
    assert "bison requires m4" in said(odd, "why", "bison", "needs", "m4")
    lines = odd.farm("why", "tool", "--json").stdout.splitlines()
    assert lines[-1].startswith('{"summary":{"name":"tool"')


def test_what_was_retired_is_no_error_and_what_the_base_takes_over_is(tmp_path: Path) -> None:
    tags = dict.fromkeys(SOUND, "BuildArch: noarch")
    site, base = layer(tmp_path, tags, "tool")
    site.verdicts("--all")
    assert site.summary("publish")["moved"]
    unharmed = site.spec("tool").read_text()
    site.edit("tool", "%description\n", "%if 1\n%description\n")
    site.edit("lib", "License: MIT", "License: MIT\nRequires: of-tool")
    told = said(site, "check", code=1)
    assert "requires of-tool, which nothing provides" in told
    assert "tool of the layer had it when it was built last, but its spec cannot be read" in told
    site.spec("tool").write_text(unharmed)
    site.edit("lib", "\nRequires: of-tool", "")
    for name in ("retired", "outdated"):
        shutil.rmtree(site.spec(name).parent)
    site.edit("tool", "Release: 1", "Release: 2")
    site.commit()
    site.verdicts("--all")
    told = said(site, "check", "--upgrade-from", "all", code=1)
    assert "`Obsoletes: retired < 1.0-2`" in told and "`Obsoletes: outdated < 1.0-2`" in told
    refused = site.farm("publish", code=7).stderr
    assert "`Obsoletes: retired < 1.0-2`" in refused and "`Obsoletes: outdated < 1.0-2`" in refused
    refusal = site.summary("publish", code=7)
    assert not refusal["moved"]
    assert {p["subject"] for p in refusal["problems"]["upgrade"]} == {"retired", "outdated"}
    assert site.summary("publish", "--force", "upgrade", "nobody has them")["moved"]
    answer: dict[str, Any] = site.summary("check", "--upgrade-from", "all")
    assert answer["ok"]
    assert sum("was accepted: nobody has them" in note for note in answer["notes"]) == 2
    base.change(("<name>bc</name>", "<name>lib</name>"), ('name="bc"', 'name="lib"'),
                ('name="bc(x86-64)"', 'name="lib(x86-64)"'))  # fmt: skip
    answer = site.summary("check", "--base", "present", code=1)
    (broken,) = answer["comparisons"][0]["breaks"]
    assert (broken["check"], broken["package"]) == ("replaces", "lib")
    assert broken["problem"]["changes"] == ["lib-1.07.1-4.x86_64 is new in the base"]
    site.edit("tool", "Release: 2", "Release: 3")
    site.commit()
    site.verdicts("--all")
    assert "[replaces] lib: the base has a package" in site.farm("publish", code=7).stderr

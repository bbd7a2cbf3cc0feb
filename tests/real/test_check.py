"""`farm check`, `farm why` and the gate of `farm publish`, through the command line; and the
three accidents of a well-known layer, which farm does not let happen."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from farm.run import run
from tests.real.bases import MovingBase
from tests.real.site import Site

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Site, MovingBase]:
    """The small layer on x86_64 over a base of its own, built and published once."""
    place = tmp_path_factory.mktemp("check")
    site = Site.make(place / "layer")
    (site.root / "farm.toml").write_text(
        (site.root / "farm.toml").read_text().replace(', "aarch64"]', "]")
    )
    base = MovingBase.under(site, place / "base")
    # tallynotes needs something of the base at run time, the metapackage needs tallynotes
    site.edit("tallynotes", "BuildArch:", "Requires:       bc\nBuildArch:")
    site.commit()
    site.verdicts("--all")
    assert site.summary("publish")["moved"]
    return site, base


@pytest.fixture
def farm(built: tuple[Site, MovingBase], tmp_path: Path) -> Iterator[tuple[Site, MovingBase]]:
    """A copy that a test may change."""
    site, base = built
    root = tmp_path / "layer"
    shutil.copytree(site.root, root, symlinks=True)
    shutil.copytree(base.root, tmp_path / "base", copy_function=shutil.copy)
    chroot = root / "chroots" / "debian-13-x86_64.cfg"
    chroot.write_text(chroot.read_text().replace(base.root.as_uri(), (tmp_path / "base").as_uri()))
    copy = Site(root, site.port)
    copy.commit("Another base")
    yield copy, MovingBase(tmp_path / "base")


def check(site: Site, *words: str, code: int = 0) -> dict[str, Any]:
    return site.summary("check", *words, code=code)


def states(answer: dict[str, Any]) -> dict[tuple[str, str], str]:
    """(check, package name) → state."""
    return {
        (verdict["check"], verdict["package"].split("-1")[0].split("-2.0")[0]): verdict["state"]
        for verdict in answer["verdicts"]
    }


def problems(answer: dict[str, Any], name: str) -> dict[str, Any]:
    """The one problem about a package."""
    found = [v.get("problem") for v in answer["verdicts"] if v["package"].startswith(name)]
    (problem,) = [problem for problem in found if problem]
    return dict(problem)


def a_new_release(site: Site) -> None:
    """Something to publish: another text in another package."""
    site.edit("tally", "A library that counts.", "A library that counts well.")
    site.edit("tally", "Release:        1%", "Release:        2%")
    site.commit()
    site.verdicts("--all")


def test_a_layer_in_good_order_has_no_problem(built: tuple[Site, MovingBase]) -> None:
    site, _ = built
    answer = check(site, "--upgrade-from", "all")
    assert answer["ok"] and set(states(answer).values()) == {"ok"}
    assert "can be built" in site.farm("check").stdout


def test_before_anything_is_built_the_specs_already_tell(tmp_path: Path) -> None:
    site = Site.make(tmp_path / "layer")
    site.edit("tallyprint", "BuildRequires:  tally-devel", "BuildRequires:  tally-dev")
    site.edit("tallynotes", "BuildArch:", "BuildRequires:  pkgconfig(tally)\nBuildArch:")
    site.commit()
    answer = check(site, "--arch", "x86_64", code=1)
    found = states(answer)
    assert found["build", "tallyprint"] == "broken"
    assert found["build", "tallynotes"] == "open"
    assert found["build", "tally"] == found["install", "cluster-master"] == "ok"
    problem = problems(answer, "tallyprint")
    assert problem["facts"] == ["BuildRequires: tally-dev: nothing provides it"]
    assert "'tally-devel' is" in problem["remedy"]


def test_a_vanished_provides_of_the_base_makes_the_metapackage_uninstallable_and_is_not_published(
    farm: tuple[Site, MovingBase],
) -> None:
    """Accident 1: the base dropped one Provides; sites could not install the metapackage."""
    site, base = farm
    base.change(('<rpm:entry name="bc" ', '<rpm:entry name="basic-calculator" '),
                ("<name>bc</name>", "<name>basic-calculator</name>"))  # fmt: skip
    # before the pin moves the answer is there already, with the change that does it
    answer = check(site, "--base", "present", code=1)
    (comparison,) = answer["comparisons"]
    broken = {verdict["package"].split("-1")[0] for verdict in comparison["breaks"]}
    assert broken == {"tallynotes", "cluster-master"}
    problem = problems(answer, "tallynotes")
    assert any("requires bc, which nothing provides" in fact for fact in problem["facts"])
    assert any("bc-1" in c and "gone from the base" in c for c in problem["changes"])
    assert check(site)["ok"], "the pinned base still has it"
    before = site.published()
    a_new_release(site)
    refused = site.farm("publish", code=7).stderr
    assert "[install] " in refused and "requires bc, which nothing provides" in refused
    assert "gone from the base" in refused
    assert site.published() == before


def test_a_metapackage_that_cannot_be_installed_is_not_published(
    farm: tuple[Site, MovingBase],
) -> None:
    """Accident 2: a metapackage stayed uninstallable for ten months."""
    site, _ = farm
    site.edit("tallynotes", "BuildArch:", "Conflicts:      tallyprint >= 2\nBuildArch:")
    site.edit("tallynotes", "Release:        1%", "Release:        2%")
    site.commit()
    answer = check(site, code=1)
    assert states(answer)["install", "cluster-master"] == "broken"
    before = site.published()
    site.verdicts("--all")
    refused = site.farm("publish", code=7).stderr
    assert "cluster-master" in refused and "conflicts with tallyprint >= 2" in refused
    assert site.published() == before


def test_releases_that_start_again_are_not_published(farm: tuple[Site, MovingBase]) -> None:
    """Accident 3: release counters were reset, and every `dnf update` kept the old packages."""
    site, _ = farm
    site.edit("tally", "Release:        1%", "Release:        7%")
    site.commit()
    site.verdicts("--all")
    assert site.summary("publish")["moved"]
    site.edit("tally", "Release:        7%", "Release:        2%")
    site.commit()
    answer = check(site, "--upgrade-from", "all", code=1)
    facts = " ".join(problems(answer, "tally")["facts"])
    assert "1.0-7.deb13" in facts and "1.0-2.deb13" in facts
    before = site.published()
    site.verdicts("--all")
    refused = site.farm("publish", code=7).stderr
    assert "[upgrade] tally" in refused and "1.0-7.deb13" in refused
    assert site.published() == before


def test_force_wants_a_check_and_a_reason_and_both_are_published(
    farm: tuple[Site, MovingBase],
) -> None:
    site, _ = farm
    a_new_release(site)
    assert "no check is called 'upgrades'" in site.farm(
        "publish", "--force", "upgrades", "x", code=2
    ).stderr  # fmt: skip
    assert "wants a reason" in site.farm("publish", "--force", "upgrade", " ", code=2).stderr
    site.edit("tally", "Release:        2%", "Release:        0%")
    site.commit()
    site.verdicts("--all")
    site.farm("publish", "--force", "install", "the wrong one", code=7)
    answer = site.summary("publish", "--force", "upgrade", "no site has it yet")
    (waiver,) = answer["waivers"]
    assert (waiver["check"], waiver["reason"]) == ("upgrade", "no site has it yet")
    recorded = (site.root / "repo" / "debian-13" / "snapshot.json").read_text()
    assert "no site has it yet" in recorded and "1.0-1.deb13" in recorded


def test_another_base_is_given_by_directory_and_by_address(
    farm: tuple[Site, MovingBase], tmp_path: Path
) -> None:
    site, base = farm
    other = tmp_path / "other"
    shutil.copytree(base.root, other)
    MovingBase(other).change(
        ('name="gcc"', 'name="gnu-compiler"'), ("<name>gcc</name>", "<name>gnu-compiler</name>")
    )
    answer = check(site, "--base", str(other), code=1)
    assert {v["package"] for v in answer["comparisons"][0]["breaks"]} == {"tally", "tallyprint"}
    assert answer["comparisons"][0]["asked"] == ["tally", "tallyprint"]
    # together with the pinned one, what it lacks is there again
    both = check(site, "--base", str(other), "--base", "pinned")
    assert both["ok"]
    refused = site.farm("check", "--base", str(tmp_path), code=2).stderr
    assert "is no repository" in refused
    unreachable = site.farm("check", "--base", "http://127.0.0.1:9/none", code=5).stderr
    assert "127.0.0.1:9" in unreachable


def test_why_tells_the_chain_of_reasons(built: tuple[Site, MovingBase]) -> None:
    site, _ = built
    told = site.farm("why", "tallyprint", "needs", "tally-devel").stdout
    assert "tallyprint BuildRequires tally-devel, that is tally-devel-1.0-1.deb13.x86_64" in told
    told = site.farm("why", "tally").stdout
    assert "to build tallyprint" in told and "to install tallyprint" in told
    told = site.farm("why", "bc").stdout
    assert "tallynotes requires bc" in told and "the base's" in told
    told = site.farm("why", "tallynotes", "needs", "gcc").stdout
    assert "does not need gcc" in told
    assert "has 'tallyy'" in site.farm("why", "tallyy", code=2).stderr


def test_a_check_can_be_asked_while_a_build_is_under_way(farm: tuple[Site, MovingBase]) -> None:
    site, _ = farm
    lock = site.root / ".farm" / "coordinator.lock"
    done = run(["flock", str(lock), *site.command("check", "--json")], check=False, timeout=120)
    assert done.code == 0, done.stderr


def test_what_a_spec_finds_out_in_its_build_root_is_a_lower_bound_until_it_was_asked(
    farm: tuple[Site, MovingBase],
) -> None:
    site, base = farm
    site.edit("tallynotes", "%install\n", "%generate_buildrequires\necho bison\n\n%install\n")
    site.commit()
    (note,) = [note for note in check(site)["notes"] if "lower bound" in note]
    assert note.startswith("tallynotes")
    site.verdicts("--all")
    assert not [note for note in check(site)["notes"] if "lower bound" in note]
    # and once it is known it is checked
    base.change(("<name>bison</name>", "<name>yak</name>"), ('name="bison"', 'name="yak"'))
    answer = check(site, "--base", "present", code=1)
    assert states(answer)["build", "tallynotes"] == "broken"


def test_what_the_base_moved_away_from_under_is_built_again(
    farm: tuple[Site, MovingBase],
) -> None:
    site, base = farm
    site.edit("tallyprint", "BuildRequires:  gcc", "BuildRequires:  gcc gcc-gfortran")
    site.edit("tallyprint", "-ltally", "-ltally -Wl,--no-as-needed -lgfortran")
    site.commit()
    site.verdicts("--all")
    base.change(("libgfortran.so.5()(64bit)", "libgfortran.so.9()(64bit)"))
    base.other_bytes("libgfortran5")
    answer = check(site, "--base", "present")
    (comparison,) = answer["comparisons"]
    assert {name for v in comparison["rebuilds"] for name in v["missing"]} == {"tallyprint"}
    site.edit("tallynotes", "count from one", "count from nought")
    site.commit()
    site.verdicts("tallynotes")
    refused = site.farm("publish", code=7).stderr
    assert "-> `farm base update`, then `farm build tallyprint`, and publish again." in refused
    foreseen = site.farm("base", "update", "--dry-run").stdout
    assert "breaks: nothing" in foreseen and "rebuilds: tallyprint" in foreseen
    assert set(states(check(site)).values()) == {"ok"}, "the pin has not moved"
    assert site.farm("base", "update").stdout == foreseen
    rows = {row["recipe"]: row for row in site.summary("build", "--all", "--dry-run")["rows"]}
    assert rows["tallyprint"]["verdict"] == "build"
    assert (
        "requires libgfortran.so.5()(64bit), which nothing provides" in rows["tallyprint"]["reason"]
    )
    assert {name for name, row in rows.items() if row["verdict"] == "build"} == {"tallyprint"}

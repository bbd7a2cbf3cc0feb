"""groups.toml, OWNERS, and the recipes that are generated from the list."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from farm.errors import LayerError
from farm.layer import owners
from farm.layer.generated import (
    changelog_heading,
    metapackage_recipe,
    metapackage_spec,
    release_recipe,
)
from farm.layer.groups import ReleasePackage, parse
from farm.layer.recipe import check
from farm.layer.static import look
from farm.model import Group, Recipe
from tests.layers import NOW, group_text

TODAY = NOW.date()
GROUP = Group(
    id="cluster-master",
    name="Head node",
    description="100% of what a head node runs.\nAnd 50% more.",
    version="1.2",
    packages=("genders", "munge"),
    optional=("hpcc",),
    changelog=(
        ("2026-11-20", "A <a@example.org>", "Add munge.\nAnd 50% more."),
        ("2026-01-05", "B <b@example.org>", "First list."),
    ),
)
PACKAGE = ReleasePackage(
    "farm-release", "1", "Repository and key", (("2026-01-05", "A <a@b>", "First."),)
)
REPO = "[farm]\ngpgkey=http://farm/KEY\n[farm-source]\ngpgkey = file:///elsewhere/KEY\n"


def test_a_list_becomes_groups_with_sorted_members() -> None:
    [group] = parse(group_text("cluster-master", ["munge", "genders"]), "groups.toml", TODAY).groups
    assert group.packages == ("genders", "munge")
    assert group.metapackage
    assert group.changelog == (("2026-01-05", "A <a@example.org>", "First."),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[group", "not valid TOML"),
        ("group = 1\n", "written as"),
        ("[[groups]]\n", "unknown key groups"),
        (group_text("a", ["b"], extra="pakages = []"), "unknown key pakages"),
        (group_text("a", ["b"], version="1-2"), "'1-2' is not a version"),
        (group_text("a b", ["b"]), "'a b' is not a package name"),
        (group_text("a", ["b", "b"]), "b is listed twice"),
        (group_text("a", ["b; reboot"]), "not a package name"),
        (group_text("a", []), "has no packages"),
        (group_text("a", ["b"]).replace("For a test", "%post"), "begins with %"),
        (group_text("a", ["b"]) * 2, "is there twice"),
        (group_text("a", ["b"]).replace("2026-01-05", "2026-11-21"), "from the future"),
        (group_text("a", ["b"]).replace("2026-01-05", '"soon"'), "not as it should be"),
        (group_text("a", ["b"]).partition("changelog")[0] + "changelog = []", "no changelog"),
    ],
)
def test_a_wrong_list_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(LayerError, match=message) as error:
        parse(text, "specs/groups.toml", TODAY)
    assert error.value.what.startswith("specs/groups.toml")


def test_a_metapackage_requires_its_members_and_suggests_the_optional_ones() -> None:
    text = metapackage_spec(GROUP)
    assert "Requires:       genders\nRequires:       munge\nSuggests:       hpcc\n" in text
    assert "BuildArch:      noarch" in text
    assert "100%% of what a head node runs.\nAnd 50%% more." in text
    assert "* Fri Nov 20 2026 A <a@example.org>\n- Add munge.\n- And 50%% more.\n" in text


def test_a_generated_spec_passes_the_look_that_written_ones_get() -> None:
    for text, name in ((metapackage_spec(GROUP), "cluster-master"),):
        seen = look(text)
        assert check(seen, name, f"{name}.spec", NOW) == []
        assert seen.packages == (name,)
        assert seen.changelog_date == "2026-11-20"


def test_the_same_list_gives_the_same_recipe_and_leaves_its_files_alone(tmp_path: Path) -> None:
    first = metapackage_recipe(GROUP, tmp_path / "a")
    written = (tmp_path / "a/cluster-master.spec").stat().st_mtime_ns
    (tmp_path / "a/stray").write_text("x")
    assert metapackage_recipe(GROUP, tmp_path / "a") == first
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["cluster-master.spec"]
    assert (tmp_path / "a/cluster-master.spec").stat().st_mtime_ns == written
    assert metapackage_recipe(GROUP, tmp_path / "b").digest == first.digest


def release(directory: Path, repo: str = REPO, key: str = "KEY\n") -> Recipe:
    return release_recipe(PACKAGE, release="el9", repo_text=repo, key_text=key, directory=directory)


def test_the_release_package_brings_the_key_that_its_repo_file_names(tmp_path: Path) -> None:
    recipe = release(tmp_path)
    assert (tmp_path / "RPM-GPG-KEY-farm").read_text() == "KEY\n"
    assert (tmp_path / "farm-el9.repo").read_text() == (
        "[farm]\ngpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-farm\n"
        "[farm-source]\ngpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-farm\n"
    )
    spec = (tmp_path / recipe.spec).read_text()
    assert "%{buildroot}/etc/pki/rpm-gpg/RPM-GPG-KEY-farm" in spec
    assert "%config(noreplace) /etc/yum.repos.d/farm-el9.repo" in spec
    assert release(tmp_path, key="OTHER\n").digest != recipe.digest


def test_a_repo_text_without_a_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LayerError, match="names no gpgkey"):
        release(tmp_path, repo="[farm]\n")


def test_changelog_headings_have_the_right_day_of_the_week() -> None:
    day = datetime.date(2024, 1, 1)
    for _ in range(800):
        expected = day.strftime("* %a %b %d %Y A")
        assert changelog_heading(day.isoformat(), "A") == expected
        day += datetime.timedelta(days=1)


def test_the_last_matching_line_says_who_owns_a_package() -> None:
    rules = owners.parse("# who\n* all # everything\npython3-*  python\npython3-rpm all\n")
    assert owners.owner("munge", rules) == "all"
    assert owners.owner("python3-mpi4py", rules) == "python"
    assert owners.owner("python3-rpm", rules) == "all"
    assert owners.owner("munge", ()) == ""


@pytest.mark.parametrize("line", ["munge", "munge a b", "munge @all"])
def test_a_line_that_is_not_pattern_and_group_is_refused(line: str) -> None:
    with pytest.raises(LayerError, match="specs/OWNERS:2"):
        owners.parse(f"\n{line}\n", "specs/OWNERS")

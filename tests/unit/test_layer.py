"""Reading the layer: what is a recipe, what is scratch, what is refused and how it is said."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import git
import msgspec
import pytest

from farm.config import Paths
from farm.errors import LayerError, MachineError, UsageError
from farm.layer.repository import ReleaseTexts, read_layer
from farm.model import Layer, Problem
from tests.layers import NOW, LayerOf, group_text, owned_by, spec_text


@pytest.fixture
def layer(tmp_path: Path) -> LayerOf:
    made = LayerOf(tmp_path / "farm")
    made.write({**owned_by("people"), "munge/munge.spec": spec_text("munge")})
    return made


def read(layer: LayerOf, commit: str | None = None, release: ReleaseTexts | None = None) -> Layer:
    return read_layer(layer.config, commit=commit, release=release, now=NOW)


def only_problem(layer: Layer) -> Problem:
    assert len(layer.problems) == 1, layer.problems
    return layer.problems[0]


def names(layer: Layer) -> list[str]:
    return [recipe.name for recipe in layer.recipes]


def test_a_committed_recipe_carries_its_files_owner_and_the_commit_that_touched_it_last(
    layer: LayerOf,
) -> None:
    layer.write({"munge/fix.patch": "a fix\n", "genders/genders.spec": spec_text("genders")})
    first = layer.commit()
    layer.write({"genders/genders.spec": spec_text("genders", version="2.0")})
    second = layer.commit()

    answer = read(layer)

    munge, genders = answer.recipe("munge"), answer.recipe("genders")
    assert munge is not None
    assert genders is not None
    assert answer.commit == second
    assert (munge.commit, genders.commit) == (first, second)
    assert [file.path for file in munge.files] == ["fix.patch", "munge.spec"]
    assert (munge.scratch, munge.group, munge.spec) == (False, "people", "munge.spec")
    assert answer.owners == (("genders", "people"), ("munge", "people"))
    assert answer.problems == ()


def test_an_uncommitted_change_makes_only_that_recipe_a_scratch_build(layer: LayerOf) -> None:
    layer.write({"genders/genders.spec": spec_text("genders"), "genders/old": "x"})
    layer.commit()
    layer.write({"munge/munge.spec": spec_text("munge", version="2.0")})
    assert [recipe.scratch for recipe in read(layer).recipes] == [False, True]
    layer.commit()
    layer.write({"munge/new.patch": "untracked\n"})
    assert [recipe.scratch for recipe in read(layer).recipes] == [False, True]
    layer.commit()
    (layer.specs / "genders/old").unlink()
    assert [recipe.scratch for recipe in read(layer).recipes] == [True, False]


def test_a_file_that_is_staged_for_removal_makes_its_recipe_scratch(layer: LayerOf) -> None:
    layer.write({"munge/old": "x"})
    layer.commit()
    assert layer.repository is not None
    layer.repository.git.rm("-q", str(layer.specs / "munge/old"))
    [munge] = read(layer).recipes
    assert munge.scratch
    assert [file.path for file in munge.files] == ["munge.spec"]


def test_an_ignored_file_is_no_part_of_a_recipe(layer: LayerOf) -> None:
    layer.write({".gitignore": "*.tar.gz\n"})
    layer.commit()
    before = read(layer).recipes[0]
    layer.write({"munge/munge-1.0.tar.gz": b"downloaded"})
    assert read(layer).recipes[0] == before


def test_a_change_of_a_file_changes_the_digest_even_with_its_old_time(layer: LayerOf) -> None:
    spec = layer.specs / "munge/munge.spec"
    os.utime(spec, (1_600_000_000, 1_600_000_000))
    before = read(layer).recipes[0].digest
    layer.write({"munge/munge.spec": spec_text("munge", version="1.1")})
    os.utime(spec, (1_600_000_000, 1_600_000_000))
    assert read(layer).recipes[0].digest != before


def test_an_executable_file_is_told_from_one_that_is_not(layer: LayerOf) -> None:
    layer.write({"munge/run": "#!/bin/sh\n"}, executable=True)
    assert [(f.path, f.executable) for f in read(layer).recipes[0].files] == [
        ("munge.spec", False),
        ("run", True),
    ]


def test_outside_of_git_everything_is_scratch_and_it_is_said(tmp_path: Path) -> None:
    layer = LayerOf(tmp_path / "plain", in_git=False)
    layer.write({**owned_by("people"), "munge/munge.spec": spec_text("munge")})
    answer = read(layer)
    assert [recipe.scratch for recipe in answer.recipes] == [True]
    assert answer.commit == ""
    assert "in no git repository" in answer.notes[0]


def test_a_repository_without_a_commit_is_all_scratch(layer: LayerOf) -> None:
    answer = read(layer)
    assert answer.recipes[0].scratch
    assert "no commit yet" in answer.notes[0]


def test_a_commit_is_read_without_touching_the_working_tree(layer: LayerOf) -> None:
    layer.write({"munge/run": "#!/bin/sh\n"}, executable=True)
    layer.write({"gone/gone.spec": spec_text("gone")})
    first = layer.commit()
    layer.write({"munge/munge.spec": spec_text("munge", version="2.0")})
    (layer.specs / "gone/gone.spec").unlink()
    layer.commit()
    layer.write({"munge/draft.patch": "untracked\n"})

    old, new, now = read(layer, first), read(layer, "HEAD"), read(layer)

    assert names(old) == ["gone", "munge"]
    assert names(new) == ["munge"]
    assert [recipe.scratch for recipe in (*old.recipes, *new.recipes)] == [False] * 3
    old_munge = old.recipe("munge")
    assert old_munge is not None
    assert [(f.path, f.executable) for f in old_munge.files] == [
        ("munge.spec", False),
        ("run", True),
    ]
    text = (Path(old_munge.directory) / "munge.spec").read_text()
    assert "Version: 1.0" in text
    assert now.recipes[0].scratch


def test_a_clean_working_tree_and_its_commit_have_the_same_digests(layer: LayerOf) -> None:
    layer.write({"munge/munge-1.0/src/main.c": "int main;\n", "munge/sources": ""})
    layer.commit()
    here, there = read(layer).recipes[0], read(layer, "HEAD").recipes[0]
    assert here.digest == there.digest
    assert here.commit == there.commit


def test_an_unknown_commit_is_a_mistake_of_the_caller(layer: LayerOf) -> None:
    layer.commit()
    with pytest.raises(UsageError, match="no commit 'nowhere'"):
        read(layer, "nowhere")


def test_a_layer_that_is_not_there_is_refused(tmp_path: Path) -> None:
    layer = LayerOf(tmp_path / "farm")
    layer.specs.rmdir()
    with pytest.raises(LayerError, match="does not exist"):
        read(layer)


@pytest.mark.parametrize(
    ("files", "kind", "fact"),
    [
        (
            {"pdsh/pdsh.spec": spec_text("pdhs")},
            "name-mismatch",
            "specs/pdsh/pdsh.spec:1: Name is pdhs, but the directory is pdsh",
        ),
        (
            {"pdsh/pdsh.spec": spec_text("pdsh", release="4")},
            "no-dist",
            "specs/pdsh/pdsh.spec:3: Release is 4, without %{?dist}",
        ),
        (
            {"pdsh/pdsh.spec": spec_text("pdsh", date="Mon Nov 23 2026")},
            "future-changelog",
            "specs/pdsh/pdsh.spec:13: the changelog entry of 2026-11-23 is from the future"
            " (today is 2026-11-20)",
        ),
        (
            {"pdsh/pdsh.spec": spec_text("pdsh", date="")},
            "no-changelog",
            "specs/pdsh/pdsh.spec: there is no changelog entry",
        ),
        (
            {"pdsh/pdsh.spec": spec_text("pdsh"), "pdsh/other.spec": spec_text("other")},
            "two-specs",
            "specs/pdsh: there are 2 specs: other.spec, pdsh.spec",
        ),
        ({"pdsh/a.patch": "x"}, "no-spec", "specs/pdsh: there is no spec"),
        (
            {"pdsh.spec": spec_text("pdsh")},
            "bad-spec",
            "specs/pdsh.spec: the spec is in no directory of its own",
        ),
        ({"pdsh/pdsh.spec": "\x00\xff nonsense"}, "bad-spec", "specs/pdsh/pdsh.spec: there is no"),
        (
            {"pdsh/pdsh.spec": spec_text("pdsh"), "pdsh/sources": "\n" + "0" * 32 + "  p.tgz\n"},
            "bad-sources",
            "specs/pdsh/sources:2: the old format with MD5 is not accepted",
        ),
    ],
)
def test_a_broken_recipe_is_named_with_file_and_line_and_stops_no_other(
    layer: LayerOf, files: dict[str, str], kind: str, fact: str
) -> None:
    layer.write(files)
    answer = read(layer)
    assert names(answer) == ["munge"]
    problems = [problem for problem in answer.problems if problem.kind == kind]
    assert problems[0].subject == "pdsh"
    assert problems[0].facts[0].startswith(fact)


def test_recipes_may_lie_in_directories_by_subject(layer: LayerOf) -> None:
    layer.write({"admin/README.md": "x", "admin/pdsh/pdsh.spec": spec_text("pdsh")})
    assert names(read(layer)) == ["munge", "pdsh"]


def test_one_name_in_two_places_is_refused_in_both(layer: LayerOf) -> None:
    layer.write({"admin/munge/munge.spec": spec_text("munge")})
    answer = read(layer)
    assert names(answer) == []
    assert {p.facts[0] for p in answer.problems} == {
        "specs/admin/munge: the name is also that of specs/munge",
        "specs/munge: the name is also that of specs/admin/munge",
    }


def test_a_spec_inside_a_source_tree_is_not_a_second_recipe(layer: LayerOf) -> None:
    layer.write({"munge/munge-1.0/munge.spec": "Name: upstream's own\n"})
    answer = read(layer)
    assert names(answer) == ["munge"]
    assert answer.problems == ()


def test_a_spec_that_git_ignores_is_said_to_be_ignored(layer: LayerOf) -> None:
    layer.write({"pdsh/pdsh.spec": spec_text("pdsh")})
    (layer.config.root / ".gitignore").write_text("pdsh.spec\n")
    layer.commit()
    problem = only_problem(read(layer))
    assert problem.facts == ("specs/pdsh/pdsh.spec: git ignores the spec",)
    layer.write({"pdsh/fix.patch": "x"})
    assert only_problem(read(layer)) == problem


def test_a_symbolic_link_in_a_recipe_is_refused(layer: LayerOf) -> None:
    (layer.specs / "munge" / "link").symlink_to("/etc/passwd")
    assert only_problem(read(layer)).facts == ("specs/munge/link: is a symbolic link",)


def test_a_file_whose_name_is_not_utf8_is_refused(layer: LayerOf) -> None:
    (layer.specs / "munge" / os.fsdecode(b"caf\xe9")).write_text("x")
    assert only_problem(read(layer)).facts == (
        "specs/munge: the file name 'caf\\udce9' is not UTF-8",
    )


def test_a_layer_may_be_a_whole_repository(tmp_path: Path) -> None:
    layer = LayerOf(tmp_path / "farm", in_git=False)
    repository = git.Repo.init(layer.specs)
    layer.write({**owned_by("people"), "munge/munge.spec": spec_text("munge"), ".ci/run": "x"})
    repository.git.add("--all")
    commit = repository.index.commit("x").hexsha
    for answer in (read(layer), read(layer, "HEAD")):
        assert [(r.name, r.commit, r.scratch) for r in answer.recipes] == [("munge", commit, False)]
        assert answer.problems == ()


def test_a_state_directory_that_cannot_be_written_is_said_plainly(layer: LayerOf) -> None:
    layer.write({"groups.toml": group_text("cluster-master", ["munge"])})
    layer.config.path("state").write_text("a file")
    with pytest.raises(MachineError, match="the layer cannot be read"):
        read(layer)


def test_a_changelog_entry_of_today_is_accepted_wherever_today_has_begun(layer: LayerOf) -> None:
    layer.write({"munge/munge.spec": spec_text("munge", date="Sat Nov 21 2026")})
    assert names(read(layer)) == ["munge"]
    early = datetime.datetime(2026, 11, 20, 9, tzinfo=datetime.UTC)
    assert read_layer(layer.config, now=early).recipes == ()


def test_a_package_without_an_owner_is_a_problem_and_still_a_recipe(layer: LayerOf) -> None:
    layer.write({"OWNERS": "pdsh  people\n"})
    answer = read(layer)
    assert only_problem(answer).facts == ("specs/OWNERS: no line matches munge",)
    assert names(answer) == ["munge"]
    (layer.specs / "OWNERS").unlink()
    assert only_problem(read(layer)).subject == "OWNERS"


def test_groups_become_metapackages_that_are_as_old_as_the_list(layer: LayerOf) -> None:
    layer.write({"groups.toml": group_text("cluster-master", ["munge"])})
    listed = layer.commit()
    layer.write({"munge/munge.spec": spec_text("munge", version="3")})
    layer.commit()
    answer = read(layer)
    meta = answer.recipe("cluster-master")
    assert meta is not None
    assert (meta.commit, meta.scratch, meta.origin) == (listed, False, "generated")
    assert [group.packages for group in answer.groups] == [("munge",)]
    layer.write({"groups.toml": group_text("cluster-master", ["munge"], version="1.1")})
    again = read(layer).recipe("cluster-master")
    assert again is not None
    assert again.scratch
    assert again.digest != meta.digest


def test_a_group_that_names_an_unknown_package_is_refused_with_the_nearest_name(
    layer: LayerOf,
) -> None:
    layer.write(
        {
            "groups.toml": group_text("cluster-master", ["mungee"])
            + group_text("cluster-compute", ["munge"])
        }
    )
    answer = read(layer)
    assert [group.id for group in answer.groups] == ["cluster-compute"]
    assert only_problem(answer).facts == (
        "specs/groups.toml: mungee is not a package of the layer. Perhaps you meant 'munge'.",
    )


def test_a_member_of_a_broken_recipe_is_not_called_unknown(layer: LayerOf) -> None:
    layer.write(
        {
            "groups.toml": group_text("cluster-master", ["munge", "pdsh"]),
            "pdsh/pdsh.spec": spec_text("pdsh", release="1"),
        }
    )
    assert [problem.kind for problem in read(layer).problems] == ["no-dist"]


def test_a_member_is_left_to_the_planner_where_macros_may_make_packages(layer: LayerOf) -> None:
    layer.write(
        {
            "groups.toml": group_text("cluster-master", ["munge-extra"]),
            "munge/munge.spec": spec_text("munge", tags="%make_subpackages extra"),
        }
    )
    assert read(layer).problems == ()


def test_the_release_package_is_there_once_its_texts_are(layer: LayerOf) -> None:
    layer.write(
        {
            "groups.toml": '[release-package]\nname = "farm-release"\nversion = "1"\n'
            'changelog = [{ date = 2026-01-05, author = "A <a@b>", text = "First." }]\n'
        }
    )
    assert names(read(layer)) == ["munge"]
    texts = ReleaseTexts("el9", "[farm]\ngpgkey=http://farm/KEY\n", "KEY\n")
    recipe = read(layer, release=texts).recipe("farm-release")
    assert recipe is not None
    assert [file.path for file in recipe.files] == [
        "RPM-GPG-KEY-farm",
        "farm-el9.repo",
        "farm-release.spec",
    ]
    assert recipe.group == "people"


def test_a_second_reading_gives_the_same_layer(layer: LayerOf) -> None:
    layer.write({"groups.toml": group_text("cluster-master", ["munge"])})
    layer.commit()
    assert read(layer) == read(layer)


def test_a_damaged_memory_is_not_believed(layer: LayerOf) -> None:
    layer.commit()
    before = read(layer)
    memory = layer.config.path("state") / "layer.json"
    memory.write_text("{ not json")
    assert read(layer) == before


def test_another_directory_of_the_repository_has_its_own_last_commits(layer: LayerOf) -> None:
    first = layer.commit()
    (layer.config.root / "other/munge").mkdir(parents=True)
    (layer.config.root / "other/munge/munge.spec").write_text(spec_text("munge", version="9"))
    second = layer.commit()
    assert read(layer).recipes[0].commit == first
    other = msgspec.structs.replace(layer.config, paths=Paths(specs="other", state="../state"))
    assert read_layer(other, now=NOW).recipes[0].commit == second
    assert read(layer).recipes[0].commit == first


def test_last_commits_are_right_after_merges_and_rewritten_history(layer: LayerOf) -> None:
    repository = layer.repository
    assert repository is not None
    layer.write({"genders/genders.spec": spec_text("genders")})
    base = layer.commit()
    read(layer)
    repository.git.checkout("-q", "-b", "side")
    layer.write({"genders/genders.spec": spec_text("genders", version="2")})
    side = layer.commit("side")
    repository.git.checkout("-q", "main")
    layer.write({"munge/munge.spec": spec_text("munge", version="2")})
    main = layer.commit("main")
    read(layer)
    person = {
        f"GIT_{who}_{what}": "x@y" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    repository.git.merge("-q", "--no-edit", "side", env=person)
    merged = {recipe.name: recipe.commit for recipe in read(layer).recipes}
    assert merged == {"genders": side, "munge": main}
    repository.git.reset("-q", "--hard", base)
    assert {recipe.commit for recipe in read(layer).recipes} == {base}

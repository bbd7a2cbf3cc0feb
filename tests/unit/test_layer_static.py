"""The static look: what a spec's text tells, and that nothing in it is run or believed blindly."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.layer.macros import definitions, expand
from farm.layer.static import look
from tests.layers import spec_text


def with_tags(tags: str, **more: str) -> str:
    return spec_text("munge", tags=tags, **more)


@pytest.mark.parametrize(
    ("release", "dist"),
    [
        ("1%{?dist}", True),
        ("0.1.%{rc}%{?dist}", True),
        ("%{base}", True),
        ("%autorelease", True),
        ("1", False),
        ("%{plain}", False),
        ("1%{?elsewhere}", None),
        ("%(echo 1)", None),
    ],
)
def test_dist_in_release_is_found_through_the_specs_own_macros(
    release: str, dist: bool | None
) -> None:
    tags = "%global base 1%{?dist}\n%define plain 2\n%global rc rc1"
    assert look(with_tags(tags, release=release)).dist is dist


def test_addresses_are_expanded_from_tags_and_macros() -> None:
    seen = look(
        with_tags(
            "%global tag v%{version}\nURL: https://example.org/munge\n"
            "Source0: %{url}/%{tag}/%{name}-%{version}.tar.xz\n"
            "Source1: https://example.org/archive/%{tag}.tar.gz#/%{name}-tag.tar.gz\n"
            "Patch0: fix.patch\n"
        )
    )
    assert [(source.address, source.file) for source in seen.sources] == [
        ("https://example.org/munge/v1.0/munge-1.0.tar.xz", "munge-1.0.tar.xz"),
        ("https://example.org/archive/v1.0.tar.gz#/munge-tag.tar.gz", "munge-tag.tar.gz"),
        ("fix.patch", "fix.patch"),
    ]
    assert all(source.sure for source in seen.sources)


def test_a_source_that_only_an_evaluation_can_name_stays_unnamed() -> None:
    seen = look(with_tags("Source0: %(date).tar.gz\nSource1: %{forgesource}\n"))
    assert [(source.file, source.sure) for source in seen.sources] == [("", False), ("", False)]


def test_fedoras_name_of_an_sdist_is_understood() -> None:
    lines = [
        "Source0: %{pypi_source}",
        "Source1: %{pypi_source Other 2.0 zip}",
        "Source2: %pypi_source",
    ]
    seen = look(with_tags("\n".join(["%global srcname ClusterShell", *lines])))
    assert [source.file for source in seen.sources] == [
        "ClusterShell-1.0.tar.gz",
        "Other-2.0.zip",
        "ClusterShell-1.0.tar.gz",
    ]


def test_what_a_condition_decides_is_not_sure() -> None:
    seen = look(
        with_tags(
            "%if 0%{?fedora}\n%global where fedora\nSource0: a.conf\n%endif\n"
            "Source1: %{where}.conf\nSource2: sure.conf\n"
        )
    )
    assert [(source.file, source.sure) for source in seen.sources] == [
        ("a.conf", False),
        ("fedora.conf", False),
        ("sure.conf", True),
    ]


def test_sourcelist_and_patchlist_sections_count() -> None:
    seen = look(with_tags("%sourcelist\nhttps://example.org/a.tar.gz\n\n%patchlist\nfix.patch\n"))
    assert [source.file for source in seen.sources] == ["a.tar.gz", "fix.patch"]


def test_subpackages_are_seen_by_their_full_names() -> None:
    seen = look(with_tags("%package devel\nSummary: x\n%package -n lib%{name}\nSummary: y\n"))
    assert seen.packages == ("libmunge", "munge", "munge-devel")
    assert seen.packages_sure


def test_text_in_a_description_is_not_taken_for_tags() -> None:
    seen = look(with_tags("%description -n x\nName: other\nSource9: no.tar.gz\n%package devel\n"))
    assert seen.name == "munge"
    assert seen.sources == ()


def test_the_newest_changelog_entry_counts_in_either_of_rpms_formats() -> None:
    text = with_tags("") + "\n* Tue Feb 03 10:11:12 CET 2026 B <b@example.org>\n- Newer.\n"
    seen = look(text)
    assert seen.changelog_date == "2026-02-03"
    assert text.split("\n")[seen.changelog_line - 1].startswith("* Tue Feb 03")
    assert seen.epoch_seconds == 1770076800  # midnight UTC: not in the future on that day


def test_a_changelog_that_a_macro_makes_is_left_to_rpm() -> None:
    assert look(with_tags("", date="") + "%autochangelog\n").changelog == "dynamic"
    assert look(with_tags("", date="")).changelog == "none"


def test_looking_runs_nothing(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    look(
        with_tags(
            f"%global x %(touch {trap})\n%{{lua: io.open('{trap}', 'w')}}\n"
            f"Source0: %(touch {trap}).tar.gz\nSource1: %x\n",
            release=f"%(touch {trap})1%{{?dist}}",
        )
    )
    assert not trap.exists()


def test_a_spec_that_doubles_itself_is_given_up_at_once() -> None:
    lines = [f"%global m{n} %{{m{n + 1}}}%{{m{n + 1}}}" for n in range(40)]
    for leaf in ("%global m40 x", "%global m40 %{nil}", "%global nothing x"):
        tags = "\n".join(
            [*lines, leaf, "%global m0 %{m0}%{m1}", "Source0: %{m1}", "Source1: %{m0}"]
        )
        started = time.monotonic()
        seen = look(with_tags(tags, release="%{m1}"))
        assert time.monotonic() - started < 2
        assert [source.file for source in seen.sources] == ["", ""]


def test_macros_named_like_the_parsers_own_parts_do_no_harm() -> None:
    tags = "%global macros x\n%global packages_dict y\n%global __class__ z\nSource0: a.tar.gz\n"
    seen = look(with_tags(tags))
    assert (seen.name, seen.version) == ("munge", "1.0")
    assert [source.file for source in seen.sources] == ["a.tar.gz"]


@given(st.text(max_size=400))
def test_any_text_can_be_looked_at(text: str) -> None:
    assert look(text).sources is not None


@given(st.lists(st.sampled_from(
    ["%", "{", "}", "?", "!", ":", "a", "b", "%a", "%{a}", "%{?a:", "%%", "%global a ",
     "%define b ", "\\", "\n", "%if", "%endif", "Source0: ", "Name: ", "%(", "Release: "]
), max_size=60))  # fmt: skip
def test_any_heap_of_macro_syntax_can_be_looked_at(parts: list[str]) -> None:
    seen = look("".join(parts))
    assert all("\n" not in source.file for source in seen.sources)


@given(st.text(alphabet="abc-._0123/", max_size=30))
def test_a_text_without_macros_expands_to_itself(text: str) -> None:
    assert expand(text, {}) == text


def test_definitions_of_several_lines_and_with_a_guard_are_read_whole() -> None:
    found, unsure = definitions(
        [
            "%global one a \\",
            "  b",
            "%{!?two: %global two c}",
            "%define f() echo %1",
            "  %global x y",
        ]
    )
    assert found == {"one": "a \n  b", "two": "c", "f()": "echo %1", "x": "y"}
    assert unsure == {"two"}

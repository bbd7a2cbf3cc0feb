"""What rpm says of a spec becomes an Evaluation, or a problem that names the line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.model import Chroot, Nevra
from farm.rebuild.macros import macros, rpmmacros
from farm.rebuild.spec import parse, refusal, source_date

ANSWER = """\
source\tpdsh\t0\t2.35\t1.deb13
needs\tgcc
needs\tperl >= 5
needs\tgcc
needs\trpmlib(CompressedFileNames) <= 3.0.4-1
conflicts\tpdsh-old
only\tx86_64
never\t(none)
file\tpdsh-2.35.tar.gz
file\tfix.patch
changed\t1762171200
changed\t1700000000
package\tpdsh\t0\t2.35\t1.deb13\tx86_64
provides\tpdsh = 2.35-1.deb13
requires\tpdsh-libs = 2.35
excludes\trsh
obsoletes\tpdsh-old < 2
package\tpdsh-doc\t1\t2.35\t1.deb13\tnoarch
provides\tpdsh-doc = 1:2.35-1.deb13
dynamic
"""


def test_every_answer_finds_its_field() -> None:
    found = parse(ANSWER, ".deb13")
    assert found.source == Nevra("pdsh", 0, "2.35", "1.deb13", "src")
    assert found.build_requires == ("gcc", "perl >= 5")
    assert found.build_conflicts == ("pdsh-old",)
    assert found.exclusive_arch == ("x86_64",)
    assert found.exclude_arch == ()
    assert found.files == ("pdsh-2.35.tar.gz", "fix.patch")
    assert found.packages == (
        (Nevra("pdsh", 0, "2.35", "1.deb13", "x86_64"), ("pdsh = 2.35-1.deb13",)),
        (Nevra("pdsh-doc", 1, "2.35", "1.deb13", "noarch"), ("pdsh-doc = 1:2.35-1.deb13",)),
    )
    assert found.requires == (("pdsh", ("pdsh-libs = 2.35",)),)
    assert found.conflicts == (("pdsh", ("rsh",)),)
    assert found.obsoletes == (("pdsh", ("pdsh-old < 2",)),)
    assert found.dynamic
    assert found.has_dist


def test_a_release_without_dist_is_noticed() -> None:
    assert not parse(ANSWER.replace("1.deb13", "1"), ".deb13").has_dist


def test_the_newest_changelog_entry_dates_the_source() -> None:
    assert parse(ANSWER, ".deb13").epoch_seconds == 1762171200 - 43200


@given(st.integers(0, 2**33))
def test_a_date_without_a_time_of_day_counts_from_midnight(day: int) -> None:
    seconds = source_date(day)
    assert seconds in (day, day - 43200)
    assert (seconds % 86400 == 0) or seconds == day


def test_an_answer_without_a_source_package_is_none() -> None:
    with pytest.raises(ValueError, match="no source package"):
        parse("needs\tgcc\n", ".deb13")


def test_a_refused_spec_is_reported_with_file_and_line() -> None:
    told = "warning: bogus date\nerror: line 12: Unknown tag: Nonsense\nerror: query failed\n"
    problem = refusal("pdsh", "pdsh.spec", told)
    assert problem.kind == "bad-spec"
    assert problem.facts[0] == "pdsh.spec:12: Unknown tag: Nonsense"


def test_a_refusal_in_other_words_still_names_the_file() -> None:
    problem = refusal("pdsh", "pdsh.spec", "")
    assert "pdsh.spec" in problem.facts[0]


CHROOT = Chroot(
    name="debian-13-x86_64",
    release="debian-13",
    arch="x86_64",
    repositories=(),
    setup=("bash",),
    dist=".deb13",
    macros=(("vendor", "A vendor"), ("empty", "")),
    with_options=("slurm",),
    without_options=("tests",),
)


def test_the_rebuild_counter_is_in_dist_and_nowhere_else() -> None:
    plain, counted = dict(macros(CHROOT, ".deb13", 2)), dict(macros(CHROOT, ".deb13.1", 2))
    assert {name for name in plain if plain[name] != counted[name]} == {"dist"}


def test_everything_that_reproducible_packages_need_is_set() -> None:
    text = rpmmacros(CHROOT, ".deb13", 2)
    for line in (
        "%use_source_date_epoch_as_buildtime 1",
        "%source_date_epoch_from_changelog 1",
        "%clamp_mtime_to_source_date_epoch 1",
        "%build_mtime_policy clamp_to_source_date_epoch",
        "%_buildhost farm",
    ):
        assert line in text.splitlines()


def test_build_conditions_and_macros_of_the_chroot_are_set() -> None:
    lines = rpmmacros(CHROOT, ".deb13", 2).splitlines()
    assert "%_with_slurm --with-slurm" in lines
    assert "%_without_tests --without-tests" in lines
    assert "%vendor A vendor" in lines
    assert "%empty %{nil}" in lines
    assert "%_smp_mflags -j2" in lines

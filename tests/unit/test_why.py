"""Chains of reasons, from what was asked to what it brought in."""

from __future__ import annotations

from pathlib import Path

from farm.model import Lock
from farm.plan.metadata.repodata import pin_repository
from farm.plan.solver import resolve
from farm.plan.universe import Universe
from farm.plan.why import Asked, absent, chain, requirements
from tests.repositories import Rpm, chroot, repository, write_repository

BASE = (
    Rpm("bash", requires=["libc"]),
    Rpm("glibc", provides=["libc"]),
    Rpm("munge-devel", requires=["munge-libs = 1-1", "pkgconf"]),
    Rpm("munge-libs", requires=["libssl"]),
    Rpm("openssl", provides=["libssl"], requires=["libc"]),
    Rpm("libressl", provides=["libssl"]),
    Rpm("pkgconf", requires=["libssl"]),
    Rpm("torn", requires=["nowhere >= 2"]),
    Rpm("loop-a", requires=["loop-b"]),
    Rpm("loop-b", requires=["loop-a"]),
)


def universe(tmp_path: Path) -> Universe:
    place = repository(write_repository(tmp_path / "base", BASE))
    pins = (pin_repository(place, tmp_path / "pins"),)
    return Universe.open(chroot(place, setup=("bash",)), pins, tmp_path / "cache")


def told(here: Universe, goal: str, *texts: str, locked: bool = True) -> list[str]:
    lock = resolve(here, here.chroot, texts) if locked else None
    assert lock is None or isinstance(lock, Lock)
    asked = (
        Asked("pdsh", "BuildRequires", texts),
        Asked("every root", "is set up with", ("bash",)),
    )
    return [str(link) for link in chain(here, asked, lock, goal)]


def test_a_chain_leads_from_what_was_asked_to_what_provides_the_goal(tmp_path: Path) -> None:
    assert told(universe(tmp_path), "libssl", "munge-libs") == [
        "pdsh BuildRequires munge-libs, that is munge-libs-1-1.x86_64",
        "munge-libs-1-1.x86_64 requires libssl, which libressl-1-1.x86_64 provides",
    ]


def test_only_what_the_solver_chose_counts(tmp_path: Path) -> None:
    here = universe(tmp_path)
    assert told(here, "openssl", "munge-libs") == []
    assert told(here, "openssl", "munge-libs", "openssl") == [
        "pdsh BuildRequires openssl, that is openssl-1-1.x86_64"
    ]


def test_the_shortest_chain_is_told(tmp_path: Path) -> None:
    found = told(universe(tmp_path), "libssl", "munge-devel")
    assert len(found) == 3
    assert found[-1].endswith("requires libssl, which libressl-1-1.x86_64 provides")


def test_what_set_up_brings_in_is_said_to_come_from_there(tmp_path: Path) -> None:
    assert told(universe(tmp_path), "glibc", "pkgconf") == [
        "every root is set up with bash, that is bash-1-1.x86_64",
        "bash-1-1.x86_64 requires libc, which glibc-1-1.x86_64 provides",
    ]


def test_a_chain_without_a_lock_leads_to_what_nobody_provides(tmp_path: Path) -> None:
    assert told(universe(tmp_path), "nowhere", "torn", locked=False) == [
        "pdsh BuildRequires torn, that is torn-1-1.x86_64",
        "torn-1-1.x86_64 requires nowhere >= 2, which nothing provides",
    ]


def test_packages_that_require_each_other_end_the_search(tmp_path: Path) -> None:
    assert told(universe(tmp_path), "glibc", "loop-a", locked=False)[-1].endswith(
        "glibc-1-1.x86_64 provides"
    )
    assert told(universe(tmp_path), "no-such-thing", "loop-a") == []


def test_where_it_would_come_from_is_said_of_what_is_not_needed(tmp_path: Path) -> None:
    here = universe(tmp_path)
    assert absent(here, "libc") == ("libc would come from glibc-1-1.x86_64",)
    assert absent(here, "munge") == (
        "nothing provides munge",
        "'munge' is not there, but 'munge-devel' is (in repository base).",
    )


def test_a_package_begins_with_its_own_requirements(tmp_path: Path) -> None:
    (asked,) = requirements(universe(tmp_path), "munge-devel = 1-1")
    assert asked == Asked("munge-devel", "requires", ("munge-libs = 1-1", "pkgconf"))


def test_part_of_a_rich_requirement_that_nobody_has_is_found(tmp_path: Path) -> None:
    here = universe(tmp_path)
    rich = "(nowhere >= 2 if munge-libs)"
    assert told(here, "nowhere", rich, locked=False) == [
        f"pdsh BuildRequires {rich}, which nothing provides"
    ]
    assert told(here, "elsewhere", rich, locked=False) == []


def test_a_choice_is_said_to_be_helped_and_not_provided(tmp_path: Path) -> None:
    assert told(universe(tmp_path), "munge-libs", "(munge-libs or nowhere)") == [
        "pdsh BuildRequires (munge-libs or nowhere), which munge-libs-1-1.x86_64 helps to fulfil"
    ]

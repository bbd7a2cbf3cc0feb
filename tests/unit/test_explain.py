"""Problems are told so that a maintainer understands them."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm.model import Problem
from farm.plan.solver import installable, resolve
from tests.repositories import Rpm
from tests.unit.test_solver import SETUP, opened


def build(tmp_path: Path, packages: tuple[Rpm, ...], *texts: str, avoid: str = "") -> Problem:
    universe, where = opened(tmp_path, (*SETUP, *packages))
    answer = resolve(universe, where, texts, [avoid] if avoid else [])
    assert isinstance(answer, Problem)
    return answer


def install(tmp_path: Path, packages: tuple[Rpm, ...], *texts: str) -> Problem:
    universe, _ = opened(tmp_path, (*SETUP, *packages))
    answer = installable(universe, texts, weak=False, subject="it")
    assert isinstance(answer, Problem)
    return answer


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("(gcc and nope)", "BuildRequires: (gcc and nope): nothing provides nope"),
        ("(nope or never)", "BuildRequires: (nope or never): nothing provides nope, nor never"),
        (
            "(gcc >= 99 with gcc < 100)",
            "BuildRequires: (gcc >= 99 with gcc < 100): nothing provides gcc >= 99",
        ),
        (
            "(gcc >= 1 with gcc < 2)",
            "BuildRequires: (gcc >= 1 with gcc < 2): no choice of packages fulfils it",
        ),
    ],
)
def test_of_a_rich_requirement_the_part_that_nobody_has_is_named(
    tmp_path: Path, text: str, fact: str
) -> None:
    assert build(tmp_path, (Rpm("gcc", "14-1"), Rpm("gcc", "0.5-1")), text).facts == (fact,)


def test_a_condition_that_holds_and_cannot_be_fulfilled_is_told_in_full(tmp_path: Path) -> None:
    packages = (Rpm("a", requires=["b", "(nope if b)"]), Rpm("b"))
    assert install(tmp_path, packages, "a").facts == (
        "a-1-1.x86_64 (base) requires b, provided by b-1-1.x86_64",
        "a-1-1.x86_64 (base) requires (nope if b), and nothing provides nope",
    )
    assert build(tmp_path / "2", (Rpm("b"),), "b", "(nope if b)").facts == (
        "these cannot be had together: BuildRequires: (nope if b); BuildRequires: b",
        "nothing provides nope",
    )


def test_what_has_both_a_requirement_and_what_is_to_be_kept_out_is_named(tmp_path: Path) -> None:
    packages = (Rpm("bison", files=["/usr/bin/yacc", "/usr/share/bison"]),)
    assert build(tmp_path, packages, "/usr/share/bison", avoid="/usr/bin/yacc").facts == (
        "these cannot be had together: BuildRequires: /usr/share/bison; "
        "BuildConflicts: /usr/bin/yacc",
        "/usr/share/bison is provided by bison-1-1.x86_64",
        "/usr/bin/yacc is provided by bison-1-1.x86_64",
    )


def test_what_cannot_be_installed_by_itself_is_not_told_twice(tmp_path: Path) -> None:
    packages = (Rpm("a", requires=["b"]), Rpm("b", requires=["c"]), Rpm("z", conflicts=["y"]))
    assert install(tmp_path, packages, "a = 1-1").facts == (
        "a-1-1.x86_64 (base) requires b, provided by b-1-1.x86_64",
        "b-1-1.x86_64 (base) requires c, which nothing provides",
    )
    assert install(tmp_path / "2", (*packages, Rpm("y")), "z", "y").facts == (
        "these cannot be had together: y; z",
        "z-1-1.x86_64 (base) conflicts with y, provided by y-1-1.x86_64 (base)",
    )


def test_a_chain_is_told_from_its_beginning(tmp_path: Path) -> None:
    packages = (
        Rpm("z-first", requires=["m-second"]), Rpm("m-second", requires=["a-third"]),
        Rpm("a-third", requires=["q-last"]), Rpm("q-last", requires=["nope"]),
    )  # fmt: skip
    facts = install(tmp_path, packages, "z-first").facts
    assert [fact.split("-1-1")[0] for fact in facts] == [
        "z-first", "m-second", "a-third", "q-last",
    ]  # fmt: skip


def test_of_a_long_chain_both_ends_are_told(tmp_path: Path) -> None:
    packages = tuple(Rpm(f"p{n:02}", requires=[f"p{n + 1:02}"]) for n in range(40))
    facts = install(tmp_path, packages, "p00").facts
    assert facts[0].startswith("p00-1-1.x86_64 (base) requires p01")
    assert facts[6] == "… and 29 more"
    assert facts[-1] == "p39-1-1.x86_64 (base) requires p40, which nothing provides"


VERSIONED = (Rpm("store", "7-1", provides=["cap = 2:1.0~rc1"]),)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("cap >= 2:1.0", "Lower the version, or wait for the package that has cap >= 2:1.0."),
        ("cap < 1", "Raise the limit if what is there will do as well."),
        ("cap = 2:1.0", "Write the version that is there, or wait for the package that has"
         " cap = 2:1.0."),
    ],
)  # fmt: skip
def test_the_version_that_is_there_is_that_of_what_is_required(
    tmp_path: Path, text: str, remedy: str
) -> None:
    problem = install(tmp_path, (*VERSIONED, Rpm("a", requires=[text])), "a")
    assert problem.facts == (
        f"a-1-1.x86_64 (base) requires {text}, which nothing provides; "
        "the newest there is cap = 2:1.0~rc1 of store-7-1.x86_64 (base)",
    )
    assert problem.remedy == remedy


def test_another_soname_of_the_same_library_is_named_and_no_other_library(tmp_path: Path) -> None:
    packages = (
        Rpm("zlib", provides=["libz.so.2()(64bit)"]), Rpm("lz4", provides=["liblz.so.1()(64bit)"]),
        Rpm("a", requires=["libz.so.1()(64bit)"]), Rpm("b", requires=["libq.so.1()(64bit)"]),
        Rpm("c", requires=["libz.so.2"]), Rpm("d", provides=["libqq.so.1()(64bit)"]),
    )  # fmt: skip
    assert install(tmp_path, packages, "a").remedy == (
        "The library is there as 'libz.so.2()(64bit)' (zlib of repository base): what needs it"
        " has to be built with that."
    )
    assert install(tmp_path / "2", packages, "b").remedy == ""
    assert install(tmp_path / "3", packages, "c").remedy == (
        "'libz.so.2' is not there, but 'libz.so.2()(64bit)' is (zlib of repository base)."
    )


def test_a_package_that_is_of_no_architecture_is_named_where_one_of_an_architecture_is_wanted(
    tmp_path: Path,
) -> None:
    packages = (Rpm("lib", arch="noarch"), Rpm("a", requires=["lib(x86-64)"]))
    assert install(tmp_path, packages, "a").remedy == (
        "'lib(x86-64)' is not there, but 'lib' is (in repository base)."
    )


@pytest.mark.parametrize(
    ("text", "meant"), [("pkgconfig(ring2)", ""), ("pkgconfig(libidn3)", "pkgconfig(libidn2)")]
)
def test_of_what_is_in_brackets_the_inside_has_to_be_alike(
    tmp_path: Path, text: str, meant: str
) -> None:
    packages = (Rpm("libidn2-dev", provides=["pkgconfig(libidn2) = 2"]),)
    remedy = build(tmp_path, packages, text).remedy
    assert (f"Perhaps {meant!r} is meant" in remedy) if meant else remedy == ""

"""Locks and problems: what is installed together, what cannot be, and in which words."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farm.model import Chroot, Lock, LockedPackage, Problem
from farm.plan.metadata.repodata import pin_repository
from farm.plan.solver import installable, providers, resolve, resolve_setup
from farm.plan.universe import Universe
from tests.repositories import Comps, Rpm, chroot, repository, write_repository

SETUP = (Rpm("bash", files=["/usr/bin/bash"]), Rpm("rpm-build", requires=["/usr/bin/bash"]))


def opened(
    directory: Path, packages: Sequence[Rpm], setup: Sequence[str] = (), *, arch: str = "x86_64"
) -> tuple[Universe, Chroot]:
    write_repository(directory / "base", packages, groups=[Comps("build", ["bash", "gone"])])
    pin = pin_repository(repository(directory / "base"), directory / "pin")
    where = chroot(pin.repository, setup=setup, arch=arch)
    return Universe.open(where, [pin], directory / "cache"), where


def names(lock: Lock | Problem) -> list[str]:
    assert isinstance(lock, Lock), lock
    return [package.nevra.name for package in lock.packages]


def solve(directory: Path, packages: Sequence[Rpm], *wanted: str) -> list[str]:
    universe, where = opened(directory, packages)
    return names(resolve(universe, where, wanted))


def refuse(
    directory: Path, packages: Sequence[Rpm], *wanted: str, conflicts: Sequence[str] = ()
) -> Problem:
    universe, where = opened(directory, packages)
    problem = resolve(universe, where, wanted, conflicts, subject="pkg")
    assert isinstance(problem, Problem), problem
    assert problem.subject == "pkg"
    return problem


def test_a_lock_names_every_package_with_its_checksum_and_address(tmp_path: Path) -> None:
    universe, where = opened(tmp_path, SETUP, ["rpm-build"])
    lock = resolve(universe, where, ())
    assert isinstance(lock, Lock)
    bash, rpm_build = lock.packages
    assert str(bash.nevra) == "bash-1-1.x86_64"
    assert (bash.sha256, bash.size) == (SETUP[0].sha256, len(SETUP[0].content))
    assert bash.repository == "base"
    assert bash.location == (tmp_path / "base/bash-1-1.x86_64.rpm").as_uri()
    assert rpm_build.nevra.name == "rpm-build"


def test_what_set_up_alone_brings_in_is_marked(tmp_path: Path) -> None:
    universe, where = opened(tmp_path, (*SETUP, Rpm("gcc")), ["rpm-build"])
    lock = resolve(universe, where, ["gcc"])
    assert isinstance(lock, Lock)
    assert names(lock) == ["bash", "gcc", "rpm-build"]
    assert set(lock.setup) == {package.sha256 for package in SETUP}
    alone = resolve_setup(universe, where)
    assert isinstance(alone, Lock)
    assert set(alone.setup) == {package.sha256 for package in alone.packages}


def test_build_requires_take_what_set_up_has_chosen_already(tmp_path: Path) -> None:
    packages = (
        Rpm("awk-b", provides=["awk"]), Rpm("awk-a", provides=["awk"]),
        Rpm("base", requires=["awk-b"]), Rpm("tool", requires=["awk"]),
    )  # fmt: skip
    universe, where = opened(tmp_path, packages, ["base"])
    lock = resolve(universe, where, ["tool"])
    assert names(lock) == ["awk-b", "base", "tool"]


def test_set_up_is_empty_where_build_requires_force_another_choice(tmp_path: Path) -> None:
    packages = (
        Rpm("base", requires=["awk"]),
        Rpm("awk-a", provides=["awk"]), Rpm("awk-b", provides=["awk"], conflicts=["awk-a"]),
    )  # fmt: skip
    universe, where = opened(tmp_path, packages, ["base"])
    assert names(resolve_setup(universe, where)) == ["awk-a", "base"]
    lock = resolve(universe, where, ["awk-b"])
    assert isinstance(lock, Lock)
    assert names(lock) == ["awk-b", "base"]
    assert lock.setup == ()


def test_a_group_stands_for_the_packages_of_it_that_exist(tmp_path: Path) -> None:
    universe, where = opened(tmp_path, SETUP, ["@build"])
    assert names(resolve_setup(universe, where)) == ["bash"]


def test_weak_dependencies_are_for_sites_and_not_for_build_roots(tmp_path: Path) -> None:
    packages = (Rpm("a", recommends=["b"]), Rpm("b"), Rpm("c", supplements=["a"]))
    universe, where = opened(tmp_path, packages)
    assert names(resolve(universe, where, ["a"])) == ["a"]
    assert names(installable(universe, ["a"])) == ["a", "b", "c"]
    assert names(installable(universe, ["a"], weak=False)) == ["a"]


def test_the_newest_version_is_taken(tmp_path: Path) -> None:
    universe, where = opened(tmp_path, (Rpm("a", "1-1"), Rpm("a", "1:0.5-1"), Rpm("a", "9-1")))
    lock = resolve(universe, where, ["a"])
    assert isinstance(lock, Lock)
    assert [str(package.nevra) for package in lock.packages] == ["a-1:0.5-1.x86_64"]


def test_versions_files_pkgconfig_and_rich_dependencies_are_understood(tmp_path: Path) -> None:
    packages = (
        Rpm("a", "1-1"), Rpm("a", "2-1"),
        Rpm("lib", provides=["pkgconfig(lib) = 1.5", "lib(x86-64) = 1-1"], files=["/opt/lib/l"]),
        Rpm("rich", requires=["(plugin if a)", "(left or right)"]),
        Rpm("plugin"), Rpm("right"),
    )  # fmt: skip
    assert solve(tmp_path, packages, "a < 2", "pkgconfig(lib) >= 1.2") == ["a", "lib"]
    assert solve(tmp_path, packages, "/opt/lib/l") == ["lib"]
    assert solve(tmp_path, packages, "rich") == ["rich", "right"]
    assert solve(tmp_path, packages, "rich", "a") == ["a", "plugin", "rich", "right"]
    assert solve(tmp_path, packages, "(a and /opt/lib/l)") == ["a", "lib"]
    assert solve(tmp_path, packages, "rpmlib(X) <= 4", "lib(x86-64)") == ["lib"]


def test_a_condition_that_does_not_hold_asks_for_nothing(tmp_path: Path) -> None:
    packages = (Rpm("a"), Rpm("b"))
    assert solve(tmp_path, packages, "(nowhere if b)", "a") == ["a"]
    assert solve(tmp_path, packages, "(nowhere if nothing)", "a") == ["a"]
    problem = refuse(tmp_path, packages, "(nowhere if b)", "b")
    assert "nowhere" in " ".join(problem.facts)


def test_a_build_conflict_keeps_a_package_out(tmp_path: Path) -> None:
    packages = (Rpm("mpi-a", provides=["mpi"]), Rpm("mpi-b", provides=["mpi"]))
    universe, where = opened(tmp_path, packages)
    assert names(resolve(universe, where, ["mpi"], ["mpi-a"])) == ["mpi-b"]


def test_the_chroots_architecture_decides(tmp_path: Path) -> None:
    packages = [Rpm("a", arch=arch) for arch in ("x86_64", "aarch64", "i686")]
    for arch in ("x86_64", "aarch64"):
        universe, where = opened(tmp_path / arch, packages, arch=arch)
        lock = resolve(universe, where, ["a"])
        assert isinstance(lock, Lock)
        assert [package.nevra.arch for package in lock.packages] == [arch]


MULTILIB = (
    Rpm("bash"),
    Rpm("lib", provides=["lib(x86-64)", "liba.so.1()(64bit)"]),
    Rpm("lib", arch="i686", provides=["lib(x86-32)", "liba.so.1"]),
    Rpm("only32", arch="i686", requires=["liba.so.1"]),
)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (["lib"], {"lib-1-1.x86_64"}),
        (["lib(x86-64)", "liba.so.1"], {"lib-1-1.x86_64", "lib-1-1.i686"}),
        (["only32"], {"only32-1-1.i686", "lib-1-1.x86_64", "lib-1-1.i686"}),
        (["only32", "lib"], {"only32-1-1.i686", "lib-1-1.x86_64", "lib-1-1.i686"}),
    ],
)
def test_32_bit_packages_come_beside_their_64_bit_twins_when_they_are_asked_for(
    tmp_path: Path, wanted: list[str], found: set[str]
) -> None:
    lock = resolve(*opened(tmp_path, MULTILIB), wanted)
    assert isinstance(lock, Lock), lock
    assert {str(package.nevra) for package in lock.packages} - {"bash-1-1.x86_64"} == found


def test_a_lower_priority_number_wins_over_a_newer_version(tmp_path: Path) -> None:
    pins = []
    for name, evr, priority in (("old", "1-1", 10), ("new", "2-1", 99)):
        directory = write_repository(tmp_path / name, (Rpm("a", evr),))
        described = repository(directory, name, priority=priority)
        pins.append(pin_repository(described, tmp_path / f"pin-{name}"))
    where = chroot(*(pin.repository for pin in pins))
    lock = resolve(Universe.open(where, pins, tmp_path / "cache"), where, ["a"])
    assert isinstance(lock, Lock)
    assert [package.repository for package in lock.packages] == ["old"]


def test_of_two_equal_packages_the_first_repository_gives_its_own(tmp_path: Path) -> None:
    pins = []
    for name in ("zz", "aa"):
        directory = write_repository(tmp_path / name, (Rpm("a"),))
        pins.append(pin_repository(repository(directory, name), tmp_path / f"pin-{name}"))
    where = chroot(*(pin.repository for pin in pins))
    for order in (pins, pins[::-1]):
        lock = resolve(Universe.open(where, order, tmp_path / "cache"), where, ["a"])
        assert isinstance(lock, Lock)
        assert [package.repository for package in lock.packages] == ["zz"]


def test_site_requests_may_be_globs_versions_architectures_and_groups(tmp_path: Path) -> None:
    universe, _ = opened(tmp_path, (*SETUP, Rpm("lib-a"), Rpm("lib-b", "2-3")))
    assert names(installable(universe, ["lib-*"])) == ["lib-a", "lib-b"]
    assert names(installable(universe, ["lib-b-2-3.x86_64"])) == ["lib-b"]
    assert names(installable(universe, ["lib-b.x86_64", "@build"])) == ["bash", "lib-b"]


def test_providers_are_named(tmp_path: Path) -> None:
    universe, _ = opened(tmp_path, (*SETUP, Rpm("dash", provides=["/usr/bin/sh = 1", "sh = 5"])))
    assert providers(universe, "sh >= 4") == ("dash-1-1.x86_64",)
    assert providers(universe, "sh >= 6") == ()
    assert providers(universe, "/usr/bin/bash") == ("bash-1-1.x86_64",)


def test_every_missing_requirement_is_named_at_once(tmp_path: Path) -> None:
    problem = refuse(tmp_path, (Rpm("a", "1-1"),), "nope", "a >= 2", "neither")
    assert problem.kind == "nothing-provides"
    assert problem.facts == (
        "BuildRequires: a >= 2: the newest there is a-1-1.x86_64 (base)",
        "BuildRequires: neither: nothing provides it",
        "BuildRequires: nope: nothing provides it",
    )


@pytest.mark.parametrize(
    ("wanted", "remedy"),
    [
        ("zlib-dev", "'zlib-dev' is not there, but 'zlib-devel' is (in repository base)."),
        (
            "mpicc",
            "'mpicc' is not there, but '/usr/bin/mpicc' is (openmpi-devel of repository base).",
        ),
        (
            "libfoo",
            "'libfoo' is not there, but 'pkgconfig(libfoo)' is (foo-dev-x of repository base).",
        ),
        (
            "opnmpi-devel",
            "Perhaps 'openmpi-devel' is meant by 'opnmpi-devel' (in repository base).",
        ),
        ("utterly-unlike", ""),
        ("(a or b)", ""),
    ],
)
def test_a_missing_requirement_has_a_remedy_where_one_is_near(
    tmp_path: Path, wanted: str, remedy: str
) -> None:
    packages = (
        Rpm("zlib-devel"), Rpm("openmpi-devel", files=["/usr/bin/mpicc"]),
        Rpm("foo-dev-x", provides=["pkgconfig(libfoo) = 1"]),
    )  # fmt: skip
    assert refuse(tmp_path, packages, wanted).remedy == remedy


def test_a_requirement_missing_further_down_is_traced_to_what_asks_for_it(tmp_path: Path) -> None:
    packages = (Rpm("a", requires=["b"]), Rpm("b", requires=["c >= 2"]), Rpm("c"), Rpm("x"))
    problem = refuse(tmp_path, packages, "x", "a")
    assert problem.kind == "nothing-provides"
    assert problem.facts == (
        "BuildRequires: a: it cannot be installed",
        "a-1-1.x86_64 (base) requires b, provided by b-1-1.x86_64",
        "b-1-1.x86_64 (base) requires c >= 2, which nothing provides; "
        "the newest there is c-1-1.x86_64 (base)",
    )


def test_of_many_requirements_only_those_that_clash_are_named(tmp_path: Path) -> None:
    packages = [Rpm(f"p{number}") for number in range(30)]
    packages += [
        Rpm("one", requires=["x"]), Rpm("two", requires=["y"]),
        Rpm("x", conflicts=["y"]), Rpm("y"),
    ]  # fmt: skip
    problem = refuse(tmp_path, packages, *(package.name for package in packages[:32]))
    assert problem.kind == "conflict"
    assert problem.facts == (
        "these cannot be had together: BuildRequires: one; BuildRequires: two",
        "one-1-1.x86_64 (base) requires x, provided by x-1-1.x86_64",
        "two-1-1.x86_64 (base) requires y, provided by y-1-1.x86_64",
        "x-1-1.x86_64 (base) conflicts with y, provided by y-1-1.x86_64 (base)",
    )


def test_obsoletes_and_two_versions_of_one_name_are_told(tmp_path: Path) -> None:
    packages = (
        Rpm("new", obsoletes=["old"]), Rpm("old"),
        Rpm("a", "1-1"), Rpm("a", "2-1"),
        Rpm("u", requires=["a = 1"]), Rpm("v", requires=["a = 2"]),
    )  # fmt: skip
    facts = refuse(tmp_path, packages, "new", "old").facts
    assert "new-1-1.x86_64 (base) obsoletes old, provided by old-1-1.x86_64 (base)" in facts
    facts = refuse(tmp_path, packages, "u", "v").facts
    assert "only one of a-2-1.x86_64 (base) and a-1-1.x86_64 (base) can be installed" in facts


def test_a_build_conflict_that_cannot_be_kept_is_part_of_the_facts(tmp_path: Path) -> None:
    packages = (Rpm("a", requires=["b"]), Rpm("b"))
    problem = refuse(tmp_path, packages, "a", conflicts=["b"])
    assert problem.facts[0] == "these cannot be had together: BuildRequires: a; BuildConflicts: b"


def test_an_older_version_does_not_quietly_stand_in_for_a_broken_newest(tmp_path: Path) -> None:
    packages = (Rpm("a", "1-1"), Rpm("a", "2-1", requires=["gone"]))
    problem = refuse(tmp_path, packages, "a")
    assert problem.kind == "nothing-provides"
    assert "a-2-1.x86_64 (base) requires gone, which nothing provides" in problem.facts


def test_threads_may_ask_one_universe_at_the_same_time(tmp_path: Path) -> None:
    packages = [Rpm(f"p{n}", files=[f"/opt/p{n}/x"], requires=[f"p{n // 2}"]) for n in range(40)]
    universe, where = opened(tmp_path, packages)
    questions = [[f"/opt/p{n}/x", f"p{n}"] for n in range(40)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda wanted: resolve(universe, where, wanted), questions))
    fresh, _ = opened(tmp_path, packages)
    assert answers == [resolve(fresh, where, wanted) for wanted in questions]


def test_a_broken_set_up_is_named_as_such(tmp_path: Path) -> None:
    universe, where = opened(tmp_path, (Rpm("a"),), ["@missing", "a"])
    problem = resolve(universe, where, ())
    assert isinstance(problem, Problem)
    assert problem.subject == where.name
    assert problem.facts == ("set-up: @missing: the base has no such group",)


@pytest.mark.parametrize(
    "odd",  # the last two are requests of dnf's, not requirements of rpm's
    [
        "(a or",
        "a >=",
        "a >= 1 2",
        "\ud800",
        "\0",
        "(" * 10_000,
        "*[",
        "@",
        "(a if (b",
        "a" * 9999,
        "/",
        "a*",
        "a-1-1.x86_64",
    ],
)
def test_a_requirement_that_is_none_is_a_problem_and_no_crash(tmp_path: Path, odd: str) -> None:
    problem = refuse(tmp_path, (Rpm("a"), Rpm("b")), odd)
    assert problem.kind == "nothing-provides"
    universe, _ = opened(tmp_path, (Rpm("b"),))
    assert isinstance(installable(universe, [odd]), Problem)
    assert providers(universe, odd) == ()


# A small world in which everything can clash: names, versions, requirements, conflicts.
_NAMES = [f"p{number}" for number in range(6)]
_CAPABILITIES = [*_NAMES, "cap0", "cap1", "/usr/bin/tool", "/opt/data"]
_DEPENDENCY = st.one_of(
    st.sampled_from(_CAPABILITIES),
    st.builds(
        "{} {} {}".format,
        st.sampled_from(_NAMES),
        st.sampled_from(("=", ">=", "<")),
        st.integers(1, 3),
    ),
)
_PACKAGE = st.builds(
    Rpm,
    name=st.sampled_from(_NAMES),
    evr=st.integers(1, 3).map(lambda version: f"{version}-1"),
    arch=st.sampled_from(("x86_64", "noarch")),
    requires=st.lists(_DEPENDENCY, max_size=2).map(tuple),
    conflicts=st.lists(_DEPENDENCY, max_size=1).map(tuple),
    provides=st.lists(st.sampled_from(("cap0", "cap1")), max_size=1).map(tuple),
    files=st.lists(st.sampled_from(("/usr/bin/tool", "/opt/data")), max_size=1).map(tuple),
)
_WORLD = st.lists(_PACKAGE, max_size=14, unique_by=lambda p: (p.name, p.evr, p.arch))
_REQUESTS = st.lists(_DEPENDENCY, min_size=1, max_size=3)
_SLOW = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _satisfies(package: Rpm, dependency: str) -> bool:
    """rpm's rule in this small world, told again without libsolv."""
    name, *rest = dependency.split()
    if not rest:
        return name in (package.name, *package.provides, *package.files)
    have, wanted = int(package.evr.partition("-")[0]), int(rest[1])
    return name == package.name and {
        "=": have == wanted, ">=": have >= wanted, "<": have < wanted
    }[rest[0]]  # fmt: skip


def _chosen(world: Sequence[Rpm], packages: Sequence[LockedPackage]) -> list[Rpm]:
    by_sum = {package.sha256: package for package in world}
    return [by_sum[package.sha256] for package in packages]


@_SLOW
@given(world=_WORLD, wanted=_REQUESTS)
def test_a_lock_is_closed_and_free_of_conflicts(
    tmp_path_factory: pytest.TempPathFactory, world: list[Rpm], wanted: list[str]
) -> None:
    universe, where = opened(tmp_path_factory.mktemp("world"), world)
    answer = resolve(universe, where, wanted)
    if isinstance(answer, Problem):
        assert answer.facts
        return
    chosen = _chosen(world, answer.packages)
    for dependency in (*wanted, *(d for package in chosen for d in package.requires)):
        assert any(_satisfies(package, dependency) for package in chosen), dependency
    assert len({package.name for package in chosen}) == len(chosen)
    for package in chosen:
        for dependency in package.conflicts:
            assert not any(_satisfies(o, dependency) for o in chosen if o is not package)


@_SLOW
@given(world=_WORLD, wanted=_REQUESTS, seed=st.integers(0, 99))
def test_the_answer_does_not_depend_on_any_order(
    tmp_path_factory: pytest.TempPathFactory, world: list[Rpm], wanted: list[str], seed: int
) -> None:
    directory = tmp_path_factory.mktemp("world")
    universe, where = opened(directory / "one", world)
    answer = resolve(universe, where, wanted)
    shuffled, asked = list(world), list(wanted) * 2
    random.Random(seed).shuffle(shuffled)
    random.Random(seed).shuffle(asked)
    universe, where = opened(directory / "two", shuffled)
    resolve(universe, where, ["p0", "cap1"])  # what was asked before leaves no trace
    other = resolve(universe, where, asked)
    if isinstance(answer, Lock) and isinstance(other, Lock):
        assert answer.digest == other.digest
        assert [p.sha256 for p in answer.packages] == [p.sha256 for p in other.packages]
    else:
        assert answer == other


@_SLOW
@given(world=_WORLD, wanted=_REQUESTS)
def test_a_problem_names_only_requests_that_cannot_be_had_together(
    tmp_path_factory: pytest.TempPathFactory, world: list[Rpm], wanted: list[str]
) -> None:
    universe, where = opened(tmp_path_factory.mktemp("world"), world)
    answer = resolve(universe, where, wanted)
    if isinstance(answer, Lock):
        return
    named = [text for text in set(wanted) if f"BuildRequires: {text}" in " ; ".join(answer.facts)]
    assert isinstance(resolve(universe, where, named), Problem)


@_SLOW
@given(world=_WORLD, wanted=_REQUESTS, setup=st.lists(st.sampled_from(_NAMES), max_size=2))
def test_the_set_up_part_is_a_subset_of_the_lock(
    tmp_path_factory: pytest.TempPathFactory, world: list[Rpm], wanted: list[str], setup: list[str]
) -> None:
    universe, where = opened(tmp_path_factory.mktemp("world"), world, setup)
    answer = resolve(universe, where, wanted)
    if isinstance(answer, Lock):
        assert set(answer.setup) <= {package.sha256 for package in answer.packages}

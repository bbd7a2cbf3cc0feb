"""The order of builds as the solver sees it, over real metadata."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.model import Chroot, Evaluation, Lock, Nevra, Plan, Problem, Step
from farm.plan.fit.contribution import Contribution
from farm.plan.fit.view import View
from farm.plan.metadata.pins import Pin
from farm.plan.metadata.repodata import pin_repository
from farm.plan.needed import Needed
from farm.plan.planner import make_plan
from farm.plan.solver import resolve
from tests.repositories import Rpm, chroot, repository, write_repository

BASE = (
    Rpm("bash"),
    Rpm("gcc"),
    Rpm("lua", "5.3-1"),
    Rpm("lua-devel", "5.3-1", requires=["lua = 5.3-1"]),
    Rpm("zlib-devel", provides=["pkgconfig(zlib) = 1.3"]),
    Rpm("vim", provides=["editor"]),
    Rpm("tool", requires=["munge-libs"]),
)


def spec(
    name: str,
    build: Iterable[str] = (),
    packages: Mapping[str, Iterable[str]] | None = None,
    provides: Mapping[str, Iterable[str]] | None = None,
    evr: str = "1-1",
    **more: object,
) -> Evaluation:
    """`packages`: binary package → its Requires; `provides` likewise."""
    version, _, release = evr.partition("-")
    wanted = packages if packages is not None else {name: ()}
    declared = provides or {}
    return Evaluation(
        source=Nevra(name, 0, version, release, "src"),
        packages=tuple(
            (Nevra(p, 0, version, release, "x86_64"), (f"{p} = {evr}", *declared.get(p, ())))
            for p in wanted
        ),
        build_requires=tuple(build),
        requires=tuple((p, tuple(texts)) for p, texts in wanted.items()),
        **more,  # type: ignore[arg-type]
    )


MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # hundreds of small files


@dataclass
class World:
    """A layer over a small base; counts how often it was looked at."""

    place: Path
    where: Chroot
    pins: tuple[Pin, ...]
    specs: dict[str, Evaluation | Problem] = field(default_factory=dict)
    bootstraps: dict[str, Evaluation] = field(default_factory=dict)
    views: dict[object, View] = field(default_factory=dict)

    def view(self, _: Chroot, booting: frozenset[str] = frozenset(), without: str = "") -> View:
        if (booting, without) not in self.views:
            readings = {n: self.reading(self.where, n, n in booting) for n in self.specs}
            self.views[booting, without] = View.open(
                self.where, self.pins, self.place / "cache",
                [Contribution(n, e) for n, e in readings.items()
                 if isinstance(e, Evaluation) and n != without],
            )  # fmt: skip
        return self.views[booting, without]

    def reading(self, _: Chroot, recipe: str, bootstrap: bool) -> Evaluation | Problem:
        return self.bootstraps[recipe] if bootstrap else self.specs[recipe]

    def plan(self, *names: str) -> dict[str, Step]:
        evaluations = {(name, self.where.name): each for name, each in self.specs.items()}
        answer: Plan = make_plan(names, [self.where], evaluations, Needed(self, evaluations))
        return {step.name: step for step in answer.steps}


def world_over(place: Path, base: Sequence[Rpm]) -> World:
    write_repository(place / "base", base)
    there = repository(place / "base")
    pins = (pin_repository(there, place / "pins"),)
    return World(place, chroot(there, setup=("bash",)), pins)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return world_over(tmp_path, BASE)


def layer(world: World, *specs: Evaluation) -> World:
    world.specs |= {each.source.name: each for each in specs}
    return world


def test_needs_are_the_recipes_of_the_layers_packages_in_the_lock(world: World) -> None:
    layer(
        world,
        spec("pdsh", ["munge-devel >= 0.5", "gcc"]),
        spec("munge", packages={"munge-devel": ["munge-libs"], "munge": ["daemon"]}, evr="0.5-1"),
        spec("mungelibs", packages={"munge-libs": []}),
        spec("conman", ["pdsh"]),
    )
    steps = world.plan("pdsh")
    assert steps["pdsh"].needs == ("munge", "mungelibs")
    assert steps["pdsh"].direct == ("munge",)
    assert "conman" not in steps


def test_a_version_that_only_the_layer_has_comes_from_the_layer(world: World) -> None:
    layer(world, spec("a", ["zlib-devel >= 2"]), spec("zlib", packages={"zlib-devel": []},
          evr="2-1"), spec("b", ["zlib-devel < 2"]))  # fmt: skip
    steps = world.plan("a", "b")
    assert steps["a"].needs == ("zlib",)
    assert steps["b"].needs == ()


def test_what_both_have_is_taken_from_whom_the_solver_chooses(world: World) -> None:
    layer(
        world,
        spec("lua", packages={"lua": [], "lua-devel": ["lua = 5.4-1"]}, evr="5.4-1"),
        spec("lmod", ["lua-devel"]),
        spec("old", packages={"vim": []}, evr="0.1-1"),
        spec("writer", ["vim"]),
    )
    steps = world.plan("lmod", "writer")
    assert steps["lmod"].direct == ("lua",)
    assert steps["writer"].needs == ()


def test_rich_and_file_dependencies_lead_to_recipes_as_well(world: World) -> None:
    layer(
        world,
        spec("a", ["(conman-devel or pdsh)", "(roffit if munge)", "munge"]),
        spec("pdsh"), spec("munge"), spec("roffit"),
    )  # fmt: skip
    assert world.plan("a")["a"].direct == ("munge", "pdsh", "roffit")


def test_a_way_through_packages_of_the_base_is_followed(world: World) -> None:
    layer(world, spec("a", ["tool"]), spec("munge", packages={"munge-libs": []}))
    step = world.plan("a")["a"]
    assert step.needs == ("munge",) and step.direct == ()


def lock_over(world: World, asking: Evaluation, recipes: Iterable[str]) -> Lock | Problem:
    """The lock with the packages of these recipes only."""
    alone = replace(world, specs={name: world.specs[name] for name in recipes}, views={})
    return resolve(alone.view(world.where).universe, world.where, asking.build_requires)


def test_the_lock_made_later_over_the_needs_alone_is_the_same(world: World) -> None:
    layer(
        world,
        spec("lua", packages={"lua": [], "lua-devel": ["lua = 5.4-1"]}, evr="5.4-1"),
        spec("lmod", ["lua-devel", "editor", "gcc"]),
        spec("nano", packages={"nano": []}, provides={"nano": ["editor"]}),
    )
    (step,) = [s for s in world.plan("lmod").values() if s.recipe == "lmod"]
    lmod = world.specs["lmod"]
    assert isinstance(lmod, Evaluation)
    whole = lock_over(world, lmod, world.specs)
    assert isinstance(whole, Lock) and whole == lock_over(world, lmod, step.needs)


def test_a_package_that_the_base_has_as_well_needs_not_itself(world: World) -> None:
    layer(world, spec("lua", ["lua"], evr="5.4-1"))
    assert world.plan("lua")["lua"].needs == ()


def test_a_package_that_nobody_else_has_is_a_loop_of_one(world: World) -> None:
    layer(world, spec("ghc", ["ghc", "gcc"]))
    problem = world.plan("ghc")["ghc"].problem
    assert problem is not None and problem.kind == "cycle"
    assert problem.facts == (
        "it needs itself to be built: ghc -> ghc",
        "ghc BuildRequires: ghc, which ghc-1-1.x86_64 of ghc has",
    )


def test_the_arrows_of_a_loop_name_capabilities_and_packages(world: World) -> None:
    layer(
        world,
        spec("a", ["b-devel"]),
        spec("b", packages={"b-devel": ["c-libs"]}),
        spec("c", ["a"], packages={"c-libs": []}),
    )
    problem = world.plan("a")["a"].problem
    assert problem is not None
    assert problem.facts == (
        "it needs itself to be built: a -> c -> a",
        "a BuildRequires: b-devel, which b-devel-1-1.x86_64 of b has; that requires c-libs,"
        " which c-libs-1-1.x86_64 of c has",
        "c BuildRequires: a, which a-1-1.x86_64 of a has",
    )


def test_in_a_cycle_the_solver_sees_the_packages_of_the_bootstrap(world: World) -> None:
    """a requires d, and d is built with c; a's bootstrap requires nothing."""
    world.bootstraps["a"] = spec("a", [], {"a-devel": ["a"], "a": []}, evr="1-1~bootstrap")
    layer(
        world,
        spec("a", ["c"], {"a-devel": ["a"], "a": ["d"]}, bootstrap=True),
        spec("c", ["a-devel"]),
        spec("d", ["c"]),
        spec("x", ["c"]),
    )
    steps = world.plan("a", "x")
    assert list(steps) == ["a~bootstrap", "c", "a", "d", "x"]
    assert steps["c"].needs == ("a~bootstrap",)
    assert steps["a"].needs == ("a~bootstrap", "c")
    assert steps["x"].needs == ("a", "c")
    assert not any(step.problem for step in steps.values())


def test_a_version_that_only_the_bootstrap_has_not_is_no_way_out(world: World) -> None:
    """c wants what the bootstrap of a does not have: the names still give an order."""
    world.bootstraps["a"] = spec("a", [], {"a": []}, evr="1-1~bootstrap")
    layer(
        world,
        spec("a", ["c"], {"a": [], "a-extra": []}, bootstrap=True),
        spec("c", ["a", "a-extra"]),
    )
    assert world.plan("a")["c"].needs == ("a~bootstrap",)


def test_what_only_a_build_reveals_is_looked_for_by_name_first(world: World) -> None:
    layer(world, spec("pdsh", ["pkgconfig(munge) >= 0.5"]), spec("munge", packages={
        "munge-devel": []}), spec("conman"))  # fmt: skip
    steps = world.plan("pdsh")
    assert list(steps) == ["munge", "pdsh"]
    assert steps["pdsh"].needs == ("munge",)


def test_what_no_name_tells_waits_for_all_that_are_planned(world: World) -> None:
    layer(world, spec("a", ["perl(Foo::Bar)"]), spec("b"), spec("c", ["a"]))
    assert list(world.plan("a")) == ["a"]
    assert world.plan("a", "b", "c")["a"].after == ("b",)


def test_what_a_site_will_probably_get_as_well_is_planned(world: World) -> None:
    layer(
        world,
        spec("egg", packages={"egg": ["libchicken.so.1()(64bit)"]}),
        spec("chicken", packages={"chicken-libs": []}), spec("goose"),
    )  # fmt: skip
    assert set(world.plan("egg")) == {"egg", "chicken"}


def test_without_a_lock_the_names_give_the_order(world: World) -> None:
    layer(
        world,
        spec("a", ["munge-devel", "no-such-package", "vim", "(x or munge-devel)"]),
        spec("munge", packages={"munge-devel": []}),
        spec("myvim", packages={"vim": []}),
    )
    step = world.plan("a")["a"]
    assert step.needs == step.direct == ("munge",)
    assert step.problem is None  # told when it comes to be built


def test_packages_that_exclude_one_another_are_each_followed_to_a_site(world: World) -> None:
    layer(
        world,
        spec("mpi", packages={"mpi-a": ["pdsh"], "mpi-b": ["conman"], "mpi-c": ["no-such"]},
             conflicts=(("mpi-a", ("mpi-b",)),)),
        spec("pdsh"), spec("conman"), spec("other"),
    )  # fmt: skip
    assert set(world.plan("mpi")) == {"mpi", "pdsh", "conman"}


def test_a_spec_that_rpm_cannot_read_is_a_problem_and_in_nobodys_way(world: World) -> None:
    layer(world, spec("a", ["munge"]), spec("b"))
    world.specs["munge"] = Problem("bad-spec", "munge", ("munge.spec:3: no",))
    steps = world.plan("a", "b")
    assert steps["munge"].problem is not None
    assert steps["a"].needs == ("munge",)


names = st.sampled_from([f"p{n}" for n in range(7)])
wishes = st.one_of(
    names,
    st.builds("{} {} {}-1".format, names, st.sampled_from([">=", "<", "="]), st.integers(1, 3)),
    st.builds("({} if {})".format, names, names),
    st.builds("({} or {})".format, names, names),
)
some_wishes = st.lists(wishes, max_size=3)
base_packages = st.dictionaries(
    names, st.tuples(st.integers(1, 3), some_wishes, st.lists(names, max_size=1))
)
layer_recipes = st.lists(
    st.tuples(
        some_wishes,  # BuildRequires
        st.dictionaries(names, some_wishes, min_size=1, max_size=2),  # packages, their Requires
        st.integers(1, 3),
    ),
    min_size=1, max_size=5,
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(base_packages, layer_recipes)
def test_whatever_the_layer_a_lock_over_the_needs_alone_takes_the_same_of_the_layer(
    base: dict[str, tuple[int, list[str], list[str]]],
    recipes: list[tuple[list[str], dict[str, list[str]], int]],
) -> None:
    rpms = [
        Rpm(n, f"{v}-1", requires=wants, provides=[f"{p} = {v}-1" for p in also])
        for n, (v, wants, also) in base.items()
    ]
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        world = world_over(Path(directory), [Rpm("bash"), *rpms])
        taken: set[str] = set()
        for number, (wanted, packages, version) in enumerate(recipes):
            own = {name: texts for name, texts in packages.items() if name not in taken}
            taken |= own.keys()
            if own:
                layer(world, spec(f"r{number}", wanted, own, evr=f"{version}-1"))
        specs = world.specs
        for step in world.plan(*specs).values():
            each = specs[step.recipe]
            assert isinstance(each, Evaluation)
            if step.problem is not None:
                continue
            chosen = lock_over(world, each, specs.keys() - {step.recipe})
            later = lock_over(world, each, set(step.needs))
            if isinstance(chosen, Lock):
                assert isinstance(later, Lock), (step, later)
                mine = world.view(world.where).recipes_in
                if " or " not in repr((base, recipes)):  # who is not there moves such a choice
                    assert mine(later.packages) == mine(chosen.packages), step

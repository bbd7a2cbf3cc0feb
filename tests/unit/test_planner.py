"""What must be built, in which order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.model import Chroot, Evaluation, Nevra, Plan, Problem
from farm.plan.planner import capabilities, make_plan

X86 = Chroot("d-x86_64", "d", "x86_64", (), (), ".d")
ARM = Chroot("d-aarch64", "d", "aarch64", (), (), ".d")


def recipe(
    name: str,
    build: tuple[str, ...] = (),
    run: tuple[str, ...] = (),
    packages: tuple[str, ...] = (),
    **more: object,
) -> Evaluation:
    nevras = [Nevra(each, 0, "1", "1", "x86_64") for each in (name, *packages)]
    return Evaluation(
        source=Nevra(name, 0, "1", "1", "src"),
        packages=tuple((nevra, (f"{nevra.name} = 1-1",)) for nevra in nevras),
        build_requires=build,
        requires=tuple((nevra.name, run) for nevra in nevras),
        **more,  # type: ignore[arg-type]
    )


def plan(
    names: tuple[str, ...], *recipes: Evaluation, chroots: tuple[Chroot, ...] = (X86,)
) -> Plan:
    evaluations: dict[tuple[str, str], Evaluation | Problem] = {
        (each.source.name, chroot.name): each for each in recipes for chroot in chroots
    }
    return make_plan(names, chroots, evaluations, lambda _, name: name.startswith("base"))


def order(answer: Plan) -> list[str]:
    return [step.recipe for step in answer.steps]


def test_what_a_package_is_built_with_comes_first() -> None:
    pdsh = recipe("pdsh", build=("munge-devel", "base-make"))
    munge = recipe("munge", packages=("munge-devel",))
    assert order(plan(("pdsh",), pdsh, munge)) == ["munge", "pdsh"]


def test_what_a_package_wants_at_a_site_is_planned_but_not_waited_for() -> None:
    master = recipe("cluster-master", run=("pdsh",))
    answer = plan(("cluster-master",), master, recipe("pdsh"))
    assert sorted(order(answer)) == ["cluster-master", "pdsh"]
    assert all(step.needs == () for step in answer.steps)


def test_nothing_else_is_planned() -> None:
    assert order(plan(("pdsh",), recipe("pdsh"), recipe("conman"))) == ["pdsh"]


def test_what_the_base_has_is_not_taken_from_the_layer() -> None:
    lua = recipe("lua", packages=("base-lua",))
    assert order(plan(("lmod",), recipe("lmod", build=("base-lua",)), lua)) == ["lmod"]


def test_needs_reach_through_what_a_build_dependency_needs_when_installed() -> None:
    answer = plan(
        ("a",), recipe("a", build=("b",)), recipe("b", run=("c",)), recipe("c", build=("d",)),
        recipe("d"),
    )  # fmt: skip
    assert answer.steps[-1].needs == ("b", "c", "d")


def test_a_cycle_is_named_with_its_shortest_loop() -> None:
    answer = plan(("a",), recipe("a", build=("b",)), recipe("b", build=("a",)))
    loops = [problem for problem in answer.problems if problem.kind == "cycle"]
    assert {problem.subject for problem in loops} == {"a", "b"}
    assert "a -> b -> a" in loops[0].facts[0] or "b -> a -> b" in loops[0].facts[0]


def test_an_excluded_architecture_is_left_out_with_the_reason() -> None:
    answer = plan(("x",), recipe("x", exclusive_arch=("x86_64",)), chroots=(X86, ARM))
    excluded = {step.chroot: step.excluded for step in answer.steps}
    assert excluded == {"d-x86_64": "", "d-aarch64": "ExclusiveArch: x86_64"}


def test_a_spec_without_dist_is_refused() -> None:
    (step,) = plan(("x",), recipe("x", has_dist=False)).steps
    assert step.problem is not None and step.problem.kind == "no-dist"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("gcc", ("gcc",)),
        ("munge-devel >= 0.5", ("munge-devel",)),
        ("pkgconfig(munge) >= 1", ("pkgconfig(munge)",)),
        ("(a >= 1 or b)", ("a", "b")),
        ("((a and b) if pkgconfig(c) < 2)", ("a", "b", "pkgconfig(c)")),
        ("libx.so.1()(64bit)", ("libx.so.1()(64bit)",)),
        ("(libx.so.1()(64bit) or y)", ("libx.so.1()(64bit)", "y")),
    ],
)
def test_names_are_found_in_every_kind_of_dependency(text: str, names: tuple[str, ...]) -> None:
    assert capabilities(text) == names


@given(
    st.dictionaries(
        st.sampled_from("abcdefgh"),
        st.sets(st.sampled_from("abcdefgh"), max_size=3),
        min_size=1,
    )
)
def test_needs_always_come_before_what_needs_them(graph: dict[str, set[str]]) -> None:
    recipes = [recipe(name, build=tuple(sorted(graph[name] & set(graph)))) for name in graph]
    answer = plan(tuple(sorted(graph)), *recipes)
    places = {step.recipe: place for place, step in enumerate(answer.steps)}
    looping = {problem.subject for problem in answer.problems}
    for step in answer.steps:
        if step.recipe not in looping and not looping & set(step.needs):
            assert all(places[need] < places[step.recipe] for need in step.needs)

"""What must be built, in which order, and how cycles are broken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.model import Chroot, Evaluation, Nevra, Plan, Problem, Step
from farm.plan.cycles import loops, ordered, shortest_loop
from farm.plan.planner import Wanted, capabilities, make_plan

X86 = Chroot("d-x86_64", "d", "x86_64", (), (), ".d")
ARM = Chroot("d-aarch64", "d", "aarch64", (), (), ".d")

Names = frozenset[str]


def recipe(
    name: str,
    build: Iterable[str] = (),
    run: Iterable[str] = (),
    **more: object,
) -> Evaluation:
    """`build` and `run` name recipes of the layer: the solver is a fake here."""
    nevra = Nevra(name, 0, "1", "1", "x86_64")
    return Evaluation(
        source=Nevra(name, 0, "1", "1", "src"),
        packages=((nevra, ()),),
        build_requires=tuple(build),
        requires=((name, tuple(run)),),
        **more,  # type: ignore[arg-type]
    )


@dataclass
class Fake:
    """A solver for which every requirement is the name of a recipe.

    `bootstraps` are the BuildRequires that stay with the condition on, `lean` those recipes
    whose bootstrap's packages require nothing.
    """

    evaluations: Mapping[tuple[str, str], Evaluation | Problem]
    bootstraps: Mapping[str, Iterable[str]] = field(default_factory=dict)
    lean: Names = frozenset()
    hopes: Mapping[str, Wanted] = field(default_factory=dict)
    asked: list[tuple[str, Names, bool]] = field(default_factory=list)

    def _of(self, chroot: Chroot, name: str) -> Evaluation:
        found = self.evaluations[name, chroot.name]
        assert isinstance(found, Evaluation)
        return found

    def wanted(self, chroot: Chroot, name: str, booting: Names, bootstrap: bool) -> Wanted:
        self.asked.append((name, booting, bootstrap))
        own = self._of(chroot, name).build_requires
        direct = frozenset(self.bootstraps[name] if bootstrap else own)
        found, new = set(direct), set(direct)
        while new:
            lean = self.lean & booting
            new = {
                text
                for each in new - lean
                if (each, chroot.name) in self.evaluations
                for _, texts in self._of(chroot, each).requires
                for text in texts
            } - found
            found |= new
        hope = self.hopes.get(name, Wanted())
        return Wanted(direct, frozenset(found), hope.likely, hope.maybe)

    def at_site(self, chroot: Chroot, name: str) -> Names:
        requires = dict(self._of(chroot, name).requires)
        return frozenset(requires.get(name, ())) - {name}

    def because(
        self, chroot: Chroot, name: str, booting: Names, bootstrap: bool, other: str
    ) -> str:
        return f"{name}{'~bootstrap' if bootstrap else ''} BuildRequires: {other}"


def plan(
    names: Iterable[str],
    *recipes: Evaluation,
    chroots: tuple[Chroot, ...] = (X86,),
    bootstraps: Mapping[str, Iterable[str]] | None = None,
    lean: Iterable[str] = (),
    hopes: Mapping[str, Wanted] | None = None,
) -> Plan:
    evaluations: dict[tuple[str, str], Evaluation | Problem] = {
        (each.source.name, chroot.name): each for each in recipes for chroot in chroots
    }
    fake = Fake(evaluations, bootstraps or {}, frozenset(lean), hopes or {})
    answer = make_plan(tuple(names), chroots, evaluations, fake)
    known = {name for name, _ in evaluations}
    assert {name for name, _, _ in fake.asked} <= known
    return answer


def order(answer: Plan) -> list[str]:
    return [step.name for step in answer.steps]


def by_name(answer: Plan) -> dict[str, Step]:
    return {step.name: step for step in answer.steps}


def test_what_a_package_is_built_with_comes_first() -> None:
    answer = plan(["pdsh"], recipe("pdsh", ["munge"]), recipe("munge"))
    assert order(answer) == ["munge", "pdsh"]
    assert answer.steps[1].needs == answer.steps[1].direct == ("munge",)


def test_what_a_package_wants_at_a_site_is_planned_but_not_waited_for() -> None:
    answer = plan(
        ["cluster-master"], recipe("cluster-master", run=["pdsh"]),
        recipe("pdsh", ["munge"]), recipe("munge"),
    )  # fmt: skip
    assert sorted(order(answer)) == ["cluster-master", "munge", "pdsh"]
    assert by_name(answer)["cluster-master"].needs == ()


def test_nothing_else_is_planned_or_asked_for() -> None:
    recipes = [recipe("pdsh"), recipe("conman", ["munge"]), recipe("munge")]
    evaluations: dict[tuple[str, str], Evaluation | Problem] = {
        (each.source.name, X86.name): each for each in recipes
    }
    fake = Fake(evaluations)
    assert order(make_plan(["pdsh"], [X86], evaluations, fake)) == ["pdsh"]
    assert {name for name, _, _ in fake.asked} == {"pdsh"}


def test_needs_reach_through_what_a_build_dependency_needs_when_installed() -> None:
    answer = plan(
        ["a"], recipe("a", ["b"]), recipe("b", run=["c"]), recipe("c", ["d"]), recipe("d"),
    )  # fmt: skip
    last = answer.steps[-1]
    assert (last.name, last.needs, last.direct) == ("a", ("b", "c", "d"), ("b",))


def test_an_excluded_architecture_is_left_out_with_the_reason() -> None:
    answer = plan(
        ["x"], recipe("x", ["y"], exclusive_arch=("x86_64",)), recipe("y"), chroots=(X86, ARM)
    )
    excluded = {(step.recipe, step.chroot): step.excluded for step in answer.steps}
    assert excluded == {
        ("x", "d-x86_64"): "", ("y", "d-x86_64"): "", ("x", "d-aarch64"): "ExclusiveArch: x86_64",
    }  # fmt: skip


def test_a_spec_without_dist_is_refused() -> None:
    (step,) = plan(["x"], recipe("x", has_dist=False)).steps
    assert step.problem is not None and step.problem.kind == "no-dist"


def test_what_probably_provides_an_open_capability_is_planned_and_comes_first() -> None:
    hopes = {"pdsh": Wanted(likely=frozenset({"munge"}))}
    answer = plan(["pdsh"], recipe("pdsh"), recipe("munge"), hopes=hopes)
    assert order(answer) == ["munge", "pdsh"]
    assert by_name(answer)["pdsh"].needs == ("munge",)


def test_what_only_may_provide_it_comes_first_if_it_is_planned_anyway() -> None:
    hopes = {"a": Wanted(maybe=frozenset({"b", "c"}))}
    recipes = [recipe("a"), recipe("b"), recipe("c", ["a"])]
    assert order(plan(["a"], *recipes, hopes=hopes)) == ["a"]
    everything = by_name(plan(["a", "b", "c"], *recipes, hopes=hopes))
    assert everything["a"].needs == ()
    assert everything["a"].after == ("b",)  # c cannot come first
    assert (everything["c"].needs, everything["c"].after) == (("a",), ("b",))


def test_a_cycle_is_named_with_its_shortest_loop_and_the_reason_for_each_arrow() -> None:
    answer = plan(
        ["a"], recipe("a", ["b"]), recipe("b", ["a", "c"]), recipe("c", ["d"]), recipe("d", ["b"])
    )
    problems = {problem.subject: problem for problem in answer.problems}
    assert set(problems) == {"a", "b", "c", "d"}
    assert problems["a"].facts == (
        "it needs itself to be built: a -> b -> a", "a BuildRequires: b", "b BuildRequires: a",
    )  # fmt: skip
    assert "b -> c -> d -> b" in problems["c"].facts[0]
    assert "%bcond_with bootstrap" in problems["a"].remedy


def test_a_loop_of_build_requires_is_named_rather_than_a_shorter_way_through_packages() -> None:
    """The packages of b require a's, so a's are in a's own build root already."""
    answer = plan(["a"], recipe("a", ["b"]), recipe("b", ["a"], run=["a"]))
    assert "a -> b -> a" in answer.problems[0].facts[0]
    (problem,) = plan(["a"], recipe("a", ["b"]), recipe("b", run=["a"])).problems
    assert "a -> a" in problem.facts[0]


def test_what_is_behind_a_cycle_has_no_problem_of_its_own_but_needs_one_that_has() -> None:
    answer = plan(["x"], recipe("x", ["a"]), recipe("a", ["b"]), recipe("b", ["a"]))
    steps = by_name(answer)
    assert steps["x"].problem is None and steps["x"].needs == ("a",)
    assert steps["a"].problem is not None and steps["a"].needs == ()


def test_a_recipe_that_nobody_else_can_serve_is_a_loop_of_one() -> None:
    (problem,) = plan(["ghc"], recipe("ghc", ["ghc"])).problems
    assert problem.facts[0] == "it needs itself to be built: ghc -> ghc"


def test_a_bootstrap_breaks_the_cycle_and_the_package_is_built_once_more() -> None:
    answer = plan(
        ["a"], recipe("a", ["b"], bootstrap=True), recipe("b", ["a"]), bootstraps={"a": []}
    )
    assert not answer.problems
    assert order(answer) == ["a~bootstrap", "b", "a"]
    steps = by_name(answer)
    assert steps["b"].direct == ("a~bootstrap",)
    assert steps["a"].needs == ("a~bootstrap", "b") and steps["a"].direct == ("b",)
    first = steps["a~bootstrap"]
    assert first.bootstrap and first.id == "a~bootstrap@d-x86_64"


def test_only_the_bootstrap_is_built_for_another_member_of_the_cycle() -> None:
    answer = plan(
        ["b"], recipe("a", ["b"], bootstrap=True), recipe("b", ["a"]), bootstraps={"a": []}
    )
    assert order(answer) == ["a~bootstrap", "b"]


def test_a_compiler_that_needs_itself_is_built_by_its_bootstrap() -> None:
    answer = plan(["ghc"], recipe("ghc", ["ghc"], bootstrap=True), bootstraps={"ghc": []})
    assert order(answer) == ["ghc~bootstrap", "ghc"]
    assert answer.steps[1].direct == ("ghc~bootstrap",)


def test_outside_of_the_cycle_nothing_is_built_with_a_bootstrap() -> None:
    answer = plan(
        ["x"], recipe("x", ["b"]), recipe("a", ["b"], bootstrap=True), recipe("b", ["a"]),
        bootstraps={"a": []},
    )  # fmt: skip
    assert order(answer) == ["a~bootstrap", "b", "a", "x"]
    assert by_name(answer)["x"].needs == ("a", "b")


def test_the_bootstrap_that_breaks_most_loops_is_chosen_and_no_other() -> None:
    answer = plan(
        ["hub"],
        recipe("hub", ["left", "right"], bootstrap=True),
        recipe("left", ["hub"], bootstrap=True),
        recipe("right", ["hub"]),
        bootstraps={"hub": [], "left": []},
    )
    assert not answer.problems
    assert order(answer) == ["hub~bootstrap", "left", "right", "hub"]


def test_of_equals_the_first_by_name_is_bootstrapped() -> None:
    answer = plan(
        ["a", "b"], recipe("b", ["a"], bootstrap=True), recipe("a", ["b"], bootstrap=True),
        bootstraps={"a": [], "b": []},
    )  # fmt: skip
    assert order(answer) == ["a~bootstrap", "b", "a"]


def test_several_bootstraps_are_taken_where_one_is_not_enough() -> None:
    answer = plan(
        ["a", "c"],
        recipe("a", ["b", "c"], bootstrap=True), recipe("b", ["a", "c"]),
        recipe("c", ["d"], bootstrap=True), recipe("d", ["c", "a"]),
        bootstraps={"a": [], "c": []},
    )  # fmt: skip
    assert not answer.problems
    steps = by_name(answer)
    assert steps["a~bootstrap"].needs == steps["c~bootstrap"].needs == ()
    assert steps["d"].needs == ("a~bootstrap", "c~bootstrap")
    assert steps["a"].needs == ("a~bootstrap", "b", "c~bootstrap")


def test_two_cycles_are_broken_apart_from_one_another() -> None:
    answer = plan(
        ["a"],
        recipe("a", ["b"], bootstrap=True), recipe("b", ["a", "p"]),
        recipe("p", ["q"], bootstrap=True), recipe("q", ["p"]),
        bootstraps={"a": [], "p": []},
    )  # fmt: skip
    steps = by_name(answer)
    assert not answer.problems
    assert steps["b"].needs == ("a~bootstrap", "p", "q")
    assert steps["q"].needs == ("p~bootstrap",)


def test_a_bootstrap_that_needs_the_cycle_as_well_is_said_to_be_of_no_use() -> None:
    answer = plan(
        ["a"], recipe("a", ["b"], bootstrap=True), recipe("b", ["a"]), bootstraps={"a": ["b"]}
    )
    assert order(answer) == ["a", "b"]
    problem = answer.problems[0]
    assert "the bootstrap of a does not break it: a~bootstrap -> b -> a~bootstrap" in problem.facts
    assert "a~bootstrap BuildRequires: b" in problem.facts
    assert "a" in problem.remedy and "bootstrap" in problem.remedy


def test_what_the_bootstrap_does_not_require_does_not_close_the_loop_again() -> None:
    """The packages of the final a require c, which is built with b; its bootstrap's do not."""
    recipes = [
        recipe("a", ["b"], run=["c"], bootstrap=True), recipe("b", ["a"]), recipe("c", ["b"]),
    ]  # fmt: skip
    problem, *_ = plan(["a"], *recipes, bootstraps={"a": []}).problems
    assert "the bootstrap of a breaks it, but not b -> c -> b" in problem.facts
    assert "BuildRequires of a" not in problem.remedy
    assert "let the packages of a require less where `bootstrap` is on" in problem.remedy
    answer = plan(["a"], *recipes, bootstraps={"a": []}, lean=["a"])
    assert not answer.problems
    assert order(answer) == ["a~bootstrap", "b", "a", "c"]


def test_a_bootstrap_that_rpm_cannot_read_is_a_problem_of_that_step() -> None:
    evaluations: dict[tuple[str, str], Evaluation | Problem] = {
        ("a", X86.name): recipe("a", ["b"], bootstrap=True), ("b", X86.name): recipe("b", ["a"]),
    }  # fmt: skip

    class Unread(Fake):
        def wanted(self, chroot: Chroot, name: str, booting: Names, bootstrap: bool) -> Wanted:
            if bootstrap:
                return Wanted(problem=Problem("bad-spec", name, ("line 3",)))
            return super().wanted(chroot, name, booting, bootstrap)

    answer = make_plan(["a"], [X86], evaluations, Unread(evaluations))
    assert [problem.kind for problem in answer.problems] == ["bad-spec"]
    assert answer.steps[0].name == "a~bootstrap" and answer.steps[0].problem is not None


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


Graphs = st.dictionaries(
    st.sampled_from("abcdefgh"), st.sets(st.sampled_from("abcdefgh"), max_size=3), min_size=1
).map(lambda graph: {name: graph[name] & graph.keys() for name in graph})


@given(Graphs, st.sets(st.sampled_from("abcdefgh")), st.frozensets(st.sampled_from("abcdefgh")))
def test_needs_always_come_before_what_needs_them(
    graph: dict[str, set[str]], hoping: set[str], likely: frozenset[str]
) -> None:
    likely &= graph.keys()
    hopes = {name: Wanted(likely=likely, maybe=frozenset(graph)) for name in hoping}
    recipes = [recipe(name, graph[name]) for name in graph]
    answer = plan(sorted(graph), *recipes, hopes=hopes)
    before: set[str] = set()
    for step in answer.steps:
        assert set(step.awaited) <= before, step
        before.add(step.name)
    assert before == set(graph)
    looping = {name for loop in loops(graph) for name in loop}
    assert {problem.subject for problem in answer.problems} == looping


@given(Graphs, st.sets(st.sampled_from("abcdefgh")), st.integers(0, 3))
def test_bootstraps_break_every_loop_that_they_can(
    graph: dict[str, set[str]], declared: set[str], kept: int
) -> None:
    bootstraps = {name: sorted(graph[name])[:kept] for name in declared & graph.keys()}
    recipes = [recipe(n, graph[n], bootstrap=n in declared) for n in graph]
    answer = plan(sorted(graph), *recipes, bootstraps=bootstraps)
    before: set[str] = set()
    for step in answer.steps:
        assert set(step.needs) <= before, step
        before.add(step.name)
        if step.problem is None:
            met = {need.removesuffix("~bootstrap") for need in step.needs}
            wanted = bootstraps[step.recipe] if step.bootstrap else graph[step.recipe]
            assert set(wanted) <= met, step
            assert step.name not in step.needs
    broken = {problem.subject for problem in answer.problems}
    for loop in loops(graph):
        # with all of its bootstraps at once there would be no loop: then it must be planned
        booted = {n: set() if n in declared else graph[n] & loop - declared for n in loop}
        if not loops(booted) and kept == 0:
            assert not loop & broken


@given(Graphs)
def test_loops_are_the_names_that_reach_themselves(graph: dict[str, set[str]]) -> None:
    looping = {name for loop in loops(graph) for name in loop}
    assert looping == {name for name in graph if shortest_loop(name, graph)}
    assert sorted(ordered(graph)) == sorted(graph)


def test_a_version_with_a_macro_that_nobody_defines_is_refused() -> None:
    sound = recipe("x")
    odd = msgspec.structs.replace(
        sound, source=msgspec.structs.replace(sound.source, version="%{nosuch}")
    )
    (step,) = plan(["x"], odd).steps
    assert step.problem is not None and "%{nosuch}" in step.problem.facts[0]

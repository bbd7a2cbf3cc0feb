"""What the replay measures by: bounds that are bounds, graphs without circles."""

from __future__ import annotations

import random
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from farm.model import Demand, Plan, Step
from farm.rebuild.engines import Capacity
from farm.rebuild.ranks import remaining_paths
from farm.rebuild.simulation import simulated
from tests.bench.bounds import sharper_bound
from tests.bench.scheduling import first_come
from tests.bench.sources import build_dependencies, components, cut_circles, graph, selected

edges = st.dictionaries(
    st.sampled_from("abcdefghij"), st.frozensets(st.sampled_from("abcdefghij"), max_size=4)
).map(lambda found: {n: frozenset(e for e in each if e in found and e != n)
                     for n, each in found.items()})  # fmt: skip


@settings(deadline=None)
@given(edges)
def test_a_graph_whose_circles_were_cut_has_none_and_has_the_rest(
    found: dict[str, frozenset[str]],
) -> None:
    circles = [each for each in components(found) if len(each) > 1]
    acyclic, cut = cut_circles(found, circles)
    assert all(len(each) == 1 for each in components(acyclic))
    assert cut == sum(len(found[name] - acyclic[name]) for name in found)
    of_circle = {name: n for n, each in enumerate(circles) for name in each}
    for name, needs in found.items():
        for need in needs - acyclic[name]:
            assert of_circle[name] == of_circle[need]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_no_schedule_is_below_the_sharper_bound_nor_that_below_the_simple_one(
    seed: int, workers: int
) -> None:
    chance = random.Random(seed)
    steps = []
    for place in range(20):
        needs = {f"p{chance.randrange(place)}" for _ in range(min(place, chance.randrange(3)))}
        steps.append(Step(f"p{place}", "c", tuple(sorted(needs))))
    plan = Plan(tuple(steps))
    seconds = {step.id: chance.lognormvariate(3, 1.5) for step in steps}
    simple = max(*remaining_paths(plan, seconds).values(), sum(seconds.values()) / workers)
    sharper = sharper_bound(plan, seconds, workers)
    demands = {name: Demand(seconds=each) for name, each in seconds.items()}
    assert simple * (1 - 1e-9) <= sharper
    assert sharper <= simulated(plan, demands, [Capacity(workers)]).seconds * (1 + 1e-9)
    assert sharper <= first_come(plan, seconds, workers) * (1 + 1e-9)


def test_the_sharper_bound_knows_what_has_to_wait() -> None:
    # two workers, one step before six: half of the first step's time is lost
    steps = (Step("a", "c", ()), *(Step(f"b{n}", "c", ("a",)) for n in range(6)))
    seconds = {step.id: 10.0 for step in steps}
    assert sharper_bound(Plan(steps), seconds, 2) > 39.0


def test_debians_indexes_are_read_as_debian_means_them(tmp_path: Path) -> None:
    (tmp_path / "Packages").write_text(
        "Package: libfoo-dev\nSource: foo (1.2)\nProvides: foo-dev (= 1)\n\n"
        "Package: bar\n\nPackage: tool\n\nPackage: baz\nProvides: awk\n"
    )
    (tmp_path / "Sources").write_text(
        "Package: foo\nBuild-Depends: bar (>= 1) [amd64], other [riscv64], tool <!nocheck>\n\n"
        "Package: bar\nBuild-Depends: nowhere | foo-dev\nBuild-Depends-Indep: bar, awk\n\n"
        "Package: tool\n\nPackage: baz\n"
    )
    found = build_dependencies(tmp_path / "Packages", tmp_path / "Sources")
    assert found == {
        "foo": {"bar", "tool"}, "bar": {"foo", "baz"}, "tool": frozenset(), "baz": frozenset()
    }  # fmt: skip
    made = graph(tmp_path / "Packages", tmp_path / "Sources", 4)
    assert (made.cut, made.largest, made.edges) == (1, 2, 3)
    assert len(selected(found, 3)) == 3

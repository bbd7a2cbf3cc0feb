"""farm plan: what a build would cost, in the walk of the scheduler itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from farm.config import Config
from farm.foresight import Foresight, foreseen
from farm.model import Chroot, Demand, Plan, Step
from farm.rebuild.engines import Capacity, Machine
from farm.rebuild.engines.choice import Park, park_of
from farm.reports import BuildRow, Verdict
from farm.run import processors
from farm.screens.planning import duration, moment, show_plan

CHROOTS = {
    "d-x86_64": Chroot("d-x86_64", "d", "x86_64", (), (), ""),
    "d-aarch64": Chroot("d-aarch64", "d", "aarch64", (), (), ""),
}


def step(name: str, *needs: str, chroot: str = "d-x86_64") -> Step:
    return Step(name, chroot, needs)


def plan_of(
    steps: dict[Step, tuple[Verdict, float]],
    machine: Capacity | None = None,
    known: frozenset[str] = frozenset(),
    cores: int = 1,
) -> Foresight:
    rows = [BuildRow(each.recipe, "", verdict, "reason") for each, (verdict, _) in steps.items()]
    demands = {each.id: Demand(cores=cores, seconds=took) for each, (_, took) in steps.items()}
    machine = machine or Capacity(1)
    park = Park(machine, (Machine(machine),))
    return foreseen(Plan(tuple(steps)), rows, demands, park, CHROOTS, known, now=1000.0)


def on_cluster(steps: dict[Step, float], *machines: Machine, unknown: str = "") -> Foresight:
    rows = [BuildRow(each.recipe, "", "build", "reason") for each in steps]
    demands = {each.id: Demand(seconds=took) for each, took in steps.items()}
    park = Park(Capacity(64, share=2, queues=True), machines, unknown)
    return foreseen(Plan(tuple(steps)), rows, demands, park, CHROOTS, frozenset(), now=0.0)


def node(name: str, cores: int, *archs: str) -> Machine:
    return Machine(Capacity(cores, cores), frozenset(archs), name)


def test_only_what_would_be_built_costs() -> None:
    a, b, c = step("a"), step("b", "a"), step("c", "b")
    foresight = plan_of({a: ("keep", 500.0), b: ("build", 10.0), c: ("wait", 20.0)})
    assert [each.package for each in foresight.order] == ["b", "c"]
    assert (foresight.seconds, foresight.certain_seconds) == (30.0, 10.0)
    assert foresight.finish == 1030.0
    assert foresight.core_hours == pytest.approx(30 / 3600)
    assert (foresight.kept, foresight.certain) == (1, 1)


def test_what_fails_or_is_left_out_costs_nothing_and_is_told() -> None:
    foresight = plan_of({step("a"): ("failed", 500.0), step("b"): ("skipped", 500.0)})
    assert foresight.order == () and foresight.seconds == 0
    assert [row.recipe for row in foresight.failing] == ["a", "b"]


def test_the_critical_path_is_marked_with_its_times() -> None:
    a, b, c = step("a"), step("b", "a"), step("c")
    foresight = plan_of({a: ("build", 10.0), b: ("build", 20.0), c: ("build", 25.0)}, Capacity(2))
    chain = [(each.package, each.start, each.seconds) for each in foresight.critical_path]
    assert chain == [("a", 0.0, 10.0), ("b", 10.0, 20.0)]
    assert {each.package for each in foresight.order if each.critical} == {"a", "b"}


def test_more_machines_save_until_the_longest_chain_is_all_that_is_left() -> None:
    steps = {step(f"p{n}"): ("build", 10.0) for n in range(8)}
    saved = {each.more: each.seconds for each in plan_of(steps).machines}  # type: ignore[arg-type]
    assert saved == {1: 40.0, 2: 30.0, 4: 20.0, 8: 10.0}


def test_a_job_is_never_spread_over_machines() -> None:
    steps = {step(f"p{n}"): ("build", 10.0) for n in range(2)}
    foresight = plan_of(steps, Capacity(4, 3), cores=2)  # type: ignore[arg-type]
    assert foresight.seconds == 20.0
    assert foresight.machines[0].seconds == 10.0
    three = plan_of({step(f"p{n}"): ("build", 10.0) for n in range(3)}, Capacity(4, 3), cores=2)
    assert three.machines[0].seconds == 20.0  # of six cores one on each machine stays idle


def test_on_a_cluster_each_architecture_has_its_nodes_and_an_attempt_the_cores_it_asks_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    here = {step(f"p{n}"): 10.0 for n in range(4)}
    there = {step(f"p{n}", chroot="d-aarch64"): 30.0 for n in range(2)}
    small, large = node("small", 2, "aarch64"), node("large", 4, "x86_64")
    foresight = on_cluster(here | there, small, large)
    # two at a time on the larger one, one after the other on the smaller one
    ends: dict[str, float] = {}
    for each in foresight.order:
        ends[each.arch] = max(ends.get(each.arch, 0.0), each.start + each.seconds)
    assert ends == {"x86_64": 20.0, "aarch64": 60.0}
    assert foresight.seconds == 60.0
    assert (foresight.nodes, foresight.like, foresight.notes) == (2, "small", ())
    assert [each.seconds for each in foresight.machines] == [30.0] * 4
    show_plan(foresight, as_json=False)
    text = capsys.readouterr().out
    assert "1:00 min, on 2 nodes of the cluster, at most 64 jobs at a time" in text
    assert "+1 saves 30 s (50%), more save no more; each like the node small" in text


def test_what_no_node_builds_and_a_silent_cluster_are_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    steps = {step("a", chroot="d-aarch64"): 10.0}
    foresight = on_cluster(steps, node("large", 4, "x86_64"))
    assert foresight.seconds == 10.0
    assert "no node in service builds for aarch64" in foresight.notes[0]
    silent = on_cluster(steps, unknown="Slurm does not answer (down)")
    assert (silent.seconds, silent.nodes, silent.machines) == (10.0, 0, ())
    show_plan(silent, as_json=False)
    text = capsys.readouterr().out
    assert "warning: Slurm does not answer (down): room for 64 jobs" in text
    assert "more machines    not known" in text


def test_sums_are_by_architecture_and_say_how_sure_they_are() -> None:
    here, there = step("a"), step("a", chroot="d-aarch64")
    foresight = plan_of(
        {here: ("build", 3600.0), there: ("wait", 7200.0)}, known=frozenset([here.id]), cores=2
    )
    foreign, native = foresight.architectures
    assert (foreign.arch, foreign.builds, foreign.maybe, foreign.core_hours) == ("aarch64", 0, 1, 4)
    assert (native.learnt, native.estimated, foreign.learnt, foreign.estimated) == (1, 0, 0, 1)
    assert foresight.learnt == 1


def test_nothing_to_build_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    show_plan(plan_of({step("a"): ("keep", 5.0)}), as_json=False)
    assert capsys.readouterr().out == "Nothing to build: 1 result stands as it is.\n"


def test_what_is_left_out_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    show_plan(plan_of({step("a"): ("skipped", 5.0)}), as_json=False)
    text = capsys.readouterr().out
    assert text == "a on  is left out: reason\nNothing to build: 0 results stand as they are.\n"
    many = plan_of({step(f"p{n}"): ("skipped", 5.0) for n in range(30)})
    show_plan(many, as_json=False)
    text = capsys.readouterr().out
    assert len(text.splitlines()) == 7 and "… and 25 more are left out" in text
    show_plan(many, as_json=False, whole=True)
    assert "p29 on  is left out" in capsys.readouterr().out


def test_a_large_plan_stays_on_one_screen_unless_asked_for_whole(
    capsys: pytest.CaptureFixture[str],
) -> None:
    steps = {step(f"p{n}", *([f"p{n - 1}"] if n else [])): ("build", 10.0) for n in range(60)}
    foresight = plan_of(steps)  # type: ignore[arg-type]
    show_plan(foresight, as_json=False, height=24)
    text = capsys.readouterr().out
    assert 20 <= len(text.splitlines()) <= 24
    assert "expected time    10:00 min, 1 at a time" in text
    assert "10:00 min: p0 x86_64 (10 s) → p1" in text and "… 48 more …" in text
    assert "more machines    save nothing" in text
    show_plan(foresight, as_json=False, height=24, whole=True)
    assert "9:50 min" in capsys.readouterr().out


def test_what_more_machines_save_is_said_as_far_as_they_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_plan(plan_of({step(f"p{n}"): ("build", 60.0) for n in range(4)}), as_json=False)
    text = capsys.readouterr().out
    assert "+1 saves 2:00 min (50%), +4 saves 3:00 min (75%), more save no more\n" in text


def test_programs_get_everything(capsys: pytest.CaptureFixture[str]) -> None:
    show_plan(plan_of({step("a"): ("build", 5.0)}), as_json=True)
    answer = json.loads(capsys.readouterr().out)
    assert answer["seconds"] == 5.0 and answer["order"][0]["package"] == "a"
    assert [each["more"] for each in answer["machines"]] == [1, 2, 4, 8]


def test_durations_and_moments_read_like_a_person_says_them() -> None:
    assert [duration(each) for each in (0, 59.6, 200, 3599.7, 7500)] == [
        "0 s", "1:00 min", "3:20 min", "1:00 h", "2:05 h",
    ]  # fmt: skip
    assert "1970-01-01" in moment(40000.0)


def test_more_attempts_than_processors_are_no_quicker_together(tmp_path: Path) -> None:
    park = park_of("local", Config(), tmp_path, 100 * processors(), ())
    (machine,) = park.machines
    assert machine.capacity.cores == processors()
    assert machine.capacity.slots == 100 * processors()

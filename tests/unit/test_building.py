"""Who wants what of a build, and how far each of them is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.building.joining import tried_again
from farm.building.parties import Parties, Party, first_told
from farm.building.request import Wanted, failed_before
from farm.model import Built, Failed, Nevra, Package, Plan, Step
from farm.rebuild.scheduler import Ending
from farm.wishes import Wish


class _Result:
    """As much of a result as is looked at."""

    def __init__(self, key: str) -> None:
        self.key = key


def ending(name: str, *, key: str = "", kept: bool = False) -> Ending:
    """Failed without a key, else built or kept."""
    step = Step(name, "c", ())
    if not key:
        return Ending(step, Failed("package", "no"))
    srpm = Package(Nevra(name, 0, "1", "1", "src"), "0" * 64, 1, name)
    result: Any = _Result(key)
    return Ending(step, Built((), srpm, 1.0), result, kept)


def party(name: str, *steps: str, **more: Any) -> Party:
    made = Party(name, 1, Wanted(tuple(steps)), frozenset("c"), **more)
    made.wants(f"{step}@c" for step in steps)
    return made


def wish(*names: str, **more: Any) -> Wish:
    return Wish(1, "r", names, ("x86_64",), "layer", **more)


@given(
    st.lists(st.sets(st.sampled_from("abcdef")), min_size=1, max_size=4),
    st.permutations("abcdef"),
    st.lists(st.integers(0, 6), max_size=4),
)
def test_of_each_is_left_what_has_not_ended_however_often_it_is_counted(
    wanted: list[set[str]], order: list[str], looks: list[int]
) -> None:
    parties = Parties(party("", *wanted[0]))
    parties.all += [party(str(number), *steps) for number, steps in enumerate(wanted[1:])]
    endings: dict[str, Ending] = {}
    parties.begin()
    for number, name in enumerate(order):
        endings[f"{name}@c"] = ending(name, key="k")
        if number in looks:
            assert parties.count(endings)
            assert not parties.count(endings), "nothing has ended since"
    parties.count(endings)
    assert all(not each.left for each in parties.all)
    parties.begin()
    assert [each.left for each in parties.all] == [set(each.steps) for each in parties.all]


def test_what_is_urgent_for_one_is_urgent_and_who_has_an_answer_waits_no_more() -> None:
    parties = Parties(party("", "a"))
    parties.all += [party("1", "b", urgent=True), party("2", "c")]
    assert parties.urgent == {"b@c"}
    assert [each.name for each in parties.waiting] == ["1", "2"]
    parties.all[1].answered = True
    assert [each.name for each in parties.waiting] == ["2"]
    assert parties.urgent == {"b@c"}, "what was taken on goes on as it was asked for"


def test_what_was_built_and_then_walked_again_is_told_as_built() -> None:
    built, kept = ending("a", key="1"), ending("a", key="1", kept=True)
    assert first_told(kept, {"a@c": built}) is built
    assert first_told(kept, {}) is kept
    other = ending("a", key="2", kept=True)
    assert first_told(other, {"a@c": built}) is other
    again = ending("a", key="2")
    assert first_told(again, {"a@c": built}) is again
    failed = ending("a")
    assert first_told(failed, {"a@c": built}) is failed


@pytest.mark.parametrize(
    ("asked", "again"),
    [
        (wish("bad"), True),
        (wish("good"), False),
        (wish("good", again=True), True),
        (wish("bad", everything=True), False),
        (wish(everything=True), False),
        (wish(everything=True, again=True), True),
    ],
)
def test_what_failed_is_tried_again_for_who_names_it_or_asks_for_that(
    asked: Wish, again: bool
) -> None:
    endings = {"bad@c": ending("bad"), "good@c": ending("good", key="1")}
    assert tried_again(asked, endings) is again
    assert not tried_again(asked, {"good@c": endings["good@c"]})


def test_what_was_skipped_because_of_a_failure_is_retried_even_if_it_was_built_before() -> None:
    steps = (
        Step("a", "c", ()), Step("b", "c", ("a",)), Step("c", "c", ("a", "b")), Step("d", "c", ())
    )  # fmt: skip
    survey: Any = SimpleNamespace(
        ledger=SimpleNamespace(failing=lambda: frozenset({"a@c"})),
        recipes={each.name: None for each in steps},
        left_out=(),
        plan=lambda names: Plan(steps),
    )
    assert failed_before(survey) == Wanted(("a", "b", "c"), frozenset({"a@c", "b@c", "c@c"}))


def test_what_failed_on_one_architecture_is_tried_again_there_alone_with_what_it_needs() -> None:
    steps = tuple(
        Step(name, chroot, needs)
        for name, needs in (("a", ()), ("b", ("a",)), ("c", ("b",)), ("d", ("c",)), ("e", ("a",)))
        for chroot in ("one", "two")
    )
    survey: Any = SimpleNamespace(
        ledger=SimpleNamespace(failing=lambda: frozenset({"c@one", "e@two"})),
        recipes={each.recipe: None for each in steps},
        left_out=(),
        plan=lambda names: Plan(steps),
    )
    wanted = failed_before(survey)
    assert wanted.names == ("c", "d", "e")
    assert [step.id for step in wanted.of(Plan(steps)).steps] == [
        "a@one", "a@two", "b@one", "c@one", "d@one", "e@two",
    ]  # fmt: skip
    assert Wanted(("a",)).of(Plan(steps)) == Plan(steps)

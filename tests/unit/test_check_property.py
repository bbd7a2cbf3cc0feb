"""Trying all questions together, and asking again only what a change can touch, are short cuts:
the verdicts are those of asking every question by itself."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farm.model import Evaluation, Lock, Nevra, Verdict
from farm.plan.fit.check import installations, layer_verdicts
from farm.plan.fit.compare import compare
from farm.plan.fit.contribution import Contribution
from farm.plan.fit.view import View
from farm.plan.metadata.repodata import pin_repository
from farm.plan.solver import installable, resolve
from tests.repositories import Rpm, chroot, repository, write_repository

NAMES = tuple(f"p{number}" for number in range(7))
RECIPES = tuple(f"r{number}" for number in range(4))
WORDS = (*NAMES, *RECIPES, "nowhere", "virtual", "pkgconfig(x)", "p1 >= 2", "(p2 or r1)")

words = st.lists(st.sampled_from(WORDS), max_size=2, unique=True).map(tuple)
few = st.lists(st.sampled_from(WORDS), max_size=1, unique=True).map(tuple)


@st.composite
def packages(draw: st.DrawFn, name: str) -> Rpm:
    return Rpm(
        name,
        draw(st.sampled_from(("1-1", "2-1", "3-1"))),
        requires=draw(words),
        conflicts=draw(few),
        provides=draw(st.sampled_from(((), ("virtual",), ("pkgconfig(x)",)))),
    )


@st.composite
def bases(draw: st.DrawFn) -> tuple[Rpm, ...]:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=2))
    return (Rpm("bash"), *(draw(packages(name)) for name in names))


@st.composite
def recipes(draw: st.DrawFn) -> tuple[Evaluation, ...]:
    found = []
    for name in draw(st.lists(st.sampled_from(RECIPES), unique=True, min_size=1)):
        nevra = Nevra(name, 0, "1", "1.t1", "x86_64")
        found.append(
            Evaluation(
                source=Nevra(name, 0, "1", "1.t1", "src"),
                packages=((nevra, (f"{name} = 1-1.t1",)),),
                build_requires=draw(words),
                build_conflicts=draw(few),
                requires=((name, draw(words)),),
                conflicts=((name, draw(few)),),
            )
        )
    return tuple(found)


def opener(
    directory: Path, base: tuple[Rpm, ...], layer: tuple[Evaluation, ...]
) -> Callable[[frozenset[str]], View]:
    place = repository(write_repository(directory / "base", base))
    pins = (pin_repository(place, directory / "pins"),)
    where = chroot(place, setup=("bash",))
    known: dict[frozenset[str], View] = {}

    def open_view(stale: frozenset[str]) -> View:
        if stale not in known:
            some = [Contribution(e.source.name, e, stale=e.source.name in stale) for e in layer]
            known[stale] = View.open(where, pins, directory / "cache", some)
        return known[stale]

    return open_view


def by_question(verdicts: tuple[Verdict, ...]) -> dict[tuple[str, str], str]:
    return {(verdict.check, verdict.package): verdict.state for verdict in verdicts}


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(bases(), recipes())
def test_verdicts_are_those_of_every_question_by_itself(
    base: tuple[Rpm, ...], layer: tuple[Evaluation, ...]
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        open_view = opener(Path(scratch), base, layer)
        evaluations = {each.source.name: each for each in layer}
        found = by_question(layer_verdicts(open_view, evaluations, (), evaluations))
        view = open_view(frozenset())
        for name, each in evaluations.items():
            answer = resolve(view.universe, view.chroot, each.build_requires, each.build_conflicts)
            assert (found["build", name] == "ok") == isinstance(answer, Lock), name
        for wanted in installations(view.recipes, ()):
            answer = installable(view.universe, wanted.exact, weak=False)
            fine = found["install", str(wanted.nevra)] == "ok"
            assert fine == isinstance(answer, Lock), wanted


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(bases(), bases(), recipes())
def test_what_another_base_does_is_what_a_check_from_scratch_says(
    base: tuple[Rpm, ...], other: tuple[Rpm, ...], layer: tuple[Evaluation, ...]
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        before = opener(Path(scratch) / "before", base, layer)
        after = opener(Path(scratch) / "after", other, layer)
        evaluations = {each.source.name: each for each in layer}
        compared = compare(before, after, evaluations, (), evaluations)
        scratched = by_question(layer_verdicts(after, evaluations, (), evaluations))
        for question, state in by_question(compared.after).items():
            # what the base had is not open but gone; else the two agree
            if (state, scratched[question]) != ("broken", "open"):
                assert state == scratched[question], question

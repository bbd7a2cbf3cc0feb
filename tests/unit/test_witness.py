"""Verdicts on random universes: the same as plain libsolv's, question by question."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
import solv
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farm.plan.closure import witness
from farm.plan.closure.graph import read_graph
from farm.plan.closure.moved import replace_packages
from farm.plan.closure.regraph import regraph
from farm.plan.closure.witness import check, decide, recheck
from farm.plan.metadata.solvfiles import parse as parse_metadata
from tests.repositories import Rpm, primary_xml

NATIVE = "x86_64"
NAMES = tuple("abcdefghij")
CAPABILITIES = ("cap", "virt", "lib.so()(64bit)")
FILES = ("/usr/bin/x", "/etc/y")
VERSIONS = ("1", "2", "3")
JOINS = ("or", "or", "and", "if", "unless", "with", "without")


class Maker:
    """Universes in which most things fit together and some do not; rarer the odd ones out.

    Hypothesis gives the seed and how wild it is to be: its own choices, drawn one by one, make
    universes in which hardly anything is installable.
    """

    def __init__(self, seed: int, wild: float) -> None:
        self._random = random.Random(seed)
        self._wild = wild
        self._names = NAMES[: self._random.randint(2, len(NAMES))]

    def universe(self) -> list[Rpm]:
        few = self._random.randint(0, 6)
        binaries = [self._binary(name) for name in self._names]
        binaries += [self._binary(self._random.choice(self._names)) for _ in range(few)]
        if self._random.random() < 0.4:  # the same in 32 bits, as a rule
            natives = [binary for binary in binaries if binary.arch == NATIVE]
            binaries += [self._twin(binary) for binary in natives if self._random.random() < 0.6]
        return binaries + [self._source() for _ in range(self._random.randint(0, 4))]

    def _binary(self, name: str) -> Rpm:
        arches = (
            ("x86_64", "noarch") if self._random.random() > self._wild / 4 else ("i686", "mips")
        )
        return Rpm(
            name,
            f"{self._random.choice(VERSIONS)}-1",
            self._random.choice(arches),
            requires=self._several(self._requirement, 3),
            provides=self._several(self._provide, 2),
            conflicts=self._several(self._exclusion, 2) if self._random.random() < 0.3 else (),
            obsoletes=[self._plain()] if self._random.random() < 0.15 else (),
            files=[self._random.choice(FILES)] if self._random.random() < 0.3 else (),
        )

    def _twin(self, binary: Rpm) -> Rpm:
        evr = binary.evr if self._random.random() < 0.8 else f"{self._random.choice(VERSIONS)}-1"
        return replace(self._binary(binary.name), evr=evr, arch="i686")

    def _source(self) -> Rpm:
        return Rpm(
            "source",
            f"{self._random.choice(VERSIONS)}-1",
            self._random.choice(("src", "nosrc")),
            requires=self._several(self._requirement, 5),
            conflicts=self._several(self._exclusion, 2) if self._random.random() < 0.3 else (),
        )

    def _several(self, make: Callable[[], str], most: int) -> list[str]:
        return [make() for _ in range(self._random.randint(0, most))]

    def _requirement(self) -> str:
        chance = self._random.random()
        if chance < self._wild * 0.3:
            return self._rich(2)
        if chance < 0.35:
            return self._random.choice((*FILES, "rpmlib(Known) <= 1-1"))
        return self._plain()

    def _exclusion(self) -> str:
        return self._rich(2) if self._random.random() < self._wild * 0.15 else self._plain()

    def _provide(self) -> str:
        word = self._random.choice((*CAPABILITIES, *self._names))
        return word if self._random.random() < 0.5 else f"{word} = {self._random.choice(VERSIONS)}"

    def _plain(self) -> str:
        if self._random.random() < self._wild * 0.1:
            return "nowhere"
        word = self._random.choice((*self._names, *self._names, *CAPABILITIES))
        if self._random.random() < 0.6:
            return word
        operator = self._random.choice((">=", ">=", "<=", "<", ">", "="))
        return f"{word} {operator} {self._random.choice(VERSIONS)}"

    def _rich(self, depth: int) -> str:
        if not depth or self._random.random() < 0.3:
            return self._plain() if self._random.random() < 0.8 else "nowhere"
        join = self._random.choice(JOINS)
        inner = depth - 1 if join not in ("with", "without") else 0
        text = f"{self._rich(inner)} {join} {self._rich(inner)}"
        if join in ("if", "unless") and self._random.random() < 0.3:
            text += f" else {self._rich(inner)}"
        return f"({text})"


UNIVERSES = st.builds(
    lambda seed, wild: Maker(seed, wild).universe(),
    st.integers(0, 2**48),
    st.sampled_from((0.0, 0.2, 0.5, 1.0)),
)


def pool_of(packages: list[Rpm], *, colours: bool = False) -> Any:
    pool = solv.Pool()
    pool.setarch(NATIVE)
    pool.set_flag(solv.Pool.POOL_FLAG_IMPLICITOBSOLETEUSESCOLORS, int(colours))
    repo = pool.add_repo("base")
    parse_metadata(pool, repo, primary_xml(packages), "base")
    pool.addfileprovides()
    pool.createwhatprovides()
    return pool


def plain_libsolv(pool: Any, number: int) -> bool:
    """Its own answer to one question, with nothing of farm in between."""
    solver = pool.Solver()
    solver.set_flag(solv.Solver.SOLVER_FLAG_IGNORE_RECOMMENDED, 1)
    jobs = [pool.Job(solv.Job.SOLVER_INSTALL | solv.Job.SOLVER_SOLVABLE, number)]
    solvable = pool.id2solvable(number)
    if solvable.arch in ("src", "nosrc"):
        erase = solv.Job.SOLVER_ERASE | solv.Job.SOLVER_SOLVABLE_PROVIDES
        jobs += [
            pool.Job(erase, dep.id) for dep in solvable.lookup_deparray(solv.SOLVABLE_CONFLICTS)
        ]
    return not solver.solve(jobs)


def questions_of(pool: Any) -> list[int]:
    return [solvable.id for solvable in pool.solvables]


def verdicts_of_plain_libsolv(pool: Any) -> dict[int, bool]:
    return {number: plain_libsolv(pool, number) for number in questions_of(pool)}


def assert_as_plain_libsolv(packages: list[Rpm], colours: bool) -> None:
    pool = pool_of(packages, colours=colours)
    questions = questions_of(pool)
    graph = read_graph(pool, NATIVE)
    expected = verdicts_of_plain_libsolv(pool)
    decided = decide(graph, questions)
    for number in decided.dead & expected.keys():
        assert not expected[number], f"{pool.id2solvable(number)} is called dead"
    for number in decided.witnessed:
        assert expected[number], f"{pool.id2solvable(number)} is called installable"
    with patch.object(witness, "_FEW", 0):  # however few are left, other choices are tried
        broken = check(pool, graph, questions).broken
    assert {number: number not in broken for number in questions} == expected


def assert_rechecked_as_from_scratch(
    before: list[Rpm], updates: list[list[Rpm]], dice: random.Random
) -> None:
    """An update takes some packages away and brings others; what was known is used again."""
    colours = dice.random() < 0.5
    pool = pool_of(before, colours=colours)
    packages = dict(zip(questions_of(pool), before, strict=True))
    graph = read_graph(pool, NATIVE)
    verdicts = check(pool, graph, list(packages))
    gone: set[int] = set()
    for update in updates:
        leaving = {number for number in packages if dice.random() < 0.3}
        gone |= leaving
        come = replace_packages(pool, gone, primary_xml(update), "update")
        graph = regraph(pool, graph, frozenset(leaving), come)
        verdicts = recheck(pool, graph, verdicts, leaving, come)
        packages = {n: p for n, p in packages.items() if n not in leaving}
        packages |= dict(zip(come, update, strict=True))
        scratch = pool_of(list(packages.values()), colours=colours)
        expected = dict(zip(packages, verdicts_of_plain_libsolv(scratch).values(), strict=True))
        assert set(verdicts.decided.questions) == expected.keys()
        assert {n: n not in verdicts.broken for n in packages} == expected


PARTICULAR = {
    "a condition that holds": (
        [Rpm("x"), Rpm("source", arch="src", requires=["(nowhere if x)", "x"])],
        {"source"},
    ),
    "a condition that does not hold": (
        [Rpm("x"), Rpm("source", arch="src", requires=["(nowhere if x)"])],
        set(),
    ),
    "a condition of a package that is brought in": (
        [Rpm("x"), Rpm("y", requires=["(nowhere if x)"]), Rpm("z", requires=["x", "y"])],
        {"z"},
    ),
    "a default provider in the way of another": (
        [
            Rpm("first", provides=["service"], conflicts=["tool"]),
            Rpm("second", provides=["service"]),
            Rpm("tool"),
            Rpm("source", arch="src", requires=["service", "tool"]),
        ],
        set(),
    ),
    "a chain of what is missing": (
        [Rpm("a", requires=["b"]), Rpm("b", requires=["c"]), Rpm("c", requires=["nowhere"])],
        {"a", "b", "c"},
    ),
    "what is kept out of the build root": (
        [Rpm("x"), Rpm("y", requires=["x"]),
         Rpm("source", arch="nosrc", requires=["y"], conflicts=["x"])],
        {"source"},
    ),
    "one that obsoletes what it needs": (
        [Rpm("new", obsoletes=["old"], requires=["old"]), Rpm("old")],
        {"new"},
    ),
    "an older version than the one that is needed beside it": (
        [Rpm("a", "1-1", requires=["a = 2"]), Rpm("a", "2-1")],
        {"a"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PARTICULAR)
def test_particular_universes(name: str) -> None:
    packages, expected = PARTICULAR[name]
    for attempts in (0, 1_000):  # with other choices tried, and without
        with patch.object(witness, "_FEW", attempts):
            assert_as_plain_libsolv(packages, colours=True)
    pool = pool_of(packages)
    broken = check(pool, read_graph(pool, NATIVE), questions_of(pool)).broken
    assert {pool.id2solvable(number).name for number in broken} == expected


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(UNIVERSES, st.booleans())
def test_verdicts_are_those_of_plain_libsolv(packages: list[Rpm], colours: bool) -> None:
    assert_as_plain_libsolv(packages, colours)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(UNIVERSES, st.lists(UNIVERSES, min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_a_recheck_says_what_a_check_from_scratch_would_say(
    before: list[Rpm], updates: list[list[Rpm]], dice: random.Random
) -> None:
    assert_rechecked_as_from_scratch(before, updates, dice)


@pytest.mark.soak
@settings(max_examples=5_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(UNIVERSES, st.lists(UNIVERSES, min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_a_recheck_says_what_a_check_from_scratch_would_say_thousands_of_times(
    before: list[Rpm], updates: list[list[Rpm]], dice: random.Random
) -> None:
    assert_rechecked_as_from_scratch(before, updates, dice)


@pytest.mark.soak
@settings(max_examples=20_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(UNIVERSES, st.booleans())
def test_verdicts_are_those_of_plain_libsolv_thousands_of_times(
    packages: list[Rpm], colours: bool
) -> None:
    assert_as_plain_libsolv(packages, colours)

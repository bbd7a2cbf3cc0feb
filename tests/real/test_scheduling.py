"""The order on the build-dependency graph of a thousand of Debian's source packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.indexes import fetch_indexes
from tests.bench.scheduling import AT_MOST, SUITE, WORKERS, Case, measure
from tests.bench.sources import Graph, graph

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def thousand() -> Graph:
    cache = Path("~/.cache/farm/bench-solver/indexes").expanduser()
    cache.mkdir(parents=True, exist_ok=True)
    return graph(*fetch_indexes(cache, (SUITE,))[SUITE], 1000)


def test_the_graph_is_large_and_has_no_circles_left(thousand: Graph) -> None:
    before: set[str] = set()
    for step in thousand.plan.steps:
        assert before.issuperset(step.needs)
        before.add(step.name)
    assert len(before) == 1000 and thousand.edges > 5000
    assert thousand.cut < thousand.edges / 10


def test_a_build_takes_at_most_a_twentieth_more_than_any_would(thousand: Graph) -> None:
    cases: list[Case] = [measure(thousand, workers, seed) for workers in WORKERS for seed in (0, 1)]
    assert [case for case in cases if case.ours > AT_MOST * case.bound] == []
    assert any(case.first_come > 1.03 * case.ours for case in cases)

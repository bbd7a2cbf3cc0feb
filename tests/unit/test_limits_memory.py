"""How much memory processes have: what several of them share is there once."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.run import start
from farm.sandbox import limits, memory
from farm.sandbox.limits import Allowed, Meter

MIB = 1 << 20
_SHARES = """\
import mmap, os, sys, time
common = mmap.mmap(-1, 80 << 20)
for n in range(0, len(common), 4096):
    common[n] = 7
for _ in range(4):
    if not os.fork():
        sum(common[n] for n in range(0, len(common), 4096))
        open(f"{sys.argv[1]}/{os.getpid()}", "w").close()
        time.sleep(60)
open(f"{sys.argv[1]}/{os.getpid()}", "w").close()
time.sleep(60)
"""
_FORKS = """\
import os, sys, time
ballast = bytearray(os.urandom(1)) * (80 << 20)
for _ in range(4):
    if not os.fork():
        if "own" in sys.argv:
            for n in range(0, len(ballast), 4096):
                ballast[n] = 7
        open(f"{sys.argv[1]}/{os.getpid()}", "w").close()
        time.sleep(60)
open(f"{sys.argv[1]}/{os.getpid()}", "w").close()
time.sleep(60)
"""


@contextmanager
def forks(place: Path, *words: str, program: str = _FORKS) -> Iterator[int]:
    """Five processes of 80 MiB, four of them forked by the first."""
    with start([sys.executable, "-S", "-c", program, place, *words]) as child:
        deadline = time.monotonic() + 30
        while len(list(place.iterdir())) < 5:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield child.pid


def test_what_forked_processes_share_is_counted_once(tmp_path: Path) -> None:
    with forks(tmp_path) as pid:
        meter = Meter(Allowed(memory=200 * MIB))
        assert meter.watch(pid) == ""
        assert 80 * MIB < meter.peak.memory < 150 * MIB
        meter._next_memory = 0.0
        assert meter.watch(pid) == "", "nor is it named when nobody has asked exactly"
        assert meter.peak.memory < 150 * MIB


def test_what_forked_processes_wrote_since_is_each_ones_own(tmp_path: Path) -> None:
    with forks(tmp_path, "own") as pid:
        meter = Meter(Allowed(memory=300 * MIB))
        assert meter.watch(pid).endswith("300 MiB allowed")
        assert 400 * MIB < meter.peak.memory < 500 * MIB


def test_memory_that_is_shared_on_purpose_is_counted_and_once(tmp_path: Path) -> None:
    with forks(tmp_path, program=_SHARES) as pid:
        meter = Meter(Allowed(memory=200 * MIB))
        assert meter.watch(pid) == ""
        assert 80 * MIB < meter.peak.memory < 150 * MIB
        assert Meter(Allowed(memory=70 * MIB)).watch(pid).endswith("70 MiB allowed")


def test_a_file_in_memory_that_is_mapped_is_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "tmpfs_use", lambda pid, path: 90 * MIB)
    with forks(tmp_path, program=_SHARES) as pid:
        meter = Meter(Allowed(memory=400 * MIB), tmpfs=(Path("/somewhere"),))
        assert meter.watch(pid) == ""
        assert 90 * MIB < meter.peak.memory < 150 * MIB


def test_a_process_that_does_not_run_its_own_program_yet_is_not_measured() -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:  # as large as this one, until it is told to begin
        os.close(writing)
        os.read(reading, 1)
        os.execvp("sleep", ["sleep", "60"])
    os.close(reading)
    try:
        meter = Meter(Allowed(memory=MIB))
        assert meter.watch(child) == ""
        assert meter.peak.memory == 0
        os.close(writing)
        deadline = time.monotonic() + 30
        while not meter.peak.memory:
            assert time.monotonic() < deadline
            meter._next_memory = 0.0
            assert meter.watch(child) == ""
            time.sleep(0.01)
        assert meter.peak.memory < MIB
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_what_the_kernel_keeps_for_each_process_counts() -> None:
    with start(["sh", "-c", "for n in 1 2 3 4 5 6 7 8; do sleep 60 & done; echo; wait"]) as child:
        deadline = time.monotonic() + 30
        while len(limits.tree(child.pid, 99)) < 9:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        meter = Meter(Allowed())
        meter.watch(child.pid)
        own = memory.exactly(memory.look(limits.tree(child.pid, 99)), {}, 0)
    assert meter.peak.memory >= own + 9 * limits.PROCESS > 9 * 64 * 1024


def test_the_exact_figure_is_asked_for_only_where_it_can_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    exactly = memory.exactly

    def ask(look: memory.Look, parents: Mapping[int, int], tmpfs: int) -> int:
        asked.append(tmpfs)
        return exactly(look, parents, tmpfs)

    monkeypatch.setattr(memory, "exactly", ask)
    with start(["sh", "-c", "sleep 60 & sleep 60 & wait"]) as child:
        for _ in range(3):
            Meter(Allowed(memory=100 * MIB)).watch(child.pid)
    assert not asked
    with forks(tmp_path) as pid:
        meter = Meter(Allowed(memory=800 * MIB))
        for _ in range(20):
            meter._next_memory = 0.0
            meter.watch(pid)
    assert 1 <= len(asked) < 20, "a look that costs is not taken again at once"


def test_asking_exactly_grows_with_the_number_of_processes_and_not_with_its_square(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[int] = []
    monkeypatch.setattr(memory, "_is_one", lambda pid, other: bool(compared.append(pid)))  # type: ignore[func-returns-value]
    with forks(tmp_path) as pid:
        parents = limits.tree(pid, 99)
        memory.exactly(memory.look(parents), parents, 0)
    assert len(compared) == len(parents) - 1 == 4


def test_where_the_kernel_does_not_tell_what_is_shared_all_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "_ROLLUP", "smaps_of_another_kernel")
    assert memory.exactly(memory.Look({os.getpid(): 7 * MIB}, {}), {}, 5) == 7 * MIB + 5


def test_a_process_that_has_ended_has_nothing() -> None:
    with start(["true"]) as child:
        child.wait()
    assert memory.look([child.pid]).own == {}
    assert memory.exactly(memory.Look({child.pid: 5}, {}), {}, 0) == 0


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 8)), min_size=1, max_size=9))
def test_no_more_can_be_shared_than_all_but_the_largest(tree: list[tuple[int, int]]) -> None:
    sizes = {pid: size for pid, (size, _) in enumerate(tree, 1)}
    parents = {pid: parent if parent < pid else 0 for pid, (_, parent) in enumerate(tree, 1)}
    shared = memory.maybe_shared(sizes, parents)
    assert 0 <= shared <= sum(sizes.values()) - max(sizes.values())


@given(
    st.dictionaries(st.integers(1, 9), st.integers(0, 99), max_size=9),
    st.dictionaries(st.integers(1, 9), st.integers(0, 99), max_size=9),
    st.integers(0, 99),
)
def test_what_is_sure_is_never_more_than_what_may_be(
    own: dict[int, int], common: dict[int, int], tmpfs: int
) -> None:
    look = memory.Look(own, common)
    assert look.least(tmpfs) <= look.likely({}, tmpfs) <= look.most(tmpfs)


def test_a_large_program_below_a_small_one_shares_little() -> None:
    assert memory.maybe_shared({1: 2, 2: 500, 3: 2, 4: 400}, {1: 0, 2: 1, 3: 0, 4: 3}) == 6
    assert memory.maybe_shared({1: 500, 2: 500, 3: 500}, {1: 0, 2: 1, 3: 1}) == 1000
    assert memory.maybe_shared({2: 500, 3: 400}, {2: 1, 3: 1}) == 400, "their parent has ended"

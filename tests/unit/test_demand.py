"""What a build is expected to need follows from what earlier ones used."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.accounts import Past
from farm.config import PackageLimits
from farm.model import Limits, Usage
from farm.rebuild.demand import Expectations, Kind, Looks, after_a_mishap, figures

X86: Kind = ("x86_64", "native")
ARM: Kind = ("aarch64", "assisted")
KINDS = {"d-x86_64": X86, "d-aarch64": ARM}
MIB = 1 << 20
FREE = Limits(time=0, silence=0)


def past(
    step: str = "a@d-x86_64",
    seconds: float = 10.0,
    *,
    cpu: float = 0.0,
    memory: int = 0,
    disk: int = 0,
    cap: str = "",
    limits: Limits = FREE,
    way: str = "",
) -> Past:
    return Past(step, way, seconds, 1, Usage(cpu, memory * MIB, disk * MIB), cap, limits)


def seconds(pasts: list[Past], step: str = "a@d-x86_64", kind: Kind = X86) -> float:
    return Expectations(pasts, KINDS).demand(step, kind, FREE).seconds


def test_one_odd_run_does_not_change_what_is_expected() -> None:
    assert seconds([past(seconds=900), past(seconds=10), past(seconds=11)]) == 11
    assert seconds([past(seconds=1), past(seconds=10), past(seconds=11)]) == 10


def test_a_package_that_takes_longer_now_is_expected_to() -> None:
    assert seconds([past(seconds=50), past(seconds=52), past(seconds=10), past(seconds=9)]) == 50


def test_cores_are_the_mean_use_of_the_whole_attempt() -> None:
    def cores(cpu: float) -> int:
        return Expectations([past(cpu=cpu)], KINDS).demand("a@d-x86_64", X86, FREE).cores

    assert [cores(1), cores(14.0), cores(16.0), cores(78.0)] == [1, 1, 2, 8]


def test_configured_cores_hold_whatever_was_used() -> None:
    found = Expectations([past(cpu=80.0)], KINDS)
    assert found.demand("a@d-x86_64", X86, FREE, PackageLimits(cores=3)).cores == 3


def test_memory_and_disk_are_the_peak_with_a_margin() -> None:
    found = Expectations([past(memory=100, disk=8), past(memory=400, disk=4)], KINDS)
    demand = found.demand("a@d-x86_64", X86, FREE)
    assert (demand.memory, demand.disk) == (500 * MIB, 10 * MIB)


def test_a_limit_that_was_hit_raises_what_is_expected() -> None:
    limits = Limits(time=100, memory=1000 * MIB, disk=50 * MIB)
    pasts = [
        past(seconds=100, cap="time", limits=limits),
        past(seconds=7, memory=1010, cap="memory", limits=limits),
        past(seconds=7, cap="disk", limits=limits),
        past(seconds=20, memory=300, disk=10),
    ]
    demand = Expectations(pasts, KINDS).demand("a@d-x86_64", X86, FREE)
    assert demand.seconds == 150
    assert (demand.memory, demand.disk) == (1515 * MIB, 75 * MIB)


def test_a_limit_that_was_hit_before_the_last_build_says_nothing() -> None:
    limits = Limits(memory=1000 * MIB)
    pasts = [past(memory=300), past(memory=1010, cap="memory", limits=limits)]
    assert figures(pasts).memory == 375 * MIB


def test_nothing_is_expected_to_need_more_than_its_limits() -> None:
    limits = Limits(time=60, memory=100 * MIB, disk=9 * MIB)
    demand = Expectations([past(seconds=90, memory=400, disk=70)], KINDS).demand(
        "a@d-x86_64", X86, limits
    )
    assert (demand.seconds, demand.memory, demand.disk) == (60, 100 * MIB, 9 * MIB)


def test_before_anything_is_measured_each_way_has_its_own_estimate() -> None:
    ways = ("native", "assisted", "emulated")
    found = [seconds([], "new@d-aarch64", ("aarch64", way)) for way in ways]
    assert found == [30.0, 90.0, 600.0]


def test_a_new_package_is_like_its_kind() -> None:
    sizes = {"a": 2, "b": 4, "c": 6, "d": 90}
    pasts = [past(f"{n}@d-x86_64", float(size), memory=size) for n, size in sizes.items()]
    demand = Expectations(pasts, KINDS).demand("new@d-x86_64", X86, FREE)
    assert demand.seconds == pytest.approx(6), "the guess of 30 s counts as a fifth package"
    assert demand.memory == 112.5 * MIB


def test_before_anything_is_measured_what_a_package_looks_like_counts() -> None:
    looks = [
        Looks(generated=True, noarch=True, sources=4000),
        Looks(noarch=True, sources=9_000_000),
        Looks(sources=10_000),
        Looks(sources=200_000),
        Looks(),
        Looks(sources=8_000_000),
        Looks(sources=10**12),
    ]
    guesses = [each.seconds for each in looks]
    assert guesses == sorted(guesses) and guesses[0] == 1.0 and guesses[4] == 75.0
    assert guesses[-1] <= 300 and guesses[2] >= 30


def test_guesses_are_corrected_by_what_is_measured() -> None:
    guess = {"meta": 1.0, "small": 40.0, "large": 200.0, "new": 100.0}.__getitem__
    pasts = [past("meta@d-x86_64", 0.5), past("small@d-x86_64", 10.0)]
    found = Expectations([*pasts, past("large@d-x86_64", 50.0)], KINDS, guess)
    assert found.demand("new@d-x86_64", X86, FREE).seconds == pytest.approx(35.36, abs=0.01)
    assert found.demand("new@d-aarch64", ARM, FREE).seconds == pytest.approx(300)


def test_a_package_known_on_the_other_architecture_scales_by_what_was_measured() -> None:
    pasts = [past(f"{name}@d-x86_64", 10.0) for name in "abcd"]
    pasts += [past(f"{name}@d-aarch64", 50.0) for name in "abc"]
    assert seconds(pasts, "d@d-aarch64", ARM) == pytest.approx(50)


def test_without_packages_known_on_both_the_usual_ratio_is_taken() -> None:
    assert seconds([past("a@d-x86_64", 10.0)], "a@d-aarch64", ARM) == pytest.approx(30)


def test_what_was_measured_in_another_way_is_scaled_not_taken() -> None:
    pasts = [past("a@d-aarch64", 100.0, way="emulated")]
    assert seconds(pasts, "a@d-aarch64", ARM) == pytest.approx(15)


def test_only_what_was_measured_in_the_same_way_counts_as_measured() -> None:
    found = Expectations([past("a@d-aarch64", 100.0, way="emulated"), past()], KINDS)
    assert found.measured("a@d-aarch64", ("aarch64", "emulated"))
    assert not found.measured("a@d-aarch64", ARM)
    assert found.measured("a@d-x86_64", X86) and not found.measured("b@d-x86_64", X86)


def test_a_bootstrap_is_expected_to_be_like_its_package() -> None:
    assert seconds([past("a@d-x86_64", 12.0)], "a~bootstrap@d-x86_64") == pytest.approx(12)


def test_after_memory_ran_out_more_is_asked_for() -> None:
    before = Expectations([], KINDS).demand("a@d-x86_64", X86, FREE)
    assert after_a_mishap(before, 4 << 30).memory == 6 << 30
    assert after_a_mishap(before, 0).memory > before.memory


_PASTS = st.lists(
    st.builds(
        past,
        step=st.sampled_from(["a@d-x86_64", "b@d-x86_64", "a@d-aarch64", "c@d-aarch64"]),
        seconds=st.floats(0.01, 1e5),
        cpu=st.floats(0, 1e6),
        memory=st.integers(0, 1 << 20),
        disk=st.integers(0, 1 << 20),
        cap=st.sampled_from(["", "", "time", "memory", "disk", "silence"]),
        limits=st.builds(Limits, time=st.integers(0, 9999), memory=st.integers(0, 1 << 40)),
        way=st.sampled_from(["", "native", "assisted", "emulated"]),
    ),
    max_size=12,
)


@given(_PASTS, st.sampled_from(["a@d-x86_64", "b@d-aarch64", "new@d-aarch64"]))
def test_whatever_was_used_an_expectation_can_be_worked_with(pasts: list[Past], step: str) -> None:
    limits = Limits(time=5000, memory=1 << 35, disk=1 << 33)
    demand = Expectations(pasts, KINDS).demand(step, KINDS[step.partition("@")[2]], limits)
    assert demand.cores >= 1
    assert 0 < demand.seconds <= limits.time
    assert 0 < demand.memory <= limits.memory and 0 < demand.disk <= limits.disk


@given(_PASTS)
def test_more_memory_used_never_lowers_what_is_expected(pasts: list[Past]) -> None:
    own = [p for p in pasts if p.step == "a@d-x86_64" and p.way in ("", "native") and not p.cap]
    before = figures(own).memory or 0
    more = [past(memory=1 << 21), *own]
    assert (figures(more).memory or 0) >= before

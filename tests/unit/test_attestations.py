"""The rule of k of n, over any attestations that could have been taken in."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from farm.model import Nevra, Package, SignedPackage, Snapshot
from farm.model.attestation import Attestation, Detail, Remade, Summary, Verifier
from farm.model.provenance import Resource
from farm.publish.attestations import Quorum, count
from farm.publish.attesters import Signed
from farm.run import run

PEOPLE = {"A" * 40: "alice", "B" * 40: "bob", "C" * 40: "carol"}
FILES = ("a", "b", "c")

_WORDS = st.dictionaries(
    st.sampled_from(FILES), st.sampled_from(["same", "different", "cannot"]), min_size=1
)
_SIGNED = st.tuples(
    st.sampled_from([*PEOPLE, "D" * 40]), st.integers(0, 9), st.sampled_from(["now", "before"]),
    _WORDS,
)  # fmt: skip
# one attester says one thing at a time
_EVERY = st.lists(_SIGNED, max_size=8, unique_by=lambda said: (said[0], said[1]))
_WANTED = st.integers(1, 3)


def snapshot(files: tuple[str, ...] = FILES) -> Snapshot:
    packages = [Package(Nevra(name, 0, "1", "1", "x86_64"), name, 1, name) for name in files]
    return Snapshot(
        "now",
        "r",
        0,
        "c",
        tuple(SignedPackage(p, f"{p.nevra.name}-signed", 1, "k") for p in packages),
    )


def signed(who: str, minute: int, where: str, words: Mapping[str, str]) -> Signed:
    packages = tuple(Remade(f"{f}.rpm", f"{f}-signed", r) for f, r in words.items())  # type: ignore[arg-type]
    summary = Summary(
        verifier=Verifier("v"),
        time_verified=f"2026-11-20T12:{minute:02}:00Z",
        resource_uri="u",
        policy=Resource(uri="p"),
        verification_result="PASSED",
        verified_levels=(),
        detail=Detail("r", where, packages),
    )
    made = Attestation(type="t", subject=(), predicate_type="p", predicate=summary)
    return Signed(made, who, b"", "")


def counted(every: list[tuple[str, int, str, dict[str, str]]], wanted: int) -> Quorum:
    return count(snapshot(), [signed(*each) for each in every], PEOPLE, wanted)


def last_word(every: list[tuple[str, int, str, dict[str, str]]], who: str, file: str) -> str:
    said = [
        (minute, words[file])
        for name, minute, _, words in every
        if name == who and words.get(file, "cannot") != "cannot"
    ]
    return max(said)[1] if said else ""


@given(_EVERY, _WANTED)
def test_a_package_has_enough_when_enough_attesters_last_said_it_was_the_same(
    every: list[tuple[str, int, str, dict[str, str]]], wanted: int
) -> None:
    found = counted(every, wanted)
    lacking = {problem.subject for problem in found.missing}
    for file in FILES:
        same = [who for who in PEOPLE if last_word(every, who, file) == "same"]
        assert (f"{file}-1-1.x86_64.rpm" in lacking) == (len(same) < wanted)


@given(_EVERY, _WANTED)
def test_it_blocks_when_any_attester_last_said_that_it_was_different(
    every: list[tuple[str, int, str, dict[str, str]]], wanted: int
) -> None:
    odd = {problem.subject for problem in counted(every, wanted).different}
    for file in FILES:
        words = {last_word(every, who, file) for who in PEOPLE}
        assert (f"{file}-1-1.x86_64.rpm" in odd) == ("different" in words)


@given(_EVERY, _WANTED)
def test_the_order_in_which_attestations_came_makes_no_difference(
    every: list[tuple[str, int, str, dict[str, str]]], wanted: int
) -> None:
    assert counted(every, wanted) == counted(every[::-1], wanted)


@given(_EVERY, _WANTED)
def test_strangers_who_are_no_attesters_change_nothing(
    every: list[tuple[str, int, str, dict[str, str]]], wanted: int
) -> None:
    known = [said for said in every if said[0] in PEOPLE]
    assert counted(every, wanted) == counted(known, wanted)


@given(_EVERY, _WANTED)
def test_a_snapshot_that_leaves_packages_out_wants_nothing_more(
    every: list[tuple[str, int, str, dict[str, str]]], wanted: int
) -> None:
    whole = counted(every, wanted)
    part = count(snapshot(FILES[:2]), [signed(*each) for each in every], PEOPLE, wanted)
    assert set(part.missing) <= set(whole.missing)
    assert set(part.different) <= set(whole.different)


@given(_EVERY, _WANTED)
def test_another_agreeing_word_of_an_attester_never_takes_a_package_away(
    every: list[tuple[str, int, str, dict[str, str]]], wanted: int
) -> None:
    agreeing = ("A" * 40, 59, "now", dict.fromkeys(FILES, "same"))
    before, after = counted(every, wanted), counted([*every, agreeing], wanted)
    subjects = {problem.subject for problem in after.missing}
    assert subjects <= {problem.subject for problem in before.missing}


def test_what_is_left_to_do_is_said_in_words() -> None:
    every = [("A" * 40, 1, "now", {"a": "same", "b": "same", "c": "same"})]
    assert counted([], 1).told.startswith("now has 0 attestations; wanted for each package: 1")
    assert (
        counted([*every], 1).told == "now has 1 attestation (alice); every package has the 1 wanted"
    )
    odd = [*every, ("B" * 40, 2, "now", {"b": "different"})]
    told = counted([*odd], 1).told
    assert told == "now has 2 attestations (alice, bob); came out different: b-1-1.x86_64.rpm"


def test_whoever_publishes_nothing_does_not_wait_for_the_library_of_bills() -> None:
    look = "import sys, farm.pipeline, farm.gate; print('cyclonedx' in sys.modules)"
    assert run([sys.executable, "-P", "-c", look]).stdout.strip() == "False"


def test_a_quorum_that_nobody_asks_for_is_reached() -> None:
    assert Quorum("now", 0).reached
    assert msgspec.json.encode(Quorum("now", 0))

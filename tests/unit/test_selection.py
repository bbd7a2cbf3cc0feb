"""A package's architectures are published together."""

from __future__ import annotations

from farm.model import (
    Built,
    Lock,
    Manifest,
    Nevra,
    Package,
    Result,
    Snapshot,
    SnapshotEntry,
)
from farm.publish.selection import Selection, select

CHROOTS = {"x86_64": "d-x86_64", "aarch64": "d-aarch64"}


def result(arch: str, version: str, finished: float = 0.0) -> Result:
    srpm = Package(Nevra("pdsh", 0, version, "1", "src"), "s", 1, "pdsh")
    return Result(
        f"{version}-{arch}", f"pdsh@d-{arch}", Manifest("r", "l", "c", 1), Lock(()), (), 0, "",
        Built((), srpm, 1.0), finished,
    )  # fmt: skip


def chosen(
    *standing: Result, before: tuple[Result, ...] = (), excluded: tuple[str, ...] = ()
) -> Selection:
    known = {each.key: each for each in (*standing, *before)}
    entries = tuple(
        SnapshotEntry("pdsh", each.step.rpartition("-")[2], each.key, 0) for each in before
    )
    return select(
        ["pdsh"],
        CHROOTS,
        {each.step: each for each in standing},
        lambda _, arch: arch in excluded,
        Snapshot("id", "d", 0, "", (), entries) if before else None,
        known.get,
    )


def keys(selection: Selection) -> list[str]:
    return [each.key for some in selection.results.values() for each in some]


def test_what_stands_everywhere_is_chosen_without_a_word() -> None:
    selection = chosen(result("x86_64", "1"), result("aarch64", "1"))
    assert keys(selection) == ["1-x86_64", "1-aarch64"]
    assert not selection.notes


def test_a_version_that_failed_on_one_architecture_holds_the_other_back() -> None:
    old = (result("x86_64", "1"), result("aarch64", "1"))
    selection = chosen(result("x86_64", "2"), old[1], before=old)
    assert keys(selection) == ["1-x86_64", "1-aarch64"]
    assert "stays as published" in selection.notes[0]


def test_a_first_publication_takes_what_there_is_and_says_what_is_missing() -> None:
    selection = chosen(result("x86_64", "1"))
    assert keys(selection) == ["1-x86_64"]
    assert "not built for aarch64" in selection.notes[0]


def test_an_excluded_architecture_is_not_missed() -> None:
    selection = chosen(result("x86_64", "1"), excluded=("aarch64",))
    assert keys(selection) == ["1-x86_64"]
    assert not selection.notes


def test_two_versions_that_were_never_published_are_not_mixed() -> None:
    selection = chosen(result("x86_64", "2", finished=9.0), result("aarch64", "1"))
    assert keys(selection) == ["2-x86_64"]


def test_nothing_built_is_an_empty_selection() -> None:
    assert chosen().empty

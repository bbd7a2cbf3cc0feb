"""What may be published, where it lies, and how the pointer moves."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.config import Publish
from farm.errors import PublishError, StateError
from farm.model import (
    Built,
    Lock,
    Manifest,
    Nevra,
    Package,
    Result,
    SignedPackage,
    Snapshot,
    digest_of,
    to_json,
)
from farm.publish.drafts import draft_tree, location, next_history, snapshot_id
from farm.publish.gates import Contents, choose
from farm.publish.keys import Key
from farm.publish.tree import History, Publication, Replaced
from farm.store import write_atomic

KEY = Key("A" * 40, ("farm",), 0, 0, "rsa4096")


def package(nevra: str, content: str = "", *, debug: bool = False) -> Package:
    parsed = Nevra.parse(nevra)
    source = parsed.name.split("-")[0]
    return Package(parsed, digest_of((nevra, content)), 1, source, debug)


def result(arch: str, *packages: Package, source: str = "", scratch: bool = False) -> Result:
    name, evr = packages[0].source, packages[0].nevra.vr
    return Result(
        key=digest_of((arch, packages)),
        step=f"{name}@debian-13-{arch}",
        manifest=Manifest("r", "l", "c", 1),
        lock=Lock(()),
        recipe_files=(),
        counter=0,
        commit="",
        built=Built(packages, package(f"{name}-{evr}.src", source), 1.0),
        finished=1.0,
        scratch=scratch,
    )


def nowhere(package: Package) -> Path:
    raise AssertionError(f"nobody has to look into {package.nevra}")


def names(contents: Contents) -> Mapping[str, list[str]]:
    return {name: [str(p.nevra) for p in some] for name, some in contents.repositories.items()}


def published(*packages: Package) -> dict[Nevra, Package]:
    return {package.nevra: package for package in packages}


def test_binaries_debug_packages_and_sources_lie_apart() -> None:
    some = (package("pdsh-2-1.x86_64"), package("pdsh-debuginfo-2-1.x86_64", debug=True))
    contents = choose({"x86_64": [result("x86_64", *some)]}, {}, nowhere)
    assert names(contents) == {
        "x86_64": ["pdsh-2-1.x86_64"],
        "x86_64/debug": ["pdsh-debuginfo-2-1.x86_64"],
        "source": ["pdsh-2-1.src"],
    }


def test_debug_packages_can_be_left_out() -> None:
    some = (package("pdsh-2-1.x86_64"), package("pdsh-debuginfo-2-1.x86_64", debug=True))
    contents = choose({"x86_64": [result("x86_64", *some)]}, {}, nowhere, debug=False)
    assert "x86_64/debug" not in names(contents)
    assert len(contents.packages) == 2


def test_a_name_that_was_published_with_other_bytes_is_refused_with_both_digests() -> None:
    old, new = package("pdsh-2-1.x86_64", "old"), package("pdsh-2-1.x86_64", "new")
    with pytest.raises(PublishError) as caught:
        choose({"x86_64": [result("x86_64", new)]}, published(old), nowhere)
    assert "pdsh-2-1.x86_64" in caught.value.what
    assert old.sha256 in caught.value.why
    assert new.sha256 in caught.value.why
    assert "release" in caught.value.hint
    assert "counter" in caught.value.hint


def test_every_refused_package_is_named_at_once() -> None:
    old = [package(f"{name}-1-1.x86_64", "old") for name in ("a", "b")]
    new = [result("x86_64", package(f"{name}-1-1.x86_64", "new")) for name in ("a", "b")]
    with pytest.raises(PublishError) as caught:
        choose({"x86_64": new}, published(*old), nowhere)
    assert "a-1-1.x86_64, b-1-1.x86_64" in caught.value.what


def test_the_same_bytes_under_a_published_name_are_welcome() -> None:
    same = package("pdsh-2-1.x86_64")
    contents = choose({"x86_64": [result("x86_64", same)]}, published(same), nowhere)
    assert names(contents)["x86_64"] == ["pdsh-2-1.x86_64"]


@pytest.mark.parametrize("release", ["1.deb13~bootstrap", "1.deb13"])
def test_a_bootstrap_is_never_published(release: str) -> None:
    built = result("x86_64", package(f"a-1-{release}.x86_64"))
    if "~" not in release:
        built = msgspec.structs.replace(built, bootstrap=True)
    with pytest.raises(PublishError, match="bootstrap"):
        choose({"x86_64": [built]}, {}, nowhere)


def test_a_scratch_build_is_never_published() -> None:
    with pytest.raises(PublishError, match="scratch"):
        choose({"x86_64": [result("x86_64", package("a-1-1.x86_64"), scratch=True)]}, {}, nowhere)


def test_a_noarch_package_built_once_is_published_for_every_architecture_and_said() -> None:
    contents = choose({"x86_64": [result("x86_64", package("a-1-1.noarch"))], "aarch64": []},
                      {}, nowhere)  # fmt: skip
    assert names(contents)["aarch64"] == ["a-1-1.noarch"]
    assert contents.notes == (
        "a-1-1.noarch: built on x86_64 only, this copy is published for aarch64 as well",
    )


def test_an_architecture_that_lags_behind_keeps_its_own_noarch_packages() -> None:
    new, old = package("a-2-1.noarch"), package("a-1-1.noarch")
    contents = choose({"x86_64": [result("x86_64", new)], "aarch64": [result("aarch64", old)]},
                      {}, nowhere)  # fmt: skip
    assert names(contents)["x86_64"] == ["a-2-1.noarch"]
    assert names(contents)["aarch64"] == ["a-1-1.noarch"]


def test_the_published_source_package_stays_while_its_binaries_are_the_same() -> None:
    binary, source = package("a-1-1.x86_64"), package("a-1-1.src", "old")
    results = {"x86_64": [result("x86_64", binary, source="new")]}
    contents = choose(results, published(binary, source), nowhere)
    assert contents.repositories["source"] == (source,)
    assert any("earlier copy stays" in note for note in contents.notes)


def test_another_source_package_under_a_published_name_is_refused_with_new_binaries() -> None:
    source = package("a-1-1.src", "old")
    results = {"x86_64": [result("x86_64", package("a-1-1.x86_64"), source="new")]}
    with pytest.raises(PublishError, match=r"a-1-1\.src"):
        choose(results, published(source), nowhere)


def test_two_architectures_from_different_source_packages_are_refused() -> None:
    results = {
        arch: [result(arch, package(f"a-1-1.{arch}"), source=arch)]
        for arch in ("x86_64", "aarch64")
    }
    with pytest.raises(PublishError, match=r"a-1-1\.src"):
        choose(results, {}, nowhere)


PACKAGES = st.lists(
    st.sampled_from(["a-1-1", "b-1-1", "b-2-1", "c-1:3-1"]), unique_by=lambda nvr: nvr[0]
)


@given(PACKAGES, st.randoms(use_true_random=False))
def test_a_snapshot_is_known_by_its_set_of_packages_not_by_their_order(
    nvrs: list[str], random: object
) -> None:
    results = [result("x86_64", package(f"{nvr}.x86_64")) for nvr in nvrs]
    shuffled = list(results)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert _id(results) == _id(shuffled)


@given(PACKAGES, PACKAGES)
def test_different_sets_of_packages_are_different_snapshots(a: list[str], b: list[str]) -> None:
    ids = [_id([result("x86_64", package(f"{n}.x86_64")) for n in nvrs]) for nvrs in (a, b)]
    assert (ids[0] == ids[1]) == (sorted(a) == sorted(b))


def _id(results: Sequence[Result]) -> str:
    return snapshot_id("debian-13", choose({"x86_64": results}, {}, nowhere), (), KEY)


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 40 * 3600)), min_size=1),
    st.integers(0, 48),
)
def test_replaced_snapshots_stay_for_the_time_of_grace_and_no_longer(
    steps: list[tuple[str, int]], hours: int
) -> None:
    settings = Publish(grace_hours=hours)
    history, now, replaced = None, 0, {}
    for number, (snapshot, seconds) in enumerate(steps):
        now += seconds
        if history is not None:
            replaced[history.tree] = (history.snapshot, now)
        history = next_history(history, f"{number}", snapshot, settings, (), now=now)
    assert history is not None
    expected = {
        (tree, snapshot) for tree, (snapshot, at) in replaced.items() if at > now - hours * 3600
    }
    assert {(each.tree, each.snapshot) for each in history.earlier} == expected


def test_a_release_named_as_a_part_of_the_tree_is_refused(tmp_path: Path) -> None:
    for name in ("snapshots", "trees", "results", "../x", ".hidden"):
        with pytest.raises(PublishError), Publication(tmp_path).writing(name):
            pass


def test_a_second_publisher_is_turned_away(tmp_path: Path) -> None:
    tree = Publication(tmp_path)
    with (
        tree.writing("r"),
        pytest.raises(PublishError, match=f"process {os.getpid()}"),
        tree.writing("r"),
    ):
        pass
    with tree.writing("r"):
        pass


def test_what_a_killed_publisher_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".drafts" / "x" / "deep"
    left.mkdir(parents=True)
    (left / "file").write_text("half")
    with Publication(tmp_path).writing("r") as draft:
        assert not left.exists()
        assert list(draft.iterdir()) == []
    assert not (tmp_path / ".drafts").exists()


def test_the_lock_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Publication(tmp_path).writing("r"):
        _ = 1 // 0
    with (tmp_path / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_full_disk_is_a_refusal_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="disk is full"), Publication(tmp_path).writing("r"):
        raise OSError(errno.ENOSPC, "No space left on device", "/somewhere")
    assert not (tmp_path / ".drafts").exists()


def _snapshot(tree: Publication, name: str, *, created: int = 1) -> None:
    with tree.writing("r") as draft:
        home = draft / "snapshot"
        repository = home / "x86_64"
        write_atomic(repository / "Packages" / "a" / f"a-{name}.rpm", name)
        write_atomic(repository / "repodata" / f"{name}-primary.xml.gz", name)
        write_atomic(repository / "repodata" / "repomd.xml", f"repomd of {name}")
        one = SignedPackage(package(f"a-{created}-1.x86_64"), "s", 1, "k")
        snapshot = Snapshot(name, "r", created, "", (one,))
        write_atomic(home / "snapshot.json", to_json(snapshot))
        tree.add_snapshot(home, "r", name)


def _point(tree: Publication, snapshot: str, *earlier: Replaced) -> None:
    with tree.writing("r") as draft:
        history = History(tree.next_tree("r", snapshot), snapshot, 1, "http://m", earlier)
        draft_tree(draft / "tree", tree, "r", ["x86_64"], history)
        tree.move_pointer(draft / "tree", "r", history)


def test_the_pointer_leads_to_the_snapshot_and_to_what_earlier_clients_ask_for(
    tmp_path: Path,
) -> None:
    tree = Publication(tmp_path)
    for number, name in enumerate(["aa", "bb"]):
        _snapshot(tree, name, created=number)
    _point(tree, "aa")
    _point(tree, "bb", Replaced("000001-aa", "aa", 2))
    seen = tree.pointer("r") / "x86_64"
    assert (seen / "repodata" / "repomd.xml").read_text() == "repomd of bb"
    assert (seen / "repodata" / "aa-primary.xml.gz").read_text() == "aa"
    assert (seen / "Packages" / "a" / "a-aa.rpm").read_text() == "aa"
    assert (seen / "mirrorlist").read_text() == "http://m/trees/r/000002-bb/x86_64/\n"
    current = tree.current("r")
    assert current is not None
    assert current.id == "bb"


def test_a_snapshot_holds_nothing_of_another_one(tmp_path: Path) -> None:
    tree = Publication(tmp_path)
    for name in ("aa", "bb"):
        _snapshot(tree, name)
    _point(tree, "bb", Replaced("000001-aa", "aa", 2))
    inside = tree.snapshot_directory("r", "bb")
    assert not [path for path in inside.rglob("*") if "aa" in path.name]


def test_the_tree_before_stays_for_requests_on_their_way_and_older_ones_go(tmp_path: Path) -> None:
    tree = Publication(tmp_path)
    _snapshot(tree, "aa")
    for _ in range(4):
        _point(tree, "aa")
    assert sorted(path.name for path in (tmp_path / "trees" / "r").iterdir()) == [
        "000003-aa",
        "000004-aa",
    ]
    assert str(tree.pointer("r").readlink()) == "trees/r/000004-aa"


def test_a_tree_stays_as_long_as_clients_may_have_been_led_to_it(tmp_path: Path) -> None:
    tree = Publication(tmp_path)
    _snapshot(tree, "aa")
    _point(tree, "aa")
    for _ in range(3):
        _point(tree, "aa", Replaced("000001-aa", "aa", 2))
    assert sorted(path.name for path in (tmp_path / "trees" / "r").iterdir()) == [
        "000001-aa",
        "000003-aa",
        "000004-aa",
    ]


def test_a_directory_in_the_place_of_the_pointer_is_not_replaced(tmp_path: Path) -> None:
    tree = Publication(tmp_path)
    _snapshot(tree, "aa")
    (tmp_path / "r").mkdir()
    with pytest.raises(PublishError, match="in the way"):
        _point(tree, "aa")


def test_build_records_come_back_as_they_went_in(tmp_path: Path) -> None:
    tree = Publication(tmp_path)
    one = result("x86_64", package("a-1-1.x86_64"))
    name = digest_of(one)
    assert tree.add_result(one, name)
    assert not tree.add_result(one, name)
    assert tree.results() == (one,)


def test_a_damaged_build_record_is_refused(tmp_path: Path) -> None:
    tree = Publication(tmp_path)
    one = result("x86_64", package("a-1-1.x86_64"))
    tree.add_result(one, "0" * 64)
    with pytest.raises(StateError, match="damaged"):
        tree.results()


def test_snapshots_are_read_oldest_first(tmp_path: Path) -> None:
    tree = Publication(tmp_path)
    for created, name in ((3, "aa"), (1, "bb"), (2, "cc")):
        _snapshot(tree, name, created=created)
    assert [snapshot.id for snapshot in tree.snapshots("r")] == ["bb", "cc", "aa"]
    assert tree.snapshots("other") == ()


def test_packages_lie_by_their_first_letter() -> None:
    assert location(package("Lmod-8-1.noarch")) == "Packages/l/Lmod-8-1.noarch.rpm"

"""Publishing with real packages, keys and metadata; judged by createrepo_c, gpg and the tree."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import createrepo_c
import msgspec
import pytest

from farm.errors import PublishError
from farm.model import Result
from farm.publish.keys import key_ring
from farm.publish.signing import verifier
from farm.publish.snapshot import read_current, read_results, read_snapshots
from farm.publish.tree import Publication
from farm.run import run, start
from farm.sandbox import scratch
from farm.store import Store, sha256_of
from tests.real.publishing import ARCHS, Place
from tests.rpms import Spec, build, result

pytestmark = pytest.mark.real


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def indexed(repository: Path) -> dict[str, str]:
    """name-version of every package of a repository → its place, each file's sha256 checked."""
    found: dict[str, str] = {}

    def take(package: createrepo_c.Package) -> None:
        assert sha256_of(repository / package.location_href) == package.pkgId
        found[f"{package.name}-{package.version}"] = package.location_href

    metadata = createrepo_c.Metadata()
    metadata.locate_and_load_xml(str(repository))
    for key in metadata.keys():  # noqa: SIM118 - not a mapping
        take(metadata.get(key))
    return found


def tree_of(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def check_whole(place: Place) -> None:
    """Every repository that sites see has good metadata, signatures and packages."""
    with key_ring(place.state) as ring:
        key = ring.find(place.key)
        with verifier(ring, key) as verify:
            for repomd in place.root.glob("debian-13/**/repodata/repomd.xml"):
                ring.verify_detached(repomd.with_name("repomd.xml.asc"), repomd, key)
                repository = repomd.parent.parent
                verify([repository / location for location in indexed(repository).values()])


def test_what_is_published_is_indexed_signed_and_apart_by_kind(place: Place) -> None:
    done = place.publish(place.built("hello", noarch_subpackage="data"))
    assert done.moved
    seen = place.root / "debian-13"
    for arch in ARCHS:
        assert indexed(seen / arch) == {
            "hello-1.0": f"Packages/h/hello-1.0-1.{arch}.rpm",
            "hello-data-1.0": "Packages/h/hello-data-1.0-1.noarch.rpm",
        }
        assert indexed(seen / arch / "debug") == {}
    assert indexed(seen / "source") == {"hello-1.0": "Packages/h/hello-1.0-1.src.rpm"}
    assert (place.root / "RPM-GPG-KEY-farm-demo").read_text().startswith("-----BEGIN PGP PUBLIC")
    check_whole(place)


def test_groups_are_in_the_architectures_metadata_only(place: Place) -> None:
    place.publish(place.built("hello"))
    for name, expected in (("x86_64", 1), ("x86_64/debug", 0), ("source", 0)):
        files = list((place.root / "debian-13" / name / "repodata").glob("*-comps.xml"))
        assert len(files) == expected
        for file in files:
            assert ElementTree.parse(file).findtext("group/id") == "cluster"


def test_the_same_set_again_moves_nothing(place: Place) -> None:
    hello = place.built("hello")
    first = place.publish(hello)
    before = tree_of(place.root)
    again = place.publish(hello)
    assert (again.moved, again.snapshot, again.signed) == (False, first.snapshot, 0)
    assert tree_of(place.root) == before


def test_two_farms_publish_the_same_bytes(tmp_path: Path) -> None:
    trees = []
    hello = None
    for name in ("one", "two"):
        place = Place(tmp_path / name, port=1)
        place.clock = 1_700_000_000
        hello = hello or place.built("hello")
        place.store = Store(tmp_path / "one" / "store")
        place.publish(hello)
        trees.append(tree_of(place.root))
    assert trees[0] == trees[1]


def test_only_what_is_new_is_signed_and_published_copies_are_hard_links(place: Place) -> None:
    hello = place.built("hello")
    place.publish(hello)
    done = place.publish(hello, place.built("other"))
    assert done.signed == 3  # two architectures and the source
    assert done.new == ("other-1.0-1.aarch64", "other-1.0-1.x86_64")
    copies = list((place.root / "snapshots").glob("*/*/x86_64/Packages/h/hello-1.0-1.x86_64.rpm"))
    assert len(copies) == 2
    assert len({path.stat().st_ino for path in copies}) == 1
    store = place.store.get(hello["x86_64"].built.packages[0].sha256)
    assert store.stat().st_ino != copies[0].stat().st_ino


def test_a_publication_in_another_file_system_gets_real_copies(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.root = scratch() / f"publication-{os.getpid()}-{tmp_path.name}"
    try:
        hello = place.built("hello")
        place.publish(hello)
        place.publish(hello, place.built("other"))
        check_whole(place)
    finally:
        shutil.rmtree(place.root, ignore_errors=True)


def test_a_package_that_left_the_layer_leaves_the_next_snapshot(place: Place) -> None:
    hello, other = place.built("hello"), place.built("other")
    place.publish(hello, other)
    done = place.publish(hello)
    assert done.removed == ("other-1.0-1.aarch64", "other-1.0-1.x86_64")
    assert list(indexed(place.root / "debian-13" / "x86_64")) == ["hello-1.0"]
    current = read_current(place.root, "debian-13")
    assert current is not None
    assert {entry.recipe for entry in current.entries} == {"hello"}


def test_going_back_to_an_earlier_set_points_at_its_snapshot_again(place: Place) -> None:
    one, two = place.built("hello"), place.built("hello", "2.0")
    first = place.publish(one)
    place.publish(two)
    back = place.publish(one)
    assert (back.moved, back.snapshot) == (True, first.snapshot)
    assert len(read_snapshots(place.root)) == 2
    check_whole(place)


def test_other_bytes_under_a_published_name_are_refused_and_nothing_changes(place: Place) -> None:
    place.publish(place.built("hello"))
    before = tree_of(place.root)
    changed = place.built("hello", files=[("/usr/share/hello/other", "changed\n")])
    with pytest.raises(PublishError, match=r"hello-1\.0-1\.x86_64"):
        place.publish(changed)
    assert tree_of(place.root) == before
    assert place.publish(place.built("hello", release="1.1")).moved


def test_a_name_of_a_snapshot_long_gone_is_not_free_again(place: Place) -> None:
    place.grace_hours = 0
    place.publish(place.built("hello"))
    place.publish(place.built("other"))
    place.publish(place.built("third"))
    with pytest.raises(PublishError, match="hello"):
        place.publish(place.built("hello", files=[("/usr/share/hello/other", "changed\n")]))


def test_earlier_metadata_and_packages_stay_for_the_grace_and_then_go(place: Place) -> None:
    place.grace_hours = 2
    seen = place.root / "debian-13" / "x86_64"
    place.publish(place.built("hello"))
    old = {path.name for path in (seen / "repodata").glob("*-primary.xml.gz")}
    place.publish(place.built("hello", "2.0"))
    assert old < {path.name for path in (seen / "repodata").iterdir()}
    assert (seen / "Packages/h/hello-1.0-1.x86_64.rpm").exists()
    assert list(indexed(seen)) == ["hello-2.0"]
    for version in ("3.0", "4.0"):
        place.publish(place.built("hello", version))
    assert not old & {path.name for path in (seen / "repodata").iterdir()}
    assert not (seen / "Packages/h/hello-1.0-1.x86_64.rpm").exists()


def test_the_mirrorlist_names_the_immutable_tree_that_the_pointer_leads_to(place: Place) -> None:
    place.publish(place.built("hello"))
    text = (place.root / "debian-13" / "x86_64" / "mirrorlist").read_text()
    target = (place.root / "debian-13").readlink()
    assert text == f"{place.address}/{target}/x86_64/\n"


def test_a_new_address_moves_the_pointer_without_a_new_snapshot(place: Place) -> None:
    hello = place.built("hello")
    first = place.publish(hello)
    place.port += 1
    second = place.publish(hello)
    assert (second.moved, second.snapshot) == (True, first.snapshot)
    assert str(place.port) in (place.root / "debian-13" / "source" / "mirrorlist").read_text()


def test_another_key_signs_everything_anew(place: Place) -> None:
    hello = place.built("hello")
    first = place.publish(hello)
    with key_ring(place.state) as ring:
        ring.new("second")
    place.key = "second"
    second = place.publish(hello)
    assert second.moved
    assert second.snapshot != first.snapshot
    assert second.signed == 3
    check_whole(place)


def test_a_lost_store_does_not_stop_a_change_of_key(place: Place) -> None:
    hello = place.built("hello")
    place.publish(hello)
    with key_ring(place.state) as ring:
        ring.new("second")
    place.key = "second"
    shutil.rmtree(place.store.root)
    shutil.rmtree(place.state / "signed")
    assert place.publish(hello).moved
    check_whole(place)


def test_the_demo_key_is_warned_of_where_it_could_be_trusted(place: Place) -> None:
    hello = place.built("hello")
    assert not place.publish(hello).notes
    place.host = "mirror.example.org"
    assert any("demonstration key" in note for note in place.publish(hello).notes)


def test_a_package_for_one_architecture_only_is_in_that_repository_only(place: Place) -> None:
    hello, only = place.built("hello"), place.built("only")
    del only["aarch64"]
    place.publish(hello, only)
    assert "only-1.0" in indexed(place.root / "debian-13" / "x86_64")
    assert "only-1.0" not in indexed(place.root / "debian-13" / "aarch64")


def test_a_noarch_copy_that_was_published_stays_when_another_architecture_catches_up(
    place: Place,
) -> None:
    both = place.built("hello", noarch_subpackage="data")
    late = {"aarch64": both["aarch64"]}
    place.publish(late)
    before = sha256_of(place.root / "debian-13/aarch64/Packages/h/hello-data-1.0-1.noarch.rpm")
    place.publish(both)
    for arch in ARCHS:
        path = place.root / f"debian-13/{arch}/Packages/h/hello-data-1.0-1.noarch.rpm"
        assert sha256_of(path) == before


def test_a_noarch_package_that_differs_between_architectures_is_refused(place: Place) -> None:
    one, two = (
        build(place.home / text, Spec("data", arch="noarch", files=[("/usr/share/d", f"{text}\n")]))
        for text in ("1", "2")
    )
    results = {
        "x86_64": result("data", "x86_64", one, place.store),
        "aarch64": result("data", "aarch64", (two[0], one[-1]), place.store),
    }
    with pytest.raises(PublishError, match=r"data-1\.0-1\.noarch") as caught:
        place.publish(results)
    assert "payload" in caught.value.why
    assert not place.root.joinpath("debian-13").exists()


def test_the_ledgers_records_come_back_from_the_tree(place: Place) -> None:
    hello, other = place.built("hello"), place.built("other")
    place.publish(hello, other)
    place.publish(hello)
    expected = {one.key for some in (hello, other) for one in some.values()}
    assert {one.key for one in read_results(place.root)} == expected
    current = read_current(place.root, "debian-13")
    assert current is not None
    for sha256 in current.results:
        path = Publication(place.root).result_path(sha256)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    digests = {str(signed.package.nevra): signed.package.sha256 for signed in current.packages}
    for one in hello.values():
        for package in one.built.packages:
            assert digests[str(package.nevra)] == package.sha256


def test_a_published_copy_that_was_changed_on_the_disk_is_not_published_again(place: Place) -> None:
    hello, other = place.built("hello"), place.built("other")
    place.publish(hello)
    before = (place.root / "debian-13").readlink()
    path = place.root / "debian-13/x86_64/Packages/h/hello-1.0-1.x86_64.rpm"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(PublishError, match="other bytes than were signed") as caught:
        place.publish(hello, other)
    assert (place.root / "debian-13").readlink() == before
    assert "-samefile" in caught.value.hint
    run(["find", place.root, place.state, "-samefile", path, "-delete"])
    place.publish(hello, other)
    check_whole(place)


PUBLISH = """
import sys, msgspec
from pathlib import Path
from farm.model import Result
from tests.real.publishing import Place
home, clock, *names = sys.argv[1:]
place = Place(Path(home), port=1)
place.clock = int(clock)
read = lambda name: msgspec.json.decode(Path(home, name).read_bytes(), type=dict[str, Result])
place.publish(*map(read, names))
"""


def save(place: Place, name: str, results: dict[str, Result]) -> str:
    (place.home / name).write_bytes(msgspec.json.encode(results))
    return name


def test_killed_at_any_moment_sites_see_the_old_or_the_new_whole(tmp_path: Path) -> None:
    place = Place(tmp_path, port=1)
    names = [
        save(place, f"set-{n}", place.built("hello", f"{n}.0", noarch_subpackage="data"))
        for n in range(1, 9)
    ]
    place.publish(place.built("hello", "0.1"))
    chance = random.Random(1)
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    killed = 0
    for number, name in enumerate(names):
        clock = str(place.clock + 3600 * (number + 1))
        argv = [sys.executable, "-c", PUBLISH, str(place.home), clock, name]
        with start(argv, env=environment, log=tmp_path / "log") as process:
            deadline = time.monotonic() + chance.uniform(0.2, 0.9)
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.002)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                killed += 1
        assert len(indexed_names(place)) in (1, 2)
        check_whole(place)
    assert killed
    run(
        [sys.executable, "-c", PUBLISH, place.home, str(place.clock * 2), names[-1]],
        env=environment,
    )
    assert "hello-8.0" in indexed_names(place)
    assert not (place.root / ".drafts").exists()
    assert not list((place.state / "signed").glob(".draft-*"))


def indexed_names(place: Place) -> dict[str, str]:
    return indexed(place.root / "debian-13" / "x86_64")


def test_ctrl_c_leaves_no_draft(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    hello = place.built("hello")
    place.publish(hello)
    before = tree_of(place.root)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for step in ("add_snapshot", "add_result", "move_pointer"):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Publication, step, interrupted)
            place.publish(hello, place.built(f"other-{step.replace('_', '-')}"))
        assert not (place.root / ".drafts").exists()
        assert tree_of(place.root / "debian-13") == {
            name.partition("/")[2].partition("/")[2].partition("/")[2]: content
            for name, content in before.items()
            if name.startswith("trees/")
        }


def test_a_full_disk_changes_nothing_and_is_said(tmp_path: Path) -> None:
    script = """
set -e
mount -t tmpfs -o size=400k farm "$1/repo"
"$2" -c "$3" "$1" 1700000000 small
ls -l "$1/repo/debian-13" >"$1/before"
"$2" -c "$3" "$1" 1700010000 small large && exit 3
ls -l "$1/repo/debian-13" >"$1/after"
cmp "$1/before" "$1/after"
test ! -e "$1/repo/.drafts"
"""
    place = Place(tmp_path, port=1)
    place.root.mkdir()
    save(place, "small", place.built("small"))
    noise = "".join(f"{random.Random(n).getrandbits(4000):x}\n" for n in range(800))
    save(place, "large", place.built("large", files=[("/usr/share/large", noise)]))
    done = run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh",
         tmp_path, sys.executable, PUBLISH],
        env={"PYTHONPATH": str(Path(__file__).parents[2])}, check=False,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert "the disk is full: nothing was published" in done.stderr

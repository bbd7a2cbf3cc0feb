"""What is kept between runs is whole and still true, or it is not used."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from farm.config import Config, Paths
from farm.errors import StateError
from farm.model import Built, Lock, Manifest, Nevra, Package, Result, digest_of
from farm.plan import rules as planning
from farm.publish.tree import Publication
from farm.published import published_before
from farm.rebuild.seal import _touched
from farm.store import Checked, Store, forget_oldest


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_a_file_that_is_not_what_it_is_called_is_not_sound(store: Store, tmp_path: Path) -> None:
    name = store.put_bytes(b"bytes")
    checked = Checked(store, tmp_path / "checked.json")
    assert checked.sound(name)
    path = store.path(name)
    path.chmod(0o644)
    path.write_bytes(b"other")
    assert not checked.sound(name)
    path.unlink()
    assert not checked.sound(name)
    assert not checked.sound("0" * 64)


def test_what_was_found_whole_is_not_read_again_until_it_is_written_to(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = store.put_bytes(b"bytes")
    first = Checked(store, tmp_path / "checked.json")
    assert first.sound(name)
    first.save()
    reads: list[Path] = []

    def reading(path: Path) -> str:
        reads.append(path)
        return name

    monkeypatch.setattr("farm.store.sha256_of", reading)
    again = Checked(store, tmp_path / "checked.json")
    assert again.sound(name) and not reads
    assert again.sound(name, anew=True) and len(reads) == 1
    os.utime(store.path(name))
    assert again.sound(name) and len(reads) == 2


def test_a_damaged_memory_of_what_is_whole_is_not_used(store: Store, tmp_path: Path) -> None:
    name = store.put_bytes(b"bytes")
    for text in ("", "[1]", "{", '{"x": 3}', "\0"):
        (tmp_path / "checked.json").write_text(text)
        checked = Checked(store, tmp_path / "checked.json")
        assert checked.sound(name)
        checked.save()
        assert Checked(store, tmp_path / "checked.json").sound(name)


def test_a_file_cut_short_in_the_store_is_replaced_when_its_bytes_come_again(
    store: Store, tmp_path: Path
) -> None:
    (tmp_path / "x").write_bytes(b"whole")
    name = store.put(tmp_path / "x")
    store.path(name).unlink()
    store.path(name).write_bytes(b"wh")
    assert store.put(tmp_path / "x") == name
    assert store.path(name).read_bytes() == b"whole"


def test_a_file_that_was_written_in_place_is_noticed_at_its_time_of_change(tmp_path: Path) -> None:
    inner = tmp_path / "usr" / "bin"
    inner.mkdir(parents=True)
    program = inner / "make"
    program.write_bytes(b"abc")
    (inner / "link").symlink_to("nowhere")
    time.sleep(0.02)
    (tmp_path / "seal").touch()
    since = (tmp_path / "seal").stat().st_mtime_ns
    (tmp_path / "seal").unlink()
    assert not _touched(tmp_path / "usr", since)
    before = program.stat()
    time.sleep(0.02)
    with program.open("r+b") as file:
        file.write(b"x")
    os.utime(program, ns=(before.st_atime_ns, before.st_mtime_ns))  # its own time put back
    assert _touched(tmp_path / "usr", since)
    assert _touched(tmp_path / "gone", since)


def result(number: int, finished: float) -> Result:
    binary = Package(Nevra("a", 0, "1", str(number), "x86_64"), f"{number}" * 64, 1, "a")
    srpm = Package(Nevra("a", 0, "1", str(number), "src"), "s" * 64, 1, "a")
    return Result(
        f"k{number}", "a@d-x86_64", Manifest("r", "l", "c", 1), Lock(()), (), 0, "",
        Built((binary,), srpm, 1.0), finished,
    )  # fmt: skip


def test_names_are_taken_by_what_is_published_and_by_what_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(root=tmp_path, paths=Paths(state="state", publication="repo"))
    tree = Publication(tmp_path / "repo")
    for number in (1, 2):
        tree.add_result(result(number, number), digest_of(result(number, number)))
    tree.add_formers([result(3, 0.5)])
    taken = {("a@d-x86_64", f"a-1-{n}.x86_64"): f"{n}" * 64 for n in (1, 2, 3)}
    assert published_before(config) == taken

    def never(self: Publication, sha256: str) -> Result:
        raise AssertionError("a record that is known is not read again")

    with monkeypatch.context() as patched:
        patched.setattr(Publication, "result", never)
        assert published_before(config) == taken
    tree.add_result(result(4, 4), digest_of(result(4, 4)))
    assert published_before(config)["a@d-x86_64", "a-1-4.x86_64"] == "4" * 64
    tree.result_path(digest_of(result(4, 4))).unlink()
    assert published_before(config) == taken
    (tmp_path / "state" / "published.json").write_text("nonsense")
    assert published_before(config) == taken


def test_a_record_that_is_not_what_its_name_says_is_refused(tmp_path: Path) -> None:
    tree = Publication(tmp_path)
    name = digest_of(result(1, 1))
    tree.add_result(result(1, 1), name)
    path = tree.result_path(name)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b'"1"', b'"7"', 1))
    with pytest.raises(StateError, match="is damaged"):
        tree.result(name)


def test_what_the_planner_is_decides_whether_its_answers_still_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = planning.rules.__wrapped__
    before = own()
    assert own() == before
    (tmp_path / "rules.py").write_text("another planner\n")
    monkeypatch.setattr(planning, "__file__", str(tmp_path / "rules.py"))
    assert own() != before


def test_only_the_newest_answers_are_kept(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"plan-{number}.json").touch()
        os.utime(tmp_path / f"plan-{number}.json", (number, number))
    forget_oldest(tmp_path.glob("plan-*.json"), 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan-3.json", "plan-4.json"]

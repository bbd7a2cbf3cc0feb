"""Source packages that somebody made to do harm: they are data, and stay in their directory."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from farm.errors import LayerError
from farm.layer.srpm import recipe_from_srpm

REGULAR, LINK = 0o100644, 0o120777
SPEC = ("thing.spec", REGULAR, b"Name: thing\n")
Member = tuple[str, int, bytes]


def cpio(members: Sequence[Member]) -> bytes:
    pieces: list[bytes] = []
    for name, mode, content in (*members, ("TRAILER!!!", 0, b"")):
        raw = name.encode() + b"\0"
        fields = (1, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(raw), 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + raw
        pieces += (head, bytes(-len(head) % 4), content, bytes(-len(content) % 4))
    return b"".join(pieces)


def header(tags: dict[int, str | list[str] | list[int]]) -> bytes:
    index, data = b"", b""
    for tag, value in sorted(tags.items()):
        if isinstance(value, str):
            kind, count, content = 6, 1, value.encode() + b"\0"
        elif all(isinstance(part, int) for part in value):
            data += bytes(-len(data) % 4)
            kind, count = 4, len(value)
            content = struct.pack(f">{count}I", *value)
        else:
            kind, count = 8, len(value)
            content = b"".join(f"{part}\0".encode() for part in value)
        index += struct.pack(">IIII", tag, kind, len(data), count)
        data += content
    return struct.pack(">4s4xII", b"\x8e\xad\xe8\x01", len(tags), len(data)) + index + data


def package(
    path: Path,
    members: Sequence[Member],
    *,
    name: str = "thing",
    spec: str = "",
    binary: bool = False,
) -> Path:
    tags: dict[int, str | list[str] | list[int]] = {
        1000: name,
        1001: "1",
        1002: "1",
        1022: "noarch",
    }
    if spec:
        tags |= {1037: [1 << 5], 1117: [spec]}
    if binary:
        tags[1044] = "thing-1-1.src.rpm"
    lead = b"\xed\xab\xee\xdb" + bytes(92)
    path.write_bytes(lead + header({}) + header(tags) + gzip.compress(cpio(members)))
    return path


def test_a_plain_package_is_unpacked(tmp_path: Path) -> None:
    srpm = package(tmp_path / "thing.src.rpm", [SPEC, ("run", 0o100755, b"#!/bin/sh\n")])
    recipe = recipe_from_srpm(srpm, tmp_path / "out")
    assert [(file.path, file.executable) for file in recipe.files] == [
        ("run", True),
        ("thing.spec", False),
    ]
    assert (recipe.origin, recipe.scratch, recipe.sources) == ("srpm", True, ())


@pytest.mark.parametrize(
    "member",
    [
        ("../escaped", REGULAR, b"x"),
        ("/tmp/escaped", REGULAR, b"x"),
        ("sub/escaped", REGULAR, b"x"),
        ("link", LINK, b"/etc/passwd"),
        ("..", REGULAR, b""),
        ("thing.spec", REGULAR, b"twice"),
    ],
)
def test_what_would_leave_the_directory_is_refused_and_nothing_is_left(
    tmp_path: Path, member: Member
) -> None:
    srpm = package(tmp_path / "in.src.rpm", [SPEC, member])
    with pytest.raises(LayerError, match="damaged"):
        recipe_from_srpm(srpm, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    assert not (tmp_path / "escaped").exists()


def test_a_spec_is_only_what_the_package_holds(tmp_path: Path) -> None:
    (tmp_path / "outside.spec").write_text("Name: other\n")
    srpm = package(tmp_path / "in.src.rpm", [SPEC], spec="../../outside.spec")
    with pytest.raises(LayerError, match="does not hold one spec"):
        recipe_from_srpm(srpm, tmp_path / "out")


@pytest.mark.parametrize("name", ["../thing", "", ".hidden", "a/b"])
def test_a_name_that_is_no_package_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(LayerError, match="is not a source package"):
        recipe_from_srpm(package(tmp_path / "in.src.rpm", [SPEC], name=name), tmp_path / "out")


def test_a_binary_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LayerError, match="is not a source package"):
        recipe_from_srpm(package(tmp_path / "in.rpm", [SPEC], binary=True), tmp_path / "out")


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = package(tmp_path / "in.src.rpm", [SPEC]).read_bytes()
    for length in range(0, len(whole), 7):
        (tmp_path / "in.src.rpm").write_bytes(whole[:length])
        with pytest.raises(LayerError, match=r"damaged|not a source package|not read"):
            recipe_from_srpm(tmp_path / "in.src.rpm", tmp_path / "out")


def test_two_specs_are_one_too_many(tmp_path: Path) -> None:
    srpm = package(tmp_path / "in.src.rpm", [SPEC, ("other.spec", REGULAR, b"")])
    with pytest.raises(LayerError, match="does not hold one spec"):
        recipe_from_srpm(srpm, tmp_path / "out")
    named = package(
        tmp_path / "named.src.rpm", [SPEC, ("other.spec", REGULAR, b"")], spec="other.spec"
    )
    assert recipe_from_srpm(named, tmp_path / "out").spec == "other.spec"

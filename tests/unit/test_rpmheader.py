"""The header reader on files made byte by byte."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm import rpmheader
from farm.errors import StateError

LEAD = b"\xed\xab\xee\xdb" + bytes(92)
WIDTHS = {2: "B", 3: "H", 4: "I", 5: "Q"}

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
VALUES = st.one_of(
    st.tuples(st.just(4), st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=5)),
    st.tuples(st.just(3), st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=5)),
    st.tuples(st.just(5), st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=5)),
    st.tuples(
        st.sampled_from([8, 9]),
        st.lists(TEXT, min_size=1, max_size=4),
    ),
    st.tuples(st.just(7), st.binary(min_size=1, max_size=20)),
)  # fmt: skip
TAGS = st.dictionaries(st.integers(1000, 6000), VALUES, max_size=8)


def header(tags: dict[int, tuple[int, object]]) -> bytes:
    """A header structure as rpm lays it out, numbers aligned."""
    index, data = b"", b""
    for tag, (kind, value) in sorted(tags.items()):
        if kind in WIDTHS:
            assert isinstance(value, list)
            letter = WIDTHS[kind]
            data += bytes(-len(data) % struct.calcsize(letter))
            content, count = struct.pack(f">{len(value)}{letter}", *value), len(value)
        elif kind == 7:
            assert isinstance(value, bytes)
            content, count = value, len(value)
        else:
            assert isinstance(value, list)
            content, count = b"".join(text.encode() + b"\0" for text in value), len(value)
        index += struct.pack(">IIII", tag, kind, len(data), count)
        data += content
    return b"\x8e\xad\xe8\x01\0\0\0\0" + struct.pack(">II", len(tags), len(data)) + index + data


def package(
    tags: dict[int, tuple[int, object]], payload: bytes = b"", signature: bytes = b""
) -> bytes:
    signatures: dict[int, tuple[int, object]] = {1000: (4, [1])}
    if signature:
        signatures[268] = (7, signature)
    front = LEAD + header(signatures)
    return front + bytes(-len(front) % 8) + header(tags) + payload


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rpms") / "x.rpm"


@given(tags=TAGS)
def test_every_value_comes_back_as_it_was_written(
    path: Path, tags: dict[int, tuple[int, object]]
) -> None:
    path.write_bytes(package(tags))
    read = rpmheader.read(path).header
    assert set(read.tags) == set(tags)
    for tag, (_, value) in tags.items():
        assert read.value(tag) == (value if isinstance(value, bytes) else tuple(value))  # type: ignore[arg-type]


@given(tags=TAGS, payload=st.binary(max_size=50), signature=st.binary(min_size=1, max_size=40))
def test_a_signature_changes_nothing_of_the_identity(
    path: Path, tags: dict[int, tuple[int, object]], payload: bytes, signature: bytes
) -> None:
    path.write_bytes(package(tags, payload))
    unsigned, before = rpmheader.read(path), rpmheader.identity(path)
    path.write_bytes(package(tags, payload, signature))
    assert rpmheader.identity(path) == before
    assert before.payload == hashlib.sha256(payload).hexdigest()
    assert (unsigned.is_signed, rpmheader.read(path).is_signed) == (False, True)


@given(tags=TAGS, payload=st.binary(max_size=50), more=st.binary(min_size=1, max_size=5))
def test_another_header_or_payload_is_another_identity(
    path: Path, tags: dict[int, tuple[int, object]], payload: bytes, more: bytes
) -> None:
    path.write_bytes(package(tags, payload))
    before = rpmheader.identity(path)
    path.write_bytes(package(tags, payload + more))
    assert rpmheader.identity(path) != before
    path.write_bytes(package(tags | {999: (7, more)}, payload))
    assert rpmheader.identity(path) != before


@given(tags=TAGS, cut=st.integers(1, 200))
def test_a_file_that_was_cut_off_in_its_headers_is_refused(
    path: Path, tags: dict[int, tuple[int, object]], cut: int
) -> None:
    content = package(tags)
    path.write_bytes(content[: max(0, len(content) - cut)])
    with pytest.raises(StateError, match=r"x\.rpm"):
        rpmheader.read(path)


@given(content=st.binary(max_size=300))
def test_what_is_no_package_is_refused_and_never_a_crash(path: Path, content: bytes) -> None:
    path.write_bytes(LEAD + content)
    with pytest.raises(StateError):
        rpmheader.read(path)


def test_a_source_package_is_known_by_what_it_lacks(path: Path) -> None:
    names: dict[int, tuple[int, object]] = {
        1000: (8, ["hello"]), 1001: (8, ["1"]), 1002: (8, ["2"]), 1003: (4, [3]),
        1022: (8, ["x86_64"]),
    }  # fmt: skip
    path.write_bytes(package(names))
    assert str(rpmheader.read(path).nevra) == "hello-3:1-2.src"
    path.write_bytes(package(names | {1044: (8, ["greetings-1-2.src.rpm"])}))
    read = rpmheader.read(path)
    assert (str(read.nevra), read.source) == ("hello-3:1-2.x86_64", "greetings")

"""The archive made of a directory: the same bytes for the same files, and readable by anyone."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.layer.tarball import Member, gzip_stored, tar_gz

TIME = 1_767_614_400

_NAMES = st.text(alphabet="abcdefgXYZ019._-é", min_size=1, max_size=40).filter(
    lambda name: name not in (".", "..")
)
_FILES = st.dictionaries(
    st.lists(_NAMES, min_size=1, max_size=3).map(lambda parts: "top/" + "/".join(parts)),
    st.tuples(st.binary(max_size=2000), st.booleans()),
    max_size=8,
).filter(
    lambda files: (
        not any(b.startswith(f"{a}/") for a in files for b in files)
        and all(len(path.encode()) <= 100 for path in files)
    )
)


@settings(max_examples=60, deadline=None)
@given(_FILES, st.integers(0, 2**32), st.randoms())
def test_what_goes_in_comes_out_whatever_the_order(
    files: dict[str, tuple[bytes, bool]], mtime: int, chance: random.Random
) -> None:
    members = [Member(path, content, run) for path, (content, run) in files.items()]
    archive = tar_gz(members, mtime)
    chance.shuffle(members)
    assert tar_gz(members, mtime) == archive
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as opened:
        listed = opened.getmembers()
        assert [m.name for m in listed] == sorted(m.name for m in listed)
        read = {
            m.name: (opened.extractfile(m).read(), m.mode == 0o755)  # type: ignore[union-attr]
            for m in listed
            if m.isfile()
        }
        assert read == files
        assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in listed} <= {
            (0, 0, "root", "root", mtime)
        }
        assert all(m.mode == 0o755 for m in listed if m.isdir())


def test_the_bytes_are_these_and_stay_these() -> None:
    archive = tar_gz([Member("a/run", b"#!/bin/sh\n", True), Member("a/b/text", b"text\n")], TIME)
    assert hashlib.sha256(archive).hexdigest() == (
        "168fa2b216c1356883f9f080946a5b6b0560bd0f941b867403ad095bfc6b9a12"
    )


@given(st.binary(max_size=200_000))
@settings(max_examples=20, deadline=None)
def test_stored_gzip_is_gzip(content: bytes) -> None:
    assert gzip.decompress(gzip_stored(content)) == content


def test_stored_gzip_holds_more_than_one_block() -> None:
    for size in (0, 1, 65534, 65535, 65536, 131070, 200_000):
        assert gzip.decompress(gzip_stored(b"x" * size)) == b"x" * size


def test_long_paths_are_parted_and_too_long_ones_refused() -> None:
    path = "/".join(["d" * 60, "e" * 60, "f" * 60])
    with tarfile.open(fileobj=io.BytesIO(tar_gz([Member(path, b"x")], TIME))) as opened:
        assert path in opened.getnames()
    with pytest.raises(ValueError, match="too long"):
        tar_gz([Member("f" * 101, b"x")], TIME)


@pytest.mark.parametrize("path", ["../up", "/top", "a//b", "a/./b", ""])
def test_paths_that_lead_elsewhere_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="cannot be in an archive"):
        tar_gz([Member(path, b"x")], TIME)


def test_a_path_is_a_file_or_a_directory() -> None:
    with pytest.raises(ValueError, match="both a file and a directory"):
        tar_gz([Member("a", b"x"), Member("a/b", b"x")], TIME)

"""repomd.xml and the files that it names, when they are damaged or lie."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from farm.errors import RepositoryError
from farm.model import Repository
from farm.plan.metadata import transfer
from farm.plan.metadata.pins import read_pin
from farm.plan.metadata.repodata import fetch_pin, parse_metalink, pin_repository
from farm.plan.metadata.unpack import MetadataError, decompressed
from tests.hostile import document, entry, filelists, package, repodata, requires
from tests.repositories import Rpm, repository, write_repository
from tests.verdicts import Child, Question, child

WELL = document(package("a"), package("b", requires(entry("a"))))
FOUND = ["a-1-1.x86_64", "b-1-1.x86_64"]
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress, "zst": zstandard.ZstdCompressor().compress, "xz": lzma.compress,
    "bz2": bz2.compress,
}  # fmt: skip


@pytest.fixture(scope="module")
def asked() -> Iterator[Child]:
    with child() as one:
        yield one


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_PAUSES", (0.0, 0.0))


def refused(base: Path, tmp_path: Path) -> str:
    """Why the repository cannot be pinned."""
    with pytest.raises(RepositoryError) as caught:
        fetch_pin(repository(base), tmp_path / "pin")
    assert "'base'" in caught.value.what
    return caught.value.why


def test_a_repomd_that_is_cut_off_anywhere_is_damaged(tmp_path: Path) -> None:
    base = write_repository(tmp_path / "base", (Rpm("a"),))
    file = base / "repodata/repomd.xml"
    whole = file.read_bytes()
    for size in range(len(whole.rstrip()) - 1):
        file.write_bytes(whole[:size])
        assert "repomd.xml is damaged" in refused(base, tmp_path), whole[:size]


@pytest.mark.parametrize(("old", "new", "said"), [
    ("<repomd", "<html><repomd", "it is a web page"),
    ("repomd", "metalink", "a document of the kind 'metalink'"),
    ('type="primary"', 'type="primary_zck"', "no primary metadata, only primary_zck, filelists"),
    ('type="primary"', 'type="primary_db"', "no primary metadata, only primary_db, filelists"),
    ('type="filelists"', 'type="primary"', "names primary twice"),
    ("<repomd", '<!DOCTYPE r [<!ENTITY a "b">]><repomd', "declares XML entities"),
    ('checksum type="sha256"', 'checksum type="crc32"', "unknown type 'crc32'"),
    ("<size>", f"<size>{10**30}", "declares a size of 1000"),
    ("<location href=", "<location ref=", "primary has no location or checksum"),
    ('href="repodata/', 'href="gopher://x/', "a place that it may not: gopher://x/primary"),
    ("<open-size>", "<open-size>1", "bytes of repomd.xml"),
    ('<open-checksum type="sha256">', '<open-checksum type="sha256">0', "to other bytes than"),
    ('<checksum type="sha256">', '<checksum type="sha256">0', "other bytes"),
    ('<checksum type="sha256">', '<checksum type="sha512">', "other bytes"),
])  # fmt: skip
def test_a_repomd_that_lies_is_found_out(tmp_path: Path, old: str, new: str, said: str) -> None:
    base = write_repository(tmp_path / "base", (Rpm("a"),))
    file = base / "repodata/repomd.xml"
    text = file.read_text().replace("<revision>1</revision>", "")
    assert old in text
    file.write_text(text.replace(old, new))
    assert said in refused(base, tmp_path)


@pytest.mark.parametrize("old", ["<open-size>", "<size>"])
def test_a_file_larger_than_declared_is_refused(tmp_path: Path, old: str) -> None:
    base = write_repository(tmp_path / "base", (Rpm("a"),))
    file = base / "repodata/repomd.xml"
    file.write_text(re.sub(rf"{old}\d+", f"{old}50", file.read_text()))
    assert "50 bytes" in refused(base, tmp_path)


def test_checksums_in_capitals_and_with_blanks_are_checksums(tmp_path: Path) -> None:
    base = write_repository(tmp_path / "base", (Rpm("a"),))
    file = base / "repodata/repomd.xml"
    text = re.sub(r">([0-9a-f]{64})<", lambda m: f">\n {m[1].upper()} <", file.read_text())
    file.write_text(text)
    pin = fetch_pin(repository(base), tmp_path / "pin")
    assert {file.kind for file in pin.files} == {"primary", "filelists"}


def test_what_farm_does_not_use_is_passed_over(asked: Child, tmp_path: Path) -> None:
    more = "".join(
        f'<data type="{kind}"><checksum type="sha256">0</checksum><location href="gone"/></data>'
        for kind in (
            "prestodelta", "updateinfo", "primary_zck", "filelists_zck", "primary_db", "other",
            "group_zck", "productid", "filelists-ext",
        )
    )  # fmt: skip
    base = repodata(tmp_path / "base", {"primary": WELL}, more)
    assert asked.ask(Question((repository(base),), tmp_path, ("b",))).packages == FOUND


@pytest.mark.parametrize("kind", COMPRESS)
def test_a_file_that_unpacks_without_end_is_given_up(
    asked: Child, tmp_path: Path, kind: str
) -> None:
    """The child has a limit of memory: a bomb that goes off is no error in words."""
    bomb = COMPRESS[kind](WELL + bytes(48 << 20)) * 16
    base = repodata(tmp_path / "base", {f"primary.{kind}": bomb})
    answer = asked.ask(Question((repository(base),), tmp_path, ("b",)))
    assert answer.kind == "error", answer
    assert "unpacks to more than" in answer.text


@pytest.mark.parametrize("kind", COMPRESS)
def test_a_compressed_file_that_is_cut_off_or_altered_is_damaged(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    packed = COMPRESS[kind](WELL * 50)
    path.write_bytes(packed)
    assert decompressed(path) == WELL * 50
    for size in range(6, len(packed) - 1, 7):
        path.write_bytes(packed[:size])
        with pytest.raises(MetadataError):
            decompressed(path)
    for place in range(len(packed)):
        altered = bytearray(packed)
        altered[place] ^= 0x55
        path.write_bytes(altered)
        try:
            decompressed(path)
        except MetadataError as error:
            assert path.name in str(error)


def test_frames_one_after_the_other_are_one_file(tmp_path: Path) -> None:
    for kind, pack in COMPRESS.items():
        path = tmp_path / kind
        path.write_bytes(pack(WELL) + pack(b"more"))
        assert decompressed(path) == WELL + b"more"


def test_a_damaged_state_leaves_the_pin_of_before(tmp_path: Path) -> None:
    base = repodata(tmp_path / "base", {"primary": WELL})
    pin = pin_repository(repository(base), tmp_path / "pin")
    repodata(base, {"primary": WELL[:-60]})
    with pytest.raises(RepositoryError, match="well-formed"):
        pin_repository(repository(base), tmp_path / "pin")
    assert read_pin(tmp_path / "pin") == pin


def test_the_next_mirror_is_asked_when_the_metadata_of_one_is_damaged(tmp_path: Path) -> None:
    bad = repodata(tmp_path / "bad", {"primary": WELL[:-60]})
    good = repodata(
        tmp_path / "good", {"primary": WELL, "filelists": filelists({"a": "", "b": ""})}
    )
    both = Repository(id="base", baseurl=(bad.as_uri(), good.as_uri()))
    assert fetch_pin(both, tmp_path / "pin").addresses == (good.as_uri(),)


@pytest.mark.parametrize(("address", "said"), [
    ("file:///dev/zero", "it is no file"),
    ("file:///", "it is no file"),
    ("file:///a%00b", "null byte"),
    ("http://[::1", "not an address"),
    ("ftp://127.0.0.1/", "does not speak ftp"),
    ("no address", "not an address"),
    ("http://127.0.0.1:99999/", ""),
])  # fmt: skip
def test_an_odd_address_is_an_error_in_words(tmp_path: Path, address: str, said: str) -> None:
    with pytest.raises(RepositoryError) as caught:
        fetch_pin(Repository(id="m", mirrorlist=address), tmp_path / "pin")
    assert said in caught.value.why
    with pytest.raises(RepositoryError):
        fetch_pin(Repository(id="m", baseurl=(address,)), tmp_path / "pin2")


@pytest.mark.parametrize("preference", ["", "x", "-1", "9" * 5000, "²"])
def test_an_odd_preference_of_a_mirror_is_none(preference: str) -> None:
    text = (
        f'<metalink><url preference="{preference}">https://a/x/repodata/repomd.xml</url>'
        '<url preference="50">https://b/x/repodata/repomd.xml</url>'
        f'<hash type="sha256">{hashlib.sha256(b"").hexdigest().upper()}</hash></metalink>'
    )
    bases, sums = parse_metalink(text.encode())
    assert bases == ["https://b/x", "https://a/x"]
    assert sums == {hashlib.sha256(b"").hexdigest()}

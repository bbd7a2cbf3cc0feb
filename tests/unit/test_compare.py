"""Two packages compared: what differs is found, and its likely cause is named."""

from __future__ import annotations

import gzip
import io
import random
import struct
import tarfile
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.run import run
from farm.verify.compare import Clues, Difference, differences
from farm.verify.content import compare
from farm.verify.excerpt import common_tail, first_difference
from farm.verify.explain import likely_cause
from tests import rpms
from tests.rpms import Spec, needs_rpmbuild

NOW, LATER = 1_790_000_000, 1_790_000_000 + 400 * 86400
CLUES = Clues((NOW, LATER), (("the host name", ("another-host",)),))


def told(old: bytes, new: bytes, path: str = "/usr/share/x") -> tuple[Difference, ...]:
    return tuple(compare(path, old, new, CLUES))


def only(old: bytes, new: bytes, path: str = "/usr/share/x") -> Difference:
    (difference,) = told(old, new, path)
    return difference


def elf(sections: dict[str, bytes], *, compressed: frozenset[str] = frozenset()) -> bytes:
    """A 64-bit little-endian ELF file that holds nothing but these sections."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name in sections) + b".shstrtab\0"
    body, headers = b"", [bytes(64)]
    for name, plain in (*sections.items(), (".shstrtab", names)):
        content, flags = plain, 0
        if name in compressed:
            content, flags = struct.pack("<IIQQ", 1, 0, len(plain), 1) + zlib.compress(plain), 0x800
        at = names.index(name.encode() + b"\0")
        headers.append(
            struct.pack("<IIQQQQIIQQ", at, 1, flags, 0, 64 + len(body), len(content), 0, 0, 1, 0)
        )
        body += content
    head = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    head += struct.pack(
        "<HHIQQQIHHHHHH", 2, 62, 1, 0, 0, 64 + len(body), 0, 64, 0, 0, 64, len(headers),
        len(headers) - 1,
    )  # fmt: skip
    return head + body + b"".join(headers)


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        (f"built {NOW}", f"built {LATER}", "seconds since 1970"),
        ("built on Nov 20 2026", "built on Dec 25 2027", "a date or time"),
        ("// 2026-11-20T10:11:12", "// 2027-12-25T10:11:12", "a date or time"),
        ("at 10:11:12", "at 10:11:13", "a date or time"),
        ("(c) 2026 the authors", "(c) 2027 the authors", "a date or time"),
        ("by root@farm", "by root@another-host.example", "the host name"),
        ("log /tmp/tmp.a81kd2", "log /tmp/tmp.00x2la", "a temporary file"),
        ("<f at 0x7f2a11aa0010>", "<f at 0x7f0911aa0010>", "an address in memory"),
        ("id 0a1b2c3d-0000-4000-8000-000000000001", "id 0a1b2c3d-0000-4000-8000-00000000000f",
         "a random number"),
        ("make -j2", "make -j1", "the number of cores"),
        ("0.13317", "0.324778", "a random number"),
        ("LANG=C.UTF-8", "LANG=et_EE.UTF-8", "the locale"),
        ("ratio 3.14", "ratio 3,14", "the locale"),
        ("Linux 6.18.1-farm", "Linux 5.14.0-farm.400", "the kernel"),
        ("a.o b.o c.o", "c.o a.o b.o", "another order"),
        ("prefix /usr/lib/x/one", "prefix /usr/lib/x/two", "a path"),
        ("sum 0123456789abcdef0123", "sum fedcba9876543210fedc", "a checksum or random number"),
    ],
)  # fmt: skip
def test_a_trace_in_a_line_names_its_cause(old: str, new: str, cause: str) -> None:
    before = f"first\n{old}\nlast\n".encode()
    after = f"first\n{new}\nlast\n".encode()
    difference = only(before, after)
    assert cause in difference.cause
    assert difference.aspect == "line 2"
    assert difference.excerpt == (f"- {old}", f"+ {new}")


def test_a_number_that_is_no_time_of_either_build_is_not_called_a_date() -> None:
    assert "date" not in likely_cause(b"id 1111111111", b"id 1222222222", CLUES)
    assert "date" in likely_cause(b"id 1111111111", b"id 1222222222")


def test_words_without_a_trace_have_no_cause() -> None:
    assert likely_cause(b"one thing", b"another thing", CLUES) == ""


def test_lines_in_another_order_are_told_as_that() -> None:
    difference = only(b"x\nalpha\nbeta\ngamma\ny\n", b"x\ngamma\nalpha\nbeta\ny\n")
    assert "the same lines in another order" in difference.cause


def test_a_date_in_the_bytes_of_a_program_is_found_in_its_section() -> None:
    same = bytes(range(256)) * 8
    old = elf({".text": same, ".rodata": b"\0built Nov 20 2026\0", ".note.gnu.build-id": b"A" * 20})
    new = elf({".text": same, ".rodata": b"\0built Dec 25 2027\0", ".note.gnu.build-id": b"B" * 20})
    data, build_id = told(old, new)
    assert data.part == "section .rodata"
    assert "'Nov 20 2026' and 'Dec 25 2027'" in data.cause
    assert data.excerpt[0].endswith("|.built Nov 20 20|")
    assert build_id.part == "section .note.gnu.build-id"
    assert build_id.consequence


def test_a_build_id_alone_points_at_the_debug_information() -> None:
    old, new = (elf({".text": b"x", ".note.gnu.build-id": bytes([n] * 20)}) for n in (1, 2))
    difference = only(old, new)
    assert difference.consequence
    assert "debuginfo" in difference.cause


def test_a_build_id_alone_that_has_the_length_of_a_random_one_is_told_as_that() -> None:
    head = struct.pack("<III", 4, 16, 3) + b"GNU\0"
    old, new = (elf({".text": b"x", ".note.gnu.build-id": head + bytes([n] * 16)}) for n in (1, 2))
    difference = only(old, new)
    assert not difference.consequence
    assert "uuid" in difference.cause


def test_compressed_debug_information_is_looked_into() -> None:
    packed = frozenset({".debug_str"})
    old = elf({".debug_str": b"/builddir/build/BUILD/one\0" * 9}, compressed=packed)
    new = elf({".debug_str": b"/builddir/build/BUILD/two\0" * 9}, compressed=packed)
    difference = only(old, new)
    assert difference.part == "section .debug_str"
    assert "a path" in difference.cause


def test_a_number_of_seconds_in_a_binary_is_a_date() -> None:
    old, new = (b"\xfe\0\0\0\0" + struct.pack("<I", when) + bytes(40) for when in (NOW, LATER))
    assert f"{NOW} and {LATER}" in only(old, new).cause


def test_the_time_that_gzip_keeps_is_told_as_that() -> None:
    old, new = (gzip.compress(b"text\n" * 100, mtime=when) for when in (NOW, LATER))
    difference = only(old, new)
    assert (difference.aspect, difference.old, difference.new) == ("mtime", str(NOW), str(LATER))
    assert difference.cause.startswith("a date")


def test_what_is_inside_a_compressed_manual_page_is_compared() -> None:
    old, new = (
        gzip.compress(b'.TH X 1 "%s"\n' % day, mtime=0) for day in (b"2026-11-20", b"2027-12-25")
    )
    difference = only(old, new)
    assert difference.part == "content"
    assert "'2026-11-20' and '2027-12-25'" in difference.cause


def test_the_same_content_compressed_in_another_way_is_told_as_that() -> None:
    text = bytes(random.Random(1).choices(b"abcdef", k=20000))
    assert "packed in another way" in only(zlib_gz(text, 1), zlib_gz(text, 9)).aspect


def zlib_gz(text: bytes, level: int) -> bytes:
    return (
        gzip.compress(text, level, mtime=0)[:8] + b"\0\3" + gzip.compress(text, level, mtime=0)[10:]
    )


def tar(members: list[tuple[str, bytes, int, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content, mtime, uid in members:
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.uid = len(content), mtime, uid
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def test_members_of_a_tar_in_a_gz_are_compared_with_what_is_said_of_them() -> None:
    old = gzip.compress(tar([("a", b"1\n", NOW, 1000), ("b", b"at 10:00:00\n", 5, 0)]), mtime=0)
    new = gzip.compress(tar([("a", b"1\n", LATER, 871), ("b", b"at 11:00:00\n", 5, 0)]), mtime=0)
    found = {(d.part, d.aspect) for d in told(old, new)}
    assert found == {("content, a", "mtime"), ("content, a", "owner"), ("content, b", "line 1")}


def owned(uid: int) -> bytes:
    """A tar of one file whose owner always has the same name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("a")
        member.uid, member.uname = uid, "mockbuild"
        archive.addfile(member)
    return buffer.getvalue()


def test_an_owner_of_the_same_name_and_another_number_is_told() -> None:
    difference = only(owned(1000), owned(871))
    assert (difference.part, difference.aspect) == ("a", "owner")
    assert "mockbuild(1000)" in difference.old
    assert "user and group" in difference.cause


def test_an_archive_that_differs_beside_its_files_is_not_called_compressed() -> None:
    plain = owned(1000)
    changed = bytearray(plain)
    changed[500] = 1  # in the padding of the first header
    changed[148:156] = b"%06o\0 " % (sum(changed[:148]) + sum(changed[156:512]) + 8 * 32)
    difference = only(plain, bytes(changed))
    assert "packed in another way" in difference.aspect
    assert "compression" not in difference.cause


def cpio(members: list[tuple[str, bytes, int, int]]) -> bytes:
    """(name, content, inode, time) in the form `newc`."""
    packed = b""
    for name, content, inode, mtime in [*members, ("TRAILER!!!", b"", 0, 0)]:
        numbers = (inode, 0o100644, 0, 0, 1, mtime, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08x" % number for number in numbers)
        for piece in (head + name.encode() + b"\0", content):
            packed += piece + bytes(-len(piece) % 4)
    return packed + bytes(-len(packed) % 512)


@pytest.mark.parametrize(
    ("other", "aspect", "cause"),
    [
        ([("a", b"1", 8, NOW), ("b", b"2", 7, NOW)], "inode", "inode numbers"),
        ([("a", b"1", 5, LATER), ("b", b"2", 7, NOW)], "mtime", "a date"),
        ([("b", b"2", 7, NOW), ("a", b"1", 5, NOW)], "order of its members", "another order"),
    ],
)
def test_the_members_of_a_cpio_are_compared_with_what_is_said_of_them(
    other: list[tuple[str, bytes, int, int]], aspect: str, cause: str
) -> None:
    difference = only(cpio([("a", b"1", 5, NOW), ("b", b"2", 7, NOW)]), cpio(other))
    assert difference.aspect == aspect
    assert cause in difference.cause


def test_members_in_another_order_are_told_as_that() -> None:
    members = [(name, b"", 0, 0) for name in "abc"]
    difference = only(tar(members), tar(members[::-1]))
    assert difference.aspect == "order of its members"
    assert "the same files in another order" in difference.cause


def test_the_times_of_a_zip_are_told() -> None:
    archives = []
    for year in (2026, 2027):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(zipfile.ZipInfo("x.py", (year, 11, 20, 1, 2, 4)), "pass\n")
        archives.append(buffer.getvalue())
    difference = only(archives[0], archives[1], path="/usr/share/x.jar")
    assert (difference.part, difference.aspect) == ("x.py", "mtime")


def test_the_times_of_a_static_library_are_told() -> None:
    def library(when: int) -> bytes:
        head = f"{'x.o/':<16}{when:<12}{0:<6}{0:<6}{'100644':<8}{4:<10}`\n"
        return b"!<arch>\n" + head.encode() + b"code"

    difference = only(library(NOW), library(LATER), path="/usr/lib64/libx.a")
    assert (difference.part, difference.aspect) == ("x.o", "mtime")


def test_bytecode_that_keeps_the_time_of_its_source_is_told_as_that() -> None:
    old, new = (
        b"\xf3\r\r\n" + struct.pack("<III", 0, when, 100) + b"\xe3" + bytes(60)
        for when in (NOW, LATER)
    )
    difference = only(old, new, path="/usr/lib/python3/__pycache__/x.cpython-313.pyc")
    assert difference.aspect == "time of its source"
    assert difference.cause.startswith("a date")


@given(st.binary(max_size=400), st.binary(max_size=400))
def test_two_different_contents_always_differ_in_something(old: bytes, new: bytes) -> None:
    assert bool(told(old, new)) == (old != new)


@given(st.binary(max_size=9000), st.binary(max_size=9000), st.binary(max_size=9000))
def test_the_first_difference_and_the_common_tail_meet_what_differs(
    head: bytes, a: bytes, tail: bytes
) -> None:
    old, new = head + tail, head + a + tail
    at = first_difference(old, new)
    assert old[:at] == new[:at]
    assert at == min(len(old), len(new)) or old[at] != new[at]
    same = common_tail(old, new, at)
    assert same == 0 or old[-same:] == new[-same:]
    assert at + same <= min(len(old), len(new))


@given(st.data())
def test_an_archive_damaged_anywhere_is_compared_all_the_same(data: st.DataObject) -> None:
    kinds = (
        elf({".text": b"abc" * 50, ".rodata": b"built Nov 20 2026"}),
        gzip.compress(tar([("a", b"1\n" * 40, 5, 0)]), mtime=0),
        tar([("a", b"1\n" * 40, 5, 0), ("b", b"2", 5, 0)]),
        cpio([("a", b"1\n" * 40, 5, 0), ("b", b"2", 5, 0)]),
    )
    whole = data.draw(st.sampled_from(kinds))
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    assert bool(told(whole, cut)) == (whole != cut)


def test_what_unpacks_to_more_than_there_is_room_for_is_compared_as_it_lies() -> None:
    """A sparse file of a tar, compressed and overlapping sections of an ELF file."""
    hole = tarfile.TarInfo("hole")
    hole.size, hole.type = 1 << 40, tarfile.GNUTYPE_SPARSE
    sparse = hole.tobuf(tarfile.GNU_FORMAT) + bytes(10240)
    bomb = elf({".debug_str": bytes(1000)}, compressed=frozenset({".debug_str"}))
    at = bomb.index(struct.pack("<IIQQ", 1, 0, 1000, 1)) + 8
    bomb = bomb[:at] + struct.pack("<Q", 1 << 40) + bomb[at + 8 :]
    overlapping = bytearray(elf({f".s{n}": b"x" * 50 for n in range(40)}))
    start = int.from_bytes(overlapping[40:48], "little")
    for number in range(1, 41):
        struct.pack_into("<QQ", overlapping, start + 64 * number + 24, 0, len(overlapping))
    for hostile in (sparse, bomb, bytes(overlapping)):
        other = hostile[:-1] + bytes([hostile[-1] ^ 1])
        assert told(hostile, other)


def package(directory: Path, spec: Spec) -> Path:
    directory.mkdir(exist_ok=True)
    return rpms.build(directory, spec)[0]


THING = Spec("thing", files=(("/usr/share/thing/one", "1\n"), ("/usr/share/thing/two", "2\n")))


@needs_rpmbuild
def test_a_package_is_the_same_as_its_copy(tmp_path: Path) -> None:
    one, other = package(tmp_path / "a", THING), package(tmp_path / "b", THING)
    assert differences(one, other) == ()


@needs_rpmbuild
def test_the_signature_of_the_first_is_left_aside(tmp_path: Path) -> None:
    one, other = package(tmp_path / "a", THING), package(tmp_path / "b", THING)
    home = tmp_path / "gpg"
    home.mkdir(mode=0o700)
    run(["gpg", "--homedir", home, "--batch", "--passphrase", "", "--quick-gen-key", "T <t@e>"])
    run(
        ["rpmsign", "--addsign", "-D", f"_gpg_path {home}", "-D", "_gpg_name T", "-D",
         "__gpg /usr/bin/gpg", one]
    )  # fmt: skip
    assert one.read_bytes() != other.read_bytes()
    assert differences(one, other) == ()


@needs_rpmbuild
def test_changed_added_and_missing_files_are_named(tmp_path: Path) -> None:
    changed = replace(
        THING,
        files=(("/usr/share/thing/one", "3\n"), ("/usr/share/thing/three", "2\n")),
    )
    found = differences(package(tmp_path / "a", THING), package(tmp_path / "b", changed))
    assert {(d.kind, d.path) for d in found} == {
        ("content", "/usr/share/thing/one"),
        ("missing", "/usr/share/thing/two"),
        ("added", "/usr/share/thing/three"),
    }


@needs_rpmbuild
@needs_rpmbuild
def test_names_that_hold_a_time_are_told_as_dates(tmp_path: Path) -> None:
    old, new = (
        package(tmp_path / str(at), Spec("sample", files=((f"/usr/share/made-{at}", "x\n"),)))
        for at in (NOW, LATER)
    )
    found = {(d.kind, d.path): d for d in differences(old, new, CLUES)}
    assert found["missing", f"/usr/share/made-{NOW}"].cause.startswith("a date")
    assert found["added", f"/usr/share/made-{LATER}"].cause.startswith("a date")


def test_a_changed_tag_is_named_with_both_values(tmp_path: Path) -> None:
    changed = replace(THING, requires=("gizmo",))
    found = differences(package(tmp_path / "a", THING), package(tmp_path / "b", changed))
    names = {d.path: d for d in found}
    assert set(names) >= {"REQUIRENAME"}
    assert "gizmo" in names["REQUIRENAME"].new
    assert {d.kind for d in found} == {"tag"}


@needs_rpmbuild
def test_a_build_id_among_the_provides_is_a_consequence(tmp_path: Path) -> None:
    one, other = (
        package(tmp_path / x, replace(THING, provides=(f"debuginfo(build-id) = {x * 40}",)))
        for x in "ab"
    )
    (difference,) = differences(one, other)
    assert (difference.path, difference.consequence) == ("PROVIDEVERSION", True)


def test_sections_that_only_moved_are_told_in_one_line_behind_the_cause() -> None:
    old = elf({".text": b"jump 1", ".data": b"at 1", ".rodata": b"built Nov 1 2026"})
    new = elf({".text": b"jump 2", ".data": b"at 2", ".rodata": b"built Nov 10 2026"})
    cause, rest = told(old, new)
    assert cause.part == "section .rodata"
    assert (rest.part, rest.consequence) == ("sections .text, .data", True)


@needs_rpmbuild
def test_the_build_time_is_a_date(tmp_path: Path) -> None:
    later = replace(THING, epoch_seconds=rpms.EPOCH_SECONDS + 86400)
    found = differences(package(tmp_path / "a", THING), package(tmp_path / "b", later))
    (tag,) = (d for d in found if d.path == "BUILDTIME")
    assert tag.cause == "a date: when it was built"


@needs_rpmbuild
def test_a_mode_that_the_umask_made_is_told_as_that(tmp_path: Path) -> None:
    spec = replace(THING, files=(("/usr/share/thing/one", "#!/bin/sh\n"),))
    plain = replace(THING, files=(("/usr/share/thing/one", "#/bin/sh\n"),))
    found = differences(package(tmp_path / "a", plain), package(tmp_path / "b", spec))
    (mode,) = (d for d in found if d.aspect == "mode")
    assert (mode.old, mode.new, mode.cause) == ("100644", "100755", "the umask of the build")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package(tmp_path_factory.mktemp("whole"), THING)


@needs_rpmbuild
@pytest.mark.parametrize("seed", range(40))
def test_damaged_packages_are_differences_and_no_crash(
    whole: Path, tmp_path: Path, seed: int
) -> None:
    random_ = random.Random(seed)
    content = bytearray(whole.read_bytes())
    for _ in range(random_.randint(1, 8)):
        content[random_.randrange(96, len(content))] = random_.randrange(256)
    damaged = tmp_path / "damaged.rpm"
    damaged.write_bytes(
        bytes(content)[: random_.choice([len(content), random_.randrange(len(content))])]
    )
    for pair in ((whole, damaged), (damaged, whole)):
        if damaged.read_bytes() != whole.read_bytes():
            found = differences(*pair)
            assert found
            assert all(str(each) for each in found)


def test_what_is_no_package_is_damage(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"no package")
    (difference,) = differences(tmp_path / "a", tmp_path / "b")
    assert difference.kind == "damage"

"""The embedded base: the formats that it reads and writes itself."""

from __future__ import annotations

import gzip
import io
import lzma
import random
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from farm import rpmheader
from farm.base import accounts, deb, elf, native, rpmfile, strings
from farm.base.archive import Deb
from farm.base.deb import Entry
from farm.base.rpmfile import Capability, RpmPackage
from farm.errors import StateError


def tar(members: list[tuple[str, bytes | str]]) -> bytes:
    """Regular files from bytes, symbolic links from text, directories from names with a slash."""
    result = io.BytesIO()
    with tarfile.open(fileobj=result, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.mtime = 1000
            if name.endswith("/"):
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(member)
            elif isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return result.getvalue()


def debian_package(path: Path, control: bytes, data: bytes, compress: str = ".xz") -> Path:
    packers: dict[str, Callable[[bytes], bytes]] = {
        ".xz": lzma.compress,
        ".gz": gzip.compress,
        "": bytes,
    }
    pack = packers[compress]
    parts = [(f"control.tar{compress}", pack(control)), (f"data.tar{compress}", pack(data))]
    content = b"!<arch>\n"
    for name, part in [("debian-binary", b"2.0\n"), *parts]:
        head = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(part):<10}`\n".encode()
        content += head + part + b"\n" * (len(part) % 2)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("compress", [".xz", ".gz", ""])
def test_a_debian_package_is_read_without_unpacking_it(tmp_path: Path, compress: str) -> None:
    control = tar([("./conffiles", b"/etc/a.conf\n")])
    data = tar([("./", b""), ("./etc/", b""), ("./etc/a.conf", b"x=1\n"), ("./etc/b", "a.conf")])
    contents = deb.read(debian_package(tmp_path / "a.deb", control, data, compress))
    assert contents.conffiles == {"/etc/a.conf"}
    assert [(e.path, e.data, e.target) for e in contents.entries] == [
        ("/etc", b"", ""),
        ("/etc/a.conf", b"x=1\n", ""),
        ("/etc/b", b"", "a.conf"),
    ]


def test_files_that_are_not_wanted_are_not_read(tmp_path: Path) -> None:
    data = tar([("./usr/a", b"1"), ("./usr/b", b"2")])
    package = debian_package(tmp_path / "a.deb", tar([]), data)
    assert [e.path for e in deb.read(package, lambda path: path != "/usr/a").entries] == ["/usr/b"]


def test_one_file_of_a_large_package_is_found(tmp_path: Path) -> None:
    package = debian_package(tmp_path / "a.deb", tar([]), tar([("./a", b"1"), ("./b", b"2")]))
    assert deb.read_one(package, "/b").data == b"2"
    with pytest.raises(StateError, match="/c"):
        deb.read_one(package, "/c")


def test_a_damaged_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.deb").write_bytes(b"no archive at all")
    with pytest.raises(StateError, match=r"a\.deb"):
        deb.read(tmp_path / "a.deb")


def package(files: tuple[rpmfile.File, ...]) -> RpmPackage:
    return RpmPackage(
        name="tiny",
        epoch=1,
        version="2",
        release="3",
        arch="noarch",
        summary="Tiny",
        description="Tiny",
        license="MIT",
        url="",
        source="tiny.src.rpm",
        build_time=1000,
        files=files,
        provides=(Capability("tiny", "=", "1:2-3"), Capability("b")),
        requires=(Capability("shell"), Capability("a", ">=", "1")),
    )


FILES = (
    rpmfile.regular("/etc/tiny.conf", b"x=1\n", flags=rpmfile.CONFIG),
    rpmfile.directory("/usr/share/tiny"),
    rpmfile.regular("/usr/share/tiny/data", b"d" * 5000, 0o755),
    rpmfile.symlink("/usr/share/tiny/link", "data"),
)


def test_a_written_package_reads_back_as_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "tiny.rpm"
    path.write_bytes(rpmfile.serialize(package(FILES)))
    rpm = rpmheader.read(path)
    assert str(rpm.nevra) == "tiny-1:2-3.noarch"
    assert rpm.source == "tiny.src.rpm"
    assert not rpm.is_source
    assert not rpm.is_signed


@given(st.randoms(use_true_random=False))
def test_the_order_in_which_things_are_given_does_not_change_the_bytes(
    shuffle: random.Random,
) -> None:
    usual = package(FILES)
    files, provides, requires = list(FILES), list(usual.provides), list(usual.requires)
    for items in (files, provides, requires):
        shuffle.shuffle(items)
    mixed = RpmPackage(
        **{
            **{name: getattr(usual, name) for name in usual.__dataclass_fields__},
            "files": tuple(files),
            "provides": tuple(provides),
            "requires": tuple(requires),
        }
    )
    assert rpmfile.serialize(mixed) == rpmfile.serialize(usual)


def test_the_payload_holds_the_files_in_order_and_ends_as_cpio_does() -> None:
    content = rpmfile.serialize(package(FILES))
    archive = zstandard.ZstdDecompressor().decompress(content[content.index(b"\x28\xb5\x2f\xfd") :])
    names = [b"./etc/tiny.conf", b"./usr/share/tiny", b"./usr/share/tiny/data", b"TRAILER!!!"]
    positions = [archive.index(name + b"\0") for name in names]
    assert positions == sorted(positions)
    assert b"d" * 5000 in archive


def shared_object(
    needed: tuple[str, ...], undefined: tuple[str, ...] = (), soname: str = "", text: bytes = b""
) -> bytes:
    """A tiny x86_64 ELF file: one read-only segment with its dynamic section, `text` in front."""
    names = b"\0" + b"".join(n.encode() + b"\0" for n in (*needed, *undefined, soname))

    def at(name: str) -> int:
        return names.index(b"\0" + name.encode() + b"\0") + 1

    base = 64 + 2 * 56
    symbols_at = -(-(base + len(text)) // 8) * 8
    symbols = b"\0" * 24
    for name in undefined:
        symbols += struct.pack("<IBBHQQ", at(name), 0x12, 0, 0, 0, 0)
    strings_at = symbols_at + len(symbols)
    dynamic_at = -(-(strings_at + len(names)) // 8) * 8
    entries = [(1, at(name)) for name in needed] + ([(14, at(soname))] if soname else [])
    entries += [(5, strings_at), (6, symbols_at), (10, len(names)), (0x6FFFFEF5, base), (0, 0)]
    dynamic = b"".join(struct.pack("<QQ", tag, value) for tag, value in entries)
    size = dynamic_at + len(dynamic)
    head = b"\x7fELF\x02\x01\x01" + b"\0" * 9
    head += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    segments = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, size, size, 4096)
    segments += struct.pack(
        "<IIQQQQQQ", 2, 4, dynamic_at, dynamic_at, dynamic_at, len(dynamic), len(dynamic), 8
    )
    content = (head + segments + text).ljust(symbols_at, b"\0") + symbols + names
    return content.ljust(dynamic_at, b"\0") + dynamic


def test_an_elf_file_provides_its_soname_and_requires_what_it_is_linked_to() -> None:
    found = elf.facts(shared_object(("libc.so.6", "libm.so.6"), soname="libx.so.1"))
    assert found is not None
    assert found.machine == "x86_64"
    assert found.provides == ("libx.so.1()(64bit)",)
    assert found.requires == ("libc.so.6()(64bit)", "libm.so.6()(64bit)", "rtld(GNU_HASH)")


def test_a_shared_object_without_soname_is_known_by_its_file_name() -> None:
    found = elf.facts(shared_object(("libc.so.6",)), "libplug.so")
    assert found is not None
    assert found.provides == ("libplug.so()(64bit)",)


def test_a_library_can_be_cut_off_and_its_symbols_bound_elsewhere() -> None:
    data = shared_object(("libmunge.so.2", "libc.so.6"), ("munge_encode", "getpid"))
    changed = elf.without_library(data, "libmunge.so.2", {"munge_encode": "getpid"})
    found = elf.facts(changed)
    assert found is not None
    assert set(found.needed) == {"libc.so.6"}
    assert len(changed) == len(data)
    opened = elf.Elf.open(changed)
    assert opened is not None
    assert [name for name, _, _ in opened.undefined_symbols()] == ["getpid", "getpid"]


def test_a_symbol_is_bound_only_to_one_that_the_file_imports() -> None:
    data = shared_object(("libmunge.so.2", "libc.so.6"), ("munge_encode",))
    with pytest.raises(ValueError, match="getpid"):
        elf.without_library(data, "libmunge.so.2", {"munge_encode": "getpid"})


def test_strings_are_replaced_whole_and_nothing_moves() -> None:
    data = b"\0/usr/lib/gcc-cross/x\0/usr/lib/gcc-cross/\0"
    changed = strings.replaced(data, {"/usr/lib/gcc-cross/": "/usr/lib/gcc/"})
    assert changed == b"\0/usr/lib/gcc-cross/x\0/usr/lib/gcc/\0\0\0\0\0\0\0"
    with pytest.raises(ValueError, match="fit"):
        strings.replaced(data, {"a": "bb"})


def test_a_longer_string_is_put_elsewhere_and_the_code_led_there() -> None:
    base = 64 + 2 * 56
    text = b"\x48\x8d\x35" + struct.pack("<i", 3) + b"\xc3\x90\0" + b"x86_64\0"
    data = shared_object(("libc.so.6",), text=text).ljust(8192, b"\0")
    changed = strings.relocated(data, "x86_64", "aarch64-unknown")
    (displacement,) = struct.unpack_from("<i", changed, base + 3)
    target = base + 7 + displacement
    assert changed[target : target + 16] == b"aarch64-unknown\0"
    with pytest.raises(ValueError, match="refers"):
        strings.relocated(data.replace(b"\x48\x8d\x35", b"\x90\x90\x90"), "x86_64", "arm")


def test_a_string_that_is_not_there_is_said() -> None:
    with pytest.raises(ValueError, match="no string"):
        strings.relocated(shared_object(("libc.so.6",)), "nowhere", "x")


def test_the_manifest_tells_replacements_from_what_always_comes_along() -> None:
    tree = native.Tree(
        {
            path: Entry(path, 0o100755, "root", "root", 0)
            for path in (
                "/usr/bin/make",
                "/usr/lib/x86_64-linux-gnu/libc.so.6",
                "/usr/lib/x86_64-linux-gnu/gconv/UTF-16.so",
                "/usr/lib/gcc-cross",
            )
        },
        frozenset({"/usr/bin/make"}),
        b"",
    )
    assert tree.manifest() == (
        '{\n "replaces": [\n  "usr/bin/make"\n ],\n'
        ' "support": [\n  "usr/lib/gcc-cross",\n  "usr/lib/x86_64-linux-gnu"\n ]\n}'
    )


def test_a_native_tool_whose_library_is_missing_is_refused(tmp_path: Path) -> None:
    recipe = native.native_recipe()
    data = tar([("./usr/bin/m4", shared_object(("libnone.so.1",)))])
    loader = tar([("./usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", b"")])
    m4 = Deb("m4", "1", "amd64", "f", 1, "s")
    libc = Deb("libc6", "1", "amd64", "f", 1, "s")
    pairs = (
        (m4, debian_package(tmp_path / "m4.deb", tar([]), data)),
        (libc, debian_package(tmp_path / "libc6.deb", tar([]), loader)),
    )
    with pytest.raises(StateError, match=r"libnone\.so\.1"):
        native.assemble(recipe, pairs, ())


def test_what_tells_the_machine_stays_emulated(tmp_path: Path) -> None:
    program = shared_object(("ld-linux-x86-64.so.2",))
    names = ("./usr/bin/uname", "./usr/bin/nproc", "./usr/bin/ls")
    coreutils = tar([(name, program) for name in names])
    loader = tar([("./usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", b"")])
    pairs = (
        (
            Deb("coreutils", "1", "amd64", "f", 1, "s"),
            debian_package(tmp_path / "a.deb", tar([]), coreutils),
        ),
        (
            Deb("libc6", "1", "amd64", "f", 1, "s"),
            debian_package(tmp_path / "b.deb", tar([]), loader),
        ),
    )
    tree = native.assemble(native.native_recipe(), pairs, ())
    assert tree.replaces == {"/usr/bin/ls"}
    assert "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" in tree.entries
    assert "/usr/lib/aarch64-linux-gnu/ld-linux-x86-64.so.2" in tree.entries


def test_a_script_in_perl_is_run_by_the_layers_own_perl(tmp_path: Path) -> None:
    script = b"#! /usr/bin/perl -w\nuse strict;\n"
    shell = b"#!/bin/sh\n"
    data = tar([("./usr/bin/autom4te", script), ("./usr/bin/autoconf", shell)])
    loader = tar([("./usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", b"")])
    pairs = (
        (
            Deb("autoconf", "1", "all", "f", 1, "s"),
            debian_package(tmp_path / "a.deb", tar([]), data),
        ),
        (
            Deb("libc6", "1", "amd64", "f", 1, "s"),
            debian_package(tmp_path / "b.deb", tar([]), loader),
        ),
    )
    tree = native.assemble(native.native_recipe(), pairs, ())
    assert tree.replaces == {"/usr/bin/autom4te"}
    assert tree.entries["/usr/bin/autom4te"].data == (
        b"#!/usr/lib/farm-native/perl -w\nuse strict;\n"
    )


def test_an_account_file_gives_user_and_group_capabilities() -> None:
    files = (
        rpmfile.regular("/etc/passwd", b"root:x:0:0:r:/root:/bin/sh\nnobody:x:65534:65534::/:/x\n"),
        rpmfile.regular("/etc/group", b"root:x:0:\n"),
    )
    assert list(accounts.capabilities(files)) == ["user(root)", "user(nobody)", "group(root)"]

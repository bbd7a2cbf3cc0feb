"""RPM packages written straight from memory: rpm's file format, version 3 lead and v4 headers.

The same contents give the same bytes on every machine, whatever rpm is installed there; and
nothing has to be unpacked on a disk. What is written is checked by rpm itself in the tests.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from stat import S_IFDIR, S_IFLNK, S_IFREG

import zstandard

CONFIG, DOC, NOREPLACE, GHOST, LICENSE = 1, 2, 16, 64, 128  # rpm's file flags
_LESS, _GREATER, _EQUAL = 2, 4, 8
_SENSE = {
    "": 0, "<": _LESS, ">": _GREATER, "=": _EQUAL, "<=": _LESS | _EQUAL, ">=": _GREATER | _EQUAL,
}  # fmt: skip
_RPMLIB = 1 << 24 | _LESS | _EQUAL
_TRIGGER_IN, _TRIGGER_POSTUN = 1 << 16, 1 << 18
_INT16, _INT32, _STRING, _BINARY, _STRINGS, _I18N = 3, 4, 6, 7, 8, 9
_COMPRESSION_LEVEL = 3

BUILD_HOST = "farm"


@dataclass(frozen=True, order=True)
class Capability:
    """`name op evr`, as in Provides and Requires."""

    name: str
    op: str = ""
    evr: str = ""


@dataclass(frozen=True)
class File:
    """A file, directory or symbolic link; `path` starts with a slash, `mode` holds its kind."""

    path: str
    mode: int
    mtime: int
    data: bytes = b""
    target: str = ""
    user: str = "root"
    group: str = "root"
    flags: int = 0


@dataclass(frozen=True)
class RpmPackage:
    """One binary package. `build_time` is in seconds since 1970."""

    name: str
    epoch: int
    version: str
    release: str
    arch: str
    summary: str
    description: str
    license: str
    url: str
    source: str  # file name of the source package
    build_time: int
    files: tuple[File, ...]
    provides: tuple[Capability, ...]
    requires: tuple[Capability, ...]
    file_trigger: tuple[str, tuple[str, ...]] | None = None  # shell script, path prefixes

    @property
    def filename(self) -> str:
        return f"{self.name}-{self.version}-{self.release}.{self.arch}.rpm"


def directory(path: str, mode: int = 0o755, mtime: int = 0) -> File:
    return File(path, S_IFDIR | mode, mtime)


def symlink(path: str, target: str, mtime: int = 0) -> File:
    return File(path, S_IFLNK | 0o777, mtime, target=target)


def regular(path: str, data: bytes, mode: int = 0o644, mtime: int = 0, flags: int = 0) -> File:
    return File(path, S_IFREG | mode, mtime, data=data, flags=flags)


def serialize(package: RpmPackage) -> bytes:
    """The bytes of the .rpm file."""
    files = tuple(sorted(package.files, key=lambda file: file.path.encode()))
    archive = _cpio(files)
    payload = zstandard.ZstdCompressor(level=_COMPRESSION_LEVEL, write_content_size=True).compress(
        archive
    )
    tags = _Tags()
    _identity(tags, package)
    _dependencies(tags, package)
    if files:
        _files(tags, files)
    if package.file_trigger:
        _trigger(tags, *package.file_trigger)
    tags.int32(1009, [sum(len(file.data) for file in files)])
    tags.string(1124, "cpio")
    tags.string(1125, "zstd")
    tags.string(1126, str(_COMPRESSION_LEVEL))
    tags.strings(5092, [hashlib.sha256(payload).hexdigest()])
    tags.int32(5093, [8])
    tags.strings(5097, [hashlib.sha256(archive).hexdigest()])
    header = tags.serialize(63)
    signature = _Tags()
    signature.string(269, hashlib.sha1(header).hexdigest())
    signature.string(273, hashlib.sha256(header).hexdigest())
    signature.int32(1000, [len(header) + len(payload)])
    signature.int32(1007, [len(archive)])
    signed = signature.serialize(62)
    lead = struct.pack(
        ">4sBBHH66sHH16x",
        b"\xed\xab\xee\xdb", 3, 0, 0, 1,
        f"{package.name}-{package.version}-{package.release}".encode()[:65], 1, 5,
    )  # fmt: skip
    return lead + signed + b"\0" * (-len(signed) % 8) + header + payload


def _identity(tags: _Tags, package: RpmPackage) -> None:
    tags.strings(100, ["C"])
    tags.string(1000, package.name)
    tags.string(1001, package.version)
    tags.string(1002, package.release)
    if package.epoch:
        tags.int32(1003, [package.epoch])
    tags.i18n(1004, package.summary)
    tags.i18n(1005, package.description)
    tags.int32(1006, [package.build_time])
    tags.string(1007, BUILD_HOST)
    tags.string(1014, package.license)
    tags.i18n(1016, "Unspecified")
    if package.url:
        tags.string(1020, package.url)
    tags.string(1021, "linux")
    tags.string(1022, package.arch)
    tags.string(1044, package.source)
    tags.string(1064, "4.18.0")  # the format's version: readers treat it as a minimum
    tags.string(1132, f"{package.arch}-vendor-linux")
    tags.string(5062, "utf-8")


def _dependencies(tags: _Tags, package: RpmPackage) -> None:
    provides = sorted(set(package.provides))
    tags.strings(1047, [capability.name for capability in provides])
    tags.int32(1112, [_SENSE[capability.op] for capability in provides])
    tags.strings(1113, [capability.evr for capability in provides])
    rpmlib = [
        ("rpmlib(CompressedFileNames)", "3.0.4-1"),
        ("rpmlib(FileDigests)", "4.6.0-1"),
        ("rpmlib(PayloadFilesHavePrefix)", "4.0-1"),
        ("rpmlib(PayloadIsZstd)", "5.4.18-1"),
    ]
    requires = [
        (capability.name, _SENSE[capability.op], capability.evr)
        for capability in sorted(set(package.requires))
    ] + [(name, _RPMLIB, evr) for name, evr in rpmlib]
    tags.strings(1049, [name for name, _, _ in requires])
    tags.int32(1048, [sense for _, sense, _ in requires])
    tags.strings(1050, [evr for _, _, evr in requires])


def _files(tags: _Tags, files: Sequence[File]) -> None:
    parts = [file.path.rpartition("/") for file in files]
    directories = sorted({parent + "/" for parent, _, _ in parts})
    index = {name: number for number, name in enumerate(directories)}
    numbers = range(1, len(files) + 1)
    tags.int32(1028, [_size(file) for file in files])
    tags.int16(1030, [file.mode for file in files])
    tags.int16(1033, [0 for _ in files])
    tags.int32(1034, [file.mtime for file in files])
    tags.strings(1035, [_digest(file) for file in files])
    tags.strings(1036, [file.target for file in files])
    tags.int32(1037, [file.flags for file in files])
    tags.strings(1039, [file.user for file in files])
    tags.strings(1040, [file.group for file in files])
    tags.int32(1045, [0xFFFFFFFF for _ in files])
    tags.int32(1095, [1 for _ in files])
    tags.int32(1096, list(numbers))
    tags.strings(1097, ["" for _ in files])
    tags.int32(1116, [index[parent + "/"] for parent, _, _ in parts])
    tags.strings(1117, [name for _, _, name in parts])
    tags.strings(1118, directories)
    tags.int32(5011, [8])


def _trigger(tags: _Tags, script: str, prefixes: Sequence[str]) -> None:
    """The script runs once after a transaction that installed or removed below `prefixes`."""
    tags.strings(5076, [script, script])
    tags.strings(5077, ["/bin/sh", "/bin/sh"])
    pairs = [(prefix, number) for prefix in sorted(prefixes) for number in (0, 1)]
    tags.strings(5079, [prefix for prefix, _ in pairs])
    tags.int32(5080, [number for _, number in pairs])
    tags.strings(5081, ["" for _ in pairs])
    tags.int32(5082, [(_TRIGGER_IN, _TRIGGER_POSTUN)[number] for _, number in pairs])
    tags.int32(5085, [2000000, 2000000])


def _size(file: File) -> int:
    return len(file.target.encode()) if file.target else len(file.data)


def _digest(file: File) -> str:
    is_regular = file.mode & 0o170000 == S_IFREG and not file.flags & GHOST
    return hashlib.sha256(file.data).hexdigest() if is_regular else ""


def _cpio(files: Iterable[File]) -> bytes:
    pieces = []
    for number, file in enumerate(files, 1):
        if file.flags & GHOST:
            continue
        pieces += _cpio_entry("." + file.path, file.target.encode() or file.data, number, file)
    pieces += _cpio_entry("TRAILER!!!", b"", 0, None)
    return b"".join(pieces)


def _cpio_entry(name: str, data: bytes, number: int, file: File | None) -> list[bytes]:
    encoded = name.encode() + b"\0"
    mode, mtime = (file.mode, file.mtime) if file is not None else (0, 0)
    values = (number, mode, 0, 0, 1, mtime, len(data), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08x" % value for value in values) + encoded
    return [head, b"\0" * (-len(head) % 4), data, b"\0" * (-len(data) % 4)]


class _Tags:
    """An rpm header in the making."""

    def __init__(self) -> None:
        self._entries: dict[int, tuple[int, int, bytes]] = {}

    def string(self, tag: int, value: str) -> None:
        self._entries[tag] = (_STRING, 1, value.encode() + b"\0")

    def i18n(self, tag: int, value: str) -> None:
        self._entries[tag] = (_I18N, 1, value.encode() + b"\0")

    def strings(self, tag: int, values: Sequence[str]) -> None:
        if values:
            joined = b"".join(value.encode() + b"\0" for value in values)
            self._entries[tag] = (_STRINGS, len(values), joined)

    def int32(self, tag: int, values: Sequence[int]) -> None:
        if values:
            self._entries[tag] = (_INT32, len(values), struct.pack(f">{len(values)}I", *values))

    def int16(self, tag: int, values: Sequence[int]) -> None:
        if values:
            self._entries[tag] = (_INT16, len(values), struct.pack(f">{len(values)}H", *values))

    def serialize(self, region: int) -> bytes:
        """Index and data, in one immutable region of that tag."""
        index, data = [], b""
        align = {_INT32: 4, _INT16: 2}
        for tag, (kind, count, content) in sorted(self._entries.items()):
            data += b"\0" * (-len(data) % align.get(kind, 1))
            index.append(struct.pack(">IIII", tag, kind, len(data), count))
            data += content
        number = len(index) + 1
        first = struct.pack(">IIII", region, _BINARY, len(data), 16)
        data += struct.pack(">IIiI", region, _BINARY, -16 * number, 16)
        head = b"\x8e\xad\xe8\x01" + struct.pack(">III", 0, number, len(data))
        return head + first + b"".join(index) + data

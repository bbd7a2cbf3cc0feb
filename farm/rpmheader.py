"""Reading an RPM file's header: names, tags, and what signing does not change.

A file is a lead, a signature header, the main header and the payload. Signing rewrites the
signature header only; the main header's immutable region and the payload are the package's
identity (https://rpm-software-management.github.io/rpm/manual/format_v4.html).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from farm.errors import StateError
from farm.model import Nevra

NAME, VERSION, RELEASE, EPOCH, BUILDTIME, BUILDHOST = 1000, 1001, 1002, 1003, 1006, 1007
ARCH, OPTFLAGS, PLATFORM, COOKIE, SOURCERPM = 1022, 1122, 1132, 1094, 1044
PAYLOAD_DIGEST, IMMUTABLE = 5092, 63

_LEAD = 96
_LEAD_MAGIC = b"\xed\xab\xee\xdb"
_MAGIC = b"\x8e\xad\xe8\x01"
_LARGEST = 1 << 28
_CHUNK = 1 << 20
_WIDTHS = {1: "B", 2: "B", 3: "H", 4: "I", 5: "Q"}
_STRING, _BINARY, _STRINGS, _I18N = 6, 7, 8, 9

Value = bytes | tuple[int, ...] | tuple[str, ...]


@dataclass(frozen=True)
class Header:
    """A header structure as it lies in the file; tags are decoded when asked for."""

    entries: tuple[tuple[int, int, int, int], ...]  # tag, type, offset, count
    data: bytes = field(repr=False)

    @property
    def tags(self) -> tuple[int, ...]:
        return tuple(entry[0] for entry in self.entries)

    def value(self, tag: int) -> Value | None:
        """A tag's value: numbers, strings (always a tuple) or bytes; None when not there.

        Raises StateError when the header is damaged.
        """
        for number, kind, offset, count in self.entries:
            if number == tag:
                try:
                    return self._decode(kind, offset, count)
                except (ValueError, struct.error) as error:
                    raise StateError(f"tag {tag} of an RPM header is damaged") from error
        return None

    def text(self, tag: int) -> str:
        """The first string of a tag, "" when not there."""
        return next(iter(self.texts(tag)), "")

    def texts(self, tag: int) -> tuple[str, ...]:
        """All strings of a tag."""
        value = self.value(tag)
        return tuple(part for part in value or () if isinstance(part, str))

    def number(self, tag: int, default: int = 0) -> int:
        """The first number of a tag."""
        return next(iter(self.numbers(tag)), default)

    def numbers(self, tag: int) -> tuple[int, ...]:
        """All numbers of a tag."""
        value = self.value(tag)
        if isinstance(value, bytes):
            return ()
        return tuple(part for part in value or () if isinstance(part, int))

    @property
    def region(self) -> bytes:
        """The bytes of the immutable region: its index entries and their data.

        A freshly built package's region is its whole header; entries that were added later
        (as rpm does when it installs) lie outside of it.
        """
        for tag, kind, offset, count in self.entries[:1]:
            if tag != IMMUTABLE or kind != _BINARY or count != 16:
                break
            trailer = struct.unpack_from(">IIiI", self.data, offset)
            inside = -trailer[2] // 16
            index = b"".join(struct.pack(">IIII", *entry) for entry in self.entries[:inside])
            return index + self.data[: offset + 16]
        index = b"".join(struct.pack(">IIII", *entry) for entry in self.entries)
        return index + self.data

    def _decode(self, kind: int, offset: int, count: int) -> Value:
        if kind in _WIDTHS:
            return struct.unpack_from(f">{count}{_WIDTHS[kind]}", self.data, offset)
        if kind == _BINARY:
            return self.data[offset : offset + count]
        if kind in (_STRING, _STRINGS, _I18N):
            return tuple(self._strings(offset, 1 if kind == _STRING else count))
        return ()

    def _strings(self, offset: int, count: int) -> Iterator[str]:
        for _ in range(count):
            end = self.data.index(b"\0", offset)
            yield self.data[offset:end].decode("utf-8", "replace")
            offset = end + 1


@dataclass(frozen=True)
class Rpm:
    """The headers of a package file."""

    signature: Header
    header: Header
    payload_offset: int

    @property
    def is_source(self) -> bool:
        return SOURCERPM not in self.header.tags

    @property
    def nevra(self) -> Nevra:
        """Name, epoch, version, release and architecture ("src" for a source package)."""
        header = self.header
        arch = "src" if self.is_source else header.text(ARCH)
        return Nevra(
            header.text(NAME),
            header.number(EPOCH),
            header.text(VERSION),
            header.text(RELEASE),
            arch,
        )

    @property
    def source(self) -> str:
        """Name of the source package that this was built from (its own, for a source package)."""
        if self.is_source:
            return self.header.text(NAME)
        return self.header.text(SOURCERPM).rsplit("-", 2)[0]

    @property
    def build_time(self) -> int:
        """Seconds since 1970."""
        return self.header.number(BUILDTIME)

    @property
    def is_signed(self) -> bool:
        """Whether the signature header holds an OpenPGP signature of any kind."""
        return any(tag in _SIGNATURES for tag in self.signature.tags)


# DSA and RSA of the header alone; PGP and GPG of header and payload; OPENPGP of rpm 4.20 and later.
_SIGNATURES = frozenset({267, 268, 278, 1002, 1005})


@dataclass(frozen=True)
class Identity:
    """What signing leaves as it was: sha256 of the immutable region, and of the payload."""

    header: str
    payload: str


def read(path: Path) -> Rpm:
    """The headers of a package file. Raises StateError when it is not one, or is cut short."""
    with path.open("rb") as file:
        return _read(file, path)


def identity(path: Path) -> Identity:
    """Of a package file, signed or not. Raises StateError as `read` does."""
    with path.open("rb") as file:
        rpm = _read(file, path)
        return Identity(hashlib.sha256(rpm.header.region).hexdigest(), _payload(file, rpm))


def payload_is_whole(path: Path) -> bool:
    """Whether the payload has the digest that the header says (True when it says none)."""
    with path.open("rb") as file:
        rpm = _read(file, path)
        declared = rpm.header.text(PAYLOAD_DIGEST)
        return not declared or declared == _payload(file, rpm)


def _payload(file: BinaryIO, rpm: Rpm) -> str:
    file.seek(rpm.payload_offset)
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _read(file: BinaryIO, path: Path) -> Rpm:
    try:
        if not _exactly(file, _LEAD).startswith(_LEAD_MAGIC):
            raise ValueError("it does not begin as an RPM package does")
        signature = _header(file)
        file.seek(-file.tell() % 8, 1)
        header = _header(file)
        return Rpm(signature, header, file.tell())
    except (ValueError, struct.error) as error:
        raise StateError(
            f"{path.name} is not an RPM package, or is damaged", why=str(error)
        ) from error


def _header(file: BinaryIO) -> Header:
    magic, count, size = struct.unpack(">4s4xII", _exactly(file, 16))
    if magic != _MAGIC or count * 16 + size > _LARGEST:
        raise ValueError(f"no header at byte {file.tell() - 16}")
    index, data = _exactly(file, count * 16), _exactly(file, size)
    entries = tuple(struct.iter_unpack(">IIII", index))
    if any(offset > size for _, _, offset, _ in entries):
        raise ValueError("an index entry points outside of its header")
    return Header(entries, data)


def _exactly(file: BinaryIO, size: int) -> bytes:
    content = file.read(size)
    if len(content) != size:
        raise ValueError(f"it ends at byte {file.tell()}")
    return content

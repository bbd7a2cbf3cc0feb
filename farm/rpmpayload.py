"""The files in a package's payload, streamed: decompressed, one after the other, bounded.

Packages are foreign bytes. What is wrong with them is one of `DAMAGE`, or `Unreadable` for a
form that farm does not read.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import zstandard

from farm.errors import StateError
from farm.rpmheader import Rpm

_MAGICS = (b"070701", b"070702")
_TRAILER = "TRAILER!!!"
_CHUNK = 1 << 20
_MEMORY = 1 << 28  # bytes that a decompressor may want; rpm's own levels stay far below


class Unreadable(StateError):
    """The payload has a form or a compression that farm does not read."""


# What reading a damaged payload raises.
DAMAGE = (ValueError, EOFError, lzma.LZMAError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError)


class Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


@dataclass(frozen=True)
class Member:
    """A file of the archive; `content` is to be read before the next member is asked for."""

    name: str  # without a leading "./"
    mode: int
    size: int
    content: Iterator[bytes]


def members(path: Path, rpm: Rpm, *, largest: int) -> Iterator[Member]:
    """Each file of a package's payload, in the archive's order.

    Raises one of `DAMAGE` for a payload that is cut short, not what it says, or larger than
    `largest` bytes, Unreadable for one in another form, OSError when the file cannot be read.
    """
    with path.open("rb") as file:
        file.seek(rpm.payload_offset)
        yield from _members(plain(file, path.name), path.name, largest)


def plain(file: BinaryIO, name: str) -> Readable:
    """What is at the file's position, decompressed, whatever a header says of it.

    Raises Unreadable for an unknown compression; `name` is what the file is called then.
    """
    start = file.tell()
    magic = file.read(6)
    file.seek(start)
    if magic.startswith(b"0707"):
        return file
    found = decompressed(file, magic)
    if found is None:
        raise Unreadable(f"{name} is compressed in a way that farm does not read")
    return found


def decompressed(file: BinaryIO, magic: bytes) -> Readable | None:
    """What a compressed file holds; None when `magic` begins no compression known here."""
    if magic.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)
    if magic.startswith((b"\xfd7zXZ\0", b"\x5d\x00\x00")):
        return _Lzma(file)
    if magic.startswith(b"BZh"):
        return bz2.BZ2File(file)
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        return zstandard.ZstdDecompressor(max_window_size=_MEMORY).stream_reader(file)
    return None


class _Lzma:
    """lzma's own file object knows no bound for its memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._inner = lzma.LZMADecompressor(memlimit=_MEMORY)

    def read(self, size: int = _CHUNK, /) -> bytes:
        out = b""
        while not out and not self._inner.eof:
            feed = self._file.read(_CHUNK) if self._inner.needs_input else b""
            if self._inner.needs_input and not feed:
                raise EOFError("the compressed content is cut short")
            out = self._inner.decompress(feed, max_length=size)
        return out


def _members(payload: Readable, path: str, largest: int) -> Iterator[Member]:
    total = 0
    while True:
        header = _exactly(payload, 110)
        if header[:6] not in _MAGICS:
            raise Unreadable(f"{path} holds its files in a format that farm does not read")
        fields = [int(header[at : at + 8], 16) for at in range(6, 110, 8)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        if name_size > 4096:
            raise ValueError("a file name is too long")
        raw = _exactly(payload, name_size + -(110 + name_size) % 4)
        name = raw[:name_size].rstrip(b"\0").decode("utf-8", "surrogateescape")
        if name == _TRAILER:
            while payload.read(_CHUNK):
                pass  # to the end, where the compression's own checksum is
            return
        total += size
        if total > largest:
            raise ValueError(f"it unpacks to more than {largest >> 30} GiB")
        content = _content(payload, size)
        yield Member(name.removeprefix("./"), mode, size, content)
        for _ in content:
            pass  # whatever of it was not wanted
        _exactly(payload, -size % 4)


def _content(payload: Readable, size: int) -> Iterator[bytes]:
    while size:
        piece = payload.read(min(size, _CHUNK))
        if not piece:
            raise EOFError("the content is cut short")
        size -= len(piece)
        yield piece


def _exactly(payload: Readable, size: int) -> bytes:
    content = b""
    while len(content) < size:
        piece = payload.read(size - len(content))
        if not piece:
            raise EOFError("the content is cut short")
        content += piece
    return content

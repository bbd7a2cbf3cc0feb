"""Metadata files unpacked, within limits: a small file may unpack to more than the memory."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path

import zstandard

_LARGEST = 4 << 30  # bytes of one metadata file, unpacked
_ALWAYS = 256 << 20  # bytes that any file may unpack to; beyond, at most _RATIO times its size
_RATIO = 100  # real metadata shrinks to a tenth
_PIECE = 1 << 20
_ZSTD_PIECE = 1 << 12  # packed; a few bytes of it can stand for 128 KiB


class MetadataError(ValueError):
    """A metadata file that cannot be read; the message says how."""


def decompressed(path: Path, declared: int = 0) -> bytes:
    """The content of a metadata file: gzip, zstd, xz, bzip2 or plain, told by its first bytes.

    `declared` is its unpacked size in bytes where that is known. Raises MetadataError when the
    file is damaged, has another size, or unpacks to more than metadata ever does.
    """
    content = io.BytesIO()
    try:
        limit = min(_LARGEST, _ALWAYS + _RATIO * path.stat().st_size)
        with path.open("rb") as file:
            for piece in _pieces(file):
                content.write(piece)
                if declared and content.tell() > declared:
                    raise MetadataError(
                        f"{path.name} unpacks to more than the {declared} bytes of repomd.xml"
                    )
                if content.tell() > limit:
                    raise MetadataError(f"{path.name} unpacks to more than {limit >> 20} MiB")
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        raise MetadataError(f"{path.name} is damaged: {error}") from error
    if declared and content.tell() != declared:
        raise MetadataError(
            f"{path.name} unpacks to {content.tell()} of the {declared} bytes of repomd.xml"
        )
    return content.getvalue()


def _pieces(file: io.BufferedReader) -> Iterator[bytes]:
    magic = file.peek(6)[:6]
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        yield from _zstd(file)
        return
    stream: gzip.GzipFile | lzma.LZMAFile | bz2.BZ2File | io.BufferedReader = file
    if magic.startswith(b"\x1f\x8b"):
        stream = gzip.GzipFile(fileobj=file)
    elif magic.startswith(b"\xfd7zXZ"):
        stream = lzma.LZMAFile(file)  # noqa: SIM115
    elif magic.startswith(b"BZh"):
        stream = bz2.BZ2File(file)
    while piece := stream.read(_PIECE):
        yield piece


def _zstd(file: io.BufferedReader) -> Iterator[bytes]:
    """Its frames; the library's own reader takes a frame that is cut off for a whole one."""
    frame = None
    while packed := file.read(_ZSTD_PIECE):
        while packed:
            frame = frame or zstandard.ZstdDecompressor().decompressobj()
            yield frame.decompress(packed)
            packed = frame.unused_data
            if frame.eof:
                frame = None
    if frame is not None:
        raise EOFError("it ends within a frame")

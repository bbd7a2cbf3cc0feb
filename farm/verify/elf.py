"""The sections of an ELF file, whatever its word size and byte order."""

from __future__ import annotations

import struct
import zlib

import zstandard

_MAGIC = b"\x7fELF"
_MOST_SECTIONS = 1 << 16
_LARGEST = 1 << 29  # bytes of all sections, decompressed
_NOBITS, _COMPRESSED = 8, 0x800
_ZLIB, _ZSTD = 1, 2

# What is computed from the rest of the file, or of its debug information.
DERIVED = (".note.gnu.build-id", ".gnu_debuglink", ".gnu_debugdata", ".gnu_debugaltlink")


def is_elf(data: bytes) -> bool:
    return data.startswith(_MAGIC)


def sections(data: bytes) -> dict[str, tuple[int, bytes]] | None:
    """Name → (offset in the file, content), decompressed where it is compressed debug
    information; None when this is no whole ELF file. A name that is there twice gets a number.
    """
    try:
        return _sections(data)
    except (struct.error, ValueError, IndexError, zlib.error, zstandard.ZstdError):
        return None


def _sections(data: bytes) -> dict[str, tuple[int, bytes]] | None:
    if not is_elf(data) or data[4] not in (1, 2) or data[5] not in (1, 2):
        return None
    order = "<" if data[5] == 1 else ">"
    wide = data[4] == 2
    start = struct.unpack_from(order + ("Q" if wide else "I"), data, 40 if wide else 32)[0]
    size, count, names = struct.unpack_from(order + "HHH", data, 58 if wide else 46)
    form = order + ("IIQQQQ" if wide else "IIIIII")
    if not start or size < struct.calcsize(form):
        return None
    headers = []
    for number in range(min(count, _MOST_SECTIONS)):
        headers.append(struct.unpack_from(form, data, start + number * size)[:6])
    # sections may overlap, and say of themselves what they like
    plain = sum(size for _, kind, _, _, _, size in headers if kind != _NOBITS)
    if plain > 2 * len(data):
        raise ValueError("its sections overlap")
    room = _LARGEST
    table = _content(data, headers[names])
    found: dict[str, tuple[int, bytes]] = {}
    for header in headers:
        end = table.index(b"\0", header[0])
        name = table[header[0] : end].decode("ascii", "replace")
        if not name:
            continue
        unique, copy = name, 2
        while unique in found:
            unique, copy = f"{name} ({copy})", copy + 1
        content = _content(data, header)
        if header[2] & _COMPRESSED:
            content = _decompressed(content, order, wide, room)
            room -= len(content)
        found[unique] = (header[4], content)
    return found


def _content(data: bytes, header: tuple[int, ...]) -> bytes:
    _, kind, _, _, offset, size = header
    if kind == _NOBITS:
        return b""
    if offset + size > len(data):
        raise ValueError("a section lies outside of the file")
    return data[offset : offset + size]


def _decompressed(content: bytes, order: str, wide: bool, room: int) -> bytes:
    kind = struct.unpack_from(order + "I", content)[0]
    size = struct.unpack_from(order + ("Q" if wide else "I"), content, 8 if wide else 4)[0]
    packed = content[24 if wide else 12 :]
    if size > room:
        return content
    if kind == _ZLIB:
        return zlib.decompressobj().decompress(packed, size)
    if kind == _ZSTD:
        return zstandard.ZstdDecompressor().decompress(packed, max_output_size=size)
    return content

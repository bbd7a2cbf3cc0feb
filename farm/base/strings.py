"""Strings in compiled programs, replaced by others."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping

from farm.base.elf import Elf

_DT_RELA, _DT_RELASZ = 7, 8
_R_X86_64_RELATIVE = 8
_PAGE = 4096
_LEA = re.compile(rb"[\x48\x4c]\x8d[\x05\x0d\x15\x1d\x25\x2d\x35\x3d]", re.DOTALL)


def replaced(data: bytes, strings: Mapping[str, str]) -> bytes:
    """Replace whole C strings by others that are no longer; nothing moves."""
    for old, new in strings.items():
        before, after = old.encode(), new.encode()
        if len(after) > len(before):
            raise ValueError(f"{new!r} does not fit in the place of {old!r}")
        data = data.replace(
            b"\0" + before + b"\0", b"\0" + after + b"\0" * (len(before) - len(after) + 1)
        )
    return data


def relocated(data: bytes, old: str, new: str) -> bytes:
    """The same x86_64 file with the whole string `old` read as `new`, which may be longer.

    The new one is put where the last page of a read-only segment has room, and what refers to
    the old one (instructions that load its address, relative relocations) is led there.
    Raises ValueError when there is no such string, reference or room.
    """
    elf = Elf.open(data)
    before, after = old.encode() + b"\0", new.encode() + b"\0"
    found = data.find(b"\0" + before) + 1
    if elf is None or not found:
        raise ValueError(f"there is no string {old!r}")
    load = next(load for load in elf.loads if load[2] <= found < load[2] + load[1])
    end = load[2] + load[1]
    room = min([-(-end // _PAGE) * _PAGE, *(other[2] for other in elf.loads if other[2] > end)])
    place = end + len(data[end:room].rstrip(b"\0")) + 1
    if place + len(after) > room:
        raise ValueError(f"there is no room for {new!r}")
    address, target = found - load[2] + load[0], place - load[2] + load[0]
    changed = bytearray(data)
    changed[place : place + len(after)] = after
    count = 0
    for at in _loads_of(data, elf, address):
        struct.pack_into(
            "<i", changed, at, struct.unpack_from("<i", data, at)[0] + target - address
        )
        count += 1
    for at in _relocations_to(data, elf, address):
        struct.pack_into("<Q", changed, at, target)
        count += 1
    if not count:
        raise ValueError(f"nothing refers to the string {old!r}")
    return bytes(changed)


def _loads_of(data: bytes, elf: Elf, address: int) -> Iterator[int]:
    """Offsets of the displacements of `lea register, [rip + …]` that mean `address`."""
    for match in _LEA.finditer(data):
        at = match.end()
        for start, size, offset in elf.loads:
            if offset <= at < offset + size:
                (displacement,) = struct.unpack_from("<i", data, at)
                if at - offset + start + 4 + displacement == address:
                    yield at


def _relocations_to(data: bytes, elf: Elf, address: int) -> Iterator[int]:
    """Offsets of the addends of relative relocations to `address`, and of the words they set."""
    table, size = elf.first(_DT_RELA), elf.first(_DT_RELASZ)
    if table is None or size is None:
        return
    start = elf.offset(table)
    for at in range(start, start + size, 24):
        _, kind, addend = struct.unpack_from("<QQQ", data, at)
        if kind == _R_X86_64_RELATIVE and addend == address:
            yield at + 16

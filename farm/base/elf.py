"""What an ELF file provides and requires, in rpm's words, and one careful change to it.

The capabilities are those of rpm's own elfdeps, so that packages built in the base, whose
dependencies rpm itself generates, fit to those of the base.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

MAGIC = b"\x7fELF"
MACHINES = {62: "x86_64", 183: "aarch64"}

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_HASH, _DT_STRTAB, _DT_SYMTAB, _DT_STRSZ, _DT_SONAME = 1, 4, 5, 6, 10, 14
_DT_GNU_HASH = 0x6FFFFEF5
_DT_VERDEF, _DT_VERDEFNUM, _DT_VERNEED, _DT_VERNEEDNUM = (
    0x6FFFFFFC,
    0x6FFFFFFD,
    0x6FFFFFFE,
    0x6FFFFFFF,
)
_VERSION_BASE = 1


@dataclass(frozen=True)
class ElfFacts:
    """`provides` and `requires` are capabilities as rpm writes them, sorted."""

    machine: str
    soname: str
    needed: tuple[str, ...]
    provides: tuple[str, ...]
    requires: tuple[str, ...]


def facts(data: bytes, name: str = "") -> ElfFacts | None:
    """What a 64-bit ELF file says of itself; None for one without a dynamic section.

    A shared object that has no soname is known by its file `name`.
    """
    elf = Elf.open(data)
    if elf is None:
        return None
    soname = elf.string(elf.first(_DT_SONAME))
    if not soname and ".so" in name and not elf.is_program:
        soname = name
    needed = tuple(elf.string(value) for tag, value, _ in elf.dynamic if tag == _DT_NEEDED)
    provides = {f"{soname}()(64bit)"} if soname else set()
    if soname:
        provides |= {f"{soname}({version})(64bit)" for version in elf.defined_versions()}
    requires = {f"{name}()(64bit)" for name in needed if ".so" in name}
    requires |= {
        f"{name}({version})(64bit)" for name, version in elf.needed_versions() if ".so" in name
    }
    if elf.first(_DT_GNU_HASH) is not None and elf.first(_DT_HASH) is None:
        requires.add("rtld(GNU_HASH)")
    return ElfFacts(
        MACHINES.get(elf.machine, str(elf.machine)),
        soname,
        needed,
        tuple(sorted(provides)),
        tuple(sorted(requires)),
    )


def without_library(data: bytes, library: str, stand_ins: Mapping[str, str]) -> bytes:
    """The same file no longer linked to `library`.

    Its entry among the needed libraries is pointed at one that is needed anyway, and each
    undefined symbol in `stand_ins` is bound to the other one named there, which the file must
    import as well. Nothing moves: only offsets into the string table change.
    Raises ValueError when the file does not look as expected.
    """
    elf = Elf.open(data)
    if elf is None:
        raise ValueError("not a dynamic ELF file")
    entries = [(value, at) for tag, value, at in elf.dynamic if tag == _DT_NEEDED]
    unwanted = [(value, at) for value, at in entries if elf.string(value) == library]
    kept = [value for value, _ in entries if elf.string(value) != library]
    if not unwanted:
        return data
    if not kept or any(name == library for name, _ in elf.needed_versions()):
        raise ValueError(f"{library} cannot be taken out: its symbols are versioned")
    changed = bytearray(data)
    for _, at in unwanted:
        struct.pack_into("<Q", changed, at + 8, kept[-1])
    symbols = {name: (offset, at) for name, offset, at in elf.undefined_symbols()}
    for name, stand_in in stand_ins.items():
        if name in symbols:
            if stand_in not in symbols:
                raise ValueError(f"{stand_in} is not imported, so it cannot stand for {name}")
            struct.pack_into("<I", changed, symbols[name][1], symbols[stand_in][0])
    return bytes(changed)


@dataclass(frozen=True)
class Elf:
    """The parts of a 64-bit little-endian ELF file that the loader reads."""

    data: bytes
    machine: int
    loads: tuple[tuple[int, int, int], ...]  # address, size in the file, offset
    dynamic: tuple[tuple[int, int, int], ...]  # tag, value, offset of the entry
    is_program: bool  # names an interpreter

    @classmethod
    def open(cls, data: bytes) -> Elf | None:
        if data[:6] != MAGIC + b"\x02\x01" or len(data) < 64:
            return None
        machine = struct.unpack_from("<H", data, 18)[0]
        (table,) = struct.unpack_from("<Q", data, 32)
        size, count = struct.unpack_from("<HH", data, 54)
        loads, dynamic, is_program = [], None, False
        for number in range(count):
            kind, _, offset, address, _, filesize = struct.unpack_from(
                "<IIQQQQ", data, table + number * size
            )
            if kind == _PT_LOAD:
                loads.append((address, filesize, offset))
            elif kind == _PT_DYNAMIC:
                dynamic = (offset, filesize)
            elif kind == _PT_INTERP:
                is_program = True
        if dynamic is None or dynamic[0] + dynamic[1] > len(data):
            return None
        entries = []
        for at in range(dynamic[0], dynamic[0] + dynamic[1] - 15, 16):
            tag, value = struct.unpack_from("<QQ", data, at)
            if tag == 0:
                break
            entries.append((tag, value, at))
        return cls(data, machine, tuple(loads), tuple(entries), is_program)

    def first(self, tag: int) -> int | None:
        return next((value for known, value, _ in self.dynamic if known == tag), None)

    def offset(self, address: int) -> int:
        for start, size, offset in self.loads:
            if start <= address < start + size:
                return address - start + offset
        raise ValueError("an address outside the file")

    def string(self, at: int | None) -> str:
        table = self.first(_DT_STRTAB)
        if table is None or at is None:
            return ""
        start = self.offset(table) + at
        return self.data[start : self.data.index(b"\0", start)].decode("utf-8", "replace")

    def defined_versions(self) -> Iterator[str]:
        at = self._table(_DT_VERDEF)
        for _ in range(self.first(_DT_VERDEFNUM) or 0):
            _, flags, _, _, _, names, following = struct.unpack_from("<HHHHIII", self.data, at)
            (name,) = struct.unpack_from("<I", self.data, at + names)
            if not flags & _VERSION_BASE:
                yield self.string(name)
            at += following

    def needed_versions(self) -> Iterator[tuple[str, str]]:
        at = self._table(_DT_VERNEED)
        for _ in range(self.first(_DT_VERNEEDNUM) or 0):
            _, count, library, inner, following = struct.unpack_from("<HHIII", self.data, at)
            entry = at + inner
            for _ in range(count):
                _, _, _, name, next_entry = struct.unpack_from("<IHHII", self.data, entry)
                yield self.string(library), self.string(name)
                entry += next_entry
            at += following

    def undefined_symbols(self) -> Iterator[tuple[str, int, int]]:
        """(name, offset of the name, offset of the entry in the file)."""
        table, strings = self.first(_DT_SYMTAB), self.first(_DT_STRTAB)
        if table is None or strings is None or strings <= table:
            return
        start = self.offset(table)
        for at in range(start, start + (strings - table) // 24 * 24, 24):
            name, _, _, section = struct.unpack_from("<IBBH", self.data, at)
            if section == 0 and name:
                yield self.string(name), name, at

    def _table(self, tag: int) -> int:
        address = self.first(tag)
        return 0 if address is None else self.offset(address)

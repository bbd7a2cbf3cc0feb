"""The file list of a package, as its header has it, and its files taken out of the payload."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from farm import rpmpayload
from farm.errors import StateError
from farm.rpmheader import Rpm

V = TypeVar("V")

_LARGEST = 1 << 36  # bytes that a package may hold, unpacked
_LONG_SIZES, _SIZES, _MODES, _RDEVS, _MTIMES = 5008, 1028, 1030, 1033, 1034
_DIGESTS, _LINKS, _FLAGS, _USERS, _GROUPS = 1035, 1036, 1037, 1039, 1040
_INDEXES, _BASENAMES, _DIRNAMES, _CAPS, _VERIFY, _LANGS = 1116, 1117, 1118, 5010, 1045, 1097


@dataclass(frozen=True)
class Entry:
    """A file of a package. `mtime` is seconds since 1970, `mode` with the type of the file."""

    path: str
    mode: int = 0
    mtime: int = 0
    user: str = ""
    group: str = ""
    size: int = 0
    digest: str = ""
    link: str = ""
    flags: int = 0
    verify: int = 0
    rdev: int = 0
    capabilities: str = ""
    language: str = ""

    @property
    def is_regular(self) -> bool:
        return self.mode & 0o170000 == 0o100000


def entries(rpm: Rpm) -> tuple[Entry, ...]:
    """The file list, in the header's order. Raises StateError when the header is damaged."""
    header = rpm.header
    names = header.texts(_BASENAMES)
    if not names:
        return ()
    indexes, directories = header.numbers(_INDEXES), header.texts(_DIRNAMES)
    try:
        where = [directories[index] for index in indexes] if indexes else [""] * len(names)
        sizes = header.numbers(_LONG_SIZES) or header.numbers(_SIZES)
        columns = (
            _column(header.numbers(_MODES), names, 0),
            _column(header.numbers(_MTIMES), names, 0),
            _column(header.texts(_USERS), names, ""),
            _column(header.texts(_GROUPS), names, ""),
            _column(sizes, names, 0),
            _column(header.texts(_DIGESTS), names, ""),
            _column(header.texts(_LINKS), names, ""),
            _column(header.numbers(_FLAGS), names, 0),
            _column(header.numbers(_VERIFY), names, 0),
            _column(header.numbers(_RDEVS), names, 0),
            _column(header.texts(_CAPS), names, ""),
            _column(header.texts(_LANGS), names, ""),
        )
        return tuple(
            Entry(directory + name, *row)
            for directory, name, *row in zip(where, names, *columns, strict=True)
        )
    except (IndexError, ValueError) as error:
        raise StateError("the file list of an RPM header is damaged", why=str(error)) from error


def _column(values: tuple[V, ...], names: tuple[str, ...], absent: V) -> tuple[V, ...]:
    return values or (absent,) * len(names)


def extracted(
    path: Path, rpm: Rpm, names: Collection[str], into: Path, *, limit: int
) -> dict[str, Path]:
    """The content of those files that are not larger than `limit` bytes, each in a file of its
    own below `into`.

    Raises what `rpmpayload.members` raises.
    """
    wanted = set(names)
    found: dict[str, Path] = {}
    for member in rpmpayload.members(path, rpm, largest=_LARGEST):
        name = _named(member.name, wanted)
        if name is None or member.size > limit or member.mode & 0o170000 != 0o100000:
            continue
        if member.size == 0 and name in found:
            continue
        target = into / str(len(found))
        with target.open("wb") as out:
            for piece in member.content:
                out.write(piece)
        found[name] = target
    return found


def _named(name: str, wanted: Collection[str]) -> str | None:
    """The archive's name as the header has it: of a source package without a slash."""
    for candidate in (name, f"/{name}"):
        if candidate in wanted:
            return candidate
    return None


def archive_order(path: Path, rpm: Rpm) -> tuple[tuple[str, int, int], ...]:
    """(name, mode, size) of each file as the archive has them."""
    found = rpmpayload.members(path, rpm, largest=_LARGEST)
    return tuple((member.name, member.mode, member.size) for member in found)

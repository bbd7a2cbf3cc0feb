"""Debian's package format: what is in a .deb, without unpacking it to a disk."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_IFDIR, S_IFLNK, S_IFREG

import zstandard

from farm.errors import StateError

_DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".xz": lzma.decompress,
    ".gz": gzip.decompress,
    ".zst": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}
_KINDS = {tarfile.REGTYPE: S_IFREG, tarfile.DIRTYPE: S_IFDIR, tarfile.SYMTYPE: S_IFLNK}


@dataclass(frozen=True)
class Entry:
    """A file of a package. `path` starts with a slash and has none at its end; `mode` holds the
    kind; `same_as` is the path of the entry that a hard link is another name of."""

    path: str
    mode: int
    user: str
    group: str
    mtime: int
    data: bytes = b""
    target: str = ""
    same_as: str = ""


@dataclass(frozen=True)
class DebContents:
    """`conffiles` are paths that belong to the administrator."""

    entries: tuple[Entry, ...]
    conffiles: frozenset[str]


def read(path: Path, wanted: Callable[[str], bool] = lambda path: True) -> DebContents:
    """The package's files in archive order, those only whose path is `wanted`.

    Raises StateError when it is not a Debian package.
    """
    conffiles: frozenset[str] = frozenset()
    entries: tuple[Entry, ...] = ()
    try:
        for name, data in _members(path.read_bytes()):
            kind, _, compression = name.partition(".tar")
            if kind not in ("control", "data"):
                continue
            archive = io.BytesIO(_DECOMPRESS[compression](data))
            with tarfile.open(fileobj=archive, mode="r:") as tar:
                if kind == "control":
                    conffiles = _conffiles(tar)
                else:
                    entries = tuple(_entries(tar, wanted))
    except (ValueError, KeyError, OSError, lzma.LZMAError, tarfile.TarError) as error:
        raise StateError(
            f"{path} is not a Debian package that farm can read",
            why=str(error),
            hint="Remove it and run `farm base build` again: it is fetched anew.",
        ) from error
    return DebContents(entries, conffiles)


def read_one(path: Path, wanted: str) -> Entry:
    """One file of a large package, unpacking no further than to it. Raises StateError."""
    for name, data in _members(path.read_bytes()):
        if name == "data.tar.xz":
            with (
                lzma.open(io.BytesIO(data)) as stream,
                tarfile.open(fileobj=stream, mode="r|") as tar,
            ):
                for entry in _entries(tar, lambda path: path == wanted):
                    return entry
    raise StateError(f"{path} does not hold {wanted}")


def _members(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The members of an `ar` archive."""
    if not data.startswith(b"!<arch>\n"):
        raise ValueError("it is not an ar archive")
    at = 8
    while at + 60 <= len(data):
        name = data[at : at + 16].decode("ascii").strip().rstrip("/")
        size = int(data[at + 48 : at + 58])
        yield name, data[at + 60 : at + 60 + size]
        at += 60 + size + size % 2


def _conffiles(tar: tarfile.TarFile) -> frozenset[str]:
    for member in tar:
        if member.name.removeprefix("./") == "conffiles":
            file = tar.extractfile(member)
            lines = file.read().decode("utf-8").splitlines() if file is not None else []
            # A flag before the path ("remove-on-upgrade") is dpkg's own business.
            return frozenset(line.split()[-1] for line in lines if line.startswith("/"))
    return frozenset()


def _entries(tar: tarfile.TarFile, wanted: Callable[[str], bool]) -> Iterator[Entry]:
    for member in tar:
        path = "/" + member.name.removeprefix(".").strip("/")
        if path == "/" or not wanted(path):
            continue
        owner = (member.uname or "root", member.gname or "root", int(member.mtime))
        if member.islnk():
            same_as = "/" + member.linkname.removeprefix(".").strip("/")
            yield Entry(path, S_IFREG | member.mode, *owner, same_as=same_as)
            continue
        if member.type not in _KINDS:
            raise ValueError(f"{path} is of a kind that packages do not hold")
        mode = _KINDS[member.type] | member.mode
        if member.issym():
            yield Entry(path, S_IFLNK | 0o777, *owner, target=member.linkname)
        elif member.isreg():
            file = tar.extractfile(member)
            yield Entry(path, mode, *owner, data=file.read() if file is not None else b"")
        else:
            yield Entry(path, mode, *owner)

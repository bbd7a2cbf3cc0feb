"""The files of built packages, as their headers tell them, kept by the packages' checksums."""

from __future__ import annotations

import contextlib
import stat
from pathlib import Path
from typing import TypeVar

import msgspec

from farm import rpmheader
from farm.model import Package
from farm.store import write_atomic

_FORMAT = "1"  # raised when what a kept file holds changes
_KEPT = "files"  # directory of kept lists
# https://rpm-software-management.github.io/rpm/manual/tags.html
_SIZES, _LONG_SIZES, _MODES, _RDEVS, _DIGESTS, _LINKS = 1028, 5008, 1030, 1033, 1035, 1036
_FLAGS, _USERS, _GROUPS, _COLOURS, _DIRECTORIES = 1037, 1039, 1040, 1140, 1118
_DIRECTORY_INDEXES, _NAMES, _ALGORITHM, _OLD_NAMES = 1116, 1117, 5011, 1027
_T = TypeVar("_T")
_GHOST = 1 << 6
_MD5 = 1
# Every base of today has these merged: the same file by either name.
_MERGED = ("/bin/", "/sbin/", "/lib/", "/lib64/")


class File(msgspec.Struct, frozen=True, array_like=True):
    """One path of a package, with everything that rpm compares where two packages own it."""

    path: str
    mode: int
    user: str
    group: str
    size: int
    content: str  # digest of a regular file, target of a symlink, number of a device
    algorithm: int  # of the digest
    colour: int  # 1: 32-bit ELF, 2: 64-bit, 0: neither
    ghost: bool

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def kind(self) -> str:
        """`file`, `directory`, `symlink` or `special file`."""
        if stat.S_ISLNK(self.mode):
            return "symlink"
        if self.is_directory:
            return "directory"
        return "file" if stat.S_ISREG(self.mode) else "special file"


_Files = msgspec.msgpack.Decoder(tuple[File, ...])


def files_of(package: Package, path: Path, cache: Path) -> tuple[File, ...]:
    """All paths of a package file (signed or not), sorted. Raises StateError when it is none."""
    kept = cache / _KEPT / package.sha256[:2] / f"{package.sha256[2:]}-{_FORMAT}"
    with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
        return _Files.decode(kept.read_bytes())
    found = read_files(path)
    write_atomic(kept, msgspec.msgpack.encode(found))
    return found


def read_files(path: Path) -> tuple[File, ...]:
    """All paths of a package file, sorted. Raises StateError when it is none."""
    header = rpmheader.read(path).header
    names = header.texts(_NAMES)
    directories, indexes = header.texts(_DIRECTORIES), header.numbers(_DIRECTORY_INDEXES)
    paths = [directories[index] + name for name, index in zip(names, indexes, strict=True)]
    paths = paths or list(header.texts(_OLD_NAMES))
    size = len(paths)
    modes = _filled(header.numbers(_MODES), size, 0)
    digests, links = (
        _filled(header.texts(_DIGESTS), size, ""),
        _filled(header.texts(_LINKS), size, ""),
    )
    devices = _filled(header.numbers(_RDEVS), size, 0)
    columns = zip(
        paths,
        modes,
        _filled(header.texts(_USERS), size, "root"),
        _filled(header.texts(_GROUPS), size, "root"),
        _filled(header.numbers(_LONG_SIZES) or header.numbers(_SIZES), size, 0),
        (
            link if stat.S_ISLNK(mode) else digest if stat.S_ISREG(mode) else _device(mode, device)
            for mode, digest, link, device in zip(modes, digests, links, devices, strict=True)
        ),
        [header.number(_ALGORITHM, _MD5)] * size,
        _filled(header.numbers(_COLOURS), size, 0),
        (bool(flags & _GHOST) for flags in _filled(header.numbers(_FLAGS), size, 0)),
        strict=True,
    )
    return tuple(sorted((File(*column) for column in columns), key=lambda file: file.path))


def settled(path: str) -> str:
    """The path by which a file is known once /bin, /sbin, /lib and /lib64 are merged into /usr.

    >>> settled("/bin/sh"), settled("/usr/bin/sh"), settled("/libexec/x")
    ('/usr/bin/sh', '/usr/bin/sh', '/libexec/x')
    """
    return f"/usr{path}" if path.startswith(_MERGED) else path


def _device(mode: int, device: int) -> str:
    return str(device) if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else ""


def _filled(values: tuple[_T, ...], size: int, default: _T) -> tuple[_T, ...]:
    """A package without a tag has the default for each of its files."""
    return values if len(values) == size else (default,) * size

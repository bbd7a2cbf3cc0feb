"""A directory as a .tar.gz whose bytes depend on nothing but names, contents and one time.

Written here byte by byte: what tar and gzip libraries write differs between their versions (and
zlib between distributions), and these bytes end up in a source package. The gzip stream holds
its data as it is, uncompressed: the source package compresses it anyway.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

_BLOCK = 512
_RECORD = 20 * _BLOCK
_STORED = 0xFFFF  # the largest stored block of a deflate stream
_OCTAL_11 = 8**11


@dataclass(frozen=True)
class Member:
    """A file of the archive: `path` with slashes, relative to the archive's top."""

    path: str
    content: bytes
    executable: bool = False


def tar_gz(members: Iterable[Member], mtime: int) -> bytes:
    """The archive: sorted, with directories, owned by root, modes 0644 and 0755.

    `mtime` is in seconds since 1970. Raises ValueError for a path or a size that the format
    (ustar) cannot hold, and for two members of one path.
    """
    return gzip_stored(tar(members, mtime))


def tar(members: Iterable[Member], mtime: int) -> bytes:
    """As `tar_gz`, not packed."""
    if not 0 <= mtime < _OCTAL_11:
        raise ValueError(f"{mtime} is no time that an archive can hold")
    files: dict[str, Member] = {}
    directories: set[str] = set()
    for member in members:
        parts = member.path.split("/")
        if member.path in files or any(part in ("", ".", "..") for part in parts):
            raise ValueError(f"{member.path!r} cannot be in an archive, or not twice")
        files[member.path] = member
        directories |= {"/".join(parts[:count]) for count in range(1, len(parts))}
    if clash := directories & files.keys():
        raise ValueError(f"{min(clash)!r} is both a file and a directory")
    pieces: list[bytes] = []
    for path in sorted(directories | files.keys()):
        if path in directories:
            pieces.append(_header(f"{path}/", 0, 0o755, mtime, b"5"))
            continue
        member = files[path]
        size = len(member.content)
        pieces.append(_header(path, size, 0o755 if member.executable else 0o644, mtime, b"0"))
        pieces += (member.content, bytes(-size % _BLOCK))
    content = b"".join(pieces) + bytes(2 * _BLOCK)
    return content + bytes(-len(content) % _RECORD)


def gzip_stored(content: bytes) -> bytes:
    """A gzip file without name and time that holds `content` uncompressed."""
    pieces = [b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"]
    for start in range(0, len(content) or 1, _STORED):
        block = content[start : start + _STORED]
        last = start + _STORED >= len(content)
        pieces += (struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF), block)
    pieces.append(struct.pack("<II", zlib.crc32(content), len(content) & 0xFFFFFFFF))
    return b"".join(pieces)


def _header(path: str, size: int, mode: int, mtime: int, kind: bytes) -> bytes:
    prefix, name = _split(path.encode("utf-8", "surrogateescape"))
    if size >= _OCTAL_11:
        raise ValueError(f"{path} is larger than an archive's header can say")
    header = struct.pack(
        "100s8s8s8s12s12s8s1s100s6s2s32s32s8s8s155s12x",
        name, b"%07o" % mode, b"%07o" % 0, b"%07o" % 0, b"%011o" % size, b"%011o" % mtime,
        b" " * 8, kind, b"", b"ustar", b"00", b"root", b"root", b"%07o" % 0, b"%07o" % 0, prefix,
    )  # fmt: skip
    checksum = b"%06o\0 " % sum(header)
    return header[:148] + checksum + header[156:]


def _split(path: bytes) -> tuple[bytes, bytes]:
    """ustar keeps a long path in two fields, parted at a slash."""
    if len(path) <= 100:
        return b"", path
    at = path.find(b"/", len(path) - 101)
    if at < 1 or at > 155 or at == len(path) - 1:
        raise ValueError(f"{path.decode(errors='replace')} is too long a path for an archive")
    return path[:at], path[at + 1 :]

"""One level into a file that holds others: gzip, xz, bzip2, zstd, zip, tar, cpio, ar."""

from __future__ import annotations

import io
import tarfile
import zipfile
from dataclasses import dataclass

from farm import rpmpayload
from farm.rpmpayload import DAMAGE

_LARGEST = 1 << 28  # bytes, unpacked
_MOST = 20_000  # members
_CHUNK = 1 << 20
_CONTENT = "content"

Properties = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Part:
    """A member: its name, what the archive says of it, and its bytes."""

    name: str
    properties: Properties
    content: bytes


def parts(data: bytes) -> tuple[Part, ...] | None:
    """The members of an archive in its order, or the content of a compressed file; None when
    this is neither, is damaged, or is too large to look into."""
    try:
        if data.startswith(b"PK\x03\x04"):
            return _zip(data)
        if data.startswith(b"!<arch>\n"):
            return _ar(data)
        if data.startswith((b"070701", b"070702")):
            return _cpio(data)
        if data[257:262] == b"ustar":
            return _tar(data)
        return _compressed(data)
    except (*DAMAGE, tarfile.TarError, zipfile.BadZipFile, IndexError, NotImplementedError):
        return None
    except (RuntimeError, OSError, UnicodeError):  # an encrypted member; what else zipfile says
        return None


class _TooLarge(ValueError):
    pass


def _compressed(data: bytes) -> tuple[Part, ...] | None:
    stream = rpmpayload.decompressed(io.BytesIO(data), data[:6])
    if stream is None:
        return None
    content = bytearray()
    while piece := stream.read(_CHUNK):
        content += piece
        if len(content) > _LARGEST:
            raise _TooLarge("too large")
    return (Part(_CONTENT, _gzip_header(data), bytes(content)),)


def _gzip_header(data: bytes) -> Properties:
    if not data.startswith(b"\x1f\x8b"):
        return ()
    flags, seconds, system = data[3], int.from_bytes(data[4:8], "little"), data[9]
    name = ""
    if flags & 8 and not flags & 4:
        name = data[10 : data.index(b"\0", 10)].decode("latin-1")
    return (("mtime", str(seconds)), ("name", name), ("system", str(system)))


def _zip(data: bytes) -> tuple[Part, ...]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = archive.infolist()
        if len(infos) > _MOST or sum(info.file_size for info in infos) > _LARGEST:
            raise _TooLarge("too large")
        found = []
        for info in infos:
            year, month, day, hour, minute, second = info.date_time
            properties = (
                ("mtime", f"{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}"),
                ("mode", oct(info.external_attr >> 16)),
                ("extra", info.extra.hex()),
            )
            with archive.open(info) as file:
                content = file.read(_LARGEST)
            found.append(Part(info.filename, properties, content))
        return tuple(found)


def _tar(data: bytes) -> tuple[Part, ...]:
    found: list[Part] = []
    total = 0
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for member in archive:
            total += member.size  # a sparse one may say anything
            if len(found) > _MOST or total > _LARGEST:
                raise _TooLarge("too large")
            file = archive.extractfile(member) if member.isfile() else None
            properties = (
                ("mtime", f"{member.mtime:.9g}" if member.mtime % 1 else str(int(member.mtime))),
                ("mode", oct(member.mode)),
                ("owner", _owner(member.uname, member.uid, member.gname, member.gid)),
                ("link", member.linkname),
            )
            found.append(Part(member.name, properties, file.read() if file else b""))
    return tuple(found)


def _owner(user: str, uid: int, group: str, gid: int) -> str:
    """As `ls` has it; the numbers as well, which may differ where the names do not."""
    return ":".join(
        f"{name}({number})" if name else str(number) for name, number in ((user, uid), (group, gid))
    )


def _cpio(data: bytes) -> tuple[Part, ...]:
    """The form `newc`: hexadecimal numbers, padded to four bytes."""
    found: list[Part] = []
    at = 0
    while len(found) < _MOST:
        head = data[at : at + 110]
        if len(head) < 110 or head[:6] not in (b"070701", b"070702"):
            raise ValueError("a member's header is damaged")
        numbers = [int(head[start : start + 8], 16) for start in range(6, 102, 8)]
        inode, mode, uid, gid, links, mtime, size, *device, length = numbers
        start = (at + 110 + length + 3) & ~3
        name = data[at + 110 : at + 110 + length - 1].decode("utf-8")
        if size < 0 or length < 1 or start + size > len(data):
            raise ValueError("a member's header is damaged")
        if name == "TRAILER!!!":
            return tuple(found)
        properties = (
            ("mtime", str(mtime)), ("owner", f"{uid}:{gid}"), ("mode", oct(mode & 0o7777)),
            ("inode", str(inode)), ("links", str(links)), ("device", "/".join(map(str, device))),
        )  # fmt: skip
        found.append(Part(name, properties, data[start : start + size]))
        at = (start + size + 3) & ~3
    raise _TooLarge("too large")


def _ar(data: bytes) -> tuple[Part, ...]:
    found: list[Part] = []
    at = 8
    while at + 60 <= len(data) and len(found) < _MOST:
        header = data[at : at + 60]
        size = int(header[48:58])
        if header[58:60] != b"`\n" or size < 0 or at + 60 + size > len(data):
            raise ValueError("a member's header is damaged")
        name, mtime, uid, gid, mode = (
            header[start:end].decode("ascii").strip()
            for start, end in ((0, 16), (16, 28), (28, 34), (34, 40), (40, 48))
        )
        properties = (("mtime", mtime), ("owner", f"{uid}:{gid}"), ("mode", mode))
        found.append(Part(name.rstrip("/") or name, properties, data[at + 60 : at + 60 + size]))
        at += 60 + size + size % 2
    return tuple(found)

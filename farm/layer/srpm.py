"""A source package given by path → a scratch recipe; it is read as data, rpm is not asked."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

import zstandard

from farm import rpmheader
from farm.errors import LayerError, MachineError, StateError
from farm.model import Recipe, RecipeFile
from farm.store import sha256_of

_FILE_FLAGS, _BASENAMES = 1037, 1117
_IS_SPEC = 1 << 5
_MAGICS = (b"070701", b"070702")
_TRAILER = "TRAILER!!!"
_LARGEST = 16 << 30  # bytes that a source package may hold, unpacked
_CHUNK = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]*")


def recipe_from_srpm(path: Path, directory: Path) -> Recipe:
    """Unpack a .src.rpm into a directory of its own below `directory`: a scratch recipe.

    Its files lie in that directory, so it needs no checksums of sources. Raises LayerError for
    anything that is not a whole source package.
    """
    try:
        package = rpmheader.read(path)
        name = package.nevra.name
        whole = rpmheader.payload_is_whole(path)
    except FileNotFoundError as error:
        raise LayerError(f"there is no source package {path}") from error
    except OSError as error:
        raise LayerError(f"{path} cannot be read", why=error.strerror or "") from error
    except StateError as error:
        raise LayerError(error.what, why=error.why) from error
    if not package.is_source or not _NAME.fullmatch(name):
        raise LayerError(
            f"{path.name} is not a source package",
            hint="Give a .src.rpm, or the name of a package of the layer.",
        )
    if not whole:
        raise LayerError(
            f"{path.name} is damaged: its content has another checksum than its header says",
            hint="Fetch it again.",
        )
    target = directory / f"{name}-{sha256_of(path)[:12]}"
    if not target.exists():
        _unpack(path, package, target)
    spec = _spec(package, target, path)
    files = tuple(
        RecipeFile(file.name, sha256_of(file), bool(file.stat().st_mode & 0o100))
        for file in sorted(target.iterdir())
    )
    return Recipe(
        name=name,
        spec=spec,
        directory=str(target.resolve()),
        files=files,
        scratch=True,
        origin="srpm",
    )


def _unpack(path: Path, package: rpmheader.Rpm, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        with path.open("rb") as file:
            file.seek(package.payload_offset)
            for name, mode, content in _members(_plain(file, path), path):
                with (draft / name).open("xb") as out:
                    for piece in content:
                        out.write(piece)
                (draft / name).chmod(0o755 if mode & 0o100 else 0o644)
        draft.chmod(0o755)
        draft.rename(target)
    except _DAMAGE as error:
        raise LayerError(
            f"{path.name} is damaged", why=str(error), hint="Fetch it again."
        ) from error
    except OSError as error:
        raise MachineError(
            f"{path.name} cannot be unpacked: {error.strerror or error}", why=str(target.parent)
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


_DAMAGE = (ValueError, EOFError, lzma.LZMAError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError)


class _Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


def _plain(file: BinaryIO, path: Path) -> _Readable:
    """The payload, decompressed. (The header does not name every compression, but bytes do.)"""
    start = file.tell()
    magic = file.read(6)
    file.seek(start)
    if magic.startswith(b"0707"):
        return file
    if magic.startswith(b"\x1f\x8b"):
        return gzip.open(file)
    if magic.startswith((b"\xfd7zXZ", b"\x5d\x00\x00")):
        return lzma.open(file)
    if magic.startswith(b"BZh"):
        return bz2.open(file)
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        return zstandard.ZstdDecompressor().stream_reader(file)
    raise LayerError(f"{path.name} is compressed in a way that farm does not read")


def _members(payload: _Readable, path: Path) -> Iterator[tuple[str, int, Iterator[bytes]]]:
    """Name, mode and content of each file of a cpio archive in the format that rpm writes."""
    total = 0
    seen: set[str] = set()
    while True:
        header = _exactly(payload, 110)
        if header[:6] not in _MAGICS:
            raise LayerError(f"{path.name} holds its files in a format that farm does not read")
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
        name = name.removeprefix("./")
        if "/" in name or name in ("", ".", "..") or mode & 0o170000 != 0o100000:
            raise ValueError(f"{name!r} is not a plain file in the package's own directory")
        if name in seen:
            raise ValueError(f"{name!r} is in it twice")
        seen.add(name)
        total += size
        if total > _LARGEST:
            raise ValueError("it unpacks to more than 16 GiB")
        yield name, mode, _content(payload, size)
        _exactly(payload, -size % 4)


def _content(payload: _Readable, size: int) -> Iterator[bytes]:
    while size:
        piece = payload.read(min(size, _CHUNK))
        if not piece:
            raise EOFError("the content is cut short")
        size -= len(piece)
        yield piece


def _exactly(payload: _Readable, size: int) -> bytes:
    content = b""
    while len(content) < size:
        piece = payload.read(size - len(content))
        if not piece:
            raise EOFError("the content is cut short")
        content += piece
    return content


def _spec(package: rpmheader.Rpm, directory: Path, path: Path) -> str:
    """The file that the header calls the spec, else the only *.spec."""
    try:
        names = package.header.texts(_BASENAMES)
        flags = package.header.numbers(_FILE_FLAGS)
    except StateError as error:
        raise LayerError(f"{path.name} is damaged", why=error.what) from error
    held = sorted(file.name for file in directory.iterdir())
    marked = [name for name, flag in zip(names, flags, strict=False) if flag & _IS_SPEC]
    specs = marked or [name for name in held if name.endswith(".spec")]
    if len(specs) != 1 or specs[0] not in held:
        raise LayerError(
            f"{path.name} does not hold one spec, as a source package does",
            why=f"It has {', '.join(specs) or 'none'}.",
        )
    return specs[0]

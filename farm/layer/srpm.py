"""A source package given by path → a scratch recipe; it is read as data, rpm is not asked."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from farm import rpmheader, rpmpayload
from farm.errors import LayerError, MachineError, StateError
from farm.model import Recipe, RecipeFile
from farm.store import sha256_of

_FILE_FLAGS, _BASENAMES = 1037, 1117
_IS_SPEC = 1 << 5
_LARGEST = 16 << 30  # bytes that a source package may hold, unpacked
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
        for member in _members(path, package):
            with (draft / member.name).open("xb") as out:
                for piece in member.content:
                    out.write(piece)
            (draft / member.name).chmod(0o755 if member.mode & 0o100 else 0o644)
        draft.chmod(0o755)
        draft.rename(target)
    except rpmpayload.Unreadable as error:
        raise LayerError(error.what) from error
    except rpmpayload.DAMAGE as error:
        raise LayerError(
            f"{path.name} is damaged", why=str(error), hint="Fetch it again."
        ) from error
    except OSError as error:
        raise MachineError(
            f"{path.name} cannot be unpacked: {error.strerror or error}", why=str(target.parent)
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _members(path: Path, package: rpmheader.Rpm) -> Iterator[rpmpayload.Member]:
    """The files of a source package, which are plain ones in its own directory."""
    seen: set[str] = set()
    for member in rpmpayload.members(path, package, largest=_LARGEST):
        name = member.name
        if "/" in name or name in ("", ".", "..") or member.mode & 0o170000 != 0o100000:
            raise ValueError(f"{name!r} is not a plain file in the package's own directory")
        if name in seen:
            raise ValueError(f"{name!r} is in it twice")
        seen.add(name)
        yield member


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

"""Layers of build roots are sealed when they are whole: damage shows."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path

import msgspec

from farm.errors import StateError
from farm.model import Noun, from_json, to_json
from farm.sandbox import Bind, host_tool
from farm.store import write_atomic

# A look at the directories' times finds whatever was deleted or added, one at the files' times of
# change what was written in place: 8 and 25 ms for 9,600 files in memory, for every build.
# Where something was touched since, or from time to time, everything is listed and compared.
_THOROUGH_SECONDS = 6 * 3600

_FORMAT = r"%P\0%y %m %U:%G %s %T@ %l\n\0"


class Seal(Noun, frozen=True):
    """What is in a sealed layer."""

    digest: str  # of the listing: paths, kinds, modes, owners, sizes, times
    on: str  # digest of the layer below, or ""
    directories: tuple[tuple[str, int], ...]  # path, time of change in nanoseconds
    database: str  # path of the rpm database inside
    size: int  # bytes
    host: tuple[tuple[str, str], ...] = ()  # what made it


def seal(
    layer: Path,
    *,
    on: str = "",
    database: str = "",
    host: tuple[tuple[str, str], ...] = (),
) -> Seal:
    """List `layer`/tree and write the seal beside it."""
    digest, directories, size = _listing(layer / "tree")
    made = Seal(digest, on, directories, database, size, host)
    write_atomic(layer / "seal.json", to_json(made))
    return made


def intact(layer: Path, *, on: str) -> Seal | None:
    """The seal of a whole layer that was made over `on`; None for anything else.

    A file that was changed in place is found at once, unless its directory is closed to us.
    """
    try:
        found = from_json(Seal, (layer / "seal.json").read_bytes(), where=str(layer))
    except (OSError, StateError, msgspec.MsgspecError):
        return None
    if found.on != on or not _directories_as_sealed(layer / "tree", found):
        return None
    checked = layer / "checked"
    looked = (layer / "seal.json").stat().st_mtime_ns
    with contextlib.suppress(OSError):
        looked = max(looked, checked.stat().st_mtime_ns)
    recently = time.time() - looked / 1e9 < _THOROUGH_SECONDS
    if recently and not _touched(layer / "tree", looked):
        return found
    if _listing(layer / "tree")[0] != found.digest:
        return None
    checked.touch()
    return found


def _touched(tree: Path, since: int) -> bool:
    """Whether any file was changed, or got other attributes, after that moment (nanoseconds)."""
    places = [os.fspath(tree)]
    while places:
        try:
            with os.scandir(places.pop()) as entries:
                for entry in entries:
                    if entry.stat(follow_symlinks=False).st_ctime_ns > since:
                        return True
                    if entry.is_dir(follow_symlinks=False):
                        places.append(entry.path)
        except PermissionError:
            continue  # a directory of one of the sandbox's users
        except OSError:
            return True
    return False


def _directories_as_sealed(tree: Path, found: Seal) -> bool:
    for name, changed in found.directories:
        try:
            if os.lstat(f"{tree}/{name}").st_mtime_ns != changed:
                return False
        except PermissionError:
            continue  # inside a directory of one of the sandbox's users
        except OSError:
            return False
    return True


def _listing(tree: Path) -> tuple[str, tuple[tuple[str, int], ...], int]:
    done = host_tool(["find", "/r", "-printf", _FORMAT], binds=(Bind(tree, "/r"),), system=("/",))
    entries = sorted(done.stdout.split("\n\0"))
    directories, size = [], 0
    for entry in entries:
        path, _, rest = entry.partition("\0")
        fields = rest.split(" ", 5)
        if len(fields) < 5:
            continue
        size += int(fields[3])
        if fields[0] == "d":
            seconds, _, fraction = fields[4].partition(".")
            directories.append((path, int(seconds) * 10**9 + int(fraction[:9])))
    digest = hashlib.sha256("\n".join(entries).encode("utf-8", "replace")).hexdigest()
    return digest, tuple(directories), size

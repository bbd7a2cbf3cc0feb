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

# A look at the directories' times finds whatever was deleted or added and costs milliseconds.
# A changed file in place takes a look at all of them, which is not done for every build.
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
    """The seal of a whole layer that was made over `on`; None for anything else."""
    try:
        found = from_json(Seal, (layer / "seal.json").read_bytes(), where=str(layer))
    except (OSError, StateError, msgspec.MsgspecError):
        return None
    if found.on != on or not _directories_as_sealed(layer / "tree", found):
        return None
    checked = layer / "checked"
    with contextlib.suppress(OSError):
        if time.time() - checked.stat().st_mtime < _THOROUGH_SECONDS:
            return found
    if (layer / "seal.json").stat().st_mtime > time.time() - _THOROUGH_SECONDS:
        return found
    if _listing(layer / "tree")[0] != found.digest:
        return None
    checked.touch()
    return found


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

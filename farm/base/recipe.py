"""The recipe of the embedded base: which packages, which names, which files of farm's own.

All of it is data in `data/`; the digest covers that and the code that turns packages into RPMs, so
that a change of either makes a new base.
"""

from __future__ import annotations

import functools
import hashlib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from farm.base.rpmfile import CONFIG, NOREPLACE, File, regular

_HERE = Path(__file__).parent
DATA = _HERE / "data"
# What decides the bytes of a package.
_CODE = (
    "accounts.py", "archive.py", "bytecode.py", "capabilities.py", "convert.py", "deb.py",
    "elf.py", "recipe.py", "repodata.py", "rpmfile.py",
)  # fmt: skip
TRIPLETS = {"x86_64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu"}


@dataclass(frozen=True)
class Cut:
    """A link to a library of the layer that is cut from every file of a package."""

    library: str
    stand_ins: Mapping[str, str]


@dataclass(frozen=True)
class Recipe:
    """`requires`, `names`, `links`, `copies` and `cuts` are by Debian package."""

    roots: tuple[str, ...]
    left_out: tuple[str, ...]
    layer_owned: tuple[str, ...]
    dropped: tuple[str, ...]
    standard_directories: tuple[str, ...]
    requires: Mapping[str, tuple[str, ...]]
    names: Mapping[str, tuple[str, ...]]
    links: Mapping[str, Mapping[str, str]]
    copies: Mapping[str, Mapping[str, str]]
    cuts: Mapping[str, Cut]
    digest: str


@functools.cache
def recipe() -> Recipe:
    """The recipe that is part of this farm."""
    packages = tomllib.loads((DATA / "packages.toml").read_text("utf-8"))
    overlay = tomllib.loads((DATA / "overlay.toml").read_text("utf-8"))
    names = tomllib.loads((DATA / "fedora.toml").read_text("utf-8"))
    return Recipe(
        roots=tuple(packages["roots"]),
        left_out=tuple(packages["left_out"]),
        layer_owned=tuple(packages["layer_owned"]),
        dropped=tuple(packages["dropped"]),
        standard_directories=tuple(packages["standard_directories"]),
        requires={deb: tuple(values) for deb, values in packages["requires"].items()},
        names={deb: tuple(values) for deb, values in names.items()},
        links=overlay["links"],
        copies=overlay["copies"],
        cuts={deb: Cut(cut["library"], cut["stand_ins"]) for deb, cut in overlay["cut"].items()},
        digest=digest_of_files(_own_names()),
    )


@functools.cache
def own_files(deb: str) -> tuple[File, ...]:
    """Files that farm adds to a package: `data/files/<package>/<path>`."""
    top = DATA / "files" / deb
    found = []
    for path in sorted(top.rglob("*")):
        if path.is_file():
            target = "/" + path.relative_to(top).as_posix()
            data = path.read_bytes()
            mode = 0o755 if data.startswith(b"#!") else 0o644
            flags = CONFIG | NOREPLACE if target.startswith("/etc/") else 0
            found.append(regular(target, data, mode, flags=flags))
    return tuple(found)


def digest_of_files(names: Iterable[str]) -> str:
    """sha256 over files of this package, their names included."""
    total = hashlib.sha256()
    for name in sorted(names):
        total.update(name.encode() + b"\0")
        total.update(hashlib.sha256((_HERE / name).read_bytes()).digest())
    return total.hexdigest()


def _own_names() -> Iterator[str]:
    yield from _CODE
    for path in DATA.rglob("*"):
        if path.is_file() and not path.name.startswith("native"):
            yield path.relative_to(_HERE).as_posix()

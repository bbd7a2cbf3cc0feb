"""Where a source archive can come from: each origin offers files, none is believed.

An origin answers with files that may be the wanted one, or says why it has none. Whoever asks
compares checksums; an origin does not know which bytes are right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

_COMPRESSIONS = {
    "gz": ("gz", "tgz"),
    "bz2": ("bz2", "tbz", "tbz2"),
    "xz": ("xz", "txz"),
    "zst": ("zst", "tzst"),
    "lz": ("lz",),
    "tar": ("tar",),
    "zip": ("zip",),
}


@dataclass(frozen=True)
class Wanted:
    """A file that is looked for. `sha512` is "" when nobody has declared one yet."""

    package: str
    file: str
    sha512: str = ""
    addresses: tuple[str, ...] = ()  # upstream's, from the spec
    alias: str = ""  # the package's name in Debian or on PyPI, where it is another
    version: str = ""

    @property
    def compression(self) -> str:
        """`gz`, `xz`, … for an archive, "" for any other file."""
        return compression(self.file)


@dataclass(frozen=True)
class Offer:
    """A file that an origin has; `where` names it for people."""

    where: str
    path: Path


@dataclass(frozen=True)
class Refusal:
    """Why an origin, or one place of it, has nothing to offer."""

    where: str
    why: str


class Origin(Protocol):
    """One kind of place to ask."""

    name: str

    def offers(self, wanted: Wanted, draft: Path) -> Iterator[Offer | Refusal]:
        """Files that may be the wanted one, the likeliest first, fetched as they are asked for.

        What is downloaded goes below the directory `draft`, which the caller removes.
        """
        ...


def compression(file: str) -> str:
    """`gz` for `x.tar.gz` and `x.tgz`, and so on; "" for what is no archive."""
    ending = file.rpartition(".")[2].lower()
    return next((kind for kind, endings in _COMPRESSIONS.items() if ending in endings), "")


def normalized(name: str) -> str:
    """A project's name as PyPI compares it: lower case, runs of `-_.` as one hyphen."""
    return re.sub(r"[-_.]+", "-", name).lower()

"""Metadata that was just fetched, looked at before it becomes a pin.

What a mirror or a generator has damaged is found here, where the mirror can still be told and
the pin of before still stands, and not in the middle of a build.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from farm.plan.metadata import comps, modules, rpmmd
from farm.plan.metadata.unpack import MetadataError, decompressed


def examine(files: Iterable[tuple[str, Path, int, str]]) -> None:
    """Raises MetadataError, naming the kind of file, unless they can be read and are complete.

    For each file: its kind as repomd.xml calls it, where it is, and its size in bytes (0: not
    declared) and checksum (`type:hex`, "": not declared) when unpacked.
    """
    packages: dict[str, frozenset[bytes]] = {}
    for kind, path, size, checksum in files:
        try:
            content = decompressed(path, size)
            _compare(path, content, checksum)
            if kind == "primary":
                packages[kind] = rpmmd.checksums_in(rpmmd.regular_primary(content))
            elif kind == "filelists":
                packages[kind] = rpmmd.owners_in(rpmmd.regular_filelists(content))
            elif kind == "group":
                comps.parse_groups(content)
            elif kind == "modules":
                modules.parse_modules(content)
        except MetadataError as error:
            raise MetadataError(f"{kind}: {error}") from error
    unlisted = packages.get("primary", frozenset()) - packages.get("filelists", frozenset())
    if unlisted and "filelists" in packages:
        shown = min(unlisted).decode()[:16]
        raise MetadataError(
            f"filelists: {len(unlisted)} packages of primary.xml are not in it (checksum {shown}…)"
        )


def _compare(path: Path, content: bytes, checksum: str) -> None:
    algorithm, _, expected = checksum.partition(":")
    if not checksum:
        return
    actual = hashlib.new(algorithm, content).hexdigest()
    if actual != expected:
        raise MetadataError(
            f"{path.name} unpacks to other bytes than repomd.xml declares "
            f"({algorithm} {actual[:16]}…, not {expected[:16]}…)"
        )

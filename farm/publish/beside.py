"""What lies beside each package of a snapshot, made or taken from where it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from farm import rpmheader
from farm.model import Package, to_json
from farm.publish.builds import Behind
from farm.publish.drafts import Beside
from farm.publish.envelopes import Envelopes, Unsigned
from farm.publish.keys import Key, KeyRing
from farm.publish.provenance import Subject, statement
from farm.publish.signing import SignedCopy

PROVENANCE = ".intoto.json"


def statements(
    behind: Behind,
    copies: Mapping[str, SignedCopy],
    layer: str,
    state: Path,
    ring: KeyRing,
    key: Key,
) -> tuple[Beside, int]:
    """The signed statement of each build for each of its packages; how many were signed now.

    `copies` has a signed copy for each unsigned sha256.
    """

    def subject(package: Package) -> Subject:
        copy = copies[package.sha256]
        return Subject(package, copy.signed.sha256, rpmheader.identity(copy.path))

    made: dict[str, Unsigned] = {}
    for build in behind.builds:
        source = subject(build.source) if build.source is not None else None
        told = statement(build, map(subject, build.packages), source, layer=layer)
        unsigned = Unsigned(to_json(told), int(build.result.finished))
        made |= {package.sha256: unsigned for package in build.packages}
    envelopes, fresh = Envelopes(state).add(made.values(), ring, key)
    return {
        sha256: {PROVENANCE: envelopes[unsigned.sha256]} for sha256, unsigned in made.items()
    }, fresh

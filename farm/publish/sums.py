"""One signed list of all files of a snapshot: what has no signature of its own is under it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from farm.publish.keys import Key, KeyRing
from farm.store import sha256_of

NAME = "SHA256SUMS"


def write_sums(
    directory: Path, known: Mapping[Path, str], ring: KeyRing, key: Key, *, at: int
) -> None:
    """Write and sign the checksums of all files below `directory`, as `sha256sum -c` reads them.

    `known` spares reading files whose sha256 was compared already. `at` (seconds since 1970)
    dates the signature and both files.
    """
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    lines = [
        f"{known.get(path) or sha256_of(path)}  {path.relative_to(directory)}\n" for path in files
    ]
    sums = directory / NAME
    sums.write_text("".join(lines))
    signature = sums.with_name(f"{NAME}.asc")
    signature.write_text(ring.sign_detached(sums, key, at=at))
    ring.verify_detached(signature, sums, key)
    for path in (sums, signature):
        os.utime(path, (at, at))

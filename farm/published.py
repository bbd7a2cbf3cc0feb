"""What was published under which name: two different packages never share a NEVRA."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from farm.config import Config
from farm.errors import StateError
from farm.model import Former, from_json, to_json
from farm.publish.tree import Publication
from farm.store import write_atomic


def published_before(config: Config) -> Mapping[tuple[str, str], str]:
    """(step, NEVRA) → sha256 before signing, of everything that the published tree records, what
    `farm gc` removed from it included.

    A record is named by its checksum and never changes, so each is read and checked once; what
    was read is kept in the state directory. Raises StateError for a damaged one.
    """
    publication = Publication(config.path("publication"))
    kept = config.path("state") / "published.json"
    known = _known(kept)
    there = publication.result_names()
    seen = {name: known.get(name) or Former.of(publication.result(name)) for name in there}
    if seen.keys() != known.keys():
        with contextlib.suppress(OSError):
            write_atomic(kept, to_json(seen))
    records = sorted((*seen.values(), *publication.formers()), key=lambda each: each.finished)
    return {(record.step, nevra): sha256 for record in records for nevra, sha256 in record.packages}


def formers(config: Config) -> tuple[Former, ...]:
    """What stays of build records that were removed from the published tree, oldest first."""
    return Publication(config.path("publication")).formers()


def _known(path: Path) -> dict[str, Former]:
    with contextlib.suppress(OSError, StateError):
        return from_json(dict[str, Former], path.read_bytes())
    return {}

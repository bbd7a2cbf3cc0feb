"""What the pages are made of, as a checksum: where it is the same, none needs to be looked at."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from farm.config import Config
from farm.errors import StateError
from farm.inputs import layer_as_read
from farm.ledger import Ledger
from farm.model import digest_of
from farm.publish.tree import Publication
from farm.site.status.pages import HOME


def ground(config: Config, ledger: Ledger, stamp: str) -> str:
    """All that pages follow from, but for what a run tells; `stamp` is of the templates.

    The pages' own names are in it: one that somebody removed is missed. "" when this process
    has not read the layer, or the published tree cannot be read.
    """
    layer = layer_as_read(config)
    if layer is None:
        return ""
    publication, state = config.path("publication"), config.path("state")
    try:
        published = tuple(_published(config, publication))
    except StateError:
        return ""
    return digest_of(
        (
            stamp, repr(config), ledger.outline(),
            layer.commit, layer.groups, tuple((r.name, r.group) for r in layer.recipes),
            tuple((problem.subject, str(problem)) for problem in layer.problems),
            published,
            tuple(_changed(state / "verified")),
            tuple(_names(publication / HOME)),
            tuple(_names(publication / HOME / "logs")),
            tuple(_names(publication / HOME / "packages")),
        )
    )  # fmt: skip


def _published(config: Config, publication: Path) -> Iterator[object]:
    tree = Publication(publication)
    yield (publication / config.publish.key_file).exists()
    for release in config.releases:
        yield tree.history(release), tuple(_names(publication / "snapshots" / release))
    yield (publication / "index.html").exists()


def _changed(directory: Path) -> list[tuple[str, int]]:
    """What is in a directory, and when something in that came or went."""
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        return sorted((entry.name, entry.stat().st_mtime_ns) for entry in entries)
    return []


def _names(directory: Path) -> list[str]:
    with contextlib.suppress(OSError):
        names = (path.name for path in directory.iterdir())
        return sorted(name for name in names if not name.startswith("."))
    return []

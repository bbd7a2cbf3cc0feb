"""`farm attest`: what strangers signed is taken in, and how far a waiting release is then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from farm.config import Config
from farm.errors import ConfigError, PublishError
from farm.publish.attestations import Quorum, Taken, quorum, take_in, waiting
from farm.publish.attesters import panel
from farm.publish.tree import Publication


@dataclass(frozen=True)
class AttestReport:
    """What `farm attest` took in, why it refused the rest, and how far the snapshots are now."""

    taken: tuple[Taken, ...]
    stand: tuple[Quorum, ...]
    refused: tuple[PublishError, ...]


def take_in_files(config: Config, files: Sequence[Path]) -> AttestReport:
    """Keep what attesters signed beside the snapshots that it speaks of; of no file, only look.

    Raises ConfigError when nobody's attestations are wanted. A file that is refused does not
    keep the others out.
    """
    if not config.publish.attesters:
        raise ConfigError(
            "nobody's attestations are wanted: farm.toml names no publish.attesters",
            hint="docs/publishing.md says how a release comes to wait for attestations.",
        )
    taken, refused = [], []
    tree = Publication(config.path("publication"))
    with panel(config) as attesters, tree.writing(config.default_release):
        for file in files:
            try:
                taken.append(take_in(tree, attesters, file, config.releases))
            except PublishError as error:
                refused.append(error)
        spoken_of = dict.fromkeys((each.release, each.snapshot) for each in taken)
        stand = tuple(
            quorum(tree, attesters, tree.read(release, snapshot))
            for release, snapshot in (spoken_of if files else waiting(tree, config.releases))
        )
    return AttestReport(tuple(taken), stand, tuple(refused))

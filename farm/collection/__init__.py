"""`farm gc`: what nothing reaches is removed, references before what they refer to.

Nothing that is reached is ever touched, so a run that is killed leaves everything as usable as it
was, and the next one goes on. Of the ledger all figures stay; files go.
"""

from __future__ import annotations

from dataclasses import dataclass

from farm.collection.items import Row, rows
from farm.collection.local import local_items
from farm.collection.published import Published, remove_published
from farm.collection.reach import Retention, kept_results
from farm.collection.removal import remove_items
from farm.collection.scene import Scene, scene_of
from farm.ledger import Ledger
from farm.progress import Emit

__all__ = ["GcReport", "GcRequest", "Retention", "Scene", "collect", "scene_of"]

WHYS = {
    "snapshots": "neither among the newest, nor young, nor attested (keep_* of [publish])",
    "published trees": "replaced longer ago than the time of grace",
    "attestations": "of snapshots that are not kept",
    "build records": "of snapshots that are not kept; which names are taken stays known",
    "locks": "of build records that are not kept",
    "archived packages": "in no published lock any more",
    "attempts": "not the last one of a package",
    "logs": "of builds whose results are not kept, nor the last one of a package",
    "shown logs": "links from the status pages to logs that go",
    "signed copies": "of packages that are not kept",
    "bills of materials": "linked from no snapshot; made again when wanted",
    "generated recipes": "of groups that the layer does not have any more",
    "scratch": "unpacked for a build that is over",
    "verdicts": "of packages that left the layer, and evidence that is old",
    "pins": "of states of a base that are not pinned any more",
    "other bases": "that nobody asked about for a while",
    "solver caches": "that nobody used for a while",
    "stored files": "reached by no result that counts, nor by its build root",
    "build roots": "not used for a day; made again when wanted",
    "embedded bases": "replaced by newer ones, and pinned by nobody here",
}


@dataclass(frozen=True)
class GcRequest:
    """What `farm gc` was asked for; `bases`: the shared cache's old embedded bases as well."""

    dry_run: bool = False
    bases: bool = False


@dataclass(frozen=True)
class GcReport:
    """What was removed, or would be; `kept` counts what stays, by kind."""

    rows: tuple[Row, ...]
    dry_run: bool
    kept: tuple[tuple[str, int], ...] = ()

    @property
    def freed(self) -> int:
        """Bytes."""
        return sum(row.bytes for row in self.rows)


def collect(scene: Scene, ledger: Ledger, request: GcRequest, emit: Emit) -> GcReport:
    """Find what nothing reaches, and remove it unless it is a dry run.

    The ledger is to be ours. Raises PublishError when another farm is publishing.
    """
    published = Published.read(scene)
    results = kept_results(
        [r for r in ledger.standings(bootstraps=True) if scene.counts(r)],
        ledger.everything(),
        published.results,
    )
    local = local_items(scene, ledger, results, bases=request.bases)
    items = (*published.items, *local)
    report = GcReport(
        rows(items, WHYS), request.dry_run,
        (("snapshots", len(published.kept)), ("results", len(results))),
    )  # fmt: skip
    if not request.dry_run:
        remove_published(scene, published)
        remove_items(local, scene, emit)
        ledger.forget_solutions(kept={result.key for result in results})
    return report

"""Does `dnf upgrade` bring every site from every snapshot to what is to be published?

Two questions for each architecture. Has every package that was ever published a successor
(`succession`)? And, for each metapackage of each snapshot: is what a site has after installing
it brought to the new packages by `dnf upgrade`? dnf without `--best` keeps what it cannot
upgrade and says little about it, so a solution is not enough: every package of the layer has to
arrive.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from farm.model import Chroot
from farm.plan.fit.arrivals import Arrivals
from farm.plan.fit.findings import Findings
from farm.plan.fit.shipment import Shipment
from farm.plan.fit.succession import Succession
from farm.plan.fit.upgradepool import UpgradePool
from farm.plan.metadata.pins import Pin


def upgrade_findings(
    chroot: Chroot,
    pins: Sequence[Pin],
    cache: Path,
    earlier: Sequence[Shipment],
    new: Shipment,
    metapackages: Iterable[str] = (),
) -> Findings:
    """What stands between sites at any of the `earlier` snapshots and the `new` packages.

    `metapackages`: packages that sites install, beside those that a snapshot's own groups name.
    A problem that several snapshots share is there once, and names the last of them. A
    metapackage of a snapshot that today's base no longer lets anybody install is said to be so in
    the notes; its upgrade is then solved with the layer's packages alone as installed.
    Raises RepositoryError and StateError for damaged metadata.
    """
    named = frozenset(metapackages).union(*(shipment.metapackages for shipment in earlier))
    before = [shipment for shipment in earlier if shipment.packages]
    if all(_contained(shipment, new) for shipment in before):
        return Findings()
    pool = UpgradePool.open(chroot, pins, cache, before, new)
    with pool.universe.guard:
        succession = Succession(pool, chroot, new, named)
        order = succession.findings(before)
        moving = [shipment for shipment in before if not _contained(shipment, new)]
        arrivals = Arrivals(pool, succession, chroot.arch, cache)
        return Findings.joined((order, arrivals.findings(moving, sorted(named))))


def _contained(shipment: Shipment, new: Shipment) -> bool:
    """Whether everything of a snapshot is published still: then nobody has to go anywhere."""
    return {p.nevra for p in shipment.packages} <= {p.nevra for p in new.packages}

"""Whether the cluster takes attempts: asked where `build.engine` is "slurm"."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from farm.config import Slurm
from farm.doctor.finding import Finding
from farm.rebuild.engines.slurm.asking import place_for
from farm.rebuild.engines.slurm.clients import PROGRAMS, Clients, Declined, Silent

_SETTINGS = "[slurm] in farm.toml (features, partition, account, qos, options)"


@dataclass(frozen=True)
class Cluster:
    """`missing` clients; `silence`: why slurmctld was not heard, "" when it was; `refused`: what
    it said of a job for an architecture that it would not take; `address`: a farm without a
    shared directory lacks one."""

    missing: tuple[str, ...] = ()
    silence: str = ""
    archs: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    address: bool = True


def look(config: Slurm, archs: Iterable[str], found: Iterable[str]) -> Cluster:
    """Ask the cluster whether it would take a job for each architecture; submits nothing."""
    archs = tuple(archs)
    address = config.shared or bool(config.address)
    there = frozenset(found)
    missing = tuple(name for name in PROGRAMS if name not in there)
    if missing:
        return Cluster(missing, archs=archs, address=address)
    clients, refused = Clients(), {}
    try:
        clients.ping()
        for arch in archs:
            try:
                clients.probe(place_for(config, arch))
            except Declined as error:
                refused[arch] = str(error)
    except Silent as error:
        return Cluster(silence=str(error), archs=archs, address=address)
    return Cluster(archs=archs, refused=refused, address=address)


def of_cluster(cluster: Cluster | None, package_manager: str) -> Iterator[Finding]:
    """What is to be said of it; nothing where attempts do not run on one."""
    if cluster is None:
        return
    if not cluster.address:
        yield Finding(
            "slurm", "missing", "nodes without a shared directory do not know this machine",
            "Set slurm.address in farm.toml to its name or address as the nodes reach it.",
        )  # fmt: skip
    if cluster.missing:
        package = {"apt": "apt-get install slurm-client", "dnf": "dnf install slurm"}
        yield Finding(
            "slurm", "missing", f"not installed: {', '.join(cluster.missing)}",
            f"As root: {package.get(package_manager, 'install the clients of Slurm')}; and the "
            "cluster's slurm.conf and munge key.",
        )  # fmt: skip
    elif cluster.silence:
        yield Finding(
            "slurm", "missing", f"slurmctld does not answer: {cluster.silence}",
            "Builds wait for it. Is munged running here, with the cluster's key, and slurm.conf "
            "(or SLURM_CONF) the cluster's?",
        )  # fmt: skip
    else:
        for arch, why in cluster.refused.items():
            yield Finding(
                "slurm",
                "missing",
                f"no job for {arch} is taken: {why}",
                f"See {_SETTINGS}; `sinfo -o '%N %f'` shows the nodes' features.",
            )
        fine = [arch for arch in cluster.archs if arch not in cluster.refused]
        if fine:
            yield Finding("slurm", "ok", f"it takes jobs for {', '.join(fine)}")

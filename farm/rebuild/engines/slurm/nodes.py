"""A cluster's nodes as machines that a walk can be foreseen on."""

from __future__ import annotations

import re
from collections.abc import Iterable

from farm.config import Slurm
from farm.rebuild.engines import Capacity, Machine
from farm.rebuild.engines.slurm.asking import constraint
from farm.rebuild.engines.slurm.clients import Clients, Node, Silent

_MIB = 1 << 20


def machines_of(
    config: Slurm, archs: Iterable[str], clients: Clients | None = None
) -> tuple[Machine, ...] | str:
    """The nodes that jobs of these architectures would be given to, or why nobody knows them."""
    try:
        nodes = (clients or Clients()).nodes(config.partition)
    except Silent as error:
        return f"Slurm does not answer ({error})"
    archs = tuple(archs)
    machines = (machine_of(node, config, archs) for node in nodes)
    fitting = tuple(each for each in machines if each.archs)
    return fitting or "no node in service, or no such partition"


def machine_of(node: Node, config: Slurm, archs: Iterable[str]) -> Machine:
    """A node, with those of these architectures that it builds for."""
    fitting = frozenset(a for a in archs if has(node.features, constraint(config, a)))
    cpus = max(node.cpus, 1)
    memory = node.memory * _MIB if node.memory > 1 else 0
    return Machine(Capacity(cpus, cpus, memory), fitting, node.name)


def has(features: frozenset[str], wanted: str) -> bool:
    """Whether a node with these features may be what a constraint asks for: alternatives (|) and
    what is wanted together (&) are understood; anything else is Slurm's business.

    >>> has(frozenset({"x86_64", "big"}), "aarch64|x86_64&big")
    True
    >>> has(frozenset({"x86_64"}), "aarch64|x86_64&big")
    False
    """
    if re.search(r"[^\w.&|,:-]", wanted):
        return True
    return any(
        all(each in features for each in re.split("[&,]", together))
        for together in wanted.split("|")
    )

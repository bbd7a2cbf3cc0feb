"""Which engine a configuration names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from farm.config import Config
from farm.errors import ConfigError
from farm.rebuild.engines import Capacity, Engine, Machine
from farm.rebuild.engines.local import LocalEngine, capacity_of
from farm.run import processors


def open_engine(
    name: str,
    config: Config,
    state: Path,
    slots: int,
    *,
    tell: Callable[[str], None] = lambda _: None,
) -> Engine:
    """The engine of that name, for attempts below the state directory.

    `slots` is how many at a time this machine would do; a cluster has its own number. `tell` hears
    what concerns the engine as a whole. Raises ConfigError for an engine that there is not, and
    MachineError for one that cannot be used here.
    """
    if name == "local":
        return LocalEngine(slots, capacity_of(slots, state, config.build.minimum_free), state)
    if name == "slurm":
        from farm.rebuild.engines.slurm import SlurmEngine, post_for  # noqa: PLC0415 - start-up

        return SlurmEngine(config.slurm, state, post_for(config, state), tell=tell)
    raise ConfigError(f"no engine is called {name!r}", hint="Choose local or slurm.")


@dataclass(frozen=True)
class Park:
    """What an engine would build on: its machines (none, and why, where they are not known), and
    what all attempts have together."""

    capacity: Capacity
    machines: tuple[Machine, ...] = ()
    unknown: str = ""


def park_of(name: str, config: Config, state: Path, slots: int, archs: Iterable[str]) -> Park:
    """The machines of the engine of that name; starts nothing. Raises ConfigError."""
    if name != "slurm":
        capacity = open_engine(name, config, state, slots).capacity
        # with more attempts than processors each takes longer: together they are no quicker
        return Park(capacity, (Machine(replace(capacity, cores=processors())),))
    from farm.rebuild.engines.slurm.nodes import machines_of  # noqa: PLC0415 - start-up

    capacity = Capacity(config.slurm.jobs, share=config.slurm.cores, queues=True)
    machines = machines_of(config.slurm, archs)
    if isinstance(machines, str):
        return Park(capacity, (), machines)
    return Park(capacity, machines)

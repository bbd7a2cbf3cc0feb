"""How a worker on a node finds its attempt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from farm.config import Config
from farm.errors import ConfigError
from farm.model import Job
from farm.rebuild.remote.depot import Depot
from farm.rebuild.remote.wire import TICKET
from farm.rebuild.worker import ROOTS
from farm.store import Store

_ALIVE = 30.0  # seconds without a word after which a worker is not counted on; it says one every 10


class Post(Protocol):
    """What stands between the coordinator and its workers."""

    def offer(self, job: Job, directory: Path) -> tuple[list[str], dict[str, str]]:
        """The words after `farm` that do this attempt, and what they need in the environment.
        Raises MachineError."""

    def withdraw(self, attempt: str) -> None:
        """Nothing is taken from this attempt's worker any more."""

    def hears(self, attempt: str) -> bool:
        """Whether the attempt's worker gave a sign of life just now."""

    def close(self) -> None:
        """No attempt is on offer any more."""


class SharedDirectory:
    """Workers see the attempt's directory and the store under the paths that they have here."""

    def __init__(self, roots: str) -> None:
        self._roots = roots

    def offer(self, job: Job, directory: Path) -> tuple[list[str], dict[str, str]]:
        return ["work", str(directory / "job.json")], {ROOTS: self._roots}

    def withdraw(self, attempt: str) -> None:
        """Its claim keeps others from it, and nobody reads what its worker still writes."""

    def hears(self, attempt: str) -> bool:
        return False  # what it writes says little: a build may be silent for an hour

    def close(self) -> None:
        """There is nothing to close."""


class Distance:
    """Workers fetch and bring everything over the network; a depot is made when it is wanted."""

    def __init__(self, made: Callable[[], Depot]) -> None:
        self._made = made
        self._depot: Depot | None = None

    def offer(self, job: Job, directory: Path) -> tuple[list[str], dict[str, str]]:
        if self._depot is None:
            self._depot = self._made().__enter__()
        ticket = self._depot.offer(job, directory)
        return ["work", ticket.address], {TICKET: ticket.secret}

    def withdraw(self, attempt: str) -> None:
        if self._depot is not None:
            self._depot.withdraw(attempt)

    def hears(self, attempt: str) -> bool:
        silence = self._depot.heard(attempt) if self._depot is not None else None
        return silence is not None and silence < _ALIVE

    def close(self) -> None:
        if self._depot is not None:
            self._depot.__exit__(None, None, None)
            self._depot = None


def post_for(config: Config, state: Path) -> Post:
    """As [slurm] in farm.toml says. Raises ConfigError where no address is known."""
    if config.slurm.shared:
        return SharedDirectory(config.paths.roots)
    if not config.slurm.address:
        raise ConfigError(
            "slurm.shared is false, but slurm.address is not set",
            hint="Set it in farm.toml to the name or address of this machine as nodes reach it.",
        )
    host, port = address_of(config.slurm.address)
    bind = host if host == "localhost" or host.startswith("127.") else "0.0.0.0"
    return Distance(lambda: Depot(Store(state / "store"), bind, port, host=host))


def address_of(text: str) -> tuple[str, int]:
    """HOST or HOST:PORT → both; port 0 is any."""
    host, colon, port = text.rpartition(":")
    return (host, int(port)) if colon and port.isdigit() else (text, 0)

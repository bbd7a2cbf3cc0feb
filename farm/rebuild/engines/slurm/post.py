"""How a worker on a node finds its attempt."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from farm.config import Config
from farm.model import Job
from farm.rebuild.remote.depot import Depot
from farm.rebuild.remote.wire import TICKET
from farm.rebuild.worker import ROOTS
from farm.store import Store


class Post(Protocol):
    """What stands between the coordinator and its workers."""

    def offer(self, job: Job, directory: Path) -> tuple[list[str], dict[str, str]]:
        """The words after `farm` that do this attempt, and what they need in the environment.
        Raises MachineError."""

    def withdraw(self, attempt: str) -> None:
        """Nothing is taken from this attempt's worker any more."""

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

    def close(self) -> None:
        """There is nothing to close."""


class Distance:
    """Workers fetch and bring everything over the network; the depot opens when it is wanted."""

    def __init__(self, depot: Depot) -> None:
        self._depot, self._open = depot, False

    def offer(self, job: Job, directory: Path) -> tuple[list[str], dict[str, str]]:
        if not self._open:
            self._depot.__enter__()
            self._open = True
        ticket = self._depot.offer(job, directory)
        return ["work", ticket.address], {TICKET: ticket.secret}

    def withdraw(self, attempt: str) -> None:
        self._depot.withdraw(attempt)

    def close(self) -> None:
        if self._open:
            self._depot.__exit__(None, None, None)
            self._open = False


def post_for(config: Config, state: Path) -> Post:
    """As [slurm] in farm.toml says. Raises MachineError where no address is known."""
    if config.slurm.shared:
        return SharedDirectory(config.paths.roots)
    host, port = address_of(config.slurm.address)
    bind = host if host == "localhost" or host.startswith("127.") else "0.0.0.0"
    return Distance(Depot(Store(state / "store"), bind, port, host=host))


def address_of(text: str) -> tuple[str, int]:
    """HOST or HOST:PORT → both; port 0 is any."""
    host, colon, port = text.rpartition(":")
    return (host, int(port)) if colon and port.isdigit() else (text, 0)

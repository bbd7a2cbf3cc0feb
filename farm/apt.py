"""The machine's own apt: which archives it knows, and private roots that ask them for more.

farm names no archive: apt itself says where the machine gets its packages. A private root has
suites, architecture, lists and packages of its own, and keeps only the host's ways to the network
(proxies, certificates, credentials) and its keys; the host's state, pins and hooks are neither
read nor changed.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from farm import run
from farm.errors import MachineError
from farm.store import write_atomic

_PATIENCE = 300  # seconds for apt to say what it knows


@dataclass(frozen=True)
class Archive:
    """One suite and component of an address that the machine's apt knows.

    `origin` is who made it, as its own list says; "" where that list was never fetched.
    """

    uri: str
    suite: str
    component: str
    origin: str = ""


class PrivateRoot:
    """A private apt root in `directory`; `architecture` as Debian names it, "": the host's."""

    def __init__(self, directory: Path, architecture: str = "") -> None:
        self.directory = directory
        self._architecture = architecture

    @property
    def env(self) -> dict[str, str]:
        """What apt's programs want in their environment to work in this root."""
        return {"APT_CONFIG": str(self.directory / "apt.conf")}

    @property
    def lists(self) -> Path:
        """Where apt keeps the lists that it fetched."""
        return self.directory / "state" / "lists"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One apt at a time in this root, among threads and among processes."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / ".lock").open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def configure(self, entries: str) -> None:
        """Make the root know these archives, in deb822, and no others."""
        for path in ("etc", "state/lists/partial", "cache/archives/partial"):
            (self.directory / path).mkdir(parents=True, exist_ok=True)
        (self.directory / "status").touch()
        write_atomic(self.directory / "etc" / "farm.sources", entries)
        write_atomic(self.directory / "apt.conf", self._settings())

    def run(
        self,
        command: Sequence[str],
        *,
        timeout: float,
        cwd: Path | None = None,
        check: bool = True,
    ) -> run.Completed:
        """One of apt's programs in this root. Raises CommandFailed when it fails and `check`."""
        return run.run(command, cwd=cwd, env=self.env, timeout=timeout, check=check)

    def _settings(self) -> str:
        root = self.directory
        settings = [
            f'Dir "{root}";',
            f'Dir::Etc "{root}/etc";',
            f'Dir::Etc::sourceparts "{root}/etc";',
            'Dir::Etc::sourcelist "none";',
            'Dir::Etc::main "none";',
            'Dir::Etc::parts "none";',
            'Dir::Etc::preferences "none";',
            'Dir::Etc::preferencesparts "none";',
            'Dir::Etc::netrc "/etc/apt/auth.conf";',
            'Dir::Etc::netrcparts "/etc/apt/auth.conf.d";',
            'Dir::Etc::trusted "/etc/apt/trusted.gpg";',
            'Dir::Etc::trustedparts "/etc/apt/trusted.gpg.d";',
            f'Dir::State "{root}/state";',
            f'Dir::State::status "{root}/status";',
            f'Dir::Cache "{root}/cache";',
            f'Dir::Log "{root}/log";',
            # apt would fetch as a user who cannot enter a private directory.
            'APT::Sandbox::User "";',
            'Acquire::Languages "none";',
            'Acquire::GzipIndexes "false";',
        ]
        if self._architecture:
            settings.append(f'APT::Architecture "{self._architecture}";')
            settings.append(f'APT::Architectures {{ "{self._architecture}"; }};')
        dump = run.run(["apt-config", "dump", "Acquire"], timeout=_PATIENCE).stdout
        return network_settings(dump) + "".join(f"{line}\n" for line in settings)


def host_archives() -> tuple[Archive, ...]:
    """What apt itself reads from its configuration, whatever format that is in, in its order.

    Raises MachineError when there is no apt.
    """
    every = _targets("--no-release-info", "$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)")
    fetched = _targets("--release-info", "$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)\t$(ORIGIN)")
    origins = {row[:3]: row[3] for row in fetched if len(row) == 4}
    return tuple(Archive(*row, origins.get(row, "")) for row in every if len(row) == 3)


def network_settings(dump: str) -> str:
    """Of apt's settings those that say how to reach an archive, not what else to fetch of it."""
    others = ("Acquire::IndexTargets", "Acquire::Languages", "Acquire::GzipIndexes")
    return "".join(line + "\n" for line in dump.splitlines() if not line.startswith(others))


def complaint(done: run.Completed) -> str:
    """The first thing that apt complains of: the last is only that it complained."""
    lines = [line for line in done.stderr.splitlines() if line.startswith(("E:", "W:"))]
    return " ".join(lines[0][2:].split()) if lines else run.describe_exit(done)


def _targets(info: str, fields: str) -> tuple[tuple[str, ...], ...]:
    command = ["apt-get", "indextargets", info, "--format", fields, "Created-By: Packages"]
    try:
        listed = run.run(command, check=False, timeout=_PATIENCE).stdout
    except MachineError as error:
        raise MachineError("there is no apt on this machine") from error
    # A field that a flat archive does not have stays as it is in the format.
    rows = (tuple(line.split("\t")) for line in listed.splitlines() if "$(" not in line)
    return tuple(dict.fromkeys(rows))

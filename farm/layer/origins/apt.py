"""A private apt root that knows source packages, made from the machine's own configuration.

farm names no archive: apt itself says where the machine gets its packages, and the same places
are asked for source packages, of the machine's own suites and of newer ones. apt checks the
lists' signatures. Nothing of the host's state is read or changed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from farm import run
from farm.errors import MachineError
from farm.store import write_atomic

_FRESH = 24 * 3600  # seconds until the lists of source packages are asked for again
_RETRY = 600  # seconds until they are, when some could not be fetched
_PATIENCE = 300  # seconds for apt to fetch lists or one source package
_NEWER = {"debian": ("stable", "testing", "unstable"), "ubuntu": ("devel",)}
_ALIASES = ("oldstable", "stable", "testing", "unstable", "sid", "devel")
_OS_RELEASE = Path("/etc/os-release")
_KEYRINGS = Path("/usr/share/keyrings")


@dataclass(frozen=True)
class Archive:
    """One address that the machine's apt knows."""

    uri: str
    suite: str
    component: str


class AptSources:
    """apt's knowledge of source packages; `directory` keeps lists between runs."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._refusal = ""
        self._ready = False

    def show(self, name: str) -> str:
        """What `apt-cache showsrc` says of a source package, "" when there is none.

        Raises MachineError when apt, its configuration or its lists are not to be had.
        """
        with self.locked():
            self._prepare()
            command = ["apt-cache", "showsrc", "--only-source", "--", name]
            return run.run(command, env=self._env, check=False, timeout=_PATIENCE).stdout

    def download(self, name: str, version: str, place: Path) -> str:
        """Fetch a source package's archives into `place`; what apt complains of, if it does.

        Wants `show` first, and `locked` around it and what is done with the files.
        """
        done = run.run(
            ["apt-get", "source", "--download-only", "--tar-only", "--only-source",
             "--", f"{name}={version}"],
            env=self._env,
            cwd=place,
            check=False,
            timeout=_PATIENCE,
        )  # fmt: skip
        return "" if done.ok else _complaint(done)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One apt at a time, among threads and among processes."""
        self._directory.mkdir(parents=True, exist_ok=True)
        with self._lock, (self._directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @property
    def _env(self) -> dict[str, str]:
        return {"APT_CONFIG": str(self._directory / "apt.conf")}

    def _prepare(self) -> None:
        """Bring the lists up to date when they are old; the answer holds for the whole run."""
        if self._refusal:
            raise MachineError(self._refusal)
        if self._ready:
            return
        try:
            entries = source_entries(_host_archives(), *_distribution())
            if not entries:
                raise MachineError("the machine's own configuration names no archive to ask")
            self._update("\n".join(entries))
            self._ready = True
        except MachineError as error:
            self._refusal = error.what
            raise

    def _update(self, entries: str) -> None:
        stamp = self._directory / "updated"
        if (
            stamp.exists()
            and time.time() - stamp.stat().st_mtime < _FRESH
            and stamp.read_text("utf-8") == entries
        ):
            return
        self._write(entries)
        # A newer suite may be missing from this archive: the others are used all the same.
        done = run.run(["apt-get", "update"], env=self._env, check=False, timeout=_PATIENCE)
        if not any("Sources" in path.name for path in (self._directory / "lists").iterdir()):
            why = _complaint(done)
            raise MachineError(f"the lists of source packages could not be fetched: {why}")
        write_atomic(stamp, entries)
        if not done.ok:
            early = time.time() - _FRESH + _RETRY
            os.utime(stamp, (early, early))

    def _write(self, entries: str) -> None:
        root = self._directory
        for path in ("etc", "lists/partial", "cache/archives/partial"):
            (root / path).mkdir(parents=True, exist_ok=True)
        (root / "status").touch()
        write_atomic(root / "etc" / "farm.sources", entries)
        # The host's other settings (proxies, credentials, certificates) stay in force.
        settings = [
            f'Dir::State "{root}/";',
            f'Dir::State::lists "{root}/lists/";',
            f'Dir::State::status "{root}/status";',
            f'Dir::Cache "{root}/cache/";',
            f'Dir::Etc::sourcelist "{root}/etc/none";',
            f'Dir::Etc::sourceparts "{root}/etc/";',
            f'Dir::Log "{root}/log/";',
            'Acquire::Languages "none";',
        ]
        if os.geteuid() == 0:
            # apt would fetch as a user who cannot enter a private directory.
            settings.append('APT::Sandbox::User "root";')
        write_atomic(root / "apt.conf", "\n".join([*settings, ""]))


def source_entries(
    archives: list[Archive], distribution: str, codename: str, keyring: str
) -> list[str]:
    """deb822 entries for source packages: the machine's own suites, then newer ones.

    Third parties are left out: their suites are not named after the distribution's.
    """
    own = [a for a in archives if _is_own(a.suite, codename)]
    newer = [
        Archive(a.uri, suite, a.component)
        for a in own
        if a.suite == codename or a.suite in _ALIASES
        for suite in _NEWER.get(distribution, ())
        if suite != a.suite
    ]
    signed = f"Signed-By: {keyring}\n" if keyring else ""
    return [
        f"Types: deb-src\nURIs: {a.uri}\nSuites: {a.suite}\nComponents: {a.component}\n{signed}"
        for a in dict.fromkeys([*own, *newer])
    ]


def _is_own(suite: str, codename: str) -> bool:
    base = suite.partition("-")[0].partition("/")[0]
    return base == codename or base in _ALIASES


def _host_archives() -> list[Archive]:
    """What apt itself reads from its configuration, whatever format that is in."""
    fields = "$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)"
    try:
        listed = run.run(
            ["apt-get", "indextargets", "--no-release-info", "--format", fields,
             "Created-By: Packages"],
            check=False,
            timeout=_PATIENCE,
        )  # fmt: skip
    except MachineError as error:
        raise MachineError("there is no apt on this machine") from error
    rows = dict.fromkeys(tuple(line.split("\t")) for line in listed.stdout.splitlines())
    return [Archive(*row) for row in rows if len(row) == 3]


def _distribution() -> tuple[str, str, str]:
    """The machine's distribution, its release's code name, its key ring ("": apt's own choice)."""
    values: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in _OS_RELEASE.read_text("utf-8").splitlines():
            key, _, value = line.partition("=")
            values[key] = value.strip().strip("\"'")
    name = values.get("ID", "")
    rings = [_KEYRINGS / f"{name}-archive-keyring{suffix}" for suffix in (".gpg", ".pgp")]
    ring = next((str(path) for path in rings if path.exists()), "")
    return name, values.get("VERSION_CODENAME", ""), ring


def _complaint(done: run.Completed) -> str:
    """The first thing that apt complains of: the last is only that it complained."""
    lines = [line for line in done.stderr.splitlines() if line.startswith(("E:", "W:"))]
    return " ".join(lines[0][2:].split()) if lines else run.describe_exit(done)

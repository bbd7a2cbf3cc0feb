"""Debian's source packages: the orig tarball is often upstream's own archive.

apt knows where the machine gets its packages; a private apt root asks the same archive for
source packages, of the machine's own suite and of newer ones. apt checks signatures and
checksums. Debian names the file its own way, and may have packed it anew: only bytes tell.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from farm import run
from farm.errors import MachineError
from farm.layer.origins import Offer, Refusal, Wanted, compression
from farm.store import write_atomic

_FRESH = 24 * 3600  # seconds until the lists of source packages are asked for again
_RETRY = 600  # seconds until they are, when some could not be fetched
_PATIENCE = 300  # seconds for apt to fetch lists or one source package
_NEWER = {"debian": ("stable", "testing", "unstable"), "ubuntu": ("devel",)}
_ALIASES = ("oldstable", "stable", "testing", "unstable", "sid", "devel")
_OS_RELEASE = Path("/etc/os-release")


@dataclass(frozen=True)
class Archive:
    """One address that the machine's apt knows."""

    uri: str
    suite: str
    component: str


@dataclass(frozen=True)
class SourcePackage:
    """A version of a source package, with the names of its upstream archives."""

    name: str
    version: str
    archives: tuple[str, ...]

    @property
    def upstream(self) -> str:
        """The version without Debian's own parts."""
        return re.sub(r"^\d+:|-[^-]*$", "", self.version)

    def fits(self, version: str) -> bool:
        """Whether it is that upstream version, whatever is between its numbers."""
        return re.split(r"[\W_]+", self.upstream) == re.split(r"[\W_]+", version)


class Debian:
    """Asks apt. `directory` keeps lists and downloads between runs."""

    name = "debian"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._refusal: str | None = None

    def offers(self, wanted: Wanted, draft: Path) -> Iterator[Offer | Refusal]:
        if not wanted.compression:
            yield Refusal("Debian", "has upstream's archives only, and this is none")
            return
        name = (wanted.alias or wanted.package).lower()
        try:
            packages = self._packages(name)
        except MachineError as error:
            yield Refusal("apt", error.what)
            return
        if not packages:
            yield Refusal(f"Debian's source package {name}", "there is none of that name")
            return
        asked: set[str] = set()
        for package in sorted(packages, key=lambda package: not package.fits(wanted.version)):
            if not wanted.sha512 and not package.fits(wanted.version):
                continue
            fitting = [
                archive
                for archive in package.archives
                if compression(archive) == wanted.compression and archive not in asked
            ]
            asked |= set(fitting)
            if fitting:
                yield from self._download(package, fitting)
        if not asked:
            have = sorted({archive for package in packages for archive in package.archives})
            yield Refusal(f"Debian's source package {name}", f"has only {', '.join(have)}")

    def _packages(self, name: str) -> list[SourcePackage]:
        with self._locked():
            environment = self._prepared()
            listed = run.run(
                ["apt-cache", "showsrc", "--only-source", "--", name],
                env=environment,
                check=False,
                timeout=_PATIENCE,
            )
        return parse_sources(listed.stdout)

    def _download(self, package: SourcePackage, archives: list[str]) -> list[Offer | Refusal]:
        where = f"Debian's {package.name} {package.version}"
        place = self._directory / "archives"
        with self._locked():
            place.mkdir(parents=True, exist_ok=True)
            if not all((place / archive).exists() for archive in archives):
                done = run.run(
                    ["apt-get", "source", "--download-only", "--tar-only", "--only-source",
                     "--", f"{package.name}={package.version}"],
                    env=self._environment,
                    cwd=place,
                    check=False,
                    timeout=_PATIENCE,
                )  # fmt: skip
                if not done.ok:
                    return [Refusal(where, _last_line(done.stderr) or run.describe_exit(done))]
        return [
            Offer(f"{where}, {archive}", place / archive)
            for archive in archives
            if (place / archive).exists()
        ]

    @property
    def _environment(self) -> dict[str, str]:
        return {"APT_CONFIG": str(self._directory / "apt.conf")}

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One apt at a time, among threads and among processes."""
        self._directory.mkdir(parents=True, exist_ok=True)
        with self._lock, (self._directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _prepared(self) -> dict[str, str]:
        """The private apt root, with lists that are fresh enough. Raises MachineError."""
        if self._refusal is not None:
            raise MachineError(self._refusal)
        stamp = self._directory / "updated"
        archives = _host_archives()
        entries = source_entries(archives, *_distribution(), _keyring())
        if not entries:
            self._refusal = "the machine's own configuration names no Debian archive"
            raise MachineError(self._refusal)
        text = "\n".join(entries)
        fresh = (
            stamp.exists()
            and time.time() - stamp.stat().st_mtime < _FRESH
            and stamp.read_text("utf-8") == text
        )
        if not fresh:
            self._write(text)
            # A newer suite may be missing from this archive: the others are used all the same.
            done = run.run(
                ["apt-get", "update"], env=self._environment, check=False, timeout=_PATIENCE
            )
            lists = self._directory / "lists"
            if not any("Sources" in path.name for path in lists.iterdir()):
                self._refusal = "the lists of source packages could not be fetched: " + (
                    _last_line(done.stderr) or run.describe_exit(done)
                )
                raise MachineError(self._refusal)
            write_atomic(stamp, text)
            if not done.ok:
                early = time.time() - _FRESH + _RETRY
                os.utime(stamp, (early, early))
        return self._environment

    def _write(self, entries: str) -> None:
        root = self._directory
        for path in ("etc", "lists/partial", "cache/archives/partial"):
            (root / path).mkdir(parents=True, exist_ok=True)
        (root / "status").touch()
        write_atomic(root / "etc" / "farm.sources", entries)
        # The host's own settings (proxies, credentials, certificates) stay in force.
        settings = [
            f'Dir::State "{root}/";',
            f'Dir::State::lists "{root}/lists/";',
            f'Dir::State::status "{root}/status";',
            f'Dir::Cache "{root}/cache/";',
            f'Dir::Etc::sourcelist "{root}/etc/none";',
            f'Dir::Etc::sourceparts "{root}/etc/";',
            f'Dir::Log "{root}/log/";',
            'Acquire::Languages "none";',
            'APT::Update::Post-Invoke "";',
        ]
        if os.geteuid() == 0:
            # apt would fetch as a user who cannot enter a private directory.
            settings.append('APT::Sandbox::User "root";')
        write_atomic(root / "apt.conf", "\n".join([*settings, ""]))


def parse_sources(text: str) -> list[SourcePackage]:
    """The packages in the answer of `apt-cache showsrc`, those without an archive left out."""
    found: list[SourcePackage] = []
    for stanza in re.split(r"\n\s*\n", text):
        name = re.search(r"^Package: (\S+)$", stanza, re.MULTILINE)
        version = re.search(r"^Version: (\S+)$", stanza, re.MULTILINE)
        if name is None or version is None:
            continue
        archives = sorted(
            set(re.findall(r"^ \S+ \d+ (\S+\.orig(?:-\S+?)?\.tar\.\w+)$", stanza, re.M))
        )
        if not archives and "-" not in version[1]:  # a native package is its own upstream
            archives = sorted(set(re.findall(r"^ \S+ \d+ (\S+\.tar\.\w+)$", stanza, re.M)))
        package = SourcePackage(name[1], version[1], tuple(archives))
        if archives and package not in found:
            found.append(package)
    return found


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
    base = suite.split("-", maxsplit=1)[0].split("/", maxsplit=1)[0]
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


def _distribution() -> tuple[str, str]:
    """The machine's distribution and the code name of its release."""
    values: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in _OS_RELEASE.read_text("utf-8").splitlines():
            key, _, value = line.partition("=")
            values[key] = value.strip().strip("\"'")
    return values.get("ID", ""), values.get("VERSION_CODENAME", "")


def _keyring() -> str:
    """The distribution's key ring, "" to leave the choice to apt."""
    name = f"{_distribution()[0]}-archive-keyring"
    for suffix in (".gpg", ".pgp"):
        path = Path("/usr/share/keyrings") / (name + suffix)
        if path.exists():
            return str(path)
    return ""


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.startswith(("E:", "W:"))]
    return lines[-1][2:].strip() if lines else ""

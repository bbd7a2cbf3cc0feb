"""Source packages from the archives that the machine's own apt knows.

They are asked for source packages of the machine's own suites and of newer ones; apt checks the
lists' signatures.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

from farm.apt import Archive, PrivateRoot, complaint, host_archives
from farm.errors import MachineError
from farm.store import write_atomic

_FRESH = 24 * 3600  # seconds until the lists of source packages are asked for again
_RETRY = 600  # seconds until they are, when some could not be fetched
_PATIENCE = 300  # seconds for apt to fetch lists or one source package
_NEWER = {"debian": ("stable", "testing", "unstable"), "ubuntu": ("devel",)}
_ALIASES = ("oldstable", "stable", "testing", "unstable", "sid", "devel")
_OS_RELEASE = Path("/etc/os-release")
_KEYRINGS = Path("/usr/share/keyrings")


class AptSources:
    """apt's knowledge of source packages; `directory` keeps lists between runs."""

    def __init__(self, directory: Path) -> None:
        self._root = PrivateRoot(directory)
        self._stamp = directory / "state" / "updated"
        self._refusal = ""
        self._ready = False

    def show(self, name: str) -> str:
        """What `apt-cache showsrc` says of a source package, "" when there is none.

        Raises MachineError when apt, its configuration or its lists are not to be had.
        """
        with self.locked():
            self._prepare()
            command = ["apt-cache", "showsrc", "--only-source", "--", name]
            return self._root.run(command, check=False, timeout=_PATIENCE).stdout

    def download(self, name: str, version: str, place: Path) -> str:
        """Fetch a source package's archives into `place`; what apt complains of, if it does.

        Wants `show` first, and `locked` around it and what is done with the files.
        """
        done = self._root.run(
            ["apt-get", "source", "--download-only", "--tar-only", "--only-source",
             "--", f"{name}={version}"],
            cwd=place,
            check=False,
            timeout=_PATIENCE,
        )  # fmt: skip
        return "" if done.ok else complaint(done)

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """One apt at a time, among threads and among processes."""
        return self._root.locked()

    def _prepare(self) -> None:
        """Bring the lists up to date when they are old; the answer holds for the whole run."""
        if self._refusal:
            raise MachineError(self._refusal)
        if self._ready:
            return
        try:
            entries = source_entries(host_archives(), *_distribution())
            if not entries:
                raise MachineError("the machine's own configuration names no archive to ask")
            self._update("\n".join(entries))
            self._ready = True
        except MachineError as error:
            self._refusal = error.what
            raise

    def _update(self, entries: str) -> None:
        stamp = self._stamp
        if (
            stamp.exists()
            and time.time() - stamp.stat().st_mtime < _FRESH
            and stamp.read_text("utf-8") == entries
        ):
            return
        self._root.configure(entries)
        # A newer suite may be missing from this archive: the others are used all the same.
        done = self._root.run(["apt-get", "update"], check=False, timeout=_PATIENCE)
        if not any("Sources" in path.name for path in self._root.lists.iterdir()):
            why = complaint(done)
            raise MachineError(f"the lists of source packages could not be fetched: {why}")
        write_atomic(stamp, entries)
        if not done.ok:
            early = time.time() - _FRESH + _RETRY
            os.utime(stamp, (early, early))


def source_entries(
    archives: Iterable[Archive], distribution: str, codename: str, keyring: str
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

"""Debian's archive, where the machine's own apt has it: what it holds, its packages.

The address is the one from which this machine gets its own packages, and apt checks the signature
of the suite with Debian's key ring. (A key ring of the release before will do: a suite's Release
file is signed with the key of the release before as well.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from farm.apt import Archive, PrivateRoot
from farm.base.archive import Deb, Index
from farm.errors import CommandFailed, MachineError
from farm.store import Store

SUITE = "trixie"
_SUITES = (
    "oldoldstable", "oldstable", "stable", "testing", "unstable", "sid",
    "bullseye", "bookworm", "trixie", "forky", "duke",
)  # fmt: skip
_KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)
_BATCH = 60  # packages for one apt-get: the first can be converted while the next are fetched
_DEBIAN_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}


def debian_arch(arch: str) -> str:
    """Debian's name of rpm's architecture. Raises MachineError for one that has no base."""
    if arch not in _DEBIAN_ARCH:
        raise MachineError(
            f"the embedded base does not exist for {arch}",
            hint=f"It is made for {' and '.join(_DEBIAN_ARCH)}.",
        )
    return _DEBIAN_ARCH[arch]


def debian_archives(archives: Iterable[Archive]) -> tuple[Archive, ...]:
    """The entries that may be Debian's own archive, the likeliest first.

    It is known by a plain Debian suite with the component main: security and updates have suites
    of their own, other vendors' archives other suites or another origin. Where apt has not
    fetched the lists that name the origin, the key ring will tell. Raises MachineError when there
    is none.
    """
    found = [
        archive
        for archive in archives
        if archive.suite in _SUITES
        and archive.component == "main"
        and archive.origin in ("", "Debian")
    ]
    if not found:
        raise MachineError(
            "apt on this machine does not know Debian's archive",
            why="The embedded base is made of Debian's packages, and farm takes the address of"
            " their archive from apt's own configuration.",
            hint="Add Debian's archive below /etc/apt/sources.list.d (suite trixie, component main,"
            " disabled by a pin if you like), or choose a release that has a base of its own.",
        )
    return tuple(sorted(found, key=lambda archive: not archive.origin))


class AptRoot:
    """A private apt root for one architecture: nothing of the host's state is read or changed."""

    def __init__(self, directory: Path, arch: str, archives: Sequence[Archive]) -> None:
        self.directory = directory
        self.arch = debian_arch(arch)
        self._archives = archives
        self._root = PrivateRoot(directory, self.arch)

    def update(self) -> Index:
        """Fetch the suite's index (only when it has changed) and check its signature.

        Raises MachineError when there is no network, no key ring, or a bad signature.
        """
        reasons = []
        for uri in dict.fromkeys(archive.uri for archive in self._archives):
            try:
                with self._root.locked():
                    self._root.configure(_entry(uri))
                    self._root.run(["apt-get", "update", "--error-on=any"], timeout=300)
                    return self._index()
            except CommandFailed as error:
                reasons.append(error.why)
        raise MachineError(
            f"Debian's package index ({SUITE}, {self.arch}) could not be fetched",
            why="\n".join(reasons),
            hint="Check the network and the host's own `apt-get update`.",
        )

    def _index(self) -> Index:
        listed = self._root.run(
            ["apt-get", "indextargets", "--format", "$(FILENAME)", "Created-By: Packages"],
            timeout=300,
        )
        return Index(Path(listed.stdout.split()[0]).read_text("utf-8"))

    def fetch(self, debs: Sequence[Deb], store: Store) -> Iterator[Deb]:
        """Bring all into the store; each is given out as soon as it is there.

        Those that the store has come first; what an interrupted fetch left is used.
        """
        waiting = self.directory / "waiting"
        waiting.mkdir(parents=True, exist_ok=True)
        missing = []
        for deb in debs:
            if deb.sha256 in store:
                yield deb
            else:
                missing.append(deb)
        for start in range(0, len(missing), _BATCH):
            batch = missing[start : start + _BATCH]
            with self._root.locked():
                self._download([deb for deb in batch if deb.sha256 not in store], waiting, store)
            yield from batch

    def _download(self, debs: Sequence[Deb], waiting: Path, store: Store) -> None:
        if not debs:
            return
        try:
            self._root.run(
                ["apt-get", "download", *(f"{deb.name}={deb.version}" for deb in debs)],
                cwd=waiting,
                timeout=1800,
            )
        except CommandFailed as error:
            raise MachineError(
                f"Debian's packages ({SUITE}, {self.arch}) could not be fetched",
                why=error.why,
                hint="What has arrived is kept: run `farm base build` again.",
            ) from error
        for deb in debs:
            path = waiting / downloaded_name(deb)
            store.put(path, sha256=deb.sha256, link=True)
            path.unlink()


def _entry(uri: str) -> str:
    keyring = next((path for path in _KEYRINGS if path.exists()), None)
    if keyring is None:
        raise MachineError(
            "Debian's key ring is not installed, so its archive cannot be trusted",
            hint="apt-get install debian-archive-keyring",
        )
    return f"Types: deb\nURIs: {uri}\nSuites: {SUITE}\nComponents: main\nSigned-By: {keyring}\n"


def downloaded_name(deb: Deb) -> str:
    """The file name that `apt-get download` uses: version with its colon escaped."""
    return f"{deb.name}_{deb.version.replace(':', '%3a')}_{deb.arch}.deb"

"""Debian's own indexes, fetched through a private apt root made from this machine's apt."""

from __future__ import annotations

from pathlib import Path

from farm.apt import PrivateRoot, host_archives
from farm.base.apt import debian_archives
from farm.errors import MachineError

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_ARCH = "amd64"


def fetch_indexes(directory: Path, suites: tuple[str, ...]) -> dict[str, tuple[Path, Path]]:
    """(Packages, Sources) of each suite's component main, for amd64; kept below `directory`.

    The archive is the one from which this machine gets its own packages, with the machine's own
    proxies and certificates; apt checks the signatures. What is there already is kept as it is.
    Raises MachineError without apt, its key ring or the network.
    """
    found = {suite: (directory / suite / "Packages", directory / suite / "Sources")
             for suite in suites}  # fmt: skip
    missing = [suite for suite in suites if not all(path.is_file() for path in found[suite])]
    if missing:
        _fetch(directory, missing, found)
    return found


def _fetch(directory: Path, suites: list[str], found: dict[str, tuple[Path, Path]]) -> None:
    archive = debian_archives(host_archives())[0]
    if not _KEYRING.exists():
        raise MachineError("Debian's key ring is not installed", hint="debian-archive-keyring")
    root = PrivateRoot(directory / "apt", _ARCH)
    with root.locked():
        root.configure(
            f"Types: deb deb-src\nURIs: {archive.uri}\nSuites: {' '.join(suites)}\n"
            f"Components: main\nSigned-By: {_KEYRING}\n"
        )
        root.run(["apt-get", "update", "--error-on=any"], timeout=1200)
        for position, created_by in enumerate(("Packages", "Sources")):
            listed = root.run(
                ["apt-get", "indextargets", "--format", "$(CODENAME)\t$(SUITE)\t$(FILENAME)",
                 f"Created-By: {created_by}"],
                timeout=1200,
            ).stdout  # fmt: skip
            for line in listed.splitlines():
                codename, suite, name = line.split("\t")
                for wanted in {codename, suite} & set(suites):
                    target = found[wanted][position]
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(Path(name).read_bytes())

"""Debian's source packages: the orig tarball is often upstream's own archive.

Debian names the file its own way, and may have packed it anew: only bytes tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from farm.errors import MachineError
from farm.layer.origins import Offer, Refusal, Wanted, compression
from farm.layer.origins.apt import AptSources
from farm.store import sha256_of


@dataclass(frozen=True)
class Tarball:
    """An upstream archive of a source package; `sha256` as Debian's signed lists say."""

    file: str
    sha256: str


@dataclass(frozen=True)
class SourcePackage:
    """A version of a source package, with its upstream archives, the main one first."""

    name: str
    version: str
    archives: tuple[Tarball, ...]

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
        self._apt = AptSources(directory)
        self._archives = directory / "archives"

    def offers(self, wanted: Wanted, draft: Path) -> Iterator[Offer | Refusal]:
        if not wanted.compression:
            yield Refusal("Debian", "has upstream's archives only, and this is none")
            return
        name = (wanted.alias or wanted.package).lower()
        try:
            packages = parse_sources(self._apt.show(name))
        except MachineError as error:
            yield Refusal("apt", error.what)
            return
        if not packages:
            yield Refusal(f"Debian's source package {name}", "there is none of that name")
            return
        asked: set[Tarball] = set()
        for package in sorted(packages, key=lambda package: not package.fits(wanted.version)):
            if not wanted.sha512 and not package.fits(wanted.version):
                continue
            fitting = [
                archive
                for archive in package.archives
                if compression(archive.file) == wanted.compression and archive not in asked
            ]
            asked |= set(fitting)
            if fitting:
                yield from self._download(package, fitting)
        if not asked:
            have = sorted({archive.file for package in packages for archive in package.archives})
            yield Refusal(f"Debian's source package {name}", f"has only {', '.join(have)}")

    def _download(
        self, package: SourcePackage, archives: Sequence[Tarball]
    ) -> list[Offer | Refusal]:
        where = f"Debian's {package.name} {package.version}"
        with self._apt.locked():
            self._archives.mkdir(parents=True, exist_ok=True)
            why = ""
            if not all(self._has(archive) for archive in archives):
                why = self._apt.download(package.name, package.version, self._archives)
            # One archive of a package may be there when another is not: apt's word is for all.
            return [
                Offer(f"{where}, {archive.file}", self._archives / archive.file)
                if self._has(archive)
                else Refusal(f"{where}, {archive.file}", why or "apt did not bring it")
                for archive in archives
            ]

    def _has(self, archive: Tarball) -> bool:
        """apt writes under the final name: what an interrupted run left is there, not whole."""
        path = self._archives / archive.file
        return path.is_file() and sha256_of(path) == archive.sha256


def parse_sources(text: str) -> list[SourcePackage]:
    """The packages in the answer of `apt-cache showsrc`, those without an archive left out."""
    found: list[SourcePackage] = []
    for stanza in re.split(r"\n\s*\n", text):
        name = re.search(r"^Package: (\S+)$", stanza, re.MULTILINE)
        version = re.search(r"^Version: (\S+)$", stanza, re.MULTILINE)
        if name is None or version is None:
            continue
        # A native package (no revision) is its own upstream.
        ending = r"\.orig(?:-[^\s/]+)?\.tar\.\w+" if "-" in version[1] else r"\.tar\.\w+"
        listed = re.findall(rf"^ ([0-9a-f]{{64}}) \d+ ([^\s/]+{ending})$", stanza, re.MULTILINE)
        archives = {Tarball(file, digest) for digest, file in listed}
        ordered = sorted(archives, key=lambda archive: (".orig-" in archive.file, archive.file))
        package = SourcePackage(name[1], version[1], tuple(ordered))
        if archives and package not in found:
            found.append(package)
    return found

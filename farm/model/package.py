"""Packages: their identity, the built file, the signed copy."""

from __future__ import annotations

import re

from farm.model.noun import Noun


class Nevra(Noun, frozen=True, order=True):
    """name-epoch:version-release.arch, the identity of a binary or source package."""

    name: str
    epoch: int
    version: str
    release: str
    arch: str

    def __str__(self) -> str:
        epoch = f"{self.epoch}:" if self.epoch else ""
        return f"{self.name}-{epoch}{self.version}-{self.release}.{self.arch}"

    @property
    def evr(self) -> str:
        """`1:2.3-4`, the epoch left out when 0."""
        return f"{self.epoch}:{self.version}-{self.release}" if self.epoch else self.vr

    @property
    def vr(self) -> str:
        return f"{self.version}-{self.release}"

    @property
    def filename(self) -> str:
        """The customary file name (no epoch in it)."""
        return f"{self.name}-{self.version}-{self.release}.{self.arch}.rpm"

    @classmethod
    def parse(cls, text: str) -> Nevra:
        """Inverse of `str`. Raises ValueError when `text` is no NEVRA."""
        match = _NEVRA.fullmatch(text)
        if match is None:
            raise ValueError(f"not a name-version-release.arch: {text!r}")
        name, epoch, version, release, arch = match.groups()
        return cls(name, int(epoch or 0), version, release, arch)


_NEVRA = re.compile(r"(.+)-(?:(\d+):)?([^-:]+)-([^-]+)\.([^.-]+)")


class Package(Noun, frozen=True):
    """A package that farm built: `sha256` and `size` (bytes) are those of the unsigned file."""

    nevra: Nevra
    sha256: str
    size: int
    source: str  # name of the source package
    debug: bool = False  # debuginfo, debugsource


class SignedPackage(Noun, frozen=True):
    """The published copy: `sha256` is of the signed file, `package` says what is inside."""

    package: Package
    sha256: str
    size: int
    key: str  # fingerprint of the signing key

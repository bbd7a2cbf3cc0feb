"""Provenance: how published packages were made, as an in-toto statement with SLSA's predicate.

The forms are in-toto's Statement 1 and SLSA's provenance 1, in which names are written in camel
case. Everything a stranger needs to make the packages again is here, in the lock beside it and
in the source package.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from farm.model.chroot import Chroot, Lock, LockedPackage
from farm.model.noun import Noun

STATEMENT = "https://in-toto.io/Statement/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:farm:rebuild:1"


class Resource(Noun, frozen=True, rename="camel"):
    """in-toto's ResourceDescriptor: something named, and its bytes by digest."""

    name: str = ""
    uri: str = ""
    digest: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}


class External(Noun, frozen=True, rename="camel"):
    """What was asked for."""

    package: str  # name of the recipe
    release: str
    arch: str
    commit: str  # of the layer: the last that touched the recipe


class Internal(Noun, frozen=True, rename="camel"):
    """What farm added to it."""

    key: str
    recipe_number: int
    recipe: str  # digest of the recipe
    spec: str  # file name of the spec
    counter: int
    epoch_seconds: int  # SOURCE_DATE_EPOCH
    chroot: Chroot  # `portable`: macros, set-up, files, environment
    lock: Resource  # uri: below the publication root; digest: sha256 of that file
    cores: int = 0  # that `make -j` was given: the bytes may not depend on it; 0: not recorded


class BuildDefinition(Noun, frozen=True, rename="camel"):
    build_type: str
    external_parameters: External
    internal_parameters: Internal
    # the layer's commit, the source package, each source file, each package of the build root
    resolved_dependencies: tuple[Resource, ...]


class Builder(Noun, frozen=True, rename="camel"):
    """Who built; `builder_dependencies` are what assisted, native tools for one."""

    id: str
    version: Mapping[str, str] = {}
    builder_dependencies: tuple[Resource, ...] = ()


class Metadata(Noun, frozen=True, rename="camel"):
    """Times as RFC 3339 writes them, in UTC."""

    invocation_id: str
    started_on: str
    finished_on: str


class RunDetails(Noun, frozen=True, rename="camel"):
    builder: Builder
    metadata: Metadata


class Provenance(Noun, frozen=True, rename="camel"):
    """SLSA's provenance predicate, version 1."""

    build_definition: BuildDefinition
    run_details: RunDetails


class Statement(Noun, frozen=True, rename="camel", kw_only=True):
    """The binary packages of one build, and how they came about.

    A subject's digest is the published, signed file's; its annotations are `unsigned` (sha256
    and identity of the package before signing), `header` and `payload` (what signing leaves as
    it is, see `farm.rpmheader.Identity`).
    """

    type: str = msgspec.field(name="_type")
    subject: tuple[Resource, ...]
    predicate_type: str
    predicate: Provenance


def portable(chroot: Chroot) -> Chroot:
    """Of a chroot what decides a result and what another machine can use: no path of this one."""
    repositories = tuple(
        msgspec.structs.replace(
            repository,
            baseurl=tuple(filter(_is_public, repository.baseurl)),
            metalink=repository.metalink if _is_public(repository.metalink) else "",
            mirrorlist=repository.mirrorlist if _is_public(repository.mirrorlist) else "",
            gpgkeys=tuple(filter(_is_public, repository.gpgkeys)),
        )
        for repository in chroot.repositories
    )
    return msgspec.structs.replace(chroot, repositories=repositories, emulator="", native_tools="")


def portable_lock(lock: Lock) -> Lock:
    """The lock without the places where this machine found the packages; the digest stays."""

    def plain(package: LockedPackage) -> LockedPackage:
        if not package.location or _is_public(package.location):
            return package
        return msgspec.structs.replace(package, location="")

    return msgspec.structs.replace(lock, packages=tuple(map(plain, lock.packages)))


def _is_public(address: str) -> bool:
    return address.startswith(("http://", "https://"))

"""Build roots: where they come from, and exactly what is in one."""

from __future__ import annotations

import msgspec

from farm.model.noun import Noun, digest_of
from farm.model.package import Nevra
from farm.steps import BOOTSTRAP

LAYER = "layer"  # what a lock calls the repository of the layer's own packages


class Repository(Noun, frozen=True):
    """A base repository of a chroot, as its mock file names it (variables substituted)."""

    id: str
    baseurl: tuple[str, ...] = ()
    metalink: str = ""
    mirrorlist: str = ""
    gpgkeys: tuple[str, ...] = ()
    gpgcheck: bool = False
    repo_gpgcheck: bool = False
    priority: int = 99
    excludes: tuple[str, ...] = ()
    module_hotfixes: bool = False
    sslverify: bool = True
    variables: tuple[tuple[str, str], ...] = ()  # of dnf; a mirror list may hold some, too


class Chroot(Noun, frozen=True):
    """A release on an architecture, read from `chroots/<name>.cfg` (mock's own format)."""

    name: str  # debian-13-x86_64
    release: str  # debian-13
    arch: str  # x86_64
    repositories: tuple[Repository, ...]
    setup: tuple[str, ...]  # what chroot_setup_cmd installs
    dist: str  # the %dist tag without the rebuild counter, e.g. ".deb13"
    macros: tuple[tuple[str, str], ...] = ()  # name without its %, value
    with_options: tuple[str, ...] = ()  # build conditions switched on: x for %_with_x --with-x
    without_options: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[str, str], ...] = ()  # path below the root (no leading /), content
    directories: tuple[str, ...] = ()  # made in the root, absolute there
    unprivileged_user: str = "mockbuild"
    nice: int = 0
    timeout: int = 0  # seconds for rpmbuild; 0: the configured limit
    emulator: str = ""  # a static qemu of the base's own, "" for the machine's
    native_tools: str = ""  # directory of the native-tools layer, "" where not emulated or off
    ignored: tuple[str, ...] = ()  # options read and known not to change results
    refused: tuple[str, ...] = ()  # options that only mock honours

    @property
    def bootstrapping(self) -> Chroot:
        """This chroot with the build condition `bootstrap` on.

        Its %dist makes other NEVRAs, which sort below those of the build without it.
        """
        return msgspec.structs.replace(
            self,
            dist=f"{self.dist}~{BOOTSTRAP}",
            with_options=(*self.with_options, BOOTSTRAP),
            without_options=tuple(o for o in self.without_options if o != BOOTSTRAP),
        )

    @property
    def digest(self) -> str:
        """Of what may change a result: not the addresses of the repositories."""
        return digest_of(
            (self.arch, self.setup, self.dist, self.macros, self.with_options,
             self.without_options, self.environment, self.files, self.directories,
             self.unprivileged_user)
        )  # fmt: skip


class LockedPackage(Noun, frozen=True):
    """One package of a lock. `sha256` is of the file that is installed (unsigned for layer's)."""

    nevra: Nevra
    sha256: str
    size: int
    repository: str  # id of the base repository, or LAYER
    location: str = ""  # absolute address, or "" for the layer's own, found in the store

    @property
    def of_layer(self) -> bool:
        """Whether farm built it, and its checksum is of the file before signing."""
        return self.repository == LAYER


class Lock(Noun, frozen=True):
    """The exact packages of one build root, sorted by NEVRA.

    `setup` names those that the chroot's set-up alone brings in: a root of them is shared.
    """

    packages: tuple[LockedPackage, ...]
    setup: tuple[str, ...] = ()  # sha256 of each

    @property
    def digest(self) -> str:
        """Of names and checksums; where a package came from does not matter."""
        return digest_of(tuple((str(p.nevra), p.sha256) for p in self.packages))

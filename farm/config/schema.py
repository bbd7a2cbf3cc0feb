"""What can be configured: a frozen type for each table of farm.toml, with its defaults."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from farm.errors import ConfigError
from farm.model import Limits
from farm.run import processors


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One table of farm.toml."""


class Paths(Section, frozen=True):
    """Directories; relative ones are below the directory of farm.toml, `~` is the home."""

    specs: str = "specs"
    chroots: str = "chroots"
    publication: str = "repo"
    keys: str = "keys"  # public keys of attesters, *.asc
    state: str = ".farm"
    cache: str = "~/.cache/farm"  # downloads, the embedded base: may be shared by clones
    roots: str = ""  # build roots; "": /dev/shm where there is room, else the state directory


class Building(Section, frozen=True):
    """How attempts run. Times in seconds, memory in MiB (0: no limit)."""

    builder: Literal["auto", "embedded", "mock"] = "auto"
    engine: Literal["local", "slurm"] = "local"  # where attempts run
    jobs: int = 0  # at a time; 0: one for each core
    native_tools: bool = True  # assist emulated builds with native x86_64 tools
    timeout: int = 6 * 3600
    silence: int = 3600
    memory: int = 0
    disk: int = 0  # MiB that a build may write
    retries: int = 2  # more attempts after a mishap that is not the package's fault
    retry_seconds: int = 5  # before the first of them; four times as long before each further one
    minimum_free: int = 2048  # MiB that must be free in the state directory

    @property
    def limits(self) -> Limits:
        """What one attempt may use."""
        return Limits(self.timeout, self.silence, self.memory << 20, self.disk << 20)

    def slots(self, asked: int | None) -> int:
        """Attempts at a time: as asked for, as configured, or one for each processor."""
        return asked or self.jobs or processors()


class PackageLimits(Section, frozen=True):
    """What attempts of one package may use, where it differs from [build]: the same names and
    units. `cores` sets what it is given, whatever it used before."""

    timeout: int | None = None
    silence: int | None = None
    memory: int | None = None
    disk: int | None = None
    cores: int | None = None


class Slurm(Section, frozen=True):
    """The cluster that attempts run on with the engine "slurm"."""

    partition: str = ""
    account: str = ""
    qos: str = ""
    # architecture -> what the node must have (sbatch --constraint); else the feature of its name
    features: Mapping[str, str] = {}
    options: tuple[str, ...] = ()  # more words for sbatch
    # whether nodes see the state directory and the build's code under the paths they have here
    shared: bool = True
    farm: str = ""  # the farm command on the nodes; "": this very one
    jobs: int = 64  # most attempts in Slurm's hands at a time
    cores: int = 4  # that an attempt asks for at least, or what [limits.PKG] says
    lost: int = 60  # seconds after which an attempt that Slurm does not know any more is given up
    # without a shared directory: where nodes reach this machine, HOST or HOST:PORT
    address: str = ""


class Site(Section, frozen=True):
    """The status pages under the publication root."""

    status: bool = True
    logs: bool = True  # show build logs, those of running builds too


class Webhook(Section, frozen=True):
    """Who is told of finished builds and publications."""

    addresses: tuple[str, ...] = ()
    secret_file: str = ""  # the key that messages are signed with, beside farm.toml or absolute
    timeout: int = 5  # seconds


class ReleaseConfig(Section, frozen=True):
    """A release that is built and published."""

    architectures: tuple[str, ...]
    policy: Literal["broken", "direct", "full"] = "direct"
    title: str = ""
    # source package of the layer -> packages of the base that it may replace, as patterns
    replaces: Mapping[str, tuple[str, ...]] = {}


class Sources(Section, frozen=True):
    """Where source archives come from, asked in this order until one has the right bytes."""

    origins: tuple[Literal["upstream", "debian", "pypi", "lookaside"], ...] = (
        "lookaside", "upstream", "debian", "pypi",
    )  # fmt: skip
    lookaside: tuple[str, ...] = ()  # directories or addresses: <dir>/<package>/<file>
    timeout: int = 20  # seconds until an upstream that does not answer is given up
    names: Mapping[str, str] = {}  # package -> its Debian source package or PyPI project


class Publish(Section, frozen=True):
    """What sites see."""

    address: str = "http://127.0.0.1:8420"  # where sites find the publication root
    key: str = "farm-demo"  # name of the signing key in farm's key ring
    grace_hours: int = 24  # how long replaced metadata and packages stay reachable
    # `farm gc` leaves a snapshot that is among the newest, or young, or attested and not too old
    keep_snapshots: int = 10
    keep_days: int = 90
    keep_attested_days: int = 1095
    debug_packages: bool = True
    # keep every package that a published lock names (hard links): bases drop old packages, and
    # nobody could make what was published again
    archive: bool = True
    layer: str = ""  # public address of the layer's git repository, named in the provenance
    # how many attesters have to have made each package again before a release moves to a snapshot
    attestations: int = 0
    attesters: tuple[str, ...] = ()  # fingerprints or user ids of keys in paths.keys

    @property
    def key_file(self) -> str:
        """Name of the file below the address with the public half of the key."""
        return "RPM-GPG-KEY-" + (re.sub(r"[^A-Za-z0-9._-]+", "-", self.key).strip("-.") or "farm")


class ChrootOptions(Section, frozen=True):
    """Options handed to every chroot file, as `mock --config-opts` would."""

    options: Mapping[str, str] = {}


class Config(Section, frozen=True):
    """All that can be configured."""

    root: Path = Path()  # directory of farm.toml
    paths: Paths = Paths()
    build: Building = Building()
    sources: Sources = Sources()
    publish: Publish = Publish()
    slurm: Slurm = Slurm()
    site: Site = Site()
    webhook: Webhook = Webhook()
    limits: Mapping[str, PackageLimits] = {}  # of single packages
    chroots: ChrootOptions = ChrootOptions()
    default_release: str = "debian-13"
    releases: Mapping[str, ReleaseConfig] = msgspec.field(
        default_factory=lambda: {"debian-13": ReleaseConfig(architectures=("x86_64", "aarch64"))}
    )

    def path(
        self, name: Literal["specs", "chroots", "publication", "keys", "state", "cache"]
    ) -> Path:
        """One of `paths` as an absolute path."""
        return (self.root / Path(getattr(self.paths, name)).expanduser()).resolve()

    def limits_of(self, package: str, chroot_timeout: int = 0) -> Limits:
        """What one attempt of a package may use: its own limits, else those of all. The time that
        a chroot file allows (seconds, 0: none said) comes before that for all."""
        own, usual = self.limits.get(package, PackageLimits()), self.build.limits
        return Limits(
            (chroot_timeout or usual.time) if own.timeout is None else own.timeout,
            usual.silence if own.silence is None else own.silence,
            usual.memory if own.memory is None else own.memory << 20,
            usual.disk if own.disk is None else own.disk << 20,
        )

    @property
    def base_directory(self) -> Path:
        """Where `farm base build` keeps the embedded base."""
        return self.path("cache") / "base"

    def release(self, name: str | None) -> tuple[str, ReleaseConfig]:
        """The release of that name (None: the default one). Raises ConfigError."""
        name = name or self.default_release
        if name not in self.releases:
            raise ConfigError(
                f"no release is called {name!r}",
                why=f"farm.toml knows: {', '.join(sorted(self.releases))}",
                hint=nearest(name, self.releases),
            )
        return name, self.releases[name]


def nearest(word: str, known: Mapping[str, Any] | tuple[str, ...] | list[str]) -> str:
    """`Perhaps you meant 'x'.`, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"Perhaps you meant {close[0]!r}." if close else ""

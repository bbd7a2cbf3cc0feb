"""farm.toml → frozen Config: one schema, unknown keys refused with the nearest known one.

Everything has a default, so that farm works in a fresh clone; `farm config` prints what is in
force and from where it came (default, farm.toml, or an environment variable FARM_*).
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin
from urllib.parse import urlsplit

import msgspec

from farm.errors import ConfigError
from farm.model import Limits
from farm.run import processors

_NUMBER = "a whole number"
_UNITS = {
    **dict.fromkeys(("timeout", "silence", "retry_seconds", "lost"), "seconds"),
    **dict.fromkeys(("memory", "disk", "minimum_free"), "MiB"),
}
_REPLACES = '`munge = ["munge", "libmunge*"]`: source package of the layer = packages of the base.'


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


def load(directory: Path) -> Config:
    """The configuration for a layer in `directory`.

    Raises ConfigError for a file that is no TOML, an unknown key or a value of the wrong kind.
    """
    path = directory / "farm.toml"
    try:
        table = tomllib.loads(path.read_text("utf-8")) if path.exists() else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML", why=str(error)) from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read", why=error.strerror or str(error)) from error
    _refuse_unknown(table, Config, path)
    merged = _with_environment(table)
    try:
        config = msgspec.convert(merged, Config, strict=False)
    except msgspec.ValidationError as error:
        for option, value, kind in _misfits(merged, Config):
            raise _misfit(path, option, value, kind) from error
        raise ConfigError(f"{path}: a value does not fit", why=_plain(str(error))) from error
    for option, why in _unfit(config):
        raise ConfigError(f"{_origin(path, option)} cannot be {why}")
    return msgspec.structs.replace(config, root=directory.resolve())


def _misfits(value: Any, kind: Any, option: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(option, its value, the type that it should be of) for every value of the wrong kind."""
    prefix = option and f"{option}."
    if isinstance(kind, type) and issubclass(kind, Section) and isinstance(value, Mapping):
        for field in msgspec.structs.fields(kind):
            if field.encode_name in value:
                yield from _misfits(value[field.name], field.type, prefix + field.name)
            elif field.required:
                yield prefix + field.name, None, field.type
        return
    if get_origin(kind) is Mapping and isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _misfits(inner, get_args(kind)[1], prefix + name)
        return
    try:
        msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError:
        yield option, value, kind


def _misfit(path: Path, option: str, value: Any, kind: Any) -> ConfigError:
    """What is wrong with a value, where it comes from, and what would fit."""
    name, origin = option.rpartition(".")[2], _origin(path, option)
    wanted, hint = _kind_in_words(kind), ""
    if wanted == _NUMBER and name in _UNITS:
        wanted += f" of {_UNITS[name]}"
    if get_origin(kind) is Literal and isinstance(value, str):
        hint = nearest(value, get_args(kind))
    if value is None:
        return ConfigError(f"{origin} is missing", why=f"It wants {wanted}.")
    secret = option.startswith("webhook.")  # addresses often hold a token
    shown = "what it is" if secret else repr(value)
    return ConfigError(f"{origin} cannot be {shown}", why=f"It wants {wanted}.", hint=hint)


def _origin(path: Path, option: str) -> str:
    """Where the value of an option is from, for whoever has to change it."""
    variable = _variable(option)
    return variable if variable in os.environ else f"{path}: {option}"


def _kind_in_words(kind: Any) -> str:
    """A type as whoever writes farm.toml knows it."""
    match get_origin(kind), get_args(kind):
        case _, (inner, last) if last is type(None):  # what may be left out
            return _kind_in_words(inner)
        case origin, words if origin is Literal:
            return f"one of {', '.join(words)}"
        case origin, (inner, *_) if origin is tuple:
            return "a list, each of it " + _kind_in_words(inner)
        case origin, _ if origin is Mapping:
            return "a table"
    return {int: _NUMBER, bool: "true or false", str: "a text"}.get(kind, "a table")


def _unfit(config: Config) -> Iterator[tuple[str, str]]:
    """(option, what it cannot be) for values of the right kind that no run could work with."""
    for name, value in msgspec.structs.asdict(config.paths).items():
        if not value.strip() and name != "roots":
            yield f"paths.{name}", "empty"
        try:
            Path(value).expanduser()
        except RuntimeError:
            yield f"paths.{name}", f"{value!r}: there is no such user"
    for name, value in msgspec.structs.asdict(config.build).items():
        if isinstance(value, int) and value < 0:
            yield f"build.{name}", f"negative ({value})"
    yield from _unfit_cluster(config.slurm)
    yield from _unfit_limits(config.limits)
    if config.sources.timeout <= 0:
        yield "sources.timeout", f"{config.sources.timeout}: a fetch needs some seconds"
    yield from _unfit_publish(config.publish)
    yield from _unfit_webhook(config.webhook)
    for name, release in config.releases.items():
        if not release.architectures:
            yield f"releases.{name}.architectures", "empty"


def _unfit_limits(table: Mapping[str, PackageLimits]) -> Iterator[tuple[str, str]]:
    for package, limits in table.items():
        for name, value in msgspec.structs.asdict(limits).items():
            if value is not None and value < (name == "cores"):
                why = f"negative ({value})" if value else "0: a build has at least one"
                yield f"limits.{package}.{name}", why


def _unfit_cluster(slurm: Slurm) -> Iterator[tuple[str, str]]:
    for name, least in (("jobs", 1), ("cores", 1), ("lost", 0)):
        if getattr(slurm, name) < least:
            yield f"slurm.{name}", f"less than {least}"


def _unfit_publish(publish: Publish) -> Iterator[tuple[str, str]]:
    for name in ("grace_hours", "keep_snapshots", "keep_days", "keep_attested_days"):
        if getattr(publish, name) < 0:
            yield f"publish.{name}", f"negative ({getattr(publish, name)})"
    if not publish.key.strip():
        yield "publish.key", "empty: it names the signing key"
    if not _is_address(publish.address):
        yield (
            "publish.address",
            f"{publish.address!r}: a site wants http://HOST[:PORT][/PATH]",
        )
    if publish.attestations < 0:
        yield "publish.attestations", f"negative ({publish.attestations})"
    if publish.layer and not _is_public(publish.layer):
        yield (
            "publish.layer",
            f"{publish.layer!r}: it is published, so it wants an address without a "
            "password that others reach, like https://HOST/PATH",
        )


def _unfit_webhook(webhook: Webhook) -> Iterator[tuple[str, str]]:
    if webhook.timeout <= 0:
        yield "webhook.timeout", f"{webhook.timeout}: a message needs some seconds"
    for address in webhook.addresses:
        if not _is_address(address) or not address.startswith(("http://", "https://")):
            yield "webhook.addresses", f"{_shown(address)!r}: it wants http(s)://HOST[:PORT][/PATH]"


def _shown(address: str) -> str:
    """Whom an address is of: the rest of it may be somebody's token."""
    scheme, there, rest = address.partition("://")
    place, _, path = rest.partition("/")
    host = place.rpartition("@")[2].partition("?")[0]
    return scheme + there + host + ("/…" if path else "") if there else "…"


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https", "file") and (parts.port or 0) >= 0
    except ValueError:
        return False


def _is_public(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return parts.scheme in ("https", "http", "git", "ssh") and not parts.password
    except ValueError:
        return False


def in_force(config: Config) -> Iterator[tuple[str, str, str]]:
    """(dotted key, value, origin) for every option, in the schema's order."""
    path = config.root / "farm.toml"
    table = tomllib.loads(path.read_text("utf-8")) if path.exists() else {}
    for key, value in _flatten(msgspec.to_builtins(config, enc_hook=str)):
        if key == "root":
            continue
        origin = "default"
        if _lookup(table, key.split(".")) is not None:
            origin = "farm.toml"
        if _variable(key) in os.environ:
            origin = _variable(key)
        shown = ", ".join(map(_shown, config.webhook.addresses))
        yield key, shown if key == "webhook.addresses" else value, origin


def nearest(word: str, known: Mapping[str, Any] | tuple[str, ...] | list[str]) -> str:
    """`Perhaps you meant 'x'.`, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"Perhaps you meant {close[0]!r}." if close else ""


def _refuse_unknown(
    table: Mapping[str, Any], kind: type[msgspec.Struct], path: Path, prefix: str = ""
) -> None:
    fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
    for key, value in table.items():
        if key not in fields or key == "root":
            raise ConfigError(f"{path}: unknown option {prefix}{key}", hint=nearest(key, fields))
        inner = fields[key]
        if isinstance(inner, type) and issubclass(inner, Section) and isinstance(value, dict):
            _refuse_unknown(value, inner, path, f"{prefix}{key}.")
        if key == "releases":
            for name, release in _tables(value, path, key, 'architectures = ["x86_64"]'):
                _refuse_unknown(release, ReleaseConfig, path, f"releases.{name}.")
                _check_replaces(release.get("replaces", {}), f"{path}: releases.{name}.replaces")
        if key == "limits":
            for name, limits in _tables(value, path, key, "memory = 4096"):
                _refuse_unknown(limits, PackageLimits, path, f"limits.{name}.")


def _tables(
    value: Any, path: Path, section: str, example: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The tables in a section of tables with names of the user's."""
    for name, table in value.items() if isinstance(value, dict) else ():
        if not isinstance(table, dict):
            raise ConfigError(
                f"{path}: {section}.{name} is not a table",
                hint=f"Write [{section}.{name}] and below it {example}.",
            )
        yield name, table


def _check_replaces(table: Any, where: str) -> None:
    if not isinstance(table, dict):
        raise ConfigError(f"{where} is not a table", hint=f"Write {_REPLACES}")
    for source, names in table.items():
        if not isinstance(names, list) or not all(isinstance(n, str) and n for n in names):
            raise ConfigError(
                f"{where}.{source} is not a list of packages of the base",
                hint=f"Write {_REPLACES}",
            )


def _with_environment(table: Mapping[str, Any]) -> dict[str, Any]:
    """FARM_PATHS_STATE=… overrides paths.state; only plain values, only of sections."""
    merged = {
        key: dict(value) if isinstance(value, dict) else value for key, value in table.items()
    }
    for field in msgspec.structs.fields(Config):
        if not (isinstance(field.type, type) and issubclass(field.type, Section)):
            continue
        for inner in msgspec.structs.fields(field.type):
            variable = _variable(f"{field.name}.{inner.name}")
            if variable in os.environ and isinstance(merged.get(field.name, {}), dict):
                value: Any = os.environ[variable]
                if get_origin(inner.type) is tuple:
                    value = [part for part in value.split(",") if part]
                merged.setdefault(field.name, {})[inner.name] = value
    return merged


def _variable(key: str) -> str:
    return "FARM_" + re.sub(r"[^A-Z0-9]", "_", key.upper())


def _plain(message: str) -> str:
    return re.sub(r" - at `\$\.(.+)`", r" (at \1)", message)


def _flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if value is None:  # not said: what is said for all holds
            continue
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        elif isinstance(value, (list, tuple)):
            yield prefix + key, ", ".join(map(str, value))
        else:
            yield prefix + key, "" if value == {} else str(value)


def _lookup(table: Mapping[str, Any], keys: list[str]) -> Any:
    value: Any = table
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value

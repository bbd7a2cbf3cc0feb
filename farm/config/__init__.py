"""farm.toml → frozen Config: one schema, unknown keys refused with the nearest known one.

Everything has a default, so that farm works in a fresh clone; `farm config` prints what is in
force and from where it came (default, farm.toml, or an environment variable FARM_*).
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_origin

import msgspec

from farm.config.schema import (
    Building,
    ChrootOptions,
    Config,
    PackageLimits,
    Paths,
    Publish,
    ReleaseConfig,
    Section,
    Site,
    Slurm,
    Sources,
    Webhook,
    nearest,
)
from farm.config.values import misfit, misfits, origin_of, shown, unfit, variable
from farm.errors import ConfigError

__all__ = [
    "Building", "ChrootOptions", "Config", "PackageLimits", "Paths", "Publish", "ReleaseConfig",
    "Section", "Site", "Slurm", "Sources", "Webhook", "in_force", "load", "nearest",
]  # fmt: skip

_REPLACES = '`munge = ["munge", "libmunge*"]`: source package of the layer = packages of the base.'


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
        for option, value, kind in misfits(merged, Config):
            raise misfit(path, option, value, kind) from error
        raise ConfigError(f"{path}: a value does not fit", why=_plain(str(error))) from error
    for option, why in unfit(config):
        raise ConfigError(f"{origin_of(path, option)} cannot be {why}")
    return msgspec.structs.replace(config, root=directory.resolve())


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
        if variable(key) in os.environ:
            origin = variable(key)
        told = ", ".join(map(shown, config.webhook.addresses))
        yield key, told if key == "webhook.addresses" else value, origin


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
            name = variable(f"{field.name}.{inner.name}")
            if name in os.environ and isinstance(merged.get(field.name, {}), dict):
                value: Any = os.environ[name]
                if get_origin(inner.type) is tuple:
                    value = [part for part in value.split(",") if part]
                merged.setdefault(field.name, {})[inner.name] = value
    return merged


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

"""Values that do not fit: which option, where it is from, what it cannot be, what it wants."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin
from urllib.parse import urlsplit

import msgspec

from farm.config.schema import Config, PackageLimits, Publish, Section, Slurm, Webhook, nearest
from farm.errors import ConfigError

_HOST = re.compile(r"([\w.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")
_NUMBER = "a whole number"
_UNITS = {
    **dict.fromkeys(("timeout", "silence", "retry_seconds", "lost"), "seconds"),
    **dict.fromkeys(("memory", "disk", "minimum_free"), "MiB"),
}


def misfits(value: Any, kind: Any, option: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(option, its value, the type that it should be of) for every value of the wrong kind."""
    prefix = option and f"{option}."
    if isinstance(kind, type) and issubclass(kind, Section) and isinstance(value, Mapping):
        for field in msgspec.structs.fields(kind):
            if field.encode_name in value:
                yield from misfits(value[field.name], field.type, prefix + field.name)
            elif field.required:
                yield prefix + field.name, None, field.type
        return
    if get_origin(kind) is Mapping and isinstance(value, Mapping):
        for name, inner in value.items():
            yield from misfits(inner, get_args(kind)[1], prefix + name)
        return
    try:
        msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError:
        yield option, value, kind


def misfit(path: Path, option: str, value: Any, kind: Any) -> ConfigError:
    """What is wrong with a value, where it comes from, and what would fit."""
    name, origin = option.rpartition(".")[2], origin_of(path, option)
    wanted, hint = _kind_in_words(kind), ""
    if wanted == _NUMBER and name in _UNITS:
        wanted += f" of {_UNITS[name]}"
    if get_origin(kind) is Literal and isinstance(value, str):
        hint = nearest(value, get_args(kind))
    if value is None:
        return ConfigError(f"{origin} is missing", why=f"It wants {wanted}.")
    secret = option.startswith("webhook.")  # addresses often hold a token
    what = "what it is" if secret else repr(value)
    return ConfigError(f"{origin} cannot be {what}", why=f"It wants {wanted}.", hint=hint)


def variable(key: str) -> str:
    """The environment variable that overrides an option."""
    return "FARM_" + re.sub(r"[^A-Z0-9]", "_", key.upper())


def origin_of(path: Path, option: str) -> str:
    """Where the value of an option is from, for whoever has to change it."""
    name = variable(option)
    return name if name in os.environ else f"{path}: {option}"


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


def unfit(config: Config) -> Iterator[tuple[str, str]]:
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
    if slurm.address and not _HOST.fullmatch(slurm.address):
        yield "slurm.address", f"{slurm.address!r}: it wants HOST or HOST:PORT"


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
            yield "webhook.addresses", f"{shown(address)!r}: it wants http(s)://HOST[:PORT][/PATH]"


def shown(address: str) -> str:
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

"""The dnf.conf within a chroot file → the base repositories it enables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from configparser import ConfigParser, SectionProxy
from configparser import Error as ParserError
from pathlib import Path
from typing import Any

from farm.errors import ConfigError
from farm.model import Repository

# Options of dnf that would change what is installed and that the solver does not know.
_REFUSED_IN_MAIN = (
    "includepkgs", "tsflags", "multilib_policy", "ignorearch", "arch", "proxy", "sslcacert",
)  # fmt: skip
_REFUSED_IN_REPOSITORY = (
    "includepkgs", "proxy", "username", "password", "sslcacert", "sslclientcert", "sslclientkey",
)  # fmt: skip
_TRUE = ("1", "yes", "true", "on", "enabled", "always")
_FALSE = ("0", "no", "false", "off", "disabled", "never")
_I386 = ("i386", "i486", "i586", "i686", "athlon", "geode")


def read_repositories(
    options: Mapping[str, Any], path: Path
) -> tuple[tuple[Repository, ...], tuple[str, ...]]:
    """The enabled repositories, cheapest first, and the refused options of `dnf.conf`.

    `options` are the rendered options of the chroot file `path`.
    Raises ConfigError naming the repository for what dnf would not accept either.
    """
    text = options.get("dnf.conf")
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(
            f"{path}: config_opts['dnf.conf'] is not set",
            hint="It names the repositories of the base distribution.",
        )
    parser = ConfigParser(strict=False, interpolation=None)
    try:
        parser.read_string(text, source=f"{path}: dnf.conf")
    except ParserError as error:
        raise ConfigError(
            f"{path}: config_opts['dnf.conf'] is not a dnf configuration", why=str(error)
        ) from error
    main = parser["main"] if parser.has_section("main") else None
    variables = _variables(options)
    found: list[tuple[int, Repository]] = []
    refused = _refused("main", main, _REFUSED_IN_MAIN)
    if main is not None:
        if _boolean(main, "install_weak_deps", False, path):
            refused.append("dnf.conf [main] install_weak_deps")
        if not _boolean(main, "obsoletes", True, path):
            refused.append("dnf.conf [main] obsoletes")
    for name in parser.sections():
        section = parser[name]
        if name == "main" or not _boolean(section, "enabled", True, path):
            continue
        repository = _repository(name, section, main, variables, path)
        found.append((_number(section, "cost", 1000, path), repository))
        refused += _refused(name, section, _REFUSED_IN_REPOSITORY)
    if not found:
        raise ConfigError(f"{path}: dnf.conf enables no repository")
    found.sort(key=lambda pair: pair[0])  # stable: of equal cost, as the file has them
    return tuple(repository for _, repository in found), tuple(refused)


def _repository(
    name: str,
    section: SectionProxy,
    main: SectionProxy | None,
    variables: Mapping[str, str],
    path: Path,
) -> Repository:
    def words(key: str) -> tuple[str, ...]:
        text = section.get(key, "")
        return tuple(word for word in re.split(r"[\s,]+", text) if word)

    def addresses(key: str) -> tuple[str, ...]:
        return tuple(_substitute(word, variables, name, path) for word in words(key))

    def inherited(key: str, default: bool) -> bool:
        if main is not None and key not in section:
            return _boolean(main, key, default, path)
        return _boolean(section, key, default, path)

    baseurl, metalink, mirrorlist = map(addresses, ("baseurl", "metalink", "mirrorlist"))
    if not (baseurl or metalink or mirrorlist):
        raise ConfigError(
            f"{path}: repository {name!r} has no baseurl, metalink or mirrorlist",
        )
    general = () if main is None else _excludes(main)
    return Repository(
        id=name,
        baseurl=tuple(f"file://{word}" if word.startswith("/") else word for word in baseurl),
        metalink=metalink[0] if metalink else "",
        mirrorlist=mirrorlist[0] if mirrorlist else "",
        gpgkeys=addresses("gpgkey"),
        gpgcheck=inherited("gpgcheck", False),
        repo_gpgcheck=inherited("repo_gpgcheck", False),
        priority=_number(section, "priority", 99, path),
        excludes=tuple(dict.fromkeys(general + _excludes(section))),
        module_hotfixes=_boolean(section, "module_hotfixes", False, path),
        sslverify=inherited("sslverify", True),
        variables=tuple(sorted(variables.items())) if mirrorlist else (),
    )


def _excludes(section: SectionProxy) -> tuple[str, ...]:
    text = " ".join(section.get(key, "") for key in ("exclude", "excludepkgs"))
    return tuple(word for word in re.split(r"[\s,]+", text) if word)


def _refused(name: str, section: SectionProxy | None, keys: tuple[str, ...]) -> list[str]:
    return [f"dnf.conf [{name}] {key}" for key in keys if section is not None and section.get(key)]


def _variables(options: Mapping[str, Any]) -> dict[str, str]:
    arch = str(options["target_arch"])
    known = {"arch": arch, "basearch": "i386" if arch in _I386 else arch}
    if arch.startswith("armv") and arch.endswith("l"):
        known["basearch"] = "armhfp" if "h" in arch else "arm"
    if options.get("releasever") is not None:
        known["releasever"] = str(options["releasever"])
        major, _, minor = known["releasever"].partition(".")
        known |= {"releasever_major": major, "releasever_minor": minor}
    extra = options.get("dnf_vars") or {}
    return known | {str(key): str(value) for key, value in extra.items()}


def _substitute(text: str, variables: Mapping[str, str], name: str, path: Path) -> str:
    def replaced(match: re.Match[str]) -> str:
        variable = match[1] or match[2]
        if variable not in variables:
            raise ConfigError(
                f"{path}: repository {name!r}: ${variable} has no value",
                why=f"in {text}",
                hint=f"Set config_opts['dnf_vars'] = {{'{variable}': …}}.",
            )
        return variables[variable]

    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", replaced, text)


def _boolean(section: SectionProxy, key: str, default: bool, path: Path) -> bool:
    value = section.get(key)
    if value is None or not value.strip():
        return default
    word = value.strip().lower()
    if word not in _TRUE + _FALSE:
        raise ConfigError(
            f"{path}: dnf.conf [{section.name}] {key} is neither true nor false",
            why=f"it is {value!r}",
        )
    return word in _TRUE


def _number(section: SectionProxy, key: str, default: int, path: Path) -> int:
    value = section.get(key, str(default))
    try:
        return int(value)
    except ValueError as error:
        raise ConfigError(
            f"{path}: dnf.conf [{section.name}] {key} is no number", why=f"it is {value!r}"
        ) from error

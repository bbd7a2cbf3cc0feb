"""chroots/*.cfg, mock's own configuration format → Chroot."""

from __future__ import annotations

import platform
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from farm.config import nearest
from farm.errors import ConfigError
from farm.model import Chroot
from farm.plan.mockconf import mockoptions
from farm.plan.mockconf.dnfconf import read_repositories
from farm.plan.mockconf.mockfile import read_options
from farm.plan.mockconf.mocktemplate import render, variables_used

_NOT_CHROOTS = ("site-defaults.cfg", "chroot-aliases.cfg")
# rpm's names of the architectures that distributions are built for.
_ARCHITECTURES = (
    "aarch64", "armv5tel", "armv5tl", "armv6hl", "armv7hl", "armv7hnl", "i386", "i486", "i586",
    "i686", "ia64", "loongarch64", "mips64el", "mipsel", "ppc", "ppc64", "ppc64le", "riscv64",
    "s390", "s390x", "sparc64", "x86_64", "x86_64_v2", "x86_64_v3", "x86_64_v4",
)  # fmt: skip
_MACHINES = {"arm64": "aarch64", "amd64": "x86_64"}
_HOSTS = """\
127.0.0.1 localhost localhost.localdomain
::1       localhost localhost.localdomain localhost6 localhost6.localdomain6
"""


def read_chroots(
    directory: Path, options: Mapping[str, str], *, host_arch: str = ""
) -> tuple[Chroot, ...]:
    """Every chroot file of a directory, by name. Raises ConfigError for the first bad one."""
    if not directory.is_dir():
        raise ConfigError(
            f"the directory of chroot files {directory} does not exist",
            hint="`farm config` shows where it is looked for (paths.chroots).",
        )
    return tuple(
        read_chroot(path, options, host_arch=host_arch)
        for path in sorted(directory.glob("*.cfg"))
        if path.name not in _NOT_CHROOTS
    )


def read_chroot(path: Path, options: Mapping[str, str], *, host_arch: str = "") -> Chroot:
    """One chroot file, read as literals and templates, never executed.

    `options` override what the file sets, as `mock --config-opts` would. `host_arch` is the
    machine that builds (default: this one); it decides only whether native tools are of use.
    Raises ConfigError naming file, line and option for what farm does not accept.
    """
    read = read_options(path, mockoptions.defaults(), mockoptions.ALIASES)
    raw = read.options
    raw.update({name: _typed(value) for name, value in options.items()})
    arch = raw.get("target_arch")
    if not isinstance(arch, str) or not arch:
        raise ConfigError(
            f"{path}: config_opts['target_arch'] is not set", hint="For example 'x86_64'."
        )
    if arch not in _ARCHITECTURES:
        raise ConfigError(
            f"{path}: config_opts['target_arch']: rpm knows no architecture {arch!r}",
            hint=nearest(arch, _ARCHITECTURES),
        )
    for name in ("macros", "environment", "files", "plugin_conf", "dnf_vars", "repo_arch_map"):
        if not isinstance(raw[name], dict) or not all(isinstance(key, str) for key in raw[name]):
            raise ConfigError(f"{path}: config_opts[{name!r}] is not a dictionary of names")
    if not raw["repo_arch"]:
        raw["repo_arch"] = raw["repo_arch_map"].get(arch, arch)
    raw.setdefault("root", path.stem)
    used = variables_used(raw)
    values = render(raw, str(path))
    ignored, refused = mockoptions.classify(values, read.touched, used)
    settings = _Settings(path, values)
    repositories, refused_in_dnf = read_repositories(values, path)
    macros, switched_on, switched_off = settings.macros()
    host_arch = host_arch or platform.machine()
    foreign = _MACHINES.get(host_arch, host_arch) != arch
    return Chroot(
        name=path.stem,
        release=path.stem.removesuffix(f"-{arch}"),
        arch=arch,
        repositories=repositories,
        setup=settings.setup(),
        dist=settings.dist(),
        macros=macros,
        with_options=switched_on,
        without_options=switched_off,
        environment=settings.pairs("environment"),
        files=settings.files(),
        directories=settings.words("extra_chroot_dirs"),
        unprivileged_user=settings.text("chrootuser"),
        timeout=settings.seconds("rpmbuild_timeout"),
        emulator=settings.text("farm_emulator") if foreign else "",
        native_tools=settings.text("farm_native_tools") if foreign else "",
        ignored=ignored,
        refused=refused + refused_in_dnf,
    )


class _Settings:
    """Rendered options, read with the types that they must have."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        self.path = path
        self.values = values

    def text(self, name: str) -> str:
        value = self.values.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.wrong(name, "a text")
        return value

    def words(self, name: str) -> tuple[str, ...]:
        """A list of texts, or one text split as a shell would."""
        value = self.values.get(name) or ()
        if isinstance(value, str):
            try:
                return tuple(shlex.split(value, comments=False))
            except ValueError as error:
                raise self.wrong(name, "a list of words") from error
        if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) for v in value):
            raise self.wrong(name, "a list of texts")
        return tuple(value)

    def pairs(self, name: str) -> tuple[tuple[str, str], ...]:
        return tuple(sorted((key, str(item)) for key, item in self.values[name].items()))

    def seconds(self, name: str) -> int:
        value = self.values.get(name) or 0
        try:
            return int(value)
        except (TypeError, ValueError) as error:
            raise self.wrong(name, "a number of seconds") from error

    def setup(self) -> tuple[str, ...]:
        """What `chroot_setup_cmd` and `chroot_additional_packages` install, groups as @name."""
        words = self.words("chroot_setup_cmd")
        verb, names = (words[0], words[1:]) if words else ("install", ())
        options = [name for name in names if name.startswith("-")]
        if verb not in ("install", "groupinstall") or options:
            raise ConfigError(
                f"{self.path}: chroot_setup_cmd may only install packages",
                why=f"it is {' '.join(words)!r}",
                hint="Write: install NAME… (a group as @NAME).",
            )
        if verb == "groupinstall":
            names = tuple(name if name.startswith("@") else f"@{name}" for name in names)
        names += self.words("chroot_additional_packages")
        if not names:
            raise ConfigError(f"{self.path}: chroot_setup_cmd installs nothing")
        return tuple(dict.fromkeys(names))

    def macros(
        self,
    ) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...], tuple[str, ...]]:
        """(macros, conditions switched on, conditions switched off); farm's own are apart."""
        plain: dict[str, str] = {}
        conditions: dict[str, list[str]] = {"with": [], "without": []}
        for key, value in self.pairs("macros"):
            name = key.removeprefix("%")
            if not re.fullmatch(r"\w+(\([^)]*\))?", name):
                raise ConfigError(f"{self.path}: macros: {key!r} is not the name of a macro")
            match = re.fullmatch(r"_(with|without)_(\w+)", name)
            if match and value == f"--{match[1]}-{match[2]}":
                conditions[match[1]].append(match[2])
            elif name != "dist" and name not in mockoptions.OWN_MACROS:
                plain[name] = value
        return (
            tuple(sorted(plain.items())),
            tuple(sorted(conditions["with"])),
            tuple(sorted(conditions["without"])),
        )

    def dist(self) -> str:
        """`%dist`: the macro where it is set, else mock's `dist`, which is without the dot."""
        macros = dict(self.pairs("macros"))
        for key in ("%dist", "dist"):
            if key in macros:
                return macros[key]
        dist = self.text("dist")
        if not dist:
            raise ConfigError(
                f"{self.path}: nothing says what %dist is",
                why="The rebuild counter of a package is kept in it.",
                hint="Set config_opts['macros']['%dist'] = '.el9', for example.",
            )
        return dist if dist.startswith(".") else f".{dist}"

    def files(self) -> tuple[tuple[str, str], ...]:
        """Files to be made in the root; like mock's root, it can resolve its own name."""
        files = {name.lstrip("/"): content for name, content in self.pairs("files")}
        for name in files:
            if not name or ".." in Path(name).parts:
                raise ConfigError(f"{self.path}: files: {name!r} is not a path below the root")
        return tuple(sorted(({"etc/hosts": _HOSTS} | files).items()))

    def wrong(self, name: str, kind: str) -> ConfigError:
        return ConfigError(
            f"{self.path}: config_opts[{name!r}] is not {kind}",
            why=f"it is {self.values.get(name)!r}",
        )


def _typed(value: str) -> Any:
    """The value of a `--config-opts`, with mock's own conversions."""
    words: dict[str, Any] = {"true": True, "false": False, "none": None}
    if value.lower() in words:
        return words[value.lower()]
    return int(value) if re.fullmatch(r"-?\d+", value) else value

"""One Debian package → one RPM: pure, so that the same package gives the same bytes."""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from posixpath import relpath
from stat import S_IFLNK, S_IFMT, S_IFREG, S_ISGID, S_ISUID

from farm.base import accounts, capabilities, elf, rpmfile
from farm.base.archive import Deb
from farm.base.deb import DebContents, Entry
from farm.base.recipe import TRIPLETS, Recipe, own_files
from farm.base.rpmfile import Capability, File, RpmPackage

_ISA = {"x86_64": "(x86-64)", "aarch64": "(aarch-64)"}
_RPM_VERSION = re.compile(r"[^A-Za-z0-9._+~^]")
_LDCONFIG = ("/sbin/ldconfig || :\n", ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so"))
# Debian's dependencies do not name what is on every Debian system.
_SCRIPT = re.compile(rb"#! ?/(?:usr/)?bin/(\w+)")
_INTERPRETERS = {b"sh": "bash", b"bash": "bash", b"perl": "perl-base"}
_BOTH_NAMES = ("/usr/bin/", "/usr/sbin/")
# Their programs are also known as /bin/x and /sbin/x, which is what old scripts say.
_ESSENTIAL = frozenset(
    ("bash", "coreutils", "findutils", "gawk", "grep", "gzip", "hostname", "iproute2", "libc-bin",
     "mount", "perl-base", "procps", "sed", "systemd", "tar", "util-linux")
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """What every package of one base has in common."""

    arch: str
    recipe: Recipe
    stands_for: Mapping[str, str]  # real or virtual Debian name → package of the set
    versions: Mapping[str, str]  # package of the set → its Debian version
    build_time: int
    source: str  # name of the source package they all name

    @property
    def triplet(self) -> str:
        return TRIPLETS[self.arch]


def evr(version: str) -> tuple[int, str, str]:
    """Epoch, version and release for a Debian version."""
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-")
    if not upstream:
        upstream, revision = rest, "0"
    return int(epoch), _RPM_VERSION.sub(".", upstream), _RPM_VERSION.sub(".", revision)


def evr_text(version: str) -> str:
    """`1:2.3-4`, the epoch left out when 0."""
    epoch, upstream, release = evr(version)
    return f"{epoch}:{upstream}-{release}" if epoch else f"{upstream}-{release}"


def selector(recipe: Recipe, arch: str) -> Callable[[str], bool]:
    """Whether a path of a Debian package is taken."""
    patterns = [pattern.replace("{triplet}", TRIPLETS[arch]) for pattern in recipe.dropped]
    unwanted = re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns))

    def wanted(path: str) -> bool:
        if path.startswith("/usr/share/doc/"):
            # The licence stays, the rest of the documentation does not.
            return path.count("/") == 4 or path.endswith("/copyright")
        return unwanted.match(path) is None

    return wanted


def convert(deb: Deb, contents: DebContents, setting: Setting) -> RpmPackage:
    """The RPM for a Debian package."""
    epoch, version, release = evr(deb.version)
    entries = _without_static_libraries(deb.name, contents.entries)
    entries = _cut_links(deb.name, entries, setting.recipe)
    files = _files(deb.name, entries, contents.conffiles, setting)
    provides, requires = _file_capabilities(files, setting)
    provides |= _names(deb, files, setting)
    requires |= _requires(deb, setting)
    requires -= {Capability("rtld(GNU_HASH)")} if deb.name == "libc6" else set()
    return RpmPackage(
        name=deb.name,
        epoch=epoch,
        version=version,
        release=release,
        arch="noarch" if deb.arch == "all" else setting.arch,
        summary=deb.summary or deb.name,
        description=f"{deb.summary}\n\nTaken from Debian's package {deb.name} {deb.version}.",
        license=f"see /usr/share/doc/{deb.name}/copyright",
        url=deb.homepage,
        source=setting.source,
        build_time=setting.build_time,
        files=files,
        provides=tuple(sorted(provides)),
        requires=tuple(sorted(requires - provides - {Capability(deb.name)})),
        file_trigger=_LDCONFIG if deb.name == "libc-bin" else None,
    )


def _without_static_libraries(name: str, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Fedora ships none where there is a shared one; the C library's and the compiler's stay."""
    if name.startswith(("libc6", "libgcc", "libstdc++", "libgfortran", "libgomp")):
        return entries
    shared = {entry.path.removesuffix(".so") for entry in entries if entry.path.endswith(".so")}
    names = {PurePosixPath(path).name for path in shared}

    def superfluous(path: str) -> bool:
        stem = PurePosixPath(path).name.removesuffix(".a")
        return path.endswith(".a") and (
            stem in names or stem.endswith(("_pic", "-pic")) or "openblas" in path
            or "/config-3." in path
        )  # fmt: skip

    return tuple(entry for entry in entries if not superfluous(entry.path))


def _cut_links(name: str, entries: tuple[Entry, ...], recipe: Recipe) -> tuple[Entry, ...]:
    cut = recipe.cuts.get(name)
    if cut is None:
        return entries
    return tuple(
        replace(entry, data=elf.without_library(entry.data, cut.library, cut.stand_ins))
        if entry.data.startswith(elf.MAGIC) and _needs(entry.data, cut.library)
        else entry
        for entry in entries
    )


def _needs(data: bytes, library: str) -> bool:
    found = elf.facts(data)
    return found is not None and library in found.needed


def _files(
    name: str, entries: Iterable[Entry], conffiles: frozenset[str], setting: Setting
) -> tuple[File, ...]:
    recipe = setting.recipe
    standard = _standard(recipe, setting.triplet)
    found = {entry.path: _file(entry, conffiles) for entry in entries if entry.path not in standard}
    given = {entry.path: entry for entry in entries}
    newest = max((entry.mtime for entry in given.values()), default=setting.build_time)
    for path, source in recipe.copies.get(name, {}).items():
        if source in given:
            found[path] = rpmfile.regular(
                path, given[source].data, flags=rpmfile.CONFIG | rpmfile.NOREPLACE
            )
    for path, target in recipe.links.get(name, {}).items():
        where = path.replace("{triplet}", setting.triplet)
        found[where] = rpmfile.symlink(where, target.replace("{triplet}", setting.triplet))
    for file in own_files(name):
        found[file.path] = file
    if name == "base-files":
        found |= {path: rpmfile.directory(path, mode) for path, mode in standard.items()}
    if name == "base-passwd":
        found |= {file.path: file for file in accounts.files(given)}
    if name == "ca-certificates":
        bundle = b"".join(given[path].data for path in sorted(given) if path.endswith(".crt"))
        path = "/etc/ssl/certs/ca-certificates.crt"
        found[path] = rpmfile.regular(path, bundle)
    return tuple(
        file if file.mtime else replace(file, mtime=newest) for _, file in sorted(found.items())
    )


def _file(entry: Entry, conffiles: frozenset[str]) -> File:
    flags = 0
    if entry.path in conffiles:
        flags = rpmfile.CONFIG | rpmfile.NOREPLACE
    elif entry.path.endswith("/copyright") and S_IFMT(entry.mode) == S_IFREG:
        flags = rpmfile.LICENSE
    elif entry.path.startswith(("/usr/share/man/", "/usr/share/info/")):
        flags = rpmfile.DOC
    if entry.same_as:
        target = relpath(entry.same_as, str(PurePosixPath(entry.path).parent))
        return File(entry.path, S_IFLNK | 0o777, entry.mtime, target=target)
    mode = entry.mode
    if entry.group == "shadow" and mode & S_ISGID:
        # All files are root's, so that no account has to exist before a package is unpacked;
        # what reads shadow is set-user-id instead, as in Fedora.
        mode = mode & ~S_ISGID | S_ISUID
    return File(entry.path, mode, entry.mtime, entry.data, entry.target, flags=flags)


@functools.cache
def _standard_of(directories: tuple[str, ...], triplet: str) -> dict[str, int]:
    special = {"/root": 0o700, "/tmp": 0o1777, "/var/tmp": 0o1777, "/var/mail": 0o775}
    paths = (path.replace("{triplet}", triplet) for path in directories)
    return {path: special.get(path, 0o755) for path in paths}


def _standard(recipe: Recipe, triplet: str) -> dict[str, int]:
    return _standard_of(recipe.standard_directories, triplet)


def _file_capabilities(
    files: tuple[File, ...], setting: Setting
) -> tuple[set[Capability], set[Capability]]:
    regular = [(file.path, file.data) for file in files if S_IFMT(file.mode) == S_IFREG]
    provides = set(capabilities.of_files(regular))
    requires: set[Capability] = set()
    for path, data in regular:
        if data.startswith(elf.MAGIC):
            found = elf.facts(data, PurePosixPath(path).name)
            if found is not None and found.machine == setting.arch:
                provides |= {Capability(name) for name in found.provides}
                requires |= {Capability(name) for name in found.requires}
        match = _SCRIPT.match(data)
        if match is not None and match[1] in _INTERPRETERS:
            requires.add(Capability(_INTERPRETERS[match[1]]))
    return provides, requires


def _names(deb: Deb, files: tuple[File, ...], setting: Setting) -> set[Capability]:
    _, version, release = evr(deb.version)
    found = {Capability(deb.name, "=", evr_text(deb.version))}
    for name in setting.recipe.names.get(deb.name, ()):
        found.add(Capability(name, "=", f"{version}-{release}"))
    if deb.arch != "all":
        found |= {
            Capability(capability.name + _ISA[setting.arch], "=", capability.evr)
            for capability in found
            if not capability.name.startswith("/")
        }
    if deb.name == "libc6":
        found.add(Capability("rtld(GNU_HASH)"))
    if deb.name == "base-passwd":
        found |= {Capability(name) for name in accounts.capabilities(files)}
    for file in files:
        match = re.fullmatch(r"/usr/bin/python(3\.\d+)", file.path)
        if match is not None and S_IFMT(file.mode) == S_IFREG:
            found.add(Capability("python(abi)", "=", match[1]))
        if deb.name in _ESSENTIAL and file.path.startswith(_BOTH_NAMES):
            found.add(Capability(file.path.removeprefix("/usr")))
    if deb.name == "perl-base":
        found.add(Capability("perl(:VERSION)", "=", version))
        found.add(Capability(f"perl(:MODULE_COMPAT_{version})"))
    if deb.name == "perl":
        found.add(Capability("perl", "=", f"4:{version}-{release}"))
    return found


def _requires(deb: Deb, setting: Setting) -> set[Capability]:
    found = set()
    for group in deb.depends:
        for relation in group:
            name = setting.stands_for.get(relation.name)
            if name is None:
                continue
            exact = relation.op == "=" and setting.versions[name] == relation.version
            if name != deb.name:
                found.add(
                    Capability(name, "=", evr_text(relation.version)) if exact else Capability(name)
                )
            break
    found |= {Capability(name) for name in setting.recipe.requires.get(deb.name, ())}
    return found

"""rpm-md repositories for tests, written from a compact description of their packages.

The package files hold a few bytes of text in place of an RPM; checksums are theirs.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import zstandard

from farm.model import Chroot, Repository

_OPERATORS = {"=": "EQ", "<": "LT", "<=": "LE", ">": "GT", ">=": "GE"}
_PRIMARY_FILE = re.compile(r"^(/etc/.*|.*bin/.*|/usr/lib/sendmail)$")
_COMPRESS: Mapping[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gz": (".gz", lambda data: gzip.compress(data, mtime=0)),
    "zstd": (".zst", zstandard.ZstdCompressor().compress),
    "xz": (".xz", lzma.compress),
    "bz2": (".bz2", bz2.compress),
    "none": ("", bytes),
}


@dataclass(frozen=True)
class Rpm:
    """A package as its metadata tells it; `evr` is `[epoch:]version-release`.

    A file is written as its path, `/a/directory/` or `%ghost /a/file`.
    """

    name: str
    evr: str = "1-1"
    arch: str = "x86_64"
    requires: Sequence[str] = ()
    provides: Sequence[str] = ()
    conflicts: Sequence[str] = ()
    obsoletes: Sequence[str] = ()
    recommends: Sequence[str] = ()
    supplements: Sequence[str] = ()
    files: Sequence[str] = ()
    source: str = ""  # name of the source package

    @property
    def version(self) -> tuple[str, str, str]:
        return _split(self.evr)

    @property
    def filename(self) -> str:
        _, version, release = self.version
        return f"{self.name}-{version}-{release}.{self.arch}.rpm"

    @property
    def content(self) -> bytes:
        return (repr(self) + "\n").encode()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class Comps:
    """A group of the repository."""

    id: str
    mandatory: Sequence[str] = ()
    default: Sequence[str] = ()
    optional: Sequence[str] = ()


def write_repository(
    directory: Path,
    packages: Sequence[Rpm],
    *,
    groups: Sequence[Comps] = (),
    modules: str = "",
    compression: str = "gz",
    package_files: bool = False,
) -> Path:
    """Write `repodata/` (and, if asked, the package files) below `directory`."""
    repodata = directory / "repodata"
    repodata.mkdir(parents=True, exist_ok=True)
    if package_files:
        for package in packages:
            (directory / package.filename).write_bytes(package.content)
    parts = {
        "primary": primary_xml(packages).decode(),
        "filelists": _document("filelists", "filelists", [_filelists(p) for p in packages]),
    }
    if groups:
        parts["group"] = _comps(groups)
    if modules:
        parts["modules"] = modules
    data = []
    for kind, text in parts.items():
        suffix, compress = _COMPRESS[compression]
        plain = text.encode()
        packed = compress(plain)
        name = f"{kind}.xml{suffix}"
        (repodata / name).write_bytes(packed)
        data.append(
            f'<data type="{kind}"><checksum type="sha256">{_sha(packed)}</checksum>'
            f'<open-checksum type="sha256">{_sha(plain)}</open-checksum>'
            f'<location href="repodata/{name}"/><size>{len(packed)}</size>'
            f"<open-size>{len(plain)}</open-size></data>"
        )
    (repodata / "repomd.xml").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>1</revision>\n'
        + "\n".join(data)
        + "\n</repomd>\n"
    )
    return directory


def primary_xml(packages: Sequence[Rpm]) -> bytes:
    """The primary.xml of these packages."""
    return _document("metadata", "common", [_primary(p) for p in packages]).encode()


def repository(directory: Path, name: str = "base", **fields: object) -> Repository:
    """The noun for a repository written into `directory`."""
    return Repository(id=name, baseurl=(directory.as_uri(),), **fields)  # type: ignore[arg-type]


def chroot(*repositories: Repository, setup: Sequence[str] = (), arch: str = "x86_64") -> Chroot:
    """A chroot over these repositories."""
    return Chroot(
        name=f"test-1-{arch}",
        release="test-1",
        arch=arch,
        repositories=repositories,
        setup=tuple(setup),
        dist=".t1",
    )


def _split(evr: str) -> tuple[str, str, str]:
    epoch, colon, rest = evr.rpartition(":")
    version, _, release = rest.partition("-")
    return (epoch if colon else "0"), version, release


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _document(root: str, namespace: str, parts: Sequence[str]) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<{root} xmlns="http://linux.duke.edu/metadata/{namespace}" '
        f'xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="{len(parts)}">\n'
        + "\n".join(parts)
        + f"\n</{root}>\n"
    )


def _version(package: Rpm) -> str:
    epoch, version, release = package.version
    return f'<version epoch="{epoch}" ver={quoteattr(version)} rel={quoteattr(release)}/>'


def _primary(package: Rpm) -> str:
    own = f"{package.name} = {package.evr}"
    kinds = {
        "provides": (*package.provides, own),
        "requires": package.requires,
        "conflicts": package.conflicts,
        "obsoletes": package.obsoletes,
        "recommends": package.recommends,
        "supplements": package.supplements,
    }
    formats = "".join(
        f"<rpm:{kind}>" + "".join(_entry(text) for text in entries) + f"</rpm:{kind}>"
        for kind, entries in kinds.items()
        if entries
    )
    files = "".join(_file(file) for file in package.files if _PRIMARY_FILE.match(file))
    return (
        f'<package type="rpm"><name>{escape(package.name)}</name><arch>{package.arch}</arch>'
        f'{_version(package)}<checksum type="sha256" pkgid="YES">{package.sha256}</checksum>'
        f"<summary>{escape(package.name)}</summary><description/><packager/><url/>"
        f'<time file="1" build="1"/>'
        f'<size package="{len(package.content)}" installed="1" archive="1"/>'
        f"<location href={quoteattr(package.filename)}/>"
        f"<format><rpm:license>MIT</rpm:license>{_source(package)}{formats}{files}</format></package>"
    )


def _source(package: Rpm) -> str:
    _, version, release = package.version
    name = f"{package.source}-{version}-{release}.src.rpm"
    return f"<rpm:sourcerpm>{name}</rpm:sourcerpm>" if package.source else ""


def _filelists(package: Rpm) -> str:
    files = "".join(_file(file) for file in package.files)
    return (
        f'<package pkgid="{package.sha256}" name={quoteattr(package.name)} arch="{package.arch}">'
        f"{_version(package)}{files}</package>"
    )


def _file(text: str) -> str:
    if text.startswith("%ghost "):
        return f'<file type="ghost">{escape(text.removeprefix("%ghost "))}</file>'
    if text.endswith("/"):
        return f'<file type="dir">{escape(text.rstrip("/"))}</file>'
    return f"<file>{escape(text)}</file>"


def _entry(text: str) -> str:
    words = text.split()
    if text.startswith("(") or len(words) != 3:
        return f"<rpm:entry name={quoteattr(text)}/>"
    name, operator, evr = words
    epoch, version, release = _split(evr)
    rel = f" rel={quoteattr(release)}" if release else ""
    return (
        f'<rpm:entry name={quoteattr(name)} flags="{_OPERATORS[operator]}" epoch="{epoch}" '
        f"ver={quoteattr(version)}{rel}/>"
    )


def _comps(groups: Sequence[Comps]) -> str:
    def requests(group: Comps) -> str:
        kinds = (
            ("mandatory", group.mandatory),
            ("default", group.default),
            ("optional", group.optional),
        )
        return "".join(
            f'<packagereq type="{kind}">{escape(name)}</packagereq>'
            for kind, names in kinds
            for name in names
        )

    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<comps>\n'
        + "\n".join(
            f"<group><id>{escape(group.id)}</id><name>{escape(group.id)}</name>"
            f"<packagelist>{requests(group)}</packagelist></group>"
            for group in groups
        )
        + "\n</comps>\n"
    )

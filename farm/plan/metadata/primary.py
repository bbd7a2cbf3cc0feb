"""primary.xml as libsolv is to see it: canonical order, without what solving does not need.

A lock must not depend on the order in which a mirror lists its packages, so the packages are
sorted by their own bytes. Excluded packages, sources and those of module streams that are not
enabled are left out, and files that somebody requires are added from filelists.xml, so that
the full lists, hundreds of megabytes for a distribution, are never loaded.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from xml.sax.saxutils import escape, unescape

from farm.plan.metadata.richdeps import excess
from farm.plan.metadata.unpack import MetadataError

_BLOCK = 32 << 20
_SMALL_BLOCK = 4 << 20
_NEEDLESS = re.compile(
    rb"<(summary|description|packager|url|rpm:license|rpm:vendor|rpm:group|rpm:buildhost)"
    rb"(?:\s*/>|>[^<]*</\1>)|<rpm:header-range[^>]*/>"
)
_BETWEEN = re.compile(rb">\s+<")
_HEAD = re.compile(
    rb'<package type="rpm"><name>([^<]*)</name><arch>([^<]*)</arch>'
    rb'<version epoch="([^"]*)" ver="([^"]*)" rel="([^"]*)"/>'
    rb"<checksum[^>]*>([0-9a-f]+)</checksum>"
)
_NAME = re.compile(rb"<name>([^<]*)</name>")
_ARCH = re.compile(rb"<arch>([^<]*)</arch>")
_EVR = re.compile(rb'<version epoch="([^"]*)" ver="([^"]*)" rel="([^"]*)"')
_PKGID = re.compile(rb"<checksum[^>]*>\s*([0-9a-f]+)\s*</checksum>")
_OWNER = re.compile(rb'pkgid="([0-9a-f]+)"')
_OWNER_NAME = re.compile(rb'name="([^"]+)"')
_HEADER = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b'<metadata xmlns="http://linux.duke.edu/metadata/common"'
    b' xmlns:rpm="http://linux.duke.edu/metadata/rpm">\n'
)
_BEGIN, _END = b"<package ", b"</package>"
# What every primary.xml lists: createrepo's rule, which dnf relies on as well.
_IN_PRIMARY = re.compile(r"/etc/.*|.*bin/.*|/usr/lib/sendmail")


def canonical(
    content: bytes,
    *,
    keep: Callable[[str, str, str], bool],
    files: Mapping[str, Sequence[str]],
) -> list[bytes]:
    """The `<package>` pieces of a primary.xml, sorted and cut down to what solving needs.

    `keep(name, evr, arch)` decides which packages stay; `files` are further paths by package
    checksum. Raises MetadataError when it is no primary.xml.
    """
    _check_head(content)
    chunks = set()
    for block in _blocks(content, _SMALL_BLOCK):
        # Many at once: one call for each package takes five times as long.
        for chunk in _pieces(_BETWEEN.sub(b"><", _NEEDLESS.sub(b"", block))):
            name, arch, evr, pkgid = _head(chunk)
            if keep(name, evr, arch):
                chunks.add(with_files(chunk, files[pkgid]) if pkgid in files else chunk)
    return sorted(chunks)


def _head(chunk: bytes) -> tuple[str, str, str, str]:
    """Name, architecture, epoch:version-release and checksum of a package ("" without one)."""
    usual = _HEAD.match(chunk)
    if usual is not None:
        name, arch, epoch, version, release, pkgid = (part.decode() for part in usual.groups())
    else:
        names, arches, evr = _NAME.search(chunk), _ARCH.search(chunk), _EVR.search(chunk)
        if names is None or arches is None or evr is None:
            raise MetadataError("a package in it has no name, version or architecture")
        name, arch = names[1].decode(), arches[1].decode()
        epoch, version, release = (part.decode() for part in evr.groups())
        checksum = _PKGID.search(chunk)
        pkgid = checksum[1].decode() if checksum else ""
    return unescape(name) if "&" in name else name, arch, f"{epoch}:{version}-{release}", pkgid


def with_files(chunk: bytes, paths: Iterable[str]) -> bytes:
    """A `<package>` piece of primary.xml that lists these files as well."""
    lines = "".join(f"<file>{escape(path)}</file>" for path in sorted(set(paths)))
    return chunk.replace(b"</format>", lines.encode() + b"</format>") if lines else chunk


def assembled(chunks: Iterable[bytes]) -> bytes:
    """A primary.xml of these `<package …>…</package>` pieces, sorted."""
    return b"".join(document(sorted(chunks)))


def document(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The parts of a primary.xml of these pieces."""
    yield _HEADER
    for chunk in chunks:
        yield chunk + b"\n"
    yield b"</metadata>\n"


def check_depth(content: bytes) -> None:
    """Raises MetadataError for rich dependencies that libsolv would not survive."""
    for name in set(re.findall(rb'name="(\([^"]*)"', content)) if b'name="(' in content else ():
        reason = excess(unescape(name.decode("utf-8", "replace")))
        if reason:
            raise MetadataError(f"a dependency in it {reason}")


def packages(content: bytes) -> Iterator[bytes]:
    """The `<package …>…</package>` pieces of a metadata file. Raises MetadataError."""
    _check_head(content)
    yield from _pieces(content)


def _check_head(content: bytes) -> None:
    start = content.find(_BEGIN)
    head = content[: start if start >= 0 else len(content)]
    if b"<metadata" not in head and b"<filelists" not in head:
        raise MetadataError("it is no rpm-md metadata")


def _pieces(content: bytes) -> Iterator[bytes]:
    start = content.find(_BEGIN)
    while start >= 0:
        following = content.find(_BEGIN, start + len(_BEGIN))
        end = content.rfind(_END, start, following if following >= 0 else len(content))
        if end < 0:
            raise MetadataError("it ends within a package")
        yield content[start : end + len(_END)]
        start = following


def outside_primary(path: str) -> bool:
    """Whether only filelists.xml can tell who has this file."""
    return _IN_PRIMARY.fullmatch(path) is None


def required_files(content: bytes) -> frozenset[str]:
    """Paths that dependencies in a primary.xml name and that only filelists.xml lists."""
    found: set[str] = set()
    for raw in re.findall(rb'name="([/(][^"]*)"', content):
        name = unescape(raw.decode("utf-8", "replace"), {"&quot;": '"'})
        found.update([name] if name.startswith("/") else paths_in(name))
    return frozenset(path for path in found if outside_primary(path))


def paths_in(dependency: str) -> Iterator[str]:
    """The files that a dependency, rich ones included, names."""
    if dependency.startswith("/"):
        yield dependency.split(maxsplit=1)[0]
    elif dependency.startswith("("):
        yield from (word for word in re.findall(r"[^\s()]+", dependency) if word[0] == "/")


def owners(content: bytes, wanted: Iterable[str]) -> dict[str, list[list[str]]]:
    """For each wanted path, [name, checksum] of the packages that have it (filelists.xml)."""
    by_bytes = {escape(path).encode(): path for path in wanted}
    result: dict[str, set[tuple[str, str]]] = {path: set() for path in by_bytes.values()}
    keys = frozenset(by_bytes)
    for block in _blocks(content, _BLOCK):
        plain = re.sub(rb"<file type=\"[a-z]+\">", b"<file>", block)
        plain = plain.replace(b"</file>", b"<file>")
        for piece in plain.split(b"<package ")[1:]:
            # Set arithmetic on the split text: a loop over 10^7 files would take a minute.
            parts = piece.split(b"<file>")
            for key in keys.intersection(parts):
                pkgid, name = _OWNER.search(parts[0]), _OWNER_NAME.search(parts[0])
                if pkgid is not None and name is not None:
                    owner = unescape(name[1].decode("utf-8", "replace")), pkgid[1].decode()
                    result[by_bytes[key]].add(owner)
    return {path: [list(owner) for owner in sorted(found)] for path, found in result.items()}


def excluding(patterns: Sequence[str]) -> Callable[[str, str, str], bool]:
    """The `keep` of `canonical`: no sources, and none that dnf's excludes name."""
    exact = re.compile("|".join(fnmatch.translate(p) for p in patterns)) if patterns else None

    def keep(name: str, evr: str, arch: str) -> bool:
        if arch in ("src", "nosrc"):
            return False
        if exact is None:
            return True
        epoch, _, vr = evr.partition(":")
        forms = [name, f"{name}.{arch}", f"{name}-{vr}", f"{name}-{vr}.{arch}"]
        forms += [f"{name}-{epoch}:{vr}", f"{name}-{epoch}:{vr}.{arch}"]
        return not any(exact.match(form) for form in forms)

    return keep


def only_sources(name: str, evr: str, arch: str) -> bool:
    """The `keep` of `canonical` for a repository of source packages."""
    return arch in ("src", "nosrc")


def _blocks(content: bytes, size: int) -> Iterator[bytes]:
    """The content in blocks that begin and end between packages."""
    start = 0
    while start < len(content):
        end = start + size
        if end < len(content):
            end = content.find(b"<package ", end)
            end = len(content) if end < 0 else end
        yield content[start:end]
        start = end

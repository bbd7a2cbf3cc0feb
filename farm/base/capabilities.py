"""What a file of a package stands for in Fedora's words: perl(X), python3dist(x), pkgconfig(x)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from farm.base.rpmfile import Capability

_PERL_ROOTS = re.compile(
    r"/(?:usr/share/perl5|usr/share/perl/5[\d.]*|usr/lib/[^/]+/perl-base"
    r"|usr/lib/[^/]+/perl5?/5[\d.]*)/(.+)\.pm"
)
_PERL_VERSION = re.compile(
    rb"^\s*(?:our\s+|use\s+vars[^;]*;\s*)?\$(?:[\w:]+::)?VERSION\s*=\s*(?:version->\w+\(\s*)?"
    rb"[\"']?v?([\d._]+)[\"']?",
    re.MULTILINE,
)
_PERL_PACKAGE_VERSION = re.compile(rb"^\s*package\s+([\w:]+)\s+v?([\d._]+)\s*[;{]", re.MULTILINE)
_DIST = re.compile(
    r"/usr/lib/python3/dist-packages/([^/]+)\.(?:dist|egg)-info(/METADATA|/PKG-INFO)?"
)
_PC = re.compile(r"/usr/(?:lib/[^/]+|lib|share)/pkgconfig/([^/]+)\.pc")
_NAME = re.compile(r"^Name:\s*(\S+)", re.MULTILINE)
_VERSION = re.compile(r"^Version:\s*(\S+)", re.MULTILINE)


def perl(path: str, data: bytes) -> Iterator[Capability]:
    """perl(A::B) = version, for a module in Perl's own search path."""
    match = _PERL_ROOTS.fullmatch(path)
    if match is None or not re.match(r"[A-Za-z_]", match[1]):
        return
    module = match[1].replace("/", "::")
    version = ""
    head = data[:65536]
    for name, found in _PERL_PACKAGE_VERSION.findall(head):
        if name.decode() == module:
            version = found.decode()
    if not version:
        found_version = _PERL_VERSION.search(head)
        version = found_version[1].decode() if found_version is not None else ""
    version = version.replace("_", "").strip(".")
    yield Capability(f"perl({module})", "=", version) if version else Capability(f"perl({module})")


def python(path: str, data: bytes) -> Iterator[Capability]:
    """python3dist(x) = version and python3.13dist(x), for an installed distribution."""
    match = _DIST.fullmatch(path)
    if match is None or not data:
        return
    text = data.decode("utf-8", "replace")
    name, version = _NAME.search(text), _VERSION.search(text)
    if name is None or version is None:
        return
    normal = re.sub(r"[-_.]+", "-", name[1]).lower()
    release = re.sub(r"(?:\.0)+$", "", version[1])  # rpm's own generator drops them as well
    for kind in ("python3dist", "python3.13dist"):
        yield Capability(f"{kind}({normal})", "=", release)


def pkgconfig(path: str, data: bytes) -> Iterator[Capability]:
    """pkgconfig(x) = version."""
    match = _PC.fullmatch(path)
    if match is None:
        return
    text = data.decode("utf-8", "replace")
    variables = dict(re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", text, re.MULTILINE))
    found = _VERSION.search(text)
    version = _expand(found[1], variables) if found is not None else ""
    if version:
        yield Capability(f"pkgconfig({match[1]})", "=", version)
    else:
        yield Capability(f"pkgconfig({match[1]})")


def of_files(files: Iterable[tuple[str, bytes]]) -> frozenset[Capability]:
    """All of them, for the regular files of a package."""
    found: set[Capability] = set()
    for path, data in files:
        if path.endswith(".pm"):
            found.update(perl(path, data))
        elif path.endswith(".pc"):
            found.update(pkgconfig(path, data))
        elif "-info" in path:
            found.update(python(path, data))
    return frozenset(found)


def _expand(text: str, variables: Mapping[str, str]) -> str:
    for _ in range(4):
        text = re.sub(r"\$\{(\w+)\}", lambda match: variables.get(match[1], ""), text)
    return text

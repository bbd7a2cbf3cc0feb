"""rpm-md in the one form that the rest of farm reads: the form that createrepo writes.

Other generators, and hostile ones, write the same XML in other words: other quotes and prefixes,
character references, comments, CDATA. What is not in the usual form is parsed and written anew,
so that a search in its bytes finds what libsolv will find. libsolv passes over a dependency that
it cannot read, and the package would look as though it did not have it: here such a package gets
a requirement that nothing fulfils.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape, unescape

import solv

from farm.plan.metadata.primary import assembled
from farm.plan.metadata.richdeps import excess
from farm.plan.metadata.unpack import MetadataError

MALFORMED = "malformed: "  # so begins a requirement that nothing fulfils
_ROOT = re.compile(
    rb'\s*(?:<\?xml version="1\.0"(?: encoding="(?:UTF|utf)-8")?\s*\?>\s*)?<(metadata|filelists)'
    rb'((?: xmlns="http://linux\.duke\.edu/metadata/(?:common|filelists)"'
    rb'| xmlns:rpm="http://linux\.duke\.edu/metadata/rpm"| packages="\d+")*)\s*>'
)
_HEAD = re.compile(
    rb'<package type="rpm">\s*<name>([A-Za-z0-9_][A-Za-z0-9._+%{}~^-]{0,254})</name>'
    rb'\s*<arch>(\w+)</arch>\s*<version epoch="(\d{0,9})" ver="([A-Za-z0-9._+%{}~^]+)"'
    rb' rel="([A-Za-z0-9._+%{}~^]+)"\s*/>'
    rb'\s*<checksum type="(?:sha|sha1|sha224|sha256|sha384|sha512|md5)" pkgid="YES">'
    rb"([0-9a-f]+)</checksum>"
)
_PKGID = re.compile(rb'<checksum type="\w+" pkgid="YES">([0-9a-f]+)</checksum>')
_OWNER = re.compile(rb'<package pkgid="([0-9a-f]+)" name="[^"<]+"(?: arch="\w+")?>')
_LOCATIONS = (b'<location href="', b'<location xml:base="')
_PIECE = 4 << 20
_SAMPLE = 1 << 20  # a generator does not change its quotes in the middle
_EDGE = 4096  # bytes: a copy of the whole takes as much memory again
_USUAL: set[bytes] = set()  # sha256 of what was found in that form: looking takes a second
_KINDS = (
    "provides", "requires", "conflicts", "obsoletes", "recommends", "suggests", "supplements",
    "enhances",
)  # fmt: skip
# Possessive, so that a file of megabytes without a closing quote is looked at once.
_TEXT = rb'[^"&<\x00-\x1f]*+(?:&(?:amp|lt|gt|quot|apos);[^"&<\x00-\x1f]*+)*+'
_ENTRY = (
    rb'<rpm:entry name="(?!")%b"'
    rb'(?: flags="(?:EQ|GE|LE|GT|LT)"(?: epoch="\d*+")? ver="(?!")%b"(?: rel="%b")?)?'
    rb'(?: pre="\w*+")?\s*+/>' % (_TEXT, _TEXT, _TEXT)
)
_IRREGULAR = re.compile(
    rb"<rpm:(?!entry |(?:%b)>(?:\s*+%b)*+\s*+</rpm:"
    rb"|(?:license|vendor|group|buildhost|sourcerpm)(?:\s*/)?>|header-range )"
    % ("|".join(_KINDS).encode(), _ENTRY)
)
# libsolv keeps the last `<rpm:requires>` of a package: in this order there is one of each.
_LATER = rb"(?:file|/format>|rpm:(?:recommends|suggests|supplements|enhances)>)"
_DISORDER = re.compile(
    rb"</rpm:(?:provides>(?!\s*<(?:rpm:(?:requires|conflicts|obsoletes)>|%b))"
    rb"|requires>(?!\s*<(?:rpm:(?:conflicts|obsoletes)>|%b))"
    rb"|conflicts>(?!\s*<(?:rpm:obsoletes>|%b))"
    rb"|(?:obsoletes|recommends|suggests|supplements|enhances)>(?!\s*<%b))"
    rb"|</file>\s*<rpm:" % (_LATER, _LATER, _LATER, _LATER)
)
_RICH = re.compile(rb'<rpm:entry name="(\([^"]*)"')
_BINDING = ("requires", "conflicts", "obsoletes")
_FLAGS = ("EQ", "GE", "LE", "GT", "LT")
_WORD = re.compile(r"(?![-.])[\w.+%{}~^@,:-]{1,255}")
_VERSION = re.compile(r"[\w.+%{}~^@,]{1,255}")
_EPOCH = re.compile(r"[0-9]{0,9}")
_ARCH = re.compile(r"\w{1,64}")
_HEX = re.compile(r"[0-9a-f]{32,128}")
_CHECKSUMS = ("sha", "sha1", "sha224", "sha256", "sha384", "sha512", "md5")

_Head = tuple[bytes, ...]  # name, architecture, epoch, version, release, checksum


def regular_primary(content: bytes) -> bytes:
    """primary.xml as createrepo writes it, every package that it announces in it.

    Raises MetadataError when it is not well-formed or not complete, when a package in it lacks
    what identifies it, and for dependencies that libsolv would not survive.
    """
    digest = hashlib.sha256(content).digest()
    if digest in _USUAL:
        return content
    regular = _regular_primary(content)
    if regular is content:
        _USUAL.add(digest)
    return regular


def _regular_primary(content: bytes) -> bytes:
    count = _announced(content, "metadata")
    heads: list[_Head] = _HEAD.findall(content)
    usual = _is_framed(content, len(heads)) and _is_usual(content, len(heads))
    if not usual or not _rich_are_well_formed(content):
        content, heads = _rewritten_primary(content)
    _check_count(len(heads), count)
    _check_identities(heads)
    return content


def regular_filelists(content: bytes) -> bytes:
    """filelists.xml as createrepo writes it, complete. Raises MetadataError."""
    count = _announced(content, "filelists")
    found = len(_OWNER.findall(content))
    files = content.count(b"<file") - content.count(b"</file>")
    usual = files == 1 and b"='" not in content[:_SAMPLE] and b"&#" not in content
    if not usual or not _is_framed(content, found):
        pieces = list(_rewritten_filelists(content))
        content, found = b"<filelists>\n" + b"".join(pieces) + b"</filelists>\n", len(pieces)
    _check_count(found, count)
    return content


def checksums_in(primary: bytes) -> frozenset[bytes]:
    """Checksums of the packages in a regular primary.xml."""
    return frozenset(_PKGID.findall(primary))


def owners_in(filelists: bytes) -> frozenset[bytes]:
    """Checksums of the packages in a regular filelists.xml."""
    return frozenset(_OWNER.findall(filelists))


def parse(content: bytes) -> ElementTree.Element:
    """Any other XML document. Raises MetadataError, for one that declares entities as well."""
    if b"<!ENTITY" in content or b"\0" in content:
        raise MetadataError("it declares XML entities, or is not in UTF-8")
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise MetadataError(str(error)) from error


def _announced(content: bytes, root: str) -> int | None:
    """How many packages it says that it has, None where it does not say."""
    if not content[:_EDGE].strip() and not content.strip():
        raise MetadataError("it is empty")
    start = content[:4096]
    if b"<html" in start.lower():
        raise MetadataError("it is a web page, no rpm-md metadata")
    if b"<" + root.encode() not in start:
        raise MetadataError("it is no rpm-md metadata")
    tag = re.search(rb"<%b\s[^>]*" % root.encode(), start)
    count = re.search(rb"\spackages\s*=\s*[\"'](\d{1,12})[\"']", tag[0]) if tag else None
    return int(count[1]) if count else None


def _is_framed(content: bytes, count: int) -> bool:
    """Whether it is `count` packages within the usual root, and nothing but elements and text."""
    root = _ROOT.match(content)
    return (
        root is not None
        and content[-_EDGE:].rstrip().endswith(b"</" + root[1] + b">")
        and content.count(b"</package>") == content.count(b"<package ") == count
        and b"<!" not in content
        and content.find(b"xmlns:", root.end()) < 0
    )


def _is_usual(content: bytes, count: int) -> bool:
    """Whether its packages are as createrepo writes them."""
    return (
        sum(content.count(start) for start in _LOCATIONS) == count
        and content.count(b"<format>") == content.count(b"</format>") == count
        and b"<entry" not in content
        and content.count(b":entry") == content.count(b"<rpm:entry")
        and _IRREGULAR.search(content) is None
        and _DISORDER.search(content) is None
    )


def _check_count(found: int, announced: int | None) -> None:
    if announced is not None and found < announced:
        raise MetadataError(f"it announces {announced} packages and lists {found}")


def _check_identities(heads: list[_Head]) -> None:
    """Locks and the store know a package by its checksum."""
    known: dict[bytes, _Head] = {}
    for head in heads:
        other = known.setdefault(head[5], head)
        if other is not head and other[:5] != head[:5]:
            raise MetadataError(f"{_shown(other)} and {_shown(head)} have the same checksum in it")


def _shown(head: _Head) -> str:
    name, arch, _, version, release, *_ = (part.decode() for part in head)
    return f"{name}-{version}-{release}.{arch}"


def _rich_are_well_formed(content: bytes) -> bool:
    parser = solv.Pool()
    for raw in {match[1] for match in _RICH.finditer(content)}:
        text = unescape(raw.decode("utf-8", "replace"), {"&quot;": '"', "&apos;": "'"})
        _check_rich(text)
        if parser.parserpmrichdep(text) is None:
            return False
    return True


def _check_rich(text: str) -> None:
    reason = excess(text)
    if reason:
        shown = text if len(text) <= 60 else text[:60] + "…"
        raise MetadataError(f"a dependency in it {reason}: {shown}")


def _elements(content: bytes) -> Iterator[ElementTree.Element]:
    """The `<package>` elements, each gone when the next is asked for."""
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise MetadataError("it declares XML entities, which rpm-md does not have")
    parser: Any = ElementTree.XMLPullParser(("start", "end"))
    root: ElementTree.Element | None = None
    depth = 0
    try:
        # In large pieces: what begins in a piece and does not end is read again with the next.
        for start in range(0, len(content), _PIECE):
            parser.feed(content[start : start + _PIECE])
            for event, element in parser.read_events():
                root = element if root is None else root
                depth += 1 if event == "start" else -1
                if depth == 1 and event == "end":
                    if _local(element) == "package":
                        yield element
                    root.clear()
        parser.close()
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        if isinstance(error, MetadataError):
            raise
        raise MetadataError(f"its XML is not well-formed: {error}") from error


def _local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _child(element: ElementTree.Element, name: str) -> ElementTree.Element:
    for child in element:
        if _local(child) == name:
            return child
    return ElementTree.Element(name)


def _rewritten_primary(content: bytes) -> tuple[bytes, list[_Head]]:
    parser = solv.Pool()
    heads, pieces = [], []
    for element in _elements(content):
        head = _head(element)
        heads.append(tuple(part.encode() for part in head))
        pieces.append(_package(element, head, parser).encode())
    return assembled(pieces), heads


def _rewritten_filelists(content: bytes) -> Iterator[bytes]:
    for element in _elements(content):
        pkgid = element.get("pkgid", "").strip().lower()
        name = element.get("name", "")
        if not re.fullmatch("[0-9a-f]+", pkgid) or not name:
            raise MetadataError(f"package {name!r} in it has no checksum or no name")
        files = "".join(
            f"<file>{escape(child.text or '')}</file>"
            for child in element
            if _local(child) == "file"
        )
        yield f'<package pkgid="{pkgid}" name="{_quoted(name)}">{files}</package>\n'.encode()


def _head(element: ElementTree.Element) -> tuple[str, ...]:
    """Name, architecture, epoch, version, release and checksum of a package."""

    def text(name: str) -> str:
        return (_child(element, name).text or "").strip()

    version, checksum = _child(element, "version"), _child(element, "checksum")
    kind = checksum.get("type", "").strip().lower()
    if kind not in _CHECKSUMS:
        raise MetadataError(f"package {text('name')!r} in it has a checksum of the type {kind!r}")
    head = {
        "name": (_WORD, text("name")),
        "architecture": (_ARCH, text("arch")),
        "epoch": (_EPOCH, version.get("epoch", "").strip()),
        "version": (_VERSION, version.get("ver", "").strip()),
        "release": (_VERSION, version.get("rel", "").strip()),
        "checksum": (_HEX, text("checksum").lower()),
    }
    for what, (pattern, value) in head.items():
        if not pattern.fullmatch(value):
            it = f"an impossible {what}, {value[:60]!r}" if value else f"no {what}"
            raise MetadataError(f"package {text('name')[:60]!r} in it has {it}")
    return *(value for _, value in head.values()), kind


def _package(element: ElementTree.Element, head: tuple[str, ...], parser: Any) -> str:
    """One package in the usual words, with what solving and fetching need."""
    name, arch, epoch, version, release, checksum, kind = head
    place = _child(element, "location")
    href, base = place.get("href", ""), place.get("{http://www.w3.org/XML/1998/namespace}base")
    if not href:
        raise MetadataError(f"package {name!r} in it has no location")
    format_ = _child(element, "format")
    parts = [
        f'<package type="rpm"><name>{name}</name><arch>{arch}</arch>'
        f'<version epoch="{epoch}" ver="{version}" rel="{release}"/>'
        f'<checksum type="{kind}" pkgid="YES">{checksum}</checksum>'
    ]
    size = _child(element, "size").get("package", "").strip()
    if re.fullmatch(r"[0-9]{1,15}", size):
        parts.append(f'<size package="{size}"/>')
    parts.append(f'<location href="{_quoted(href)}"')
    parts.append(f' xml:base="{_quoted(base)}"/><format>' if base else "/><format>")
    source = (_child(format_, "sourcerpm").text or "").strip()
    parts.append(f"<rpm:sourcerpm>{escape(source)}</rpm:sourcerpm>" if source else "")
    for kind, entries in _dependencies(format_, parser).items():
        parts.append(f"<rpm:{kind}>{''.join(entries)}</rpm:{kind}>" if entries else "")
    for child in format_:
        if _local(child) == "file" and child.text:
            parts.append(f"<file>{escape(child.text)}</file>")
    parts.append("</format></package>\n")
    return "".join(parts)


def _dependencies(format_: ElementTree.Element, parser: Any) -> dict[str, list[str]]:
    result: dict[str, list[str]] = {kind: [] for kind in _KINDS}
    for group in format_:
        kind = _local(group)
        for entry in group if kind in result else ():
            if _local(entry) != "entry":
                continue
            text = _entry(entry, parser)
            if text:
                result[kind].append(text)
            elif kind in _BINDING:
                words = (entry.get(key, "") for key in ("name", "flags", "ver"))
                shown = " ".join(" ".join(words).split())[:200]
                result["requires"].append(f'<rpm:entry name="{_quoted(MALFORMED + shown)}"/>')
    return result


def _entry(entry: ElementTree.Element, parser: Any) -> str:
    """A dependency in the usual words, "" for one that cannot be read."""
    name, flags, version = (entry.get(key, "").strip() for key in ("name", "flags", "ver"))
    if not name or re.search(r"[\x00-\x1f\x7f]", name + version):
        return ""
    if name.startswith("("):
        _check_rich(name)
        if parser.parserpmrichdep(name) is None:
            return ""
    words = [f'<rpm:entry name="{_quoted(name)}"']
    if flags:
        if flags not in _FLAGS or not version:
            return ""
        epoch, release = (entry.get(key, "").strip() for key in ("epoch", "rel"))
        words.append(f' flags="{flags}"')
        words.append(f' epoch="{epoch}"' if re.fullmatch("[0-9]+", epoch) else "")
        words.append(f' ver="{_quoted(version)}"')
        words.append(f' rel="{_quoted(release)}"' if release else "")
    words.append(' pre="1"/>' if entry.get("pre", "0") not in ("", "0") else "/>")
    return "".join(words)


def _quoted(text: str) -> str:
    return escape(text, {'"': "&quot;", "\n": " ", "\r": " ", "\t": " "})

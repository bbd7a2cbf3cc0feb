"""Valid repodata, altered at random: the same seed alters it in the same way."""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import unescape

from tests.hostile import repodata
from tests.repositories import Comps, Rpm, repository, write_repository
from tests.verdicts import Child, Question, Verdict

WANTED = (("app",), ("@g",), ("tool", "/usr/share/data/x"), ("@g", "rich"), ("mod",))
_PACKAGES = (
    Rpm("app", "1:2-3", requires=("lib >= 1.0", "/usr/bin/tool", "/usr/share/data/x", "cap(x)")),
    Rpm("lib", "1.5-1", provides=("cap(x) = 2", "lib.so.1()(64bit)"), conflicts=("old < 2",)),
    Rpm("tool", files=("/usr/bin/tool", "/usr/share/doc/tool"), requires=("lib.so.1()(64bit)",)),
    Rpm("data", arch="noarch", files=("/usr/share/data/x", "/etc/data.conf")),
    Rpm("rich", requires=("(tool or gone)", "(lib >= 1 with lib < 2)", "(data if tool else app)")),
    Rpm("old", "1-1", obsoletes=("older < 3",), recommends=("data",)),
    Rpm("loop", requires=("pool",)), Rpm("pool", requires=("loop",), supplements=("app",)),
    Rpm("mod", "2-1"), Rpm("mod", "3-1"),
)  # fmt: skip
_MODULES = """\
---
document: modulemd-defaults
version: 1
data:
  module: mod
  stream: "2"
...
---
document: modulemd
version: 2
data:
  name: mod
  stream: "2"
  artifacts:
    rpms:
    - mod-0:2-1.x86_64
...
---
document: modulemd
version: 2
data:
  name: mod
  stream: 3
  artifacts:
    rpms:
    - mod-0:3-1.x86_64
...
"""
_TOKENS = (
    b"<", b">", b"/>", b'"', b"'", b"&", b"&amp;", b"&#40;", b"&#x0;", b"\0", b"\xff", b"\xc3\x28",
    b"(", b")" * 120, b"(" * 120, b" or ", b" and ", b" if ", b" with ", b" unless ", b"]]>",
    b"<![CDATA[", b"]]>", b"<!--", b"-->", b'<!DOCTYPE x [<!ENTITY a "b">]>', b"</package>",
    b'<package type="rpm">', b"<rpm:requires>", b"</rpm:requires>", b"<format>", b"</format>",
    b'<rpm:entry name="gone"/>', b"-1", b"99999999999999999999", b"", b" ", b"\n", b"\t", b"/",
    b"../", b"file:///etc/passwd", b"http://", b"EQ", b"GE", b"xmlns:rpm", b"rpm:", b"A" * 5000,
    b"\xe2\x80\xae", b"%s%n", b"0", b":", b"- ", b"---\n", b"...\n", b"  ", b"{", b"[]", b"epoch",
)  # fmt: skip
_UNREAD = re.compile(  # farm does not look into these, nor between elements
    rb"<(summary|description|packager|url|rpm:license)>[^<]*</\1>|(?<=>)[^<>]+(?=</?package)"
    rb"|<(?:summary|description|packager|url|time|size)[^<>]*/>"
)
_FOREIGN = re.compile(rb"<(/?)(?!rpm:)\w+:")
_VALUE = re.compile(rb'"[^"]*"|>[^<]+<')


def valid(directory: Path) -> dict[str, bytes]:
    """The metadata files of a small repository that has something of everything."""
    groups = [Comps("g", ["app"], default=["rich"], optional=["old"])]
    base = write_repository(
        directory, _PACKAGES, groups=groups, modules=_MODULES, compression="none"
    )
    kinds = ("primary", "filelists", "group", "modules")
    return {kind: (base / f"repodata/{kind}.xml").read_bytes() for kind in kinds}


def altered(parts: Mapping[str, bytes], seed: int) -> dict[str, bytes]:
    """The parts with a few alterations, most of them in primary."""
    rng = random.Random(seed)
    result = dict(parts)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        kind = rng.choice(("primary", "primary", "primary", *parts))
        result[kind] = _altered(result[kind], rng)
    if rng.random() < 0.05:
        del result[rng.choice(("filelists", "group", "modules"))]
    return result


def altered_bytes(content: bytes, seed: int) -> bytes:
    """One file with one to three alterations."""
    rng = random.Random(seed)
    for _ in range(rng.randrange(1, 4)):
        content = _altered(content, rng)
    return content


def _altered(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content) + 1)
    until = min(len(content), at + int(rng.paretovariate(0.5)))
    token = rng.choice(_TOKENS)
    values = [match.span() for match in _VALUE.finditer(content)]
    start, end = rng.choice(values) if values else (at, until)
    other = rng.choice(values) if values else (at, until)
    lines = content.splitlines(keepends=True)
    line = rng.randrange(len(lines)) if lines else 0
    return rng.choice((
        lambda: content[:at] + content[until:],
        lambda: content[:at],
        lambda: content[:at] + token + content[at:],
        lambda: content[:at] + token + content[until:],
        lambda: content[: start + 1] + token + content[end - 1 :],
        lambda: content[: end - 1] + token + content[end - 1 :],
        lambda: content[:start] + content[slice(*other)] + content[end:],
        lambda: content[:at] + content[at:until] * 3 + content[until:],
        lambda: b"".join(lines[:line] + lines[line + 1 :]),
        lambda: b"".join(lines[:line] + lines[line : line + 1] * 2 + lines[line + 1 :]),
        lambda: content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :],
    ))()  # fmt: skip


def wrong_answers(child: Child, directory: Path, seeds: Iterable[int]) -> Iterator[str]:
    """Seeds whose repository crashed farm, or got a lock that its metadata does not bear out."""
    parts = valid(directory / "valid")
    for seed in seeds:
        changed = altered(parts, seed)
        place = directory / str(seed)
        base = repodata(place / "base", changed)
        wanted = WANTED[seed % len(WANTED)]
        site = any(text.startswith("@") for text in wanted)
        answer = child.ask(Question((repository(base),), place, wanted, site=site))
        if answer.kind not in ("lock", "problem", "error"):
            yield f"seed {seed}: {answer.kind}: {answer.text}"
        elif answer.kind == "lock":
            broken = unfulfilled(changed, answer)
            if broken:
                yield f"seed {seed}: locked {answer.text}, but {broken}"


def unfulfilled(parts: Mapping[str, bytes], lock: Verdict) -> str:
    """A plain requirement of a locked package that no locked package provides, or "".

    The metadata is read anew, by a parser of XML and in the simplest way.
    """
    try:
        root = ElementTree.fromstring(_UNREAD.sub(b"", parts["primary"]))
    except ElementTree.ParseError as error:
        root = _whole_packages(parts["primary"])
        if not len(root):
            return f"its primary.xml is damaged: {error}"
    every = [_read(element) for element in root if _local(element) == "package"]
    files = _files(parts.get("filelists", b""))
    chosen = [(name, needs, has | files.get(pkgid, set())) for name, pkgid, needs, has in every]
    locked = set(lock.packages)
    chosen = [(name, needs, has) for name, needs, has in chosen if name in locked]
    if {name for name, _, _ in chosen} != locked:
        return f"these are not in its metadata: {locked - {name for name, _, _ in chosen}}"
    provided = set().union(*(has for _, _, has in chosen))
    for name in locked:
        lacking = [needs - provided for each, needs, _ in chosen if each == name]
        if all(lacking):
            return f"{name} lacks {sorted(lacking[0])}"
    return ""


def _whole_packages(primary: bytes) -> ElementTree.Element:
    """Those packages that are well-formed: what is excluded is not looked at any further."""
    root = ElementTree.Element("metadata")
    for piece in primary.split(b"<package ")[1:]:
        with contextlib.suppress(ElementTree.ParseError):
            text = b'<x xmlns:rpm="r"><package ' + piece.rpartition(b"</package>")[0]
            text = _FOREIGN.sub(rb"<\1", _UNREAD.sub(b"", text))
            root.append(ElementTree.fromstring(text + b"</package></x>")[0])
    return root


def _read(package: ElementTree.Element) -> tuple[str, str, set[str], set[str]]:
    """(NEVRA, checksum, names required, names provided)."""
    found = {_local(child): child for child in reversed(package)}
    text = {name: (child.text or "").strip() for name, child in found.items()}
    version = found["version"].attrib
    epoch = version.get("epoch", "").strip()
    prefix = f"{int(epoch)}:" if epoch.strip("0") else ""
    evr = f"{prefix}{version['ver'].strip()}-{version['rel'].strip()}"
    needs: set[str] = set()
    has = {text["name"]}  # as rpm has it, whatever the list says
    for group in found.get("format", ()):
        names = {entry.get("name", "").strip() for entry in group if _local(entry) == "entry"}
        if _local(group) == "requires":
            needs |= {name for name in names if name[:1] != "(" and name[:7] != "rpmlib("}
        elif _local(group) == "provides":
            has |= names
        elif _local(group) == "file":
            has.add(group.text or "")
    return f"{text['name']}-{evr}.{text['arch']}", text["checksum"].lower(), needs, has


def _files(filelists: bytes) -> dict[str, set[str]]:
    """Without a parser: farm does not look at everything in it either."""
    return {
        owner[1].decode().lower(): {
            unescape(path.decode("utf-8", "replace"))
            for path in re.findall(rb"<file[^>]*>([^<]*)</file\s*>", piece)
        }
        for piece in filelists.split(b"<package")
        if (owner := re.search(rb"""pkgid\s*=\s*["']\s*([0-9a-fA-F]+)""", piece))
    }


def _local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""

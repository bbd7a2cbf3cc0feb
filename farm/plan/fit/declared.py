"""Packages that are not built yet, as their specs declare them, in the words of primary.xml.

What only a build reveals (sonames, `pkgconfig()`, files) is taken from the last build of the
same package, where there was one: more often than not it stays.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

from farm.model import Evaluation, Nevra

_FLAGS = {"=": "EQ", "==": "EQ", "<": "LT", "<=": "LE", ">": "GT", ">=": "GE"}
_OPERATORS = {"EQ": "=", "LT": "<", "LE": "<=", "GT": ">", "GE": ">="}
_RPM = "http://linux.duke.edu/metadata/rpm"
_COMMON = "http://linux.duke.edu/metadata/common"
_RELATIONS = ("provides", "requires", "conflicts", "obsoletes")
# `munge(x86-64)` is declared with the package; `pkgconfig(munge)`, `libm.so.2()(64bit)` are not.
_ISA = re.compile(r"\((x86|aarch|ppc|s390|arm|riscv)[-0-9a-z]*\)$")
_NAMESPACED = re.compile(r"[A-Za-z0-9_+.-]+\([^()]*\)|.*\.so[.0-9]*(\(|$)")


@dataclass(frozen=True)
class Declared:
    """What is known of a package before it is built; dependencies as rpm writes them."""

    nevra: Nevra
    provides: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    obsoletes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def piece(self) -> bytes:
        """The `<package>` element of a primary.xml. Its checksum is that of what it says."""
        n = self.nevra
        relations = "".join(
            f"<rpm:{kind}>{''.join(map(_entry, sorted(set(texts))))}</rpm:{kind}>"
            for kind in _RELATIONS
            if (texts := getattr(self, kind))
        )
        files = "".join(f"<file>{escape(path)}</file>" for path in sorted(set(self.files)))
        head = (
            f"<name>{escape(n.name)}</name><arch>{n.arch}</arch>"
            f'<version epoch="{n.epoch}" ver={quoteattr(n.version)} rel={quoteattr(n.release)}/>'
        )
        tail = (
            f'<size package="0"/><location href={quoteattr(n.filename)}/>'
            f"<format>{relations}{files}</format></package>"
        )
        digest = hashlib.sha256(f"{head}{tail}".encode()).hexdigest()
        checksum = f'<checksum type="sha256" pkgid="YES">{digest}</checksum>'
        return f'<package type="rpm">{head}{checksum}{tail}'.encode()


def declared(
    evaluation: Evaluation, last: Mapping[tuple[str, str], bytes], *, requires: bool = True
) -> tuple[Declared, ...]:
    """The binary packages of a spec; `last` has the pieces of its last build by name and arch.

    Without `requires`, what that build found to be required is not expected of the next.
    """
    needs, conflicts, obsoletes = (
        dict(texts) for texts in (evaluation.requires, evaluation.conflicts, evaluation.obsoletes)
    )
    found = []
    for nevra, provides in evaluation.packages:
        before = last.get((nevra.name, nevra.arch))
        known = built_relations(before) if before is not None else {}
        found.append(
            Declared(
                nevra,
                _with_generated(provides, known.get("provides", ())),
                _with_generated(
                    needs.get(nevra.name, ()), known.get("requires", ()) if requires else ()
                ),
                conflicts.get(nevra.name, ()),
                obsoletes.get(nevra.name, ()),
                tuple(known.get("files", ())),
            )
        )
    return tuple(found)


def generated(requirement: str) -> bool:
    """Whether only a build can tell who provides this: sonames, `pkgconfig()`, files.

    >>> [generated(r) for r in ("pkgconfig(munge) >= 1", "libmunge.so.2()(64bit)", "/usr/bin/m")]
    [True, True, True]
    >>> [generated(r) for r in ("munge-devel", "munge(x86-64) = 1", "config(munge) = 1-1")]
    [False, False, True]
    """
    name = requirement.split(" ", 1)[0]
    return name.startswith("/") or bool(_NAMESPACED.match(name) and not _ISA.search(name))


def built_relations(piece: bytes) -> dict[str, tuple[str, ...]]:
    """provides, requires, conflicts, obsoletes and files in a `<package>` element."""
    opened = piece.replace(b"<package ", f'<package xmlns:rpm="{_RPM}" '.encode(), 1)
    root = ElementTree.fromstring(opened.replace(f' xmlns="{_COMMON}"'.encode(), b""))
    form = root.find("format")
    if form is None:
        return {}
    relations = {
        kind: tuple(_read_entry(entry) for entry in form.iterfind(f"{{{_RPM}}}{kind}/*"))
        for kind in _RELATIONS
    }
    return relations | {"files": tuple(_texts(form.iterfind("file")))}


def _texts(elements: Iterable[ElementTree.Element]) -> Iterator[str]:
    return (element.text for element in elements if element.text)


def _with_generated(said: Iterable[str], built: Iterable[str]) -> tuple[str, ...]:
    """What the spec says, and of the last build what no spec says."""
    own = tuple(said)
    names = {text.split(" ", 1)[0] for text in own}
    return (
        *own,
        *(
            text
            for text in built
            if generated(text)
            and text.split(" ", 1)[0] not in names
            # it carries the version-release of that build
            and not text.startswith("config(")
        ),
    )


def _entry(text: str) -> str:
    words = text.split()
    if text.startswith("(") or len(words) != 3 or words[1] not in _FLAGS:
        return f"<rpm:entry name={quoteattr(text)}/>"
    name, operator, evr = words
    epoch, colon, rest = evr.rpartition(":")
    version, dash, release = rest.partition("-")
    return (
        f'<rpm:entry name={quoteattr(name)} flags="{_FLAGS[operator]}"'
        f' epoch="{epoch if colon else "0"}" ver={quoteattr(version)}'
        + (f" rel={quoteattr(release)}" if dash else "")
        + "/>"
    )


def _read_entry(entry: ElementTree.Element) -> str:
    name, operator = entry.get("name", ""), _OPERATORS.get(entry.get("flags", ""))
    if operator is None:
        return name
    epoch, version, release = (entry.get(key) for key in ("epoch", "ver", "rel"))
    evr = (f"{epoch}:" if epoch not in (None, "", "0") else "") + (version or "")
    return f"{name} {operator} {evr}" + (f"-{release}" if release else "")

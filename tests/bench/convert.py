"""Debian's indexes as rpm-md, with dpkg's meaning kept.

rpm orders versions differently from dpkg, so a version becomes its rank among all the versions
of its name that occur anywhere. An unversioned Provides fulfils no versioned dependency in
Debian, but does in rpm: a versioned relation speaks of `name@v`, which real packages and
versioned Provides have, an unversioned one of `name`. `name:any` is a capability of its own.
Every package and every source needs the essential packages, every source build-essential.
"""

from __future__ import annotations

import functools
import hashlib
import json
import random
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import zstandard

_ARCH = "amd64"
_WILDCARDS = frozenset((_ARCH, "any", "linux-any", "any-amd64", "linux-amd64", "gnu-any-any"))
_ATOM = re.compile(
    r"\s*([^\s:\[(<|]+)(?::([^\s\[(<|]+))?\s*(?:\(\s*(<<|<=|=|>=|>>|<|>)\s*([^\s)]+)\s*\))?"
    r"\s*(?:\[([^\]]*)\])?\s*((?:<[^>]*>\s*)*)"
)
_OPERATORS = {"<<": "LT", "<=": "LE", "=": "EQ", ">=": "GE", ">>": "GT", "<": "LE", ">": "GE"}
_SIGNS = {"LT": "<", "LE": "<=", "EQ": "=", "GE": ">=", "GT": ">"}
_ESSENTIAL = "essential-packages"

Stanza = Mapping[str, str]


@dataclass(frozen=True)
class Atom:
    """One relation: `name:qualifier (operator version)`."""

    name: str
    qualifier: str
    operator: str
    version: str


def stanzas(path: Path) -> Iterator[Stanza]:
    """The paragraphs of an index, continuation lines joined."""
    for paragraph in path.read_text("utf-8").split("\n\n"):
        fields: dict[str, str] = {}
        last = ""
        for line in paragraph.splitlines():
            if line[:1] in " \t":
                fields[last] += line
            else:
                last, _, value = line.partition(":")
                fields[last] = value.strip()
        if fields:
            yield fields


def relations(text: str) -> Iterator[list[Atom]]:
    """The alternatives of each relation that hold on amd64 with no build profile active."""
    for part in text.split(","):
        if not part.strip():
            continue
        atoms = []
        for piece in part.split("|"):
            match = _ATOM.fullmatch(piece)
            if match is None:
                raise ValueError(f"not a relation: {piece!r}")
            name, qualifier, operator, version, arches, profiles = match.groups()
            if _for_arch(arches) and _for_profiles(profiles):
                qualifier = "" if qualifier in (None, "native", _ARCH) else qualifier
                atoms.append(Atom(name, qualifier, _OPERATORS.get(operator, ""), version or ""))
        if atoms:
            yield atoms


def _for_arch(text: str | None) -> bool:
    words = (text or "").split()
    if not words:
        return True
    if words[0].startswith("!"):
        return not any(word[1:] in _WILDCARDS for word in words)
    return any(word in _WILDCARDS for word in words)


def _for_profiles(text: str) -> bool:
    lists = re.findall(r"<([^>]*)>", text)
    return not lists or any(all(word.startswith("!") for word in terms.split()) for terms in lists)


@functools.cache
def version_key(version: str) -> tuple[object, ...]:
    """A key that sorts as dpkg compares versions."""
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, hyphen, revision = rest.rpartition("-")
    if not hyphen:
        upstream, revision = rest, ""
    return (int(epoch), _part(upstream), _part(revision))


def _part(text: str) -> tuple[object, ...]:
    key: list[object] = []
    for letters, digits in re.findall(r"(\D*)(\d*)", text):
        key += [(*map(_order, letters), 0), int(digits or 0)]
    return (*key, (0,), 0)


def _order(letter: str) -> int:
    if letter == "~":
        return -1
    return ord(letter) if letter.isalpha() else ord(letter) + 256


class Converter:
    """Ranks over all indexes together, so that any sources can be held against any base."""

    def __init__(self, indexes: Iterable[Path]) -> None:
        self._versioned: set[str] = set()
        self._any: set[str] = set()
        versions: dict[str, set[str]] = {}
        for index in indexes:
            for stanza in stanzas(index):
                versions.setdefault(stanza["Package"], set()).add(stanza["Version"])
                for atom in _all_atoms(stanza):
                    if atom.qualifier == "any":
                        self._any.add(atom.name)
                    if atom.operator:
                        self._versioned.add(atom.name)
                        versions.setdefault(atom.name, set()).add(atom.version)
        self._ranks = {name: _ranked(found) for name, found in versions.items()}

    def binaries(self, index: Path, directory: Path) -> int:
        """Write the rpm-md of a Packages file; how many packages."""
        packages = []
        essential = []
        for stanza in stanzas(index):
            if stanza.get("Essential") == "yes":
                essential.append(stanza["Package"])
            packages.append(self._binary(stanza))
        needs = "".join(_entry(name) for name in sorted(essential))
        packages.append(
            _package(_ESSENTIAL, "noarch", 1, "0" * 64, 0, f"{_ESSENTIAL}.rpm", {"requires": needs})
        )
        return _write(directory, packages, self._names(index, "x86_64"))

    def sources(self, index: Path, directory: Path) -> int:
        """Write the rpm-md of a Sources file; how many packages."""
        packages = [self._source(stanza) for stanza in stanzas(index) if _builds_here(stanza)]
        return _write(directory, packages, self._names(index, "src"))

    def _names(self, index: Path, arch: str) -> list[tuple[str, str, str]]:
        """What a package is called after the conversion, and its Debian name and version."""
        names = []
        for stanza in stanzas(index):
            if arch != "src" or _builds_here(stanza):
                name, version = stanza["Package"], stanza["Version"]
                here = "noarch" if arch != "src" and stanza["Architecture"] == "all" else arch
                names.append((f"{name}-{self._ranks[name][version]}-1.{here}", name, version))
        return names

    def _binary(self, stanza: Stanza) -> str:
        name, version = stanza["Package"], stanza["Version"]
        provides = self._provide(name, version, any_too=True)
        allowed = stanza.get("Multi-Arch") == "allowed"
        for (atom,) in relations(stanza.get("Provides", "")):
            provides += self._provide(atom.name, atom.version, any_too=allowed)
        needs = f"{stanza.get('Pre-Depends', '')},{stanza.get('Depends', '')}"
        against = f"{stanza.get('Conflicts', '')},{stanza.get('Breaks', '')}"
        return _package(
            name,
            "noarch" if stanza["Architecture"] == "all" else "x86_64",
            self._ranks[name][version],
            stanza["SHA256"],
            int(stanza["Size"]),
            stanza["Filename"],
            {
                "provides": "".join(dict.fromkeys(provides)),
                "requires": self._requires([needs]),
                "conflicts": self._conflicts([against]),
            },
        )

    def _source(self, stanza: Stanza) -> str:
        kinds = ("", "-Arch", "-Indep")
        return _package(
            stanza["Package"],
            "src",
            self._ranks[stanza["Package"]][stanza["Version"]],
            hashlib.sha256(f"{stanza['Package']} {stanza['Version']}".encode()).hexdigest(),
            0,
            f"{stanza['Directory']}/{stanza['Package']}.dsc",
            {
                "requires": _entry("build-essential")
                + self._requires([stanza.get(f"Build-Depends{kind}", "") for kind in kinds]),
                "conflicts": self._conflicts(
                    [stanza.get(f"Build-Conflicts{kind}", "") for kind in kinds]
                ),
            },
        )

    def _provide(self, name: str, version: str, *, any_too: bool) -> list[str]:
        names = [name, f"{name}:any"] if any_too and name in self._any else [name]
        entries = []
        for capability in names:
            entries.append(_entry(capability))
            if version and name in self._versioned:
                rank = self._ranks[name].get(version)
                if rank is not None:
                    entries.append(_entry(f"{capability}@v", "EQ", rank))
        return entries

    def _requires(self, texts: Iterable[str]) -> str:
        entries = [_entry(_ESSENTIAL)]
        for atoms in relations(",".join(texts)):
            if len(atoms) == 1:
                name, operator, rank = self._capability(atoms[0])
                entries.append(_entry(name, operator, rank))
            else:
                words = []
                for atom in atoms:
                    name, operator, rank = self._capability(atom)
                    words.append(f"{name} {_SIGNS[operator]} {rank}" if operator else name)
                entries.append(_entry(f"({' or '.join(words)})"))
        return "".join(dict.fromkeys(entries))

    def _conflicts(self, texts: Iterable[str]) -> str:
        entries = []
        for atoms in relations(",".join(texts)):
            entries += [_entry(*self._capability(atom)) for atom in atoms]
        return "".join(dict.fromkeys(entries))

    def _capability(self, atom: Atom) -> tuple[str, str, int]:
        name = f"{atom.name}:{atom.qualifier}" if atom.qualifier else atom.name
        if not atom.operator:
            return name, "", 0
        return f"{name}@v", atom.operator, self._ranks[atom.name][atom.version]


def _ranked(versions: Iterable[str]) -> dict[str, int]:
    ranks: dict[str, int] = {}
    last: object = None
    rank = 0
    for version in sorted(versions, key=version_key):
        if version_key(version) != last:
            rank += 1
            last = version_key(version)
        ranks[version] = rank
    return ranks


def _all_atoms(stanza: Stanza) -> Iterator[Atom]:
    for field in (
        "Pre-Depends", "Depends", "Conflicts", "Breaks", "Provides",
        "Build-Depends", "Build-Depends-Arch", "Build-Depends-Indep",
        "Build-Conflicts", "Build-Conflicts-Arch", "Build-Conflicts-Indep",
    ):  # fmt: skip
        for atoms in relations(stanza.get(field, "")):
            yield from atoms


def _builds_here(stanza: Stanza) -> bool:
    words = stanza.get("Architecture", "any").split()
    return any(word in _WILDCARDS or word == "all" for word in words)


def _entry(name: str, operator: str = "", rank: int = 0) -> str:
    told = f' flags="{operator}" epoch="0" ver="{rank}"' if operator else ""
    return f'<rpm:entry name="{escape(name)}"{told}/>'


def _package(
    name: str, arch: str, rank: int, sha256: str, size: int, href: str, kinds: Mapping[str, str]
) -> str:
    formats = "".join(f"<rpm:{kind}>{text}</rpm:{kind}>" for kind, text in kinds.items() if text)
    return (
        f'<package type="rpm"><name>{name}</name><arch>{arch}</arch>'
        f'<version epoch="0" ver="{rank}" rel="1"/>'
        f'<checksum type="sha256" pkgid="YES">{sha256}</checksum><summary/><description/>'
        f'<time file="1" build="1"/><size package="{size}" installed="0" archive="0"/>'
        f'<location href="{escape(href)}"/><format>{formats}</format></package>'
    )


def _write(directory: Path, packages: list[str], names: object = ()) -> int:
    repodata = directory / "repodata"
    repodata.mkdir(parents=True, exist_ok=True)
    plain = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<metadata xmlns="http://linux.duke.edu/metadata/common"'
        f' xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="{len(packages)}">\n'
        + "\n".join(packages)
        + "\n</metadata>\n"
    ).encode()
    packed = zstandard.ZstdCompressor(10).compress(plain)
    (repodata / "primary.xml.zst").write_bytes(packed)
    (repodata / "repomd.xml").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>1</revision>\n'
        '<data type="primary">'
        f'<checksum type="sha256">{hashlib.sha256(packed).hexdigest()}</checksum>'
        '<location href="repodata/primary.xml.zst"/>'
        f"<size>{len(packed)}</size><open-size>{len(plain)}</open-size></data>\n</repomd>\n"
    )
    (directory / "names.json").write_text(json.dumps(names))
    return len(packages)


def update(base: Path, directory: Path, changed: int, seed: int) -> int:
    """The repository `base` with so many packages changed: newer releases of them, of which some
    have a new requirement, a new conflict, or lack a Provides."""
    packed = (base / "repodata/primary.xml.zst").read_bytes()
    text = zstandard.ZstdDecompressor().decompress(packed, max_output_size=1 << 30).decode()
    packages = [line for line in text.splitlines() if line.startswith("<package ")]
    dice = random.Random(seed)
    for kind, place in enumerate(dice.sample(range(len(packages)), changed)):
        other = re.search("<name>([^<]*)", dice.choice(packages))
        piece = packages[place].replace(' rel="1"/><checksum', ' rel="2"/><checksum', 1)
        checksum = hashlib.sha256(piece.encode()).hexdigest()
        piece = re.sub('pkgid="YES">[0-9a-f]*', f'pkgid="YES">{checksum}', piece)
        entry = f'<rpm:entry name="{other[1] if other else ""}"/>'
        if kind % 4 == 1:
            piece = piece.replace("</rpm:requires>", f"{entry}</rpm:requires>")
        elif kind % 4 == 2:
            piece = re.sub("</rpm:conflicts>|(?<=</rpm:requires>)(?=</format>)",
                           f"{entry}</rpm:conflicts>", piece)  # fmt: skip
            if "<rpm:conflicts>" not in piece:
                piece = piece.replace(entry, f"<rpm:conflicts>{entry}")
        elif kind % 4 == 3:
            piece = re.sub("<rpm:entry [^>]*/></rpm:provides>", "</rpm:provides>", piece)
        packages[place] = piece
    return _write(directory, packages)


def main(indexes: Path, target: Path, suites: Iterable[str]) -> None:
    """Convert the indexes of all suites; write what is then missing below `target`."""
    names = [indexes / suite / kind for suite in suites for kind in ("Packages", "Sources")]
    converter = Converter(names)
    for suite in suites:
        converter.binaries(indexes / suite / "Packages", target / suite)
        converter.sources(indexes / suite / "Sources", target / f"{suite}-sources")
    for suite in suites:
        update(target / suite, target / f"{suite}-updated", 100, seed=1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])

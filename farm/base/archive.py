"""Debian's package index as data: which binary packages the base is made of.

The choice is farm's own, not apt's: it must be the same on every machine, and it leaves packages
out that others depend on (dpkg, debconf, what the layer owns).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from farm.errors import MachineError


@dataclass(frozen=True, order=True)
class Relation:
    """One alternative of a dependency: `name (op version)`."""

    name: str
    op: str = ""  # "", "<<", "<=", "=", ">=", ">>"
    version: str = ""


Group = tuple[Relation, ...]
"""`a | b`: any one of them will do."""


@dataclass(frozen=True, order=True)
class Deb:
    """A binary package of the archive: `size` in bytes, `filename` below the archive's address."""

    name: str
    version: str
    arch: str
    filename: str
    size: int
    sha256: str
    depends: tuple[Group, ...] = field(compare=False, default=())
    provides: tuple[Relation, ...] = field(compare=False, default=())
    summary: str = field(compare=False, default="")
    homepage: str = field(compare=False, default="")


class Index:
    """A `Packages` file. Only the stanzas that are asked for are taken apart."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._start = {match[1]: match.start() for match in _PACKAGE.finditer(text)}
        self._providers: dict[str, list[str]] = {}
        names = sorted((start, name) for name, start in self._start.items())
        position = 0
        for match in _PROVIDES.finditer(text):
            while position + 1 < len(names) and names[position + 1][0] < match.start():
                position += 1
            for relation in _relations(match[1]):
                self._providers.setdefault(relation.name, []).append(names[position][1])

    def __contains__(self, name: str) -> bool:
        return name in self._start

    def providers(self, name: str) -> list[str]:
        """Packages that provide the virtual package `name`, sorted."""
        return sorted(set(self._providers.get(name, ())))

    def deb(self, name: str) -> Deb:
        """The package of that name. Raises KeyError when the archive has none."""
        start = self._start[name]
        end = self._text.find("\n\n", start)
        fields = parse_stanza(self._text[start : end if end >= 0 else None])
        return Deb(
            name=fields["Package"],
            version=fields["Version"],
            arch=fields["Architecture"],
            filename=fields["Filename"],
            size=int(fields["Size"]),
            sha256=fields["SHA256"],
            depends=(
                *parse_depends(fields.get("Pre-Depends", "")),
                *parse_depends(fields.get("Depends", "")),
            ),
            provides=tuple(_relations(fields.get("Provides", ""))),
            summary=fields.get("Description", "").splitlines()[0],
            homepage=fields.get("Homepage", ""),
        )


def parse_stanza(text: str) -> dict[str, str]:
    """One deb822 paragraph; continuation lines keep their line breaks. Comments are dropped."""
    fields: dict[str, str] = {}
    key = ""
    for line in text.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if line[0] in " \t":
            fields[key] += "\n" + line.strip()
        else:
            key, _, value = line.partition(":")
            fields[key] = value.strip()
    return fields


def parse_depends(text: str) -> tuple[Group, ...]:
    """A `Depends` field."""
    return tuple(
        tuple(_relations(group.replace("|", ","))) for group in text.split(",") if group.strip()
    )


def resolve(index: Index, roots: Iterable[str], left_out: Iterable[str] = ()) -> tuple[Deb, ...]:
    """`roots` and what they depend on, sorted by name; Recommends are not followed.

    A dependency whose first alternative is in `left_out` counts as met, and so does one that
    something already chosen meets. A virtual package is stood for by a root, if one provides it,
    else by the first in the alphabet.
    Raises MachineError when the archive lacks a package.
    """
    omitted = frozenset(left_out)
    wanted = sorted(set(roots))
    favoured = tuple(wanted)
    chosen: dict[str, Deb] = {}
    met: set[str] = set()
    while wanted:
        for name in wanted:
            chosen[name] = _lookup(index, name)
            met |= {name, *(relation.name for relation in chosen[name].provides)}
        groups = [(name, group) for name in wanted for group in chosen[name].depends]
        wanted = []
        for name, group in groups:
            if group[0].name in omitted or any(relation.name in met for relation in group):
                continue
            found = _choose(index, group, omitted, favoured)
            if found is None:
                raise MachineError(
                    f"the archive has nothing for {' | '.join(r.name for r in group)},"
                    f" which {name} needs",
                    hint="The suite may be changing right now: run `farm base build` again.",
                )
            if found and found not in chosen and found not in wanted:
                wanted.append(found)
                met |= {found, *(relation.name for relation in index.deb(found).provides)}
    return tuple(chosen[name] for name in sorted(chosen))


def convertible(debs: Iterable[Deb]) -> Mapping[str, str]:
    """For each real or virtual package name, the package of the set that stands for it."""
    names: dict[str, str] = {}
    debs = tuple(debs)
    for deb in debs:
        for relation in deb.provides:
            names.setdefault(relation.name, deb.name)
    return names | {deb.name: deb.name for deb in debs}


def _choose(
    index: Index, group: Group, omitted: frozenset[str], favoured: tuple[str, ...]
) -> str | None:
    """The package to add for `group`: "" when one left out stands for it, None for nothing."""
    for relation in group:
        if relation.name in omitted:
            return ""
        if relation.name in index:
            return relation.name
        providers = index.providers(relation.name)
        if any(provider in omitted for provider in providers):
            return ""
        for provider in (*favoured, *providers):
            if provider in providers:
                return provider
    return None


def _lookup(index: Index, name: str) -> Deb:
    if name not in index:
        raise MachineError(
            f"the archive has no package {name}",
            hint="The suite may be changing right now: run `farm base build` again.",
        )
    return index.deb(name)


def _relations(text: str) -> Iterator[Relation]:
    for match in _RELATION.finditer(text):
        yield Relation(match[1], match[2] or "", match[3] or "")


_PACKAGE = re.compile(r"^Package: (\S+)", re.MULTILINE)
_PROVIDES = re.compile(r"^Provides: (.+)", re.MULTILINE)
_RELATION = re.compile(r"([a-zA-Z0-9][\w.+-]*)(?::\w+)?\s*(?:\(\s*([<>=]+)\s*([^)\s]+)\s*\))?")

"""A static look at a spec: what its text says without being evaluated.

rpm executes parts of a spec while reading it, so a spec that nobody has looked at yet is read
here with python-rpm-spec, which does not. That is enough for names, the list of sources and the
changelog's date; what a spec means is what rpm says of it in the sandbox (`Evaluation`).
"""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING, Literal

from farm.layer.macros import Macros, definitions, expand, mentioned, nesting
from farm.model import Noun

if TYPE_CHECKING:
    from pyrpm.spec import Spec

LARGEST = 4 << 20  # bytes of a spec that is looked at


class StaticSource(Noun, frozen=True):
    """A Source or Patch line. `address` is "" where only an evaluation can tell.

    `sure` is False where a condition (`%if`) decides, and for a line that could not be expanded.
    """

    line: int
    raw: str
    address: str
    sure: bool = True

    @property
    def file(self) -> str:
        """The name below SOURCES: what follows the last slash, also in `#/name`."""
        return self.address.rpartition("/")[2]


class Look(Noun, frozen=True):
    """What the text of a spec tells; empty fields are what it does not tell.

    Lines count from 1, 0 where there is none. `dist`: does Release mention `%{?dist}`;
    None when that depends on macros from elsewhere.
    """

    name: str = ""
    name_line: int = 0
    version: str = ""
    release: str = ""
    release_line: int = 0
    dist: bool | None = None
    sources: tuple[StaticSource, ...] = ()
    packages: tuple[str, ...] = ()  # binary package names
    packages_sure: bool = False  # `packages` are all there are
    changelog: Literal["none", "static", "dynamic"] = "none"
    changelog_date: str = ""  # ISO date of the newest entry
    changelog_line: int = 0

    @property
    def epoch_seconds(self) -> int:
        """The newest changelog entry's day as SOURCE_DATE_EPOCH (seconds since 1970), or 0.

        Its midnight, as rpmbuild has it: noon may be still to come, and make builds everything
        again, without the flags it was first given, where a source is newer than now.
        """
        if not self.changelog_date:
            return 0
        date = datetime.date.fromisoformat(self.changelog_date)
        midnight = datetime.datetime.combine(date, datetime.time(), datetime.UTC)
        return int(midnight.timestamp())


def look(text: str) -> Look:
    """The static look at a spec's text. Never fails: what cannot be read stays empty."""
    lines = text[:LARGEST].split("\n")
    sections = _sections(lines)
    head = [(number, line) for number, line in enumerate(lines, 1) if sections[number - 1] == ""]
    macros, unsure = definitions(line for _, line in head)
    spec = _parse([line for _, line in head])
    for tag in ("name", "version", "release", "url"):
        value = getattr(spec, tag, None)
        if isinstance(value, str):
            macros[tag] = macros[tag.upper()] = value
            pattern = re.compile(rf"{tag}\s*:", re.IGNORECASE)
            if sum(pattern.match(line) is not None for _, line in head) > 1:
                unsure |= {tag, tag.upper()}
    name = expand(macros.get("name", ""), macros) or ""
    if mentioned(macros.get("name", ""), macros)[0] & unsure:
        name = ""
    packages = _packages(spec, name, macros)
    date, date_line, kind = _changelog(lines, sections)
    release_line = _line_of("Release", head)
    return Look(
        name=name,
        name_line=_line_of("Name", head),
        version=expand(macros.get("version", ""), macros) or "",
        release=macros.get("release", ""),
        release_line=release_line,
        dist=_has_dist(head, macros) if release_line else None,
        sources=_sources(lines, sections, macros, unsure),
        packages=tuple(sorted({package for package in packages if package})),
        packages_sure=None not in packages and not any(_OTHER.match(line) for _, line in head),
        changelog=kind,
        changelog_date=date,
        changelog_line=date_line,
    )


_SECTION = re.compile(
    r"%(description|prep|generate_buildrequires|conf|build|install|check|clean|pre|post|preun"
    r"|postun|pretrans|posttrans|preuntrans|postuntrans|trigger\w*|filetrigger\w*"
    r"|transfiletrigger\w*|verifyscript|files|changelog|sourcelist|patchlist|sepolicy"
    r"|package)(?:\s|$)"
)
_FILE_TAG = re.compile(r"(?:Source|Patch)\d*\s*:\s*(%\{pypi_source[^{}]*\}|\S+)", re.IGNORECASE)
# Preamble lines whose macro may make packages or tags of its own.
_OTHER = re.compile(
    r"\s*%(?!(?:global|define|undefine|if|ifarch|ifnarch|ifos|ifnos|elif|elifarch|elifos|else"
    r"|endif|bcond\w*|package|dnl)\b|\{!\?\w+:\s*%(?:global|define)"
    r"|\{\?(?:systemd|sysusers|perl|python)\w*\})"
)
_ENTRY = re.compile(
    r"\*\s*\w{3}\s+(?P<month>\w{3})\s+(?P<day>\d{1,2})\s+"
    r"(?:\d\d:\d\d:\d\d\s+\w+\s+)?(?P<year>\d{4})\b"
)
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1
    )
}


def _sections(lines: list[str]) -> list[str]:
    """The section of each line: "" for the preamble and for `%package` preambles."""
    found: list[str] = []
    current = ""
    for line in lines:
        match = _SECTION.match(line)
        if match is not None:
            current = "" if match[1] == "package" else match[1]
        found.append(current)
    return found


def _parse(head: list[str]) -> Spec:
    from pyrpm.spec import Spec  # noqa: PLC0415 - looks are remembered: seldom wanted

    # Definitions are taken by farm.layer.macros: python-rpm-spec makes attributes of them and
    # expands some without a bound.
    plain = [line for line in head if not line.lstrip().startswith(("%global", "%define"))]
    try:
        return Spec.from_string("\n".join(plain))
    except Exception:
        # It asserts and indexes freely; a text that it cannot read is one that tells nothing.
        return Spec()


def _packages(spec: Spec, name: str, macros: Macros) -> list[str | None]:
    if not name:
        return [None]
    return [name, *(expand(package.name, macros) for package in spec.packages[1:])]


def _line_of(tag: str, head: list[tuple[int, str]]) -> int:
    pattern = re.compile(rf"{tag}\s*:", re.IGNORECASE)
    return next((number for number, line in head if pattern.match(line)), 0)


def _has_dist(head: list[tuple[int, str]], macros: Macros) -> bool | None:
    """Any of several Release lines (in `%if`) is enough: which one counts is rpm's to say."""
    everything_known = True
    for _, line in head:
        match = re.match(r"Release\s*:\s*(.*)", line, re.IGNORECASE)
        if match is None:
            continue
        names, known = mentioned(match[1], macros)
        if "dist" in names or "autorelease" in names:
            return True
        everything_known = everything_known and known
    return False if everything_known else None


def _sources(
    lines: list[str], sections: list[str], macros: Macros, unsure: frozenset[str]
) -> tuple[StaticSource, ...]:
    found: list[StaticSource] = []
    depth = 0
    for number, (line, section) in enumerate(zip(lines, sections, strict=True), 1):
        stripped = line.strip()
        depth = nesting(stripped, depth)
        raw = ""
        if section == "":
            match = _FILE_TAG.match(line)
            raw = match[1] if match is not None else ""
        elif section in ("sourcelist", "patchlist") and not stripped.startswith(("%", "#")):
            raw = stripped
        if raw:
            address = expand(raw, macros) or _sdist(raw, macros)
            sure = bool(address) and depth == 0 and not mentioned(raw, macros)[0] & unsure
            found.append(StaticSource(number, raw, address, sure))
    return tuple(found)


def _sdist(raw: str, macros: Macros) -> str:
    """The file that Fedora's `%{pypi_source [name [version [ending]]]}` stands for."""
    match = re.fullmatch(r"%\{?pypi_source((?:\s+[^\s{}]+){0,3})\}?", raw)
    if match is None:
        return ""
    given = match[1].split()
    name = next((macros[key] for key in ("srcname", "pypi_name") if key in macros), None)
    name = name or macros.get("name", "").removeprefix("python-")
    parts = [*given, *(name, macros.get("version", ""), "tar.gz")[len(given) :]]
    return expand(f"{parts[0]}-{parts[1]}.{parts[2]}", macros) or ""


def _changelog(
    lines: list[str], sections: list[str]
) -> tuple[str, int, Literal["none", "static", "dynamic"]]:
    """ISO date and line of the newest entry; "dynamic" where a macro may make the entries."""
    newest, at, dynamic = "", 0, False
    for number, (line, section) in enumerate(zip(lines, sections, strict=True), 1):
        if section != "changelog":
            continue
        match = _ENTRY.match(line)
        if match is not None and match["month"].lower() in _MONTHS:
            try:
                date = datetime.date(
                    int(match["year"]), _MONTHS[match["month"].lower()], int(match["day"])
                ).isoformat()
            except ValueError:
                continue
            if date > newest:
                newest, at = date, number
        elif line.startswith("%") and not line.startswith(("%changelog", "%%")):
            dynamic = True
    return newest, at, "static" if newest else "dynamic" if dynamic else "none"

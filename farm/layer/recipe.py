"""One spec directory → Recipe, with what a look at it can already say against it."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from farm.errors import LayerError
from farm.layer import checksums, static
from farm.layer.memory import Memory
from farm.layer.tree import Entry
from farm.model import Problem, Recipe, RecipeFile, SourceFile

SOURCES = "sources"
# Midnight comes first to UTC+14: an entry dated "today" there is not from the future.
_EARLIEST_MIDNIGHT = datetime.timedelta(hours=14)


_NOTHING = static.Look()


@dataclass(frozen=True)
class Reading:
    """What came of reading a directory: the recipe, or the problems that it has."""

    name: str
    recipe: Recipe | None = None
    look: static.Look = _NOTHING
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Place:
    """A recipe's directory: `path` as people see it (in messages), `disk` where it is read."""

    name: str
    path: str
    disk: Path
    commit: str = ""
    scratch: bool = False


def read_recipe(
    place: Place, entries: Sequence[Entry], memory: Memory, now: datetime.datetime
) -> Reading:
    """Read one directory that has at least one spec in it.

    `entries` are its files, their paths relative to it. Never raises for what a contributor may
    write: that is a Problem.
    """
    irregular = [entry for entry in entries if entry.kind != "file"]
    if irregular:
        return _refused(
            place,
            "irregular-file",
            *(f"{place.path}/{entry.path}: is a {_KINDS[entry.kind]}" for entry in irregular),
            remedy="A recipe holds plain files only: put a copy in its place.",
        )
    unnamed = [entry.path for entry in entries if not _is_utf8(entry.path)]
    if unnamed:
        return _refused(
            place,
            "irregular-file",
            *(f"{place.path}: the file name {path!a} is not UTF-8" for path in unnamed),
            remedy="Give it another name.",
        )
    specs = [entry.path for entry in entries if entry.path.endswith(".spec")]
    specs = [path for path in specs if "/" not in path]
    if len(specs) != 1:
        return _refused(
            place,
            "two-specs",
            f"{place.path}: there are {len(specs)} specs: {', '.join(specs)}",
            remedy="Give each its own directory.",
        )
    files = tuple(
        RecipeFile(entry.path, memory.sha256(entry.file), entry.executable) for entry in entries
    )
    [spec] = specs
    digest = next(file.sha256 for file in files if file.path == spec)
    look = memory.look(place.disk / spec, digest)
    try:
        sources = _declared(place, entries)
    except LayerError as error:
        return Reading(
            place.name,
            look=look,
            problems=(Problem("bad-sources", place.name, _facts(error), remedy=error.hint),),
        )
    problems = tuple(check(look, place.name, f"{place.path}/{spec}", now))
    recipe = Recipe(
        name=place.name,
        spec=spec,
        directory=str(place.disk),
        files=files,
        sources=sources,
        commit=place.commit,
        scratch=place.scratch,
    )
    return Reading(place.name, None if problems else recipe, look, problems)


def check(look: static.Look, directory: str, spec: str, now: datetime.datetime) -> list[Problem]:
    """What the text of a spec already shows to be wrong; `spec` is its path for messages."""
    problems: list[Problem] = []

    def wrong(kind: str, line: int, fact: str, remedy: str) -> None:
        where = f"{spec}:{line}" if line else spec
        problems.append(Problem(kind, directory, (f"{where}: {fact}",), remedy))

    if not look.name_line:
        wrong("bad-spec", 0, "there is no Name", "A spec begins with Name, Version and Release.")
    elif look.name and look.name != directory:
        wrong(
            "name-mismatch",
            look.name_line,
            f"Name is {look.name}, but the directory is {directory}",
            "Give the directory the name of the package.",
        )
    if not look.release_line:
        wrong("bad-spec", 0, "there is no Release", "Add `Release: 1%{?dist}`.")
    elif look.dist is False:
        wrong(
            "no-dist",
            look.release_line,
            f"Release is {look.release}, without %{{?dist}}",
            f"Write `Release: {look.release.partition('%')[0] or '1'}%{{?dist}}`: the rebuild"
            " counter is part of it.",
        )
    if look.changelog == "none":
        wrong(
            "no-changelog",
            look.changelog_line,
            "there is no changelog entry",
            "Add one: its date is the time that the build's files carry.",
        )
    elif look.changelog_date:
        date = datetime.date.fromisoformat(look.changelog_date)
        if date > (now + _EARLIEST_MIDNIGHT).date():
            wrong(
                "future-changelog",
                look.changelog_line,
                f"the changelog entry of {date} is from the future (today is {now.date()})",
                "Its date is the time that the build's files carry: correct it.",
            )
    return problems


_KINDS = {"symlink": "symbolic link", "submodule": "git submodule"}


def _declared(place: Place, entries: Sequence[Entry]) -> tuple[SourceFile, ...]:
    if not any(entry.path == SOURCES for entry in entries):
        return ()
    text = (place.disk / SOURCES).read_text("utf-8", "replace")
    return checksums.parse(text, f"{place.path}/{SOURCES}")


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _facts(error: LayerError) -> tuple[str, ...]:
    return (error.what, error.why) if error.why else (error.what,)


def _refused(place: Place, kind: str, *facts: str, remedy: str) -> Reading:
    return Reading(place.name, problems=(Problem(kind, place.name, facts, remedy),))

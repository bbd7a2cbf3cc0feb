"""`farm sources --update`: what the spec wants, fetched, compared and declared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from farm.config import Config
from farm.errors import SourceError, UsageError
from farm.layer import checksums
from farm.layer.origins import Refusal, Wanted
from farm.layer.recipe import SOURCES
from farm.layer.sources import (
    Say,
    SourceCache,
    differs_from_its_name,
    directory_behind,
    look_at,
    wanted,
)
from farm.model import Recipe, SourceFile
from farm.store import sha512_of, write_atomic


@dataclass(frozen=True)
class Declared:
    """A line of the new `sources` file; `origin` and `where` say who had these bytes."""

    file: str
    sha512: str
    state: Literal["kept", "new", "changed"]
    origin: str = ""
    where: str = ""


@dataclass(frozen=True)
class Update:
    """What `update` did. `removed` were declared and are no longer wanted by the spec."""

    files: tuple[Declared, ...]
    removed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Found:
    origin: str
    where: str
    sha512: str


def update(
    recipe: Recipe, config: Config, cache: SourceCache | None = None, say: Say | None = None
) -> Update:
    """Fetch what the spec declares and `sources` lacks, and write `sources` anew.

    A declared checksum stays as long as anyone has those bytes. For a new file all origins are
    asked: upstream's bytes count; without upstream the others have to agree. Raises SourceError
    (nothing is written then), UsageError for a recipe that is not in the working tree.
    """
    directory = Path(recipe.directory)
    if recipe.origin != "spec" or not directory.is_relative_to(config.path("specs")):
        raise UsageError(
            f"{recipe.name} has no `sources` file of its own that could be updated",
            why=f"It is {recipe.origin}, in {directory}.",
        )
    cache = cache or SourceCache(config)
    look = look_at(recipe)
    own = {file.path for file in recipe.files}
    notes: list[str] = []
    files: dict[str, Declared] = {}
    for source in look.sources:
        place = f"{recipe.spec}:{source.line}"
        if not source.file:
            notes.append(f"{place}: {source.raw} cannot be read without running the spec")
            continue
        if source.file in own or source.file in files or directory_behind(recipe, source.file):
            continue
        want = wanted(recipe, config, look, source.file)
        try:
            files[source.file] = _settled(want, directory, cache, notes, say)
        except SourceError as error:
            if source.sure:
                raise
            notes.append(f"{place}: {source.file} may be wanted under a condition: {error.what}")
    unread = any(not source.file for source in look.sources)
    for old in recipe.sources:
        # What the spec may mean by a line that cannot be read stays declared.
        if unread and old.name not in files:
            files[old.name] = Declared(old.name, old.sha512, "kept")
    declared = tuple(SourceFile(file.file, file.sha512) for file in files.values())
    if declared != recipe.sources:
        write_atomic(directory / SOURCES, checksums.render(declared))
    return Update(
        files=tuple(files.values()),
        removed=tuple(old.name for old in recipe.sources if old.name not in files),
        notes=tuple(notes),
    )


def _settled(
    want: Wanted, near: Path, cache: SourceCache, notes: list[str], say: Say | None
) -> Declared:
    if want.sha512:
        try:
            cache.fetch(want, near, say)
        except SourceError as error:
            found, said = _ask(_undeclared(want), cache)
            if not found:
                notes.append(f"{want.file}: kept, though {error.why}")
                return Declared(want.file, want.sha512, "kept")
            chosen = _chosen(want, found, said, notes)
            return Declared(want.file, chosen.sha512, "changed", chosen.origin, chosen.where)
        return Declared(want.file, want.sha512, "kept")
    found, said = _ask(want, cache)
    chosen = _chosen(want, found, said, notes)
    return Declared(want.file, chosen.sha512, "new", chosen.origin, chosen.where)


def _ask(want: Wanted, cache: SourceCache) -> tuple[list[_Found], list[str]]:
    """The first usable answer of each origin, all of them kept in the cache."""
    found: list[_Found] = []
    said: list[str] = []
    for origin, answer in cache.answers(want):
        if isinstance(answer, Refusal):
            said.append(f"{origin}: {answer.where}: {answer.why}")
            continue
        if any(known.origin == origin for known in found):
            continue
        unlike = differs_from_its_name(answer.path, want.file)
        if unlike:
            said.append(f"{origin}: {answer.where}: {unlike}")
            continue
        digest = sha512_of(answer.path)
        cache.take(answer.path, digest, want.file)
        found.append(_Found(origin, answer.where, digest))
    return found, said


def _chosen(want: Wanted, found: list[_Found], said: list[str], notes: list[str]) -> _Found:
    if not found:
        raise SourceError(
            f"{want.package}: no origin has {want.file}",
            why="\n".join(said),
            hint="Put the file into a lookaside directory (sources.lookaside in farm.toml).",
        )
    upstream = next((one for one in found if one.origin == "upstream"), None)
    different = {one.sha512 for one in found}
    lines = [f"{one.origin}: {one.where}: sha512 {one.sha512}" for one in found]
    if upstream is None and len(different) > 1:
        raise SourceError(
            f"{want.package}: the origins disagree about {want.file}, and upstream cannot be asked",
            why="\n".join([*lines, *said]),
            hint="Find out which is upstream's, and write that line into `sources` yourself.",
        )
    chosen = upstream or found[0]
    for one in found:
        if one.sha512 != chosen.sha512:
            notes.append(
                f"{want.file}: {one.origin} has other bytes than {chosen.origin}:"
                f" sha512 {one.sha512} ({one.where})"
            )
    return chosen


def _undeclared(want: Wanted) -> Wanted:
    return Wanted(
        package=want.package,
        file=want.file,
        addresses=want.addresses,
        alias=want.alias,
        version=want.version,
    )

"""What cannot be known: who has a file, in a repository without filelists.xml.

primary.xml lists only programs and configuration. A dependency on any other file may be fulfilled
there, or a conflict be real, and neither "nothing provides it" nor "all is well" would be true.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import solv

from farm.plan.metadata.primary import outside_primary, paths_in
from farm.plan.universe import Universe

REMEDY = (
    "Name the package in place of its file, or have the repository made with its lists of files."
)
_DEPENDS_ON_ABSENCE = re.compile(r"\s(?:if|unless|without)\s")


def unknown(universe: Universe, text: str) -> str:
    """Why nobody can say who fulfils this dependency, or ""."""
    paths = [path for path in paths_in(text) if outside_primary(path)]
    repositories = _without_filelists(universe) if paths else ()
    if not repositories:
        return ""
    names = " and ".join(repr(name) for name in repositories)
    what = "repository" if len(repositories) == 1 else "repositories"
    has = "has" if len(repositories) == 1 else "have"
    return f"{what} {names} {has} no filelists.xml, so who has {paths[0]} cannot be known"


def doubts(universe: Universe, packages: Iterable[int], conflicts: Iterable[str]) -> Iterator[str]:
    """Why it cannot be known whether these packages fit together, a sentence each."""
    if not _without_filelists(universe):
        return
    for text in conflicts:
        reason = unknown(universe, text)
        if reason:
            yield f"BuildConflicts: {text}: {reason}"
    for number in sorted(packages):
        solvable: Any = universe.pool.id2solvable(number)
        for dependency in solvable.lookup_deparray(solv.SOLVABLE_CONFLICTS):
            reason = unknown(universe, str(dependency))
            if reason:
                yield f"{solvable} conflicts with {dependency}; {reason}"
        for dependency in solvable.lookup_deparray(solv.SOLVABLE_REQUIRES):
            text = str(dependency)
            reason = unknown(universe, text) if _DEPENDS_ON_ABSENCE.search(text) else ""
            if reason:
                yield f"{solvable} requires {text}; {reason}"


def without_packages(universe: Universe) -> tuple[str, ...]:
    """Ids of base repositories that have no package for this architecture."""
    known: tuple[str, ...] | None = universe.memory.get("without packages")
    if known is None:
        ids = {pin.repository.id for pin in universe.pins}
        known = tuple(
            repo.name
            for repo in universe.pool.repos
            if repo.name in ids and not any(each.installable() for each in repo.solvables)
        )
        universe.memory["without packages"] = known
    return known


def _without_filelists(universe: Universe) -> tuple[str, ...]:
    known: tuple[str, ...] | None = universe.memory.get("without filelists")
    if known is None:
        empty = without_packages(universe)
        ids = [pin.repository.id for pin in universe.pins if pin.file("filelists") is None]
        known = tuple(name for name in ids if name not in empty)
        universe.memory["without filelists"] = known
    return known

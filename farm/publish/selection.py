"""Which results make up the next snapshot of a release."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from farm.model import Result, Snapshot


@dataclass(frozen=True)
class Selection:
    """Results by architecture, in the release's order, and what is worth saying of the choice."""

    results: Mapping[str, tuple[Result, ...]]
    notes: tuple[str, ...]

    @property
    def empty(self) -> bool:
        return not any(self.results.values())


def select(
    recipes: Iterable[str],
    chroots: Mapping[str, str],
    standing: Mapping[str, Result],
    excluded: Callable[[str, str], bool],
    before: Snapshot | None,
    known: Callable[[str], Result | None],
) -> Selection:
    """What stands of the layer's recipes, a package's architectures kept together.

    `chroots` maps architecture to chroot name, `standing` step to result, `excluded` says that
    a recipe is not for an architecture, `known` finds an earlier result by its key. A source
    package that is at another version on one architecture stays, on all of them, what it was in
    the snapshot `before`; one that was never published yet is published where it is built.
    """
    chosen: dict[str, list[Result]] = {arch: [] for arch in chroots}
    notes: list[str] = []
    for recipe in sorted(recipes):
        wanted = [arch for arch in chroots if not excluded(recipe, arch)]
        have = {
            arch: result
            for arch in wanted
            if (result := standing.get(f"{recipe}@{chroots[arch]}")) is not None
        }
        if not have:
            continue
        if len(have) < len(wanted) or len({_source(r) for r in have.values()}) > 1:
            earlier = _as_before(recipe, wanted, before, known)
            if earlier:
                notes.append(f"{recipe}: stays as published, {_why(have, wanted)}")
                have = earlier
            else:
                notes.append(f"{recipe}: {_why(have, wanted)}")
                have = _of_newest(have)
        for arch, result in have.items():
            chosen[arch].append(result)
    return Selection({arch: tuple(some) for arch, some in chosen.items()}, tuple(notes))


def _source(result: Result) -> str:
    return str(result.built.srpm.nevra)


def _as_before(
    recipe: str,
    archs: Sequence[str],
    before: Snapshot | None,
    known: Callable[[str], Result | None],
) -> dict[str, Result]:
    entries = before.entries if before is not None else ()
    return {
        entry.arch: result
        for entry in entries
        if entry.recipe == recipe
        and entry.arch in archs
        and (result := known(entry.key)) is not None
    }


def _of_newest(have: Mapping[str, Result]) -> dict[str, Result]:
    newest = max(have.values(), key=lambda result: result.finished)
    return {arch: r for arch, r in have.items() if _source(r) == _source(newest)}


def _why(have: Mapping[str, Result], wanted: Sequence[str]) -> str:
    missing = [arch for arch in wanted if arch not in have]
    if missing:
        return f"it is not built for {', '.join(missing)}"
    return "its architectures are at different versions: " + ", ".join(
        f"{arch} {result.built.srpm.nevra.evr}" for arch, result in have.items()
    )

"""Which recipe of the layer needs which, by the plans that were heard of and by what was built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from farm import rpmheader
from farm.errors import FarmError
from farm.model import Result
from farm.site.status.graph import acyclic, reduced
from farm.steps import recipe_of

_REQUIRENAME, _REQUIREFLAGS, _REQUIREVERSION = 1049, 1048, 1050
_LESS, _GREATER, _EQUAL = 2, 4, 8


def of_lock(result: Result, makers: Mapping[str, str]) -> frozenset[str]:
    """Recipes whose packages were in the build root; `makers`: name of a package → recipe."""
    names = (package.nevra.name for package in result.lock.packages)
    found = {makers[name] for name in names if name in makers}
    return frozenset(found - {recipe_of(result.step)})


def build_requires(srpm: Path) -> tuple[str, ...]:
    """What a source package wants, as its spec says it; nothing for one that cannot be read."""
    try:
        header = rpmheader.read(srpm).header
        names = header.texts(_REQUIRENAME)
        versions = header.texts(_REQUIREVERSION)
        flags = header.numbers(_REQUIREFLAGS)
    except (OSError, FarmError):
        return ()
    words = {
        name if not version else f"{name} {_sign(flag)} {version}"
        for name, version, flag in zip(names, versions, flags, strict=False)
        if not name.startswith("rpmlib(")
    }
    return tuple(sorted(words))


def _sign(flag: int) -> str:
    less, greater = "<" if flag & _LESS else "", ">" if flag & _GREATER else ""
    return less + greater + ("=" if flag & _EQUAL else "")


class Relations:
    """The graph of one release, both ways. `needs`: everything that a build of each waits for;
    `named`: those among it that its BuildRequires name outright."""

    def __init__(
        self, needs: Mapping[str, frozenset[str]], named: Mapping[str, frozenset[str]]
    ) -> None:
        direct = reduced(acyclic(needs))
        self._needs = needs
        self._direct = {
            name: frozenset(direct.get(name, ())) | (named.get(name, frozenset()) & those)
            for name, those in needs.items()
        }
        self._wanted = _turned(needs)
        self._wanted_directly = _turned(self._direct)

    def needs(self, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Directly, and through those."""
        return _split(self._needs, self._direct, name)

    def wanted_by(self, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Directly, and through those."""
        return _split(self._wanted, self._wanted_directly, name)


def _split(
    every: Mapping[str, Iterable[str]], direct: Mapping[str, Iterable[str]], name: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    first = set(direct.get(name, ()))
    return tuple(sorted(first)), tuple(sorted(set(every.get(name, ())) - first))


def _turned(needs: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, those in needs.items():
        for need in those:
            found.setdefault(need, set()).add(name)
    return found

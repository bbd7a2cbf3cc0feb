"""What sites of one snapshot have over one base, kept on disk: neither of the two ever changes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path

from farm.errors import StateError
from farm.model import Nevra, Noun, from_json, to_json
from farm.store import write_atomic

KEPT = "sites"  # directory of what is kept


class SiteFile(Noun, frozen=True):
    """Packages, each once; for each metapackage those of its site, or why there is none."""

    packages: tuple[tuple[str, int, str, str, str], ...] = ()
    sites: tuple[tuple[str, tuple[int, ...], tuple[str, ...]], ...] = ()  # name, packages, or why

    @classmethod
    def of(
        cls,
        answers: Mapping[str, frozenset[int] | tuple[str, ...]],
        nevra: Callable[[int], Nevra],
    ) -> SiteFile:
        """`nevra` names the packages that the sites are made of."""
        used = sorted(nevra(n) for site in answers.values() if isinstance(site, frozenset)
                      for n in site)  # fmt: skip
        index = {each: number for number, each in enumerate(dict.fromkeys(used))}
        sites = [
            (name, tuple(sorted(index[nevra(n)] for n in answer)), ())
            if isinstance(answer, frozenset)
            else (name, (), answer)
            for name, answer in sorted(answers.items())
        ]
        packages = [(n.name, n.epoch, n.version, n.release, n.arch) for n in index]
        return cls(tuple(packages), tuple(sites))

    @property
    def names(self) -> frozenset[str]:
        """Metapackages that have an answer."""
        return frozenset(name for name, _, _ in self.sites)

    def answer(self, metapackage: str) -> tuple[tuple[Nevra, ...], tuple[str, ...]] | None:
        """The site, or why there is none; None when it was not asked for."""
        for name, site, why in self.sites:
            if name == metapackage:
                return tuple(Nevra(*self.packages[number]) for number in site), why
        return None

    @classmethod
    def read(cls, cache: Path, digest: str) -> SiteFile:
        """What was written under that digest, nothing when there is none."""
        path = cache / KEPT / f"{digest}.json"
        with contextlib.suppress(FileNotFoundError, StateError):  # damaged: made again
            return from_json(cls, path.read_bytes(), where=str(path))
        return cls()

    def write(self, cache: Path, digest: str) -> None:
        """Keep it under a digest of snapshot and base."""
        write_atomic(cache / KEPT / f"{digest}.json", to_json(self))

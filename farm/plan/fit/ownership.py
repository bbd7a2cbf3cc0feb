"""Do two packages of the layer own the same path with different content?

rpm's rules: a path may be in two packages when type, mode, owner and content are the same; a
%ghost agrees with everything; of a 32-bit and a 64-bit program the latter wins. Only packages
that can be installed together count, so the solver is asked about every pair that clashes.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from farm.errors import StateError
from farm.model import LAYER, Nevra, Noun, Package, Problem, from_json, to_json
from farm.plan.fit.rpmfiles import File, files_of, settled
from farm.plan.fit.together import Company
from farm.plan.universe import Universe, nevra_of
from farm.store import write_atomic

_FORMAT = "1"  # raised when the rules change
_KEPT = "clashes"
_SHOWN = 5

Together = Callable[[Nevra, Nevra], bool]


class Clash(Noun, frozen=True):
    """A path of two packages that rpm would not let both of them install."""

    path: str
    one: Nevra
    other: Nevra
    difference: str  # goes on "it has …"


def ownership_problems(
    packages: Sequence[tuple[Package, Path]],
    together: Together,
    cache: Path,
) -> tuple[Problem, ...]:
    """A problem for each two packages of one architecture's layer that own the same path
    differently and that a site can have both (`together`).

    The packages are files, signed or not; what was read is kept below `cache`.
    Raises StateError for a file that is no RPM.
    """
    found: dict[tuple[Nevra, Nevra], list[Clash]] = {}
    for clash in clashes(packages, cache):
        found.setdefault((clash.one, clash.other), []).append(clash)
    sources = {package.nevra: package.source for package, _ in packages}
    return tuple(_problem(some, sources) for pair, some in sorted(found.items()) if together(*pair))


def together_in(universe: Universe) -> Together:
    """The `together` of packages that are the layer of this universe.

    Packages that are not in it are taken to meet.
    """
    company = Company(universe)
    layer = {
        nevra_of(solvable): solvable
        for repo in universe.pool.repos
        if repo.name == LAYER
        for solvable in repo.solvables_iter()
    }

    by_name = {(nevra.name, nevra.arch): solvable for nevra, solvable in layer.items()}

    def standing_for(nevra: Nevra) -> Any:
        """The package itself; for one with debug information, the one that it belongs to."""
        main = nevra.name.removesuffix("-debuginfo").removesuffix("-debugsource")
        return layer.get(nevra) or by_name.get((main, nevra.arch))

    def together(one: Nevra, other: Nevra) -> bool:
        first, second = standing_for(one), standing_for(other)
        if (one.name, one.arch) == (other.name, other.arch):
            return False
        if first is None or second is None or first.id == second.id:
            return True
        return company.can_meet(first, second)

    return together


def clashes(packages: Sequence[tuple[Package, Path]], cache: Path) -> tuple[Clash, ...]:
    """Every path that two of the packages own differently, whether they can meet or not."""
    ordered = sorted(packages, key=lambda entry: (entry[0].nevra, entry[0].sha256))
    digest = hashlib.sha256(_FORMAT.encode())
    for package, _ in ordered:
        digest.update(f"{package.nevra} {package.sha256}\n".encode())
    kept = cache / _KEPT / f"{digest.hexdigest()[:32]}.json"
    with contextlib.suppress(FileNotFoundError, StateError):  # damaged: made again
        return from_json(tuple[Clash, ...], kept.read_bytes(), where=str(kept))
    found = tuple(_found((package, files_of(package, path, cache)) for package, path in ordered))
    write_atomic(kept, to_json(found))
    return found


def difference(one: File, other: File) -> str:
    """How two owners of a path disagree, in words; "" where rpm lets both have it."""
    if one.ghost or other.ghost:
        return ""
    if one.colour and other.colour and one.colour != other.colour:
        return ""  # multilib: the 64-bit one is taken
    if one.kind != other.kind:
        return f"a {one.kind} in one and a {other.kind} in the other"
    if one.mode != other.mode:
        return f"mode {one.mode & 0o7777:04o} in one and {other.mode & 0o7777:04o} in the other"
    if (one.user, one.group) != (other.user, other.group):
        return f"owner {one.user}:{one.group} in one and {other.user}:{other.group} in the other"
    if one.is_directory:
        return ""
    if one.kind == "symlink" and one.content != other.content:
        return f"a link to {one.content} in one and to {other.content} in the other"
    if (one.size, one.algorithm, one.content) != (other.size, other.algorithm, other.content):
        return "different content"
    return ""


def _found(packages: Iterable[tuple[Package, tuple[File, ...]]]) -> Iterable[Clash]:
    owners: dict[str, list[tuple[Package, File]]] = {}
    for package, files in packages:
        for file in files:
            owners.setdefault(settled(file.path), []).append((package, file))
    for path, having in sorted(owners.items()):
        for index, (one, own) in enumerate(having):
            for other, theirs in having[index + 1 :]:
                if (one.nevra.name, one.nevra.arch) == (other.nevra.name, other.nevra.arch):
                    continue
                told = difference(own, theirs)
                if told:
                    yield Clash(path, one.nevra, other.nevra, told)


def _problem(some: Sequence[Clash], sources: dict[Nevra, str]) -> Problem:
    one, other = some[0].one, some[0].other
    facts = [f"{one} and {other} own the same {'paths' if len(some) > 1 else 'path'}, differently"]
    facts += [f"{clash.path}: {clash.difference}" for clash in some[:_SHOWN]]
    if len(some) > _SHOWN:
        facts.append(f"… and {len(some) - _SHOWN} more")
    facts.append("nothing keeps a site from having both, and then rpm refuses to install them")
    same = len({sources.get(one, ""), sources.get(other, "")}) == 1
    where = "one of the two %files sections" if same else "one of the two packages"
    paths = "the paths" if len(some) > 1 else "it"
    return Problem(
        "file-conflict",
        one.name,
        tuple(facts),
        f"Take {paths} out of {where}, or, if the two are alternatives, let one say "
        f"`Conflicts: {other.name}`.",
    )

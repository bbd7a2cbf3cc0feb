"""Who needs, has and forbids what, read once from a libsolv pool into arrays of numbers.

Packages are libsolv's solvable ids; dependencies are numbered from 0. For a distribution that is
some megabytes of arrays in place of millions of objects, and they can be kept on disk.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import solv

from farm.plan.rich import Rich, parse

_SYSTEM = 1  # the solvable that stands for rpm itself, which has `rpmlib(…)`
_SOURCES = ("src", "nosrc")
_OPERATORS = {
    "<": solv.REL_LT,
    "<=": solv.REL_LT | solv.REL_EQ,
    "=": solv.REL_EQ,
    ">=": solv.REL_GT | solv.REL_EQ,
    ">": solv.REL_GT,
}
# What libsolv does with these set is not what `witness` takes for granted.
_UNKNOWN_FLAGS = (
    solv.Pool.POOL_FLAG_FORBIDSELFCONFLICTS,
    solv.Pool.POOL_FLAG_OBSOLETEUSESPROVIDES,
    solv.Pool.POOL_FLAG_OBSOLETEUSESCOLORS,
    solv.Pool.POOL_FLAG_IMPLICITOBSOLETEUSESPROVIDES,
    solv.Pool.POOL_FLAG_IMPLICITOBSOLETEUSESCOLORS,
    solv.Pool.POOL_FLAG_NOOBSOLETESMULTIVERSION,
)


@dataclass(frozen=True, eq=False)
class Rows:
    """Row n is `values[first[n] : first[n + 1]]`."""

    first: array[int]
    values: array[int]

    @classmethod
    def of(cls, rows: Iterable[Iterable[int]]) -> Rows:
        first, values = array("i", [0]), array("i")
        for row in rows:
            values.extend(row)
            first.append(len(values))
        return cls(first, values)

    def __getitem__(self, number: int) -> array[int]:
        return self.values[self.first[number] : self.first[number + 1]]

    def __len__(self) -> int:
        return len(self.first) - 1

    def __iter__(self) -> Iterator[array[int]]:
        return (self[number] for number in range(len(self)))

    def turned(self, size: int) -> Rows:
        """The other way round, with `size` rows: row n lists the rows that n is in."""
        rows: list[list[int]] = [[] for _ in range(size)]
        for number, row in enumerate(self):
            for value in row:
                rows[value].append(number)
        return Rows.of(rows)


@dataclass(frozen=True, eq=False)
class Graph:
    """One state of a pool. Rows of packages are by solvable id, others by dependency number."""

    names: array[int]  # id of the package's name; 0: no package of the pool
    sources: frozenset[int]  # packages of arch src and nosrc: their conflicts are BuildConflicts
    odd: frozenset[int]  # packages that only libsolv can judge
    requires: Rows
    conflicts: Rows
    obsoletes: Rows
    dependencies: array[int]  # libsolv's ids of what is required or conflicted with
    users: Rows  # of these: packages that require it
    providers: Rows  # of these, the preferred one first
    preferred: array[int]  # of these: that first provider, 0 where there is none
    provides: Rows  # package → dependencies that it is a provider of
    free: frozenset[int]  # dependencies that need no package
    rich: dict[int, Rich]  # dependencies of which `providers` does not say all
    parts: dict[str, int]  # the parts of these, by their text: dependency numbers
    obsoleted: Rows  # packages that each obsoletes entry names
    exact: bool  # whether the pool's settings are those that `witness` knows


def read_graph(pool: Any) -> Graph:
    """All packages of the pool; `createwhatprovides` has been called."""
    reader = _Reader(pool)
    reader.packages()
    reader.dependencies()
    return reader.graph()


class _Reader:
    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._numbers: defaultdict[int, int] = defaultdict(count().__next__)
        self._obsoleted: defaultdict[int, int] = defaultdict(count().__next__)
        self._names = array("i", [0, 0])
        self._sources: set[int] = set()
        self._odd: set[int] = set()
        self._arches: dict[int, set[str]] = {}
        self._rows = [(array("i", [0, 0, 0]), array("i")) for _ in range(3)]
        self._rich: dict[int, Rich] = {}
        self._parts: dict[str, int] = {}

    def packages(self) -> None:
        numbers, obsoleted = self._numbers.__getitem__, self._obsoleted.__getitem__
        (first, requires), (cfirst, conflicts), (ofirst, obsoletes) = self._rows
        needs, against, instead = (
            solv.SOLVABLE_REQUIRES, solv.SOLVABLE_CONFLICTS, solv.SOLVABLE_OBSOLETES,
        )  # fmt: skip
        arches = {self._pool.str2id(name): name for name in (*_SOURCES, "noarch")}
        seen: dict[int, int] = {}
        names = self._names
        for solvable in self._pool.solvables_iter():
            number = solvable.id
            while len(names) < number:  # a hole
                names.append(0)
                for starts, values in self._rows:
                    starts.append(len(values))
            name, arch = solvable.nameid, solvable.archid
            names.append(name)
            requires.extend(map(numbers, solvable.lookup_idarray(needs)))
            conflicts.extend(map(numbers, solvable.lookup_idarray(against)))
            obsoletes.extend(map(obsoleted, solvable.lookup_idarray(instead)))
            first.append(len(requires))
            cfirst.append(len(conflicts))
            ofirst.append(len(obsoletes))
            kind = arches.get(arch)
            if kind in _SOURCES:
                self._sources.add(number)
            elif kind is None and seen.setdefault(name, arch) != arch:
                # libsolv lets only the best architecture of a name in, among those it looks at.
                self._arches.setdefault(name, set())
            if kind not in _SOURCES and not solvable.installable():
                self._odd.add(number)
        if self._arches:
            self._odd.update(n for n, name in enumerate(names) if name in self._arches)

    def dependencies(self) -> None:
        pool, numbers = self._pool, self._numbers
        done = 0
        self._texts: dict[int, str] = {}
        while done < len(numbers):
            for dependency, number in list(numbers.items())[done:]:
                if dependency < 0:
                    text = pool.dep2str(dependency)
                    self._texts[dependency] = text
                    if text.startswith("("):
                        self._learn_rich(dependency, number, text)
                done += 1

    def _learn_rich(self, dependency: int, number: int, text: str) -> None:
        tree = parse(text)
        if tree is None or dependency_id(self._pool, tree) != dependency:
            self._rich[number] = Rich("?", (), text)
        elif not tree.listed:
            self._rich[number] = tree
        else:
            return
        for part in _listed_parts(self._rich[number]):
            part_id = dependency_id(self._pool, part)
            if part_id is None:
                self._rich[number] = Rich("?", (), text)
                return
            self._parts[part.text] = self._numbers[part_id]

    def graph(self) -> Graph:
        pool = self._pool
        requires, conflicts, obsoletes = (Rows(*row) for row in self._rows)
        found = [[s.id for s in pool.whatprovides(d)] for d in self._numbers]
        providers = Rows.of(_preferred(pool, self._numbers, found, Counter(requires.values)))
        size = len(self._names)
        free = {number for number, ids in enumerate(found) if _SYSTEM in ids}
        free.update(n for n in (self._numbers.get(solv.SOLVABLE_PREREQMARKER),) if n is not None)
        return Graph(
            names=self._names,
            sources=frozenset(self._sources),
            odd=frozenset(self._odd),
            requires=requires,
            conflicts=conflicts,
            obsoletes=obsoletes,
            dependencies=array("i", self._numbers),
            users=requires.turned(len(providers)),
            providers=providers,
            preferred=array(
                "i",
                (row[0] if row else 0 for row in map(providers.__getitem__, range(len(providers)))),
            ),
            provides=providers.turned(size),
            free=frozenset(free),
            rich=self._rich,
            parts=self._parts,
            obsoleted=Rows.of(_obsoleted(pool, dependency) for dependency in self._obsoleted),
            exact=not any(pool.get_flag(flag) for flag in _UNKNOWN_FLAGS),
        )


def _obsoleted(pool: Any, dependency: int) -> list[int]:
    """Packages that have the name and version themselves: Provides are not obsoleted."""
    return [
        solvable.id
        for solvable in pool.whatprovides(dependency)
        if solvable.matchesdep(solv.SOLVABLE_NAME, dependency)
    ]


def _preferred(
    pool: Any, dependencies: Iterable[int], found: Sequence[list[int]], users: Mapping[int, int]
) -> Iterator[Iterable[int]]:
    """Providers in order: of the first alternative first, then by name, then the most wanted.

    Any order is right; a good one makes closures that have no conflicts.
    """
    votes: Counter[int] = Counter()
    ranks: dict[int, dict[int, tuple[int, bool]]] = {}
    for number, (dependency, ids) in enumerate(zip(dependencies, found, strict=True)):
        if len(ids) == 1:
            votes[ids[0]] += users.get(number, 0)
        elif ids and number in users:
            rank = ranks[number] = _ranked(pool, dependency, ids)
            best = min(rank.values())
            leading = [n for n in ids if rank[n] == best]
            if len(leading) == 1:
                votes[leading[0]] += users[number]
    for number, ids in enumerate(found):
        given = ranks.get(number)
        if given is None:
            yield ids
        else:
            yield sorted(ids, key=lambda n: (given[n], -votes[n], n))


def _ranked(pool: Any, dependency: int, ids: Sequence[int]) -> dict[int, tuple[int, bool]]:
    """For each provider the alternative that it fulfils, and whether by another name."""
    tree = parse(pool.dep2str(dependency)) or Rich("?", (), "")
    alternatives = tree.parts if tree.operator == "or" else (tree,)
    rank: dict[int, tuple[int, bool]] = {}
    for place, part in enumerate(alternatives):
        members = ids
        if len(alternatives) > 1:
            part_id = dependency_id(pool, part)
            members = [] if part_id is None else [s.id for s in pool.whatprovides(part_id)]
        name = pool.str2id(part.text.split(" ", 1)[0], False)
        for number in members:
            rank.setdefault(number, (place, pool.id2solvable(number).nameid != name))
    return {number: rank.get(number, (len(alternatives), True)) for number in ids}


def dependency_id(pool: Any, tree: Rich) -> int | None:
    """libsolv's id of a dependency; None for one that it would not read in the same way."""
    if tree.operator:
        group = pool.parserpmrichdep(tree.text)
        return None if group is None else int(group.id)
    words = tree.text.split(" ")
    if len(words) == 1:
        return int(pool.Dep(words[0]).id)
    if len(words) == 3 and words[1] in _OPERATORS:
        return int(pool.Dep(words[0]).Rel(_OPERATORS[words[1]], pool.Dep(words[2])).id)
    return None


def _listed_parts(tree: Rich) -> Iterator[Rich]:
    """The largest parts that a list of packages says all about."""
    if tree.operator == "?":
        return
    for part in tree.parts:
        if part.listed:
            yield part
        else:
            yield from _listed_parts(part)

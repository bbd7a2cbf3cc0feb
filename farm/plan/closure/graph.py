"""Who needs, has and forbids what, read once from a libsolv pool into arrays of numbers.

Packages are libsolv's solvable ids; dependencies are numbered from 0. For a distribution that is
some megabytes of arrays in place of millions of objects, and they can be kept on disk.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import count
from typing import Any

import solv

from farm.plan.closure.rows import Rows
from farm.plan.metadata.rich import Rich, parse, tokens

PATH = 0  # stands for all files among the words of a dependency
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
    solv.Pool.POOL_FLAG_NOOBSOLETESMULTIVERSION,
)


@dataclass(frozen=True, eq=False)
class Graph:
    """One state of a pool. Rows of packages are by solvable id, others by dependency number."""

    names: array[int]  # id of the package's name; 0: no package of the pool
    sources: frozenset[int]  # packages of arch src and nosrc: their conflicts are BuildConflicts
    odd: frozenset[int]  # packages that only libsolv can judge
    native: str  # the pool's own architecture
    twins: dict[int, int]  # package of another architecture → the native one that goes with it
    requires: Rows
    conflicts: Rows
    obsoletes: Rows
    dependencies: array[int]  # libsolv's ids of what is required or conflicted with
    words: Rows  # of these: ids of the names in it; `PATH` as well where it names a file
    users: Rows  # of these: packages that require it
    providers: Rows  # of these, the preferred one first
    preferred: array[int]  # of these: that first provider, 0 where there is none
    provides: Rows  # package → dependencies that it is a provider of
    free: frozenset[int]  # dependencies that need no package
    rich: dict[int, Rich]  # dependencies of which `providers` does not say all
    parts: dict[str, int]  # the parts of these, by their text: dependency numbers
    obsoleting: array[int]  # libsolv's ids of what is obsoleted
    obsoleted: Rows  # of these: packages that are meant
    exact: bool  # whether the pool's settings are those that `witness` knows


def read_graph(pool: Any, native: str) -> Graph:
    """All packages of the pool; `createwhatprovides` has been called.

    `native` is the architecture that the pool was given.
    """
    reader = Reader(pool, native)
    reader.packages(pool.solvables_iter())
    reader.dependencies()
    return reader.graph()


class Reader:
    """Reads packages, then dependencies; what `known` has is not read again."""

    def __init__(self, pool: Any, native: str, known: Graph | None = None) -> None:
        self.pool = pool
        self.native = native
        self.numbers = _numbering(known.dependencies if known else ())
        self.obsoleting = _numbering(known.obsoleting if known else ())
        self.names = array("i", known.names if known else (0, 0))
        self.sources = set(known.sources if known else ())
        self.odd = set(known.odd if known else ())
        self.twins = dict(known.twins if known else {})
        self.rich = dict(known.rich if known else {})
        self.parts = dict(known.parts if known else {})
        nothing = Rows(array("i", (0, 0, 0)), array("i"))
        tables = (known.requires, known.conflicts, known.obsoletes) if known else (nothing,) * 3
        self.tables = [Rows(array("i", rows.first), array("i", rows.values)) for rows in tables]
        self.words: list[tuple[int, ...]] = []  # of the dependencies that `known` does not have
        self._known = len(self.numbers)

    def packages(self, solvables: Iterable[Any]) -> None:
        """In the order of their ids, which are higher than those of the packages before."""
        requires, conflicts, obsoletes = self.tables
        numbers, obsoleting = self.numbers.__getitem__, self.obsoleting.__getitem__
        needs, against, instead = (
            solv.SOLVABLE_REQUIRES, solv.SOLVABLE_CONFLICTS, solv.SOLVABLE_OBSOLETES,
        )  # fmt: skip
        arches = {self.pool.str2id(name): name for name in (*_SOURCES, "noarch")}
        seen: dict[int, int] = {}
        mixed: set[int] = set()
        names = self.names
        for solvable in solvables:
            number = solvable.id
            while len(names) < number:  # a hole
                names.append(0)
                for table in self.tables:
                    table.first.append(len(table.values))
            name, arch = solvable.nameid, solvable.archid
            names.append(name)
            requires.values.extend(map(numbers, solvable.lookup_idarray(needs)))
            conflicts.values.extend(map(numbers, solvable.lookup_idarray(against)))
            obsoletes.values.extend(map(obsoleting, solvable.lookup_idarray(instead)))
            requires.first.append(len(requires.values))
            conflicts.first.append(len(conflicts.values))
            obsoletes.first.append(len(obsoletes.values))
            kind = arches.get(arch)
            if kind in _SOURCES:
                self.sources.add(number)
            elif kind is None and seen.setdefault(name, arch) != arch:
                mixed.add(name)
            if kind not in _SOURCES and not solvable.installable():
                self.odd.add(number)
        self.judge_architectures(mixed)

    def judge_architectures(self, mixed: Set[int]) -> None:
        """Among packages of these names, which may be there for their architecture.

        libsolv takes no other architecture than the best of a name; where architectures may be
        together, the others come along with the native package of the very same version.
        """
        together = bool(self.pool.get_flag(solv.Pool.POOL_FLAG_IMPLICITOBSOLETEUSESCOLORS))
        members = [n for n, name in enumerate(self.names) if name in mixed] if mixed else []
        solvables = {n: self.pool.id2solvable(n) for n in members if n not in self.sources}
        natives = {(s.nameid, s.evrid): n for n, s in solvables.items() if s.arch == self.native}
        neutral = {s.nameid for s in solvables.values() if s.arch == "noarch"}
        arches: dict[int, set[str]] = {}
        for solvable in solvables.values():
            arches.setdefault(solvable.nameid, set()).add(solvable.arch)
        for number, solvable in solvables.items():
            twin = natives.get((solvable.nameid, solvable.evrid))
            others = arches[solvable.nameid] - {"noarch", solvable.arch}
            self.twins.pop(number, None)
            self.odd.discard(number)
            if not solvable.installable():
                self.odd.add(number)
            elif solvable.arch not in (self.native, "noarch") and others:
                if together and twin is not None and solvable.nameid not in neutral:
                    self.twins[number] = twin
                else:
                    self.odd.add(number)

    def dependencies(self) -> None:
        """What the packages name, and the parts of what is rich."""
        done = self._known
        while done < len(self.numbers):
            for dependency, number in list(self.numbers.items())[done:]:
                text = self.pool.dep2str(dependency)
                rich = dependency < 0 and text.startswith("(")
                if rich:
                    self._learn_rich(dependency, number, text)
                self.words.append(self._words(text, rich))
                done += 1

    def _words(self, text: str, rich: bool) -> tuple[int, ...]:
        words = tokens(text) if rich else text.split(" ", 1)[:1]
        ids = {self.pool.str2id(word, False) for word in words} - {0}
        return (PATH, *ids) if any(word.startswith("/") for word in words) else (*ids,)

    def _learn_rich(self, dependency: int, number: int, text: str) -> None:
        tree = parse(text)
        if tree is None or dependency_id(self.pool, tree) != dependency:
            self.rich[number] = Rich("?", (), text)
        elif not tree.listed:
            self.rich[number] = tree
        else:
            return
        for part in _listed_parts(self.rich[number]):
            part_id = dependency_id(self.pool, part)
            if part_id is None:
                self.rich[number] = Rich("?", (), text)
                return
            self.parts[part.text] = self.numbers[part_id]

    def providers(self, numbers: Iterable[int]) -> dict[int, list[int]]:
        """Solvable ids, as libsolv lists them."""
        ids = list(self.numbers)
        return {number: [s.id for s in self.pool.whatprovides(ids[number])] for number in numbers}

    def free(self, found: Mapping[int, Sequence[int]]) -> set[int]:
        """Those of the dependencies that need no package."""
        free = {number for number, ids in found.items() if _SYSTEM in ids}
        marker = self.numbers.get(solv.SOLVABLE_PREREQMARKER)
        return free if marker is None else free | {marker}

    def obsoleted(self) -> Rows:
        """Packages that have the name and version themselves: Provides are not obsoleted."""
        name = solv.SOLVABLE_NAME
        return Rows.of(
            [s.id for s in self.pool.whatprovides(entry) if s.matchesdep(name, entry)]
            for entry in self.obsoleting
        )

    def graph(self) -> Graph:
        """The graph of a pool of which nothing was known."""
        requires, conflicts, obsoletes = self.tables
        found = self.providers(range(len(self.numbers)))
        providers = Rows.of(
            _preferred(self.pool, self.numbers, found, Counter(requires.values), self.twins)
        )
        return Graph(
            names=self.names,
            sources=frozenset(self.sources),
            odd=frozenset(self.odd),
            native=self.native,
            twins=self.twins,
            requires=requires,
            conflicts=conflicts,
            obsoletes=obsoletes,
            dependencies=array("i", self.numbers),
            words=Rows.of(self.words),
            users=requires.turned(len(providers)),
            providers=providers,
            preferred=array("i", (ids[0] if ids else 0 for ids in providers)),
            provides=providers.turned(len(self.names)),
            free=frozenset(self.free(found)),
            rich=self.rich,
            parts=self.parts,
            obsoleting=array("i", self.obsoleting),
            obsoleted=self.obsoleted(),
            exact=not any(self.pool.get_flag(flag) for flag in _UNKNOWN_FLAGS),
        )


def _numbering(known: Iterable[int]) -> defaultdict[int, int]:
    numbers = dict(zip(known, count()))
    return defaultdict(count(len(numbers)).__next__, numbers)


def _preferred(
    pool: Any,
    dependencies: Iterable[int],
    found: Mapping[int, list[int]],
    users: Mapping[int, int],
    twins: Mapping[int, int],
) -> Iterator[Iterable[int]]:
    """Providers in order: of the first alternative first, then by name, then the most wanted.

    Any order is right; a good one makes closures that have no conflicts.
    """
    votes: Counter[int] = Counter()
    ranks: dict[int, dict[int, tuple[int, bool]]] = {}
    for number, dependency in enumerate(dependencies):
        ids = found[number]
        if len(ids) == 1:
            votes[ids[0]] += users.get(number, 0)
        elif ids and number in users:
            rank = ranks[number] = ranked(pool, dependency, ids)
            best = min(rank.values())
            leading = [n for n in ids if rank[n] == best]
            if len(leading) == 1:
                votes[leading[0]] += users[number]
    for number, ids in found.items():
        given = ranks.get(number)
        if given is None:
            yield ids
        else:
            yield sorted(ids, key=lambda n: (n in twins, given[n], -votes[n], n))


def ranked(pool: Any, dependency: int, ids: Sequence[int]) -> dict[int, tuple[int, bool]]:
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

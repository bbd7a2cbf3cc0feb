"""The graph after an update of some packages, made from the one before it."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence, Set
from typing import Any

import solv

from farm.plan.closure.graph import PATH, Graph, Reader, ranked
from farm.plan.closure.rows import Rows


def regraph(pool: Any, graph: Graph, gone: frozenset[int], come: Sequence[int]) -> Graph:
    """The pool's graph when `gone` have been disabled in it and `come` (ascending) been added.

    `createwhatprovides` has been called since.
    """
    reader = Reader(pool, graph.native, graph)
    named = {graph.names[number] for number in gone}
    reader.packages(map(pool.id2solvable, come))
    reader.dependencies()
    for number in gone:
        reader.names[number] = 0
    reader.judge_architectures(named | {reader.names[number] for number in come})
    known, length, size = len(graph.dependencies), len(reader.numbers), len(reader.names)
    touched = set(graph.words.holding({PATH, *_told(pool, come)}))
    touched.update(*map(graph.provides.__getitem__, gone), range(known, length))
    found = reader.providers(touched)
    dependencies = array("i", reader.numbers)
    ordered = {
        number: _ordered(reader, dependencies[number], ids, _row(graph.providers, number))
        for number, ids in found.items()
    }
    preferred = graph.preferred + array("i", bytes(4 * (length - known)))
    for number, ids in ordered.items():
        preferred[number] = ids[0] if ids else 0
    requires, conflicts, obsoletes = reader.tables
    return Graph(
        names=reader.names,
        sources=frozenset(reader.sources - gone),
        odd=frozenset(reader.odd),
        native=reader.native,
        twins=reader.twins,
        requires=requires,
        conflicts=conflicts,
        obsoletes=obsoletes,
        dependencies=dependencies,
        words=graph.words.replaced(dict(enumerate(reader.words, known)), length),
        users=_users(graph, requires, gone, come, length),
        providers=graph.providers.replaced(ordered, length),
        preferred=preferred,
        provides=_provides(graph, ordered, size),
        free=frozenset((graph.free - touched) | reader.free(found)),
        rich=reader.rich,
        parts=reader.parts,
        obsoleting=array("i", reader.obsoleting),
        obsoleted=reader.obsoleted(),
        exact=graph.exact,
    )


def _told(pool: Any, come: Iterable[int]) -> set[int]:
    """Ids of the names that packages have or provide."""
    names = set()
    for number in come:
        solvable = pool.id2solvable(number)
        names.add(solvable.nameid)
        for dependency in solvable.lookup_idarray(solv.SOLVABLE_PROVIDES):
            text = pool.dep2str(dependency)
            names.add(pool.str2id(text.split(" ", 1)[0]))
    return names


def _ordered(reader: Reader, dependency: int, ids: list[int], before: Iterable[int]) -> list[int]:
    """As `read_graph` would order them, those known before in the order of before."""
    if len(ids) < 2:
        return ids
    rank = ranked(reader.pool, dependency, ids)
    place = {number: n for n, number in enumerate(before)}
    return sorted(ids, key=lambda n: (n in reader.twins, rank[n], place.get(n, len(place)), n))


def _row(rows: Rows, number: int) -> Iterable[int]:
    return rows[number] if number < len(rows) else ()


def _users(graph: Graph, requires: Rows, gone: Set[int], come: Iterable[int], length: int) -> Rows:
    fresh: dict[int, list[int]] = {}
    for package in come:
        for number in requires[package]:
            fresh.setdefault(number, []).append(package)
    lost = {number for package in gone for number in requires[package]}
    changes = {}
    for number in lost | fresh.keys():
        users = _row(graph.users, number)
        if number in lost:
            users = [user for user in users if user not in gone]
        changes[number] = [*users, *fresh.get(number, ())]
    return graph.users.replaced(changes, length)


def _provides(graph: Graph, ordered: dict[int, list[int]], size: int) -> Rows:
    changes: dict[int, set[int]] = {}
    for number, ids in ordered.items():
        before, after = set(_row(graph.providers, number)), set(ids)
        for package in before ^ after:
            row = changes.setdefault(package, set(_row(graph.provides, package)))
            row ^= {number}
    return graph.provides.replaced(changes, size)

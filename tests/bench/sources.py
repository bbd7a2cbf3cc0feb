"""Debian's source packages as a plan: who has to be built before whom.

An edge goes from a source package to the source package of every binary package that its
Build-Depends, Build-Depends-Arch and Build-Depends-Indep name (of alternatives the first that
exists; of a virtual package the first by name that provides it).

Packages that are taken: in the order of the sha256 of their names, each with all that it needs to
be built, until there are enough; what is left out is as if the base had it.

Debian's packages need one another in circles. Inside each strongly connected component they are put
into a line in which few edges point backward (the greedy heuristic of Eades, Lin and Smyth), and
those that do are cut, as if the earlier build of such a package were taken from the base.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from farm.model import Plan, Step
from tests.bench.convert import relations, stanzas

_FIELDS = ("Build-Depends", "Build-Depends-Arch", "Build-Depends-Indep")
Edges = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Graph:
    """A plan, and how many edges were cut to have one. `closed` is the same plan as farm makes
    it: a step needs whatever its needs need."""

    plan: Plan
    closed: Plan
    edges: int
    cut: int
    largest: int  # packages in the largest circle


def graph(packages: Path, sources: Path, number: int) -> Graph:
    """The plan of so many of Debian's source packages, from its indexes."""
    chosen = selected(build_dependencies(packages, sources), number)
    circles = [each for each in components(chosen) if len(each) > 1]
    acyclic, cut = cut_circles(chosen, circles)
    order = [name for component in components(acyclic) for name in component]
    needs: dict[str, frozenset[str]] = {}
    for name in order:
        needs[name] = acyclic[name].union(*(needs[need] for need in acyclic[name]))
    edges = sum(len(needs) for needs in acyclic.values())
    return Graph(
        _plan(order, acyclic), _plan(order, needs), edges, cut, max(map(len, circles), default=0)
    )


def _plan(order: Iterable[str], edges: Edges) -> Plan:
    return Plan(tuple(Step(name, "debian", tuple(sorted(edges[name]))) for name in order))


def build_dependencies(packages: Path, sources: Path) -> Edges:
    """What each source package needs to be built: source packages."""
    source_of: dict[str, str] = {}
    providers: dict[str, list[str]] = {}
    for stanza in stanzas(packages):
        name = stanza["Package"]
        source_of[name] = stanza.get("Source", name).split()[0]
        for alternatives in relations(stanza.get("Provides", "")):
            providers.setdefault(alternatives[0].name, []).append(name)
    for virtual, names in providers.items():
        source_of.setdefault(virtual, source_of[min(names)])
    found: dict[str, set[str]] = {}
    for stanza in stanzas(sources):
        needs = found.setdefault(stanza["Package"], set())
        for field in _FIELDS:
            for alternatives in relations(stanza.get(field, "")):
                there = [atom.name for atom in alternatives if atom.name in source_of]
                needs.update(source_of[name] for name in there[:1])
    return {
        name: frozenset(need for need in needs if need in found and need != name)
        for name, needs in found.items()
    }


def selected(edges: Edges, number: int) -> Edges:
    """So many packages, with what each of them needs as far as that is among them."""
    taken: dict[str, None] = {}
    for name in sorted(edges, key=lambda each: hashlib.sha256(each.encode()).digest()):
        left = [name]
        while left and len(taken) < number:
            each = left.pop(0)
            if each not in taken:
                taken[each] = None
                left += sorted(edges[each])
    return {name: edges[name] & taken.keys() for name in taken}


def cut_circles(edges: Edges, circles: Iterable[Sequence[str]]) -> tuple[Edges, int]:
    """The same without circles, and how many edges were cut."""
    line: dict[str, tuple[int, int]] = {}
    for number, circle in enumerate(circles):
        inside = {name: edges[name] & frozenset(circle) for name in circle}
        line |= {name: (number, place) for place, name in enumerate(in_line(inside))}
    kept, cut = {}, 0
    for name, needs in edges.items():
        here = line.get(name)
        forward = frozenset(
            need
            for need in needs
            if here is None or need not in line or line[need][0] != here[0] or line[need] < here
        )
        cut += len(needs) - len(forward)
        kept[name] = forward
    return kept, cut


def in_line(edges: Edges) -> list[str]:
    """Packages in an order in which most needs come before what needs them."""
    needs = {name: set(each) for name, each in edges.items()}
    wanted: dict[str, set[str]] = {name: set() for name in edges}
    for name, each in edges.items():
        for need in each:
            wanted[need].add(name)
    first: list[str] = []
    last: list[str] = []
    while needs:
        free = sorted(name for name, each in needs.items() if not each)
        final = sorted(name for name, each in wanted.items() if not each)
        if free:
            out, to = free, first
        elif final:
            out, to = final, last
        else:
            best = max(sorted(needs), key=lambda name: len(wanted[name]) - len(needs[name]))
            out, to = [best], first
        for name in out:
            to.append(name)
            for need in needs.pop(name):
                wanted[need].discard(name)
            for other in wanted.pop(name):
                if other in needs:
                    needs[other].discard(name)
    return [*first, *reversed(last)]


def components(edges: Edges) -> Iterator[list[str]]:
    """Strongly connected components (Tarjan's), needs before what needs them."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    path: list[str] = []
    on_path: set[str] = set()
    for root in edges:
        if root in index:
            continue
        work: list[tuple[str, Iterator[str]]] = [(root, iter(sorted(edges[root])))]
        index[root] = low[root] = len(index)
        path.append(root)
        on_path.add(root)
        while work:
            name, needs = work[-1]
            need = next(needs, None)
            if need is None:
                work.pop()
                if work:
                    above = work[-1][0]
                    low[above] = min(low[above], low[name])
                if low[name] == index[name]:
                    component = path[path.index(name) :]
                    del path[-len(component) :]
                    on_path.difference_update(component)
                    yield sorted(component)
            elif need not in index:
                index[need] = low[need] = len(index)
                path.append(need)
                on_path.add(need)
                work.append((need, iter(sorted(edges[need]))))
            elif need in on_path:
                low[name] = min(low[name], index[need])

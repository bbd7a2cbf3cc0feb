"""Loops in a graph of names, and the order where there is none."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Set

Graph = Mapping[str, Set[str]]


def closure(start: Iterable[str], following: Callable[[str], Iterable[str]]) -> frozenset[str]:
    """`start` and whatever follows."""
    seen = set(start)
    queue = deque(sorted(seen))
    while queue:
        for name in following(queue.popleft()):
            if name not in seen:
                seen.add(name)
                queue.append(name)
    return frozenset(seen)


def loops(graph: Graph) -> tuple[frozenset[str], ...]:
    """The sets of names that need one another (or, alone, themselves), by their first name."""
    found = []
    for names in _components(graph):
        (name, *others) = names
        if others or name in graph.get(name, ()):
            found.append(frozenset(names))
    return tuple(sorted(found, key=min))


def shortest_loop(start: str, graph: Graph) -> tuple[str, ...]:
    """The shortest way from a name back to itself, both ends included; () when there is none.

    >>> shortest_loop("a", {"a": {"b", "c"}, "b": {"c"}, "c": {"a"}})
    ('a', 'c', 'a')
    """
    queue: deque[tuple[str, ...]] = deque([(start,)])
    seen: set[str] = set()
    while queue:
        path = queue.popleft()
        for name in sorted(graph.get(path[-1], ())):
            if name == start:
                return (*path, start)
            if name not in seen:
                seen.add(name)
                queue.append((*path, name))
    return ()


def ordered(graph: Graph) -> tuple[str, ...]:
    """Every name after those that it needs, ties by name; what loops comes last."""
    remaining = {name: set(needs) & graph.keys() for name, needs in graph.items()}
    order: list[str] = []
    while remaining:
        ready = sorted(name for name, needs in remaining.items() if not needs)
        if not ready:
            break
        order += ready
        for name in ready:
            del remaining[name]
        for needs in remaining.values():
            needs.difference_update(ready)
    return (*order, *sorted(remaining))


def with_harmless(graph: Graph, more: Graph) -> dict[str, frozenset[str]]:
    """A graph without loops with as many of these edges as make none, names in their order."""
    edges = {name: frozenset(needs) for name, needs in graph.items()}
    users: dict[str, set[str]] = {name: set() for name in edges}
    for name, needs in edges.items():
        for need in needs & edges.keys():
            users[need].add(name)
    for name in sorted(more):
        fresh = (more[name] & edges.keys()) - edges[name]
        if not fresh:
            continue
        fresh -= closure((name,), lambda each: users[each])
        edges[name] |= fresh
        for need in fresh:
            users[need].add(name)
    return edges


def by_use(candidates: Set[str], looping: Callable[[frozenset[str]], int]) -> tuple[str, ...]:
    """The candidates, each next the one with which, and those before it, the fewest names loop.

    Among equals the first by name.
    """
    order: list[str] = []
    left = set(candidates)
    while left:
        best = min(left, key=lambda one: (looping(frozenset((*order, one))), one))
        order.append(best)
        left.remove(best)
    return tuple(order)


def without_idle(
    chosen: frozenset[str], looping: Callable[[frozenset[str]], int]
) -> frozenset[str]:
    """Those of the chosen, which together leave no loop, that are of use."""
    for one in sorted(chosen):
        fewer = chosen - {one}
        if fewer and not looping(fewer):
            chosen = fewer
    return chosen


def _components(graph: Graph) -> list[tuple[str, ...]]:
    """Strongly connected components (Tarjan, without recursion)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[tuple[str, ...]] = []
    for root in sorted(graph):
        if root in number:
            continue
        work = [(root, iter(sorted(graph[root])))]
        number[root] = low[root] = len(number)
        stack.append(root)
        while work:
            name, following = work[-1]
            for other in following:
                if other not in number:
                    number[other] = low[other] = len(number)
                    stack.append(other)
                    work.append((other, iter(sorted(graph.get(other, ())))))
                    break
                if other in low:
                    low[name] = min(low[name], number[other])
            else:
                work.pop()
                if work:
                    parent = work[-1][0]
                    low[parent] = min(low[parent], low[name])
                if low[name] == number[name]:
                    at = stack.index(name)
                    found.append(tuple(stack[at:]))
                    # what is complete takes no more part
                    for member in stack[at:]:
                        del low[member]
                    del stack[at:]
    return found

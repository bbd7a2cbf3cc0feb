"""What can be said of a dependency graph without drawing it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def acyclic(needs: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """The same without what closes a loop, names that are only needed included; sorted."""
    every = {name: sorted(set(those) - {name}) for name, those in needs.items()}
    for name in sorted({need for those in every.values() for need in those} - every.keys()):
        every[name] = []
    kept: dict[str, list[str]] = {name: [] for name in sorted(every)}
    state: dict[str, int] = {}  # 1: being looked at, 2: done
    for root in kept:
        if root in state:
            continue
        state[root] = 1
        path = [(root, iter(every[root]))]
        while path:
            name, rest = path[-1]
            need = next(rest, None)
            if need is None:
                state[name] = 2
                path.pop()
            elif state.get(need) != 1:
                kept[name].append(need)
                if need not in state:
                    state[need] = 1
                    path.append((need, iter(every[need])))
    return {name: tuple(those) for name, those in kept.items()}


def reduced(needs: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Without needs that other needs bring along. The graph has no loop."""
    number = {name: place for place, name in enumerate(needs)}
    reach: dict[str, int] = {}  # everything below, as bits
    for name in inwards(needs):
        reach[name] = 0
        for need in needs[name]:
            reach[name] |= reach[need] | 1 << number[need]
    found = {}
    for name, those in needs.items():
        implied = 0
        for need in those:
            implied |= reach[need]
        found[name] = tuple(need for need in those if not implied >> number[need] & 1)
    return found


def inwards(needs: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Each after all that it needs."""
    open_ = {name: len(those) for name, those in needs.items()}
    following: dict[str, list[str]] = {name: [] for name in needs}
    for name, those in needs.items():
        for need in those:
            following[need].append(name)
    order = [name for name, count in open_.items() if not count]
    for name in order:
        for after in following[name]:
            open_[after] -= 1
            if not open_[after]:
                order.append(after)
    return order


def parts(needs: Mapping[str, tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """Names that hang together, the largest part first; alone is a part as well."""
    near: dict[str, set[str]] = {name: set(those) for name, those in needs.items()}
    for name, those in needs.items():
        for need in those:
            near[need].add(name)
    found, seen = [], set[str]()
    for name in sorted(near):
        if name in seen:
            continue
        part, waiting = {name}, [name]
        while waiting:
            new = near[waiting.pop()] - part
            part |= new
            waiting += new
        seen |= part
        found.append(tuple(sorted(part)))
    return tuple(sorted(found, key=lambda part: (-len(part), part)))

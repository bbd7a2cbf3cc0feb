"""What each package brings in by default, and whether something in that forbids something else."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import repeat

from farm.plan.closure.choices import NOBODY, NOTHING, SEVERAL, Choices
from farm.plan.closure.graph import Graph

_EMPTY, _CLASH = 0, 1  # numbers of two closures: of nothing, and of what only libsolv can judge


class Closures:
    """What the default providers bring in, as far as it can be forbidden or forbids.

    A closure is one integer: the lower half has a bit for each package in it that matters, the
    upper half one for each package that something in it forbids. Few packages of a distribution
    matter, so the integers are short, and most closures share theirs.
    """

    def __init__(self, graph: Graph, choices: Choices, questions: Sequence[int]) -> None:
        self._graph, self._choices = graph, choices
        self._edges = self._reach(questions)
        rivals = self._rivals(questions)
        self._width = len(rivals) + 1
        self._bit = {package: place + 1 for place, package in enumerate(rivals)}
        self._clash = 1 | 1 << self._width
        self._low = (1 << self._width) - 1
        own = {package: self._own(package, rivals[package]) for package in rivals}
        for package in self._spoilt:
            own[package] = own.get(package, 0) | self._clash
        self._values = [0, self._clash]
        self._known = {bits: number for number, bits in enumerate(self._values)}
        self._closure = self._closed(own)
        self._numbers = self._by_dependency()

    def witnessed(self, questions: Iterable[int]) -> Iterator[int]:
        """The questions whose default closure, or that of a source's needs, is a witness."""
        graph, numbers = self._graph, self._numbers.__getitem__
        first, values, against = graph.requires.first, graph.requires.values, graph.conflicts.first
        known: dict[frozenset[int], bool] = {}
        for question in questions:
            if question in graph.odd or question in self._spoilt:
                continue
            if question not in graph.sources:
                fits = self._fits(self._values[self._closure[question]])
            else:
                needs = frozenset(map(numbers, values[first[question] : first[question + 1]]))
                if against[question] != against[question + 1]:
                    fits = self._fits_without(needs, graph.conflicts[question])
                elif needs in known:
                    fits = known[needs]
                else:
                    fits = known[needs] = self._fits(self._together(needs))
            if fits:
                yield question

    def clashes(self, questions: Iterable[int]) -> Iterator[list[int]]:
        """For each question without a witness the packages that get in one another's way."""
        packages = {bit: package for package, bit in self._bit.items()}
        for question in questions:
            if question in self._graph.sources:
                needs = map(self._numbers.__getitem__, self._graph.requires[question])
                value = self._together(needs)
            else:
                value = self._values[self._closure.get(question, _EMPTY)]
            both = value & self._low & value >> self._width
            bits = (n for n in range(1, self._width) if both >> n & 1) if both else ()
            yield [packages[bit] for bit in bits]

    def _fits_without(self, needs: Iterable[int], against: Iterable[int]) -> bool:
        value = self._together(needs)
        for number in against:
            if number in self._graph.rich or number in self._graph.free:
                return False
            for package in self._graph.providers[number]:
                if package in self._bit:
                    value |= 1 << self._bit[package] + self._width
        return self._fits(value)

    def _fits(self, value: int) -> bool:
        return not value & self._low & value >> self._width

    def _reach(self, questions: Sequence[int]) -> dict[int, set[int]]:
        """Package → what its requirements bring in, for all that the questions reach."""
        graph, one = self._graph, self._choices.one.__getitem__
        first, values, twins = graph.requires.first, graph.requires.values, graph.twins
        edges: dict[int, set[int]] = {}
        self._spoilt: set[int] = set()
        self._without: dict[int, frozenset[int]] = {}
        wave = set(questions) - graph.sources
        used: set[int] = set()
        for question in graph.sources.intersection(questions):
            used.update(values[first[question] : first[question + 1]])
        for number in used:
            wave |= self._packages_of(number)
        wave.discard(NOTHING)
        while wave:
            reached: set[int] = set()
            for package in wave:
                found = set(map(one, values[first[package] : first[package + 1]]))
                if SEVERAL in found or NOBODY in found:
                    found = self._targets(package)
                if package in twins:
                    found.add(twins[package])
                found.discard(package)
                found.discard(NOTHING)
                edges[package] = found
                reached |= found
            wave = reached - edges.keys()
        return edges

    def _packages_of(self, number: int) -> Set[int]:
        """Packages chosen for a dependency; none where libsolv has to choose."""
        target = self._choices.one[number]
        if target >= 0:
            return {target}
        choice = self._choices.several.get(number)
        return choice.packages if choice is not None else frozenset()

    def _targets(self, package: int) -> set[int]:
        """Packages that its requirements choose; notes what libsolv must judge."""
        found: set[int] = set()
        for number in self._graph.requires[package]:
            found |= self._packages_of(number)
            if self._choices.one[number] >= 0:
                continue
            choice = self._choices.several.get(number)
            if choice is None:
                self._spoilt.add(package)
            elif choice.without:
                kept_out = self._without.get(package, frozenset()) | choice.without
                self._without[package] = kept_out
                if package in kept_out:
                    self._spoilt.add(package)
        found.discard(NOTHING)
        return found

    def _rivals(self, questions: Sequence[int]) -> dict[int, set[int]]:
        """Packages reached that exclude one another; and those that a question excludes."""
        graph, edges = self._graph, self._edges
        rivals: dict[int, set[int]] = {}
        by_name: dict[int, list[int]] = {}
        for package in edges:
            by_name.setdefault(graph.names[package], []).append(package)
        exclusions = [
            *self._forbidden(),
            *self._without.items(),
            *self._same_name(by_name.values()),
        ]
        for package, others in exclusions:
            for other in others:
                if other in edges and package in edges and other != package:
                    rivals.setdefault(package, set()).add(other)
                    rivals.setdefault(other, set()).add(package)
        for packages in self._kept_out(questions):
            for package in packages & edges.keys():
                rivals.setdefault(package, set())
        return rivals

    def _same_name(self, groups: Iterable[Sequence[int]]) -> Iterator[tuple[int, Iterable[int]]]:
        """Each package with those that cannot be there beside it for having its name."""
        twins = self._graph.twins
        for group in groups:
            if len(group) > 1:
                for one in group:
                    yield one, [other for other in group if (one in twins) == (other in twins)]

    def _forbidden(self) -> Iterator[tuple[int, Iterable[int]]]:
        """Each package reached with those that its Conflicts and Obsoletes name."""
        graph = self._graph
        conflicts, obsoletes, first = graph.conflicts, graph.obsoletes, graph.providers.first
        for package in self._edges:
            if conflicts.first[package] != conflicts.first[package + 1]:
                for number in conflicts[package]:
                    if number in graph.rich or number in graph.free:
                        self._spoilt.add(package)
                    if first[number] != first[number + 1]:
                        yield package, graph.providers[number]
            if obsoletes.first[package] != obsoletes.first[package + 1]:
                for number in obsoletes[package]:
                    yield package, graph.obsoleted[number]

    def _kept_out(self, questions: Sequence[int]) -> Iterator[frozenset[int]]:
        """Packages that rich dependencies and BuildConflicts of the questions exclude."""
        for choice in self._choices.several.values():
            if choice is not None:
                yield choice.without
        for question in self._graph.sources.intersection(questions):
            for number in self._graph.conflicts[question]:
                yield frozenset(self._graph.providers[number])

    def _own(self, package: int, rivals: Iterable[int]) -> int:
        value = 1 << self._bit[package]
        for rival in rivals:
            value |= 1 << self._bit[rival] + self._width
        return value

    def _number(self, bits: int) -> int:
        number = self._known.setdefault(bits, len(self._values))
        if number == len(self._values):
            self._values.append(bits)
        return number

    def _closed(self, own: Mapping[int, int]) -> dict[int, int]:
        """For each package the number of its closure; those of a cycle share one closure."""
        edges = self._edges
        closure: dict[int, int] = {}
        known: dict[frozenset[int | None], int] = {}
        for cycle in cycles(edges):
            (member, *others) = cycle
            if not others and member not in own:
                parts = frozenset(map(closure.get, edges[member]))
                number = known.get(parts)
                if number is None:
                    number = known[parts] = self._number(self._together(parts))
                closure[member] = number
                continue
            bits = 0
            for member in cycle:
                bits |= own.get(member, 0) | self._together(map(closure.get, edges[member]))
            number = self._number(bits)
            for member in cycle:
                closure[member] = number
        return closure

    def _by_dependency(self) -> array[int]:
        """For each dependency the number of what it brings in."""
        special = {NOTHING: _EMPTY, NOBODY: _CLASH, SEVERAL: _CLASH}
        get = (self._closure | special).get
        result = array("i", map(get, self._choices.one, repeat(_EMPTY)))
        for number, choice in self._choices.several.items():
            if choice is not None:
                bits = self._together(map(self._closure.get, choice.packages))
                for package in choice.without:
                    if package in self._bit:
                        bits |= 1 << self._bit[package] + self._width
                result[number] = self._number(bits)
        return result

    def _together(self, numbers: Iterable[int | None]) -> int:
        bits = 0
        for number in numbers:
            if number is not None:
                bits |= self._values[number]
        return bits


def cycles(edges: Mapping[int, Iterable[int]]) -> Iterator[list[int]]:
    """The strongly connected components (Tarjan), each after those that it leads to."""
    low: dict[int, int] = {}
    done: set[int] = set()
    path: list[int] = []
    for root in edges:
        if root in low:
            continue
        todo = [(root, len(low), iter(edges[root]))]
        low[root] = len(low)
        path.append(root)
        while todo:
            node, place, rest = todo[-1]
            for other in rest:
                if other not in low:
                    todo.append((other, len(low), iter(edges[other])))
                    low[other] = len(low)
                    path.append(other)
                    break
                if other not in done and low[other] < low[node]:
                    low[node] = low[other]
            else:
                todo.pop()
                if todo and low[node] < low[todo[-1][0]]:
                    low[todo[-1][0]] = low[node]
                if low[node] == place:
                    start = len(path) - 1
                    while path[start] != node:
                        start -= 1
                    found = path[start:]
                    del path[start:]
                    done.update(found)
                    yield found

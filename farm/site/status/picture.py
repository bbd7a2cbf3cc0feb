"""A laid out dependency graph as what a template draws: boxes that are links, and lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from farm.site.status.facts import OfRelease, PackagePage, State
from farm.site.status.layout import Box, Layout, Line, layout


@dataclass(frozen=True)
class Node:
    """A box with the state of its package on each architecture."""

    box: Box
    package: str
    states: tuple[tuple[str, State], ...]  # architecture, state
    state: State
    urgent: bool = False

    @property
    def told(self) -> str:
        """What the picture says, in words."""
        return ", ".join(f"{state} on {arch}" for arch, state in self.states)


@dataclass(frozen=True)
class Edge:
    """`target` needs `source`; `path` is the line between them as SVG writes it."""

    source: str
    target: str
    path: str


@dataclass(frozen=True)
class Picture:
    """Everything that is drawn, and how large it is in pixels."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    width: int
    height: int


class Draughtsman:
    """Draws the graph of a release; where things go is found once for each graph."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Mapping[str, tuple[str, ...]], int, Layout]] = {}

    def draw(self, release: str, packages: Sequence[PackagePage]) -> Picture:
        known = {p.name: each for p in packages if (each := p.within(release)) is not None}
        needs = {name: each.needs for name, each in known.items()}
        marks = max((len(each.spots) for each in known.values()), default=1)
        kept = self._kept.get(release)
        if kept is None or kept[:2] != (needs, marks):
            kept = self._kept[release] = (needs, marks, layout(needs, marks=marks))
        return _picture(kept[2], known.get)


def _picture(laid: Layout, of: Callable[[str], OfRelease | None]) -> Picture:
    return Picture(
        tuple(_node(box, of(box.name)) for box in laid.boxes),
        tuple(Edge(line.source, line.target, curve(line)) for line in laid.lines),
        round(laid.width),
        round(laid.height),
    )


def _node(box: Box, each: OfRelease | None) -> Node:
    states: Iterable[tuple[str, State]] = ((s.arch, s.state) for s in each.spots) if each else ()
    return Node(box, box.name, tuple(states), each.state if each else "never")


def curve(line: Line) -> str:
    """An SVG path: curves between columns, straight across them."""
    (x, y), *rest = line.points
    words = [f"M{x:.0f} {y:.1f}"]
    for number, (to_x, to_y) in enumerate(rest):
        if number % 2:
            words.append(f"H{to_x:.0f}")
        else:
            bend = (to_x - x) / 2
            words.append(
                f"C{x + bend:.0f} {y:.1f} {to_x - bend:.0f} {to_y:.1f} {to_x:.0f} {to_y:.1f}"
            )
        x, y = to_x, to_y
    return "".join(words)

"""Where the boxes of a dependency graph go, and the lines between them.

Columns from left to right: what is needed stands left of who needs it, always. A line that
passes a column has a track of its own there, between the boxes, so that no line runs through a
box; all lines from one box share theirs. Boxes without any line stand below, in rows.

Sugiyama's way: break loops, drop lines that others imply, give each box a column, order the
columns so that few lines cross, then move boxes towards their neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from farm.site.status.graph import acyclic, inwards, parts, reduced

_HEIGHT, _GAP = 30.0, 10.0  # of a box; between two
_TRACK = 5.0  # room for a line that passes
_BETWEEN = 56.0  # between columns
_MARGIN = 16.0
_APART = 36.0  # between parts that do not hang together
_CHARACTER = 7.6  # width of one, about
_PADDING = 22.0
_SWEEPS, _SETTLINGS = 10, 12
_NARROWEST = 8  # boxes in a column before another one is begun


@dataclass(frozen=True)
class Box:
    """A node: its left upper corner and its size, in pixels; `column` counts from the left."""

    name: str
    x: float
    y: float
    width: float
    height: float
    column: int  # -1: below, without lines

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


@dataclass(frozen=True)
class Line:
    """`target` needs `source`; points come in pairs: across a column straight, between columns
    in a curve."""

    source: str
    target: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Layout:
    """Where everything is, in pixels."""

    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    width: float
    height: float


@dataclass(frozen=True)
class _Track:
    """Where lines from `source` pass a column."""

    source: str
    column: int


_Slot = str | _Track


def layout(needs: Mapping[str, Iterable[str]], *, marks: int = 1, widest: float = 1100.0) -> Layout:
    """Lay out a graph: each name with those that it needs. `marks`: how many icons a box holds
    beside its name, `widest`: of the rows of boxes without lines."""
    direct = reduced(acyclic(needs))
    widths = {name: _width(name, marks) for name in direct}
    found = parts(direct)
    drawn = [_drawn({name: direct[name] for name in p}, widths) for p in found if len(p) > 1]
    width = max([widest, *(each.width for each in drawn)])
    together = _shelved(drawn, width)
    alone = sorted(part[0] for part in found if len(part) == 1)
    top = together.height + (_APART if drawn and alone else 0.0)
    below = _rows(alone, widths, top, width)
    return _framed((*together.boxes, *below), together.lines)


def _drawn(direct: Mapping[str, tuple[str, ...]], widths: Mapping[str, float]) -> Layout:
    """One part of the graph, from the corner on, without margins."""
    columns = _columns(direct)
    slots, neighbours = _slots(direct, columns)
    _order(slots, neighbours)
    middles = _settle(slots, neighbours)
    boxes, spans, right = _boxes(slots, middles, widths)
    lines = tuple(
        Line(source, target, _points(source, target, boxes, columns, spans, middles))
        for target in sorted(direct)
        for source in direct[target]
    )
    bottom = max(
        middle + (_HEIGHT if isinstance(slot, str) else _TRACK) / 2
        for slot, middle in middles.items()
    )
    return Layout(tuple(boxes.values()), lines, right, bottom)


def _shelved(drawn: Sequence[Layout], widest: float) -> Layout:
    """Parts side by side as far as there is room, then in the next row."""
    boxes: list[Box] = []
    lines: list[Line] = []
    left = top = bottom = 0.0
    for part in drawn:
        if left and left + part.width > widest:
            left, top = 0.0, bottom + _APART
        moved = _moved(part, left, top)
        boxes += moved.boxes
        lines += moved.lines
        bottom = max(bottom, top + part.height)
        left += part.width + _APART
    return Layout(tuple(boxes), tuple(lines), widest, bottom)


def _moved(laid: Layout, right: float, down: float) -> Layout:
    return Layout(
        tuple(replace(box, x=box.x + right, y=box.y + down) for box in laid.boxes),
        tuple(
            replace(line, points=tuple((x + right, y + down) for x, y in line.points))
            for line in laid.lines
        ),
        laid.width,
        laid.height,
    )


def _framed(boxes: Sequence[Box], lines: Sequence[Line]) -> Layout:
    """With a margin around."""
    moved = _moved(Layout(tuple(boxes), tuple(lines), 0.0, 0.0), _MARGIN, _MARGIN)
    right = max((box.x + box.width for box in moved.boxes), default=_MARGIN)
    points = [y for line in moved.lines for _, y in line.points]
    bottom = max([*(box.y + box.height for box in moved.boxes), *points], default=_MARGIN)
    return replace(moved, width=right + _MARGIN, height=bottom + _MARGIN)


def _columns(direct: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """Right of everything needed, as far left as there is room: the column with the longest way
    before it first."""
    room = max(_NARROWEST, math.ceil(1.2 * math.sqrt(len(direct))))
    wanted: dict[str, list[str]] = {name: [] for name in direct}
    for name, those in direct.items():
        for need in those:
            wanted[need].append(name)
    height: dict[str, int] = {}
    for name in reversed(inwards(direct)):
        height[name] = 1 + max((height[after] for after in wanted[name]), default=0)
    open_ = {name: len(those) for name, those in direct.items()}
    ready = sorted((n for n in direct if not open_[n]), key=lambda n: (-height[n], n))
    columns: dict[str, int] = {}
    column = 0
    while ready:
        chosen, ready = ready[:room], ready[room:]
        for name in chosen:
            columns[name] = column
            for after in wanted[name]:
                open_[after] -= 1
                if not open_[after]:
                    ready.append(after)
        ready.sort(key=lambda n: (-height[n], n))
        column += 1
    return columns


def _slots(
    direct: Mapping[str, tuple[str, ...]], columns: Mapping[str, int]
) -> tuple[list[list[_Slot]], dict[_Slot, tuple[list[_Slot], list[_Slot]]]]:
    """What stands in each column, and what each slot is tied to on its left and on its right."""
    slots: list[list[_Slot]] = [[] for _ in range(max(columns.values(), default=-1) + 1)]
    tied: dict[_Slot, tuple[list[_Slot], list[_Slot]]] = {}
    for name, column in sorted(columns.items()):
        slots[column].append(name)
        tied[name] = ([], [])
    for name in sorted(columns):
        for source in direct[name]:
            before: _Slot = source
            for column in range(columns[source] + 1, columns[name]):
                track = _Track(source, column)
                if track not in tied:
                    tied[track] = ([before], [])
                    tied[before][1].append(track)
                    slots[column].append(track)
                before = track
            tied[name][0].append(before)
            tied[before][1].append(name)
    return slots, tied


def _order(slots: list[list[_Slot]], tied: Mapping[_Slot, tuple[list[_Slot], list[_Slot]]]) -> None:
    """Sort each column by where its neighbours are, from the left, then from the right."""
    place = {slot: float(n) for column in slots for n, slot in enumerate(column)}
    for sweep in range(_SWEEPS):
        side = sweep % 2  # 0: by what is on the left
        for column in slots if side == 0 else reversed(slots):
            want = {
                slot: _mean([place[n] for n in tied[slot][side]], place[slot]) for slot in column
            }
            column.sort(key=want.__getitem__)
            for n, slot in enumerate(column):
                place[slot] = n - len(column) / 2


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _settle(
    slots: Sequence[Sequence[_Slot]], tied: Mapping[_Slot, tuple[list[_Slot], list[_Slot]]]
) -> dict[_Slot, float]:
    """The middle of each slot: near its neighbours, in the column's order, nothing overlapping."""
    middles: dict[_Slot, float] = {}
    columns = [(column, _offsets(column)) for column in slots]
    for column, offsets in columns:
        for slot, offset in zip(column, offsets, strict=True):
            middles[slot] = offset - offsets[-1] / 2
    for turn in range(_SETTLINGS):
        for column, offsets in columns if turn % 2 else reversed(columns):
            want = []
            for slot in column:
                near = [middles[n] for side in tied[slot] for n in side]
                want.append(_mean(near, middles[slot]))
            heavy = [4.0 if isinstance(slot, _Track) else 1.0 for slot in column]
            for slot, middle in zip(column, _apart(want, heavy, offsets), strict=True):
                middles[slot] = middle
    top = min(
        (m - (_HEIGHT if isinstance(s, str) else _TRACK) / 2 for s, m in middles.items()),
        default=0.0,
    )
    return {slot: middle - top for slot, middle in middles.items()}


def _offsets(column: Sequence[_Slot]) -> list[float]:
    """How far each slot has to be from the first one at least."""
    offsets, before = [0.0], None
    for slot in column:
        size = _HEIGHT + _GAP if isinstance(slot, str) else _TRACK
        if before is not None:
            offsets.append(offsets[-1] + (before + size) / 2)
        before = size
    return offsets


def _apart(want: Sequence[float], heavy: Sequence[float], offsets: Sequence[float]) -> list[float]:
    """The places nearest to those wanted that keep order and distance (isotonic regression)."""
    blocks: list[tuple[float, float, int]] = []  # place, weight, how many
    for place, weight, offset in zip(want, heavy, offsets, strict=True):
        block = (place - offset, weight, 1)
        while blocks and blocks[-1][0] > block[0]:
            before = blocks.pop()
            total = before[1] + block[1]
            middle = (before[0] * before[1] + block[0] * block[1]) / total
            block = (middle, total, before[2] + block[2])
        blocks.append(block)
    places = [place for place, _, count in blocks for _ in range(count)]
    return [place + offset for place, offset in zip(places, offsets, strict=True)]


def _boxes(
    slots: Sequence[Sequence[_Slot]], middles: Mapping[_Slot, float], widths: Mapping[str, float]
) -> tuple[dict[str, Box], list[tuple[float, float]], float]:
    """Boxes by name, from where to where each column goes, and where the last one ends."""
    boxes: dict[str, Box] = {}
    spans: list[tuple[float, float]] = []
    left = right = 0.0
    for number, column in enumerate(slots):
        names = [slot for slot in column if isinstance(slot, str)]
        width = max(widths[name] for name in names)
        for name in names:
            boxes[name] = Box(name, left, middles[name] - _HEIGHT / 2, width, _HEIGHT, number)
        right = left + width
        spans.append((left, right))
        left = right + _BETWEEN
    return boxes, spans, right


def _points(
    source: str,
    target: str,
    boxes: Mapping[str, Box],
    columns: Mapping[str, int],
    spans: Sequence[tuple[float, float]],
    middles: Mapping[_Slot, float],
) -> tuple[tuple[float, float], ...]:
    points = [(boxes[source].x + boxes[source].width, boxes[source].middle)]
    for column in range(columns[source] + 1, columns[target]):
        middle = middles[_Track(source, column)]
        points += [(spans[column][0], middle), (spans[column][1], middle)]
    return (*points, (boxes[target].x, boxes[target].middle))


def _rows(
    names: Sequence[str], widths: Mapping[str, float], top: float, widest: float
) -> list[Box]:
    """Boxes side by side, all of one width."""
    width = max((widths[name] for name in names), default=0.0)
    across = max(1, int((widest + _GAP) // (width + _GAP)))
    return [
        Box(
            name,
            n % across * (width + _GAP),
            top + n // across * (_HEIGHT + _GAP),
            width, _HEIGHT, -1,
        )
        for n, name in enumerate(names)
    ]  # fmt: skip


def _width(name: str, marks: int) -> float:
    return len(name) * _CHARACTER + _PADDING + 18.0 * marks

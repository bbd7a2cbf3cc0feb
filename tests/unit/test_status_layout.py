"""The picture of a dependency graph: nothing overlaps, everything points one way."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.site.status.graph import acyclic, parts, reduced
from farm.site.status.layout import Box, Line, layout
from farm.site.status.picture import curve

calm = settings(deadline=None, max_examples=50)  # whatever else the machine does

NAMES = [f"p{number}" for number in range(24)]


@st.composite
def graphs(draw: st.DrawFn, *, loops: bool = False) -> dict[str, tuple[str, ...]]:
    """Each name with some of the others: only those before it, or any."""
    count = draw(st.integers(0, len(NAMES)))
    names = NAMES[:count]
    found = {}
    for place, name in enumerate(names):
        others = names if loops else names[:place]
        some = draw(st.lists(st.sampled_from(others), max_size=6)) if others else []
        found[name] = tuple(some)
    return found


def reach(needs: dict[str, tuple[str, ...]]) -> dict[str, set[str]]:
    """Everything that each name leads to."""
    found: dict[str, set[str]] = {}
    for name, those in needs.items():
        seen: set[str] = set()
        waiting = list(those)
        while waiting:
            need = waiting.pop()
            if need not in seen:
                seen.add(need)
                waiting += needs[need]
        found[name] = seen
    return found


def apart(one: Box, other: Box) -> bool:
    return (
        one.x + one.width <= other.x
        or other.x + other.width <= one.x
        or one.y + one.height <= other.y
        or other.y + other.height <= one.y
    )


def crosses(line: Line, box: Box) -> bool:
    """Whether a straight part of the line runs through the box; the curves are between columns."""
    points = line.points[1:-1]
    return any(
        box.y < y < box.y + box.height and from_x < box.x + box.width and box.x < to_x
        for (from_x, y), (to_x, _) in zip(points[::2], points[1::2], strict=True)
    )


@calm
@given(graphs(loops=True))
def test_no_two_boxes_overlap(needs: dict[str, tuple[str, ...]]) -> None:
    boxes = layout(needs).boxes
    assert all(apart(one, other) for one, other in itertools.combinations(boxes, 2))


@calm
@given(graphs(loops=True))
def test_every_package_has_one_box_inside_the_picture(needs: dict[str, tuple[str, ...]]) -> None:
    laid = layout(needs)
    assert sorted(box.name for box in laid.boxes) == sorted(needs)
    for box in laid.boxes:
        assert box.x >= 0 and box.x + box.width <= laid.width
        assert box.y >= 0 and box.y + box.height <= laid.height


@calm
@given(graphs(loops=True))
def test_lines_go_from_left_to_right_only(needs: dict[str, tuple[str, ...]]) -> None:
    laid = layout(needs)
    column = {box.name: box.column for box in laid.boxes}
    for line in laid.lines:
        assert column[line.source] < column[line.target]
        xs = [x for x, _ in line.points]
        assert xs == sorted(xs)


@calm
@given(graphs())
def test_no_line_runs_through_a_box(needs: dict[str, tuple[str, ...]]) -> None:
    laid = layout(needs)
    assert not [(li, box.name) for li in laid.lines for box in laid.boxes if crosses(li, box)]


@calm
@given(graphs())
def test_lines_begin_and_end_at_their_boxes(needs: dict[str, tuple[str, ...]]) -> None:
    laid = layout(needs)
    boxes = {box.name: box for box in laid.boxes}
    for line in laid.lines:
        source, target = boxes[line.source], boxes[line.target]
        assert line.points[0] == pytest.approx((source.x + source.width, source.middle))
        assert line.points[-1] == pytest.approx((target.x, target.middle))
        assert len(line.points) % 2 == 0


@calm
@given(graphs())
def test_the_lines_that_are_drawn_say_all_that_the_graph_says(
    needs: dict[str, tuple[str, ...]],
) -> None:
    drawn: dict[str, tuple[str, ...]] = dict.fromkeys(needs, ())
    for line in layout(needs).lines:
        drawn[line.target] += (line.source,)
    assert reach(drawn) == reach(needs)


@calm
@given(graphs())
def test_no_line_is_drawn_that_follows_from_others(needs: dict[str, tuple[str, ...]]) -> None:
    drawn = reduced(acyclic(needs))
    every = reach(drawn)
    for name, those in drawn.items():
        for need in those:
            assert not any(need in every[other] for other in those if other != need), name


@calm
@given(graphs(loops=True))
def test_a_loop_loses_as_few_arrows_as_it_takes_and_a_graph_without_one_none(
    needs: dict[str, tuple[str, ...]],
) -> None:
    kept = acyclic(needs)
    assert all(name not in those for name, those in reach(kept).items())
    before = reach(needs)
    if all(name not in those for name, those in before.items()):
        assert {name: set(those) for name, those in kept.items()} == {
            name: set(those) for name, those in needs.items()
        }


@calm
@given(graphs(loops=True), st.randoms())
def test_the_same_graph_gives_the_same_picture_however_it_is_told(
    needs: dict[str, tuple[str, ...]], chance: object
) -> None:
    items = list(needs.items())
    chance.shuffle(items)  # type: ignore[attr-defined]
    assert layout(dict(items)) == layout(needs)


@calm
@given(graphs())
def test_parts_are_what_hangs_together(needs: dict[str, tuple[str, ...]]) -> None:
    found = parts(acyclic(needs))
    assert sorted(name for part in found for name in part) == sorted(needs)
    place = {name: number for number, part in enumerate(found) for name in part}
    for name, those in needs.items():
        assert all(place[need] == place[name] for need in those)


def test_a_chain_is_a_straight_line() -> None:
    laid = layout({"a": (), "b": ("a",), "c": ("b", "a")})
    assert [(line.source, line.target) for line in laid.lines] == [("a", "b"), ("b", "c")]
    assert len({round(box.y, 3) for box in laid.boxes}) == 1
    assert curve(laid.lines[0]).startswith("M")


def test_nothing_is_an_empty_picture() -> None:
    laid = layout({})
    assert (laid.boxes, laid.lines) == ((), ())


def test_a_thousand_packages_are_laid_out_in_seconds() -> None:
    needs = {
        f"n{i}": tuple(f"n{(i * 7919 + k * 104729) % i}" for k in range(i % 4)) if i else ()
        for i in range(1000)
    }
    laid = layout(needs, marks=2)
    assert len(laid.boxes) == 1000
    # wide columns are split, so that the picture stays a picture and not a strip
    assert laid.height < 8 * laid.width and laid.width < 8 * laid.height

"""How short a schedule can be at best: more than critical path and total work tell.

After Fernández and Bussell: were a schedule T long, each step would have to run between the end of
the longest chain before it and T less the longest chain after it. So in any span of time a part of
each step must fall, however it is shifted; where these parts together are more than the workers can
do in the span, T is too short.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from farm.model import Plan
from farm.rebuild.ranks import Graph

_SPANS = 24  # ends of spans, spread evenly
_HALVINGS = 7


def sharper_bound(plan: Plan, seconds: Mapping[str, float], workers: int) -> float:
    """Seconds that no schedule is shorter than."""
    waiting = Graph(plan.steps)
    length = [seconds[step.id] for step in plan.steps]
    head, tail = [0.0] * len(length), [0.0] * len(length)
    order = list(waiting.sorted())
    for place in order:
        before = waiting.awaited[place]
        head[place] = max((head[each] + length[each] for each in before), default=0.0)
    for place in reversed(order):
        after = waiting.following[place]
        tail[place] = max((tail[each] + length[each] for each in after), default=0.0)
    steps = list(zip(head, length, tail, strict=True))
    shortest = max(*map(sum, steps), sum(length) / workers)
    if _possible(shortest, steps, workers):
        return shortest
    impossible, possible = shortest, 2 * shortest
    for _ in range(_HALVINGS + 1):
        middle = (impossible + possible) / 2
        if _possible(middle, steps, workers):
            possible = middle
        else:
            impossible = middle
    return impossible


def _possible(whole: float, steps: Sequence[tuple[float, float, float]], workers: int) -> bool:
    """Whether nothing speaks against a schedule of that length."""
    ends = [whole * number / _SPANS for number in range(_SPANS + 1)]
    windows = [
        (head, head + length, whole - tail - length, whole - tail) for head, length, tail in steps
    ]
    for place, begin in enumerate(ends):
        for end in ends[place + 1 :]:
            must = 0.0
            for early, early_end, late, late_end in windows:
                first = min(early_end, end) - max(early, begin)
                if first > 0:
                    last = min(late_end, end) - max(late, begin)
                    if last > 0:
                        must += min(first, last)
            if must > workers * (end - begin) * (1 + 1e-9):
                return False
    return True

"""How a build would go: how long, when it is over, what holds it up, what would help."""

from __future__ import annotations

import shutil
import time

from farm.foresight import Foresight, PlannedStep
from farm.screens.text import print_json, say, table

_LINES = 24  # of a screen that does not say how many it has
_FEWEST = 5  # steps of a list that are shown at least
_AROUND = 27  # lines that are neither of the order nor of the critical path


def show_plan(foresight: Foresight, *, as_json: bool, whole: bool = False) -> None:
    """One screen; the whole lists if so asked."""
    if as_json:
        print_json(foresight)
        return
    for row in foresight.failing:
        if row.verdict == "failed":
            say(f"{row.title} on {row.arch} cannot be built: {row.reason}")
    if not foresight.order:
        say(f"Nothing to build: {foresight.kept} results stand as they are.")
        return
    lines = shutil.get_terminal_size((80, _LINES)).lines - _AROUND
    share = max(_FEWEST, lines // 2)
    say(_summary(foresight))
    say("\nThe longest chain, which nothing makes shorter:\n")
    _show(foresight.critical_path, None if whole else share, reasons=False)
    say("\nWith more machines like this one:\n")
    say(
        table(
            ("more", "expected time", "saved"),
            (
                (f"+{each.more}", duration(each.seconds), _saved(each.saved, foresight.seconds))
                for each in foresight.machines
            ),
        )
    )
    say("")
    say(
        table(
            ("architecture", "builds", "maybe", "core-hours", "measured", "estimated"),
            (
                (
                    each.arch, str(each.builds), str(each.maybe), f"{each.core_hours:.2f}",
                    str(each.learnt), str(each.estimated),
                )
                for each in foresight.architectures
            ),
        )
    )  # fmt: skip
    say("\nThe order (* on the longest chain, ? only if the bytes of what it needs change):\n")
    _show(foresight.order, None if whole else max(share, lines - share), reasons=True)


def _summary(foresight: Foresight) -> str:
    sure, number = foresight.certain, len(foresight.order)
    builds = f"{sure} to build"
    if number > sure:
        builds += f", {number - sure} more if the bytes of what they need change"
    at_once = f"{foresight.slots} at a time"
    expected = duration(foresight.seconds)
    if number > sure:
        expected += f" at most, {duration(foresight.certain_seconds)} for what is certain"
    known = f"{foresight.learnt} of {number} measured in earlier builds"
    if foresight.learnt < number:
        known += f", {number - foresight.learnt} estimated"
    rows = (
        ("", f"{builds}; {foresight.kept} stand as they are"),
        ("expected time", f"{expected}, {at_once}"),
        ("expected finish", moment(foresight.finish)),
        ("cost", f"{foresight.core_hours:.2f} core-hours"),
        ("figures", known),
    )
    return "\n".join(f"{name:<16} {text}".strip() for name, text in rows)


def _show(steps: tuple[PlannedStep, ...], most: int | None, *, reasons: bool) -> None:
    shown = steps if most is None else steps[:most]
    headings = ("starts", "takes", "cores", "", "package", "arch", *(["why"] if reasons else []))
    say(
        table(
            headings,
            (
                (
                    f"{duration(step.start):>7}",
                    f"{duration(step.seconds):>7}" + ("" if step.learnt else " about"),
                    f"{step.cores:>5}",
                    ("*" if step.critical else " ") + ("" if step.certain else "?"),
                    step.package,
                    step.arch,
                    *([step.reason] if reasons else []),
                )
                for step in shown
            ),
        )
    )
    if len(shown) < len(steps):
        say(f"… and {len(steps) - len(shown)} more (--whole shows them)")


def _saved(seconds: float, of: float) -> str:
    return f"{duration(seconds)} ({seconds / of:.0%})" if of and seconds >= 0.5 else "nothing"


def duration(seconds: float) -> str:
    """Seconds as 45 s, 3:20 min or 2:05 h.

    >>> duration(44.6), duration(200), duration(7500)
    ('45 s', '3:20 min', '2:05 h')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02} h"


def moment(when: float) -> str:
    """A time of today as 15:42, another one with its day."""
    local = time.localtime(when)
    today = time.strftime("%Y-%m-%d") == time.strftime("%Y-%m-%d", local)
    return time.strftime("%H:%M" if today else "%A, %Y-%m-%d, %H:%M", local)

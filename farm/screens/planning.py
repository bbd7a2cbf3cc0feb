"""How a build would go: how long, when it is over, what holds it up, what would help."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence

from farm.foresight import ArchitectureSum, Foresight, PlannedStep
from farm.screens.text import folded, print_json, say, standing, table, terminal_width

_FEWEST = 5  # steps of the order that are shown at least
_MOST_SKIPPED = 5  # steps that are left out, one line each
_REASON = 100  # characters of a reason, at most
_LONGEST = 6  # steps of the longest chain that are shown at each of its ends


def show_plan(
    foresight: Foresight, *, as_json: bool, whole: bool = False, height: int | None = None
) -> None:
    """What fits on one screen of that many lines (None: the terminal's; where there is none,
    everything), or the whole order."""
    if as_json:
        print_json(foresight)
        return
    lost = [row for row in foresight.failing if row.verdict == "failed"]
    for row in lost:
        say(f"{row.title} on {row.arch} cannot be built: {row.reason}")
    skipped = [row for row in foresight.failing if row.verdict == "skipped"]
    most = len(skipped) if whole or len(skipped) <= _MOST_SKIPPED + 1 else _MOST_SKIPPED
    for row in skipped[:most]:
        say(f"{row.title} on {row.arch} is left out: {row.reason}")
    if most < len(skipped):
        say(f"… and {len(skipped) - most} more are left out: farm plan --whole")
    for note in foresight.notes if foresight.order else ():
        say(f"warning: {note}")
    if not foresight.order:
        say(f"Nothing to build: {standing(foresight.kept)}.")
        return
    width = terminal_width()
    summary = [folded(line, width) if width else line for line in _summary(foresight)]
    say("\n".join(summary))
    say("\nThe order (* on the longest chain, ? only if the bytes of what it needs change):\n")
    if height is None:
        height = shutil.get_terminal_size().lines if sys.stdout.isatty() else 0
    shown = len(foresight.order)
    if height and not whole:
        around = len(lost) + min(len(skipped), most + 1) + len("\n".join(summary).splitlines()) + 7
        shown = max(_FEWEST, height - around)
    say(_order(foresight.order[:shown], width, whole=whole))
    if shown < len(foresight.order):
        say(f"… and {len(foresight.order) - shown} more: farm plan --whole")


def _summary(foresight: Foresight) -> list[str]:
    sure, number = foresight.certain, len(foresight.order)
    builds = f"{sure} to build"
    if number > sure:
        builds += f", {number - sure} more if the bytes of what they need change"
    expected = duration(foresight.seconds)
    if number > sure:
        expected += f" at most, {duration(foresight.certain_seconds)} for what is certain"
    known = f"{foresight.learnt} of {number} measured in earlier builds"
    if foresight.learnt < number:
        known += f", {number - foresight.learnt} estimated"
    rows: list[tuple[str, ...]] = [
        ("builds", f"{builds}; {standing(foresight.kept)}"),
        ("expected time", f"{expected}, {_room(foresight)}"),
        ("expected finish", moment(foresight.finish)),
        ("cost", f"{foresight.core_hours:.2f} core-hours"),
        *((f"  {each.arch}", _cost(each)) for each in foresight.architectures),
        ("figures", known),
        ("more machines", _more(foresight)),
        ("longest chain", _chain(foresight.critical_path)),
    ]
    return [f"{name:<16} {text}" for name, text in rows]


def _room(foresight: Foresight) -> str:
    if not foresight.nodes:
        return f"{foresight.slots} at a time"
    nodes = f"{foresight.nodes} nodes" if foresight.nodes > 1 else "the one node"
    return f"on {nodes} of the cluster, at most {foresight.slots} jobs at a time"


def _cost(each: ArchitectureSum) -> str:
    maybe = f", {each.maybe} maybe" if each.maybe else ""
    known = f"{each.learnt} of {each.learnt + each.estimated} measured"
    return f"{each.core_hours:.2f} core-hours: {each.builds} to build{maybe}, {known}"


def _more(foresight: Foresight) -> str:
    """What machines like this one would save, as far as each further one saves something."""
    if not foresight.machines:
        return "not known"
    least = max(1.0, foresight.seconds / 100)
    parts: list[str] = []
    before = 0.0
    for each in foresight.machines:
        if each.saved - before >= least:
            share = each.saved / foresight.seconds
            parts.append(f"+{each.more} saves {duration(each.saved)} ({share:.0%})")
            before = each.saved
    if not parts:
        return "save nothing"
    if foresight.machines[-1].saved - foresight.machines[-2].saved < least:
        parts.append("more save no more")
    return ", ".join(parts) + (f"; each like the node {foresight.like}" if foresight.like else "")


def _chain(steps: Sequence[PlannedStep]) -> str:
    words = [f"{step.package} {step.arch} ({duration(step.seconds)})" for step in steps]
    if len(words) > 2 * _LONGEST + 1:
        left_out = f"… {len(words) - 2 * _LONGEST} more …"
        words = [*words[:_LONGEST], left_out, *words[-_LONGEST:]]
    return f"{duration(sum(step.seconds for step in steps))}: {' → '.join(words)}"


def _order(steps: Sequence[PlannedStep], width: int, *, whole: bool) -> str:
    """A line for each step, cut where the terminal ends; folded if everything is asked for."""
    rows: list[tuple[str, ...]] = [
        (
            f"{duration(step.start):>9}",
            f"{duration(step.seconds):>9}" + ("" if step.learnt else ", about"),
            f"{step.cores:>5}",
            ("*" if step.critical else " ") + ("" if step.certain else "?"),
            step.package,
            step.arch,
            step.reason,
        )
        for step in steps
    ]
    headings = ("starts", "takes", "cores", "", "package", "arch", "why")
    if whole or not width:
        return table(headings, rows)
    rows = [(*cells, shortened(reason, _REASON)) for *cells, reason in rows]
    lines = table(headings, rows, width=sys.maxsize).splitlines()
    lines[1] = lines[1][:width]
    return "\n".join(shortened(line, width) for line in lines)


def shortened(text: str, width: int) -> str:
    """A text that is too long without its end.

    >>> shortened("never built", 8)
    'never b…'
    """
    return text if len(text) <= width else text[: width - 1] + "…"


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

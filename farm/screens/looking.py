"""Logs and lists of attempts on the terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence

from farm.logs import AttemptRow, Begins, Ends, Grows, LogAnswer, Sight, Waits
from farm.model import Failed
from farm.screens.text import print_json, say, table

# control characters, but for tabs and ends of lines, as the pictures that Unicode has of them
_CONTROLS = {n: 0x2400 + n for n in range(32) if n not in (9, 10, 13)}
_CONTROLS |= {0x7F: 0x2421} | dict.fromkeys(range(128, 160), 65533)
_COLUMNS = ("attempt", "arch", "began", "place", "verdict", "time", "log")


def show_log(answer: LogAnswer, *, only_path: bool) -> None:
    """The telling lines first when it failed, then the whole log."""
    if only_path:
        say(str(answer.path))
        return
    for step in answer.running:
        _aside(f"{step} is being built now: --follow shows that log")
    if answer.failed is not None:
        _show_failure(answer.step, answer.failed)
        say("")
    if not answer.text and not answer.path.exists():
        say(
            f"There is no such log of {answer.step}: `farm gc` lets those of old builds go, and one"
            " for which there was no room is lost."
        )
    sys.stdout.write(_harmless(answer.text))


def show_following(sights: Iterable[Sight]) -> bool:
    """The log as it grows on standard output, all else beside it; whether it ended well.

    A failure's telling lines come last here: that is where whoever watched is looking.
    """
    fine = False
    for sight in sights:
        match sight:
            case Waits(text):
                _aside(text)
            case Begins(step, attempt, others, place):
                _aside(f"{step}, attempt {attempt}" + (f" on {place}" if place else ""))
                for other in others:
                    _aside(f"{other} goes on as well")
            case Grows(text):
                sys.stdout.write(_harmless(text))
                sys.stdout.flush()
            case Ends(step, text, outcome, fine):
                _aside(f"{step}: {text}")
                if isinstance(outcome, Failed):
                    for line in outcome.excerpt:
                        _aside(f"  | {line}")
                    if outcome.hint:
                        _aside(f"  -> {outcome.hint}")
    return fine


def show_attempts(rows: Sequence[AttemptRow], *, as_json: bool) -> None:
    """One line for each attempt, the newest first."""
    if as_json:
        print_json(rows)
        return
    say(table(_COLUMNS, (_cells(row) for row in rows)))


def _cells(row: AttemptRow) -> tuple[str, ...]:
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row.started))
    what = "bootstrap " if "~" in row.step.partition("@")[0] else ""
    return (
        row.attempt, row.arch, began, row.place or "-", what + row.verdict,
        f"{row.seconds:.1f} s", "yes" if row.log else "-",
    )  # fmt: skip


def _show_failure(step: str, failed: Failed) -> None:
    say(f"{step} failed: {failed.message}")
    for line in failed.excerpt:
        say(_harmless(f"  | {line}"))
    if failed.hint:
        say(f"  -> {failed.hint}")


def _aside(text: str) -> None:
    print(_harmless(text), file=sys.stderr, flush=True)


def _harmless(text: str) -> str:
    """What a build said, for a terminal: foreign code writes logs, and terminals obey them."""
    return text.translate(_CONTROLS) if sys.stdout.isatty() or sys.stderr.isatty() else text

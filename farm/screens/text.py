"""Lines, tables and JSON on standard output."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

_LEAST_FOLD = 20  # columns; in less nothing can be read


def say(text: str) -> None:
    """One line (or a whole text) on standard output."""
    print(text, flush=True)


def folded(text: str, width: int) -> str:
    """A line that is too long as several, the further ones indented below it.

    >>> print(folded("  libmunge requires openssl >= 4, which nothing provides", 44))
      libmunge requires openssl >= 4, which
          nothing provides
    """
    before = text[: len(text) - len(text.lstrip())]
    lines = textwrap.wrap(
        text, max(width, 40), subsequent_indent=f"{before}    ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return "\n".join(lines) or text


def standing(number: int) -> str:
    """How many results need not be built.

    >>> standing(1), standing(2)
    ('1 result stands as it is', '2 results stand as they are')
    """
    return "1 result stands as it is" if number == 1 else f"{number} results stand as they are"


def terminal_width() -> int:
    """Columns of the terminal that standard output is, 0 when it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, width: int | None = None
) -> str:
    """Columns as wide as their widest cell; the last one is left ragged.

    On a terminal (or with a `width`) it is folded below itself where it would not fit.
    """
    lines = [tuple(headings), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    before = sum(widths[:-1]) + 2 * (len(widths) - 1)
    room = (terminal_width() if width is None else width) - before
    if _LEAST_FOLD <= room < widths[-1]:
        lines = [part for line in lines for part in _folded_cell(line, room)]
        widths[-1] = room
    drawn = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    drawn.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(drawn)


def _folded_cell(line: tuple[str, ...], room: int) -> Iterable[tuple[str, ...]]:
    """A line of a table as several, whose last cells are so wide at most."""
    first, *more = textwrap.wrap(line[-1], room, break_on_hyphens=False) or [""]
    yield (*line[:-1], first)
    for text in more:
        yield (*("" for _ in line[:-1]), text)


def print_json(answer: Any) -> None:
    """Pretty JSON on standard output."""
    text = msgspec.json.encode(answer, enc_hook=str)
    say(msgspec.json.format(text, indent=2).decode())

"""Lines, tables and JSON on standard output."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec


def say(text: str) -> None:
    """One line (or a whole text) on standard output."""
    print(text, flush=True)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; the last one is left ragged."""
    lines = [tuple(headings), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    drawn = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    drawn.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(drawn)


def print_json(answer: Any) -> None:
    """Pretty JSON on standard output."""
    text = msgspec.json.encode(answer, enc_hook=str)
    say(msgspec.json.format(text, indent=2).decode())

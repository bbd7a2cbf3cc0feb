"""Where two pieces of bytes part, and how that looks."""

from __future__ import annotations

from collections.abc import Sequence

_BLOCK = 4096
_ROW = 16
_LINES = 2
_LONGEST_LINE = 160

Bytes = bytes | memoryview


def first_difference(a: bytes, b: bytes) -> int:
    """Index of the first byte that is not the same; the shorter's length when one goes on."""
    shorter = min(len(a), len(b))
    for start in range(0, shorter, _BLOCK):
        ours, theirs = a[start : start + _BLOCK], b[start : start + _BLOCK]
        if ours == theirs:
            continue
        for index, (x, y) in enumerate(zip(ours, theirs, strict=False)):
            if x != y:
                return start + index
    return shorter


def common_tail(a: bytes, b: bytes, start: int) -> int:
    """How many bytes at the end are the same, what lies before `start` left aside."""
    most = min(len(a), len(b)) - start
    same = 0
    while same < most:
        size = min(_BLOCK, most - same)
        ours = a[len(a) - same - size : len(a) - same]
        theirs = b[len(b) - same - size : len(b) - same]
        if ours == theirs:
            same += size
            continue
        for x, y in zip(reversed(ours), reversed(theirs), strict=True):
            if x != y:
                return same
            same += 1
    return most


def around(data: bytes, offset: int, *, before: int = 48, size: int = 256) -> bytes:
    """A window of bytes with `offset` in it."""
    start = max(0, offset - before)
    return data[start : offset + size]


def hexdump(a: bytes, b: bytes, offset: int) -> tuple[str, ...]:
    """Both sides at `offset`, some rows of 16 bytes each, first those of `a` (`-`)."""
    start = offset - offset % _ROW
    return tuple(
        f"{mark} {_row(data, at)}"
        for mark, data in (("-", a), ("+", b))
        for at in range(start, start + _LINES * _ROW, _ROW)
        if at < len(data)
    )


def line_excerpt(old: Sequence[str], new: Sequence[str], most: int = 3) -> tuple[str, ...]:
    """The first lines of both sides, made printable."""
    return tuple(
        f"{mark} {printable(line)}"
        for mark, side in (("-", old), ("+", new))
        for line in side[:most]
    )


def printable(text: str) -> str:
    """A line without control characters, cut where it is too long."""
    plain = "".join(c if c.isprintable() or c == "\t" else "·" for c in text)
    return plain if len(plain) <= _LONGEST_LINE else plain[: _LONGEST_LINE - 1] + "…"


def _row(data: bytes, at: int) -> str:
    row = data[at : at + _ROW]
    shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
    return f"{at:08x}  {row.hex(' '):<47}  |{shown}|"

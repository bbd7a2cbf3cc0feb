"""The likely cause of a difference, in words, from the bytes on both sides of it.

What a build was told about its surroundings leaves recognisable traces: numbers that are times,
dates, names of hosts, paths, the same lines in another order. A guess is only made from traces
that differ between the two sides; what is on both of them explains nothing.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

_DAY = 86400
_NEAR = 3 * _DAY
_FIRST, _LAST = 946_684_800, 4_102_444_800  # seconds: the years 2000 and 2100
_FEWEST_DIGITS = 16
_FEWEST_DECIMALS = 3


@dataclass(frozen=True)
class Clues:
    """What is known about the two builds beside their packages.

    `times` are moments (seconds since 1970) at which a build saw its clock; `words` pairs the
    name of a cause with texts that only one build could have from its surroundings.
    """

    times: tuple[float, ...] = ()
    words: tuple[tuple[str, tuple[str, ...]], ...] = ()


NO_CLUES = Clues()


def likely_cause(old: bytes, new: bytes, clues: Clues = NO_CLUES) -> str:
    """Why two pieces of a file differ, in words; "" when nothing in them tells.

    The pieces are what differs, with some bytes around it.
    """
    a, b = _text(old), _text(new)
    for rule in _RULES:
        cause = rule(a, b, clues)
        if cause:
            return cause
    return binary_time(old, new, clues)


def order_of(old: Sequence[str], new: Sequence[str]) -> str:
    """Whether two lists are the same in another order, in words."""
    if len(old) > 1 and old != new and sorted(old) == sorted(new):
        return (
            "the same lines in another order: that of a directory's files, a hash, "
            "or whatever finished first; or sorted by another locale"
        )
    return ""


def binary_time(old: bytes, new: bytes, clues: Clues) -> str:
    """A 4 or 8 byte number at the same place that both sides could have from their clock."""
    for form in ("<Q", ">Q", "<I", ">I"):
        width = struct.calcsize(form)
        for at in range(max(0, min(len(old), len(new)) - width + 1)):
            first, second = old[at : at + width], new[at : at + width]
            if first == second:
                continue
            both = (struct.unpack(form, first)[0], struct.unpack(form, second)[0])
            if clues.times and all(_near(value, clues) for value in both):
                return f"a date: {both[0]} and {both[1]} are seconds since 1970"
    return ""


def mode_cause(old: int, new: int) -> str:
    """What two modes of one file come from."""
    if old & 0o170000 != new & 0o170000:
        return ""
    changed = (old ^ new) & 0o7777
    if changed and not changed & ~0o777 and (old & new in (old, new)):
        return "the umask of the build"
    return ""


def _text(data: bytes) -> str:
    return data.decode("latin-1")


def _known_words(a: str, b: str, clues: Clues) -> str:
    for cause, words in clues.words:
        for word in words:
            if _holds(a, word) != _holds(b, word):
                return (
                    f"{cause}: {word!r} is only in the {'second' if word in b else 'first'} build"
                )
    return ""


def _holds(text: str, word: str) -> bool:
    """Whether a text has a word in it; a number only where it stands for itself."""
    if word.isdigit():
        return re.search(rf"(?<![\w.]){word}(?![\w.])", text) is not None
    return bool(word) and word in text


def _differing(pattern: re.Pattern[str], a: str, b: str) -> tuple[str, str] | None:
    """The first match that only one side has, and its counterpart."""
    ours = [m.group(0) for m in pattern.finditer(a)]
    theirs = [m.group(0) for m in pattern.finditer(b)]
    if not ours or not theirs or ours == theirs:
        return None
    only_a = [text for text in ours if text not in theirs]
    only_b = [text for text in theirs if text not in ours]
    if not only_a or not only_b:
        return None
    return only_a[0], only_b[0]


_EPOCH = re.compile(r"(?<!\d)(?:9[4-9]\d{7}|[1-3]\d{9})(?!\d)")
_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".replace(" ", "|")
_FULL = "January|February|March|April|May|June|July|August|September|October|November|December"
_DATES = (
    re.compile(r"(?<!\d)(?:19|20)\d\d-[01]\d-[0-3]\d(?:[T ][0-2]\d:[0-5]\d(?::[0-5]\d)?)?"),
    re.compile(rf"\b(?:{_MONTHS})\w* {{1,2}}[0-3]?\d,? (?:[0-2]\d:[0-5]\d:[0-5]\d )?(?:19|20)\d\d"),
    re.compile(rf"\b[0-3]?\d[ -](?:{_FULL}|{_MONTHS})[ -](?:19|20)\d\d\b"),
    re.compile(rf"\b(?:{_FULL}),? (?:19|20)\d\d\b"),
    re.compile(r"(?<!\d)[0-3]?\d[/.][0-3]?\d[/.](?:19|20)?\d\d(?!\d)"),
    re.compile(r"(?<!\d)(?:19|20)\d\d/[01]\d/[0-3]\d(?!\d)"),
    re.compile(r"(?<!\d)20\d\d[01]\d[0-3]\d(?:[0-2]\d[0-5]\d[0-5]\d)?(?!\d)"),
    re.compile(r"(?<!\d)[0-2]\d:[0-5]\d:[0-5]\d(?!\d)"),
    re.compile(r"(?<!\d)20[0-9]\d(?!\d)"),
)
_POINTER = re.compile(r"0x(?:7f|5[56])[0-9a-f]{6,12}")
_UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", re.I)
_RANDOM_PATH = re.compile(r"/(?:var/)?tmp/[\w.+-]+")
_PATH = re.compile(r"(?<![\w.])/(?:[\w.+~-]+/)+[\w.+~-]+")
_KERNEL = re.compile(r"\b[2-9]\.\d{1,3}\.\d{1,3}[\w.+-]*")
_JOBS = re.compile(r"(?<![\w-])(?:-j ?|--jobs[= ])\d+\b")
_LOCALE = re.compile(r"\b(?:[a-z]{2}_[A-Z]{2}(?:\.[\w-]+)?|C\.[Uu][Tt][Ff]-?8|POSIX)(?!\w)")
_DIGEST = re.compile(rf"(?<![0-9a-f])[0-9a-f]{{{_FEWEST_DIGITS},128}}(?![0-9a-f])")
_DECIMAL = re.compile(r"(?<![\d.,])\d+[.,]\d+(?![\d.,])")


def _epoch(a: str, b: str, clues: Clues) -> str:
    pair = _differing(_EPOCH, a, b)
    if pair is None or not all(_near(int(text), clues) for text in pair):
        return ""
    return f"a date: {pair[0]} and {pair[1]} are seconds since 1970"


def _date(a: str, b: str, clues: Clues) -> str:
    for pattern in _DATES:
        pair = _differing(pattern, a, b)
        if pair is not None:
            return f"a date or time: {pair[0]!r} and {pair[1]!r}"
    return ""


def _telling(pattern: re.Pattern[str], words: str) -> Callable[[str, str, Clues], str]:
    def rule(a: str, b: str, clues: Clues) -> str:
        pair = _differing(pattern, a, b)
        return f"{words}: {pair[0]!r} and {pair[1]!r}" if pair is not None else ""

    return rule


def _decimal(a: str, b: str, clues: Clues) -> str:
    pair = _differing(_DECIMAL, a, b)
    if pair is not None and pair[0].replace(",", ".") == pair[1].replace(",", "."):
        return f"the locale: numbers are written {pair[0]} and {pair[1]}"
    return ""


def _random(a: str, b: str, clues: Clues) -> str:
    pair = _differing(_DECIMAL, a, b)
    if pair is None or min(len(re.split("[.,]", text)[1]) for text in pair) < _FEWEST_DECIMALS:
        return ""
    return f"a random number, or a time that was measured: {pair[0]} and {pair[1]}"


def _word_order(a: str, b: str, clues: Clues) -> str:
    first, second = a.split(), b.split()
    if len(first) > 2 and first != second and sorted(first) == sorted(second):
        return "the same words in another order: that of a directory's files, or of a hash"
    return ""


_RULES: tuple[Callable[[str, str, Clues], str], ...] = (
    _known_words,
    _epoch,
    _date,
    _telling(_RANDOM_PATH, "the name of a temporary file"),
    _telling(_POINTER, "an address in memory, which is another in every process"),
    _telling(_UUID, "a random number (UUID)"),
    _telling(_KERNEL, "a version, of the kernel perhaps"),
    _telling(_JOBS, "the number of cores"),
    _telling(_LOCALE, "the locale"),
    _decimal,
    _word_order,
    _telling(_PATH, "a path"),
    _random,
    _telling(_DIGEST, "a checksum or random number, of something that differs"),
)


def _near(value: int, clues: Clues) -> bool:
    """Whether a number is a time of one of the builds; of any build where none is known."""
    if not clues.times:
        return _FIRST <= value <= _LAST
    return any(abs(value - at) <= _NEAR for at in clues.times)


def strings(data: bytes) -> Iterator[str]:
    """Printable runs of at least four characters, as strings(1) finds them."""
    for match in _PRINTABLE.finditer(data):
        yield match.group(0).decode("ascii")


_PRINTABLE = re.compile(rb"[\x20-\x7e\t]{4,}")

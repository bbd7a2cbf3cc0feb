"""Rich dependencies that libsolv must not be given: its parser and its clauses know no limits."""

from __future__ import annotations

import re
from collections.abc import Iterator

DEEPEST = 100  # brackets of one dependency
LONGEST = 1000  # words that join its parts
_MOST_CHARACTERS = 100_000
_MOST_CLAUSES = 10_000  # once it is written as an "and" of "or"s, or the other way round
_HARMLESS = 12  # words that cannot make more clauses than that
_JOINS = re.compile(r"(?<![^\s()])(?:and|or|if|else|unless|with|without)(?![^\s()])")
_TOKEN = re.compile(r"\s*(?:(\()|(\))|((?:[^\s()]|\([^\s()]*\))+))")
_COMPARE = frozenset(("<", "<=", "=", "==", ">=", ">"))
_WORDS = frozenset(("and", "or", "if", "else", "unless", "with", "without"))

_Size = tuple[int, int]  # clauses of an expression, and of its negation


def excess(text: str) -> str:
    """Why a dependency is too much for libsolv, or "".

    It overflows the stack on deep and on long ones, and writes others out in clauses of which
    there are exponentially many.
    """
    if not text.startswith("("):
        return ""
    if text.count("(") > DEEPEST and not _only_names(text):
        return f"has more than {DEEPEST} brackets"
    if len(text) > _MOST_CHARACTERS:
        return f"has more than {_MOST_CHARACTERS} characters"
    joins = len(_JOINS.findall(text))
    if joins > LONGEST:
        return f"has more than {LONGEST} parts"
    if joins <= _HARMLESS:
        return ""
    try:
        size = max(_clauses(_tokens(text)))
    except (StopIteration, ValueError):
        return ""  # no rich dependency: libsolv says so as well
    return f"stands for more than {_MOST_CLAUSES} alternatives" if size > _MOST_CLAUSES else ""


def _only_names(text: str) -> bool:
    """Whether the brackets do not nest deeper than allowed: `lib()(64bit)` has two of them."""
    depth = deepest = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    return deepest <= DEEPEST


def _tokens(text: str) -> Iterator[str]:
    """`(`, `)` and words; brackets within a name belong to it."""
    at = 0
    while at < len(text) and text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(text)
        yield match[0].strip()
        at = match.end()


def _clauses(tokens: Iterator[str]) -> _Size:
    """Clauses of the expression that begins with the next bracket."""
    if next(tokens) != "(":
        raise ValueError("no bracket")
    return _expression(tokens)


def _expression(tokens: Iterator[str]) -> _Size:
    size, word = _operand(tokens)
    while word != ")":
        other, then = _operand(tokens)
        if word in ("if", "unless") and then == "else":
            third, then = _operand(tokens)
            size = _choice(size, other, third, word)
        else:
            size = _joined(size, word, other)
        word = then
    return size


def _operand(tokens: Iterator[str]) -> tuple[_Size, str]:
    """One operand, and the word or bracket after it."""
    token = next(tokens)
    size = _expression(tokens) if token == "(" else (1, 1)
    word = next(tokens)
    if word in _COMPARE:
        next(tokens)
        word = next(tokens)
    if word != ")" and word not in _WORDS:
        raise ValueError(word)
    return size, word


def _joined(one: _Size, word: str, other: _Size) -> _Size:
    if word == "and":
        return one[0] + other[0], one[1] * other[1]
    if word == "or":
        return one[0] * other[0], one[1] + other[1]
    if word == "if":  # one or not other
        return one[0] * other[1], one[1] + other[0]
    if word == "unless":  # one and not other
        return one[0] + other[1], one[1] * other[0]
    return 1, 1  # with, without: looked up, not written out


def _choice(one: _Size, condition: _Size, other: _Size, word: str) -> _Size:
    negated = condition[1], condition[0]
    if word == "unless":
        condition, negated = negated, condition
    first = _joined(one, "or", negated)
    second = _joined(other, "or", condition)
    return _joined(first, "and", second)

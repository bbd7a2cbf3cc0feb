"""Rich dependencies that libsolv must not be given: its parser and its clauses know no limits."""

from __future__ import annotations

import math
import re

from farm.plan.metadata.rich import Rich, parse

DEEPEST = 100  # brackets within one another
LONGEST = 1000  # words that join the parts
_MOST_CHARACTERS = 100_000
_MOST_CLAUSES = 10_000  # once it is written as an "and" of "or"s, or the other way round
_HARMLESS = 12  # words that cannot make more clauses than that
_JOINS = re.compile(r"(?<![^\s()])(?:and|or|if|else|unless|with|without)(?![^\s()])")

_Size = tuple[int, int]  # clauses of an expression, and of its negation


def excess(text: str) -> str:
    """Why a dependency is too much for libsolv, or "".

    It overflows the stack on deep and on long ones, and writes others out in clauses of which
    there are exponentially many.
    """
    if not text.startswith("("):
        return ""
    if text.count("(") > DEEPEST and _depth(text) > DEEPEST:
        return f"has more than {DEEPEST} brackets"
    if len(text) > _MOST_CHARACTERS:
        return f"has more than {_MOST_CHARACTERS} characters"
    joins = len(_JOINS.findall(text))
    if joins > LONGEST:
        return f"has more than {LONGEST} parts"
    if joins <= _HARMLESS:
        return ""
    tree = parse(text)
    if tree is None:
        return "is not as rpm would write it"
    size = max(_clauses(tree))
    return f"stands for more than {_MOST_CLAUSES} alternatives" if size > _MOST_CLAUSES else ""


def _depth(text: str) -> int:
    """Brackets within one another: `(lib()(64bit) or x)` has two."""
    depth = deepest = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    return deepest


def _clauses(tree: Rich) -> _Size:
    parts = [_clauses(part) for part in tree.parts]
    if tree.operator == "and":
        return _and(*parts)
    if tree.operator == "or":
        return _or(*parts)
    if tree.operator == "if":
        then, condition, *other = parts
        first = _or(then, _not(condition))
        return _and(first, _or(other[0], condition)) if other else first
    if tree.operator == "unless":
        then, condition, *other = parts
        first = _and(then, _not(condition))
        return _or(first, _and(other[0], condition)) if other else first
    return 1, 1  # with, without: looked up, not written out


def _and(*parts: _Size) -> _Size:
    return sum(size for size, _ in parts), math.prod(negated for _, negated in parts)


def _or(*parts: _Size) -> _Size:
    return _not(_and(*(_not(part) for part in parts)))


def _not(part: _Size) -> _Size:
    return part[1], part[0]

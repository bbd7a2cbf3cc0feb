"""Macros of a spec as far as its text alone defines them; nothing is executed.

rpm runs `%(...)` and `%{lua:...}` while it reads a spec. Here such a text, and any macro that
the spec itself does not define, is simply not known. What is expanded has a bound: a spec of
ten lines can otherwise ask for gigabytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_DEFINITION = re.compile(
    r"\s*(?P<unless>%\{!\?\w+:\s*)?%(?:global|define)\s+(?P<name>\w+)"
    r"(?P<parameters>\(\S*\))?\s+(?P<body>.*)"
)
_IF = re.compile(r"%if(n?arch|n?os)?\b")
_ENDIF = re.compile(r"%endif\b")
_BARE = re.compile(r"[!?]*\w+")
_REFERENCE = re.compile(r"(?<!%)(?:%%)*%\{?[!?]*(\w+)")
_EXECUTED = re.compile(r"%(\(|\[|\{lua:|\{expand:|\{shrink:)")
_LONGEST = 4096
_DEEPEST = 32

Macros = Mapping[str, str]


class Unknown(Exception):
    """The text cannot be known without evaluating the spec."""


def nesting(line: str, depth: int) -> int:
    """How many `%if` are open after this line, when `depth` were before it."""
    if _IF.match(line):
        return depth + 1
    return max(depth - 1, 0) if _ENDIF.match(line) else depth


def definitions(lines: Iterable[str]) -> tuple[dict[str, str], frozenset[str]]:
    """Macros that `%global` and `%define` give, the last one of a name.

    The second answer names those that a condition decides on: no `%if` is read.
    """
    found: dict[str, str] = {}
    unsure: set[str] = set()
    name, body, depth = "", "", 0
    for line in lines:
        if name:
            body = f"{body}\n{line.removesuffix(chr(92))}"
        else:
            depth = nesting(line.strip(), depth)
            match = _DEFINITION.match(line)
            if match is None:
                continue
            # A macro with parameters is a function: never a plain text.
            name = f"{match['name']}()" if match["parameters"] else match["name"]
            body = match["body"].removesuffix("\\")
            if match["unless"]:
                body = body.rstrip().removesuffix("}")
            if depth or match["unless"] or name in found:
                unsure.add(name)
        if not line.endswith("\\"):
            found[name] = body.strip()
            name = ""
    return found, frozenset(unsure)


def expand(text: str, macros: Macros) -> str | None:
    """`text` with its macros replaced, None where the spec's text alone does not tell."""
    try:
        return _Expansion(macros).of(text)
    except Unknown:
        return None


def mentioned(text: str, macros: Macros) -> tuple[frozenset[str], bool]:
    """Names of all macros behind `text`, and whether all of it could be followed."""
    seen: set[str] = set()
    waiting = [text]
    known = True
    while waiting:
        part = waiting.pop()
        if _EXECUTED.search(part):
            known = False
        for name in _REFERENCE.findall(part):
            if name in seen:
                continue
            seen.add(name)
            if name in macros:
                waiting.append(macros[name])
            else:
                known = False
    return frozenset(seen), known


class _Expansion:
    """One expansion, with a budget for its length and for the macros it may open."""

    def __init__(self, macros: Macros) -> None:
        self._macros = macros
        self._budget = _LONGEST

    def of(self, text: str, depth: int = 0) -> str:
        if depth > _DEEPEST:
            raise Unknown
        parts: list[str] = []
        position = 0
        while position < len(text):
            start = text.find("%", position)
            if start < 0:
                start = len(text)
            parts.append(text[position:start])
            self._budget -= start - position + 1
            if self._budget < 0:
                raise Unknown
            position = start
            if start < len(text):
                value, position = self._macro(text, start + 1, depth)
                parts.append(value)
        return "".join(parts)

    def _macro(self, text: str, position: int, depth: int) -> tuple[str, int]:
        """The value of the macro whose `%` is before `position`, and where it ends."""
        if text.startswith("%", position):
            return "%", position + 1
        if text.startswith("{", position):
            end = _closing(text, position)
            return self._value(text[position + 1 : end], depth), end + 1
        match = _BARE.match(text, position)
        if match is None:
            raise Unknown
        return self._value(match[0], depth), match.end()

    def _value(self, body: str, depth: int) -> str:
        flags = body[: len(body) - len(body.lstrip("!?"))]
        name, colon, then = body[len(flags) :].partition(":")
        # A macro that the spec does not define may be the distribution's, as %{?dist} is.
        if name not in self._macros or (colon and "?" not in flags):
            raise Unknown
        if "!" in flags:
            return ""
        return self.of(then if colon else self._macros[name], depth + 1)


def _closing(text: str, position: int) -> int:
    level = 0
    for index in range(position, len(text)):
        level += {"{": 1, "}": -1}.get(text[index], 0)
        if level == 0:
            return index
    raise Unknown

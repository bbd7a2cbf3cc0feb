"""What a check of the whole layer says: problems, and notes that stand in nothing's way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from farm.model import Problem


@dataclass(frozen=True)
class Findings:
    """`notes` are worth saying: what could not be checked, what is allowed and why."""

    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def joined(cls, parts: Iterable[Findings]) -> Findings:
        """All of them, each problem and note once, in order."""
        every = tuple(parts)
        problems = dict.fromkeys(p for part in every for p in part.problems)
        notes = dict.fromkeys(n for part in every for n in part.notes)
        return cls(tuple(problems), tuple(notes))


def listed(names: Iterable[str], most: int = 3) -> str:
    """`a, b, c and 4 more`.

    >>> listed("abcde", most=2), listed("ab"), listed("a")
    ('a, b and 3 more', 'a and b', 'a')
    """
    every = list(names)
    if len(every) > most:
        return f"{', '.join(every[:most])} and {len(every) - most} more"
    return " and ".join([", ".join(every[:-1]), every[-1]] if len(every) > 1 else every)

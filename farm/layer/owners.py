"""Who owns which package: `specs/OWNERS`, one pattern and one group of people a line.

# the last line that matches a package's name counts
*            maintainers
python3-*    python
munge        security
"""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass

from farm.errors import LayerError

FILE = "OWNERS"
_GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Rule:
    """Packages whose name matches `pattern` (as a shell matches file names) are `group`'s."""

    pattern: str
    group: str
    line: int = 0


def parse(text: str, where: str = FILE) -> tuple[Rule, ...]:
    """The rules of an OWNERS file. Raises LayerError naming `where` and the line."""
    rules: list[Rule] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or not _GROUP.fullmatch(words[1]):
            raise LayerError(
                f"{where}:{number}: this is not a pattern and the name of one group",
                why=line.strip(),
                hint="A line reads `munge  security` or `python3-*  python`.",
            )
        rules.append(Rule(words[0], words[1], number))
    return tuple(rules)


def owner(package: str, rules: tuple[Rule, ...]) -> str:
    """The group that owns a package, "" for none: the last rule that matches counts."""
    return next(
        (rule.group for rule in reversed(rules) if fnmatch.fnmatchcase(package, rule.pattern)), ""
    )

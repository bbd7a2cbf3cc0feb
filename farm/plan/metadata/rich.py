"""Rich dependencies as a tree: `(a or b)`, `(a if b else c)`, `(a >= 1 with a < 2)`."""

from __future__ import annotations

from dataclasses import dataclass

# Of these libsolv makes one list of packages that fulfil the dependency; of the others rules.
LISTED = frozenset(("", "or", "with", "without"))
_WORDS = frozenset(("and", "or", "if", "unless", "else", "with", "without"))


@dataclass(frozen=True)
class Rich:
    """`operator` is "" for a plain dependency; an `else` is the third part of its `if`."""

    operator: str
    parts: tuple[Rich, ...]
    text: str

    @property
    def listed(self) -> bool:
        """Whether a list of packages says all about it: any one of them fulfils it."""
        return self.operator in LISTED and all(part.listed for part in self.parts)


def parse(text: str) -> Rich | None:
    """The tree of a dependency, None where it is none that rpm would write."""
    words = tokens(text)
    try:
        tree, rest = _operand(words, 0)
    except (IndexError, ValueError):
        return None
    return tree if rest == len(words) else None


def tokens(text: str) -> list[str]:
    """Brackets of groups apart from those in names: `pkgconfig(x)`, `libx.so.1()(64bit)`."""
    tokens = []
    for part in text.split():
        word = part.lstrip("(")
        tokens += ["("] * (len(part) - len(word))
        closing = max(0, word.count(")") - word.count("("))
        tokens.append(word[: len(word) - closing])
        tokens += [")"] * closing
    return tokens


def _operand(words: list[str], at: int) -> tuple[Rich, int]:
    if words[at] != "(":
        end = at
        while end < len(words) and words[end] not in _WORDS and words[end] not in "()":
            end += 1
        if end == at:
            raise ValueError(words[at])
        return Rich("", (), " ".join(words[at:end])), end
    first, at = _operand(words, at + 1)
    operator, parts = "", [first]
    while words[at] != ")":
        word = words[at]
        if not operator:
            operator = word
        elif operator in ("if", "unless"):
            if word != "else" or len(parts) > 2:
                raise ValueError(word)
        elif word != operator:
            raise ValueError(word)
        part, at = _operand(words, at + 1)
        parts.append(part)
    if operator == "else":
        raise ValueError(operator)
    return (_group(operator, parts) if operator else first), at + 1


def _group(operator: str, parts: list[Rich]) -> Rich:
    words = [operator] * (len(parts) - 1)
    if operator in ("if", "unless") and len(parts) == 3:
        words[1] = "else"
    text = parts[0].text
    for word, part in zip(words, parts[1:], strict=True):
        text += f" {word} {part.text}"
    return Rich(operator, tuple(parts), f"({text})")

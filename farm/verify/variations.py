"""Which variations a verification makes: what is said on the command line → rounds of builds."""

from __future__ import annotations

from farm.errors import UsageError
from farm.sandbox.variation import NAMES, VARIATIONS, Variation, known

__all__ = ["NAMES", "VARIATIONS", "Round", "Variation", "meanings", "parse"]

Round = tuple[str, ...]  # variations that one build is made under; () is as every build

ALL, EACH, NONE = "all", "each", "none"


def parse(text: str) -> tuple[Round, ...]:
    """The rounds that `text` asks for.

    `all` is one build under all variations, `each` one for every variation alone, `none` one
    as usual, and `clock,order` one under these two together. Several may be asked for, with
    `+` between them: `none+all`. Raises UsageError for an unknown name, with the nearest one.
    """
    rounds: list[Round] = []
    for part in text.split("+"):
        rounds += _rounds(part.strip())
    return tuple(dict.fromkeys(rounds))


def meanings(names: Round) -> str:
    """What a build under these variations had, in words: "built with …"."""
    said = [variation.meaning for variation in VARIATIONS if variation.name in names]
    return "built with " + "; ".join(said) if said else "built as usual"


def _rounds(text: str) -> list[Round]:
    if text == ALL:
        return [NAMES]
    if text == EACH:
        return [(name,) for name in NAMES]
    if text == NONE:
        return [()]
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError(
            "no variation is named",
            hint=f"Say {ALL}, {EACH}, {NONE}, or some of {', '.join(NAMES)}.",
        )
    mixed = [name for name in names if name in (ALL, EACH, NONE)]
    if mixed:
        raise UsageError(
            f"{mixed[0]} stands for itself and cannot be one of several variations",
            hint="With a plus between them they are builds of their own: "
            + "+".join([*mixed, *filter(None, [",".join(n for n in names if n not in mixed)])]),
        )
    return [known(names)]

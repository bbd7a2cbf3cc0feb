"""Why something would be built again, as text for people or JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from farm.rebuilt import Differing, Rebuild, date_of
from farm.screens.text import folded, say, terminal_width

_MOST_OTHERS = 8
_WOULD = {
    "keep": "stays as it is", "build": "would be built", "wait": "may be built",
    "failed": "cannot be built", "skipped": "would not be built",
}  # fmt: skip


def show_rebuilds(answers: Sequence[Rebuild], *, as_json: bool) -> None:
    """For each architecture what would be done, then the first input that differs."""
    if as_json:
        say(msgspec.json.encode({"summary": answers}, enc_hook=str).decode())
        return
    for number, answer in enumerate(answers):
        if number:
            say("")
        _show(answer)


def _show(answer: Rebuild) -> None:
    name = f"{answer.recipe} (bootstrap)" if answer.bootstrap else answer.recipe
    _line(f"{name} on {answer.arch} {_WOULD[answer.verdict]}: {answer.reason}")
    standing = answer.standing
    if standing is None:
        return
    commit = f" from {standing.commit[:10]}" if standing.commit else ""
    _line(f"  stands: {standing.evr}, built {date_of(standing.finished)}{commit}")
    if answer.first is not None:
        _show_first(answer.first)
        others = answer.others[:_MOST_OTHERS]
        for change in others:
            _line(f"  as well: {change.text}{_whose(change.layer, change.kind)}")
        if len(answer.others) > len(others):
            _line(f"  … and {len(answer.others) - len(others)} more")
    elif answer.verdict == "build":
        _line("  what it was built from is as it was")
    elif answer.compared:
        yet = " as far as what it needs stays" if answer.verdict == "wait" else ""
        _line(f"  nothing differs from what it was built from{yet}")
    if answer.first is None and answer.verdict != "build":
        _line(f"  it was built then because: {standing.instead}")
    for note in answer.notes:
        _line(f"  note: {note}")


def _show_first(first: Differing) -> None:
    change = first.change
    _line(f"  differs first: {change.text}{_whose(change.layer, change.kind)}")
    if change.kind == "lock":
        for mark, identity in (("-", change.old), ("+", change.new)):
            if identity:
                nevra, sha256 = identity.split(" ")
                say(f"    {mark} {nevra}  sha256 {sha256[:16]}…")
    for line in first.lines:
        say(f"    {line}")
    if first.because:
        _line("    it is in the build root because")
        for link in first.because:
            _line(f"      {link}")


def _whose(layer: bool, kind: str) -> str:
    return "" if kind != "lock" else " (layer)" if layer else " (base)"


def _line(text: str) -> None:
    width = terminal_width()
    say(folded(text, width) if width else text)

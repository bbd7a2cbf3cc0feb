"""Fedora's `sources` format: `SHA512 (file) = hex`, one line for each file kept outside git."""

from __future__ import annotations

import re
from collections.abc import Iterable

from farm.errors import LayerError
from farm.model import SourceFile

_LINE = re.compile(r"SHA512 \((?P<name>[^/\0]+)\) = (?P<hex>[0-9a-fA-F]{128})")
_OLD = re.compile(r"[0-9a-f]{32}\s+\S+")
_OTHER = re.compile(r"(?P<kind>[A-Z0-9]+) \(.+\) = [0-9a-fA-F]+")


def parse(text: str, where: str = "sources") -> tuple[SourceFile, ...]:
    """The files of a `sources` file. Empty lines and `#` comments are allowed.

    Raises LayerError naming `where` and the line.
    """
    found: dict[str, SourceFile] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _LINE.fullmatch(stripped)
        if match is None:
            raise LayerError(f"{where}:{number}: {_complaint(stripped)}", why=stripped, hint=_HINT)
        name = match["name"]
        if name in (".", ".."):
            raise LayerError(f"{where}:{number}: {name!r} is not a file name")
        if name in found:
            raise LayerError(f"{where}:{number}: {name} is declared twice")
        found[name] = SourceFile(name, match["hex"].lower())
    return tuple(found.values())


def render(files: Iterable[SourceFile]) -> str:
    """The text of a `sources` file; `parse` gives the same files back."""
    return "".join(f"SHA512 ({file.name}) = {file.sha512}\n" for file in files)


_HINT = "A line reads `SHA512 (file) = <128 hex digits>`, as `sha512sum --tag file` prints it."


def _complaint(line: str) -> str:
    if _OLD.fullmatch(line):
        return "the old format with MD5 is not accepted: MD5 says nothing about who made a file"
    other = _OTHER.fullmatch(line)
    if other is not None and other["kind"] != "SHA512":
        return f"a {other['kind']} checksum is not accepted, only SHA512"
    return "this is no checksum line"

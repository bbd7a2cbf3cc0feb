"""The phases of a build, as rpmbuild's output tells them."""

from __future__ import annotations

import re

PACKAGING = "packaging"
_EXECUTING = re.compile(r"^Executing\((%\w+)\)")
_PHASES = {
    "%prep", "%generate_buildrequires", "%conf", "%build", "%install", "%check",
}  # fmt: skip


def phase_of(line: str) -> str:
    """The phase that a line of rpmbuild's output begins, or ""."""
    match = _EXECUTING.match(line)
    if match:
        return match[1] if match[1] in _PHASES else ""
    return PACKAGING if line.startswith("Processing files: ") else ""

"""Which state of the planner's own code an answer comes from.

Answers of the solver and plans are remembered between runs under all that they follow from, and
that includes the rules that made them.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import solv


@functools.cache
def rules() -> str:
    """A digest of the modules that plan and solve, and of which libsolv there is."""
    library = Path(solv._solv.__file__).stat()
    digest = hashlib.sha256(f"{library.st_size} {library.st_mtime_ns}".encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()

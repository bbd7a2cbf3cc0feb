"""Which state of the planner's own code an answer comes from.

Answers of the solver and plans are remembered between runs under all that they follow from, and
that includes the rules that made them.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from pathlib import Path


@functools.cache
def rules() -> str:
    """A digest of the modules that plan and solve, and of which libsolv there is."""
    library = _library().stat()
    digest = hashlib.sha256(f"{library.st_size} {library.st_mtime_ns}".encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _library() -> Path:
    """libsolv's own file, found without loading it."""
    found = importlib.util.find_spec("solv")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("No module named 'solv'", name="solv")
    return next(path for path in sorted(Path(found.origin).parent.glob("_solv*.so")))

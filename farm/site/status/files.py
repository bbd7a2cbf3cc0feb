"""Files of the status site on the disk: written when they change, each in one piece.

Not one of them is needed by anybody who installs, and all can be made again: nothing waits for the
disk here.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterable
from pathlib import Path

from farm.site.status.pages import HOME, MARK
from farm.store import write_atomic

_MINUTE, _DAY = 60, 86400  # seconds
_FOLDERS = ("", "packages", "assets")
_DRAFT = re.compile(r"\.\S+\.(html|json|css|js|svg|txt)\.[a-z0-9_]{8}")  # of `atomic`


class Folder:
    """The publication root, as far as the status site is concerned."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._written: dict[str, int] = {}

    def write(self, path: str, content: bytes) -> bool:
        """Have `path` say `content`; whether that is new. An index.html of somebody else's at the
        root is left alone."""
        target = self.root / path
        if self._written.get(path) == hash(content) and target.exists():
            return False
        before: bytes | None = None
        with contextlib.suppress(OSError):
            before = target.read_bytes()
        if before != content:
            if path == "index.html" and before is not None and MARK.encode() not in before:
                return False
            put(target, content)
        self._written[path] = hash(content)
        return before != content

    def names(self, folder: str) -> frozenset[str]:
        """The paths of everything in a folder."""
        with contextlib.suppress(OSError):
            return frozenset(f"{folder}/{path.name}" for path in (self.root / folder).iterdir())
        return frozenset()

    def keep_only(self, folder: str, paths: Iterable[str]) -> None:
        """Remove pages of `folder` that are not among these."""
        names = {Path(path).name for path in paths}
        with contextlib.suppress(FileNotFoundError):
            for path in (self.root / folder).iterdir():
                if path.name not in names and path.suffix in (".html", ".css", ".js", ".svg"):
                    path.unlink(missing_ok=True)
                    self._written.pop(f"{folder}/{path.name}", None)

    def remove_drafts(self) -> None:
        """Remove what a run that was killed had not yet put in its place; what is a minute old at
        least, since others write beside it."""
        oldest = time.time() - _MINUTE
        for folder in (self.root, *(self.root / HOME / name for name in _FOLDERS)):
            with contextlib.suppress(OSError):
                for path in folder.iterdir():
                    if _DRAFT.fullmatch(path.name) and path.stat().st_mtime < oldest:
                        path.unlink(missing_ok=True)

    def drop_old_assets(self, current: Iterable[str]) -> None:
        """Remove styles and scripts of an earlier farm, once no page that was loaded before can
        want them any more."""
        names = {Path(path).name for path in current}
        oldest = time.time() - _DAY
        with contextlib.suppress(FileNotFoundError):
            for path in (self.root / HOME / "assets").iterdir():
                if path.name not in names and path.stat().st_mtime < oldest:
                    path.unlink(missing_ok=True)


def put(target: Path, content: bytes) -> None:
    """Replace a file: a reader sees the old bytes or the new ones."""
    write_atomic(target, content, durable=False)

"""What a request means: which file, which part of it, whether it is known already.

Pure but for looking at the file system; the server itself is in `serve`.
"""

from __future__ import annotations

import email.utils
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

METRICS = "/status/metrics.txt"
_TYPES = {
    ".rpm": "application/x-rpm",
    ".xml": "text/xml; charset=utf-8",
    ".gz": "application/gzip",
    ".zst": "application/zstd",
    ".json": "application/json",
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".asc": "text/plain; charset=utf-8",
    ".key": "text/plain; charset=utf-8",
    ".repo": "text/plain; charset=utf-8",
    ".log": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}


def resolve(root: Path, target: str) -> Path | None:
    """The file or directory that a request's path means; None when there is none to be seen.

    `root` is absolute and free of symlinks.
    """
    if not target.startswith("/"):
        return None
    names = unquote(urlsplit("http://x" + target).path, errors="surrogateescape").split("/")
    parts = [name for name in names if name]
    if any(part.startswith(".") or "\0" in part for part in parts):
        return None
    try:
        path = root.joinpath(*parts).resolve(strict=True)
    except (OSError, RuntimeError):  # nothing there, not ours to read, or a circle of links
        return None
    return path if path == root or root in path.parents else None


def aliased(target: str) -> str:
    """What a request is for: `/metrics` is where monitoring systems look for figures."""
    path, query, rest = target.partition("?")
    return METRICS + query + rest if path == "/metrics" else target


@dataclass(frozen=True)
class Span:
    """Bytes `first` up to and without `end`."""

    first: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.first


def parse_range(header: str, size: int) -> Span | None:
    """The one range that is asked for of a file of `size` bytes (RFC 9110, 14.1.2).

    None means the whole file: no range, several, or another unit. Raises ValueError for a
    range that lies outside of the file.
    """
    match = re.fullmatch(r"bytes=\s*(\d*)\s*-\s*(\d*)\s*", header)
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        span = Span(max(0, size - int(last)), size)
    else:
        if last and int(last) < int(first):
            return None
        span = Span(int(first), min(int(last) + 1, size) if last else size)
    if span.length <= 0:
        raise ValueError(f"{header} of {size} bytes")
    return span


def not_after(modified: int, since: str | None) -> bool:
    """Whether something has stayed as it was since the date of an If-Modified-Since."""
    if since is None:
        return False
    try:
        return modified <= email.utils.parsedate_to_datetime(since).timestamp()
    except (TypeError, ValueError):
        return False


def content_type(path: Path) -> str:
    """What a file is, by its name."""
    if path.name == "metrics.txt":
        return "text/plain; version=0.0.4; charset=utf-8"
    if path.name == "mirrorlist" or path.name.startswith("RPM-GPG-KEY-"):
        return "text/plain; charset=utf-8"
    return _TYPES.get(path.suffix, "application/octet-stream")

"""Modular packages of Enterprise Linux: those of streams that are not enabled are hidden.

Only what dnf does by default: a module's default stream is enabled, every other is not. A chroot
that enables streams by itself (`module_setup_commands`) is refused where it is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

_KEY = re.compile(r"^( *)(?:- )?([\w.+-]+):(?: +(.*))?$")
_NEVRA = re.compile(r"^(?P<name>.+)-(?P<evr>\d+:[^-]+-[^-]+)\.(?P<arch>[^.]+)$")

Keep = Callable[[str, str, str], bool]


@dataclass
class _Document:
    kind: str = ""
    values: dict[str, str] = field(default_factory=dict)  # dotted path → scalar
    artifacts: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Streams:
    """Artifacts (name, evr, arch) of hidden streams, and names that enabled streams own."""

    hidden: frozenset[tuple[str, str, str]]
    shown: frozenset[tuple[str, str, str]]

    def filter(self, keep: Keep, hotfixes: bool) -> Keep:
        """`keep`, less what modularity hides; `hotfixes`: dnf's module_hotfixes."""
        if hotfixes or not (self.hidden or self.shown):
            return keep
        owned = {name for name, _, _ in self.shown}

        def kept(name: str, evr: str, arch: str) -> bool:
            artifact = (name, evr, arch)
            if artifact not in self.shown and (artifact in self.hidden or name in owned):
                return False
            return keep(name, evr, arch)

        return kept


def parse_modules(text: str) -> Streams:
    """Read modules.yaml as libmodulemd writes it (block style, one document for each stream)."""
    documents = [_document(part) for part in re.split(r"(?m)^---.*$", text)]
    defaults = {
        document.values.get("data.module", ""): document.values["data.stream"]
        for document in documents
        if document.kind == "modulemd-defaults" and document.values.get("data.stream")
    }
    hidden: set[tuple[str, str, str]] = set()
    shown: set[tuple[str, str, str]] = set()
    for document in documents:
        if document.kind not in ("modulemd", "modulemd-stream"):
            continue
        name, stream = document.values.get("data.name", ""), document.values.get("data.stream")
        target = shown if stream is not None and defaults.get(name) == stream else hidden
        for artifact in document.artifacts:
            match = _NEVRA.match(artifact)
            if match and match["arch"] not in ("src", "nosrc"):
                target.add((match["name"], match["evr"], match["arch"]))
    return Streams(frozenset(hidden - shown), frozenset(shown))


def _document(text: str) -> _Document:
    document = _Document()
    path: list[tuple[int, str]] = []
    for line in text.splitlines():
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        where = [name for _, name in path]
        if stripped.startswith("- ") and where[-3:] == ["data", "artifacts", "rpms"]:
            document.artifacts.append(_scalar(stripped[2:]))
            continue
        match = _KEY.match(line)
        if match is None:
            continue
        indent = len(match[1])
        while path and path[-1][0] >= indent:
            path.pop()
        path.append((indent, match[2]))
        if match[3]:
            document.values[".".join(name for _, name in path)] = _scalar(match[3])
    document.kind = document.values.get("document", "")
    return document


def _scalar(text: str) -> str:
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text

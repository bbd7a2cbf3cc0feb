"""Modular packages of Enterprise Linux: those of streams that are not enabled are hidden.

Only what dnf does by default: a module's default stream is enabled, every other is not. A chroot
that enables streams by itself (`module_setup_commands`) is refused where it is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from farm.plan.metadata.unpack import MetadataError

_KEY = re.compile(r"^( *)(?:- )?([\w.+-]+):(?: +(.*))?$")
_NEVRA = re.compile(r"^(?P<name>.+)-(?P<evr>\d+:[^-]+-[^-]+)\.(?P<arch>[^.]+)$")

_LONGEST = 512  # characters of an artifact; its pattern tries every way to split them
_ARTIFACTS = ["data", "artifacts", "rpms"]
_KINDS = (
    "modulemd", "modulemd-stream", "modulemd-defaults", "modulemd-translations",
    "modulemd-obsoletes", "modulemd-packager",
)  # fmt: skip

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


def parse_modules(content: bytes) -> Streams:
    """Read modules.yaml as libmodulemd writes it (block style, one document for each stream).

    Raises MetadataError for anything else: a stream that is passed over would not be hidden.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise MetadataError(f"the list of modules is damaged: {error}") from error
    documents = [_document(part) for part in re.split(r"(?m)^---.*$", text) if _has_content(part)]
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
        if not name or stream is None:
            raise MetadataError("a module in the list of modules has no name or no stream")
        target = shown if stream is not None and defaults.get(name) == stream else hidden
        for artifact in document.artifacts:
            match = _NEVRA.match(artifact[:_LONGEST])
            if match is None:
                raise MetadataError(f"module {name}:{stream} has the artifact {artifact[:60]!r}")
            if match["arch"] not in ("src", "nosrc"):
                target.add((match["name"], match["evr"], match["arch"]))
    return Streams(frozenset(hidden - shown), frozenset(shown))


def _has_content(text: str) -> bool:
    lines = (line.strip() for line in text.splitlines())
    return any(line and line != "..." and line[0] not in "#%" for line in lines)


def _document(text: str) -> _Document:
    document = _Document()
    path: list[tuple[int, str]] = []
    for line in text.splitlines():
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        if stripped.startswith("- ") and _names(path[-3:]) == _ARTIFACTS:
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
            document.values[".".join(_names(path))] = _scalar(match[3])
    document.kind = document.values.get("document", "")
    if document.kind not in _KINDS:
        what = f"is of the kind {document.kind!r}" if document.kind else "does not say its kind"
        raise MetadataError(f"a document in the list of modules {what}")
    if document.values.get(".".join(_ARTIFACTS), "[]") != "[]":
        raise MetadataError("the list of modules is not in the style of libmodulemd")
    return document


def _names(path: list[tuple[int, str]]) -> list[str]:
    return [name for _, name in path]


def _scalar(text: str) -> str:
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text

"""PyPI's sdists, from the index that pip itself is configured with.

pip would build what it downloads to learn its name; here the simple index is read instead, and
nothing of a project is executed.
"""

from __future__ import annotations

import ast
import hashlib
import html.parser
import os
import re
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from farm import run
from farm.errors import FarmError
from farm.layer.origins import Offer, Refusal, Wanted, normalized
from farm.layer.origins.web import NotFetched, Web, shown

_JSON = "application/vnd.pypi.simple.v1+json"
_ENDINGS = (".tar.gz", ".zip", ".tar.bz2", ".tar.xz", ".tgz")
# pip knows its default index; it is asked, so that this file names none.
_DEFAULT_INDEX = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
_PATIENCE = 60  # seconds for pip to print its configuration


@dataclass(frozen=True)
class PipSettings:
    """Where pip would look."""

    indexes: tuple[str, ...]
    find_links: tuple[str, ...] = ()
    certificates: Path | None = None


@dataclass(frozen=True)
class Sdist:
    """A file of an index; `sha256` is "" when the index says none."""

    file: str
    address: str
    sha256: str = ""


class PyPI:
    """Asks pip's indexes for the sdist."""

    name = "pypi"

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._settings: PipSettings | None = None
        self._web: Web | None = None
        self._lock = threading.Lock()

    def offers(self, wanted: Wanted, draft: Path) -> Iterator[Offer | Refusal]:
        if not wanted.compression:
            yield Refusal("PyPI", "has sdists only, and this is none")
            return
        if not wanted.sha512 and not wanted.alias and not wanted.package.startswith("python"):
            # Anybody may own a project of that name: without a checksum it must be named.
            yield Refusal("PyPI", "asked only for packages named python… or in sources.names")
            return
        try:
            settings, web = self._prepared()
        except FarmError as error:
            yield Refusal("pip", error.what)
            return
        for place in settings.find_links:
            yield from _linked(place, wanted)
        project = wanted.alias or re.sub(r"^python3?-", "", wanted.package)
        for index in settings.indexes:
            page = f"{index.rstrip('/')}/{normalized(project)}/"
            try:
                files = _read_index(page, web, draft / "index")
            except NotFetched as error:
                yield Refusal(shown(page), str(error))
                continue
            fitting = [file for file in files if _fits(file.file, wanted)]
            if not fitting:
                yield Refusal(shown(page), f"has no {wanted.file}")
            for number, sdist in enumerate(fitting):
                yield _fetched(sdist, web, draft / f"sdist-{number}")

    def _prepared(self) -> tuple[PipSettings, Web]:
        with self._lock:
            if self._settings is None:
                self._settings = pip_settings()
            if self._web is None:
                self._web = Web(self._timeout, certificates=self._settings.certificates)
            return self._settings, self._web


def pip_settings() -> PipSettings:
    """What pip's configuration files and environment say. Raises FarmError without pip."""
    own = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    python = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    listed = run.run([*python, "config", "list"], env=own, timeout=_PATIENCE)
    default = run.run([sys.executable, "-c", _DEFAULT_INDEX], timeout=_PATIENCE).stdout.strip()
    return parse_settings(listed.stdout, default)


def parse_settings(listed: str, default: str) -> PipSettings:
    """From `pip config list`; the environment counts more than `[download]`, that than others."""
    values: dict[str, str] = {}
    ranks: dict[str, int] = {}
    for line in listed.splitlines():
        match = re.fullmatch(r"(global|download|:env:)\.([\w-]+)=(.*)", line.strip())
        if match is None:
            continue
        rank = ("global", "download", ":env:").index(match[1])
        if rank >= ranks.get(match[2], -1):
            ranks[match[2]] = rank
            values[match[2]] = str(ast.literal_eval(match[3]))
    main = [] if _truth(values.get("no-index", "")) else [values.get("index-url") or default]
    extra = [] if not main else values.get("extra-index-url", "").split()
    certificates = values.get("cert", "")
    return PipSettings(
        indexes=tuple(part for part in dict.fromkeys([*main, *extra]) if part),
        find_links=tuple(values.get("find-links", "").split()),
        certificates=Path(certificates) if certificates else None,
    )


def parse_index(text: str, page: str) -> list[Sdist]:
    """The sdists of a project's page in a simple index, HTML or JSON."""
    if text.lstrip().startswith("{"):
        try:
            listed = msgspec.json.decode(text.encode(), type=_Project).files
        except msgspec.DecodeError:
            return []
        found = [
            Sdist(
                file.filename, urllib.parse.urljoin(page, file.url), file.hashes.get("sha256", "")
            )
            for file in listed
        ]
    else:
        reader = _Anchors(page)
        reader.feed(text)
        found = reader.found
    return [file for file in found if file.file.endswith(_ENDINGS)]


class _File(msgspec.Struct):
    filename: str
    url: str
    hashes: dict[str, str] = {}


class _Project(msgspec.Struct):
    files: list[_File] = []


class _Anchors(html.parser.HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[Sdist] = []
        self._page = page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        target = dict(attrs).get("href") if tag == "a" else None
        if not target:
            return
        parts = urllib.parse.urlsplit(urllib.parse.urljoin(self._page, target))
        digest = urllib.parse.parse_qs(parts.fragment).get("sha256", [""])[0]
        address = urllib.parse.urlunsplit(parts._replace(fragment=""))
        file = urllib.parse.unquote(parts.path).rpartition("/")[2]
        self.found.append(Sdist(file, address, digest))


def _read_index(page: str, web: Web, target: Path) -> list[Sdist]:
    parts = urllib.parse.urlsplit(page)
    if parts.scheme == "file":
        path = Path(urllib.parse.unquote(parts.path)) / "index.html"
        if not path.is_file():
            raise NotFetched("there is no such project")
        return parse_index(path.read_text("utf-8", "replace"), page)
    web.fetch(page, target, headers={"Accept": f"{_JSON}, text/html;q=0.5"})
    return parse_index(target.read_text("utf-8", "replace"), page)


def _fetched(sdist: Sdist, web: Web, target: Path) -> Offer | Refusal:
    where = shown(sdist.address)
    parts = urllib.parse.urlsplit(sdist.address)
    if parts.scheme == "file":
        path = Path(urllib.parse.unquote(parts.path))
        return Offer(where, path) if path.is_file() else Refusal(where, "it is not there")
    try:
        web.fetch(sdist.address, target)
    except NotFetched as error:
        return Refusal(where, str(error))
    if sdist.sha256 and hashlib.sha256(target.read_bytes()).hexdigest() != sdist.sha256:
        return Refusal(where, "it has another checksum than its own index says")
    return Offer(where, target)


def _linked(place: str, wanted: Wanted) -> Iterator[Offer]:
    """Files of a local `find-links` directory; without any there is nothing to say."""
    directory = Path(place.removeprefix("file://"))
    if directory.is_dir():
        for path in sorted(directory.iterdir()):
            if path.name.endswith(_ENDINGS) and _fits(path.name, wanted):
                yield Offer(str(path), path)


def _fits(file: str, wanted: Wanted) -> bool:
    """The same name, as PyPI compares names (ClusterShell-1.9 is clustershell-1.9)."""
    return normalized(file) == normalized(wanted.file)


def _truth(value: str) -> bool:
    return value.lower() in ("1", "true", "yes", "on")

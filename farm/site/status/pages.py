"""Facts → the files of the status site, as (path below the publication root, content).

Templates escape everything. What a page says depends on the facts alone, not on when it is made:
a page that would say the same has the same bytes.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from farm.model import Noun, rfc3339
from farm.site.status.facts import STATES, Facts, PackagePage, ReleaseFacts, State

if TYPE_CHECKING:
    import jinja2

    from farm.site.status.picture import Draughtsman

HOME = "status"
MARK = '<meta name="generator" content="farm">'  # an index.html without it is somebody else's
_DATA = Path(__file__).with_name("data")
_SCRIPT, _STYLE, _ICON = "farm.js", "farm.css", "farm.svg"
_ASSETS = (_SCRIPT, _STYLE, _ICON)

WORDS: dict[State, str] = {
    "running": "running",
    "queued": "queued",
    "failed": "failed",
    "skipped": "skipped",
    "built": "built",
    "excluded": "not for it",
    "never": "never built",
}


class Found(Noun, frozen=True, array_like=True):
    """One line of the search's index."""

    name: str
    state: State
    evr: str
    group: str


class Site:
    """Renders pages; keeps templates and the layout of graphs between two times."""

    def __init__(self, *, logs: bool = True) -> None:
        self._logs = logs
        self._of: Facts | None = None
        self._alive: tuple[ReleaseFacts, ...] = ()  # of those facts

    @cached_property
    def _draughtsman(self) -> Draughtsman:
        from farm.site.status.picture import Draughtsman  # noqa: PLC0415 - as below

        return Draughtsman()

    @cached_property
    def _environment(self) -> jinja2.Environment:
        import jinja2  # noqa: PLC0415 - most runs render nothing

        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("farm.site.status", "data"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {
            "moment": moment, "iso": rfc3339, "duration": duration, "size": size, "address": quote,
        }  # fmt: skip
        environment.globals |= {
            "assets": {name: f"{HOME}/assets/{asset_name(name)}" for name in _ASSETS},
            "words": WORDS,
            "states": STATES,
            "home": HOME,
            "logs": self._logs,
        }
        return environment

    @property
    def stamp(self) -> str:
        """Another one when pages of the same facts would have other bytes."""
        return _stamp(self._logs)

    def assets(self) -> Iterator[tuple[str, bytes]]:
        """Style, script and icon, under names that change with them."""
        for name in _ASSETS:
            yield f"{HOME}/assets/{asset_name(name)}", _data(name)

    def overview(self, facts: Facts) -> Iterator[tuple[str, bytes]]:
        """The first page, where a browser looks for it and among the others, and what is small
        and follows from all packages together."""
        found = [Found(p.name, p.state, _evr(p), p.group) for p in facts.packages]
        yield f"{HOME}/search.json", msgspec.json.encode(found)
        if self._logs:
            yield from self._page(f"{HOME}/log.html", "log.html", "../", facts)
        yield from self._page(f"{HOME}/releases.html", "releases.html", "../", facts)
        yield from self._page(f"{HOME}/index.html", "overview.html", "../", facts)
        yield from self._page("index.html", "overview.html", "", facts)

    def package(self, facts: Facts, package: PackagePage) -> tuple[str, bytes]:
        """The page of one package."""
        path = package_path(package.name)
        known = {p.name: p for p in facts.packages}
        titles = {release.name: release for release in facts.releases}
        return path, self._render(
            "package.html", root="../../", facts=facts, package=package, known=known,
            titles=titles, page="package",
        )  # fmt: skip

    def graph(self, facts: Facts, release: ReleaseFacts) -> tuple[str, bytes]:
        """The dependency graph of one release."""
        picture = self._draughtsman.draw(release.name, facts.packages)
        return graph_path(release.name), self._render(
            "graph.html", root="../", facts=facts, release=release, picture=picture, page="graph",
            this_release=release.name,
        )  # fmt: skip

    def _page(
        self, path: str, template: str, root: str, facts: Facts
    ) -> Iterator[tuple[str, bytes]]:
        page = template.removesuffix(".html")
        yield path, self._render(template, root=root, facts=facts, page=page)

    def _render(
        self, template: str, *, facts: Facts, this_release: str = "", **values: object
    ) -> bytes:
        alive = facts.alive if facts is not self._of else self._alive
        self._of, self._alive = facts, alive
        text = self._environment.get_template(template).render(
            facts=facts, alive=alive, this_release=this_release, **values
        )
        return text.encode("utf-8", "replace")


def package_path(name: str) -> str:
    """Where the page of a package is, below the publication root."""
    return f"{HOME}/packages/{name}.html"


def graph_path(release: str) -> str:
    """Where the dependency graph of a release is."""
    return f"{HOME}/graph-{release}.html"


@cache
def _data(name: str) -> bytes:
    return (_DATA / name).read_bytes()


@cache
def asset_name(name: str) -> str:
    """The name with some of the content's checksum in it."""
    stem, _, ending = name.rpartition(".")
    return f"{stem}-{hashlib.sha256(_data(name)).hexdigest()[:12]}.{ending}"


@cache
def _stamp(logs: bool) -> str:
    names = sorted(p.name for p in _DATA.iterdir())
    found = hashlib.sha256(b"logs" if logs else b"")
    for name in names:
        found.update(_data(name))
    return found.hexdigest()


def _evr(package: PackagePage) -> str:
    return next((each.evr for each in package.releases if each.evr), "")


def moment(seconds: float) -> str:
    """A time as people read it; "" for none."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds)) if seconds else ""


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(count: float) -> str:
    """Bytes in the unit that fits."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"

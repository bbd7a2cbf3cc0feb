"""Lookaside directories: a site's own store of sources, as a directory or over http.

Two layouts are known, the plain one and Fedora's:
    <place>/<package>/<file>
    <place>/<package>/<file>/sha512/<checksum>/<file>
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path

from farm.layer.origins import Offer, Refusal, Wanted
from farm.layer.origins.web import NotFetched, Web, shown


class Lookaside:
    """Asks each place, in the layouts above. Relative directories are below `root`."""

    name = "lookaside"

    def __init__(self, places: Sequence[str], root: Path, web: Web) -> None:
        self._places = tuple(places)
        self._root = root
        self._web = web

    def offers(self, wanted: Wanted, draft: Path) -> Iterator[Offer | Refusal]:
        if not self._places:
            yield Refusal("sources.lookaside", "no directory is configured")
        for number, place in enumerate(self._places):
            if "://" in place:
                yield from self._remote(place, wanted, draft / f"lookaside-{number}")
            else:
                yield from self._local(self._root / Path(place).expanduser(), wanted)

    def _local(self, place: Path, wanted: Wanted) -> Iterator[Offer | Refusal]:
        found = [place / path for path in _layouts(wanted) if (place / path).is_file()]
        for path in found:
            yield Offer(str(path), path)
        if not found:
            why = "it is not there" if place.is_dir() else "there is no such directory"
            yield Refusal(str(place / wanted.package / wanted.file), why)

    def _remote(self, place: str, wanted: Wanted, target: Path) -> Iterator[Offer | Refusal]:
        for path in _layouts(wanted):
            address = f"{place.rstrip('/')}/{urllib.parse.quote(path)}"
            try:
                self._web.fetch(address, target)
            except NotFetched as error:
                yield Refusal(shown(address), str(error))
            else:
                yield Offer(shown(address), target)


def _layouts(wanted: Wanted) -> tuple[str, ...]:
    plain = f"{wanted.package}/{wanted.file}"
    if not wanted.sha512:
        return (plain,)
    return (f"{plain}/sha512/{wanted.sha512}/{wanted.file}", plain)

"""Upstream's own addresses, as the spec's Source lines give them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from farm.layer.origins import Offer, Refusal, Wanted
from farm.layer.origins.web import NotFetched, Web, shown


class Upstream:
    """Asks each address that the spec names for the file."""

    name = "upstream"

    def __init__(self, web: Web) -> None:
        self._web = web

    def offers(self, wanted: Wanted, draft: Path) -> Iterator[Offer | Refusal]:
        if not wanted.addresses:
            yield Refusal("the spec", "names no address for it that can be read without running it")
        for number, address in enumerate(wanted.addresses):
            target = draft / f"upstream-{number}"
            try:
                self._web.fetch(address, target)
            except NotFetched as error:
                yield Refusal(shown(address), str(error))
            else:
                yield Offer(shown(address), target)

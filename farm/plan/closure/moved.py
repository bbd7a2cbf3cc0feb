"""What an update of a base changes, package by package, and the same in a pool that is open."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import solv

from farm.plan.closure.graph import Graph
from farm.plan.closure.regraph import regraph
from farm.plan.closure.witness import Verdicts, recheck
from farm.plan.metadata import primary, solvfiles
from farm.plan.metadata.pins import Pin
from farm.plan.metadata.unpack import MetadataError, decompressed
from farm.plan.universe import Universe

_CHECKSUM = re.compile(rb"<checksum[^>]*>\s*([0-9a-f]+)\s*</checksum>")
_NAME = re.compile(rb"<name>([^<]*)</name>")


@dataclass(frozen=True)
class Update:
    """Packages that leave the pool, and the primary.xml of those that come in."""

    gone: frozenset[int]
    come: bytes

    @property
    def size(self) -> int:
        """Packages that are gone, and those that are new."""
        return len(self.gone) + self.come.count(b"<package ")


def update_between(
    universe: Universe, graph: Graph, old: Sequence[Pin], new: Sequence[Pin]
) -> Update:
    """What has changed between two states of the base, of which `universe` has the older.

    Only what is not the same in both, byte by byte, is looked at. Raises RepositoryError.
    """
    after = frozenset(_pieces(new))
    try:  # the older state was examined when it was read; irregular, all of it has changed
        before = frozenset(piece for pin in old for piece in primary.packages(_raw(pin)))
    except MetadataError:
        before = frozenset(_pieces(old))
    left, arrived = before - after, after - before
    come = primary.assembled(arrived)
    files = primary.required_files(come)
    universe.learn(files)
    wanted = universe.required_files | files
    chunks: set[bytes] = set()
    for pin in new:
        own = arrived.intersection(_pieces([pin])) if len(new) > 1 else arrived
        owners = solvfiles.owned_files(pin, wanted, universe.cache)
        arch = universe.chroot.arch
        chunks.update(solvfiles.canonical(pin, primary.assembled(own), owners, arch))
    return Update(frozenset(_in_pool(universe.pool, graph, left)), primary.assembled(chunks))


def apply(
    universe: Universe, graph: Graph, update: Update, before: Verdicts
) -> tuple[Graph, Verdicts]:
    """Bring the update into the universe's pool, and its verdicts up to date.

    The pool is for verdicts only from then on: a lock depends on the order of packages in it.
    """
    come = replace_packages(universe.pool, update.gone, update.come, "update")
    graph = regraph(universe.pool, graph, update.gone, come)
    asked = come if not graph.sources.intersection(before.decided.questions) else ()
    return graph, recheck(universe.pool, graph, before, update.gone, asked)


def replace_packages(
    pool: Any, gone: Collection[int], come: bytes, repository: str
) -> tuple[int, ...]:
    """Take packages out of the pool and add those of a primary.xml; the ids of the latter.

    `gone` are all that are out by now: the ids of the others stay as they are.
    """
    pool.set_disabled_list([])  # what is added while there is one is out as well
    repo = pool.add_repo(repository)
    solvfiles.parse(pool, repo, come, f"repository {repository!r}")
    pool.set_disabled_list(sorted(gone))
    pool.addfileprovides()
    pool.createwhatprovides()
    return tuple(solvable.id for solvable in repo.solvables)


def _pieces(pins: Iterable[Pin]) -> Iterator[bytes]:
    for pin in pins:
        file = pin.file("primary")
        assert file is not None  # `fetch_pin` refuses a repository without
        yield from primary.packages(solvfiles.content_of(pin, file))


def _raw(pin: Pin) -> bytes:
    file = pin.file("primary")
    assert file is not None  # as above
    return decompressed(pin.path(file), file.open_size)


def _in_pool(pool: Any, graph: Graph, pieces: Iterable[bytes]) -> Iterator[int]:
    """The ids of packages; those that were left out of the pool are passed over."""
    wanted: set[str] = set()
    names: set[int] = set()
    for piece in pieces:
        name, checksum = _NAME.search(piece), _CHECKSUM.search(piece)
        if name is not None and checksum is not None:
            names.add(pool.str2id(name[1].decode(), False))
            wanted.add(checksum[1].decode())
    names.discard(0)
    for number, own in enumerate(graph.names):
        if own in names and number not in graph.sources:
            checksum = pool.id2solvable(number).lookup_checksum(solv.SOLVABLE_CHECKSUM)
            if checksum is not None and checksum.hex() in wanted:
                yield number

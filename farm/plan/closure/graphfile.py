"""A universe's graph, kept on disk: reading it from the pool takes longer than using it."""

from __future__ import annotations

import hashlib
from array import array
from pathlib import Path

import msgspec

from farm.plan.closure.graph import Graph, read_graph
from farm.plan.closure.rows import Rows
from farm.plan.metadata.rich import Rich, parse
from farm.plan.universe import Universe
from farm.store import write_atomic

_FORMAT = "4"  # raised when what a kept file holds, or how providers are ordered, changes
_ROWS = (
    "requires", "conflicts", "obsoletes", "words", "users", "providers", "provides",
    "obsoleted",
)  # fmt: skip


class _Kept(msgspec.Struct, array_like=True, frozen=True):
    """Arrays as the machine's own bytes: what is kept stays on one machine."""

    names: bytes
    sources: bytes
    odd: bytes
    native: str
    twins: dict[int, int]
    dependencies: bytes
    preferred: bytes
    obsoleting: bytes
    free: bytes
    rows: tuple[bytes, ...]  # two for each of `_ROWS`
    rich: dict[int, str]
    parts: dict[str, int]
    exact: bool


def graph_of(universe: Universe) -> Graph:
    """The graph of all that the universe's pool holds at present."""
    learnt = sorted(universe.memory.get("files", ()))
    name = hashlib.sha256("\n".join((_FORMAT, universe.digest, *learnt)).encode()).hexdigest()
    path = universe.cache / f"{name[:32]}.graph"
    graph = _read(path) if universe.digest else None
    if graph is None:
        graph = read_graph(universe.pool, universe.chroot.arch)
        if universe.digest:
            _write(path, graph)
    return graph


def _write(path: Path, graph: Graph) -> None:
    rows = []
    for name in _ROWS:
        row: Rows = getattr(graph, name)
        rows += [row.first.tobytes(), row.values.tobytes()]
    content = msgspec.msgpack.encode(
        _Kept(
            names=graph.names.tobytes(),
            sources=_bytes(graph.sources),
            odd=_bytes(graph.odd),
            native=graph.native,
            twins=graph.twins,
            dependencies=graph.dependencies.tobytes(),
            preferred=graph.preferred.tobytes(),
            obsoleting=graph.obsoleting.tobytes(),
            free=_bytes(graph.free),
            rows=tuple(rows),
            rich={
                number: tree.text if tree.operator != "?" else ""
                for number, tree in graph.rich.items()
            },
            parts=graph.parts,
            exact=graph.exact,
        )
    )
    write_atomic(path, hashlib.sha256(content).digest() + content)


def _read(path: Path) -> Graph | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    body = memoryview(content)[32:]
    if hashlib.sha256(body).digest() != content[:32]:
        return None  # damaged: made again
    kept = msgspec.msgpack.decode(body, type=_Kept)
    arrays = [_array(row) for row in kept.rows]
    rows = {
        name: Rows(first, values)
        for name, first, values in zip(_ROWS, arrays[::2], arrays[1::2], strict=True)
    }
    return Graph(
        names=_array(kept.names),
        sources=frozenset(_array(kept.sources)),
        odd=frozenset(_array(kept.odd)),
        native=kept.native,
        twins=kept.twins,
        dependencies=_array(kept.dependencies),
        preferred=_array(kept.preferred),
        obsoleting=_array(kept.obsoleting),
        free=frozenset(_array(kept.free)),
        rich={number: parse(text) or Rich("?", (), text) for number, text in kept.rich.items()},
        parts=kept.parts,
        exact=kept.exact,
        **rows,
    )


def _bytes(numbers: frozenset[int]) -> bytes:
    return array("i", sorted(numbers)).tobytes()


def _array(content: bytes) -> array[int]:
    numbers = array("i")
    numbers.frombytes(content)
    return numbers

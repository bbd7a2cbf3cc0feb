"""Attempts on machines that see no directory of the coordinator's.

The coordinator keeps a `depot`, a small HTTP server that knows the attempts on offer and nothing
else; the `node` side fetches what a job names, works in a directory of its own, sends phases and
log as they grow, and at last results and outcome. In the attempt's directory on the coordinator
everything looks as if the worker had worked there.
"""

from __future__ import annotations

from pathlib import Path


def work_at(place: str) -> None:
    """`farm work PLACE`: the attempt of a job file, or one on offer at an http address.

    Raises what `worker.work` and `node.work_from_afar` raise.
    """
    if place.startswith(("http:", "https:")):
        from farm.rebuild.remote.node import work_from_afar  # noqa: PLC0415 - start-up time

        work_from_afar(place)
        return
    from farm.rebuild.worker import work  # noqa: PLC0415

    work(Path(place))

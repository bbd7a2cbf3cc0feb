"""The verb that looks ahead."""

from __future__ import annotations

import click

from farm.cli.options import (
    CONTEXT,
    Farm,
    farm,
    option_arch,
    option_engine,
    option_jobs,
    option_json,
    option_release,
    pass_farm,
    watched,
)
from farm.errors import UsageError
from farm.lazily import lazily

with lazily():  # a command reads what it needs
    from farm import building, pipeline
    from farm.screens import planning as screens


@farm.command(context_settings=CONTEXT)
@click.argument("names", nargs=-1, metavar="PKG…")
@click.option("--all", "everything", is_flag=True, help="Every package of the layer (default).")
@option_arch
@option_release
@option_engine
@option_jobs
@click.option("--whole", is_flag=True, help="The whole order, not only what fits on a screen.")
@option_json
@pass_farm
def plan(
    farm: Farm, names: tuple[str, ...], everything: bool, archs: tuple[str, ...],
    release: str | None, engine: str | None, jobs: int | None, whole: bool, as_json: bool,
) -> int:  # fmt: skip
    """How a build would go: order, critical path, expected time and finish, cost, and what more
    machines would save.

    What would be built is what `farm build --dry-run` says; nothing is built.
    """
    if everything and names:
        raise UsageError("name packages, or say --all", hint="`farm plan --help` explains.")
    request = building.BuildRequest(
        names=names, everything=not names, archs=archs, release=release, engine=engine,
        jobs=jobs, dry_run=True,
    )  # fmt: skip
    foresight = watched(False, lambda emit: pipeline.plan(farm.config, request, emit))
    screens.show_plan(foresight, as_json=as_json, whole=whole)
    return 0

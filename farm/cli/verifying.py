"""The verb that builds again and compares."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from farm.cli.options import (
    CONTEXT,
    Farm,
    farm,
    option_arch,
    option_json,
    option_release,
    pass_farm,
    watched,
)
from farm.errors import UsageError
from farm.lazily import lazily

if TYPE_CHECKING:
    from farm import pipeline, reproduction
    from farm.screens import verifying as screens
else:  # a command reads what it needs: all together they take a quarter of a second
    pipeline, reproduction = lazily("farm.pipeline"), lazily("farm.reproduction")
    screens = lazily("farm.screens.verifying")


@farm.command(context_settings=CONTEXT)
@click.argument("names", nargs=-1, metavar="PKG…")
@click.option("--all", "everything", is_flag=True, help="Every package of the layer.")
@click.option(
    "--variations",
    default="all",
    metavar="V",
    help="What is to differ: all (default), each (one at a time), none, or clock,hostname,…",
)
@option_arch
@option_release
@click.option(
    "--jobs", type=click.IntRange(1), help="Builds at a time (default: one for each core)."
)
@click.option(
    "--report",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep what differs here (default: below the state directory).",
)
@click.option(
    "--table",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the answer as a dated table in Markdown, too.",
)
@option_json
@pass_farm
def verify(
    farm: Farm, names: tuple[str, ...], everything: bool, variations: str,
    archs: tuple[str, ...], release: str | None, jobs: int | None, report: Path | None,
    table: Path | None, as_json: bool,
) -> int:  # fmt: skip
    """Build what stands again, in roots that differ on purpose, and compare bit for bit.

    The exit code is 1 when something differs, and 9 when nothing does but something could not
    be verified.
    """
    if everything == bool(names):
        raise UsageError("name packages, or say --all", hint="`farm verify --help` explains.")
    request = reproduction.VerifyRequest(
        names=names, everything=everything, archs=archs, release=release,
        variations=variations, report=report, jobs=jobs,
    )  # fmt: skip
    answer = watched(as_json, lambda emit: pipeline.verify(farm.config, request, emit))
    screens.show_verification(answer, as_json=as_json)
    if table is not None:
        screens.write_table(answer, table)
    return int(answer.code)

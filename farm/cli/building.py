"""The verbs that build, and those that look at what was built."""

from __future__ import annotations

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
from farm.screens.text import say

if TYPE_CHECKING:
    from farm import building, pipeline
    from farm.screens import building as screens
else:  # a command reads what it needs: all together they take a quarter of a second
    building, pipeline = lazily("farm.building"), lazily("farm.pipeline")
    screens = lazily("farm.screens.building")


@farm.command(context_settings=CONTEXT)
@click.argument("names", nargs=-1, metavar="PKG|SRPM…")
@click.option("--all", "everything", is_flag=True, help="Every package of the layer.")
@option_arch
@option_release
@click.option(
    "--builder",
    type=click.Choice(["auto", "embedded", "mock"]),
    help="What fills and runs the build root.",
)
@click.option(
    "--jobs", type=click.IntRange(1), help="Attempts at a time (default: one for each core)."
)
@click.option("--dry-run", is_flag=True, help="Say what would be built and why; build nothing.")
@click.option(
    "--fail-fast", is_flag=True, help="Stop at the first failure (default: go on with the rest)."
)
@click.option("--force", is_flag=True, help="Build the named packages even if nothing has changed.")
@option_json
@pass_farm
def build(
    farm: Farm, names: tuple[str, ...], everything: bool, archs: tuple[str, ...],
    release: str | None, builder: str | None, jobs: int | None, dry_run: bool,
    fail_fast: bool, force: bool, as_json: bool,
) -> int:  # fmt: skip
    """Build packages and what they need from the layer, nothing else.

    PKG is a package of the layer, SRPM the path of a .src.rpm (a scratch build: in the same
    roots, never published). Uncommitted specs are scratch builds as well.
    """
    if everything == bool(names):
        raise UsageError("name packages, or say --all", hint="`farm build --help` explains.")
    request = building.BuildRequest(
        names=names, everything=everything, archs=archs, release=release, builder=builder,
        jobs=jobs, dry_run=dry_run, fail_fast=fail_fast, force=force,
    )  # fmt: skip
    report = watched(as_json, lambda emit: pipeline.build(farm.config, request, emit))
    screens.show_build(report, as_json=as_json)
    return 0 if report.ok else 1


@farm.group(context_settings=CONTEXT)
def base() -> None:
    """The embedded base distribution."""


@base.command("build", context_settings=CONTEXT)
@option_arch
@click.option("--refresh", is_flag=True, help="Look for newer packages even if a base is there.")
@pass_farm
def base_build(farm: Farm, archs: tuple[str, ...], refresh: bool) -> None:
    """Make the base: Debian's binary packages as RPMs, for each architecture."""
    watched(False, lambda emit: pipeline.base_build(farm.config, archs, refresh, emit))


@base.command("update", context_settings=CONTEXT)
@option_release
@click.option("--dry-run", is_flag=True, help="Say what would change; move nothing.")
@pass_farm
def base_update(farm: Farm, release: str | None, dry_run: bool) -> None:
    """Move the pin: build against the base's present state from now on."""
    changes = watched(
        False,
        lambda emit: pipeline.base_update(farm.config, release, dry_run=dry_run, emit=emit),
    )
    screens.show_base_changes(changes)


@farm.command(context_settings=CONTEXT)
@click.argument("names", nargs=-1, metavar="PKG…")
@click.option("--update", is_flag=True, help="Fetch what the spec declares and write `sources`.")
@pass_farm
def sources(farm: Farm, names: tuple[str, ...], update: bool) -> None:
    """Fetch and check the source archives of packages (default: all)."""
    for line in watched(
        False, lambda emit: pipeline.sources(farm.config, names, update_them=update, emit=emit)
    ):
        say(line)


@farm.command(context_settings=CONTEXT)
@click.argument("name", metavar="PKG")
@click.argument("command", nargs=-1, metavar="[-- CMD…]")
@option_arch
@option_release
@pass_farm
def shell(
    farm: Farm, name: str, command: tuple[str, ...], archs: tuple[str, ...],
    release: str | None,
) -> int:  # fmt: skip
    """A shell (or a command) in the root of the last (failed) build."""
    return pipeline.shell(farm.config, pipeline.ShellRequest(name, archs, release, command))


@farm.command(context_settings=CONTEXT)
@option_release
@option_json
@pass_farm
def status(farm: Farm, release: str | None, as_json: bool) -> None:
    """Every package: what stands, what is published, what failed last."""
    screens.show_status(pipeline.status(farm.config, release), as_json=as_json)

"""The verbs that build, and those that look at what was built."""

from __future__ import annotations

from typing import Any

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
from farm.screens.text import say

with lazily():  # a command reads what it needs: all together they take a quarter of a second
    from farm import building, pipeline, turns
    from farm.screens import building as screens


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
@option_engine
@option_jobs
@click.option("--dry-run", is_flag=True, help="Say what would be built and why; build nothing.")
@click.option(
    "--keep-going/--fail-fast",
    default=True,
    help="After a failure go on with what does not need it (the default), or start nothing more.",
)
@click.option("--force", is_flag=True, help="Build the named packages even if nothing has changed.")
@click.option(
    "--retry-failed",
    is_flag=True,
    help="Try again what failed last time; without PKG all such packages, and what was skipped"
    " because of them.",
)
@click.option(
    "--urgent", is_flag=True, help="Overtake everything that is queued, of a build at work, too."
)
@click.option(
    "--wait/--no-wait",
    default=None,
    help="While another farm is at work here: wait for it to end, or be refused (default: have a"
    " build that is at work do it as well and follow it; wait for anything else).",
)
@option_json
@pass_farm
def build(
    farm: Farm, /, *, names: tuple[str, ...], everything: bool, keep_going: bool, wait: bool | None,
    as_json: bool, **wishes: Any,
) -> int:  # fmt: skip
    """Build packages and what they need from the layer, nothing else.

    PKG is a package of the layer, SRPM the path of a .src.rpm (a scratch build: in the same
    roots, never published). Uncommitted specs are scratch builds as well.

    \b
    farm build --all                    the whole layer, whatever of it is not built
    farm build munge --arch aarch64     one package and what it needs
    farm build --urgent openssl         before everything that is queued
    farm build --retry-failed           what failed before, and what waited for it

    The exit code is 0 when all of it stands, 1 when a package failed.
    """
    if everything and names:
        raise UsageError("name packages, or say --all", hint="`farm build --help` explains.")
    if not (everything or names or wishes["retry_failed"]):
        raise UsageError(
            "name packages, or say --all or --retry-failed", hint="`farm build --help` explains."
        )
    waiting: turns.Waiting = "follow" if wait is None else "wait" if wait else "no"
    request = building.BuildRequest(
        names=names, everything=everything, fail_fast=not keep_going, waiting=waiting, **wishes
    )
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

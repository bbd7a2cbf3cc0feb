"""The verbs that publish, and those that act as a site."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

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
from farm.errors import PublishError
from farm.lazily import lazily
from farm.screens.text import say

with lazily():  # a command reads what it needs: all together they take a quarter of a second
    from farm import pipeline
    from farm.screens import publishing as screens


@farm.command(context_settings=CONTEXT)
@option_release
@click.option("--paste", is_flag=True, help="Publish nothing; print what a site pastes.")
@click.option(
    "--force",
    nargs=2,
    multiple=True,
    metavar="CHECK REASON",
    help="Publish in spite of a check (build, install, replaces, files, upgrade, attestations);"
    " both are recorded with the snapshot.",
)
@click.option(
    "--wait/--no-wait",
    default=True,
    help="While another farm is at work here: wait for it to end (the default), or be refused.",
)
@option_json
@pass_farm
def publish(
    farm: Farm, release: str | None, paste: bool, force: tuple[tuple[str, str], ...], wait: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Check what stands, sign it, make a snapshot of it, move the release's pointer."""
    config = farm.config
    lines = pipeline.what_sites_paste(config, release)
    if paste:
        screens.show_paste(lines)
        return
    try:
        waiting: Literal["wait", "no"] = "wait" if wait else "no"
        report = watched(
            as_json, lambda emit: pipeline.publish(config, release, emit, force, waiting=waiting)
        )
    except PublishError as error:
        if as_json:
            screens.show_refusal(error)
        raise
    screens.show_publication(report, lines, as_json=as_json)


@farm.command(context_settings=CONTEXT)
@click.argument(
    "files", nargs=-1, metavar="[FILE…]",
    type=click.Path(path_type=Path, dir_okay=False),
)  # fmt: skip
@option_json
@pass_farm
def attest(farm: Farm, files: tuple[Path, ...], as_json: bool) -> int:
    """Take in what attesters signed who made a snapshot's packages again.

    Each file is checked: its signature, the attester, the packages it speaks of. `farm publish`
    moves the release once publish.attestations of them agree on every package. Without a file:
    how far the snapshots are that wait.
    """
    report = pipeline.attest(farm.config, files)
    screens.show_attestations(report, as_json=as_json)
    return 7 if report.refused else 0


@farm.command(context_settings=CONTEXT)
@click.option("--bind", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port (default: publish.address's; 0: any)."
)
@pass_farm
def serve(farm: Farm, bind: str, port: int | None) -> None:
    """Serve the publication root over HTTP: static, with ranges, nothing writable."""
    pipeline.serve(farm.config, bind, port, say)


@farm.command("try", context_settings=CONTEXT)
@click.argument("names", nargs=-1, required=True, metavar="PKG…")
@option_arch
@option_release
@click.option("--address", metavar="URL", help="The mirror (default: publish.address).")
@click.option("--run", "script", metavar="CMD", help="Shell command to run in the installed root.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep the root in this directory.")
@pass_farm
def try_(
    farm: Farm, names: tuple[str, ...], archs: tuple[str, ...], release: str | None,
    address: str | None, script: str | None, keep: Path | None,
) -> int:  # fmt: skip
    """Act as a site: dnf installs PKG from the mirror into an empty root, signatures checked."""
    request = pipeline.TrialRequest(names, archs, release, address, script, keep)
    trials = watched(False, lambda emit: pipeline.try_out(farm.config, request, emit))
    screens.show_trials(trials)
    return 0 if all(trial.ok for trial in trials) else 1


@farm.group(context_settings=CONTEXT)
def key() -> None:
    """The signing keys in farm's own key ring."""


@key.command("new", context_settings=CONTEXT)
@click.argument("name")
@pass_farm
def key_new(farm: Farm, name: str) -> None:
    """Make a signing key."""
    say(f"made {name}: {pipeline.key_new(farm.config, name).fingerprint}")


@key.command("import", context_settings=CONTEXT)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@pass_farm
def key_import(farm: Farm, file: Path) -> None:
    """Take a secret key from a file (ASCII armour or binary)."""
    for taken in pipeline.key_import(farm.config, file):
        say(f"imported {taken.name}: {taken.fingerprint}")


@key.command("list", context_settings=CONTEXT)
@pass_farm
def key_list(farm: Farm) -> None:
    """The keys there are."""
    screens.show_keys(pipeline.key_list(farm.config), farm.config.publish.key)


@key.command("export", context_settings=CONTEXT)
@click.argument("name")
@pass_farm
def key_export(farm: Farm, name: str) -> None:
    """Print the public half of a key."""
    say(pipeline.key_export(farm.config, name).rstrip())

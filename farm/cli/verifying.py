"""The verb that builds again and compares."""

from __future__ import annotations

from pathlib import Path

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
from farm.errors import Refused, Unverifiable, UsageError
from farm.lazily import lazily

with lazily():  # a command reads what it needs: all together they take a quarter of a second
    from farm import pipeline, stranger
    from farm.screens import stranger as answers
    from farm.screens import verifying as screens
    from farm.verification import subjects


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
@click.option(
    "--repo",
    metavar="URL",
    help="Act as a stranger: verify what this mirror publishes, with nothing but its address.",
)
@click.option(
    "--key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="With --repo: the maintainers' public key (default: the one that the mirror offers).",
)
@click.option(
    "--base",
    "bases",
    multiple=True,
    metavar="URL|DIR",
    help="With --repo: a repository that has packages of the build roots (repeatable).",
)
@click.option(
    "--snapshot", default="", metavar="ID", help="With --repo: this snapshot (default: present)."
)
@click.option(
    "--native",
    is_flag=True,
    help="With --repo: assist emulated builds with this machine's native tools.",
)
@click.option(
    "--attest", default="", metavar="KEYNAME", help="With --repo: sign the answer with this key."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="With --attest: write the signed answer to this file (default: in this directory).",
)
@option_json
@pass_farm
def verify(
    farm: Farm, names: tuple[str, ...], everything: bool, variations: str,
    archs: tuple[str, ...], release: str | None, jobs: int | None, report: Path | None,
    table: Path | None, repo: str | None, key: Path | None, bases: tuple[str, ...],
    snapshot: str, native: bool, attest: str, output: Path | None, as_json: bool,
) -> int:  # fmt: skip
    """Build what stands again, in roots that differ on purpose, and compare bit for bit.

    With --repo, what a mirror publishes: its signatures and provenance are checked, its packages
    built again from its source packages in the locked packages, and compared.

    The exit code is 1 when something differs (or is refused), and 9 when nothing does but
    something could not be verified.
    """
    if repo is not None:
        if (variations, report, table) != ("all", None, None):
            raise UsageError("--variations, --report and --table go without --repo")
        if output is not None and not attest:
            raise UsageError("--output names the file of the signed answer: say --attest as well")
        if everything and names:
            raise UsageError("name packages, or say --all", hint="`farm verify --help` explains.")
        asked = stranger.StrangerRequest(
            url=repo, names=names, archs=archs, release=release, snapshot=snapshot, key=key,
            bases=bases, native=native, jobs=jobs, attest=attest, output=output,
        )  # fmt: skip
        return _as_a_stranger(farm, asked, as_json=as_json)
    if key or bases or snapshot or native or attest or output:
        raise UsageError("--key, --base, --snapshot, --native, --attest and --output want --repo")
    if everything == bool(names):
        raise UsageError("name packages, or say --all", hint="`farm verify --help` explains.")
    if table is not None and not table.absolute().parent.is_dir():
        raise UsageError(f"there is no directory {table.parent} for the table")
    request = subjects.VerifyRequest(
        names=names, everything=everything, archs=archs, release=release,
        variations=variations, report=report, jobs=jobs,
    )  # fmt: skip
    show = screens.show_verification  # loaded now: farm may be updated while this runs
    answer = watched(as_json, lambda emit: pipeline.verify(farm.config, request, emit))
    show(answer, as_json=as_json)
    if table is not None:
        screens.write_table(answer, table)
    return int(answer.code)


def _as_a_stranger(farm: Farm, asked: stranger.StrangerRequest, *, as_json: bool) -> int:
    try:
        found = watched(as_json, lambda emit: pipeline.verify_published(farm.config, asked, emit))
    except (Refused, Unverifiable) as error:
        if as_json:
            answers.show_refusal(error)
        raise
    answers.show_stranger(found, as_json=as_json)
    return int(found.code)

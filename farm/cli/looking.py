"""The verb that shows what builds said."""

from __future__ import annotations

import click

from farm.cli.options import (
    CONTEXT,
    Farm,
    farm,
    option_arch,
    option_json,
    option_release,
    pass_farm,
)
from farm.errors import UsageError
from farm.lazily import lazily

with lazily():  # a command reads what it needs: all together they take a quarter of a second
    from farm import logs
    from farm.screens import looking as screens


@farm.command(context_settings=CONTEXT)
@click.argument("name", metavar="PKG")
@option_arch
@option_release
@click.option("--attempt", default="", metavar="ID", help="That attempt, not the last one.")
@click.option("--list", "listed", is_flag=True, help="The attempts there were; no log.")
@click.option(
    "--follow",
    "-f",
    is_flag=True,
    help="The log of the attempt that runs now, as it grows; waits for one that is queued.",
)
@click.option("--path", "only_path", is_flag=True, help="Print where the log lies, not the log.")
@click.option("--root", is_flag=True, help="What was in the build root, as rpm listed it.")
@option_json
@pass_farm
def log(
    farm: Farm, name: str, archs: tuple[str, ...], release: str | None, attempt: str,
    listed: bool, follow: bool, only_path: bool, root: bool, as_json: bool,
) -> int:  # fmt: skip
    """The log of the last attempt; of a failure the telling lines come first.

    With --follow, the exit code is 1 when the attempt fails.
    """
    if follow + listed + only_path > 1 or (root and (follow or listed)):
        raise UsageError("--follow, --list and --path (or --root) do not go together")
    if as_json and not listed:
        raise UsageError("--json goes with --list")
    request = logs.LogRequest(name, archs, release, attempt, root)
    if listed:
        screens.show_attempts(logs.attempts(farm.config, request), as_json=as_json)
        return 0
    if follow:
        return 0 if screens.show_following(logs.follow(farm.config, request)) else 1
    screens.show_log(logs.show(farm.config, request), only_path=only_path)
    return 0

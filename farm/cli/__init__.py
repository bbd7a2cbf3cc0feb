"""Verbs and options → typed calls into the pipeline; answers → the terminal."""

from __future__ import annotations

import click

from farm.cli import (
    building,
    checking,
    housekeeping,
    looking,
    planning,
    publishing,
    verifying,
)
from farm.cli.options import farm
from farm.errors import UsageError

__all__ = [
    "building",
    "checking",
    "command",
    "farm",
    "housekeeping",
    "looking",
    "planning",
    "publishing",
    "verifying",
]


def command(argv: list[str]) -> int:
    """Run one command line. Raises FarmError; answers the exit code."""
    try:
        answer = farm.main(argv, standalone_mode=False)
    except click.exceptions.Abort as error:
        if isinstance(error.__cause__, EOFError):  # click takes it for the end of somebody's input
            raise error.__cause__ from None
        raise KeyboardInterrupt from error
    except click.ClickException as error:
        where = (
            error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "farm"
        )
        raise UsageError(error.format_message(), hint=f"`{where} --help` explains.") from error
    return answer if isinstance(answer, int) else 0

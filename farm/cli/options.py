"""What the verbs share: the configuration, options that several have, a way to report."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import click

from farm import config as configuration
from farm.config import Config
from farm.progress import Emit, emitter, standard_error, watcher

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Farm:
    """What every verb gets: the configuration and a way to report."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def config(self) -> Config:
        return configuration.load(self.directory)


pass_farm = click.make_pass_decorator(Farm)


def separated(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[str, ...]:
    return tuple(part for part in (value or "").replace(",", " ").split() if part)


def option_arch(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--arch",
        "archs",
        callback=separated,
        metavar="A,B",
        help="Architectures (default: all of the release's).",
    )(function)


def option_release(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--release", metavar="R", help="Release (default: default_release of farm.toml)."
    )(function)


def option_engine(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--engine",
        type=click.Choice(["local", "slurm"]),
        help="Where attempts run: on this machine, or as jobs of the site's Slurm (default:"
        " build.engine of farm.toml).",
    )(function)


def option_jobs(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--jobs", type=click.IntRange(1), help="Attempts at a time (default: one for each core)."
    )(function)


def option_json(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--json", "as_json", is_flag=True, help="Machine-readable answer on standard output."
    )(function)


def _style(as_json: bool) -> Literal["auto", "json"]:
    return "json" if as_json else "auto"


def watched(as_json: bool, work: Callable[[Emit], Any]) -> Any:
    stream = sys.stdout if as_json else standard_error()
    with watcher(_style(as_json), stream) as seen:
        return work(emitter(seen))


@click.group(context_settings=CONTEXT)
@click.option(
    "-C", "directory", type=click.Path(path_type=Path, file_okay=False), default=Path(),
    help="Work on the layer in this directory (with farm.toml, specs/, chroots/).",
)  # fmt: skip
@click.version_option(package_name="farm")
@click.pass_context
def farm(context: click.Context, directory: Path) -> None:
    """Rebuild a layer of spec files on its base distribution, sign it, publish it.

    The way through: farm base build, farm build, farm publish, farm serve.
    """
    context.obj = Farm(directory)

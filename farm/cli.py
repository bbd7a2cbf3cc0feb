"""Verbs and options → typed calls into the pipeline; answers → the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from farm import config as configuration
from farm.config import Config
from farm.errors import UsageError
from farm.lazily import lazily
from farm.progress import Emit, emitter, standard_error, watcher

if TYPE_CHECKING:
    from farm import checks, pipeline, reasons, screens, screens_check, screens_closure
    from farm import closure as distribution
else:  # a command reads what it needs: all together they take a quarter of a second
    checks, distribution, pipeline, reasons, screens, screens_check, screens_closure = (
        lazily(f"farm.{name}")
        for name in (
            "checks", "closure", "pipeline", "reasons", "screens", "screens_check",
            "screens_closure",
        )
    )  # fmt: skip

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def command(argv: list[str]) -> int:
    """Run one command line. Raises FarmError; answers the exit code."""
    try:
        answer = farm.main(argv, standalone_mode=False)
    except click.exceptions.Abort as error:
        raise KeyboardInterrupt from error
    except click.ClickException as error:
        where = (
            error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "farm"
        )
        raise UsageError(error.format_message(), hint=f"`{where} --help` explains.") from error
    return answer if isinstance(answer, int) else 0


class Farm:
    """What every verb gets: the configuration and a way to report."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def config(self) -> Config:
        return configuration.load(self.directory)


pass_farm = click.make_pass_decorator(Farm)


def _list(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(part for part in (value or "").replace(",", " ").split() if part)


def _option_arch(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--arch",
        "archs",
        callback=_list,
        metavar="A,B",
        help="Architectures (default: all of the release's).",
    )(function)


def _option_release(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--release", metavar="R", help="Release (default: default_release of farm.toml)."
    )(function)


def _option_json(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--json", "as_json", is_flag=True, help="Machine-readable answer on standard output."
    )(function)


def _style(as_json: bool) -> Literal["auto", "json"]:
    return "json" if as_json else "auto"


def _watched(as_json: bool, work: Callable[[Emit], Any]) -> Any:
    stream = sys.stdout if as_json else standard_error()
    with watcher(_style(as_json), stream) as seen:
        return work(emitter(seen))


@click.group(context_settings=_CONTEXT)
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


@farm.command(context_settings=_CONTEXT)
@click.argument("names", nargs=-1, metavar="PKG|SRPM…")
@click.option("--all", "everything", is_flag=True, help="Every package of the layer.")
@_option_arch
@_option_release
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
@_option_json
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
    request = pipeline.BuildRequest(
        names=names, everything=everything, archs=archs, release=release, builder=builder,
        jobs=jobs, dry_run=dry_run, fail_fast=fail_fast, force=force,
    )  # fmt: skip
    report = _watched(as_json, lambda emit: pipeline.build(farm.config, request, emit))
    screens.show_build(report, as_json=as_json)
    return 0 if report.ok else 1


@farm.command(context_settings=_CONTEXT)
@click.argument("names", nargs=-1, metavar="PKG…")
@_option_arch
@click.option(
    "--release",
    "releases",
    callback=_list,
    metavar="R,S",
    help="Releases (default: default_release of farm.toml); `all` of them.",
)
@click.option(
    "--base",
    "bases",
    multiple=True,
    metavar="URL|DIR",
    help="Check against this base instead (repeatable: together they make it up). `pinned` and"
    " `present` stand for the release's own base as it is pinned, as it is now.",
)
@click.option(
    "--upgrade-from",
    multiple=True,
    metavar="SNAPSHOT",
    help="Solve every site's `dnf upgrade` from this published snapshot as well; `all` of them.",
)
@_option_json
@pass_farm
def check(
    farm: Farm, names: tuple[str, ...], archs: tuple[str, ...], releases: tuple[str, ...],
    bases: tuple[str, ...], upgrade_from: tuple[str, ...], as_json: bool,
) -> int:  # fmt: skip
    """Does the layer fit its base? Nothing is built; reasons for whatever does not.

    For each source package: can its BuildRequires be installed. For each binary package: can a
    site install it, together with its metapackage. PKG… asks about these packages only.
    """
    request = checks.CheckRequest(names, archs, releases, bases, upgrade_from)
    report = _watched(as_json, lambda emit: pipeline.check(farm.config, request, emit))
    screens_check.show_check(report, as_json=as_json)
    return 0 if report.ok else 1


@farm.command(context_settings=_CONTEXT)
@click.argument("words", nargs=-1, required=True, metavar="PKG [needs CAP]")
@_option_arch
@_option_release
@_option_json
@pass_farm
def why(
    farm: Farm, words: tuple[str, ...], archs: tuple[str, ...], release: str | None, as_json: bool
) -> None:
    """Why PKG is there, who needs it and what it needs; or why PKG needs CAP.

    PKG is a package of the layer or of the base, CAP anything that a package can require: a
    name (with a version), a file, a soname, pkgconfig(…).
    """
    name, *rest = words
    if rest and (rest[0] != "needs" or len(rest) == 1):
        raise UsageError("say `farm why PKG` or `farm why PKG needs CAP`")
    request = reasons.WhyRequest(name, " ".join(rest[1:]), archs, release)
    answer = _watched(as_json, lambda emit: pipeline.why(farm.config, request, emit))
    screens_check.show_why(answer, as_json=as_json)


@farm.group(context_settings=_CONTEXT)
def base() -> None:
    """The embedded base distribution."""


@base.command("build", context_settings=_CONTEXT)
@_option_arch
@click.option("--refresh", is_flag=True, help="Look for newer packages even if a base is there.")
@pass_farm
def base_build(farm: Farm, archs: tuple[str, ...], refresh: bool) -> None:
    """Make the base: Debian's binary packages as RPMs, for each architecture."""
    _watched(False, lambda emit: pipeline.base_build(farm.config, archs, refresh, emit))


@base.command("update", context_settings=_CONTEXT)
@_option_release
@click.option("--dry-run", is_flag=True, help="Say what would change; move nothing.")
@pass_farm
def base_update(farm: Farm, release: str | None, dry_run: bool) -> None:
    """Move the pin: build against the base's present state from now on."""
    changes = _watched(
        False,
        lambda emit: pipeline.base_update(farm.config, release, dry_run=dry_run, emit=emit),
    )
    screens.show_base_changes(changes)


@farm.command(context_settings=_CONTEXT)
@_option_release
@click.option("--paste", is_flag=True, help="Publish nothing; print what a site pastes.")
@click.option(
    "--force",
    nargs=2,
    multiple=True,
    metavar="CHECK REASON",
    help="Publish in spite of a check (build, install, replaces, files, upgrade); both are"
    " recorded with the snapshot.",
)
@_option_json
@pass_farm
def publish(
    farm: Farm, release: str | None, paste: bool, force: tuple[tuple[str, str], ...], as_json: bool
) -> None:  # fmt: skip
    """Check what stands, sign it, make a snapshot of it, move the release's pointer."""
    config = farm.config
    lines = pipeline.what_sites_paste(config, release)
    if paste:
        screens.show_paste(lines)
        return
    report = _watched(as_json, lambda emit: pipeline.publish(config, release, emit, force))
    screens.show_publication(report, lines, as_json=as_json)


@farm.command(context_settings=_CONTEXT)
@click.option("--bind", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port (default: publish.address's; 0: any)."
)
@pass_farm
def serve(farm: Farm, bind: str, port: int | None) -> None:
    """Serve the publication root over HTTP: static, with ranges, nothing writable."""
    pipeline.serve(farm.config, bind, port, screens.say)


@farm.command("try", context_settings=_CONTEXT)
@click.argument("names", nargs=-1, required=True, metavar="PKG…")
@_option_arch
@_option_release
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
    trials = _watched(False, lambda emit: pipeline.try_out(farm.config, request, emit))
    screens.show_trials(trials)
    return 0 if all(trial.ok for trial in trials) else 1


@farm.group(context_settings=_CONTEXT)
def key() -> None:
    """The signing keys in farm's own key ring."""


@key.command("new", context_settings=_CONTEXT)
@click.argument("name")
@pass_farm
def key_new(farm: Farm, name: str) -> None:
    """Make a signing key."""
    screens.say(f"made {name}: {pipeline.key_new(farm.config, name).fingerprint}")


@key.command("import", context_settings=_CONTEXT)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@pass_farm
def key_import(farm: Farm, file: Path) -> None:
    """Take a secret key from a file (ASCII armour or binary)."""
    for taken in pipeline.key_import(farm.config, file):
        screens.say(f"imported {taken.name}: {taken.fingerprint}")


@key.command("list", context_settings=_CONTEXT)
@pass_farm
def key_list(farm: Farm) -> None:
    """The keys there are."""
    screens.show_keys(pipeline.key_list(farm.config), farm.config.publish.key)


@key.command("export", context_settings=_CONTEXT)
@click.argument("name")
@pass_farm
def key_export(farm: Farm, name: str) -> None:
    """Print the public half of a key."""
    screens.say(pipeline.key_export(farm.config, name).rstrip())


@farm.command(context_settings=_CONTEXT)
@click.argument("name", metavar="PKG")
@_option_arch
@_option_release
@click.option("--path", "only_path", is_flag=True, help="Print where the log lies, not the log.")
@pass_farm
def log(
    farm: Farm, name: str, archs: tuple[str, ...], release: str | None, only_path: bool
) -> None:
    """The log of the last attempt; of a failure the telling lines come first."""
    screens.show_log(pipeline.log(farm.config, name, archs, release), only_path=only_path)


@farm.command(context_settings=_CONTEXT)
@_option_release
@_option_json
@pass_farm
def status(farm: Farm, release: str | None, as_json: bool) -> None:
    """Every package: what stands, what is published, what failed last."""
    screens.show_status(pipeline.status(farm.config, release), as_json=as_json)


@farm.command("config", context_settings=_CONTEXT)
@_option_json
@pass_farm
def show_config(farm: Farm, as_json: bool) -> None:
    """What is in force, and from where."""
    screens.show_config(tuple(configuration.in_force(farm.config)), as_json=as_json)


@farm.command(context_settings=_CONTEXT)
@_option_json
@pass_farm
def doctor(farm: Farm, as_json: bool) -> int:
    """What this machine lacks, with the remedy for each."""
    findings = pipeline.examine(farm.config)
    screens.show_findings(findings, as_json=as_json)
    return 6 if any(finding.severity == "missing" for finding in findings) else 0


@farm.command(context_settings=_CONTEXT)
@click.argument("names", nargs=-1, metavar="PKG…")
@click.option("--update", is_flag=True, help="Fetch what the spec declares and write `sources`.")
@pass_farm
def sources(farm: Farm, names: tuple[str, ...], update: bool) -> None:
    """Fetch and check the source archives of packages (default: all)."""
    for line in _watched(
        False, lambda emit: pipeline.sources(farm.config, names, update_them=update, emit=emit)
    ):
        screens.say(line)


@farm.command(context_settings=_CONTEXT)
@click.argument("name", metavar="PKG")
@click.argument("command", nargs=-1, metavar="[-- CMD…]")
@_option_arch
@_option_release
@pass_farm
def shell(
    farm: Farm, name: str, command: tuple[str, ...], archs: tuple[str, ...],
    release: str | None,
) -> int:  # fmt: skip
    """A shell (or a command) in the root of the last (failed) build."""
    return pipeline.shell(farm.config, pipeline.ShellRequest(name, archs, release, command))


@farm.group(context_settings=_CONTEXT)
def ledger() -> None:
    """What was built, when, from what."""


@ledger.command("rebuild", context_settings=_CONTEXT)
@pass_farm
def ledger_rebuild(farm: Farm) -> None:
    """Restore results and counters from the published tree when the ledger is lost."""
    restored = _watched(False, lambda emit: pipeline.ledger_rebuild(farm.config, emit))
    screens.say(f"restored {restored} results from {farm.config.path('publication')}")


@farm.command("work", context_settings=_CONTEXT)
@click.argument("job", type=click.Path(path_type=Path))
def work(job: Path) -> None:
    """One attempt, from its job file (started by the engines)."""


@farm.command(context_settings=_CONTEXT)
@click.option(
    "--base",
    "bases",
    multiple=True,
    metavar="URL|DIR",
    help="A repository of the base, in place of the release's own; several are one base.",
)
@click.option(
    "--sources",
    multiple=True,
    metavar="URL|DIR",
    help="A repository of source packages: ask for each whether it can be built on the base.",
)
@_option_arch
@_option_release
@_option_json
@pass_farm
def closure(
    farm: Farm, bases: tuple[str, ...], sources: tuple[str, ...], archs: tuple[str, ...],
    release: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Can each package of a base be installed, or each of --sources be built?

    For whoever rebuilds a whole distribution: verdicts for all its packages, one by one, with
    the reasons for those that are broken. With --base, the release's first architecture is asked
    unless --arch says otherwise.
    """
    explained = None if as_json else screens_closure.MOST_EXPLAINED
    request = distribution.ClosureRequest(bases, sources, archs, release, explained)
    report = _watched(False, lambda emit: distribution.closure(farm.config, request, emit))
    screens_closure.show_closure(report, as_json=as_json)
    return 0 if report.ok else 1

"""The verbs that ask whether layer and base fit, and why."""

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
    separated,
    watched,
)
from farm.errors import UsageError
from farm.lazily import lazily

with lazily():  # a command reads what it needs: all together they take a quarter of a second
    from farm import checks, pipeline, reasons, rebuilt
    from farm import closure as distribution
    from farm.screens import checking as screens
    from farm.screens import closure as verdicts
    from farm.screens import rebuilt as differing


@farm.command(context_settings=CONTEXT)
@click.argument("names", nargs=-1, metavar="PKG…")
@option_arch
@click.option(
    "--release",
    "releases",
    callback=separated,
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
@option_json
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
    report = watched(as_json, lambda emit: pipeline.check(farm.config, request, emit))
    screens.show_check(report, as_json=as_json)
    return 0 if report.ok else 1


@farm.command(context_settings=CONTEXT)
@click.argument("words", nargs=-1, required=True, metavar="PKG [needs CAP]")
@click.option(
    "--rebuild", is_flag=True, help="Why PKG would be built again, or why not: what differs."
)
@option_arch
@option_release
@option_json
@pass_farm
def why(
    farm: Farm, words: tuple[str, ...], rebuild: bool, archs: tuple[str, ...],
    release: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Why PKG is there, who needs it and what it needs; or why PKG needs CAP.

    PKG is a package of the layer or of the base, CAP anything that a package can require: a
    name (with a version), a file, a soname, pkgconfig(…).
    """
    name, *rest = words
    if rest and (rest[0] != "needs" or len(rest) == 1):
        raise UsageError("say `farm why PKG` or `farm why PKG needs CAP`")
    if rebuild:
        if rest:
            raise UsageError("`farm why PKG --rebuild` is about one package")
        asked = rebuilt.RebuildRequest(name, archs, release)
        answers = watched(as_json, lambda emit: pipeline.why_rebuild(farm.config, asked, emit))
        differing.show_rebuilds(answers, as_json=as_json)
        return
    request = reasons.WhyRequest(name, " ".join(rest[1:]), archs, release)
    answer = watched(as_json, lambda emit: pipeline.why(farm.config, request, emit))
    screens.show_why(answer, as_json=as_json)


@farm.command(context_settings=CONTEXT)
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
@click.option(
    "--update",
    "updates",
    multiple=True,
    metavar="URL|DIR|present",
    help="The base as it may become: what would be broken that is not broken now.",
)
@option_arch
@option_release
@option_json
@pass_farm
def closure(
    farm: Farm, bases: tuple[str, ...], sources: tuple[str, ...], updates: tuple[str, ...],
    archs: tuple[str, ...], release: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Can each package of a base be installed, or each of --sources be built?

    For whoever rebuilds a whole distribution: verdicts for all its packages, one by one, with
    the reasons for those that are broken. With --base, the release's first architecture is asked
    unless --arch says otherwise.
    """
    explained = None if as_json else verdicts.MOST_EXPLAINED
    request = distribution.ClosureRequest(bases, sources, archs, release, updates, explained)
    report = watched(False, lambda emit: distribution.closure(farm.config, request, emit))
    verdicts.show_closure(report, as_json=as_json)
    return 0 if report.ok else 1

"""What `farm closure` found, as text for people or JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence

import click
import msgspec

from farm.closure import Broken, Closure, ClosureReport, Moved

MOST_EXPLAINED = 20


def show_closure(report: ClosureReport, *, as_json: bool) -> None:
    """Totals and times, then what is broken, with reasons; on the terminal the first ones."""
    if as_json:
        click.echo(msgspec.json.encode({"ok": report.ok, **vars(report)}))
        return
    for closure in report.closures:
        _say(closure)


def _say(closure: Closure) -> None:
    can = "be built" if closure.asked == "sources" else "be installed"
    if closure.update is None:
        _say_broken(closure.broken, can)
    fine = closure.total - len(closure.broken)
    click.secho(
        f"{closure.chroot}: {fine} of {closure.total} {closure.asked} can {can},"
        f" {len(closure.broken)} cannot"
        f" (metadata {closure.reading:.2f} s, verdicts {closure.deciding:.2f} s,"
        f" {closure.total - closure.provably} of them by libsolv)",
        fg="red" if closure.broken else "green",
    )
    if closure.update is not None:
        _say_update(closure.update, can)


def _say_update(update: Moved, can: str) -> None:
    _say_broken(update.broken, f"{can} any more")
    for name in update.repaired:
        click.secho(f"{name} can {can} again", fg="green")
    click.secho(
        f"with the update ({update.gone} packages gone, {update.come} new):"
        f" {len(update.broken)} cannot {can} any more, {len(update.repaired)} can again"
        f" (metadata {update.reading:.2f} s, verdicts {update.deciding:.2f} s)",
        fg="red" if update.broken else "green",
    )


def _say_broken(broken: Sequence[Broken], can: str) -> None:
    for each in broken:
        if each.problem is None:
            continue
        click.secho(f"{each.package} cannot {can}", fg="red")
        for fact in each.problem.facts:
            click.echo(f"    {fact}")
        if each.problem.remedy:
            click.secho(f"    -> {each.problem.remedy}", fg="cyan")
    silent = sum(each.problem is None for each in broken)
    if silent:
        click.echo(f"… and {silent} more that cannot {can} (--json names and explains them all)")

"""What `farm closure` found, as text for people or JSON for programs."""

from __future__ import annotations

import click
import msgspec

from farm.closure import Closure, ClosureReport

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
    for broken in closure.broken:
        if broken.problem is None:
            continue
        click.secho(f"{broken.package} cannot {can}", fg="red")
        for fact in broken.problem.facts:
            click.echo(f"    {fact}")
        if broken.problem.remedy:
            click.secho(f"    -> {broken.problem.remedy}", fg="cyan")
    silent = sum(broken.problem is None for broken in closure.broken)
    if silent:
        click.echo(f"… and {silent} more that cannot {can} (--json names and explains them all)")
    fine = closure.total - len(closure.broken)
    click.secho(
        f"{closure.chroot}: {fine} of {closure.total} {closure.asked} can {can},"
        f" {len(closure.broken)} cannot"
        f" (metadata {closure.reading:.2f} s, verdicts {closure.deciding:.2f} s,"
        f" {closure.total - closure.provably} of them by libsolv)",
        fg="red" if closure.broken else "green",
    )

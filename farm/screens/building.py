"""What was built, or would be, and what stands."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from farm.screens.text import print_json, say, standing, table, terminal_width

if TYPE_CHECKING:
    from farm.basemove import BaseChange
    from farm.plan.fit.compare import Comparison
    from farm.reports import BuildReport, PackageStatus

_EXCERPT_LINES = 12
_NARROW = 100  # columns
_STATUS_COLUMNS = (
    "package", "arch", "stands", "built in", "commit", "published", "verified", "last attempt",
)  # fmt: skip


def show_build(report: BuildReport, *, as_json: bool) -> None:
    """What was built, in which time, from which commit; failures with their telling lines."""
    if as_json:
        # the events before it are JSON lines as well, so the summary is one line too
        say(msgspec.json.encode({"summary": report}, enc_hook=str).decode())
        return
    for row in report.rows:
        if row.failed is None:
            continue
        place = " ".join(part for part in (row.failed.phase, row.failed.where) if part)
        place = f" ({place})" if place else ""
        print(f"\n{row.title} on {row.arch}{place}: {row.failed.message}", file=sys.stderr)
        for line in row.failed.excerpt[-_EXCERPT_LINES:]:
            print(f"  | {line}", file=sys.stderr)
        if row.failed.hint:
            print(f"  -> {row.failed.hint}", file=sys.stderr)
    for warning in report.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    acted = [row for row in report.rows if row.verdict != "kept"]
    if report.dry_run:
        _show_foreseen(report)
        return
    if not acted:
        say(f"Nothing to do: {standing(len(report.rows))} ({report.seconds:.1f} s).")
        return
    say("")
    say(_table_of(report))
    counts = {
        v: sum(row.verdict == v for row in report.rows)
        for v in ("built", "kept", "failed", "skipped")
    }
    summary = ", ".join(f"{number} {verdict}" for verdict, number in counts.items() if number)
    say(f"\n{summary} in {report.seconds:.0f} s, {report.release}, {_layer_at(report)}.")


def _table_of(report: BuildReport) -> str:
    """Without the commit, which the line below says of most, where the terminal is narrow."""
    narrow = 0 < terminal_width() < _NARROW
    headings = ("package", "arch", "verdict", "time", "version", "commit", "reason")
    rows = [
        (
            row.title, row.arch, row.verdict, f"{row.seconds:.1f} s" if row.seconds else "",
            row.evr, row.commit[:10] if row.commit else "-", row.reason,
        )
        for row in report.rows
    ]  # fmt: skip
    if narrow:
        return table((*headings[:5], headings[6]), [(*row[:5], row[6]) for row in rows])
    return table(headings, rows)


def _layer_at(report: BuildReport) -> str:
    return f"layer at {report.commit[:10]}" if report.commit else "layer in no commit"


def _show_foreseen(report: BuildReport) -> None:
    say(
        table(
            ("package", "arch", "would be", "about", "reason"),
            (
                (
                    row.title,
                    row.arch,
                    row.verdict,
                    f"{row.seconds:.0f} s" if row.seconds else "",
                    row.reason,
                )
                for row in report.rows
            ),
        )
    )


def show_base_changes(changes: Sequence[BaseChange]) -> None:
    """What came and what went, chroot by chroot, and what that means for the layer."""
    for change in changes:
        numbers = f"{len(change.added)} packages new, {len(change.removed)} gone"
        other = f", {len(change.altered)} with other bytes" if change.altered else ""
        say(f"{change.chroot}: {numbers}{other}")
        for mark, names in (("-", change.removed), ("+", change.added), ("~", change.altered)):
            for name in names[:_EXCERPT_LINES]:
                say(f"  {mark} {name}")
            if len(names) > _EXCERPT_LINES:
                say(f"  {mark} … and {len(names) - _EXCERPT_LINES} more")
        if change.unclear:
            say(f"  what it means for the layer cannot be said: {change.unclear}")
        if change.comparison is not None and change.comparison.changed:
            _show_consequences(change, change.comparison)


def _show_consequences(change: BaseChange, comparison: Comparison) -> None:
    broken = [verdict.problem for verdict in comparison.breaks if verdict.problem is not None]
    say(f"  breaks: {_names(verdict.package for verdict in comparison.breaks)}")
    for problem in broken[:_EXCERPT_LINES]:
        say("    " + str(problem).replace("\n", "\n    "))
    say(f"  rebuilds: {_names(change.rebuilds)}")
    say(
        f"  other build roots, kept by the policy: {_names(set(change.roots) - {*change.rebuilds})}"
    )
    say(f"  leaves {change.leaves} built packages as they are")


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names))) or "nothing"


def show_status(rows: Sequence[PackageStatus], *, as_json: bool) -> None:
    """One line for each package and architecture."""
    if as_json:
        print_json(rows)
        return
    if not rows:
        say("The layer has no packages.")
        return
    say(
        table(
            _STATUS_COLUMNS,
            (
                (
                    row.recipe,
                    row.arch,
                    row.stands or "-",
                    f"{row.seconds:.0f} s" if row.stands else "-",
                    row.commit[:10] or "-",
                    row.published or "-",
                    row.verified or "-",
                    row.last,
                )
                for row in rows
            ),
        )
    )

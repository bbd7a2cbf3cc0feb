"""What is in force, and what the machine has."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from farm.collection import GcReport
from farm.doctor import Finding
from farm.screens.text import print_json, say, table


def show_config(rows: Sequence[tuple[str, str, str]], *, as_json: bool) -> None:
    """Every option, its value, and whether a default, the file or the environment set it."""
    if as_json:
        print_json({key: {"value": value, "from": origin} for key, value, origin in rows})
        return
    say(table(("option", "value", "from"), rows))


def show_findings(findings: Sequence[Finding], *, as_json: bool) -> None:
    """What the machine has and lacks, remedies below what is lacking."""
    if as_json:
        print_json(findings)
        return
    for finding in findings:
        mark = {"ok": "ok     ", "weak": "weak   ", "missing": "MISSING"}[finding.severity]
        say(f"{mark}  {finding.what}: {finding.detail}")
        if finding.severity != "ok" and finding.remedy:
            say(f"         -> {finding.remedy}")


def show_collection(report: GcReport, *, as_json: bool) -> None:
    """By kind how much, and why; in all what was freed."""
    if as_json:
        say(msgspec.json.encode({"summary": report}, enc_hook=str).decode())
        return
    if not report.rows:
        say("Nothing to remove: everything is reached.")
        return
    rows = ((row.kind, str(row.number), _size(row.bytes), row.why) for row in report.rows)
    say(table(("what", "number", "frees", "why"), rows))
    kept = ", ".join(f"{number} {kind}" for kind, number in report.kept)
    verb = "would be freed" if report.dry_run else "freed"
    say(f"\n{_size(report.freed)} {verb}; {kept} stay.")


def _size(size: int) -> str:
    """
    >>> [_size(n) for n in (0, 5 << 10, 3 << 20, 5 << 29)]
    ['0 KiB', '5 KiB', '3.0 MiB', '2.5 GiB']
    """
    if size < 1 << 20:
        return f"{size >> 10} KiB"
    return f"{size / (1 << 20):.1f} MiB" if size < 1 << 30 else f"{size / (1 << 30):.1f} GiB"

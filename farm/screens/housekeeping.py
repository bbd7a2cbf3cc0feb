"""What is in force, and what the machine has."""

from __future__ import annotations

from collections.abc import Sequence

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

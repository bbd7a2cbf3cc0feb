"""What came out the same, and what did not and why."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from farm.errors import MachineError
from farm.screens.text import folded, say, table, terminal_width
from farm.verification.probing import told
from farm.verification.verdicts import ProbeRow, VerifyReport, VerifyRow, encoded
from farm.verify.search import Differing
from farm.verify.variations import NAMES, meanings

_MOST_DIFFERENCES = 6  # told of one package on the screen; the report has them all
_WORDS = {"same": "same", "differs": "DIFFERS", "failed": "FAILED", "cannot": "cannot say"}


def show_verification(report: VerifyReport, *, as_json: bool) -> None:
    """A table of all packages, then everything there is to say about those not the same."""
    if as_json:
        # the events before it are JSON lines as well, so the summary is one line too
        say(encoded(report))
        return
    if not report.rows:
        say("The layer has no packages.")
        return
    say(
        table(
            ("package", "arch", "result", "files", "time", "built with"),
            (
                (row.recipe, row.arch, _WORDS[row.verdict], str(row.packages or "-"),
                 _minutes(row.seconds), _under(row))
                for row in report.rows
            ),
        )
    )  # fmt: skip
    width = terminal_width() or 100
    for row in report.rows:
        if row.verdict != "same" or row.notes:
            _show_row(row, width)
    for probe in report.probes:
        if not probe.ok:
            say("")
            say(folded(f"probes on {probe.arch}: {told(probe)}", width))
    say("")
    say(folded(_summary(report), width))


def _show_row(row: VerifyRow, width: int) -> None:
    say("")
    what = f"{row.recipe} on {row.arch}" + (f" ({row.how})" if row.how else "")
    said = f": {row.why}" if row.why else ""
    say(folded(f"{what}{said}", width))
    if row.guilty:
        say(folded(f"  {meanings(row.guilty)}", width))
    for differing in row.differing:
        _show_differing(differing, width)
    for note in row.notes:
        say(folded(f"  note: {note}", width))
    if row.kept:
        # a path is for copying: it is not broken
        say(f"  {'both builds, report.txt' if row.differing else 'build.log'}: {row.kept}")
    if row.hint:
        say(folded(f"  -> {row.hint}", width))


def _show_differing(differing: Differing, width: int) -> None:
    say(f"  {differing.package}")
    if differing.problem:
        say(folded(f"    {differing.problem}", width))
    telling = [d for d in differing.differences if not d.consequence] or list(differing.differences)
    for difference in telling[:_MOST_DIFFERENCES]:
        say(folded(f"    {difference.plainly}", width))
        if difference.cause:
            say(folded(f"      {difference.cause}", width))
        for line in difference.excerpt:
            say(_cut(f"      {line}", width))
    more = len(differing.differences) - min(len(telling), _MOST_DIFFERENCES)
    if more:
        say(f"    … and {more} more in the report")


def _cut(line: str, width: int) -> str:
    """Bytes and lines of a file keep their columns."""
    return line if len(line) <= width else line[: width - 1] + "…"


def _summary(report: VerifyReport) -> str:
    counts = dict.fromkeys(_WORDS, 0)
    for row in report.rows:
        counts[row.verdict] += 1
    said = [f"{counts['same']} of {len(report.rows)} the same bit for bit"]
    if counts["differs"]:
        said.append(f"{counts['differs']} differ{'s' * (counts['differs'] == 1)}")
    said += [f"{counts['failed']} failed to build"] if counts["failed"] else []
    said += [f"{counts['cannot']} could not be verified"] if counts["cannot"] else []
    silent = sorted({name for probe in report.probes for name in probe.ineffective})
    said += [f"without effect here: {', '.join(silent)}"] if silent else []
    return f"{', '.join(said)}; {_minutes(report.seconds)}, layer at {report.commit[:10] or '-'}"


def _under(row: VerifyRow) -> str:
    """What was varied, in a few words."""
    rounds = [_round(under) for under in row.rounds]
    said = "; ".join(rounds[:1]) if len(rounds) < 2 else f"{len(rounds)} builds: {rounds[0]}, …"
    said = said or "-"
    if row.guilty:
        said = f"guilty: {', '.join(row.guilty)}"
    return f"{said}, {row.how}" if row.how else said


def _round(under: Sequence[str]) -> str:
    if not under:
        return "no variation"
    if tuple(under) == NAMES:
        return "all variations"
    return ", ".join(under)


def _minutes(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02} s"


def write_table(report: VerifyReport, path: Path) -> None:
    """The answer as a Markdown table with its date. Raises MachineError."""
    lines = [
        f"{time.strftime('%Y-%m-%d', time.gmtime())}, {report.release}: {_summary(report)}.",
        "",
        "| Package | Architecture | Version | Files | Result | Built with | Time |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in sorted(report.rows, key=lambda row: row.recipe):
        result = _WORDS[row.verdict] + (f": {row.why}" if row.why else "")
        result += f" ({'; '.join(row.causes)})" if row.causes else ""
        cells = (
            row.recipe, row.arch, row.evr, str(row.packages), result, _under(row),
            _minutes(row.seconds),
        )  # fmt: skip
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    lines += [""] if report.probes else []
    lines += [_probe_line(probe) for probe in report.probes]
    try:
        path.write_text("\n".join(lines) + "\n", "utf-8")
    except OSError as error:
        raise MachineError(f"{path} cannot be written", why=error.strerror or "") from error


def _probe_line(probe: ProbeRow) -> str:
    return f"- Probes on {probe.arch}: {told(probe)}."

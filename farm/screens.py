"""Answers of the pipeline as text for people, or JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from farm.doctor import Finding
from farm.publish.keys import Key
from farm.publish.snapshot import Published
from farm.reports import BaseChange, BuildReport, LogAnswer, PackageStatus
from farm.site.trial import Trial

_EXCERPT_LINES = 12


def say(text: str) -> None:
    """One line (or a whole text) on standard output."""
    print(text, flush=True)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; the last one is left ragged."""
    lines = [tuple(headings), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    drawn = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    drawn.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(drawn)


def _print_json(answer: Any) -> None:
    """Pretty JSON on standard output."""
    text = msgspec.json.encode(answer, enc_hook=str)
    say(msgspec.json.format(text, indent=2).decode())


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
        say(
            f"Nothing to do: {len(report.rows)} results stand as they are ({report.seconds:.1f} s)."
        )
        return
    say("")
    say(
        table(
            ("package", "arch", "verdict", "time", "version", "commit", "reason"),
            (
                (
                    row.title, row.arch, row.verdict,
                    f"{row.seconds:.1f} s" if row.seconds else "", row.evr,
                    row.commit[:10] if row.commit else "-", row.reason,
                )
                for row in report.rows
            ),
        )
    )  # fmt: skip
    counts = {
        v: sum(row.verdict == v for row in report.rows)
        for v in ("built", "kept", "failed", "skipped")
    }
    summary = ", ".join(f"{number} {verdict}" for verdict, number in counts.items() if number)
    say(f"\n{summary} in {report.seconds:.0f} s, {report.release}, {_layer_at(report)}.")


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
    """What came and what went, chroot by chroot."""
    for change in changes:
        say(f"{change.chroot}: {len(change.added)} packages new, {len(change.removed)} gone")
        for mark, names in (("-", change.removed), ("+", change.added)):
            for name in names[:_EXCERPT_LINES]:
                say(f"  {mark} {name}")
            if len(names) > _EXCERPT_LINES:
                say(f"  {mark} … and {len(names) - _EXCERPT_LINES} more")


def show_publication(published: Published, paste: Sequence[str], *, as_json: bool) -> None:
    """What moved, and what a site would paste."""
    if as_json:
        say(msgspec.json.encode({"summary": published, "paste": paste}, enc_hook=str).decode())
        return
    for note in published.notes:
        print(f"note: {note}", file=sys.stderr)
    if not published.moved:
        say(f"Nothing to publish: {published.release} is at {published.snapshot[:16]} already.")
        return
    for mark, names in (("+", published.new), ("~", published.changed), ("-", published.removed)):
        for name in names:
            say(f"  {mark} {name}")
    say(
        f"{published.release} is now at snapshot {published.snapshot[:16]}: "
        f"{published.packages} packages, {published.signed} of them signed now."
    )
    for waiver in published.waivers:
        say(f"It was published in spite of the check {waiver.check}: {waiver.reason}")
    show_paste(paste)


def show_paste(lines: Sequence[str]) -> None:
    """What a site's administrator pastes into a shell."""
    say("\nA site pastes:\n")
    say("\n".join(f"    {line}" for line in lines))


def show_trials(trials: Sequence[Trial]) -> None:
    """What a site got, and what its command printed."""
    for trial in trials:
        say(f"{trial.arch}: {len(trial.installed)} packages installed in {trial.seconds:.1f} s")
        if trial.output:
            say("\n".join(f"  {line}" for line in trial.output.splitlines()))
        if not trial.ok:
            say(f"  the command ended with exit code {trial.code}")


def show_keys(keys: Sequence[Key], chosen: str) -> None:
    """The key ring; `*` marks the key that publishes."""
    if not keys:
        say("No keys. Make one with `farm key new NAME`.")
        return
    rows = (("*" if key.name == chosen else "", key.name, key.fingerprint) for key in keys)
    say(table(("", "name", "fingerprint"), rows))


def show_log(answer: LogAnswer, *, only_path: bool) -> None:
    """The telling lines first when it failed, then the whole log."""
    if only_path:
        say(str(answer.path))
        return
    if answer.failed is not None:
        say(f"{answer.step} failed: {answer.failed.message}")
        for line in answer.failed.excerpt:
            say(f"  | {line}")
        if answer.failed.hint:
            say(f"  -> {answer.failed.hint}")
        say("")
    sys.stdout.write(answer.text)


def show_status(rows: Sequence[PackageStatus], *, as_json: bool) -> None:
    """One line for each package and architecture."""
    if as_json:
        _print_json(rows)
        return
    if not rows:
        say("The layer has no packages.")
        return
    say(
        table(
            ("package", "arch", "stands", "built in", "commit", "published", "last attempt"),
            (
                (
                    row.recipe,
                    row.arch,
                    row.stands or "-",
                    f"{row.seconds:.0f} s" if row.stands else "-",
                    row.commit[:10] or "-",
                    row.published or "-",
                    row.last,
                )
                for row in rows
            ),
        )
    )


def show_config(rows: Sequence[tuple[str, str, str]], *, as_json: bool) -> None:
    """Every option, its value, and whether a default, the file or the environment set it."""
    if as_json:
        _print_json({key: {"value": value, "from": origin} for key, value, origin in rows})
        return
    say(table(("option", "value", "from"), rows))


def show_findings(findings: Sequence[Finding], *, as_json: bool) -> None:
    """What the machine has and lacks, remedies below what is lacking."""
    if as_json:
        _print_json(findings)
        return
    for finding in findings:
        mark = {"ok": "ok     ", "weak": "weak   ", "missing": "MISSING"}[finding.severity]
        say(f"{mark}  {finding.what}: {finding.detail}")
        if finding.severity != "ok" and finding.remedy:
            say(f"         -> {finding.remedy}")

"""What the solver found, as text for people (colour on a terminal) or JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click
import msgspec

from farm.checks import CheckReport
from farm.model import Problem, Verdict
from farm.plan.compare import Comparison

_MOST_CHANGES = 10
_CAN = {
    "build": ("can be built", "cannot be built"),
    "install": ("can be installed", "cannot be installed"),
    "replaces": ("replace nothing of the base", "replaces a package of the base"),
    "files": ("share no file with other content", "shares a file with other content"),
    "upgrade": ("can be upgraded to", "keeps sites from upgrading"),
}
_COLOURS = {"broken": "red", "open": "yellow", "rebuild": "yellow", "ok": "green"}


def show_check(report: CheckReport, *, as_json: bool) -> None:
    """Totals, then whatever is not in order with its reasons, then what is open."""
    if as_json:
        text = msgspec.json.encode({"summary": _as_data(report)}, enc_hook=str)
        click.echo(text.decode())
        return
    for problem in report.problems:
        _say_problem("broken", f"{problem.subject} is left out of the layer", problem, ())
    for comparison in report.comparisons:
        _say_changes(comparison)
    _say_verdicts(report)
    for note in report.notes:
        click.echo(f"note: {note}")
    if report.unbuilt and any(verdict.state == "ok" for verdict in report.verdicts):
        click.echo(
            f"note: not built as they are now: {_listed(report.unbuilt)}; what they turn out to"
            " need and provide is known after their build"
        )
    _say_totals(report)


def _as_data(report: CheckReport) -> dict[str, object]:
    data: dict[str, object] = dict(vars(report)) | {"ok": report.ok}
    data["comparisons"] = [
        {
            "chroot": each.chroot, "changed": each.changed, "breaks": each.breaks,
            "rebuilds": each.rebuilds, "mended": each.mended, "asked": each.asked,
        }
        for each in report.comparisons
    ]  # fmt: skip
    return data


def _say_changes(comparison: Comparison) -> None:
    changed = comparison.changed
    click.echo(f"{comparison.chroot}: {len(changed) or 'no'} packages of the base differ")
    for text in changed[:_MOST_CHANGES]:
        click.echo(f"  ~ {text}")
    if len(changed) > _MOST_CHANGES:
        click.echo(f"  ~ … and {len(changed) - _MOST_CHANGES} more")
    for mark, verdicts, words in (
        ("red", comparison.breaks, "would break"),
        ("yellow", comparison.rebuilds, "would merely want a rebuild"),
        ("green", comparison.mended, "would be in order again"),
    ):
        if verdicts:
            names = _listed(sorted({verdict.package for verdict in verdicts}), most=8)
            click.secho(f"  {words}: {names}", fg=mark)
    if changed and not comparison.breaks and not comparison.rebuilds:
        click.secho("  nothing of the layer would break", fg="green")
    click.echo(f"  solved again: {_listed(comparison.asked) or 'nothing'}")
    click.echo("")


def _say_verdicts(report: CheckReport) -> None:
    for state in ("broken", "rebuild", "open"):
        for verdicts in _alike(v for v in report.verdicts if v.state == state):
            first = verdicts[0]
            where = f"on {', '.join(_arch(verdict.chroot) for verdict in verdicts)}"
            if state == "open":
                what = f"{first.package} {where}: whether it {_CAN[first.check][0]} is open"
                reason = f"only a build tells who provides {_listed(first.missing)}"
                _say_problem(state, what, None, (reason,))
            elif state == "rebuild":
                again = f"rebuild {_listed(first.missing)}"
                what = f"{first.package} {where} {_CAN[first.check][1]} as it was built: {again}"
                _say_problem(state, what, first.problem, ())
            else:
                what = f"{first.package} {where} {_CAN[first.check][1]}"
                _say_problem(state, what, first.problem, ())


def _say_problem(state: str, what: str, problem: Problem | None, more: Sequence[str]) -> None:
    click.secho(f"{state}: ", fg=_COLOURS[state], bold=True, nl=False)
    click.echo(what)
    for line in (*more, *(problem.facts if problem else ())):
        click.echo(f"  {line}")
    for change in problem.changes if problem else ():
        click.secho(f"  because {change}", fg="cyan")
    if problem and problem.remedy:
        click.echo(f"  -> {problem.remedy}")
    click.echo("")


def _say_totals(report: CheckReport) -> None:
    parts = []
    for check, (can, _) in _CAN.items():
        own = [verdict for verdict in report.verdicts if verdict.check == check]
        if own and check in ("build", "install"):
            fine = sum(verdict.state == "ok" for verdict in own)
            parts.append(f"{fine} of {len(own)} {can}")
        elif own:
            parts.append(f"{check}: {len(own)} broken")
    archs = ", ".join(_arch(chroot) for chroot in report.chroots)
    commit = f"layer at {report.commit[:10]}" if report.commit else "layer in no commit"
    click.secho(
        f"{'; '.join(parts) or 'Nothing to check'} ({report.release}, {archs}, {commit}, "
        f"{report.seconds:.1f} s)",
        fg="green" if report.ok else "red",
    )


def _alike(verdicts: Iterable[Verdict]) -> list[list[Verdict]]:
    """The same finding on several architectures together."""
    groups: dict[object, list[Verdict]] = {}
    for verdict in verdicts:
        arch = _arch(verdict.chroot)
        facts = verdict.problem.facts if verdict.problem else ()
        key = (
            verdict.check,
            verdict.package.removesuffix(f".{arch}"),
            tuple(fact.replace(arch, "*") for fact in facts),
            verdict.missing,
        )
        groups.setdefault(key, []).append(verdict)
    return list(groups.values())


def _arch(chroot: str) -> str:
    return chroot.rpartition("-")[2]


def _listed(names: Sequence[str], most: int = 6) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest

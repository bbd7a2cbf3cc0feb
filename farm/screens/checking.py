"""What the solver found, as text for people (colour on a terminal) or JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click
import msgspec

from farm.checks import CheckReport
from farm.model import Problem, Verdict
from farm.plan.fit.compare import Comparison
from farm.reasons import Chain, Why

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
        what = f"{problem.subject} is left out of the layer"
        _say_problem(
            "broken", problem.subject if problem.kind == "unchecked" else what, problem, ()
        )
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


def show_why(answer: Why, *, as_json: bool) -> None:
    """Chains of reasons, one line for each link."""
    if as_json:
        click.echo(msgspec.json.encode({"summary": answer}, enc_hook=str).decode())
        return
    click.secho(
        " needs ".join(part for part in (answer.name, answer.capability) if part), bold=True
    )
    for line in (*answer.about, *answer.absent):
        click.echo(f"  {line}")
    for heading, chains in (("needed", answer.needed_by), ("needs of the layer", answer.needs)):
        if not chains:
            continue
        if not answer.capability:
            click.echo(f"\n{heading}")
        told = ""
        for purpose, chain in _told_alike(c for c in chains if c.direct or answer.capability):
            if purpose != told:
                click.secho(f"  {purpose}", fg="cyan")
            told = purpose
            for link in chain.links:
                click.echo(f"    {link}")
            # a chain that ends where nobody has something has said what is wrong
            told_already = chain.links and not chain.links[-1].provider
            if chain.problem and not told_already and chains is not answer.needed_by:
                say = "but it cannot be had as things stand: " if chain.links else ""
                click.secho(f"    {say}{chain.problem.facts[-1]}", fg="red")
        if not answer.capability:
            through = sorted({chain.purpose for chain in chains if not chain.direct})
            if through:
                click.echo(f"  and through these: {_listed(through, most=12)}")
    if not (answer.needed_by or answer.needs or answer.absent):
        click.echo("  nothing of the layer needs it")


def _told_alike(chains: Iterable[Chain]) -> list[tuple[str, Chain]]:
    """What each chain is for, and the chain; those of the same links are told once."""
    groups: dict[object, list[Chain]] = {}
    for chain in chains:
        said = tuple(map(str, chain.links)), chain.archs
        groups.setdefault(said if chain.links else chain, []).append(chain)
    found = []
    for some in groups.values():
        first, *others = some
        # "to build a", "to build b", "to install c" → "to build a, b; to install c"
        names: dict[str, list[str]] = {}
        for chain in (first, *others):
            verb, _, name = chain.purpose.rpartition(" ")
            names.setdefault(verb, []).append(name)
        purpose = "; ".join(f"{verb} {_listed(own)}" for verb, own in names.items())
        found.append((f"{purpose} ({', '.join(first.archs)})", first))
    return found


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
    number = "1 package" if len(changed) == 1 else f"{len(changed) or 'no'} packages"
    click.echo(f"{comparison.chroot}: {number} of the base changed")
    for text in changed[:_MOST_CHANGES]:
        click.echo(f"  ~ {text}")
    if len(changed) > _MOST_CHANGES:
        click.echo(f"  ~ … and {len(changed) - _MOST_CHANGES} more")
    for mark, names, words in (
        ("red", {_bare(v) for v in comparison.breaks}, "would break"),
        ("yellow", {n for v in comparison.rebuilds for n in v.missing}, "merely want a rebuild"),
        ("green", {_bare(v) for v in comparison.mended}, "would be in order again"),
    ):
        if names:
            click.secho(f"  {words}: {_listed(sorted(names), most=8)}", fg=mark)
    if changed and not comparison.breaks and not comparison.rebuilds:
        click.secho("  nothing of the layer would break", fg="green")
    click.echo(f"  solved again: {_listed(comparison.asked) or 'nothing'}")
    click.echo("")


def _say_verdicts(report: CheckReport) -> None:
    for state in ("broken", "rebuild", "open"):
        told = (v for v in report.verdicts if v.state == state and v.problem not in report.problems)
        for verdicts in _alike(told):
            first, *others = verdicts
            where = f"{_bare(first)} on {', '.join(_archs(v for v in verdicts if _same(first, v)))}"
            others = [verdict for verdict in others if not _same(first, verdict)]
            if state == "open":
                what = f"{where}: whether it {_CAN[first.check][0]} is open"
                more = (f"only a build tells who provides {_listed(first.missing)}",)
                _say_problem(state, what, None, more)
            elif state == "rebuild":
                again = f"rebuild {_listed(first.missing)}"
                what = f"{where} {_CAN[first.check][1]} as it was built: {again}"
                _say_problem(state, what, first.problem, _also(others))
            else:
                what = f"{where} {_CAN[first.check][1]}"
                _say_problem(state, what, first.problem, _also(others))


def _also(others: Sequence[Verdict]) -> tuple[str, ...]:
    """What else the same thing is in the way of."""
    lines = []
    for check in _CAN:
        names = sorted({_bare(verdict) for verdict in others if verdict.check == check})
        if names:
            lines.append(f"for the same reason {_CAN[check][1]}: {_listed(names, most=12)}")
    return tuple(lines)


def _say_problem(state: str, what: str, problem: Problem | None, more: Sequence[str]) -> None:
    click.secho(f"{state}: ", fg=_COLOURS[state], bold=True, nl=False)
    click.echo(what)
    for line in (*(problem.facts if problem else ()), *more):
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
    """Verdicts that rest on the same last fact together, the plainest problem first."""
    groups: dict[object, list[Verdict]] = {}
    for verdict in verdicts:
        facts = verdict.problem.facts if verdict.problem else ()
        fit = verdict.check in ("build", "install")
        # only of what does not fit is the last fact the cause
        facts = facts[-1:] if fit else facts
        last = tuple(fact.replace(_arch(verdict.chroot), "*") for fact in facts)
        # without facts there is nothing to share but the package itself
        key = ("" if fit else verdict.check, last)
        groups.setdefault((key, verdict.missing, "" if last else _bare(verdict)), []).append(
            verdict
        )

    def plainness(verdict: Verdict) -> tuple[int, str]:
        return len(verdict.problem.facts) if verdict.problem else 0, verdict.package

    return [sorted(some, key=plainness) for some in groups.values()]


def _same(one: Verdict, other: Verdict) -> bool:
    """The same question on another architecture."""
    return (one.check, _bare(one)) == (other.check, _bare(other))


def _bare(verdict: Verdict) -> str:
    """The package without its architecture."""
    return verdict.package.removesuffix(f".{_arch(verdict.chroot)}").removesuffix(".noarch")


def _archs(verdicts: Iterable[Verdict]) -> list[str]:
    return list(dict.fromkeys(_arch(verdict.chroot) for verdict in verdicts))


def _arch(chroot: str) -> str:
    return chroot.rpartition("-")[2]


def _listed(names: Sequence[str], most: int = 6) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest

"""What the solver found, as text for people (colour on a terminal) or JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import click
import msgspec

from farm.checks import CheckReport
from farm.model import Problem, Verdict
from farm.plan.fit.compare import Comparison
from farm.reasons import Chain, Why
from farm.screens.text import folded, terminal_width

_MOST_CHANGES = 10
_CAN = {
    "build": ("can be built", "cannot be built"),
    "install": ("can be installed", "cannot be installed"),
    "replaces": ("replace nothing of the base", "replaces a package of the base"),
    "files": ("share no file with other content", "shares a file with other content"),
    "upgrade": ("can be upgraded to", "keeps sites from upgrading"),
}
_OTHERWISE = {  # by kind
    "obsoleted-by-base": "loses its place to a package of the base",
    "made-twice": "makes a package that another makes as well",
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
        _say(f"note: {note}")
    if report.unbuilt and any(verdict.state == "ok" for verdict in report.verdicts):
        _say(
            f"note: not built as they are now: {_listed(report.unbuilt)}; what they turn out to"
            " need and provide is known after their build"
        )
    _say_totals(report)


def show_why(answer: Why, *, as_json: bool) -> None:
    """Chains of reasons, one line for each link."""
    if as_json:
        click.echo(msgspec.json.encode({"summary": answer}, enc_hook=str).decode())
        return
    _say(" needs ".join(part for part in (answer.name, answer.capability) if part), bold=True)
    for line in (*answer.about, *answer.absent):
        _say(f"  {line}")
    for heading, chains in (("needed", answer.needed_by), ("needs of the layer", answer.needs)):
        if not chains:
            continue
        if not answer.capability:
            _say(f"\n{heading}")
        told = ""
        for purpose, chain in _told_alike(c for c in chains if c.direct or answer.capability):
            if purpose != told:
                _say(f"  {purpose}", fg="cyan")
            told = purpose
            for link in chain.links:
                _say(f"    {link}")
            # a chain that ends where nobody has something has said what is wrong
            told_already = chain.links and not chain.links[-1].provider
            if chain.problem and not told_already and chains is not answer.needed_by:
                say = "but it cannot be had as things stand: " if chain.links else ""
                _say(f"    {say}{chain.problem.facts[-1]}", fg="red")
        if not answer.capability:
            through = sorted({chain.purpose for chain in chains if not chain.direct})
            if through:
                _say(f"  and through these: {_listed(through, most=12)}")
    if not (answer.needed_by or answer.needs or answer.absent):
        _say("  nothing of the layer needs it")


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


def _say(text: str, **style: Any) -> None:
    """A line of at most the terminal's width, in the style that `click.style` gives it."""
    click.secho(_fitting(text), **style)


def _fitting(text: str) -> str:
    width = terminal_width()
    lines = text.split("\n")
    return "\n".join(folded(line, width) if 0 < width < len(line) else line for line in lines)


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
    _say(f"{comparison.chroot}: {number} of the base changed")
    for text in changed[:_MOST_CHANGES]:
        _say(f"  ~ {text}")
    if len(changed) > _MOST_CHANGES:
        _say(f"  ~ … and {len(changed) - _MOST_CHANGES} more")
    rebuilds = sorted({name for verdict in comparison.rebuilds for name in verdict.missing})
    for mark, told, words in (
        ("red", _by_check(comparison.breaks), "would break"),
        ("yellow", [_listed(rebuilds, most=8)] if rebuilds else [], "merely want a rebuild"),
        ("green", _by_check(comparison.mended), "would be in order again"),
    ):
        for names in told:
            _say(f"  {words}: {names}", fg=mark)
    if changed and not comparison.breaks and not comparison.rebuilds:
        _say("  nothing of the layer would break", fg="green")
    _say(f"  solved again: {_listed(comparison.asked) or 'nothing'}")
    _say("")


def _by_check(verdicts: Iterable[Verdict]) -> list[str]:
    """The packages of each check, and which check it is."""
    every = tuple(verdicts)
    found = []
    for check in _CAN:
        names = sorted({_bare(verdict) for verdict in every if verdict.check == check})
        if names:
            found.append(f"{_listed(names, most=8)} ({check})")
    return found


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
                kind = first.problem.kind if first.problem else ""
                what = f"{where} {_OTHERWISE.get(kind, _CAN[first.check][1])}"
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
    mark = f"{state}:"
    said = _fitting(f"{mark} {what}").removeprefix(mark)
    click.secho(mark, fg=_COLOURS[state], bold=True, nl=False)
    click.echo(said)
    for line in (*(problem.facts if problem else ()), *more):
        _say(f"  {line}")
    for change in problem.changes if problem else ():
        _say(f"  because {change}", fg="cyan")
    if problem and problem.remedy:
        _say(f"  -> {problem.remedy}")
    _say("")


def _say_totals(report: CheckReport) -> None:
    parts = []
    for check, (can, _) in _CAN.items():
        own = [verdict for verdict in report.verdicts if verdict.check == check]
        if own and check in ("build", "install"):
            fine = sum(verdict.state == "ok" for verdict in own)
            parts.append(f"{fine} of {len(own)} {can}{_undecided(own)}")
        elif own:
            parts.append(f"{check}: {len(own)} broken")
    archs = ", ".join(_arch(chroot) for chroot in report.chroots)
    commit = f"layer at {report.commit[:10]}" if report.commit else "layer in no commit"
    _say(
        f"{'; '.join(parts) or 'Nothing to check'} ({report.release}, {archs}, {commit}, "
        f"{report.seconds:.1f} s)",
        fg="green" if report.ok else "red",
    )


def _undecided(verdicts: Sequence[Verdict]) -> str:
    """How many are neither in order nor broken."""
    counts = {
        "open": sum(verdict.state == "open" for verdict in verdicts),
        "once rebuilt": sum(verdict.state == "rebuild" for verdict in verdicts),
    }
    told = [f"{number} {what}" for what, number in counts.items() if number]
    return f" ({', '.join(told)})" if told else ""


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

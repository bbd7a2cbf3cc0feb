"""What a stranger found out about a mirror's packages."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from farm.errors import FarmError
from farm.screens.text import folded, say, table, terminal_width
from farm.stranger import Answer, StrangerReport
from farm.verify.foreign import shown

_WORDS = {"yes": "yes", "no": "NO", "refused": "REFUSED", "cannot": "cannot say"}
_MOST_DIFFERENCES = 6  # told of one package
_MOST_LINES = 12
_LONGEST = 1000  # characters of one difference


def show_stranger(report: StrangerReport, *, as_json: bool) -> None:
    """A table of all files, then everything there is to say about those that are no yes."""
    if as_json:
        # the events before it are JSON lines as well, so the summary is one line too
        say(msgspec.json.encode({"summary": report, "code": report.code}, enc_hook=str).decode())
        return
    say("")
    say(
        table(
            ("package", "repository", "built on", "answer"),
            ((a.nevra, _repository(a), a.arch, _WORDS[a.verdict]) for a in report.answers),
        )
    )
    width = terminal_width() or 100
    alike: dict[tuple[str, ...], list[Answer]] = {}
    for answer in report.answers:
        if answer.verdict != "yes":
            own = answer.file if answer.differences else ""
            said = (answer.verdict, answer.what, answer.why, answer.hint, own)
            alike.setdefault(said, []).append(answer)
    for answers in alike.values():
        _show(answers, width)
    say("")
    say(_summary(report))
    origin = "from the repository itself, " if report.key_is_the_repositorys else ""
    say(f"Key: {', '.join(report.keys)} ({origin}{report.key_from})")
    if report.attestation:
        say(f"The signed answer is in {report.attestation}; the maintainers take it in with")
        say(f"\n    farm attest {report.attestation}")


def show_refusal(error: FarmError) -> None:
    """Why nothing at all could be answered, as JSON; people read the error itself."""
    summary = {"answers": [], "what": error.what, "why": error.why, "hint": error.hint}
    say(msgspec.json.encode({"summary": summary, "code": error.code}).decode())


def _show(answers: Sequence[Answer], width: int) -> None:
    """What there is to say of files that share it."""
    answer = answers[0]
    say("")
    if answer.differences and answer.what == shown(answer.differences[0]):
        say(f"{answer.file}:")
    elif len(answers) > 1 or answer.what.startswith(answer.file):
        say(folded(answer.what, width))
    else:
        say(folded(f"{answer.file}: {answer.what}", width))
    for line in answer.why.splitlines()[:_MOST_LINES]:
        say(f"  {line}")
    telling = [d for d in answer.differences if not d.consequence] or list(answer.differences)
    for difference in telling[:_MOST_DIFFERENCES]:
        say(folded(f"  {shown(difference, _LONGEST)}", width))
        for line in difference.excerpt:
            say(f"    {shown(line, width - 4)}")
    more = len(answer.differences) - min(len(telling), _MOST_DIFFERENCES)
    if more > 0:
        say(f"  … and {more} more differences")
    for line in answer.hint.splitlines():
        say(folded(f"  -> {line}", width))
    if len(answers) > 1:
        names = ", ".join(dict.fromkeys(answer.name for answer in answers))
        say(folded(f"  of {names}", width))


def _repository(answer: Answer) -> str:
    return answer.file.partition("/Packages/")[0]


def _summary(report: StrangerReport) -> str:
    number = len(report.answers)
    said = [f"{len(report.of('yes'))} of {number} made again bit for bit"]
    for verdict, words in (("no", "differ"), ("refused", "refused"), ("cannot", "cannot be said")):
        found = report.of(verdict)  # type: ignore[arg-type]
        said += [f"{len(found)} {words}"] if found else []
    took = f"{report.seconds:.0f} s, {report.rebuilt} build{'' if report.rebuilt == 1 else 's'}"
    return f"{report.release} {report.snapshot}: {', '.join(said)} ({took})."

"""What moved, what a site got, and the keys."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from farm.errors import PublishError, SnapshotRefused
from farm.publish.keys import Key
from farm.publish.snapshot import Published
from farm.screens.text import say, table
from farm.site.trial import Trial

if TYPE_CHECKING:
    from farm.attesting import AttestReport


def show_publication(published: Published, paste: Sequence[str], *, as_json: bool) -> None:
    """What moved, and what a site would paste."""
    if as_json:
        say(msgspec.json.encode({"summary": published, "paste": paste}, enc_hook=str).decode())
        return
    for note in published.notes:
        print(f"note: {note}", file=sys.stderr)
    if published.awaits:
        say(f"{published.release} stays where it is: {published.awaits}.")
        say(
            f"Attesters say `farm verify --repo {published.address} --attest KEY`; `farm attest "
            "FILE` takes their answers in, and `farm publish` then moves the release."
        )
        return
    if not published.moved:
        say(f"Nothing to publish: {published.release} is at {published.snapshot[:16]} already.")
        return
    for mark, names in (("+", published.new), ("~", published.changed), ("-", published.removed)):
        for name in names:
            say(f"  {mark} {name}")
    say(
        f"{published.release} is now at snapshot {published.snapshot[:16]}: "
        f"{published.packages} packages, {published.signed} of them signed now, "
        f"{published.statements} statements of provenance signed now."
    )
    if published.archived:
        say(f"{published.archived} packages of build roots were added to the archive.")
    for waiver in published.waivers:
        say(f"It was published in spite of the check {waiver.check}: {waiver.reason}")
    show_paste(paste)


def show_attestations(report: AttestReport, *, as_json: bool) -> None:
    """What was taken in, how far the snapshots are, and why the rest was refused."""
    if as_json:
        refused = [{"what": error.what, "why": error.why} for error in report.refused]
        summary = {"taken": report.taken, "stand": report.stand, "refused": refused}
        say(msgspec.json.encode({"summary": summary}, enc_hook=str).decode())
        return
    for taken in report.taken:
        word = "the same" if taken.passed else "not all the same"
        say(f"{taken.attester} made {taken.packages} packages of {taken.snapshot} again: {word}")
    if not (report.taken or report.stand or report.refused):
        say("No snapshot waits for attestations.")
    for found in report.stand:
        say(f"{found.told}.")
        for problem in found.different:
            say(f"  {problem}")
        if found.reached:
            say("`farm publish` moves the release, if that is what it would publish.")
    for error in report.refused:
        print(error, file=sys.stderr)


def show_refusal(error: PublishError) -> None:
    """Why nothing moved, as JSON; people read the error itself."""
    problems = error.problems if isinstance(error, SnapshotRefused) else {}
    summary = {"moved": False, "what": error.what, "why": error.why, "problems": problems}
    say(msgspec.json.encode({"summary": summary}, enc_hook=str).decode())


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

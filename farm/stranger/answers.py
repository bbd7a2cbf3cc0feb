"""The answers to whoever asks whether a mirror's packages are what their sources make of them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from farm.errors import FarmError, Refused, Unverifiable
from farm.model import Built
from farm.model.provenance import Resource
from farm.store import sha256_of
from farm.stranger.cases import Case
from farm.stranger.exhibits import Told
from farm.verification.again import Again
from farm.verify.claims import Listed
from farm.verify.compare import Difference, differences
from farm.verify.foreign import shown

Verdict = Literal["yes", "no", "refused", "cannot"]

_TOLD = 40  # differences of one package that are kept


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What can be said of one published file.

    `yes`: what was built again is bit for bit the same; `no`: it is not; `refused`: what is
    published contradicts its signatures or its provenance; `cannot`: neither was found.
    `unsigned` is the sha256 that was built again, `statement` that of the provenance's envelope.
    """

    file: str  # below the snapshot
    nevra: str
    recipe: str
    arch: str  # of the build; of the repository where that is not known
    verdict: Verdict
    what: str = ""
    why: str = ""
    hint: str = ""
    sha256: str = ""
    unsigned: str = ""
    statement: str = ""
    differences: tuple[Difference, ...] = ()
    subject: Resource | None = None  # what its provenance says of it

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.file.rpartition("/")[2]


class StrangerReport(msgspec.Struct, frozen=True):
    """Everything that was answered, and about what. Times in seconds, `created` since 1970."""

    address: str
    release: str
    snapshot: str
    created: int
    keys: tuple[str, ...]  # fingerprints
    key_from: str
    key_is_the_repositorys: bool
    answers: tuple[Answer, ...]
    seconds: float
    rebuilt: int = 0  # builds that were done again
    attestation: str = ""  # the file that the signed answer was written to

    def of(self, verdict: Verdict) -> tuple[Answer, ...]:
        return tuple(answer for answer in self.answers if answer.verdict == verdict)

    @property
    def code(self) -> int:
        """The exit code: a no counts for more than what could not be said."""
        if self.of("no") or self.of("refused"):
            return Refused.code
        return Unverifiable.code if self.of("cannot") else 0


def unanswered(listed: Listed, recipe: str, arch: str, error: FarmError) -> Answer:
    """Why nothing was built again for a file."""
    refused = isinstance(error, Refused)
    return Answer(
        file=listed.path,
        nevra=str(listed.nevra),
        recipe=recipe,
        arch=arch,
        verdict="refused" if refused else "cannot",
        what=error.what,
        why=error.why,
        hint=error.hint,
        sha256=listed.sha256,
    )


def answered(case: Case, told: Told, again: Again) -> Answer:
    """A published file beside what was built again."""
    listed = told.exhibit.listed
    found = again.file(listed.name)
    if found is None:
        instead = _instead(listed, again)
        return _answer(
            case, told, "no", f"the same build does not make {listed.name} again"
            + (f", but {shown(instead)}" if instead else ""),
        )  # fmt: skip
    different = differences(told.exhibit.path, found)
    unsigned = sha256_of(found)
    if not different and unsigned == told.subject.annotations.get("unsigned"):
        return _answer(case, told, "yes", "", unsigned=unsigned)
    if case.other_number:
        return _answer(
            case, told, "cannot", "it differs, but it was built in another way than this farm's",
            hint="Use the version of farm that its provenance names: "
            + (shown(_version(case)) or "none is named"), different=different, unsigned=unsigned,
        )  # fmt: skip
    what = (
        shown(different[0])
        if different
        else "header and payload are the same, the bytes before signing are not those that "
        "its provenance names"
    )
    return _answer(
        case, told, "no", what, hint=_cores(case, again), different=different, unsigned=unsigned
    )


def _cores(case: Case, again: Again) -> str:
    """What may be to blame and nobody sees in the bytes."""
    theirs = case.statement.predicate.build_definition.internal_parameters.cores
    ours = again.rebuild.job.cpus
    return f"It was published as built with -j{theirs}; here it was -j{ours}." if theirs else ""


def _instead(listed: Listed, again: Again) -> str:
    """The file of the same package in another version that a build made, "" when there is none."""
    if not isinstance(again.outcome, Built):
        return ""
    ours = listed.nevra
    made = (package.nevra for package in (*again.outcome.packages, again.outcome.srpm))
    return next(
        (n.filename for n in made if (n.name, n.arch) == (ours.name, ours.arch) and n != ours), ""
    )


def _answer(
    case: Case,
    told: Told,
    verdict: Verdict,
    what: str,
    *,
    hint: str = "",
    unsigned: str = "",
    different: tuple[Difference, ...] = (),
) -> Answer:
    listed = told.exhibit.listed
    return Answer(
        file=listed.path,
        nevra=str(listed.nevra),
        recipe=case.recipe.name,
        arch=case.chroot.arch,
        verdict=verdict,
        what=what,
        hint=hint,
        sha256=listed.sha256,
        unsigned=unsigned,
        statement=told.digest,
        differences=different[:_TOLD],
        subject=told.subject,
    )


def failed(case: Case, told: Told, error: FarmError) -> Answer:
    """Why the build of a file could not be done again here."""
    answer = unanswered(told.exhibit.listed, case.recipe.name, case.chroot.arch, error)
    return msgspec.structs.replace(answer, statement=told.digest, subject=told.subject)


def not_built(case: Case, again: Again, log: Path | None) -> Unverifiable:
    """A build that did not end well here: neither a yes nor a no."""
    outcome = again.outcome
    message = shown(getattr(outcome, "message", "") or getattr(outcome, "because", ""))
    excerpt = [shown(line) for line in getattr(outcome, "excerpt", ())[-8:]]
    where = [f"the whole log: {log}"] if log is not None else []
    kind = getattr(outcome, "kind", "")
    return Unverifiable(
        f"{case.step} could not be built here: {message}",
        why="\n".join([*excerpt, *where]),
        hint=shown(getattr(outcome, "hint", ""))
        if kind != "package"
        else "The same source in the same packages was built by the publisher: compare its "
        "log with the publisher's.",
    )


def _version(case: Case) -> str:
    version = case.statement.predicate.run_details.builder.version
    return ", ".join(f"{name} {value}" for name, value in sorted(version.items()))

"""A stranger's answer as a statement, signed with a key of farm's own ring."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import msgspec

from farm.errors import Unverifiable
from farm.model import rfc3339, to_json
from farm.model.attestation import (
    NOT_REBUILT,
    POLICY,
    REBUILT,
    VERIFICATION,
    Attestation,
    Detail,
    Remade,
    Summary,
    Verifier,
)
from farm.model.envelope import Envelope
from farm.model.provenance import STATEMENT, Resource
from farm.progress import Emit
from farm.publish.keys import Key, KeyRing
from farm.store import write_atomic
from farm.stranger.answers import Answer, StrangerReport

_RESULTS: Mapping[str, Literal["same", "different", "cannot"]] = {
    "yes": "same",
    "no": "different",
    "refused": "different",
    "cannot": "cannot",
}


def attestation(report: StrangerReport, fingerprint: str, farm: str, at: int) -> Attestation:
    """What the holder of a key says, `at` (seconds since 1970): pure.

    Raises Unverifiable when nothing was found out that could be said.
    """
    every = _worst(report.answers)
    told = tuple(answer for answer in every if answer.verdict != "cannot")
    if not told:
        raise Unverifiable(
            "there is nothing to attest: no package could be verified",
            hint="The table says why for each.",
        )
    passed = all(answer.verdict == "yes" for answer in told)
    return Attestation(
        type=STATEMENT,
        subject=tuple(map(_subject, told)),
        predicate_type=VERIFICATION,
        predicate=Summary(
            verifier=Verifier(f"openpgp4fpr:{fingerprint}", {"farm": farm} if farm else {}),
            time_verified=rfc3339(at),
            resource_uri=report.address,
            policy=Resource(uri=POLICY),
            input_attestations=tuple(_provenance(report, told)),
            verification_result="PASSED" if passed else "FAILED",
            verified_levels=(REBUILT if passed else NOT_REBUILT,),
            detail=Detail(
                report.release, report.snapshot, tuple(map(_remade, every))
            ),
        ),
    )  # fmt: skip


def attested(
    report: StrangerReport, ring: KeyRing, key: Key, target: Path | None, emit: Emit
) -> StrangerReport:
    """Sign a report's answers and write them to `target`: a file, or a directory to put one in.

    Without one it goes into the working directory. The report answered says where it is.
    Where there is nothing to say nothing is written, and `emit` hears why. Raises PublishError
    when the key cannot sign.
    """
    at = int(time.time())
    try:
        said = attestation(report, key.fingerprint, _version(), at)
    except Unverifiable as error:
        emit("warning", text=error.what)
        return report
    bare = Envelope.around(to_json(said))
    signature = ring.sign_bytes(bare.signed_bytes, key, at=at)
    ring.verify_bytes(signature, bare.signed_bytes, key, "the attestation")
    name = f"{report.release}-{report.snapshot}-{key.fingerprint[-16:]}.intoto.json"
    path = target or Path()
    path = path / name if path.is_dir() else path
    write_atomic(path, to_json(bare.signed(key.fingerprint, signature)))
    return msgspec.structs.replace(report, attestation=str(path))


def _worst(answers: Iterable[Answer]) -> tuple[Answer, ...]:
    """Each package once, however many repositories have it: what is worst of its copies."""
    worst: dict[str, Answer] = {}
    order = ("yes", "cannot", "no", "refused")
    for answer in answers:
        known = worst.get(answer.sha256)
        if known is None or order.index(answer.verdict) > order.index(known.verdict):
            worst[answer.sha256] = answer
    return tuple(sorted(worst.values(), key=lambda answer: (answer.name, answer.sha256)))


def _subject(answer: Answer) -> Resource:
    return answer.subject or Resource(name=answer.name, digest={"sha256": answer.sha256})


def _provenance(report: StrangerReport, answers: Iterable[Answer]) -> Iterable[Resource]:
    """The envelopes that were read; one of them lies beside each package of its build."""
    seen = set()
    for answer in answers:
        if answer.statement and answer.statement not in seen:
            seen.add(answer.statement)
            uri = f"{report.address}/{answer.file}.intoto.json"
            yield Resource(uri=uri, digest={"sha256": answer.statement})


def _remade(answer: Answer) -> Remade:
    result = _RESULTS[answer.verdict]
    return Remade(answer.name, answer.sha256, result, answer.what)


def _version() -> str:
    """Of this farm, where it is installed."""
    try:
        return version("farm")
    except PackageNotFoundError:
        return ""

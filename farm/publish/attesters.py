"""Who may attest to snapshots of the layer, and what a file has to be to count as their word."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from farm.config import Config
from farm.errors import ConfigError, PublishError, StateError
from farm.gpg import KeyUnreadable, PublicKey, PublicKeys, public_keys
from farm.model import from_json, repeated_name
from farm.model.attestation import NOT_REBUILT, POLICY, REBUILT, VERIFICATION, Attestation
from farm.model.envelope import IN_TOTO, Envelope
from farm.model.provenance import STATEMENT

_LARGEST = 64 << 20  # bytes of an attestation

_MOMENT = "%Y-%m-%dT%H:%M:%SZ"
# gpg's verdicts, as what the maintainer reads
_FAULTS = {
    "other bytes": "its signature is not over these bytes: it was changed after it was signed",
    "unknown key": "it is signed with the key {signer}, which is not in {keys}",
    "expired": "the key {signer} that it is signed with has expired",
    "revoked": "the key {signer} that it is signed with has been revoked",
    "no signature": "its signature cannot be read",
}


@dataclass(frozen=True)
class Signed:
    """An attestation, and by whom: the fingerprint of an attester."""

    attestation: Attestation
    signer: str
    content: bytes  # of the file
    where: str

    @property
    def snapshot(self) -> str:
        return self.attestation.predicate.detail.snapshot


@dataclass(frozen=True)
class Panel:
    """The attesters by fingerprint (what farm.toml calls them), and how many have to agree."""

    wanted: int
    attesters: Mapping[str, str]
    keys: PublicKeys
    directory: Path  # of their keys

    def read(self, path: Path) -> Signed:
        """One attestation file. Raises PublishError that says why it does not count."""
        try:
            with path.open("rb") as file:
                content = file.read(_LARGEST + 1)
        except OSError as error:
            raise refusal(path, f"it cannot be read: {error.strerror}") from error
        if len(content) > _LARGEST:
            raise refusal(path, "it is larger than any attestation")
        try:
            envelope = from_json(Envelope, content, where="the file")
            signed_bytes, statement = envelope.signed_bytes, envelope.content
        except StateError as error:
            raise refusal(path, "it is no signed envelope", error.why or error.what) from error
        if envelope.payload_type != IN_TOTO:
            raise refusal(path, f"it holds {envelope.payload_type!r}, not an in-toto statement")
        signer = self._signer(path, envelope, signed_bytes)
        try:
            attestation = from_json(Attestation, statement, where="its statement")
        except StateError as error:
            raise refusal(path, "its statement is not an attestation", error.why) from error
        repeated = repeated_name(content) or repeated_name(statement)
        problem = f"it says {repeated[:80]!r} twice" if repeated else _problem(attestation)
        if problem:
            raise refusal(path, problem)
        return Signed(attestation, signer, content, str(path))

    def _signer(self, path: Path, envelope: Envelope, signed_bytes: bytes) -> str:
        if len(envelope.signatures) != 1:
            raise refusal(path, f"it has {len(envelope.signatures)} signatures instead of one")
        signature = envelope.signatures[0]
        try:
            judged = self.keys.signature_over(signed_bytes, signature.binary)
        except StateError as error:
            raise refusal(path, "its signature cannot be read", error.why) from error
        if judged.fault:
            kind = Lapsed if judged.fault in ("expired", "revoked") else PublishError
            told = _FAULTS[judged.fault].format(
                signer=judged.signer or signature.keyid, keys=f"{self.directory}/*.asc"
            )
            raise refusal(path, told, judged.why, kind=kind)
        if judged.signer != signature.keyid.upper():
            raise refusal(
                path, f"it says that {signature.keyid} signed it, but {judged.signer} did"
            )
        if judged.signer not in self.attesters:
            raise refusal(
                path,
                f"it is signed by {judged.signer}, who is not one of publish.attesters",
                f"farm.toml names {', '.join(self.attesters.values()) or 'none'}.",
            )
        return judged.signer


@contextlib.contextmanager
def panel(config: Config) -> Iterator[Panel]:
    """The attesters of this layer, until the block ends.

    Raises ConfigError for an attester whose key is not among `paths.keys`/*.asc, is so twice, or
    cannot be used.
    """
    directory = config.path("keys")
    settings = config.publish
    with public_keys(sorted(directory.glob("*.asc")) if settings.attesters else ()) as keys:
        try:
            known = keys.keys
        except KeyUnreadable as error:
            raise ConfigError(f"{error.file} holds no usable public key", why=str(error)) from error
        found = {_key(name, known, directory): name for name in settings.attesters}
        if len(found) < settings.attestations:
            raise ConfigError(
                f"publish.attestations asks for {settings.attestations}, but there "
                + ("is one attester" if len(found) == 1 else f"are {len(found)} attesters"),
                hint="Name more in publish.attesters, or ask for fewer.",
            )
        yield Panel(settings.attestations, found, keys, directory)


def _key(name: str, known: tuple[PublicKey, ...], directory: Path) -> str:
    number = name.upper().removeprefix("0X").replace(" ", "")
    found = [
        key
        for key in known
        if number == key.fingerprint
        or any(name == u or name == u.split(" (")[0].split(" <")[0] or f"<{name}>" in u
               for u in key.user_ids)
    ]  # fmt: skip
    if not found:
        raise ConfigError(
            f"publish.attesters names {name!r}, and no key in {directory} answers to that",
            why="\n".join(f"{k.fingerprint}  {', '.join(k.user_ids)}" for k in known)
            or "There are no keys.",
            hint=f"Put the public key into {directory}/NAME.asc, and name it by its fingerprint "
            "or user id.",
        )
    if len(found) > 1:
        raise ConfigError(
            f"{len(found)} keys in {directory} answer to {name!r}",
            why="\n".join(key.fingerprint for key in found),
            hint="Name it by its fingerprint in publish.attesters.",
        )
    return found[0].fingerprint


class Lapsed(PublishError):
    """The key that signed an attestation has expired or was revoked."""


def refusal(
    path: Path, problem: str, why: str = "", *, kind: type[PublishError] = PublishError
) -> PublishError:
    """An attestation that is not taken in."""
    return kind(f"{path.name} is refused: {problem}", why=why)


def _problem(attestation: Attestation) -> str:
    """What is wrong with a statement by itself, "" when nothing is."""
    summary = attestation.predicate
    told = [((p.name, p.sha256), p.result) for p in summary.detail.packages if p.result != "cannot"]
    made = dict(told)
    subjects = {(s.name, s.digest.get("sha256", "")) for s in attestation.subject}
    passed = summary.verification_result == "PASSED"
    if attestation.type != STATEMENT:
        return f"{attestation.type!r} is no in-toto statement"
    if attestation.predicate_type != VERIFICATION:
        return f"its predicate is {attestation.predicate_type!r}, not a verification summary"
    if summary.policy.uri != POLICY:
        return f"it was made by the policy {summary.policy.uri!r}; here {POLICY} counts"
    if not attestation.subject:
        return "it speaks of no package"
    if len(told) != len(made):
        twice = next(name for (name, sha), _ in told if [n for n, _ in told].count((name, sha)) > 1)
        return f"it speaks twice of {twice}"
    if subjects != made.keys():
        name, _ = min(subjects ^ made.keys())
        return f"its subjects are not the packages that it says were made: {name}"
    if passed != ("different" not in made.values()):
        return f"it says {summary.verification_result}, and of its packages something else"
    if not _is_moment(summary.time_verified):
        return f"{summary.time_verified[:40]!r} is no time: it is written 2026-11-20T12:00:00Z"
    if summary.verified_levels != ((REBUILT,) if passed else (NOT_REBUILT,)):
        return f"it says {summary.verification_result} at {', '.join(summary.verified_levels)}"
    return ""


def _is_moment(text: str) -> bool:
    """Whether it is a time in the one form in which earlier and later are those of the text."""
    try:
        return datetime.strptime(text, _MOMENT).strftime(_MOMENT) == text
    except ValueError:
        return False

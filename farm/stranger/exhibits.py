"""Each published file as evidence: fetched, its signature and its provenance held against it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from farm import rpmheader
from farm.errors import FarmError, Refused, StateError, Unverifiable
from farm.gpg import KeyUnreadable
from farm.model import Lock, SignedPackage
from farm.model.provenance import Resource, Statement
from farm.plan.metadata.transfer import TooLarge
from farm.rpmheader import Identity
from farm.store import sha256_of
from farm.stranger.mirror import NotThere
from farm.stranger.published import Publication
from farm.verify import claims
from farm.verify.claims import Listed
from farm.verify.foreign import (
    LARGEST_ENVELOPE,
    LARGEST_LOCK,
    LARGEST_PACKAGE,
    maybe_lock,
    read_envelope,
    read_lock,
    shown,
)
from farm.verify.foreign import read_statement as parsed_statement

_WORKERS = 4


@dataclass(frozen=True)
class Exhibit:
    """A published package file that is what the signed metadata name, signed as it should be.

    `path` is our copy of it, `identity` what signing left as it was.
    """

    listed: Listed
    entry: SignedPackage
    path: Path
    identity: Identity


@dataclass(frozen=True)
class Told:
    """An exhibit with what its provenance says of it, found to be true as far as it goes."""

    exhibit: Exhibit
    statement: Statement
    subject: Resource
    digest: str  # sha256 of the statement
    signer: str  # fingerprint


@dataclass(frozen=True)
class _Other:
    """A file that has other bytes than the signed metadata say."""

    path: Path
    sha256: str


@dataclass
class Examiner:
    """Fetches files of a publication below `scratch` and judges them, each once."""

    publication: Publication
    scratch: Path
    _judged: dict[Listed, Exhibit | FarmError] = field(default_factory=dict)
    _statements: dict[str, tuple[Statement, str]] = field(default_factory=dict)
    _locks: dict[str, Lock] = field(default_factory=dict)

    @cached_property
    def _beside(self) -> Mapping[str, Sequence[str]]:
        """What the signed list has beside each package."""
        found: dict[str, list[str]] = {}
        for path in self.publication.sums:
            package, ending, _ = path.partition(".rpm.")
            if ending:
                found.setdefault(f"{package}.rpm", []).append(path)
        return found

    def exhibits(self, files: Iterable[Listed]) -> Mapping[Listed, Exhibit | FarmError]:
        """Each file, or why it is not accepted (Refused) or cannot be had (Unverifiable)."""
        every = tuple(dict.fromkeys(files))
        wanted = tuple(listed for listed in every if listed not in self._judged)
        answers: dict[Listed, Exhibit | FarmError] = {}
        with ThreadPoolExecutor(_WORKERS) as pool:
            try:
                for listed, found in zip(wanted, pool.map(self._fetched, wanted), strict=True):
                    if isinstance(found, _Other):
                        answers[listed] = self._another(listed, found)
                    else:
                        answers[listed] = found
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        paths = [answer.path for answer in answers.values() if isinstance(answer, Exhibit)]
        refused = self._refused(paths)
        for listed, answer in answers.items():
            if isinstance(answer, Exhibit) and answer.path in refused:
                answers[listed] = _not_signed(listed, refused[answer.path], answer.path)
        self._judged |= answers
        return {listed: self._judged[listed] for listed in every}

    def told(self, exhibit: Exhibit) -> Told:
        """What the provenance beside a package says of it. Raises Refused and Unverifiable."""
        listed = exhibit.listed
        path = f"{listed.path}.intoto.json"
        try:
            text = self.publication.mirror.of_snapshot(path, LARGEST_ENVELOPE)
        except NotThere as error:
            known = path in self.publication.sums
            raise _absent(
                f"{listed.path} has no provenance", error,
                "The signed list of the snapshot's files names it: it was taken away."
                if known else "It was published without; its maintainers' farm said why.",
            ) from error  # fmt: skip
        digest = hashlib.sha256(text).hexdigest()
        if digest not in self._statements:
            self._statements[digest] = self._statement(text, path)
        statement, signer = self._statements[digest]
        subject = claims.subject_of(
            statement, listed, exhibit.entry.package.sha256, exhibit.identity
        )
        claims.check_definition(statement, self.publication.snapshot.release, listed)
        if self.publication.sums.get(path) != digest:
            raise Refused(
                f"{listed.path}: its provenance is not the one that this snapshot was made with",
                why="It is signed and of this file, but the signed list of the snapshot's files "
                f"names another.\nthe list: sha256 {self.publication.sums.get(path, 'none')}\n"
                f"the file: sha256 {digest}",
                hint="Somebody put the statement of another build there: tell the maintainers.",
            )
        self._check_beside(listed, path)
        return Told(exhibit, statement, subject, digest, signer)

    def lock(self, statement: Statement, name: str) -> Lock:
        """The lock of a build, as its statement has it. Raises Refused and Unverifiable."""
        sha256 = claims.lock_digest(statement, name)
        if sha256 not in self._locks:
            place = claims.lock_place(sha256)
            try:
                text = self.publication.mirror.of_root(place, LARGEST_LOCK)
            except NotThere as error:
                raise _absent(
                    f"{name}: the lock of its build root cannot be had", error,
                    "Without it nobody knows what it was built with; try another mirror.",
                ) from error  # fmt: skip
            actual = hashlib.sha256(text).hexdigest()
            if actual != sha256:
                raise claims.changed_lock(statement, actual, maybe_lock(text), name)
            self._locks[sha256] = read_lock(text, place)
        claims.check_lock(statement, self._locks[sha256], name)
        return self._locks[sha256]

    def _check_beside(self, listed: Listed, provenance: str) -> None:
        """Whatever else lies beside a package (its bill of materials) is what was put there."""
        for path in self._beside.get(listed.path, ()):
            expected = self.publication.sums[path]
            if path == provenance:
                continue
            try:
                text = self.publication.mirror.of_snapshot(path, LARGEST_ENVELOPE)
            except NotThere as error:
                if isinstance(error.__cause__, TooLarge):
                    raise Refused(
                        f"{path} is far larger than anything that farm puts there", why=str(error)
                    ) from error
                raise _absent(
                    f"{path} cannot be had", error,
                    "The signed list of the snapshot's files names it: it was taken away.",
                ) from error  # fmt: skip
            actual = hashlib.sha256(text).hexdigest()
            if actual != expected:
                raise Refused(
                    f"{path} has other bytes than the signed list of the snapshot's files says",
                    why=f"the list: sha256 {expected}\nthe file: sha256 {actual}",
                    hint="It was damaged or changed; the package itself is signed by itself.",
                )

    def _fetched(self, listed: Listed) -> Exhibit | _Other | FarmError:
        # by its place, not its checksum: of two copies one may be other than it should
        place = hashlib.sha256(listed.path.encode()).hexdigest()
        target = self.scratch / f"{place}.rpm"
        try:
            entry = claims.check_table(listed, self.publication.table)
            self._download(listed, target)
            actual = sha256_of(target)
            if actual != listed.sha256:
                return _Other(target, actual)
            claims.check_header(listed, rpmheader.read(target).nevra)
            return Exhibit(listed, entry, target, rpmheader.identity(target))
        except StateError as error:
            return claims.other_bytes(listed, None, listed.sha256, error.what)
        except (Refused, Unverifiable) as error:
            return error

    def _download(self, listed: Listed, target: Path) -> None:
        # more than announced: it may be another package, and is told as what it is
        limit = min(2 * listed.size + (64 << 20), LARGEST_PACKAGE)
        try:
            self.publication.mirror.download(listed.path, target, limit)
        except NotThere as error:
            if isinstance(error.__cause__, TooLarge):
                raise Refused(
                    f"{listed.path} is far larger than the signed metadata say",
                    why=f"{listed.size} bytes are announced: {error}",
                ) from error
            raise _absent(
                f"{listed.path} cannot be had", error, "Try again, or another mirror."
            ) from error

    def _another(self, listed: Listed, other: _Other) -> Refused:
        """A file that is not the one that was signed for its place: what is it?"""
        try:
            found = rpmheader.read(other.path).nevra
        except StateError:
            words = "It is no RPM package any more."
            return claims.other_bytes(listed, None, other.sha256, words)
        refusal = self._refused([other.path]).get(other.path, "")
        return claims.other_bytes(listed, found, other.sha256, refusal)

    def _refused(self, paths: list[Path]) -> Mapping[Path, str]:
        try:
            refused = self.publication.key.keys.refused(paths)
        except KeyUnreadable as error:
            raise Unverifiable(
                f"rpm does not take the key {self.publication.key.origin}", why=str(error)
            ) from error
        return {
            path: "\n".join(
                shown(line.replace(str(path), "it")) for line in words.splitlines()[:10]
            )
            for path, words in refused.items()
        }

    def _statement(self, text: bytes, path: str) -> tuple[Statement, str]:
        key = self.publication.key
        envelope = read_envelope(text, path)
        try:
            signer = claims.check_envelope(
                envelope, key.keys.signature_over, key.fingerprints, path
            )
            return parsed_statement(envelope.content, path), signer
        except StateError as error:  # no base64
            raise Refused(
                f"{path}: its envelope was damaged or changed", why=f"{error.what}: {error.why}"
            ) from error


def _not_signed(listed: Listed, words: str, path: Path) -> Refused:
    signed = rpmheader.read(path).is_signed
    return Refused(
        f"{listed.path} is not signed"
        + (" with the repository's key" if signed else "")
        + ", by rpm's own judgement",
        why=words,
        hint="The metadata that name it are signed, it is not: do not install it.",
    )


def _absent(what: str, error: NotThere, hint: str) -> Unverifiable:
    return Unverifiable(what, why=str(error), hint=hint)


def by_statement(told: Iterable[Told]) -> Iterator[tuple[Told, ...]]:
    """The files of one build together, in the order in which they came."""
    groups: dict[str, list[Told]] = {}
    for each in told:
        groups.setdefault(each.digest, []).append(each)
    return (tuple(group) for group in groups.values())

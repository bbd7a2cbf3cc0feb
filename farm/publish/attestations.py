"""Attestations of strangers: taken in, kept beside the snapshots, counted before one is promoted.

What counts is each package's bytes: an attester who made a file again for an earlier snapshot
need not do so again. Of one attester the newest word on a package counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from farm.errors import PublishError
from farm.model import Problem, SignedPackage, Snapshot, from_json
from farm.model.attestation import Attestation
from farm.model.envelope import Envelope
from farm.publish.attesters import Lapsed, Panel, Signed, refusal
from farm.publish.beside import PROVENANCE
from farm.publish.tree import Publication
from farm.store import sha256_of, write_atomic

CHECK = "attestations"  # what `farm publish --force` calls it

_NAMED = 6


@dataclass(frozen=True)
class Quorum:
    """How far a snapshot is from being promoted. `missing`: packages that too few have made
    again; `different`: problems that attesters found; `attesters`: who attested this snapshot."""

    snapshot: str
    wanted: int
    attesters: tuple[str, ...] = ()
    missing: tuple[Problem, ...] = ()
    different: tuple[Problem, ...] = ()
    lapsed: tuple[str, ...] = ()

    @property
    def reached(self) -> bool:
        return not self.missing and not self.different

    @property
    def told(self) -> str:
        """Where it stands, in words."""
        who = f" ({', '.join(self.attesters)})" if self.attesters else ""
        number = len(self.attesters)
        have = f"{self.snapshot} has {number} attestation{'s' if number != 1 else ''}{who}"
        if self.lapsed:
            have += f", not counting {', '.join(self.lapsed)} (key expired or revoked)"
        if self.reached:
            return f"{have}; every package has the {self.wanted} wanted"
        if self.different:
            odd = dict.fromkeys(problem.subject for problem in self.different)
            return f"{have}; came out different: {', '.join(odd)}"
        names = [problem.subject for problem in self.missing[:_NAMED]]
        more = len(self.missing) - len(names)
        return (
            f"{have}; wanted for each package: {self.wanted}; too few have "
            f"{', '.join(names)}" + (f" and {more} more" if more else "")
        )


@dataclass(frozen=True)
class Taken:
    """An attestation that was taken in."""

    release: str
    snapshot: str
    attester: str  # as farm.toml calls them
    passed: bool
    packages: int


def attestation_path(root: Path, release: str, snapshot: str, fingerprint: str) -> Path:
    """Where an attester's word on a snapshot is kept."""
    return root / "attestations" / release / snapshot / f"{fingerprint}.intoto.json"


def take_in(tree: Publication, panel: Panel, path: Path, releases: Container[str]) -> Taken:
    """Check one file against the snapshot of one of `releases` that it speaks of, and keep it.

    Raises PublishError that says why it does not count.
    """
    signed = panel.read(path)
    detail = signed.attestation.predicate.detail
    release = detail.release
    if release not in releases:
        raise refusal(path, f"it is of a release {release!r}, which farm.toml does not know")
    snapshot = _snapshot(tree, path, release, detail.snapshot)
    _compare(tree, path, signed, snapshot)
    target = attestation_path(tree.root, release, snapshot.id, signed.signer)
    before = _before(panel, target)
    if before is not None:
        said, now = before.attestation.predicate, signed.attestation.predicate
        if said.time_verified > now.time_verified:
            raise refusal(path, f"a newer one of {panel.attesters[signed.signer]} is here already")
        if _spoken_of(before) - _spoken_of(signed):
            # what the newer one is silent about has been said all the same
            number = hashlib.sha256(before.content).hexdigest()[:16]
            write_atomic(target.with_name(f"{signed.signer}.{number}{PROVENANCE}"), before.content)
    write_atomic(target, signed.content)
    return Taken(
        release,
        snapshot.id,
        panel.attesters[signed.signer],
        signed.attestation.predicate.verification_result == "PASSED",
        len(signed.attestation.subject),
    )


def _before(panel: Panel, target: Path) -> Signed | None:
    """The attestation that a newer one of the same attester follows."""
    try:
        return panel.read(target) if target.exists() else None
    except Lapsed:
        return None


def _spoken_of(signed: Signed) -> frozenset[str]:
    """sha256 of the published files that were made again, whatever came of them."""
    return frozenset(
        p.sha256 for p in signed.attestation.predicate.detail.packages if p.result != "cannot"
    )


def waiting(tree: Publication, releases: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Release and id of the newest snapshots, as far as they were made since their releases
    moved last."""
    newest = {s.release: s for release in releases for s in tree.snapshots(release)}
    found = []
    for release, snapshot in sorted(newest.items()):
        history = tree.history(release)
        if history is None or snapshot.created > history.since:
            found.append((release, snapshot.id))
    return tuple(found)


def speaks_of(path: Path) -> frozenset[str]:
    """sha256 of the published files that a kept attestation is about.

    It counts as long as a snapshot has one of them. Raises StateError when it is damaged.
    """
    envelope = from_json(Envelope, path.read_bytes(), where=str(path))
    attestation = from_json(Attestation, envelope.content, where=str(path))
    return frozenset(subject.digest.get("sha256", "") for subject in attestation.subject)


def quorum(tree: Publication, panel: Panel, snapshot: Snapshot) -> Quorum:
    """Whether enough attesters have made every package of a snapshot again.

    Raises PublishError for a kept attestation that was changed since it was taken in.
    """
    if not panel.wanted:
        return Quorum(snapshot.id, 0)
    kept = sorted((tree.root / "attestations" / snapshot.release).glob(f"*/*{PROVENANCE}"))
    every: list[Signed] = []
    lapsed: dict[str, None] = {}
    for path in kept:
        who = path.name.split(".")[0]
        if who not in panel.attesters:  # any longer: who is not on the panel has no say
            continue
        try:
            every.append(panel.read(path))
        except Lapsed:
            lapsed[panel.attesters[who]] = None
        except PublishError as error:
            raise PublishError(
                f"an attestation that was taken in does not hold any more: {error.what}",
                why=error.why,
                hint=f"It is {path}: take the attester's own file in again, or remove it.",
            ) from error
    found = count(snapshot, every, panel.attesters, panel.wanted)
    return replace(found, lapsed=tuple(lapsed))


def count(
    snapshot: Snapshot, every: Iterable[Signed], attesters: Mapping[str, str], wanted: int
) -> Quorum:
    """The rule itself: what attestations (of any snapshot, all good ones) make of this one.

    `attesters` says by fingerprint what farm.toml calls those who count.
    """
    counted = [signed for signed in every if signed.signer in attesters]
    said = _newest(counted)
    missing, different = [], []
    for package in snapshot.packages:
        words = said.get(package.sha256, {})
        name = package.package.nevra.filename
        for who, (result, reason) in sorted(words.items()):
            if result == "different":
                fact = f"{attesters[who]} ({who}) made it again, and it came out different"
                facts = (fact, *((reason,) if reason else ()), f"sha256 {package.sha256}")
                different.append(Problem("different", name, facts))
        same = sorted(attesters[who] for who, (result, _) in words.items() if result == "same")
        if len(same) < wanted:
            told = f": {', '.join(same)}" if same else ""
            fact = f"{len(same)} of {wanted} attesters have made it again{told}"
            missing.append(Problem("unattested", name, (fact, f"sha256 {package.sha256}")))
    own = {attesters[signed.signer] for signed in counted if signed.snapshot == snapshot.id}
    return Quorum(snapshot.id, wanted, tuple(sorted(own)), tuple(missing), tuple(different))


def _newest(every: Iterable[Signed]) -> Mapping[str, Mapping[str, tuple[str, str]]]:
    """sha256 of a published file → attester → the last that they said of it, and why."""
    words = [
        (signed.attestation.predicate.time_verified, package.result == "different", signed, package)
        for signed in every
        for package in signed.attestation.predicate.detail.packages
        if package.result != "cannot"
    ]
    said: dict[str, dict[str, tuple[str, str]]] = {}
    for _, _, signed, package in sorted(words, key=lambda word: word[:2]):
        said.setdefault(package.sha256, {})[signed.signer] = (package.result, package.reason)
    return said


def _snapshot(tree: Publication, path: Path, release: str, wanted: str) -> Snapshot:
    known = {snapshot.id: snapshot for snapshot in tree.snapshots(release)}
    if wanted not in known:
        raise refusal(path, f"there is no snapshot {wanted!r} of {release} here")
    return known[wanted]


def _compare(tree: Publication, path: Path, signed: Signed, snapshot: Snapshot) -> None:
    """Raises PublishError unless it speaks of the very files of the snapshot."""
    published: dict[str, SignedPackage] = {
        package.package.nevra.filename: package for package in snapshot.packages
    }
    for subject in signed.attestation.subject:
        package = published.get(subject.name)
        if package is None:
            raise refusal(path, f"{subject.name} is not in the snapshot {snapshot.id}")
        sha256, unsigned = subject.digest.get("sha256"), subject.annotations.get("unsigned")
        if sha256 != package.sha256:
            raise refusal(
                path,
                f"the {subject.name} that it speaks of is not the one in {snapshot.id}",
                f"it says   sha256 {sha256}\npublished sha256 {package.sha256}",
            )
        if unsigned not in (None, package.package.sha256):
            raise refusal(path, f"it gives {subject.name} the bytes of another build")
    named = {p.name for p in signed.attestation.predicate.detail.packages}
    strange = sorted(named - published.keys())
    if strange:
        raise refusal(path, f"{strange[0]} is not in the snapshot {snapshot.id}")
    directory = tree.snapshot_directory(snapshot.release, snapshot.id)
    beside: dict[str, set[str]] = {}
    for file in directory.rglob(f"*.rpm{PROVENANCE}"):
        beside.setdefault(file.name.removesuffix(PROVENANCE), set()).add(sha256_of(file))
    known = {sha256 for each in beside.values() for sha256 in each}
    for used in signed.attestation.predicate.input_attestations:
        if used.digest.get("sha256") not in known:
            raise refusal(
                path,
                "it was made from provenance that is not in the snapshot",
                f"{used.uri or used.name}: sha256 {used.digest.get('sha256', 'not given')}",
            )
    read = {used.digest["sha256"] for used in signed.attestation.predicate.input_attestations}
    for made in signed.attestation.predicate.detail.packages:
        if made.result == "same" and not read & beside.get(made.name, set()):
            raise refusal(path, f"it does not say from which provenance {made.name} was made")

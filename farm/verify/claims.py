"""What a publication claims of its packages, one claim held against another.

Signed metadata, snapshot.json, the package itself, the statement of its build, the lock and the
source package all name each other. Pure: files and signatures are looked at elsewhere. Whatever
disagrees is Refused, each kind in words of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from farm.errors import Refused, Unverifiable
from farm.gpg import Signature
from farm.model import Lock, Manifest, Nevra, SignedPackage, Snapshot
from farm.model.envelope import Envelope
from farm.model.provenance import Resource, Statement
from farm.rpmheader import Identity
from farm.verify.foreign import is_digest, shown

_MOST_SIGNATURES = 16  # of one envelope: each is a run of gpg
_NAMED = 5  # of a list, in a message

Judge = Callable[[bytes, bytes], Signature]  # content, signature


@dataclass(frozen=True)
class Listed:
    """A package file as the signed metadata of a repository names it; `size` in bytes."""

    repository: str  # "x86_64", "x86_64/debug", "source"
    location: str  # below the repository
    nevra: Nevra
    sha256: str
    size: int

    @property
    def path(self) -> str:
        """Its place below the snapshot."""
        return f"{self.repository}/{self.location}"

    @property
    def name(self) -> str:
        return self.nevra.filename


def check_table(listed: Listed, table: Mapping[Nevra, SignedPackage]) -> SignedPackage:
    """What snapshot.json (`table`, by NEVRA) says of a file. Raises Refused when it disagrees."""
    entry = table.get(listed.nevra)
    if entry is None:
        raise Refused(
            f"{listed.path} is not in snapshot.json",
            why="The signed metadata of its repository name it, the snapshot does not.",
            hint="snapshot.json was changed, or belongs to another state.",
        )
    if (entry.sha256, entry.size) != (listed.sha256, listed.size):
        raise Refused(
            f"snapshot.json names other bytes for {listed.path} than the signed metadata",
            why=f"snapshot.json: {entry.sha256}, {entry.size} bytes\n"
            f"the metadata:  {listed.sha256}, {listed.size} bytes",
            hint="snapshot.json was changed, or a repository of another state lies beside it.",
        )
    return entry


def forgotten(snapshot: Snapshot, listed: Iterable[Listed]) -> tuple[SignedPackage, ...]:
    """Packages of snapshot.json that no repository's signed metadata name."""
    named = {each.nevra for each in listed}
    return tuple(p for p in snapshot.packages if p.package.nevra not in named)


def check_named(paths: Iterable[str], listed: Iterable[Listed]) -> None:
    """Every package in the signed list of files (`paths`) is one that some repository's metadata
    name: what snapshot.json keeps silent about would never be looked at. Raises Refused."""
    named = {each.path for each in listed}
    unnamed = sorted(path for path in paths if path.endswith(".rpm") and path not in named)
    if unnamed:
        more = f" (and {len(unnamed) - 1} more)" if len(unnamed) > 1 else ""
        raise Refused(
            f"{unnamed[0]}{more} is in the signed list of the snapshot's files, but nothing else "
            "tells of it",
            why="No repository that snapshot.json has names it:\n"
            + "\n".join(shown(path) for path in unnamed[:_NAMED]),
            hint="A snapshot holds what its metadata name and nothing more: tell the maintainers.",
        )


def other_bytes(listed: Listed, found: Nevra | None, sha256: str, refusal: str) -> Refused:
    """A file that is not the one that the signed metadata name, told by what it is instead.

    `found` is who the file says it is (None: it is no package), `refusal` why rpm does not
    accept its signature ("" when it does).
    """
    told = f"signed metadata: sha256 {listed.sha256}\n       the file: sha256 {sha256}"
    if found is None or refusal:
        return Refused(
            f"{listed.path} was changed after it was signed",
            why=f"{told}\n{refusal}".rstrip(),
            hint="Do not install it. Another mirror may have it whole; tell the maintainers.",
        )
    if found == listed.nevra:
        return Refused(
            f"{listed.path} is another build of {found} than this snapshot's",
            why=f"It is signed with the repository's key.\n{told}",
            hint="Two builds never share a name: tell the maintainers.",
        )
    if (found.name, found.arch) == (listed.nevra.name, listed.nevra.arch):
        return Refused(
            f"{listed.path} holds another version of {found.name}: {found.evr}",
            why="It is signed with the repository's key, but this snapshot's is "
            f"{listed.nevra.evr}.\n{told}",
            hint="Somebody put an earlier release back, with whatever was wrong with it.",
        )
    return Refused(
        f"{listed.path} is another package under this name: {shown(found)}",
        why=f"It is signed with the repository's key.\n{told}",
        hint="Somebody swapped the two: do not install it, and tell the maintainers.",
    )


def check_header(listed: Listed, found: Nevra) -> None:
    """The metadata may call a package by another name than its own. Raises Refused."""
    if found != listed.nevra:
        raise Refused(
            f"{listed.path} calls itself {shown(found)}",
            why=f"The signed metadata call the same file {listed.nevra}.",
            hint="Metadata and package contradict each other: tell the maintainers.",
        )


def check_envelope(envelope: Envelope, judge: Judge, known: frozenset[str], name: str) -> str:
    """Fingerprint of the repository's key that signed the statement. Raises Refused.

    `known` are the fingerprints of the repository's keys.
    """
    content = envelope.signed_bytes
    reasons: list[Refused] = []
    for signature in envelope.signatures[:_MOST_SIGNATURES]:
        found = judge(content, signature.binary)
        if not found.fault and signature.keyid == found.signer:
            return found.signer
        reasons.append(_not_signed(found, signature.keyid, known, name))
    if not reasons:
        raise Refused(
            f"{name}: its provenance is not signed",
            hint="Whoever can write to the mirror can have written it.",
        )
    raise reasons[0]


def _not_signed(found: Signature, keyid: str, known: frozenset[str], name: str) -> Refused:
    if not found.fault:
        return Refused(
            f"{name}: its provenance names somebody else as its signer",
            why=f"It names {shown(keyid)}, but the key that signed it is {found.signer}.",
            hint="The envelope was changed after it was signed.",
        )
    if found.fault in ("expired", "revoked"):
        return Refused(
            f"{name}: the key that signed its provenance "
            + ("has expired" if found.fault == "expired" else "was revoked"),
            why=f"{found.signer}: {shown(found.why)}",
            hint="Get the maintainers' present key, and name it with --key.",
        )
    if found.fault == "other bytes" or keyid in known:
        return Refused(
            f"{name}: its provenance was changed after it was signed",
            why=f"The signature in it by {shown(keyid)} is not one over this statement: "
            f"{shown(found.why)}",
            hint="Nothing that it says can be believed; tell the maintainers.",
        )
    return Refused(
        f"{name}: its provenance is signed with another key than the repository's",
        why=f"signed by {shown(found.signer or keyid)}\n"
        f"the repository's: {', '.join(sorted(known))}",
        hint="If that key is the maintainers' as well, have it in the file that --key names.",
    )


def subject_of(statement: Statement, listed: Listed, unsigned: str, identity: Identity) -> Resource:
    """What a statement says of a package, found to be true of the file. Raises Refused.

    `unsigned` is the package's sha256 before signing as snapshot.json has it, `identity` that
    of the file.
    """
    found = [subject for subject in statement.subject if subject.name == listed.name]
    if len(found) != 1:
        others = ", ".join(shown(s.name) for s in statement.subject[:_NAMED])
        raise Refused(
            f"{listed.path}: the provenance beside it is of another package",
            why=f"It speaks of {others or 'no package at all'}.",
            hint="Somebody put it there, or mixed up the files.",
        )
    subject = found[0]
    if subject.digest.get("sha256") != listed.sha256:
        raise Refused(
            f"{listed.path}: the provenance beside it is of another file of that name",
            why=f"provenance: sha256 {shown(subject.digest.get('sha256'))}\n"
            f"  the file: sha256 {listed.sha256}",
            hint="It is of an earlier publication, or of another one.",
        )
    told = subject.annotations
    if (told.get("header"), told.get("payload")) != (identity.header, identity.payload):
        raise Refused(
            f"{listed.path}: its header or payload is not what its provenance says",
            why=_identities(told, identity),
            hint="The statement contradicts itself: tell the maintainers.",
        )
    if told.get("unsigned") != unsigned:
        raise Refused(
            f"{listed.path}: provenance and snapshot.json disagree on what it was before signing",
            why=f"   provenance: {shown(told.get('unsigned'))}\nsnapshot.json: {unsigned}",
            hint="snapshot.json was changed, or belongs to another state.",
        )
    return subject


def _identities(told: Mapping[str, str], found: Identity) -> str:
    return "\n".join(
        f"{part}: {shown(told.get(part))} / {actual}"
        for part, actual in (("header", found.header), ("payload", found.payload))
    )


def check_definition(statement: Statement, release: str, listed: Listed) -> None:
    """The statement's parts are about one and the same build, and one that can have made the
    file. Raises Refused."""
    name = listed.path
    definition = statement.predicate.build_definition
    external, internal = definition.external_parameters, definition.internal_parameters
    chroot = internal.chroot
    if (external.release, external.arch) != (chroot.release, chroot.arch):
        raise Refused(
            f"{name}: its provenance contradicts itself",
            why=f"It is said to be for {shown(external.release)} on {shown(external.arch)}, "
            f"but its chroot is {shown(chroot.release)} on {shown(chroot.arch)}.",
        )
    if external.release != release:
        raise Refused(
            f"{name}: its provenance is of another release",
            why=f"It is of {shown(external.release)}, published in {release}.",
        )
    arch = listed.repository.partition("/")[0]
    if listed.nevra.arch not in ("noarch", "src") and external.arch != arch:
        raise Refused(
            f"{name}: its provenance is of a build on another architecture",
            why=f"It is of {shown(external.arch)}, the package is for {arch}.",
            hint="Somebody put it there, or mixed up the files.",
        )


def lock_digest(statement: Statement, name: str) -> str:
    """sha256 of the published lock file. Raises Refused when it is named in no way of farm's."""
    lock = statement.predicate.build_definition.internal_parameters.lock
    sha256 = lock.digest.get("sha256", "")
    if not is_digest(sha256) or lock.uri != lock_place(sha256):
        raise Refused(
            f"{name}: its provenance does not say where the lock of its build root is",
            why=f"It names {shown(lock.uri)!r}.",
        )
    return sha256


def lock_place(sha256: str) -> str:
    """Where a lock is below the publication root."""
    return f"locks/{sha256[:2]}/{sha256[2:]}.json"


def check_lock(statement: Statement, lock: Lock, name: str) -> None:
    """The lock has the packages that the statement says the build root had. Raises Refused."""
    missing, added = lock_differences(statement, lock)
    if missing or added:
        raise Refused(
            f"{name}: lock and provenance disagree on the packages of its build root",
            why="\n".join(
                [f"not in the lock: {each}" for each in missing[:_NAMED]]
                + [f"only in the lock: {each}" for each in added[:_NAMED]]
            ),
            hint="It cannot be built again from this; tell the maintainers.",
        )
    internal = statement.predicate.build_definition.internal_parameters
    manifest = Manifest(
        internal.recipe, lock.digest, internal.chroot.digest, internal.recipe_number
    )
    if manifest.key != internal.key:
        raise Refused(
            f"{name}: the key in its provenance is not that of its inputs",
            why=f"{shown(internal.key)}, not {manifest.key}",
            hint="The statement contradicts itself: tell the maintainers.",
        )


def changed_lock(statement: Statement, sha256: str, lock: Lock | None, name: str) -> Refused:
    """A lock file with other bytes than the provenance says; `lock` is what is in it, if it is
    one."""
    expected = lock_digest(statement, name)
    told = f"provenance: sha256 {expected}\n  the file: sha256 {sha256}"
    missing, added = lock_differences(statement, lock) if lock is not None else ((), ())
    if missing or added:
        what = [f"leaves out {each}" for each in missing[:_NAMED]]
        what += [f"adds {each}" for each in added[:_NAMED]]
        return Refused(
            f"{name}: the lock of its build root was changed: it {what[0]}",
            why="\n".join([*(f"it {each}" for each in what), told]),
            hint="What was built with is in the provenance; the lock file is somebody else's work.",
        )
    return Refused(
        f"{name}: the lock of its build root has other bytes than its provenance says",
        why=told,
        hint="It was damaged or changed; another mirror may have it whole.",
    )


def lock_differences(statement: Statement, lock: Lock) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Packages of the statement that are not in the lock, and those that are only in it."""
    wanted = {
        (resource.name, resource.digest.get("sha256", ""))
        for resource in dependencies(statement, "package")
    }
    found = {(str(package.nevra), package.sha256) for package in lock.packages}
    return (
        tuple(f"{shown(name)} ({shown(sha256[:16])}…)" for name, sha256 in sorted(wanted - found)),
        tuple(f"{shown(name)} ({shown(sha256[:16])}…)" for name, sha256 in sorted(found - wanted)),
    )


def dependencies(statement: Statement, kind: str) -> tuple[Resource, ...]:
    """What went into a build, of one kind: `package`, `source`, `source-package`, `layer`."""
    resolved = statement.predicate.build_definition.resolved_dependencies
    return tuple(r for r in resolved if r.annotations.get("kind") == kind)


def source_package(statement: Statement, name: str) -> Resource:
    """The source package that was built. Raises Unverifiable when the statement names none."""
    found = dependencies(statement, "source-package")
    if len(found) != 1:
        raise Unverifiable(
            f"{name}: its provenance names no source package",
            why="The published one stayed from an earlier build.",
            hint="The packages of the next change will have one.",
        )
    return found[0]


def check_source(resource: Resource, listed: Listed, identity: Identity, name: str) -> None:
    """The published source package is the one that was built. Raises Refused."""
    told = resource.annotations
    if (told.get("header"), told.get("payload")) != (identity.header, identity.payload):
        raise Refused(
            f"{name}: {listed.name} is not the source package that it was built from",
            why=_identities(told, identity),
            hint="The published one is signed, but its provenance names another.",
        )


def check_recipe(statement: Statement, package: str, spec: str, name: str) -> None:
    """The source package is of the package, and has the spec, that the statement says were
    built. Raises Refused."""
    definition = statement.predicate.build_definition
    recipe = definition.external_parameters.package
    # a recipe is called as its directory is; a Name with macros in it may be another
    if recipe not in (package, spec.removesuffix(".spec")):
        raise _other_recipe(name, f"package {shown(recipe)}", package)
    if definition.internal_parameters.spec != spec:
        raise _other_recipe(name, f"spec {shown(definition.internal_parameters.spec)}", spec)


def _other_recipe(name: str, told: str, found: str) -> Refused:
    return Refused(
        f"{name}: its provenance speaks of the {told}",
        why=f"The source package that it was built from has {shown(found)}.",
        hint="The source package and the statement contradict each other.",
    )


def check_inputs(statement: Statement, files: Iterable[tuple[str, str]], name: str) -> None:
    """The source package holds nothing but what the statement says was built. Raises Refused.

    `files` are (name, sha256) of what is in it. What a recipe has beside its sources is not.
    """
    known = {
        resource.name.rpartition("/")[2]: resource.digest.get("sha256", "")
        for resource in dependencies(statement, "source")
    }
    for file, sha256 in files:
        if known.get(file) != sha256:
            told = f"provenance: {shown(known[file])}" if file in known else "provenance: no such"
            raise Refused(
                f"{name}: {shown(file)} in its source package is not what its provenance says",
                why=f"{told}\n  the file: {sha256}",
                hint="The source package and the statement contradict each other.",
            )

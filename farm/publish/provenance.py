"""A build, told as a statement for strangers: pure, the same build gives the same bytes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from farm.model import CORES, Lock, LockedPackage, Nevra, Package, Result, rfc3339, to_json
from farm.model.provenance import (
    BUILD_TYPE,
    PROVENANCE,
    STATEMENT,
    BuildDefinition,
    Builder,
    External,
    Internal,
    Metadata,
    Provenance,
    Resource,
    RunDetails,
    Statement,
    portable,
    portable_lock,
)
from farm.publish.builds import Build, digest
from farm.rpmheader import Identity

_SHA256 = re.compile(r"[0-9a-f]{64}")
_OF_THE_BUILDER = ("farm", "mock")  # what of a build's record is the builder's version


@dataclass(frozen=True)
class Subject:
    """A package as it is published: sha256 of that file, and what signing left as it was."""

    package: Package
    sha256: str
    identity: Identity


def statement(
    build: Build,
    subjects: Iterable[Subject],
    source: Subject | None,
    *,
    layer: str = "",
    published: bool = True,
) -> Statement:
    """How the subjects were made.

    `source` is the source package of the build, `layer` the public address of the layer's
    repository, `published` whether the build's record is. Its result has to have its chroot.
    """
    result = build.result
    return Statement(
        type=STATEMENT,
        subject=tuple(_subject(s) for s in sorted(subjects, key=lambda s: s.package.nevra)),
        predicate_type=PROVENANCE,
        predicate=Provenance(_definition(result, source, layer), _run(result, published)),
    )


def lock_file(lock: Lock) -> tuple[Resource, bytes]:
    """A lock as it is published: where, and its bytes."""
    content = to_json(portable_lock(lock))
    sha256 = hashlib.sha256(content).hexdigest()
    return Resource(uri=f"locks/{sha256[:2]}/{sha256[2:]}.json", digest={"sha256": sha256}), content


def purl(nevra: Nevra, release: str = "", *, layer: bool = False) -> str:
    """A package's name as a package URL.

    Packages of the base are in the namespace of their distribution; the layer's are nobody
    else's, so that no scanner takes them for the distribution's.

    >>> purl(Nevra("gcc-c++", 1, "4.9~rc1", "2", "x86_64"), "fedora-44")
    'pkg:rpm/fedora/gcc-c%2B%2B@4.9~rc1-2?arch=x86_64&distro=fedora-44&epoch=1'
    """
    vendor = re.sub(r"[^a-z].*", "", release.lower())
    space = "" if layer or not vendor else f"{vendor}/"
    qualifiers = {"arch": nevra.arch, "distro": release, "epoch": str(nevra.epoch or "")}
    told = "&".join(f"{key}={_plain(value)}" for key, value in qualifiers.items() if value)
    return f"pkg:rpm/{space}{_plain(nevra.name)}@{_plain(nevra.vr)}?{told}"


def _plain(text: str) -> str:
    return quote(text, safe=":")


def _subject(subject: Subject) -> Resource:
    return Resource(
        name=subject.package.nevra.filename,
        digest={"sha256": subject.sha256},
        annotations={"unsigned": subject.package.sha256, **_identity(subject)},
    )


def _identity(subject: Subject) -> Mapping[str, str]:
    return {"header": subject.identity.header, "payload": subject.identity.payload}


def _definition(result: Result, source: Subject | None, layer: str) -> BuildDefinition:
    assert result.chroot is not None
    chroot = portable(result.chroot)
    lock, _ = lock_file(result.lock)
    return BuildDefinition(
        build_type=BUILD_TYPE,
        external_parameters=External(
            package=result.step.partition("@")[0],
            release=chroot.release,
            arch=chroot.arch,
            commit=result.commit,
        ),
        internal_parameters=Internal(
            key=result.key,
            recipe_number=result.manifest.recipe_number,
            recipe=result.manifest.recipe,
            spec=result.spec,
            counter=result.counter,
            epoch_seconds=result.epoch_seconds,
            chroot=chroot,
            lock=lock,
            cores=result.built.cores,
        ),
        resolved_dependencies=tuple(_dependencies(result, chroot.release, source, layer)),
    )


def _dependencies(
    result: Result, release: str, source: Subject | None, layer: str
) -> Iterator[Resource]:
    if result.commit:
        yield Resource(
            uri=f"git+{layer}@{result.commit}" if layer else "",
            digest={"gitCommit": result.commit},
            annotations={"kind": "layer"},
        )
    if source is not None:
        yield Resource(
            name=source.package.nevra.filename,
            digest={"sha256": source.package.sha256},
            annotations={"kind": "source-package", **_identity(source)},
        )
    for name, sha256 in result.inputs:
        yield Resource(name=name, digest={"sha256": sha256}, annotations={"kind": "source"})
    for package in portable_lock(result.lock).packages:
        yield _locked(package, release)


def _locked(package: LockedPackage, release: str) -> Resource:
    return Resource(
        name=str(package.nevra),
        uri=purl(package.nevra, release, layer=package.of_layer),
        digest={"sha256": package.sha256},
        annotations={"kind": "package", "repository": package.repository},
    )


def _run(result: Result, published: bool) -> RunDetails:
    host = tuple(result.built.host)
    known = dict(host)
    record = digest(result)
    return RunDetails(
        builder=Builder(
            id=f"urn:farm:builder:{known.get('builder', 'embedded')}",
            version={name: known[name] for name in _OF_THE_BUILDER if name in known},
            builder_dependencies=tuple(
                _assistant(name, value)
                for name, value in host
                if name not in ("builder", CORES, *_OF_THE_BUILDER)
            ),
        ),
        metadata=Metadata(
            invocation_id=f"results/{record[:2]}/{record[2:]}.json"
            if published
            else f"urn:farm:result:{record}",
            started_on=rfc3339(result.finished - result.built.seconds),
            finished_on=rfc3339(result.finished),
        ),
    )


def _assistant(name: str, value: str) -> Resource:
    if _SHA256.fullmatch(value):
        return Resource(name=name, digest={"sha256": value})
    # in-toto wants an address or a digest of everything
    address = f"pkg:generic/{_plain(name)}@{_plain(value)}"
    return Resource(name=name, uri=address, annotations={"version": value})

"""What lies beside each package of a snapshot, made or taken from where it is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from farm import rpmheader
from farm.model import Package, digest_of, to_json
from farm.publish.builds import Behind, Build
from farm.publish.drafts import Beside
from farm.publish.envelopes import Envelopes, Unsigned
from farm.publish.keys import Key, KeyRing
from farm.publish.provenance import Subject, statement
from farm.publish.signing import SignedCopy
from farm.store import write_atomic

PROVENANCE = ".intoto.json"
MATERIALS = ".cdx.json"

_BILL_FORMAT = 1  # raised when the same package's bill of materials would be written otherwise
Report = Callable[[str], None]


def statements(
    behind: Behind,
    copies: Mapping[str, SignedCopy],
    layer: str,
    state: Path,
    ring: KeyRing,
    key: Key,
) -> tuple[Beside, int]:
    """The signed statement of each build for each of its packages; how many were signed now.

    `copies` has a signed copy for each unsigned sha256.
    """

    def subject(package: Package) -> Subject:
        copy = copies[package.sha256]
        return Subject(package, copy.signed.sha256, rpmheader.identity(copy.path))

    made: dict[str, Unsigned] = {}
    for build in behind.builds:
        source = subject(build.source) if build.source is not None else None
        told = statement(build, map(subject, build.packages), source, layer=layer)
        unsigned = Unsigned(to_json(told), int(build.result.finished))
        made |= {package.sha256: unsigned for package in build.packages}
    envelopes, fresh = Envelopes(state).add(made.values(), ring, key)
    return {
        sha256: {PROVENANCE: envelopes[unsigned.sha256]} for sha256, unsigned in made.items()
    }, fresh


def bills(
    behind: Behind,
    copies: Mapping[str, SignedCopy],
    release: str,
    state: Path,
    locate: Callable[[str], Path | None],
    report: Report,
) -> Beside:
    """The bill of materials of each signed copy, made or kept.

    `locate` finds a package of a build root by its sha256.
    """
    builds = {package.sha256: build for build in behind.builds for package in build.packages}
    sources = {
        copy.signed.package.nevra.filename: copy
        for copy in copies.values()
        if copy.signed.package.nevra.arch == "src"
    }
    library = version("cyclonedx-python-lib")
    paths: dict[str, Path] = {}
    missing: list[_Wanted] = []
    for sha256, copy in copies.items():
        rpm = rpmheader.read(copy.path)
        name = rpm.nevra.filename if rpm.is_source else rpm.header.text(rpmheader.SOURCERPM)
        source, build = sources.get(name), builds.get(sha256)
        named = (
            _BILL_FORMAT, library, release, copy.signed.sha256,
            build.record if build else "", source.signed.sha256 if source else "",
        )  # fmt: skip
        key = digest_of(named)
        paths[sha256] = state / "sbom" / key[:2] / f"{key[2:]}.json"
        if not paths[sha256].exists():
            missing.append(_Wanted(paths[sha256], copy, source, build, rpm.build_time))
    if missing:
        report(f"writing {len(missing)} bills of materials")
        _write(missing, release, locate)
    return {sha256: {MATERIALS: path} for sha256, path in paths.items()}


@dataclass(frozen=True)
class _Wanted:
    path: Path
    copy: SignedCopy
    source: SignedCopy | None
    build: Build | None
    built: int


def _write(missing: Iterable[_Wanted], release: str, locate: Callable[[str], Path | None]) -> None:
    from farm.publish.sbom import Bills, Material  # noqa: PLC0415 - the library takes its time

    made = Bills(release, locate)
    for wanted in missing:
        build, source = wanted.build, wanted.source
        material = Material(
            path=wanted.copy.path,
            sha256=wanted.copy.signed.sha256,
            source=source.path if source else None,
            source_sha256=source.signed.sha256 if source else "",
            root=build.result.lock.packages if build else (),
            record=build.record if build else "",
            at=int(build.result.finished) if build else wanted.built,
        )
        write_atomic(wanted.path, made.document(material), mode=0o444)


def joined(*some: Beside) -> Beside:
    """What lies beside each package, all together."""
    keys = dict.fromkeys(sha256 for each in some for sha256 in each)
    return {
        sha256: {ending: path for each in some for ending, path in each.get(sha256, {}).items()}
        for sha256 in keys
    }

"""What a package consists of, for those who look for it: a bill of materials as CycloneDX 1.6.

The same package, build and version of the library give the same bytes: serial number and date
are the build's. What the library makes of the packages of build roots is made once for each and
put into every document that names them.
"""

from __future__ import annotations

import datetime
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from farm import rpmheader
from farm.model import LockedPackage
from farm.publish.provenance import purl

_SUMMARY, _LICENSE, _URL = 1004, 1014, 1020
_REQUIRE_FLAGS, _REQUIRE_NAME, _REQUIRE_VERSION = 1048, 1049, 1050
_PROVIDE_NAME = 1047
_FILE_DIGESTS, _BASENAMES, _DIRNAMES, _DIRINDEXES = 1035, 1117, 1118, 1116
_LESS, _GREATER, _EQUAL = 2, 4, 8
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:farm:sbom:1")

Fragment = dict[str, Any]


@dataclass(frozen=True)
class Material:
    """A published package: its file, sha256 of that, its source package if that is published,
    the packages of its build root, the record of its build ("" and none where not known)."""

    path: Path
    sha256: str
    source: Path | None
    source_sha256: str
    root: tuple[LockedPackage, ...]
    record: str
    at: int  # seconds since 1970


class Bills:
    """Makes the documents of one release.

    `locate` finds the file of a locked package by its sha256, None when it is lost.
    """

    def __init__(self, release: str, locate: Callable[[str], Path | None]) -> None:
        self._release = release
        self._locate = locate
        self._fragments: dict[str, Fragment] = {}
        self._provided: dict[str, tuple[str, ...]] = {}

    def document(self, material: Material) -> bytes:
        """The bill of materials of one package, as JSON."""
        self._learn(material.root)
        rpm = rpmheader.read(material.path)
        wanted = tuple(_requirements(rpm.header))
        needed = self._needed({name for name, _ in wanted}, material.root)
        main = self._main(rpm, material, wanted)
        bom = Bom(
            components=_sources(material, self._release),
            serial_number=uuid.uuid5(_NAMESPACE, f"{material.sha256} {material.record}"),
            metadata=BomMetaData(
                component=main,
                timestamp=datetime.datetime.fromtimestamp(material.at, datetime.UTC),
            ),
        )
        written = _written(bom)
        root = [
            self._fragments[package.sha256]
            | {"scope": "required" if package.sha256 in needed else "excluded"}
            for package in material.root
        ]
        written["components"] = [*written.get("components", ()), *root]
        depends = {"ref": _reference(material.sha256), "dependsOn": sorted(map(_reference, needed))}
        written["dependencies"] = [
            depends if needed and item["ref"] == depends["ref"] else item
            for item in written["dependencies"]
        ] + [{"ref": fragment["bom-ref"]} for fragment in root]
        return msgspec.json.encode(written, order="deterministic")

    def _main(
        self, rpm: rpmheader.Rpm, material: Material, wanted: Sequence[tuple[str, str]]
    ) -> Component:
        header = rpm.header
        licence = header.text(_LICENSE)
        return Component(
            name=rpm.nevra.name,
            version=rpm.nevra.evr,
            type=ComponentType.APPLICATION,
            bom_ref=_reference(material.sha256),
            description=header.text(_SUMMARY) or None,
            purl=PackageURL.from_string(purl(rpm.nevra, self._release, layer=True)),
            hashes=_hashes(material.sha256),
            licenses=[LicenseFactory().make_from_string(licence)] if licence else (),
            properties=[
                *(Property(name="farm:requires", value=told) for _, told in wanted),
                *(
                    [Property(name="farm:url", value=header.text(_URL))]
                    if header.text(_URL)
                    else ()
                ),
                *([Property(name="farm:build", value=material.record)] if material.record else ()),
            ],
        )

    def _learn(self, packages: Iterable[LockedPackage]) -> None:
        """Have the library write what was not met before."""
        new = {p.sha256: p for p in packages if p.sha256 not in self._fragments}
        if not new:
            return
        bom = Bom(components=[self._component(package) for package in new.values()])
        self._fragments |= {
            fragment["bom-ref"].removeprefix("sha256:"): fragment
            for fragment in _written(bom)["components"]
        }

    def _component(self, package: LockedPackage) -> Component:
        own = package.of_layer
        return Component(
            name=package.nevra.name,
            version=package.nevra.evr,
            bom_ref=_reference(package.sha256),
            scope=ComponentScope.EXCLUDED,
            purl=PackageURL.from_string(purl(package.nevra, self._release, layer=own)),
            hashes=_hashes(package.sha256),
        )

    def _needed(self, wanted: set[str], root: Sequence[LockedPackage]) -> set[str]:
        """Of a build root the packages that have what is required at run time."""
        return {
            package.sha256 for package in root if not wanted.isdisjoint(self._provides(package))
        }

    def _provides(self, package: LockedPackage) -> tuple[str, ...]:
        if package.sha256 not in self._provided:
            path = self._locate(package.sha256)
            self._provided[package.sha256] = tuple(_provides(path)) if path else ()
        return self._provided[package.sha256]


def _written(bom: Bom) -> Fragment:
    with warnings.catch_warnings():
        # of dependencies that are missing: they are added to what it has written
        warnings.simplefilter("ignore", UserWarning)
        document: Fragment = msgspec.json.decode(JsonV1Dot6(bom).output_as_string())
    return document


def _sources(material: Material, release: str) -> Iterator[Component]:
    """The source package, and the files in it."""
    if material.source is None:
        return
    rpm = rpmheader.read(material.source)
    if material.source != material.path:
        yield Component(
            name=rpm.nevra.name,
            version=rpm.nevra.evr,
            bom_ref=_reference(material.source_sha256),
            purl=PackageURL.from_string(purl(rpm.nevra, release, layer=True)),
            hashes=_hashes(material.source_sha256),
            properties=[Property(name="farm:kind", value="source-package")],
        )
    names, digests = rpm.header.texts(_BASENAMES), rpm.header.texts(_FILE_DIGESTS)
    for name, digest in zip(names, digests, strict=False):
        yield Component(
            name=name,
            type=ComponentType.FILE,
            bom_ref=f"source:{name}",
            hashes=_hashes(digest) if len(digest) == 64 else (),
            properties=[Property(name="farm:kind", value="source")],
        )


def _requirements(header: rpmheader.Header) -> Iterator[tuple[str, str]]:
    """Name, and the whole requirement in words, of what is required when it is installed."""
    names, versions = header.texts(_REQUIRE_NAME), header.texts(_REQUIRE_VERSION)
    flags = header.numbers(_REQUIRE_FLAGS)
    found = {}
    for name, version, flag in zip(names, versions, flags, strict=False):
        if name.startswith("rpmlib("):
            continue
        sign = "".join(
            mark for bit, mark in ((_LESS, "<"), (_GREATER, ">"), (_EQUAL, "=")) if flag & bit
        )
        found[f"{name} {sign} {version}" if sign else name] = name
    for told, name in sorted(found.items()):
        yield name, told


def _provides(path: Path) -> Iterator[str]:
    """Capabilities, and files, since those are required as well."""
    header = rpmheader.read(path).header
    yield from header.texts(_PROVIDE_NAME)
    directories = header.texts(_DIRNAMES)
    for index, name in zip(header.numbers(_DIRINDEXES), header.texts(_BASENAMES), strict=False):
        if "bin/" in directories[index]:
            yield directories[index] + name


def _hashes(sha256: str) -> tuple[HashType, ...]:
    return (HashType(alg=HashAlgorithm.SHA_256, content=sha256),)


def _reference(sha256: str) -> str:
    return f"sha256:{sha256}"

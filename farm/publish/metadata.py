"""rpm-md of one repository: the same packages and date give the same bytes."""

from __future__ import annotations

import gzip
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import createrepo_c

from farm.errors import PublishError

_CHANGELOGS = 10


@dataclass(frozen=True)
class Entry:
    """A package of a repository: its file, its place relative to the repository, its sha256."""

    path: Path
    location: str
    sha256: str


def write_metadata(
    repository: Path, entries: Sequence[Entry], *, created: int, comps: str = ""
) -> Path:
    """Write `repodata/` below `repository` and return its repomd.xml.

    gzip, because every dnf and libsolv reads it. `created` (seconds since 1970) becomes the
    revision and every date in it. Raises PublishError for a file that is no
    package or not the expected one.
    """
    repodata = repository / "repodata"
    repodata.mkdir(parents=True)
    kinds: tuple[tuple[str, Any], ...] = (
        ("primary", createrepo_c.PrimaryXmlFile),
        ("filelists", createrepo_c.FilelistsXmlFile),
        ("other", createrepo_c.OtherXmlFile),
    )
    paths = {kind: repodata / f"{kind}.xml.gz" for kind, _ in kinds}
    files = [make(str(paths[kind]), createrepo_c.GZ_COMPRESSION) for kind, make in kinds]
    for file in files:
        file.set_num_of_pkgs(len(entries))
    for entry in sorted(entries, key=lambda entry: entry.location):
        package = _package(entry)
        for file in files:
            file.add_pkg(package)
    for file in files:
        file.close()
    if comps:
        # Older clients read the plain file, newer ones the packed one.
        paths["group"] = repodata / "comps.xml"
        paths["group"].write_text(comps, "utf-8")
        paths["group_gz"] = repodata / "comps.xml.gz"
        paths["group_gz"].write_bytes(gzip.compress(comps.encode(), mtime=0))
    repomd = createrepo_c.Repomd()
    repomd.set_revision(str(created))
    for kind, path in paths.items():
        _add(repomd, kind, path, created)
    repomd.sort_records()
    target = repodata / "repomd.xml"
    target.write_text(repomd.xml_dump(), "utf-8")
    for path in repodata.iterdir():
        os.utime(path, (created, created))
    return target


def _package(entry: Entry) -> Any:
    try:
        package = createrepo_c.package_from_rpm(
            str(entry.path),
            checksum_type=createrepo_c.SHA256,
            location_href=entry.location,
            changelog_limit=_CHANGELOGS,
        )
    except createrepo_c.CreaterepoCError as error:
        raise PublishError(f"{entry.path.name} cannot be indexed", why=str(error)) from error
    if package.pkgId != entry.sha256:
        raise PublishError(
            f"{entry.path.name} has other bytes than were signed",
            why=f"signed sha256 {entry.sha256}\n   now sha256 {package.pkgId}",
            hint=f"Nothing was published. {entry.path} was changed on the disk: remove every "
            "name of it\n(`find DIRECTORY -samefile FILE -delete` in the publication and the "
            "state directory), and publish again:\nit is signed anew.",
        )
    package.time_file = package.time_build
    return package


def _add(repomd: Any, kind: str, path: Path, created: int) -> None:
    record = createrepo_c.RepomdRecord(kind, str(path))
    record.fill(createrepo_c.SHA256)
    record.timestamp = created
    record.rename_file()
    repomd.set_record(record)

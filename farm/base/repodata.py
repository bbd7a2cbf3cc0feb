"""rpm-md for a directory of packages; the same packages give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import createrepo_c as cr

from farm.base.check import Contents

_SUFFIX = ".gz"


def write(directory: Path, packages: Sequence[Path], timestamp: int) -> tuple[Contents, ...]:
    """Write `directory`/repodata for `packages` (below it); `timestamp` stands for all times.

    Returns what each of them provides and requires.
    """
    contained = []
    target = directory / "repodata"
    target.mkdir()
    names = ("primary", "filelists", "other")
    paths = {name: target / f"{name}.xml{_SUFFIX}" for name in names}
    contents = {name: cr.ContentStat(cr.SHA256) for name in names}
    files = (
        cr.PrimaryXmlFile(str(paths["primary"]), cr.GZ_COMPRESSION, contents["primary"]),
        cr.FilelistsXmlFile(str(paths["filelists"]), cr.GZ_COMPRESSION, contents["filelists"]),
        cr.OtherXmlFile(str(paths["other"]), cr.GZ_COMPRESSION, contents["other"]),
    )
    for file in files:
        file.set_num_of_pkgs(len(packages))
    for path in sorted(packages):
        package = cr.package_from_rpm(str(path), location_href=str(path.relative_to(directory)))
        package.time_file = timestamp
        contained.append(_contents(package))
        for file in files:
            file.add_pkg(package)
    for file in files:
        file.close()
    repomd = cr.Repomd()
    repomd.set_revision(str(timestamp))
    for name in names:
        record = cr.RepomdRecord(name, str(paths[name]))
        record.load_contentstat(contents[name])
        record.fill(cr.SHA256)
        record.timestamp = timestamp
        record.rename_file()
        repomd.set_record(record)
    (target / "repomd.xml").write_text(repomd.xml_dump(), "utf-8")
    return tuple(contained)


def _contents(package: Any) -> Contents:
    files = (directory + name for _, directory, name, *_ in package.files)
    return Contents(
        package.name,
        frozenset((*(entry[0] for entry in package.provides), *files)),
        frozenset(entry[0] for entry in package.requires),
    )

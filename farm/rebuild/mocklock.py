"""A lock as a repository for mock, and what was installed from it compared with the lock."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import createrepo_c

from farm.errors import StateError
from farm.model import Lock, Nevra
from farm.rpmheader import read
from farm.store import Store

_SHA256HEADER = 273


def write_repository(lock: Lock, store: Store, directory: Path) -> None:
    """A repository of exactly the lock's packages, each verified while it is indexed.

    The packages stay in the store; the repository has links to them.
    """
    repodata, packages = directory / "repodata", directory / "Packages"
    repodata.mkdir(parents=True)
    packages.mkdir()
    kinds = (
        ("primary", createrepo_c.PrimaryXmlFile),
        ("filelists", createrepo_c.FilelistsXmlFile),
        ("other", createrepo_c.OtherXmlFile),
    )
    paths = {kind: repodata / f"{kind}.xml.gz" for kind, _ in kinds}
    files = [make(str(paths[kind]), createrepo_c.GZ_COMPRESSION) for kind, make in kinds]
    for file in files:
        file.set_num_of_pkgs(len(lock.packages))
    for locked in lock.packages:
        stored = store.get(locked.sha256).absolute()
        link = packages / f"{locked.nevra}.rpm"
        link.symlink_to(stored)
        package = createrepo_c.package_from_rpm(
            str(link), checksum_type=createrepo_c.SHA256, location_href=f"Packages/{link.name}"
        )
        if package.pkgId != locked.sha256:
            raise StateError(
                f"{locked.nevra} in the store has other bytes than the lock says",
                why=f"expected sha256 {locked.sha256}\n     got sha256 {package.pkgId}",
                hint=f"Delete {stored} and run the build again: it is fetched anew.",
            )
        for file in files:
            file.add_pkg(package)
    for file in files:
        file.close()
    repomd = createrepo_c.Repomd()
    for kind, path in paths.items():
        record = createrepo_c.RepomdRecord(kind, str(path))
        record.fill(createrepo_c.SHA256)
        repomd.set_record(record)
    (repodata / "repomd.xml").write_text(repomd.xml_dump(), "utf-8")


def compared(lock: Lock, installed: Iterable[str], store: Store) -> tuple[str, ...]:
    """Every difference between a lock and what rpm says is installed, one line each."""
    found: dict[Nevra, str] = {}
    for line in installed:
        name, epoch, version, release, arch, digest = line.split(" ")
        if name != "gpg-pubkey":
            found[Nevra(name, int(epoch), version, release, arch)] = digest
    wanted = {package.nevra: package for package in lock.packages}
    lines = [f"{nevra} is in the lock but not installed" for nevra in wanted.keys() - found]
    lines += [f"{nevra} is installed but not in the lock" for nevra in found.keys() - wanted]
    for nevra in wanted.keys() & found:
        header = read(store.get(wanted[nevra].sha256)).signature.text(_SHA256HEADER)
        if header != found[nevra].replace("(none)", ""):
            lines.append(f"{nevra} is installed with another header than the lock's package has")
    return tuple(sorted(lines))

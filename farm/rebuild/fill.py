"""Installs the packages of a lock into a layer, inside the sandbox and offline.

Scriptlets of packages are foreign code: they run as the root of a user namespace that sees the
new root, the package files and the host's programs, the last two read-only.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from farm.errors import MachineError, StateError
from farm.model import Chroot, LockedPackage, Nevra
from farm.rebuild.attempts import ROOT_LOG
from farm.rpmheader import read
from farm.sandbox import Bind, Emulator, Overlay, host_tool
from farm.store import Store

_SHA256HEADER = 273
_CHUNK = 1 << 20
_MARK = "@farm@"

# The host's rpm has plug-ins, a database of its own and, on Debian, one in the home directory.
# /proc and /dev are mounted, so the packages' own directories of that name are left alone.
_RPM = (
    "rpm", "--root", "/r", "--noplugins", "--nosignature", "--nodigest",
    "--define", "_pkgverify_level none", "--define", "_netsharedpath /proc:/dev",
    "--define", "_install_script_path /usr/bin:/usr/sbin",
)  # fmt: skip
_QUERY = r"%{NAME} %{EPOCHNUM} %{VERSION} %{RELEASE} %{ARCH} %{SHA256HEADER}\n"
_DEFAULT_DATABASE = "/var/lib/rpm"

# mock's user, group and directories: their names are in source packages, the path in build ids.
BUILD_DIRECTORIES = ("BUILD", "BUILDROOT", "RPMS", "SOURCES", "SPECS", "SRPMS", "originals")
GROUP = "mock"
UID, GID = 1000, 135


class LockRefused(MachineError):
    """rpm does not install what a lock says: the lock is wrong, or a package is damaged."""


@dataclass(frozen=True)
class Filled:
    """What a filled root says of itself."""

    database: str
    rpm: str  # version of the host's rpm


def stage_packages(packages: Sequence[LockedPackage], store: Store, directory: Path) -> None:
    """Copy packages out of the store, checking each against the lock on the way.

    Raises StateError for a package that is missing or has other bytes.
    """
    made(directory)
    for number, package in enumerate(packages):
        digest = hashlib.sha256()
        source = store.get(package.sha256)
        target = directory / f"{number:04}.rpm"
        with source.open("rb") as reader, target.open("wb") as writer:
            while chunk := reader.read(_CHUNK):
                digest.update(chunk)
                writer.write(chunk)
        if digest.hexdigest() != package.sha256:
            raise StateError(
                f"{package.nevra} in the store has other bytes than the lock says",
                why=f"expected sha256 {package.sha256}\n     got sha256 {digest.hexdigest()}",
                hint=f"Delete {source} and run the build again: it is fetched anew.",
            )
        target.chmod(0o644)


def install(
    target: Path | Overlay,
    packages: Path,
    chroot: Chroot,
    *,
    database: str,
    emulator: Emulator | None,
    files: Path | None = None,
) -> Filled:
    """Install the files of `packages` into `target`, whose rpm database is at `database`.

    Given the chroot's own `files` (see `lay_out`), the target is empty: it gets those, the
    build user and the chroot's directories as well, and the database where its rpm looks.
    Raises LockRefused with rpm's own words.
    """
    lines = ["set -eu", "umask 022"]
    lines += _install_lines(database or _DEFAULT_DATABASE)
    if files is not None:
        lines += _set_up_lines(chroot)
    lines += [f"echo {_MARK}; rpm --version"]
    if files is not None:
        lines += _database_lines()
    binds = [Bind(target, "/r", writable=True), Bind(packages, "/p")]
    binds += [Bind(files, "/f")] if files is not None else []
    done = host_tool(
        ["sh", "-c", "\n".join(lines)],
        binds=tuple(binds),
        emulator=emulator,
        system=("/", "/r"),
        check=False,
    )
    if not done.ok and "No space left on device" in done.stderr:
        raise MachineError(
            f"there is no room for the build root of {chroot.name}",
            why="No space left on device",
            hint="Free some (`farm doctor` says where), or set paths.roots in farm.toml.",
        )
    if not done.ok:
        raise LockRefused(
            f"the build root of {chroot.name} cannot be filled with what the lock says",
            why="\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-20:]),
            hint="If packages conflict or lack something, the lock is wrong: please report it.",
        )
    said = done.stdout.rpartition(_MARK)[2].strip().splitlines()
    found = said[1] if len(said) > 1 else database or _DEFAULT_DATABASE
    return Filled(found, said[0].removeprefix("RPM version ") if said else "")


def check_installed(
    target: Path | Overlay,
    lock: Sequence[LockedPackage],
    staged: Sequence[LockedPackage],
    packages: Path,
    database: str,
) -> None:
    """Compare what is installed with the lock, name by name, and of the packages just installed
    (`staged`, files in `packages`) the header's digest too.

    The list that rpm gave, with the digests, is left beside `packages` as `root.log`. Raises
    LockRefused naming every difference.
    """
    query = [*_RPM, "--dbpath", database, "-qa", "--qf", _QUERY]
    done = host_tool(query, binds=(Bind(target, "/r", writable=True),))
    found: dict[Nevra, str] = {}
    for line in done.stdout.splitlines():
        name, epoch, version, release, arch, digest = line.split(" ")
        if name != "gpg-pubkey":
            found[Nevra(name, int(epoch), version, release, arch)] = digest
    wanted = {package.nevra for package in lock}
    differences = [f"{nevra} is in the lock but not installed" for nevra in wanted - set(found)]
    differences += [f"{nevra} is installed but not in the lock" for nevra in set(found) - wanted]
    for number, package in enumerate(staged):
        digest = read(packages / f"{number:04}.rpm").signature.text(_SHA256HEADER)
        if digest and found.get(package.nevra, digest) != digest:
            differences.append(f"{package.nevra} is installed with another header than its file's")
    if differences:
        raise LockRefused(
            "the build root does not hold what the lock says",
            why="\n".join(sorted(differences)[:20]),
        )
    listed = [f"{nevra} {found[nevra]}" for nevra in sorted(found)]
    told = f"installed by rpm, and as the lock says: {len(found)} packages, header digests"
    (packages.parent / ROOT_LOG).write_text("\n".join([told, *listed]) + "\n", "utf-8")


def lay_out(chroot: Chroot, directory: Path) -> None:
    """Write the chroot's own files below `directory`, from where they are copied in."""
    made(directory)
    for name, content in chroot.files:
        path = directory / name
        for parent in reversed(path.relative_to(directory).parents):
            made(directory / parent)
        path.write_text(content, "utf-8")
        path.chmod(0o644)


def made(path: Path) -> Path:
    """A directory that the sandbox may read, whatever our umask."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o755)
    return path


def _install_lines(database: str) -> list[str]:
    words = [*_RPM, "--dbpath", database, "--ignorearch", "--ignoreos", "-i"]
    return [f"{shlex.join(words)} /p/*.rpm"]


def _set_up_lines(chroot: Chroot) -> list[str]:
    user = chroot.unprivileged_user
    lines = [
        "touch /r/etc/passwd /r/etc/group",
        f"grep -q '^{GROUP}:' /r/etc/group || echo {GROUP}:x:{GID}: >>/r/etc/group",
        f"grep -q {shlex.quote(f'^{user}:')} /r/etc/passwd || "
        f"echo {shlex.quote(f'{user}:x:{UID}:{GID}::/builddir:/bin/bash')} >>/r/etc/passwd",
        "mkdir -p " + " ".join(f"/r/builddir/build/{name}" for name in BUILD_DIRECTORIES),
        f"chown -R {UID}:{GID} /r/builddir",
        "chmod -R u=rwX,go=rX /r/builddir",
    ]
    for directory in chroot.directories:
        lines.append(f"mkdir -p {shlex.quote('/r/' + directory.lstrip('/'))}")
    for name, _ in chroot.files:
        target = f"/r/{name}"
        lines.append(f"mkdir -p {shlex.quote(str(Path(target).parent))}")
        lines.append(f"cat {shlex.quote('/f/' + name)} >{shlex.quote(target)}")
    return lines


def _database_lines() -> list[str]:
    """Move the database to where the root's own rpm looks for it, and say where that is."""
    return [
        "at=$(chroot /r /usr/bin/rpm -E '%{_dbpath}' 2>/dev/null || :)",
        f'case "$at" in /*) ;; *) at={_DEFAULT_DATABASE};; esac',
        f'if [ "$at" != {_DEFAULT_DATABASE} ] && '
        f'[ "$(readlink -f /r{_DEFAULT_DATABASE})" != "$(readlink -f "/r$at")" ]; then '
        f'mkdir -p "/r$at"; mv /r{_DEFAULT_DATABASE}/* "/r$at/"; fi',
        'echo "$at"',
    ]

"""Acting as a site: dnf installs from the mirror into an empty root, every signature checked.

dnf is the host's, run as the sandbox's root with the network; what it installed is then run in
that root without it, as an ordinary user. Nothing of the host's own rpm database, keys or
repositories takes part.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from farm.errors import MachineError, UsageError
from farm.model import Chroot, Repository
from farm.run import Completed
from farm.sandbox import (
    ROOT,
    Bind,
    Emulator,
    Sandbox,
    User,
    execute,
    host_tool,
    own,
    remove,
)
from farm.site.dnf import base_section, explain

_INSIDE = "/trial"
_VISITOR = User(1000, 1000)
_DATABASE = "/var/lib/rpm"


@dataclass(frozen=True)
class Trial:
    """What a site got. `code` and `output` are the command's; `seconds` is dnf's time."""

    arch: str
    installed: tuple[str, ...]  # name-epoch:version-release.arch of everything in the root
    seconds: float
    output: str = ""
    code: int = 0

    @property
    def ok(self) -> bool:
        return self.code == 0


def try_out(
    packages: Sequence[str],
    chroot: Chroot,
    repo_text: str,
    *,
    roots: Path,
    command: str = "",
    emulator: Emulator | None = None,
    keep: Path | None = None,
    timeout: float = 1800,
    on_phase: Callable[[str], None] = lambda phase: None,
) -> Trial:
    """Install `packages` as a site of the chroot's release and architecture would, run `command`.

    `repo_text` is the text of the site's `.repo` file for farm; the base repositories are the
    chroot's. `roots` is where the root is made, on tmpfs if possible; `keep` is a directory that
    is to become the root's home and stays. Groups are written `@name`.

    Raises PublishError when dnf refuses a signature or a checksum, SolveError when packages do
    not fit together, UsageError for a package that is nowhere, MachineError for the rest.
    """
    with _area(roots, keep) as area:
        for name in ("root", "home", "repos", "vars", "cache"):
            (area / name).mkdir()
            own(area / name)
        _configure(area, chroot, repo_text)
        on_phase("install")
        started = time.monotonic()
        _install(area, packages, chroot, emulator, timeout)
        seconds = time.monotonic() - started
        installed = _installed(area)
        if not command:
            return Trial(chroot.arch, installed, seconds)
        on_phase("run")
        done = _visit(area, command, emulator, timeout)
        return Trial(chroot.arch, installed, seconds, done.stdout + done.stderr, _exit_code(done))


@contextlib.contextmanager
def _area(roots: Path, keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
            raise UsageError(f"{keep} is not an empty directory")
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
        return
    roots.mkdir(parents=True, exist_ok=True)
    area = Path(tempfile.mkdtemp(prefix="trial-", dir=roots))
    area.chmod(0o711)
    try:
        yield area
    finally:
        remove(area)


def _configure(area: Path, chroot: Chroot, repo_text: str) -> None:
    # Debian's librpm keeps its database in the home directory, unless told so. Some package
    # owns /proc and /dev, which are mounted here.
    (area / "home" / ".rpmmacros").write_text("%_dbpath /var/lib/rpm\n%_netsharedpath /proc:/dev\n")
    (area / "repos" / "farm.repo").write_text(repo_text)
    local = _local(chroot.repositories)
    sections = [base_section(_moved(repository, local)) for repository in chroot.repositories]
    (area / "repos" / "base.repo").write_text("\n".join(sections))
    for repository in chroot.repositories:
        for name, value in repository.variables:
            (area / "vars" / name).write_text(f"{value}\n")
    (area / "dnf.conf").write_text(
        "[main]\n"
        "gpgcheck=1\n"
        "best=1\n"
        "install_weak_deps=1\n"
        "obsoletes=1\n"
        "plugins=0\n"
        f"reposdir={_INSIDE}/repos\n"
        f"varsdir={_INSIDE}/vars\n"
        f"cachedir={_INSIDE}/cache\n"
    )
    for path in (area / "home" / ".rpmmacros", *(area / "repos").iterdir(), area / "dnf.conf"):
        path.chmod(0o644)


def _install(
    area: Path,
    packages: Sequence[str],
    chroot: Chroot,
    emulator: Emulator | None,
    timeout: float,
) -> None:
    done = _host(
        area,
        [
            "dnf", "-y", "--config", f"{_INSIDE}/dnf.conf", "--installroot", f"{_INSIDE}/root",
            "--forcearch", chroot.arch, "--releasever", chroot.release.rsplit("-", 1)[-1],
            "install", *packages,
        ],
        binds=tuple(_local(chroot.repositories).values()),
        emulator=emulator,
        timeout=timeout,
    )  # fmt: skip
    if not done.ok:
        raise explain(f"{done.stdout}\n{done.stderr}", packages)


def _installed(area: Path) -> tuple[str, ...]:
    form = "%{NAME} %{EPOCHNUM} %{VERSION}-%{RELEASE}.%{ARCH}\\n"
    done = _host(area, ["rpm", "--root", f"{_INSIDE}/root", "-qa", "--qf", form])
    if not done.ok:
        raise MachineError("the installed packages cannot be listed", why=done.stderr.strip())
    rows = (line.split() for line in done.stdout.splitlines())
    return tuple(
        sorted(
            f"{name}-{rest}" if epoch == "0" else f"{name}-{epoch}:{rest}"
            for name, epoch, rest in rows
            if name != "gpg-pubkey"
        )
    )


def _visit(area: Path, command: str, emulator: Emulator | None, timeout: float) -> Completed:
    """Run a shell command in the root, as an ordinary user where the root can make one."""
    done = _host(area, ["sh", "-ec", _SETTLE], emulator=emulator)
    if not done.ok:
        raise MachineError("the installed root cannot be made ready", why=done.stderr.strip())
    able = (area / "root" / "usr" / "bin" / "setpriv").exists()
    sandbox = Sandbox(
        binds=(Bind(area / "root", "/", writable=True),),
        user=_VISITOR if able else ROOT,
        environment={"HOME": "/home/visitor", "USER": "visitor", "LOGNAME": "visitor"},
        directory="/home/visitor",
        emulator=emulator,
    )
    return execute(sandbox, ["/bin/sh", "-c", f"exec 2>&1\n{command}"], timeout=timeout).completed


# The package database goes where the root's own rpm looks for it, and somebody moves in.
_SETTLE = f"""
cd {_INSIDE}/root
at=$(chroot . /usr/bin/rpm -E '%{{_dbpath}}' 2>/dev/null || :)
case "$at" in /*) ;; *) at={_DATABASE};; esac
if [ "$(readlink -f .{_DATABASE})" != "$(readlink -f ".$at")" ]; then
  mkdir -p ".$at"; mv .{_DATABASE}/* ".$at/"
fi
mkdir -p tmp var/tmp etc home
chmod 1777 tmp var/tmp
install -d -o {_VISITOR.uid} -g {_VISITOR.gid} home/visitor
touch etc/passwd etc/group
grep -q '^[^:]*:[^:]*:{_VISITOR.uid}:' etc/passwd ||
  echo visitor:x:{_VISITOR.uid}:{_VISITOR.gid}:visitor:/home/visitor:/bin/sh >>etc/passwd
grep -q '^[^:]*:[^:]*:{_VISITOR.gid}:' etc/group || echo visitor:x:{_VISITOR.gid}: >>etc/group
"""


def _host(
    area: Path,
    argv: Sequence[str],
    *,
    binds: tuple[Bind, ...] = (),
    emulator: Emulator | None = None,
    timeout: float = 300,
) -> Completed:
    return host_tool(
        argv,
        binds=(Bind(area, _INSIDE, writable=True), *binds),
        network=True,
        environment={"HOME": f"{_INSIDE}/home"},
        emulator=emulator,
        system=("/", f"{_INSIDE}/root"),
        timeout=timeout,
        check=False,
    )


def _local(repositories: Sequence[Repository]) -> dict[str, Bind]:
    """Where a file:// address is to be found inside, whatever lies there of the sandbox's own."""
    addresses = [url for r in repositories for url in (*r.baseurl, *r.gpgkeys)]
    found: dict[str, Bind] = {}
    for url in dict.fromkeys(url for url in addresses if urlsplit(url).scheme == "file"):
        path = Path(unquote(urlsplit(url).path))
        if path.exists():
            found[url] = Bind(path, f"/base/{len(found)}")
    return found


def _moved(repository: Repository, local: Mapping[str, Bind]) -> Repository:
    def inside(url: str) -> str:
        return f"file://{local[url].target}" if url in local else url

    return msgspec.structs.replace(
        repository,
        baseurl=tuple(map(inside, repository.baseurl)),
        gpgkeys=tuple(map(inside, repository.gpgkeys)),
    )


def _exit_code(done: Completed) -> int:
    if done.reason:
        return 124
    return done.code if done.code >= 0 else 128 - done.code

"""BuildRequires that a spec finds out for itself (%generate_buildrequires).

They are known only once %prep has run in a root with what is required so far; what they bring
in may let the spec find out more. So whoever solves asks again with each new lock until nothing
new is said.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from farm.errors import LayerError
from farm.model import Chroot, Lock
from farm.rebuild.diagnosis import telling
from farm.rebuild.macros import SHELL, TOPDIR, rpmmacros
from farm.rebuild.roots import RootCache
from farm.rebuild.srpm import workspace
from farm.sandbox import BUILDER, Bind, Sandbox, execute
from farm.store import write_atomic

_MISSING = 11  # rpmbuild: there are BuildRequires that the root does not meet
_SECONDS = 1800


def dynamic_requires(
    package: str, srpm: Path, lock: Lock, chroot: Chroot, cache: RootCache, *, counter: int = 0
) -> tuple[str, ...]:
    """All BuildRequires that a source package has in the root of `lock`, static ones included.

    Raises LayerError with the telling lines when %prep or %generate_buildrequires fails, and
    what `RootCache.prepare` raises.
    """
    dist = f"{chroot.dist}.{counter}" if counter else chroot.dist
    mark = f"@farm {secrets.token_hex(8)}"
    script = "\n".join(
        [
            f"umask 022; rpm -i {TOPDIR}/originals/*.src.rpm >/tmp/log 2>&1 || exit 1",
            f"rpmbuild -br --target {chroot.arch} {TOPDIR}/SPECS/*.spec >>/tmp/log 2>&1",
            f"code=$?; cat /tmp/log; [ $code -eq 0 ] || [ $code -eq {_MISSING} ] || exit 1",
            f"echo '{mark}'; rpm -qp --requires {TOPDIR}/SRPMS/*.rpm 2>/dev/null",
        ]
    )
    with cache.prepare(lock, chroot) as root, workspace(cache) as work:
        write_atomic(work / "rpmmacros", rpmmacros(chroot, dist, 1))
        sandbox = Sandbox(
            binds=(
                Bind(root.overlay(), "/", writable=True),
                Bind(srpm, f"{TOPDIR}/originals/{package}.src.rpm"),
                Bind(work / "rpmmacros", "/builddir/.rpmmacros"),
            ),
            user=BUILDER,
            environment=dict(chroot.environment),
            directory=TOPDIR,
            emulator=root.emulator,
        )
        done = execute(sandbox, [*SHELL, script], timeout=_SECONDS).completed
    log, found, answer = done.stdout.partition(f"{mark}\n")
    if not done.ok or not found:
        raise LayerError(
            f"{package} cannot say what it needs to be built (%generate_buildrequires)",
            why="\n".join(telling((log + done.stderr).splitlines())),
        )
    wanted = (line.strip() for line in answer.splitlines())
    return tuple(dict.fromkeys(text for text in wanted if text and not text.startswith("rpmlib(")))

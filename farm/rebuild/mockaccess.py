"""Whether mock is installed, and whether this user may run it in a way that farm can trust."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shutil
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from farm.lazily import lazily
from farm.model import Chroot
from farm.run import environment

with lazily():
    from farm.rebuild import mockconfig

GROUP = "mock"
_HELPER = "consolehelper"
# Read by mock after the configuration that it was given, so they would change what is built.
_PERSONAL = (".mock/user.cfg", ".config/mock.cfg")


@dataclass(frozen=True)
class Access:
    """`program` is mock's path, "" when it is not installed; `problem` is why it cannot be used.

    mock gives up its privileges to an ordinary `user` (`uid`, `home`) of the group mock.
    """

    program: str = ""
    user: str = ""
    uid: int = 0
    gid: int = 0
    home: str = ""
    problem: str = ""
    remedy: str = ""

    @property
    def granted(self) -> bool:
        return bool(self.program) and not self.problem

    @property
    def environment(self) -> Mapping[str, str]:
        """How mock, started by root, is told who it acts for."""
        if os.getuid() != 0:
            return {}
        return {"SUDO_UID": str(self.uid), "SUDO_GID": str(self.gid), "SUDO_USER": self.user}


def access() -> Access:
    """What stands between farm and mock on this machine."""
    program = shutil.which("mock", path=environment()["PATH"])
    if program is None:
        return Access()
    try:
        group = grp.getgrnam(GROUP)
    except KeyError:
        return Access(
            program, problem="there is no group mock", remedy="As root: groupadd --system mock"
        )
    if os.getuid() == 0:
        return _for_root(program, group)
    return _for_user(program, group)


def available(chroots: Iterable[Chroot] = ()) -> bool:
    """Whether mock is installed, this user may run it, and it can build for all `chroots`."""
    return access().granted and all(mockconfig.runs_here(chroot) for chroot in chroots)


def _for_root(program: str, group: grp.struct_group) -> Access:
    """mock refuses plain root: it wants somebody to give its privileges up to."""
    sudo = os.environ.get("SUDO_UID", "")
    candidates = [pwd.getpwuid(int(sudo))] if sudo.isdigit() and _exists(int(sudo)) else []
    for name in sorted(group.gr_mem):
        with contextlib.suppress(KeyError):
            candidates.append(pwd.getpwnam(name))
    for entry in candidates:
        member = entry.pw_name in group.gr_mem or entry.pw_gid == group.gr_gid
        if entry.pw_uid != 0 and member:
            return _personal(_acting_for(program, entry, group))
    return Access(
        program,
        problem="mock does not run as plain root, and the group mock has no other member",
        remedy="As root: useradd --system --create-home --groups mock mockbuilder",
    )


def _for_user(program: str, group: grp.struct_group) -> Access:
    entry = pwd.getpwuid(os.getuid())
    found = _acting_for(program, entry, group)
    if group.gr_gid not in os.getgroups():
        return _but(
            found, f"{entry.pw_name} is not in the group mock",
            f"As root: usermod -a -G mock {entry.pw_name}; then log in again.",
        )  # fmt: skip
    launcher = Path(program).resolve()
    if launcher.name != _HELPER and not launcher.stat().st_mode & stat.S_ISUID:
        return _but(
            found, f"{program} cannot become root for an ordinary user",
            "Install mock as a package (it is started through consolehelper), or run farm as root.",
        )  # fmt: skip
    if not (_init_is_systemd() and shutil.which("systemd-nspawn", path=environment()["PATH"])):
        # its other way to isolate leaves builds on the network, and only root can help that
        return _but(
            found, "without systemd-nspawn mock would leave builds on the network",
            "Install systemd-container on a machine that systemd has started, or run farm as root.",
        )  # fmt: skip
    return _personal(found)


def _personal(found: Access) -> Access:
    for name in _PERSONAL:
        path = Path(found.home, name)
        with contextlib.suppress(OSError):
            if path.exists():
                return _but(
                    found, f"{path} would change what mock builds",
                    "Move it out of the way; farm gives mock all of its configuration.",
                )  # fmt: skip
    return found


def _acting_for(program: str, entry: pwd.struct_passwd, group: grp.struct_group) -> Access:
    return Access(program, entry.pw_name, entry.pw_uid, group.gr_gid, entry.pw_dir)


def _but(found: Access, problem: str, remedy: str) -> Access:
    return Access(
        found.program, found.user, found.uid, found.gid, found.home, problem, remedy
    )  # fmt: skip


def _exists(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _init_is_systemd() -> bool:
    with contextlib.suppress(OSError):
        return Path("/proc/1/comm").read_text("ascii").strip() == "systemd"
    return False

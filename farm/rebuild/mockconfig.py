"""The configuration with which mock does exactly one job: nothing of it is left to defaults.

Pure text. Chroot files have been rendered by mock's own rules already, so nothing in these
values is a template any more.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farm.model import Chroot, Job, Lock
from farm.rebuild.macros import macros, rpmmacros
from farm.sandbox.script import ENVIRONMENT

# Programs that run on a machine of the next column natively.
_NATIVE = {
    "i386": ("i386", "i486", "i586", "i686", "x86_64"),
    "i586": ("i586", "i686", "x86_64"),
    "i686": ("i686", "x86_64"),
}

_EMULATORS = Path("/proc/sys/fs/binfmt_misc")

# Required by mock; its loggers, all of them on the one stream that farm reads.
LOGGING = """\
[loggers]
keys: root,mockbuild,state,build

[handlers]
keys: told,warned

[formatters]
keys: detailed,unadorned,state

[formatter_detailed]
format: %(levelname)s %(filename)s:%(lineno)d:  %(message)s

[formatter_unadorned]
format: %(message)s

[formatter_state]
format: %(asctime)s - %(message)s

[handler_told]
class: StreamHandler
args: []
formatter: unadorned
level: INFO

[handler_warned]
class: StreamHandler
args: []
formatter: unadorned
level: WARNING

[logger_root]
level: NOTSET
handlers: told

[logger_mockbuild]
level: NOTSET
handlers:
qualname: mockbuild
propagate: 1

[logger_state]
level: NOTSET
handlers: told
qualname: mockbuild.Root.state
propagate: 0

[logger_build]
level: NOTSET
handlers: warned
qualname: mockbuild.Root.build
propagate: 0
"""


# For %generate_buildrequires mock builds with -ba, which puts the digest of a source package that
# is packed on the way, not the canonical one, into every binary package. It starts rpmbuild by
# the text of a shell command, so a function can stand in its place.
_RPMBUILD = (
    'rpmbuild() { if [ "$1" = -ba ]; then shift; set -- -bb "$@"; fi; command rpmbuild "$@"; }; '
    "rpmbuild"
)


@dataclass(frozen=True)
class Area:
    """The directory of one attempt with mock, and what is in it.

    mock may see it under another name than farm does: what it reads is written with its own.
    """

    path: Path

    @property
    def settings(self) -> Path:
        """mock's --configdir."""
        return self.path / "settings"

    @property
    def configuration(self) -> Path:
        return self.path / "job.cfg"

    @property
    def macros(self) -> Path:
        return self.path / "rpmmacros"

    @property
    def inputs(self) -> Path:
        return self.path / "in"

    @property
    def repository(self) -> Path:
        return self.path / "lock"

    @property
    def results(self) -> Path:
        return self.path / "results"

    @property
    def state(self) -> Path:
        """mock's basedir and caches."""
        return self.path / "mock"

    @property
    def root(self) -> Path:
        """The root that mock fills."""
        return self.state / "root" / "root"


def configuration(job: Job, area: Area, *, isolation: str, database: str) -> str:
    """The text of the chroot file for `job`.

    `isolation` is mock's own word. `database` is where the host's rpm keeps the database of a
    root that it fills: the root's own rpm is told, should it look elsewhere.
    """
    chroot = job.chroot
    options: dict[str, Any] = {
        "root": "root",
        "description": f"{job.step}, attempt {job.attempt}",
        "target_arch": chroot.arch,
        "legal_host_arches": _NATIVE.get(chroot.arch, (chroot.arch,)),
        "releasever": "1",  # of no use: there are no variables in the one address
        "basedir": str(area.state),
        "cache_topdir": str(area.state / "cache"),
        "resultdir": str(area.results),
        "chroot_setup_cmd": ["install", *names(job.lock)],
        "chroot_additional_packages": [],
        "package_manager": "dnf",
        "dnf_warning": False,  # it would wait for a key
        "dnf.conf": dnf_conf(area.repository),
        "dnf_vars": {},
        "update_before_build": False,
        "use_bootstrap": False,
        "use_bootstrap_image": False,
        "module_enable": [],
        "module_install": [],
        "module_setup_commands": [],
        "more_buildreqs": {},
        "environment": dict(ENVIRONMENT) | dict(chroot.environment),
        "macros": {f"%{name}": value for name, value in _insisted(job, database)},
        "files": dict(chroot.files),
        "extra_chroot_dirs": list(chroot.directories),
        "chrootuser": chroot.unprivileged_user,
        "ssl_copied_ca_trust_dirs": [],
        "isolation": isolation,
        "hostname": None if isolation == "nspawn" else "localhost",
        "rpmbuild_command": _RPMBUILD,
        "rpmbuild_networking": False,
        "use_host_resolv": False,
        "use_container_host_hostname": False,
        "rpmbuild_timeout": chroot.timeout or job.limits.time,
        "nosync": False,
        "post_install": False,
        "createrepo_on_rpms": False,
        "cleanup_on_success": False,
        "cleanup_on_failure": False,
        "print_main_output": True,
        "log_config_file": "logging.ini",
    }
    lines = [f"# {job.step}, for this one attempt; made by farm."]
    lines += [f"config_opts[{name!r}] = {value!r}" for name, value in options.items()]
    # Whatever this mock has: caches, checks of the host, changes to the root.
    lines += [
        "for name in list(config_opts['plugin_conf']):",
        "    if name.endswith('_enable') and name != 'selinux_enable':",
        "        config_opts['plugin_conf'][name] = False",
    ]
    return "\n".join(lines) + "\n"


def macro_file(job: Job) -> str:
    """The build user's macros, to the letter those of the embedded builder."""
    return rpmmacros(job.chroot, job.dist, job.cpus)


def names(lock: Lock) -> list[str]:
    """The packages of a lock in the form in which dnf means exactly one by each."""
    found = []
    for package in lock.packages:
        nevra = package.nevra
        found.append(f"{nevra.name}-{nevra.epoch}:{nevra.vr}.{nevra.arch}")
    return found


def dnf_conf(repository: Path) -> str:
    """dnf's configuration: one repository, whose packages have been verified already."""
    return f"""\
[main]
keepcache=0
reposdir=/dev/null
logfile=/var/log/yum.log
debuglevel=1
color=never
obsoletes=1
gpgcheck=0
assumeyes=1
best=1
install_weak_deps=0
metadata_expire=-1
protected_packages=

[lock]
name=the lock of this job
baseurl={repository.as_uri()}
gpgcheck=0
repo_gpgcheck=0
skip_if_unavailable=0
module_hotfixes=1
"""


def _insisted(job: Job, database: str) -> list[tuple[str, str]]:
    """Macros that mock would set itself were they not here; they follow the macro file."""
    shared = dict(macros(job.chroot, job.dist, job.cpus))
    found = [(name, shared[name]) for name in ("_topdir", "_rpmfilename", "_buildhost")]
    found.append(("_platform_multiplier", shared.get("_platform_multiplier", "1")))
    return [*found, ("_dbpath", database)]


def runs_here(chroot: Chroot) -> bool:
    """Whether this machine runs the chroot's programs without more ado.

    The names of emulators are those that qemu-user-static's packages register.
    """
    if os.uname().machine in _NATIVE.get(chroot.arch, (chroot.arch,)):
        return True
    return (_EMULATORS / f"qemu-{chroot.arch}").exists()

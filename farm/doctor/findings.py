"""Facts of a machine → what it lacks and what to do about it; a pure function."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

from farm.doctor.cluster import of_cluster
from farm.doctor.facts import Emulation, Facts, Space
from farm.doctor.finding import Finding, Severity

_GIB = 1 << 30
_MIB = 1 << 20
_DAY = 86400


@dataclass(frozen=True)
class _Program:
    name: str
    use: str
    debian: str
    fedora: str
    least: tuple[int, ...] = ()
    severity: Severity = "missing"
    users_only: bool = False  # root does without


_PROGRAMS = (
    _Program("git", "reads the layer", "git", "git"),
    _Program("rpm", "fills build roots", "rpm", "rpm", (4, 16)),
    _Program("rpmkeys", "checks signatures", "rpm", "rpm"),
    _Program("rpmsign", "signs packages", "rpm", "rpm-sign"),
    _Program("gpg", "signs and checks", "gnupg", "gnupg2", (2, 2)),
    _Program("gpg-agent", "holds the signing key", "gpg-agent", "gnupg2"),
    # --clearenv came with 0.5
    _Program("bwrap", "isolates builds", "bubblewrap", "bubblewrap", (0, 5)),
    # --keep-caps came with 2.36
    _Program("unshare", "makes user namespaces", "util-linux", "util-linux", (2, 36)),
    _Program("setpriv", "drops privileges", "util-linux", "util-linux"),
    _Program("newuidmap", "maps ids", "uidmap", "shadow-utils", users_only=True),
    _Program("newgidmap", "maps ids", "uidmap", "shadow-utils", users_only=True),
    _Program("dnf", "acts as a site in `farm try`", "dnf", "dnf", severity="weak"),
)


def findings(facts: Facts) -> tuple[Finding, ...]:
    """Everything worth a line, in the order in which it is best repaired."""
    return (
        *_programs(facts),
        _kernel(facts),
        _ids(facts),
        _sandbox(facts),
        *(_emulation(each, facts) for each in facts.emulations),
        *(_space(each, facts) for each in facts.spaces),
        _memory(facts),
        _base(facts),
        _builders(facts),
        *of_cluster(facts.cluster, facts.package_manager),
        _variations(facts),
        _key(facts),
        _clock(facts),
    )


def _programs(facts: Facts) -> Iterator[Finding]:
    fine = []
    for program in _PROGRAMS:
        if program.users_only and facts.uid == 0:
            continue
        version = facts.programs.get(program.name)
        package = program.debian if facts.package_manager != "dnf" else program.fedora
        if version is None:
            yield Finding(
                program.name, program.severity, f"not installed; it {program.use}",
                _install(facts, package),
            )  # fmt: skip
        elif version and program.least and _numbers(version) < program.least:
            least = ".".join(map(str, program.least))
            yield Finding(
                program.name, program.severity, f"version {version} is too old; {least} is needed",
                _install(facts, package),
            )  # fmt: skip
        else:
            fine.append(f"{program.name} {version}".strip())
    if fine:
        yield Finding("programs", "ok", ", ".join(fine))


def _variations(facts: Facts) -> Finding:
    if facts.locale_sources:
        return Finding("verifying", "ok", "every variation of `farm verify` can be made")
    package = "locales" if facts.package_manager != "dnf" else "glibc-locale-source"
    return Finding(
        "verifying", "weak", "`farm verify` cannot vary the locale: its sources are missing",
        _install(facts, package),
    )  # fmt: skip


def _install(facts: Facts, package: str) -> str:
    command = {"apt": "apt-get install", "dnf": "dnf install"}.get(facts.package_manager)
    return f"As root: {command} {package}" if command else f"Install the package {package}."


def _kernel(facts: Facts) -> Finding:
    version = _numbers(facts.kernel)[:2]
    name = f"Linux {facts.kernel}"
    if version < (5, 11):
        return Finding(
            "kernel", "missing", f"{name} has no overlays in user namespaces",
            "Boot Linux 5.11 or later.",
        )  # fmt: skip
    less = []
    if not facts.shared_memory_overlays:
        less.append("build roots have to be on disk, which is slower (6.6 can keep them in memory)")
    if version < (6, 7):
        less.append("emulators have to be registered by root, not in the sandbox (6.7 can)")
    if less:
        return Finding("kernel", "weak", f"{name}: {'; '.join(less)}", "Boot Linux 6.7 or later.")
    return Finding("kernel", "ok", name)


def _ids(facts: Facts) -> Finding:
    if facts.uid == 0:
        return Finding("user ids", "ok", "root maps unused ids into its sandboxes")
    uids, gids = facts.subordinate
    if min(uids, gids) > 1000:
        return Finding("user ids", "ok", f"{facts.user} has {min(uids, gids)} subordinate ids")
    span = f"{facts.first_free_id}-{facts.first_free_id + 65535}"
    return Finding(
        "user ids", "missing",
        f"{facts.user} has {uids} subordinate uids and {gids} gids; a build root wants 65536",
        f"As root: usermod --add-subuids {span} --add-subgids {span} {facts.user}",
    )  # fmt: skip


def _sandbox(facts: Facts) -> Finding:
    if not facts.sandbox_problem:
        return Finding("sandbox", "ok", "user namespace, overlay and bubblewrap work")
    return Finding("sandbox", "missing", facts.sandbox_problem, _sandbox_remedy(facts))


def _sandbox_remedy(facts: Facts) -> str:
    """The likeliest cause first; what is missing by itself has its own finding."""
    set_it = "As root: sysctl -w {0}, and a line `{0}` in /etc/sysctl.d/farm.conf"
    lacking = [p for p in ("bwrap", "unshare", "setpriv") if p not in facts.programs]
    if facts.uid != 0:
        lacking += [p for p in ("newuidmap", "newgidmap") if p not in facts.programs]
    if lacking:
        return f"Install what is missing above ({', '.join(lacking)})."
    if facts.uid != 0 and min(facts.subordinate) <= 1000:
        return "Give this user subordinate ids, as above."
    if facts.sysctls.get("user.max_user_namespaces") == 0:
        return set_it.format("user.max_user_namespaces=15000")
    if facts.uid != 0 and facts.sysctls.get("kernel.unprivileged_userns_clone") == 0:
        return set_it.format("kernel.unprivileged_userns_clone=1")
    if facts.uid != 0 and facts.sysctls.get("kernel.apparmor_restrict_unprivileged_userns") == 1:
        return set_it.format("kernel.apparmor_restrict_unprivileged_userns=0")
    if _numbers(facts.kernel)[:2] < (5, 11):
        return "Boot Linux 5.11 or later."
    return (
        "In a container, start it so that it may make namespaces and mounts "
        "(podman run --privileged); else see the words of the kernel above."
    )


def _emulation(each: Emulation, facts: Facts) -> Finding:
    what = f"emulation of {each.arch}"
    if not each.interpreter:
        package = f"qemu-user-static-{each.arch}"
        own = " (`farm base build` brings one along)" if facts.wants_base else ""
        return Finding(
            what, "missing", f"there is no qemu for {each.arch}{own}",
            _install(facts, package if facts.package_manager == "dnf" else "qemu-user-static")
            + ", or build for this machine's own architecture only",
        )  # fmt: skip
    if each.problem:
        return Finding(
            what, "missing", each.problem,
            "Boot Linux 6.7 or later, or as root register it for the whole machine: "
            + _install(facts, "qemu-user-static").removeprefix("As root: "),
        )  # fmt: skip
    return Finding(what, "ok", f"{each.interpreter} can be registered in the sandbox")


def _space(space: Space, facts: Facts) -> Finding:
    kind = " (memory)" if space.in_memory else ""
    if space.barrier:
        there = space.barrier == space.path
        return Finding(
            space.name, "missing",
            f"{space.path} cannot be {'written' if there else 'made'} by {facts.user}",
            ("As root: chown -R {0}: {1}" if there else "As root: install -d -o {0} {1}").format(
                facts.user, space.path
            ) + "; or name another directory in farm.toml ([paths]).",
        )  # fmt: skip
    free = f"{space.path}{kind}: {_size(space.free)} free"
    if space.free < space.wanted:
        return Finding(
            space.name, "missing" if space.free < space.wanted // 4 else "weak",
            f"{free}, {_size(space.wanted)} wanted",
            "Make room, or name another directory in farm.toml ([paths]).",
        )  # fmt: skip
    return Finding(space.name, "ok", free)


def _memory(facts: Facts) -> Finding:
    detail = f"{_size(facts.memory)} available"
    if facts.memory < 2 * _GIB:
        return Finding(
            "memory", "weak", f"{detail}; a build wants about 2 GiB",
            "Build one package at a time (build.jobs = 1 in farm.toml), with roots on disk "
            "(paths.roots).",
        )  # fmt: skip
    return Finding("memory", "ok", detail)


def _base(facts: Facts) -> Finding:
    what = "embedded base"
    if not facts.wants_base:
        return Finding(what, "ok", f"not wanted by {facts.release}")
    if not facts.base_missing:
        return Finding(what, "ok", f"{facts.release} is there")
    missing = ", ".join(facts.base_missing)
    if "apt-get" in facts.programs:
        return Finding(
            what, "weak", f"{facts.release} is not made yet for {missing}", "Run `farm base build`."
        )
    return Finding(
        what, "missing",
        f"{facts.release} is not there for {missing}, and it is made from Debian packages by apt",
        "Copy it from a Debian machine (~/.cache/farm/base), or set default_release in farm.toml "
        "to one whose mirrors can be reached.",
    )  # fmt: skip


def _builders(facts: Facts) -> Finding:
    access = facts.mock
    if not access.problem and access.program:
        return Finding("mock", "ok", f"{access.program}, acting for {access.user}")
    detail = access.problem or "not installed"
    if facts.builder == "mock":
        remedy = access.remedy or (
            _install(facts, "mock")
            if facts.package_manager == "dnf"
            else 'Debian has no package of it: set build.builder = "embedded" in farm.toml.'
        )
        return Finding("mock", "missing", f"{detail}, but farm.toml says build.builder", remedy)
    detail += "; the embedded builder takes its place"
    return Finding("mock", "weak" if access.problem else "ok", detail, access.remedy)


def _key(facts: Facts) -> Finding:
    what = f"signing key {facts.key}"
    if facts.key_problem:
        return Finding(
            what, "weak", f"nothing can be published: {facts.key_problem}",
            f"Run `farm key new {facts.key}`, or `farm key import FILE`.",
        )  # fmt: skip
    if facts.key_is_demo:
        return Finding(
            what, "weak", "the demonstration's key is known to everybody",
            "Before anybody relies on what you publish: `farm key new NAME`, and publish.key = "
            '"NAME" in farm.toml.',
        )  # fmt: skip
    return Finding(what, "ok", "it can sign")


def _clock(facts: Facts) -> Finding:
    shown = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(facts.now))
    if facts.now < facts.newest - _DAY:
        newest = time.strftime("%Y-%m-%d", time.gmtime(facts.newest))
        return Finding(
            "clock", "missing", f"{shown}, but the layer has a commit or farm a file of {newest}",
            "As root: timedatectl set-ntp true, or set it with date -s.",
        )  # fmt: skip
    return Finding("clock", "ok", shown)


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def _size(size: int) -> str:
    return f"{size / _GIB:.1f} GiB" if size >= _GIB else f"{max(0, size) // _MIB} MiB"

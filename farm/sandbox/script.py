"""Composes the shell script that becomes a sandbox.

A shell, `unshare`, `mount`, `bwrap` and `setpriv` enter a sandbox in some 25 ms; an interpreter
of our own inside would cost more than all of them. Everything here is text in, text out.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from farm.errors import MachineError
from farm.sandbox.identity import IdMap

PATH = "/usr/bin:/bin:/usr/sbin:/sbin"
ENVIRONMENT: Mapping[str, str] = {
    "PATH": PATH,
    "HOME": "/builddir",
    "SHELL": "/bin/bash",
    "TERM": "vt100",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "HOSTNAME": "localhost",
}

# What installing packages takes: owners, modes, file capabilities, chroot for scriptlets.
_ROOT_CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETPCAP", "CAP_SETFCAP", "CAP_SYS_CHROOT",
)  # fmt: skip
# What becoming the build user takes; none is left afterwards.
_USER_CAPABILITIES = ("CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_SYS_CHROOT")
# What `Sandbox.first` takes: giving files away.
_FIRST_CAPABILITIES = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER")

# Below the private mounts: where `Sandbox.in_memory` and /dev/shm lie.
MEMORY, SHARED = "memory", "shm"

# First bytes of an ELF executable of a machine, in the escapes that binfmt_misc itself reads.
_MACHINES = {
    "aarch64": r"\xb7\x00",
    "x86_64": r"\x3e\x00",
    "ppc64le": r"\x15\x00",
    "riscv64": r"\xf3\x00",
    "s390x": r"\x00\x16",
}
_BIG_ENDIAN = {"s390x"}

SETUP_FAILED = 121


@dataclass(frozen=True)
class Overlay:
    """A file tree of read-only `layers` (topmost first) with something writable over them.

    Changes go to the directory `upper`, which must not be in use elsewhere, or, when that is
    None, to memory and vanish with the sandbox; `size` limits them then (bytes, 0: half of
    the machine's memory).
    """

    layers: tuple[Path, ...]
    upper: Path | None = None
    size: int = 0


@dataclass(frozen=True)
class Bind:
    """Something of the host at an absolute path inside. The target "/" makes it the root."""

    source: Path | Overlay
    target: str
    writable: bool = False


@dataclass(frozen=True)
class User:
    """Who runs inside, by number. Anyone but root keeps no capability."""

    uid: int
    gid: int


ROOT = User(0, 0)
BUILDER = User(1000, 135)  # mock's mockbuild:mock


@dataclass(frozen=True)
class Emulator:
    """Executables of `arch` are run by the static program `interpreter` of the host."""

    arch: str
    interpreter: Path


@dataclass(frozen=True)
class Collect:
    """Regular files named `pattern` below `source` (a path inside) are copied to `target`."""

    source: str
    pattern: str
    target: Path


@dataclass(frozen=True)
class Sandbox:
    """What a program sees and may do.

    Without a bind to "/" it sees the host's programs, read-only. `system` are directories
    inside that get a /proc and a /dev of their own. `keep` receives the changes to the
    overlay when the program fails. `interactive` leaves the terminal to it.

    `over` is mounted last, over what `system` brings. `in_memory` is a directory of the root
    (and whatever is bound below it) that is put on a tmpfs of its own, as large as the
    overlay may grow. `processor` is the number of the only one the program may use. `first`
    are shell lines that the sandbox's root runs inside before it becomes `user`.
    """

    binds: tuple[Bind, ...]
    user: User = ROOT
    network: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: str = "/"
    emulator: Emulator | None = None
    system: tuple[str, ...] = ("/",)
    collect: tuple[Collect, ...] = ()
    keep: Path | None = None
    interactive: bool = False
    hostname: str = "localhost"
    over: tuple[Bind, ...] = ()
    in_memory: str = ""
    processor: int | None = None
    first: tuple[str, ...] = ()

    @property
    def root(self) -> Bind | None:
        return next((bind for bind in self.binds if bind.target == "/"), None)

    @property
    def size(self) -> int:
        """Bytes that its file systems in memory may have each (0: half of the machine's)."""
        overlays = (bind.source for bind in self.binds if isinstance(bind.source, Overlay))
        return next((overlay.size for overlay in overlays), 0)

    @property
    def shares(self) -> bool:
        """Whether its user has a /dev/shm to write to, as on any machine."""
        return self.user != ROOT and "/" in self.system


def outer_script(inner: str, area: Path, ids: IdMap, staged: Mapping[Path, Path]) -> str:
    """Enter a user namespace with its mount namespace and run `inner` there as its root.

    A helper process, left behind outside, writes the id maps once the namespace is there;
    two FIFOs in `area` keep the order. `staged` are paths that the new root could not walk
    to: real root binds them below `area` first, in a mount namespace of its own.
    """
    pid = "$0"
    if ids.helped:
        uids, gids = (" ".join(f"{a} {b} {c}" for a, b, c in m) for m in (ids.uids, ids.gids))
        write = f"newuidmap {pid} {uids} && newgidmap {pid} {gids}"
    else:
        uids, gids = (r"\n".join(f"{a} {b} {c}" for a, b, c in m) for m in (ids.uids, ids.gids))
        write = (
            f"printf '{uids}\\n' >/proc/{pid}/uid_map && printf '{gids}\\n' >/proc/{pid}/gid_map"
        )
    there, mapped = quote(area / "there"), quote(area / "mapped")
    drop = "--reuid=0 --regid=0 --clear-groups --inh-caps=-all --pdeathsig KILL"
    refused = f'{{ echo "farm sandbox: the id maps were refused" >&2; exit {SETUP_FAILED}; }}'
    entered = "\n".join(
        [
            f"echo 1 >{there}",
            f"read -r answer <{mapped}",
            f'[ "$answer" = yes ] || {refused}',
            f"exec setpriv {drop} -- sh -c {shlex.quote(inner)}",
        ]
    )
    answer = f"if {write}; then echo yes; else echo no; fi >{mapped}"
    helper = f"[ $PPID = $0 ] || exit; read -r _ <{there}; {answer}"
    lines = [
        *_stage(area, staged),
        f"exec 9>{quote(area / 'status')}",
        # Where no namespace comes about nobody writes to the FIFO: the helper ends with us, and
        # at once where we ended before it could ask for that.
        f"setpriv --pdeathsig KILL -- sh -c {shlex.quote(helper)} $$ &",
        f"exec unshare --user --mount --keep-caps -- sh -c {shlex.quote(entered)}",
    ]
    text = "\n".join(lines)
    return f"exec unshare --mount -- sh -ec {shlex.quote(text)}" if staged else text


def inner_script(
    sandbox: Sandbox,
    argv: tuple[str, ...],
    area: Path,
    place: Callable[[Path], Path],
    host_view: tuple[str, ...],
    disk: Path | None = None,
    tasks: int = 0,
) -> str:
    """Mount what the sandbox sees, then become bubblewrap; `place` says where a path is.

    `disk` takes the changes to overlays for which memory cannot be used. `tasks` is how many
    processes and threads it may have (0: as many as we).
    """
    lines = [
        "set -eu; umask 022; ulimit -c 0; cd /",
        *_restraint(tasks),
        f'fail() {{ echo "farm sandbox: $1" >&2; exit {SETUP_FAILED}; }}',
        f"A={quote(area / 'mnt')}",
        "mount -t tmpfs -o mode=0755 farm $A || fail 'no tmpfs can be mounted'",
    ]
    sources: dict[int, str] = {}
    for number, bind in enumerate(sandbox.binds):
        if isinstance(bind.source, Overlay):
            lines += _overlay(bind.source, number, place, disk)
            sources[number] = f"$A/{number}/root"
        else:
            sources[number] = quote(place(bind.source))
    if sandbox.shares:
        lines.append(f"mkdir $A/{SHARED}; {_tmpfs(sandbox.size, f'$A/{SHARED}', '1777')}")
    if sandbox.in_memory:
        lines += _memory_directory(sandbox)
    if sandbox.emulator is not None:
        lines += _register(sandbox.emulator, place)
    sources |= {
        n: quote(place(bind.source))
        for n, bind in enumerate(sandbox.over, len(sandbox.binds))
        if isinstance(bind.source, Path)
    }
    words = _bubblewrap(sandbox, sources, host_view) + " -- " + shlex.join(_dropped(sandbox, argv))
    after = _after(sandbox, place, disk)
    if not after:
        return "\n".join([*lines, f"exec {words}"])
    lines += ["ended=; trap 'ended=1' TERM INT", "set +e", words, "code=$?", *after, "exit $code"]
    return "\n".join(lines)


def _restraint(tasks: int) -> list[str]:
    """Where memory runs out the kernel takes a build first, not who started it; and a program
    that forks without an end finds one (dash and bash call that limit p and u)."""
    lines = ["{ echo 500 >/proc/self/oom_score_adj; } 2>/dev/null || :"]
    if tasks:
        lines.append(f"ulimit -u {tasks} 2>/dev/null || ulimit -p {tasks} 2>/dev/null || :")
    return lines


def quote(path: Path) -> str:
    return shlex.quote(str(path))


def _stage(area: Path, staged: Mapping[Path, Path]) -> list[str]:
    if not staged:
        return []
    lines = ["set -e", f"mount -t tmpfs -o mode=0755 stage {quote(area / 'stage')}"]
    for source, target in staged.items():
        lines.append(f"mkdir {quote(target)}" if source.is_dir() else f": >{quote(target)}")
        lines.append(f"mount --bind {quote(source)} {quote(target)}")
    return lines


def _overlay(
    overlay: Overlay, number: int, place: Callable[[Path], Path], disk: Path | None
) -> list[str]:
    layers = ":".join(_option(place(layer)) for layer in overlay.layers)
    lines = [f"mkdir -p $A/{number}/root"]
    if overlay.upper is None:
        changes = _changes(number, place, disk)
        upper, work = f"{changes}/upper", f"{changes}/work"
        lines.append(f"mkdir -p {changes}")
        if disk is None:
            lines.append(_tmpfs(overlay.size, changes))
        lines.append(f"mkdir {upper} {work}")
    else:
        parent = place(overlay.upper.parent)  # one place: the two have to be on one mount
        upper, work = quote(parent / overlay.upper.name), quote(parent / "work")
    # `volatile`: nobody wants these changes after a power cut, so they need no fsync.
    lines.append(
        f"mount -t overlay -o userxattr,volatile,lowerdir={shlex.quote(layers)},"
        f"upperdir={upper},workdir={work} farm $A/{number}/root"
        " || fail 'no overlay can be mounted in a user namespace'"
    )
    return lines


def _tmpfs(size: int, where: str, mode: str = "0755") -> str:
    return f"mount -t tmpfs -o {f'size={size},' if size else ''}mode={mode} farm {where}"


def _memory_directory(sandbox: Sandbox) -> list[str]:
    """Copy a directory of the root to a tmpfs; no link of the root's leads anywhere on the way."""
    number, overlay = _overlay_of(sandbox)
    return [
        f"mkdir $A/{MEMORY}; {_tmpfs(overlay.size, f'$A/{MEMORY}')}",
        f"D=$(readlink -f $A)/{number}/root{shlex.quote(sandbox.in_memory)}",
        '[ "$(readlink -f "$D")" = "$D" ] || fail "$D is reached through a link"',
        f'cp -a "$D/." $A/{MEMORY}/',
    ]


def _overlay_of(sandbox: Sandbox) -> tuple[int, Overlay]:
    """The first overlay of a sandbox, with its number among the binds."""
    for number, bind in enumerate(sandbox.binds):
        if isinstance(bind.source, Overlay):
            return number, bind.source
    raise ValueError("the sandbox has no overlay")


def _changes(number: int, place: Callable[[Path], Path], disk: Path | None) -> str:
    """Where the changes to an overlay go that vanish with the sandbox."""
    return f"$A/{number}/rw" if disk is None else f"{quote(place(disk))}/{number}"


def _option(path: Path) -> str:
    text = str(path)
    if any(letter in text for letter in ":,\\"):
        raise MachineError(
            f"the directory {text} cannot hold build roots",
            why="overlayfs gives a meaning of its own to the letters : , and \\",
            hint="Set paths.roots in farm.toml to another directory.",
        )
    return text


def registration(emulator: Emulator, interpreter: str) -> str:
    """The line for binfmt_misc: F opens the interpreter now, P keeps the program's own name."""
    machine = _MACHINES.get(emulator.arch)
    if machine is None:
        raise MachineError(f"farm does not know how to emulate {emulator.arch}")
    order = r"\x02" if emulator.arch in _BIG_ENDIAN else r"\x01"
    kind = r"\x00\x02" if emulator.arch in _BIG_ENDIAN else r"\x02\x00"
    kind_mask = r"\xff\xfe" if emulator.arch in _BIG_ENDIAN else r"\xfe\xff"
    magic = rf"\x7fELF\x02{order}\x01\x00" + r"\x00" * 8 + kind + machine
    mask = r"\xff\xff\xff\xff\xff\xff\xff\x00" + r"\xff" * 8 + kind_mask + r"\xff\xff"
    return f":farm-{emulator.arch}:M::{magic}:{mask}:{interpreter}:PF"


def _register(emulator: Emulator, place: Callable[[Path], Path]) -> list[str]:
    line = registration(emulator, str(place(emulator.interpreter)))
    hosts = f"/proc/sys/fs/binfmt_misc/qemu-{emulator.arch}"
    return [
        "mkdir $A/binfmt",
        "if mount -t binfmt_misc binfmt $A/binfmt 2>/dev/null; then "
        f"printf %s {shlex.quote(line)} >$A/binfmt/register || fail 'the emulator is refused'; "
        f"elif ! [ -e {hosts} ]; then fail 'no emulator can be registered (Linux 6.7 can, or the "
        "package qemu-user-static)'; fi",
    ]


def _bubblewrap(sandbox: Sandbox, sources: Mapping[int, str], host_view: tuple[str, ...]) -> str:
    variables = dict(ENVIRONMENT) | dict(sandbox.environment)
    words = ["env", "-i", *(f"{name}={value}" for name, value in variables.items())]
    if sandbox.processor is not None:
        words += [Raw('"$(command -v taskset)"'), "-c", str(sandbox.processor)]
    words += [Raw('"$(command -v bwrap)"'), "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    words += [
        "--unshare-cgroup-try",
        "--die-with-parent",
        "--hostname",
        sandbox.hostname,
        "--json-status-fd",
        "9",
    ]
    words += [] if sandbox.network else ["--unshare-net"]
    words += [] if sandbox.interactive else ["--new-session"]
    capabilities: tuple[str, ...] = (
        _ROOT_CAPABILITIES if sandbox.user == ROOT else _USER_CAPABILITIES
    )
    capabilities += _FIRST_CAPABILITIES if sandbox.first and sandbox.user != ROOT else ()
    words += ["--cap-drop", "ALL"]
    for capability in capabilities:
        words += ["--cap-add", capability]
    if sandbox.root is None:
        words += host_view
    binds = [(b.target, b.writable, Raw(sources[n])) for n, b in enumerate(sandbox.binds)]
    if sandbox.in_memory:
        binds.append((sandbox.in_memory, True, Raw(f"$A/{MEMORY}")))
    for target, writable, source in sorted(binds, key=lambda each: each[0]):
        # bubblewrap would make missing parents for their owner alone
        parents = list(PurePosixPath(target).parents)[:-1]
        for parent in reversed(parents if sandbox.root is not None else []):
            words += ["--dir", str(parent)]
        words += ["--bind" if writable else "--ro-bind", source, target]
    for directory in sandbox.system:
        words += ["--proc", _join(directory, "proc"), "--dev", _join(directory, "dev")]
    if sandbox.shares:  # bubblewrap's own is for nobody but root, and nobody could look at it
        words += ["--bind", Raw(f"$A/{SHARED}"), "/dev/shm"]
    if sandbox.root is not None:
        words += ["--ro-bind", "/sys", "/sys"]
    for number, bind in enumerate(sandbox.over, len(sandbox.binds)):
        words += ["--ro-bind", Raw(sources[number]), bind.target]
    words += ["--chdir", sandbox.directory]
    return " ".join(word if isinstance(word, Raw) else shlex.quote(word) for word in words)


class Raw(str):
    """A word that is shell text already."""

    __slots__ = ()


def _join(directory: str, name: str) -> str:
    return f"{directory.rstrip('/')}/{name}"


def _dropped(sandbox: Sandbox, argv: tuple[str, ...]) -> tuple[str, ...]:
    """`argv` under the sandbox's user, by a program of the root itself.

    bubblewrap can set a user only through one more user namespace, in which every other
    owner in the root would look the same.
    """
    user = sandbox.user
    if user != ROOT:
        argv = _as_user(sandbox, argv)
    if sandbox.first:
        return ("/bin/sh", "-ec", "\n".join([*sandbox.first, 'exec "$@"']), "sh", *argv)
    return argv


def _as_user(sandbox: Sandbox, argv: tuple[str, ...]) -> tuple[str, ...]:
    user = sandbox.user
    if _has(sandbox.root, "usr/bin/setpriv"):
        return (
            "/usr/bin/setpriv", f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups",
            "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--", *argv,
        )  # fmt: skip
    # Changing from root to another number drops every capability; bubblewrap has already
    # seen to it that none comes back.
    return ("/usr/sbin/chroot", f"--userspec={user.uid}:{user.gid}", "--groups=", "/", *argv)


def _has(root: Bind | None, name: str) -> bool:
    if root is None:
        return Path("/", name).exists()
    trees = root.source.layers if isinstance(root.source, Overlay) else (root.source,)
    return any((tree / name).is_file() for tree in trees)


def _after(sandbox: Sandbox, place: Callable[[Path], Path], disk: Path | None) -> list[str]:
    """What is done when the program has ended and nothing of it can be running any more."""
    if not (sandbox.collect or sandbox.keep):
        return []
    number, overlay = _overlay_of(sandbox)
    lines = ["if [ $code -eq 0 ]; then :"]
    for collect in sandbox.collect:
        # The program may have put symlinks anywhere: a directory that is reached through one,
        # and everything that is no regular file, is left where it is.
        inside, below = f"{number}/root", collect.source
        if sandbox.in_memory and f"{below}/".startswith(f"{sandbox.in_memory}/"):
            inside, below = MEMORY, below.removeprefix(sandbox.in_memory)
        lines.append(
            f"D=$(readlink -f $A)/{inside}{shlex.quote(below)}; "
            '[ "$(readlink -f "$D")" != "$D" ] || find "$D" -type f '
            f"-name {shlex.quote(collect.pattern)} -exec cp -t {quote(place(collect.target))}"
            " -- {} + || code=1"
        )
    if overlay.upper is None:
        rw = _changes(number, place, disk)
        full = f"$A/{MEMORY}" if sandbox.in_memory else rw
        lines += ["else", f'stat -f -c \'{{"free": %a, "blocks": %b}}\' {full} >&9']
        if sandbox.keep is not None:
            keep = quote(place(sandbox.keep))
            lines += [
                f"N=$(du -sk {rw}/upper | cut -f1)",
                f"F=$(( $(stat -f -c '%a * %S / 1024' {keep}) ))",
                f'if [ -z "$ended" ] || [ -e {keep}/allowed ]; then '
                f"[ $((N * 2)) -gt $F ] || cp -a {rw}/upper {keep}; fi",
            ]
    return [*lines, "fi"]

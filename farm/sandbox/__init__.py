"""The one place that isolates: user namespace, overlay, bubblewrap, an unprivileged user.

No root is needed, and root gains nothing: it goes through a user namespace as well. What runs
inside sees one root (or the host's programs, read-only), no network unless asked, its own
processes, and no capability unless it is the sandbox's own root.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from farm.errors import MachineError
from farm.run import Arg, Completed, attach, run
from farm.sandbox.abandoned import clear_abandoned, is_abandoned
from farm.sandbox.identity import disown, id_map, own, reachable
from farm.sandbox.limits import NOTHING, Allowed, Meter, OnDisk, Peak, most_tasks, occupied
from farm.sandbox.script import (
    BUILDER,
    MEMORY,
    ROOT,
    SETUP_FAILED,
    SHARED,
    Bind,
    Collect,
    Emulator,
    Overlay,
    Sandbox,
    User,
    inner_script,
    outer_script,
)

__all__ = [
    "BUILDER", "ROOT", "Bind", "Collect", "Emulator", "Ended", "Overlay", "Sandbox", "User",
    "clear_abandoned", "disown", "enter", "execute", "holds_overlays", "host_tool", "id_map",
    "is_abandoned", "memory_holds_overlays", "own", "remove", "scratch",
]  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """How a program in a sandbox ended.

    `completed.reason` begins with the limit it hit: time, silence, memory, disk or "". `free` are
    the blocks left in the overlay's memory when it failed, None where nobody looked, or where
    `on_disk` the changes went. `peak` is the most that it was seen to use.
    """

    completed: Completed
    free: int | None = None
    peak: Peak = NOTHING
    on_disk: bool = False

    @property
    def ok(self) -> bool:
        return self.completed.ok


def execute(
    sandbox: Sandbox,
    argv: Sequence[Arg],
    *,
    input: str | None = None,
    log: Path | None = None,
    timeout: float = 0,
    silence: float = 0,
    memory: int = 0,
    disk: int = 0,
    on_line: Callable[[str], None] | None = None,
) -> Ended:
    """Run one program in a sandbox to its end, whatever that is.

    Times are seconds, `memory` bytes (processes and tmpfs together), `disk` bytes of changes to
    an overlay whose changes are not in memory; limits other than `timeout` want `log`, and so
    does measuring. Raises MachineError when the sandbox itself could not be made.
    """
    with _prepared(sandbox, argv) as (words, area, changes):
        meter = Meter(
            Allowed(timeout, silence, memory, disk),
            log=log,
            tmpfs=_tmpfs(sandbox, area, changes=changes is None),
            on_disk=_measured(changes),
            on_limit=lambda: _allow_keeping(sandbox),
        )
        offset = log.stat().st_size if log is not None and log.exists() else 0
        done = run(
            words,
            input=input,
            check=False,
            log=log,
            watch=meter.watch if log is not None else None,
            timeout=timeout or None if log is None else None,
            on_line=on_line,
        )
        meter.conclude()
        status = _status(area)
    if sandbox.collect and os.getuid() == 0:
        for collect in sandbox.collect:
            for path in collect.target.iterdir():
                disown(path)
    done = replace(done, argv=tuple(os.fspath(arg) for arg in argv))
    if "exit-code" not in status and not done.reason and done.code >= 0:
        raise _no_sandbox(done, log, offset)
    return Ended(done, status.get("free"), meter.peak, changes is not None)


def enter(sandbox: Sandbox, argv: Sequence[Arg]) -> int:
    """Give the terminal to a program in a sandbox; its exit code."""
    with _prepared(replace(sandbox, interactive=True), argv) as (words, *_):
        return attach(words)


def host_tool(
    argv: Sequence[Arg],
    *,
    binds: tuple[Bind, ...] = (),
    network: bool = False,
    environment: Mapping[str, str] | None = None,
    emulator: Emulator | None = None,
    system: tuple[str, ...] = ("/",),
    input: str | None = None,
    log: Path | None = None,
    timeout: float = 0,
    check: bool = True,
) -> Completed:
    """Run one of the host's programs as the sandbox's root.

    It sees the host's /usr read-only and `binds`, nothing else; with `network` also what name
    resolution and TLS want of /etc. Directories that it is to write must belong to the
    sandbox's root (`own`). Raises MachineError when `check` and it failed.
    """
    sandbox = Sandbox(
        binds=binds,
        network=network,
        environment={"HOME": "/tmp", "LC_ALL": "C.UTF-8", **(environment or {})},
        emulator=emulator,
        system=system,
    )
    done = execute(sandbox, argv, input=input, log=log, timeout=timeout).completed
    if check and not done.ok:
        text = log.read_text("utf-8", "replace") if log else done.stderr or done.stdout
        raise MachineError(
            f"{os.fspath(argv[0])} failed in the sandbox (exit code {done.code})",
            why="\n".join(text.strip().splitlines()[-20:]),
        )
    return done


def remove(*paths: Path) -> None:
    """Delete file trees whose files may belong to the sandbox's users."""
    there = [path for path in paths if path.is_symlink() or path.exists()]
    if not there:
        return
    if os.getuid() == 0:
        run(["rm", "-rf", "--one-file-system", "--", *there])
        return
    binds = tuple(Bind(path, f"/t/{n}", writable=True) for n, path in enumerate(there))
    host_tool(["find", *(b.target for b in binds), "-mindepth", "1", "-delete"], binds=binds)
    for path in there:
        path.rmdir()


def scratch(*, on_disk: bool = False) -> Path:
    """A directory of ours for mount points, on /dev/shm where that can be written.

    `on_disk`: for overlays whose changes memory cannot take (see `holds_overlays`).
    """
    places = ("/var/tmp", tempfile.gettempdir(), "/tmp")
    for parent in map(Path, places if on_disk else ("/dev/shm", *places)):
        path = parent / f"farm-{os.getuid()}"
        try:
            path.mkdir(exist_ok=True)
            found = path.lstat()
            ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
            if not ours or found.st_mode & 0o022 or not reachable(path):
                continue
            if on_disk and not holds_overlays(path):
                continue
            inner = path / "run"
            inner.mkdir(exist_ok=True)
            for each in (path, inner):
                if stat.S_IMODE(each.stat().st_mode) != 0o711:
                    each.chmod(0o711)  # whatever our umask: the sandbox's root walks through
            return inner
        except OSError:
            continue
    raise MachineError(
        "there is no directory for sandboxes",
        why=f"none of {', '.join(places)} can be written, holds user attributes, and has no "
        f"directory farm-{os.getuid()} of somebody else",
    )


def holds_overlays(directory: Path) -> bool:
    """Whether files there take user attributes, which overlayfs in a user namespace needs.

    Those of a tmpfs do from Linux 6.6.
    """
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            os.setxattr(file.fileno(), "user.farm", b"1")
    except OSError:
        return False
    return True


@functools.cache
def memory_holds_overlays() -> bool:
    """Whether a tmpfs of this kernel does."""
    return holds_overlays(Path("/dev/shm"))


def _needs_disk(sandbox: Sandbox) -> bool:
    overlays = (bind.source for bind in sandbox.binds)
    in_memory = any(isinstance(each, Overlay) and each.upper is None for each in overlays)
    return in_memory and not memory_holds_overlays()


@contextlib.contextmanager
def _prepared(
    sandbox: Sandbox, argv: Sequence[Arg]
) -> Iterator[tuple[list[str], Path, Path | None]]:
    """The command line that becomes the sandbox, its private directory while it lives, and where
    on disk the changes to its overlays go, if they do."""
    ids = id_map()
    home = scratch()
    clear_abandoned(home)
    disk: Path | None = None
    area = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=home)).resolve()
    try:
        area.chmod(0o711)
        for name in ("mnt", "stage"):
            (area / name).mkdir()
        for name in ("there", "mapped"):
            os.mkfifo(area / name, 0o600)
        staged: dict[Path, Path] = {}

        def place(path: Path) -> Path:
            path = path.absolute()
            if not path.exists():
                raise MachineError(
                    f"the sandbox cannot be made: {path} is not there",
                    hint="Something deleted it meanwhile; run the command again.",
                )
            if reachable(path):
                return path
            return staged.setdefault(path, area / "stage" / str(len(staged)))

        words = tuple(os.fspath(arg) for arg in argv)
        for bind in sandbox.binds:
            if isinstance(bind.source, Overlay) and bind.source.upper is not None:
                _fresh_work(bind.source.upper.parent / "work")
        if _needs_disk(sandbox):
            disk = own(Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=scratch(on_disk=True))))
        view = _host_view(sandbox.network)
        inner = inner_script(sandbox, words, area, place, view, disk, most_tasks())
        yield ["sh", "-c", outer_script(inner, area, ids, staged)], area, disk
    finally:
        shutil.rmtree(area, ignore_errors=True)
        if disk is not None:
            remove(disk)


def _fresh_work(path: Path) -> None:
    """overlayfs wants an empty work directory; the last one's belongs to the sandbox's root."""
    if path.exists():
        remove(path)
    path.mkdir()
    own(path)


def _host_view(network: bool) -> tuple[str, ...]:
    """bubblewrap's words for the host's programs, read-only, on an otherwise empty root."""
    words = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        path = Path("/", name)
        if path.is_symlink():
            words += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            words += ["--ro-bind", str(path), str(path)]
    wanted = ["ld.so.cache", "alternatives"]
    if network:
        wanted += [
            "resolv.conf", "hosts", "nsswitch.conf", "ssl", "pki", "ca-certificates", "host.conf",
            "gai.conf", "services", "crypto-policies",
        ]  # fmt: skip
    for name in wanted:
        if Path("/etc", name).exists():
            words += ["--ro-bind", f"/etc/{name}", f"/etc/{name}"]
    return (*words, "--dir", "/tmp", "--dir", "/var/tmp", "--dir", "/run")


def _tmpfs(sandbox: Sandbox, area: Path, *, changes: bool) -> tuple[Path, ...]:
    """Where the sandbox's file systems in memory are; those of the `changes` to overlays, too."""
    names = [SHARED] if sandbox.shares else []
    names += [MEMORY] if sandbox.in_memory else []
    if changes:
        names += [
            f"{number}/rw"
            for number, bind in enumerate(sandbox.binds)
            if isinstance(bind.source, Overlay) and bind.source.upper is None
        ]
    return tuple(area / "mnt" / name for name in names)


def _measured(changes: Path | None) -> OnDisk | None:
    """How what a sandbox writes to disk is measured: as its root, who alone may read all of it."""
    if changes is None:
        return None
    return lambda pid: occupied(changes, inside=pid)


def _allow_keeping(sandbox: Sandbox) -> None:
    """A program ended by a limit is kept for a look inside; one ended by Ctrl-C is not."""
    if sandbox.keep is not None:
        (sandbox.keep / "allowed").touch()


def _status(area: Path) -> dict[str, int]:
    """What bubblewrap and the script after it noted."""
    found: dict[str, int] = {}
    with contextlib.suppress(OSError, ValueError):
        for line in (area / "status").read_text("ascii").splitlines():
            found.update(json.loads(line))
    return found


def _no_sandbox(done: Completed, log: Path | None, offset: int) -> MachineError:
    text = done.stderr
    if log is not None:
        with contextlib.suppress(OSError), log.open("rb") as file:
            file.seek(offset)
            text = file.read().decode("utf-8", "replace")
    last = text.strip().splitlines()[-5:]
    return MachineError(
        "the sandbox could not be made",
        why="\n".join(last) or f"exit code {done.code}",
        hint="`farm doctor` says what this machine lacks."
        if done.code != SETUP_FAILED or "emulator" not in text
        else "Install qemu-user-static, or build the embedded base (`farm base build`).",
    )

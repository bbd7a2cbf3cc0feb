"""The facts of this machine, found by trying where that is possible."""

from __future__ import annotations

import contextlib
import os
import platform
import pwd
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from farm.config import Config
from farm.doctor.cluster import Cluster, look
from farm.errors import FarmError
from farm.publish.keys import key_ring
from farm.rebuild import mock, space
from farm.rebuild.engines.slurm.clients import PROGRAMS as CLIENTS
from farm.run import environment, run
from farm.sandbox import Bind, Emulator, Overlay, Sandbox, execute, holds_overlays
from farm.sandbox.variation import LOCALE

PROGRAMS = (
    "git", "rpm", "rpmkeys", "rpmsign", "gpg", "gpg-agent", "bwrap", "unshare", "setpriv",
    "newuidmap", "newgidmap", "dnf", "apt-get",
)  # fmt: skip
# Asking the others costs more than it tells.
_WITH_VERSION = ("git", "rpm", "gpg", "bwrap", "unshare")
_MACHINES = {"arm64": "aarch64", "amd64": "x86_64"}
_SYSCTLS = (
    "kernel.unprivileged_userns_clone",
    "kernel.apparmor_restrict_unprivileged_userns",
    "user.max_user_namespaces",
)
_PATIENCE = 5.0  # seconds for one probe


@dataclass(frozen=True)
class Emulation:
    """How programs of a foreign architecture run: `interpreter` "" when there is no qemu.

    `problem` says why it cannot be registered, "" when it can.
    """

    arch: str
    interpreter: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Space:
    """A directory that farm writes to: bytes that are free, bytes that it wants.

    `barrier` is the directory that this user may not write to, "" when there is none.
    """

    name: str
    path: str
    free: int
    wanted: int
    barrier: str = ""
    in_memory: bool = False


@dataclass(frozen=True)
class Facts:
    """All that findings are made of. Times are seconds since 1970, sizes bytes."""

    user: str
    uid: int
    kernel: str
    programs: Mapping[str, str]  # found ones, with their version ("" unknown)
    package_manager: str  # apt, dnf or ""
    sysctls: Mapping[str, int]
    subordinate: tuple[int, int]  # how many uids and gids the user has been given
    first_free_id: int  # where a range that nobody has can begin
    sandbox_problem: str  # why no sandbox can be made, "" when one was
    emulations: tuple[Emulation, ...]
    spaces: tuple[Space, ...]
    memory: int  # that could be handed out now
    shared_memory_overlays: bool
    release: str
    base_missing: tuple[str, ...]  # architectures without an embedded base
    wants_base: bool  # the default release is built on it
    mock: mock.Access
    builder: str
    key: str
    key_problem: str  # "", or why the key cannot sign
    key_is_demo: bool
    now: float
    newest: float  # the newest date that this machine must have lived to see
    locale_sources: bool  # those of the locale that `farm verify` varies builds with
    cluster: Cluster | None = None  # None: attempts run on this machine


def gather(config: Config) -> Facts:
    """Look at this machine; several things at a time, as most of it is waiting."""
    release, settings = config.release(None)
    host = platform.machine()
    host = _MACHINES.get(host, host)
    foreign = [arch for arch in settings.architectures if arch != host]
    with ThreadPoolExecutor(max_workers=8) as pool:
        versions = {name: pool.submit(_version, name) for name in _found(_WITH_VERSION)}
        sandbox = pool.submit(_sandbox_problem)
        emulations = [pool.submit(_emulation, arch, config, release) for arch in foreign]
        key = pool.submit(_key, config)
        commit = pool.submit(_commit_time, config.root)
        cluster = None
        if config.build.engine == "slurm":
            clients = _found(CLIENTS)
            cluster = pool.submit(look, config.slurm, settings.architectures, clients)
        found = dict.fromkeys(_found(PROGRAMS), "")
        found |= {name: version.result() for name, version in versions.items()}
        user, uid = _user(), os.getuid()
        subids = [Path("/etc/subuid"), Path("/etc/subgid")]
        key_problem, key_is_demo = key.result()
        return Facts(
            user=user,
            uid=uid,
            kernel=platform.release(),
            programs=found,
            package_manager=next((p for p in ("apt", "dnf") if _which(p)), ""),
            sysctls=_sysctls(),
            subordinate=(_given(subids[0], user, uid), _given(subids[1], user, uid)),
            first_free_id=_first_free(subids),
            sandbox_problem=sandbox.result(),
            emulations=tuple(emulation.result() for emulation in emulations),
            spaces=_spaces(config),
            memory=space.available_memory(),
            shared_memory_overlays=holds_overlays(Path("/dev/shm")),
            release=release,
            base_missing=_base_missing(config, release, settings.architectures),
            wants_base=_wants_base(config, release),
            mock=mock.access(),
            builder=config.build.builder,
            key=config.publish.key,
            key_problem=key_problem,
            key_is_demo=key_is_demo,
            now=time.time(),
            newest=max(commit.result(), Path(__file__).stat().st_mtime),
            locale_sources=_has_locale_sources(),
            cluster=cluster.result() if cluster else None,
        )


def _has_locale_sources() -> bool:
    name = LOCALE.partition(".")[0]
    return _which("localedef") is not None and Path("/usr/share/i18n/locales", name).exists()


def _which(name: str) -> str | None:
    return shutil.which(name, path=environment()["PATH"])


def _found(names: Iterable[str]) -> list[str]:
    return [name for name in names if _which(name)]


def _version(name: str) -> str:
    with contextlib.suppress(FarmError):
        done = run([name, "--version"], check=False, timeout=_PATIENCE)
        match = re.search(r"\d+(\.\d+)+", done.stdout)
        return match[0] if match else ""
    return ""


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _sysctls() -> dict[str, int]:
    found = {}
    for name in _SYSCTLS:
        with contextlib.suppress(OSError, ValueError):
            found[name] = int(Path("/proc/sys", *name.split(".")).read_text("ascii"))
    return found


def _ranges(path: Path) -> list[tuple[str, int, int]]:
    """(owner, first, count) of each line of /etc/subuid's format."""
    found = []
    with contextlib.suppress(OSError):
        for line in path.read_text("utf-8", "replace").splitlines():
            owner, _, rest = line.strip().partition(":")
            first, _, count = rest.partition(":")
            if first.isdigit() and count.isdigit():
                found.append((owner, int(first), int(count)))
    return found


def _given(path: Path, user: str, uid: int) -> int:
    return sum(count for owner, _, count in _ranges(path) if owner in (user, str(uid)))


def _first_free(paths: list[Path]) -> int:
    """Above every range that somebody has, and above the ids that accounts get."""
    ends = [first + count for path in paths for _, first, count in _ranges(path)]
    return max([100_000, *ends])


def _sandbox_problem() -> str:
    """Make a sandbox with an overlay in it and write there, as every build does."""
    try:
        with tempfile.TemporaryDirectory(prefix="farm-doctor-") as name:
            layer = Path(name)
            layer.chmod(0o755)
            sandbox = Sandbox(binds=(Bind(Overlay((layer,), size=1 << 20), "/r", writable=True),))
            ended = execute(sandbox, ["touch", "/r/file"], timeout=_PATIENCE)
            return "" if ended.ok else ended.completed.stderr.strip() or "it does not answer"
    except FarmError as error:
        return "; ".join([error.what, *error.why.splitlines()[-2:]])


def _emulation(arch: str, config: Config, release: str) -> Emulation:
    own = config.base_directory / release / f"native-{arch}" / "qemu"
    interpreter = str(own) if own.exists() else _which(f"qemu-{arch}-static") or ""
    if not interpreter:
        return Emulation(arch)
    try:
        emulator = Emulator(arch, Path(interpreter))
        ended = execute(Sandbox(binds=(), emulator=emulator), ["true"], timeout=_PATIENCE)
        return Emulation(arch, interpreter, "" if ended.ok else ended.completed.stderr.strip())
    except FarmError as error:
        return Emulation(arch, interpreter, error.why or error.what)


def _spaces(config: Config) -> tuple[Space, ...]:
    minimum = config.build.minimum_free << 20
    state = config.path("state")
    wanted = [
        ("state", state, minimum),
        ("cache", config.path("cache"), minimum),
        ("build roots", _roots(config, state), 2 << 30),
        ("publication", config.path("publication"), minimum // 2),
    ]
    return tuple(_space(name, path, size) for name, path, size in wanted)


def _roots(config: Config, state: Path) -> Path:
    if config.paths.roots:
        return Path(config.paths.roots).expanduser().resolve()
    shared = Path("/dev/shm")
    if holds_overlays(shared) and space.free(shared) > 1 << 30:
        return shared / f"farm-{os.getuid()}"
    return state / "roots"


def _space(name: str, path: Path, wanted: int) -> Space:
    there = path
    while not there.exists():
        there = there.parent
    barrier = "" if os.access(there, os.W_OK | os.X_OK) else str(there)
    return Space(name, str(path), space.free(there), wanted, barrier, space.in_memory(there))


def _wants_base(config: Config, release: str) -> bool:
    """Whether a chroot file of the release refers to the embedded base."""
    for path in config.path("chroots").glob(f"{release}-*.cfg"):
        with contextlib.suppress(OSError):
            if "farm_base" in path.read_text("utf-8", "replace"):
                return True
    return False


def _base_missing(config: Config, release: str, archs: Iterable[str]) -> tuple[str, ...]:
    here = config.base_directory / release
    return tuple(arch for arch in archs if not (here / arch / "repodata" / "repomd.xml").exists())


def _key(config: Config) -> tuple[str, bool]:
    """(why the signing key cannot sign, whether it is the demonstration's)."""
    state = config.path("state")
    if not (state / "keys" / "gnupg").is_dir():
        return "farm has no key ring yet", False
    try:
        with key_ring(state) as ring:
            keys = ring.keys()
    except (FarmError, OSError) as error:
        return str(error), False
    key = next((key for key in keys if key.answers_to(config.publish.key)), None)
    if key is None:
        return "it is not in farm's key ring", False
    return key.unusable_because(time.time()), key.is_demo


def _commit_time(root: Path) -> float:
    with contextlib.suppress(FarmError, ValueError):
        done = run(["git", "-C", root, "log", "-1", "--format=%ct"], check=False, timeout=_PATIENCE)
        return float(done.stdout.strip() or 0)
    return 0.0

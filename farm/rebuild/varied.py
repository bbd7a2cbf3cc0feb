"""Differences made on purpose: a sandbox as usual → the same with another clock, host, disk….

What programs are to preload is compiled where the release has a compiler, never from what the
lock lacks, and lies beside the roots: neither lock nor rpm database know of it. Statically
linked programs, and those that ask the kernel without the C library (Go's), do not play along.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from farm.errors import MachineError
from farm.model import Chroot, Compiler, Lock, digest_of
from farm.rebuild.roots import RootCache, assistance, emulator_for
from farm.rebuild.seal import Seal, seal
from farm.sandbox import Bind, Sandbox, User, execute, host_tool
from farm.sandbox.variation import (
    DAYS,
    DIRECTORY,
    RELEASE,
    SOURCES,
    VERSION,
    Differences,
    differences,
)
from farm.store import sha256_of, write_atomic

_FORMAT = 1
_PRELOADED = "/usr/lib/farm-varied"
_PRELOAD_LIST = "/etc/ld.so.preload"
_LOCALES = "/usr/lib/locale"
_IN, _OUT = "/farm/in", "/farm/out"
_CC_SECONDS = 300

_DEFINED = (
    f"-DOFFSET={DAYS * 86400}L '-DRELEASE=\"{RELEASE}\"' '-DVERSION=\"{VERSION}\"'"  # shell words
)
# Before glibc 2.34 dlsym() was in a library of its own.
_COMPILE = f"""\
set -e; umask 022; cd {_IN}
for file in *.c; do
  for more in '' -ldl; do
    {{cc}} -std=gnu11 -O2 -w -fPIC -shared -fvisibility=hidden -Wl,-z,defs {_DEFINED} \
      -o {_OUT}/${{{{file%.c}}}}.so $file $more && continue 2
  done
  exit 1
done
"""


@dataclass(frozen=True)
class Varying:
    """The differences of one attempt, and what it takes to bring them about."""

    differences: Differences
    cache: RootCache
    directory: Path  # the attempt's own
    compilers: tuple[Compiler, ...] = ()

    def make_ready(self, chroot: Chroot) -> None:
        """Make now what `applied` takes, before any root is held: making it takes a root."""
        with contextlib.ExitStack() as held:
            self._parts(chroot, held)

    @contextlib.contextmanager
    def applied(self, sandbox: Sandbox, chroot: Chroot) -> Iterator[Sandbox]:
        """The sandbox with all differences, whose parts are held until the block ends.

        Raises MachineError when this machine cannot bring one about.
        """
        wanted = self.differences
        with contextlib.ExitStack() as held:
            binds = self._parts(chroot, held)
            if wanted.preloads:
                binds.append(Bind(self._preload_list(), _PRELOAD_LIST))
            if wanted.hostname != "localhost":
                binds.append(Bind(self._hosts(), "/etc/hosts"))
            yield replace(
                sandbox,
                binds=(*sandbox.binds, *binds),
                user=wanted.user,
                environment={**sandbox.environment, **wanted.environment},
                hostname=wanted.hostname,
                over=self._over(),
                in_memory=wanted.memory_directory,
                processor=self._processor(held) if wanted.one_core else None,
                first=_give_away(sandbox.user, wanted.user),
            )

    def _processor(self, held: contextlib.ExitStack) -> int:
        """One that no other attempt is confined to, as long as there is one."""
        ours = sorted(os.sched_getaffinity(0))
        for number in ours:
            with contextlib.suppress(BlockingIOError):
                claim = self.cache.held(self.cache.directory / f"processor-{number}", wait=False)
                held.enter_context(claim)
                return number
        return ours[0]

    def _parts(self, chroot: Chroot, held: contextlib.ExitStack) -> list[Bind]:
        """What is kept beside the roots, made if need be, and where it is seen."""
        binds = []
        machines = {chroot.arch} | ({platform.machine()} if assistance(chroot) else set())
        for arch in sorted(machines) if self.differences.preloads else ():
            tree = self._library(arch, held)
            # $LIB of Debian's loader, and of nearly everybody else's; with native tools over a
            # root, which are Debian's, the two architectures never share a directory
            names = [f"lib/{arch}-linux-gnu"] + (["lib64"] if arch == chroot.arch else [])
            binds += [Bind(tree, f"{_PRELOADED}/{name}") for name in names]
        if self.differences.locale:
            binds.append(self._locale(held))
        return binds

    def _preload_list(self) -> Path:
        """Written for every sandbox: its time says which files are older than that."""
        path = self.directory / "ld.so.preload"
        names = (f"{_PRELOADED}/$LIB/{name}.so\n" for name in self.differences.preloads)
        write_atomic(path, "".join(names))
        return path

    def _library(self, arch: str, held: contextlib.ExitStack) -> Path:
        """The directory of compiled libraries for programs of an architecture."""
        suitable = [each for each in self.compilers if each.chroot.arch == arch]
        set_up = sorted(suitable[0].lock.setup) if suitable else []
        facts = (_FORMAT, arch, set_up, _COMPILE, [sha256_of(f) for f in sorted(SOURCES.iterdir())])

        def make(draft: Path, tree: Path) -> Seal:
            for compiler in suitable:
                if self._compile(compiler.chroot, compiler.lock, tree):
                    return seal(draft)
            if arch == platform.machine() and _compile_here(tree):
                return seal(draft)
            raise MachineError(
                f"nothing here can compile for {arch} what the variations "
                f"{', '.join(self.differences.preloads)} take",
                why="no root with a C compiler was named, and the machine has none for it",
                hint="Install gcc, or leave these variations out.",
            )

        return self.cache.layer("preload", digest_of(facts), make, held)

    def _compile(self, chroot: Chroot, lock: Lock, tree: Path) -> bool:
        """Whether the libraries could be compiled in the root of `lock`: it may have no gcc."""
        with self.cache.prepare(lock, chroot) as root:
            if not root.has("usr/bin/gcc"):
                return False
            sandbox = Sandbox(
                binds=(
                    Bind(root.overlay(), "/", writable=True),
                    Bind(SOURCES, _IN),
                    Bind(tree, _OUT, writable=True),
                ),
                emulator=emulator_for(chroot),
            )
            script = _COMPILE.format(cc="gcc")
            done = execute(sandbox, ["/bin/sh", "-c", script], timeout=_CC_SECONDS).completed
        if not done.ok:
            raise MachineError(
                f"what the variations take cannot be compiled in {chroot.name}",
                why="\n".join(done.stderr.strip().splitlines()[-20:]),
            )
        return True

    def _locale(self, held: contextlib.ExitStack) -> Bind:
        """Data of the locale, made by the machine's own localedef."""
        name, _, charmap = self.differences.locale.partition(".")
        directory = f"{name}.{charmap.lower().replace('-', '')}"

        def make(draft: Path, tree: Path) -> Seal:
            words = ["localedef", "--no-archive", "--quiet", "-c", "-i", name, "-f", charmap]
            done = host_tool(
                [*words, f"{_OUT}/{directory}"],
                binds=(Bind(tree, _OUT, writable=True),),
                check=False,
            )
            if not (tree / directory / "LC_CTYPE").is_file():
                raise MachineError(
                    f"this machine cannot make the locale {self.differences.locale}",
                    why=(done.stderr or done.stdout).strip(),
                    hint="Install the sources of locales: the package locales (Debian), "
                    "glibc-locale-source (Fedora, EL).",
                )
            return seal(draft)

        digest = digest_of((_FORMAT, self.differences.locale))
        tree = self.cache.layer("locale", digest, make, held)
        return Bind(tree / directory, f"{_LOCALES}/{directory}")

    def _hosts(self) -> Path:
        """A host has its own name in /etc/hosts."""
        path = self.directory / "hosts"
        name = self.differences.hostname
        write_atomic(path, f"127.0.0.1 localhost {name}\n::1 localhost {name}\n")
        return path

    def _over(self) -> tuple[Bind, ...]:
        """What /proc and /sys say otherwise than the kernel does."""
        texts: dict[str, str] = {}
        if self.differences.kernel:
            texts |= {
                "/proc/sys/kernel/osrelease": f"{RELEASE}\n",
                "/proc/sys/kernel/version": f"{VERSION}\n",
                "/proc/version": f"Linux version {RELEASE} (farm@localhost) {VERSION}\n",
            }
        if self.differences.one_core:
            first, _, _ = Path("/proc/cpuinfo").read_text("utf-8", "replace").partition("\n\n")
            texts |= {"/proc/cpuinfo": f"{first}\n\n", "/sys/devices/system/cpu/online": "0\n"}
        binds = []
        for target, text in texts.items():
            path = self.directory / "over" / target.strip("/").replace("/", "-")
            path.parent.mkdir(exist_ok=True)
            path.parent.chmod(0o755)
            write_atomic(path, text)
            binds.append(Bind(path, target))
        return tuple(binds)

    @contextlib.contextmanager
    def roots(self) -> Iterator[RootCache]:
        """The build roots of this attempt: those that all share, or its own."""
        if not self.differences.own_roots:
            yield self.cache
            return
        with self.cache.unshared() as own_roots:
            yield own_roots


def varying(
    names: Sequence[str], cache: RootCache, directory: Path, compilers: Sequence[Compiler] = ()
) -> Varying | None:
    """None where nothing is to differ. Raises UsageError for an unknown variation."""
    if not names:
        return None
    return Varying(differences(names), cache, directory, tuple(compilers))


@contextlib.contextmanager
def applied(varied: Varying | None, sandbox: Sandbox, chroot: Chroot) -> Iterator[Sandbox]:
    """The sandbox as `varied` wants it."""
    if varied is None:
        yield sandbox
    else:
        with varied.applied(sandbox, chroot) as other:
            yield other


def opening(varied: Varying | None) -> list[str]:
    """The first lines of what the build user runs."""
    if varied is None:
        return ["umask 022"]
    return [f"umask {varied.differences.umask}", *varied.differences.exports]


def _give_away(usual: User, other: User) -> tuple[str, ...]:
    """Shell lines that make the root's build user another one."""
    if usual == other:
        return ()
    named = "^\\([^:]*:[^:]*\\)"
    return (
        f"sed -i 's/{named}:{usual.uid}:{usual.gid}:/\\1:{other.uid}:{other.gid}:/' /etc/passwd",
        f"sed -i 's/{named}:{usual.gid}:/\\1:{other.gid}:/' /etc/group",
        # what is bound below, read-only, belongs to the host
        f"find {DIRECTORY} -exec chown -h {other.uid}:{other.gid} {{}} + 2>/dev/null || :",
    )


def _compile_here(tree: Path) -> bool:
    """Whether the machine's own compiler could."""
    done = host_tool(
        ["sh", "-c", _COMPILE.format(cc="cc")],
        binds=(Bind(SOURCES, _IN), Bind(tree, _OUT, writable=True)),
        timeout=_CC_SECONDS,
        check=False,
    )
    return done.ok

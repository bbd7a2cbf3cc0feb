"""mock as a process: its command line, its network and its processes taken away, its traces."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from farm.errors import FarmError, MachineError
from farm.model import Limits
from farm.rebuild.macros import TOPDIR
from farm.rebuild.mockaccess import Access
from farm.rebuild.mockconfig import Area
from farm.run import Completed, attach, run
from farm.sandbox.limits import Allowed, Meter, Peak, occupied

_QUERY = r"%{NAME} %{EPOCHNUM} %{VERSION} %{RELEASE} %{ARCH} %{SHA256HEADER}\n"
_MARK = "@farm-installed"
_PATIENCE = 600.0  # seconds for what is no build

# Root takes the network away itself, and its processes die with it. mock's nspawn does both for
# ordinary users; mock's other way to isolate does neither. The area gets a name of its own there:
# everybody may walk to it, and it is not below a directory that mock mounts over in its roots,
# where Debian's rpm, which keeps its database at home, would lose that.
_CAGED = Path("/run/farm")
_CAGE = (
    "bwrap", "--dev-bind", "/", "/", "--proc", "/proc", "--tmpfs", "/run",
    "--unshare-net", "--unshare-pid", "--unshare-ipc", "--die-with-parent", "--cap-add", "ALL",
)  # fmt: skip


@dataclass(frozen=True)
class Mock:
    """mock in one area, for one job."""

    area: Area
    access: Access
    nice: int = 0

    @property
    def seen(self) -> Area:
        """The area as mock sees it."""
        return Area(_CAGED) if os.getuid() == 0 else self.area

    def build(
        self,
        what: tuple[str, ...],
        *,
        log: Path,
        limits: Limits,
        timeout: float,
        on_line: Callable[[str], None],
    ) -> tuple[Completed, Peak]:
        """Fill a root and build in it; whatever becomes of it, the root stays. The most that it
        was seen to use is told as well; of the root, only what the build wrote is counted."""
        meter = Meter(
            Allowed(timeout, limits.silence, limits.memory, limits.disk),
            log=log,
            on_disk=lambda _: occupied(self.area.root / TOPDIR.lstrip("/")),
            on_limit=self._kill,
        )
        try:
            done = run(
                self._command(*what),
                env=self.access.environment,
                check=False,
                log=log,
                watch=meter.watch,
                on_line=on_line,
            )
        except BaseException:
            self._kill()
            raise
        meter.conclude()
        return done, meter.peak

    @cached_property
    def database(self) -> str:
        """Where the host's rpm puts the database of a root that it fills, as seen inside.

        Debian's is below the home directory, which mock sets to one inside the root.
        """
        home = self.seen.root / "installation-homedir"
        path = run(["rpm", "--eval", "%{_dbpath}"], env={"HOME": str(home)}).stdout.strip()
        if not path.startswith("/"):
            raise MachineError("rpm does not say where its database is", why=path)
        return path

    def installed(self) -> tuple[str, ...]:
        """What the root's own rpm says: name, epoch, version, release, arch, header digest.

        Raises CommandFailed when it cannot be asked.
        """
        words = ["rpm", "--dbpath", self.database, "-qa", "--qf", f"{_MARK} {_QUERY}"]
        done = self._quietly("--no-clean", "--chroot", shlex.join(words))
        marked = (line for line in done.stdout.splitlines() if line.startswith(_MARK))
        return tuple(line.removeprefix(_MARK).strip() for line in marked)

    def shell(self, command: Sequence[str] = ()) -> int:
        """Give the terminal to the build user in the root; the exit code of shell or `command`."""
        script = [shlex.join(command)] if command else []
        words = ("--quiet", "--no-clean", "--unpriv", "--cwd", TOPDIR, "--shell", *script)
        return attach(self._command(*words), env=self.access.environment)

    def clean(self, *, inside: bool = False) -> None:
        """Delete the root and everything else in the area; the area as well, if not `inside`.

        mock's files belong to root: where farm does not run as that, mock has to delete them.
        """
        if os.getuid() != 0 and self.area.state.exists():
            with contextlib.suppress(FarmError):
                self._quietly("--clean")
        for path in self.area.path.iterdir() if inside else (self.area.path,):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def version(self) -> str:
        """What mock calls itself."""
        done = run([self.access.program, "--version"], env=self.access.environment, check=False)
        return (done.stdout or done.stderr).strip().splitlines()[-1:][0] if done.ok else ""

    def _quietly(self, *what: str) -> Completed:
        return run(self._command(*what), env=self.access.environment, timeout=_PATIENCE)

    def _kill(self) -> None:
        """End what runs in the root. Root's cage ends it by itself."""
        if os.getuid() != 0:
            with contextlib.suppress(FarmError):
                self._quietly("--orphanskill")

    def _command(self, *what: str) -> list[str | Path]:
        cage: list[str | Path] = []
        if os.getuid() == 0:
            cage = [*_CAGE, "--dev-bind", self.area.path, _CAGED, "--"]
        nice = ["nice", "-n", str(self.nice)] if self.nice else []
        seen = self.seen
        return [
            *cage, *nice, self.access.program, "--configdir", seen.settings,
            "-r", seen.configuration, "--macro-file", seen.macros, *what,
        ]  # fmt: skip


@contextlib.contextmanager
def held(area: Area) -> Iterator[None]:
    """Hold an area that exists, so that nobody deletes it. Raises BlockingIOError when in use."""
    handle = os.open(area.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def forget(directory: Path, access: Access, number: int) -> None:
    """Delete all but the newest `number` of the areas in `directory` that are not in use."""
    if not directory.is_dir():
        return
    areas = sorted(directory.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in areas[number:]:
        with contextlib.suppress(BlockingIOError, FileNotFoundError), held(Area(path)):
            Mock(Area(path), access).clean()


def make_directory(path: Path) -> None:
    """A directory that the user for whom mock acts may read, whatever our umask is."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o755)

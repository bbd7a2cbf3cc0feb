"""How soon does rpmbuild start when a root is warm, and how long does a trivial C library take?

`farm work` as the engines start it, from its start to the first line of %prep, all that it keeps
included; beside it mock with its overlayfs plugin, where a mock is in the PATH, on the same source
package, with the same packages in its root. Pair by pair, since a machine's speed changes.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from farm.model import to_json
from farm.rebuild import mock
from farm.rebuild.mockconfig import LOGGING, Area, configuration, macro_file
from farm.rebuild.mocklock import write_repository
from farm.rebuild.worker import read_order
from farm.run import environment, run
from tests.builds import Ground, ground, order, tiny

_MARK = "farm-bench-started"
_STARTED = ("%prep\n", f"%prep\necho {_MARK} $(date +%s.%N)\n")


@dataclass(frozen=True)
class Attempt:
    """Seconds from the start of the program: to the start of %prep, and to its end."""

    start: float
    whole: float


@dataclass(frozen=True)
class Figures:
    """Medians in seconds, and of the ratios mock ÷ farm pair by pair (None without mock)."""

    farm: Attempt
    mock: Attempt | None = None
    start_ratio: float | None = None
    whole_ratio: float | None = None
    version: str = ""


def measure(directory: Path, runs: int) -> Figures:
    """Time attempts in pairs; the first of each kind, which fills the root, does not count."""
    directory.mkdir(exist_ok=True)
    place = ground("x86_64", directory / "state")
    recipe = tiny(directory / "recipe", _STARTED)
    job = order(place, recipe, "first")
    _farm(job)
    ours, theirs = [], []
    with _mocks(place, job) as start_mock:
        for number in range(runs):
            again = place.state / "attempts" / f"run-{number}" / "job.json"
            again.parent.mkdir()
            written = read_order(job)
            renamed = msgspec.structs.replace(written.job, attempt=f"run-{number}")
            again.write_bytes(to_json(msgspec.structs.replace(written, job=renamed)))
            ours.append(_farm(again))
            if start_mock is not None:
                theirs.append(start_mock())
        version = start_mock.version if start_mock is not None else ""
    if not theirs:
        return Figures(_median(ours))
    pairs = list(zip(ours, theirs, strict=True))
    return Figures(
        _median(ours), _median(theirs),
        statistics.median(m.start / f.start for f, m in pairs),
        statistics.median(m.whole / f.whole for f, m in pairs),
        version,
    )  # fmt: skip


def _farm(job: Path) -> Attempt:
    began = time.time()
    run([sys.executable, "-P", "-m", "farm", "work", job], timeout=600)
    ended = time.time()
    outcome = (job.parent / "outcome.json").read_text()
    if '"type":"built"' not in outcome:
        raise SystemExit(outcome)
    return _attempt(began, ended, (job.parent / "build.log").read_text("utf-8", "replace"))


def _attempt(began: float, ended: float, log: str) -> Attempt:
    found = re.search(rf"^{_MARK} ([0-9.]+)$", log, re.M)
    if found is None:
        raise SystemExit(log[-2000:])
    return Attempt(float(found[1]) - began, ended - began)


def _median(attempts: list[Attempt]) -> Attempt:
    return Attempt(
        statistics.median(a.start for a in attempts), statistics.median(a.whole for a in attempts)
    )


class _Mock:
    """mock with a root that its overlayfs plugin keeps, filled once."""

    def __init__(self, place: Ground, job_file: Path, directory: Path) -> None:
        self._access = mock.access()
        job = read_order(job_file).job
        area = Area(directory)
        for path in (area.settings, area.inputs, area.repository, area.results, area.state):
            path.mkdir(parents=True)
            path.chmod(0o777)
        self._area, self._source = area, area.inputs / "tiny.src.rpm"
        shutil.copyfile(place.store.get(job.srpm), self._source)
        write_repository(job.lock, place.store, area.repository)
        home = area.root / "installation-homedir"
        database = run(["rpm", "--eval", "%{_dbpath}"], env={"HOME": str(home)}).stdout.strip()
        text = configuration(job, area, isolation="simple", database=database)
        overlay = {"base_dir": str(area.state / "overlay"), "touch_rpmdb": False}
        text += "config_opts['plugin_conf']['overlayfs_enable'] = True\n"
        text += f"config_opts['plugin_conf']['overlayfs_opts'] = {overlay!r}\n"
        area.configuration.write_text(text)
        area.macros.write_text(macro_file(job))
        (area.settings / "site-defaults.cfg").write_text("")
        (area.settings / "logging.ini").write_text(LOGGING)
        self._environment = dict(self._access.environment)
        if shutil.which("modprobe") is None:  # the plugin wants one, also where overlay is built in
            stand_in = directory / "bin" / "modprobe"
            stand_in.parent.mkdir()
            stand_in.write_text("#!/bin/sh\n")
            stand_in.chmod(0o755)
            self._environment["PATH"] = f"{stand_in.parent}:{environment()['PATH']}"
        told = run([self._access.program, "--version"], env=self._environment)
        self.version = (told.stdout or told.stderr).strip().splitlines()[-1]

    def __call__(self) -> Attempt:
        area = self._area
        began = time.time()
        done = run(
            [
                self._access.program, "--configdir", area.settings, "-r", area.configuration,
                "--macro-file", area.macros, "--no-cleanup-after", "--rebuild", self._source,
            ],
            env=self._environment, timeout=900, check=False,
        )  # fmt: skip
        ended = time.time()
        if not done.ok:
            raise SystemExit((done.stdout + done.stderr)[-3000:])
        return _attempt(began, ended, done.stdout + done.stderr)

    def clean(self) -> None:
        """Have mock unmount and forget its root."""
        run(
            [
                self._access.program, "--configdir", self._area.settings,
                "-r", self._area.configuration, "--scrub", "all",
            ],
            env=self._environment, check=False, timeout=600,
        )  # fmt: skip


@contextlib.contextmanager
def _mocks(place: Ground, job: Path) -> Iterator[_Mock | None]:
    if not mock.access().granted or os.getuid() != 0:
        yield None
        return
    home = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="farm-bench-mock-", dir=home) as name:
        Path(name).chmod(0o755)
        started = _Mock(place, job, Path(name))
        try:
            started()
            yield started
        finally:
            started.clean()


def main(argv: list[str]) -> None:
    runs = int(argv[0]) if argv else 7
    with tempfile.TemporaryDirectory(prefix="farm-bench-") as name:
        Path(name).chmod(0o755)
        print(measure(Path(name), runs))


if __name__ == "__main__":
    main(sys.argv[1:])

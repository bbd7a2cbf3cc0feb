"""What the status pages cost a run: the same made-up run over many packages, with and without.

`python -m tests.bench.status [PACKAGES [SECONDS]]`: of a farm that was built before, every step
runs again, and ends with a record in the ledger; the steps are spread over so many seconds.
"""

from __future__ import annotations

import contextlib
import resource
import sys
import tempfile
import time
from pathlib import Path

from farm.ledger import coordinator
from farm.progress import Event, Quiet
from farm.showing import Showing
from tests.farms import RELEASE, Farm


def run_of(farm: Farm, watcher: Quiet, seconds: float) -> tuple[float, float]:
    """Seconds, and seconds of processor time, of a run that `watcher` sees."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_utime
    with coordinator(farm.state) as ledger, watcher:
        watcher.see(Event(at=time.time(), state="begun", text="build", release=RELEASE))
        for event in farm.queued(time.time()):
            watcher.see(event)
        steps = [step for _, step in farm.steps()]
        for number, step in enumerate(steps):
            attempt = f"20261120-120000-{time.monotonic_ns() & 0xFFFFFFFF:08x}-{number}"
            standing = ledger.standing(step)
            assert standing is not None
            ledger.begin(attempt, step, standing.key)
            for phase in ("start", "root", "%prep", "%build", "%install", "%check", "packaging"):
                event = Event(
                    at=time.time(), state="running", step=step, phase=phase, attempt=attempt
                )
                watcher.see(event)
            ledger.end(attempt, standing.built)
            ledger.record(standing)
            watcher.see(Event(at=time.time(), state="built", step=step, text="new", seconds=1.0))
            time.sleep(max(0.0, began + seconds * (number + 1) / len(steps) - time.monotonic()))
        watcher.see(Event(at=time.time(), state="ended", text="build", release=RELEASE))
    spent = resource.getrusage(resource.RUSAGE_SELF).ru_utime - before
    return time.monotonic() - began, spent


def main() -> None:
    packages = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 60.0
    memory = Path("/dev/shm")
    with contextlib.ExitStack() as stack:
        place = memory if memory.is_dir() else None
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=place)))
        farm = Farm(root, packages)
        farm.fill()
        for name, watcher in (
            ("without", Quiet()),
            ("with, for the first time", Showing(farm.config)),
            ("with", Showing(farm.config)),
            ("without, once more", Quiet()),
        ):
            took, spent = run_of(farm, watcher, seconds)
            print(f"{name:<26} {took:7.1f} s   {spent:6.1f} s of processor", flush=True)
        now = farm.publication / "status/now.json"
        pages = list((farm.publication / "status").rglob("*.html"))
        print(f"{len(pages)} pages, {sum(p.stat().st_size for p in pages) / 1e6:.1f} MB;"
              f" now.json {now.stat().st_size / 1e3:.1f} kB at the end")  # fmt: skip


if __name__ == "__main__":
    main()

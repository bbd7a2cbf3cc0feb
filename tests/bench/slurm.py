"""What does Slurm cost over this machine's own engine, for the same jobs?

    python -m tests.bench.slurm [--runs N] [--batch N] [--write docs/slurm.md]

A trivial C library whose root is warm, pair by pair: once as a child process, once as a batch job
of a small cluster on this machine, from the engine's start() to its word that the attempt has
ended. Then as many of them at once, two at a time. With Slurm as it comes, and with its wait
before a batch job starts (batch_sched_delay, 3 s) switched off.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from farm.config import Slurm
from farm.model import Built, Demand, Job, to_json
from farm.rebuild.claim import FILE
from farm.rebuild.engines import Ended, Engine
from farm.rebuild.engines.local import LocalEngine
from farm.rebuild.engines.slurm import SlurmEngine
from farm.rebuild.engines.slurm.post import SharedDirectory
from farm.rebuild.worker import read_order
from farm.run import processors, run
from tests.builds import ground, order, tiny
from tests.real.slurm import cluster

_BEGIN, _END = "<!-- measured -->\n", "<!-- end of what was measured -->\n"


@dataclass(frozen=True)
class Times:
    """Seconds of one attempt: until its worker began, while that worked, until it was noticed."""

    before: float
    work: float
    after: float

    @property
    def whole(self) -> float:
        return self.before + self.work + self.after


class Bench:
    """Copies of one job; each attempt is made once."""

    def __init__(self, directory: Path) -> None:
        place = ground("x86_64", directory / "state")
        self.state = place.state
        first = order(place, tiny(directory / "recipe"), "first", cpus=1)
        self._order = read_order(first)
        self._number = 0

    def attempt(self) -> tuple[Job, Path]:
        self._number += 1
        # who asks for no memory gets all that a node has, and is alone there
        need = Demand(memory=512 << 20)
        attempt = f"bench-{self._number}"
        job = msgspec.structs.replace(self._order.job, attempt=attempt, demand=need)
        directory = self.state / "attempts" / job.attempt
        directory.mkdir(parents=True)
        work = msgspec.structs.replace(self._order, job=job)
        (directory / "job.json").write_bytes(to_json(work))
        return job, directory

    def one(self, engine: Engine) -> Times:
        """One attempt by itself."""
        job, directory = self.attempt()
        started = time.time()
        engine.start(job, directory)
        _until_ended(engine, 1)
        noticed = time.time()
        begun = (directory / FILE).stat().st_mtime
        done = (directory / "outcome.json").stat().st_mtime
        return Times(begun - started, done - begun, noticed - done)

    def many(self, engine: Engine, number: int, slots: int) -> float:
        """Seconds for so many, so many at a time, as the scheduler keeps them going."""
        left = [self.attempt() for _ in range(number)]
        started, running = time.monotonic(), 0
        while left or running:
            while left and running < slots:
                engine.start(*left.pop())
                running += 1
            running -= _until_ended(engine, 1)
        return time.monotonic() - started


def _until_ended(engine: Engine, number: int) -> int:
    over = 0
    while over < number:
        for news in engine.poll(0.25):
            if isinstance(news, Ended):
                assert isinstance(news.outcome, Built), news
                over += 1
    return over


def measured(directory: Path, runs: int, batch: int) -> str:
    """The table, as Markdown."""
    bench = Bench(directory)
    local = LocalEngine(2)
    bench.one(local)  # fills the root
    lines = [
        "| the same job | this machine | Slurm as it comes | without its 3 s |",
        "| --- | --- | --- | --- |",
    ]
    columns: list[list[Times]] = [[]]
    together = [[bench.many(local, batch, 2)]]
    for scheduler in ("batch_sched_delay=3", "batch_sched_delay=0"):
        home = directory / scheduler
        with cluster(home, nodes={"node": "x86_64"}, scheduler=scheduler) as slurm:
            os.environ |= slurm.environment
            engine = SlurmEngine(Slurm(), bench.state, SharedDirectory(""))
            bench.one(engine)
            times = []
            for _ in range(runs):
                columns[0].append(bench.one(local))
                times.append(bench.one(engine))
            columns.append(times)
            together.append([bench.many(engine, batch, 64)])
            together[0].append(bench.many(local, batch, 2))

    def row(name: str, values: list[float]) -> str:
        return f"| {name} | {' | '.join(f'{value:.2f} s' for value in values)} |"

    def median(part: str) -> list[float]:
        return [statistics.median(getattr(each, part) for each in times) for times in columns]

    lines += [
        row("until the worker begins", median("before")),
        row("the worker", median("work")),
        row("until farm knows that it has ended", median("after")),
        row("**one attempt**", median("whole")),
        row(f"**{batch} of them, 2 at a time**", [statistics.median(t) for t in together]),
    ]
    whole, several = median("whole"), [statistics.median(t) for t in together]
    lines += [
        "",
        f"Slurm costs an attempt {whole[1] - whole[0]:.1f} s as it comes and "
        f"{whole[2] - whole[0]:.1f} s without its wait. On a full node a processor stands idle "
        f"{2 * (several[1] - several[0]) / batch:.1f} s and "
        f"{2 * (several[2] - several[0]) / batch:.1f} s before each further job.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9, help="pairs for each column")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--write", type=Path, help="put the table into this file, too")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="farm-bench-") as place:
        text = measured(Path(place), asked.runs, asked.batch)
    version = run(["slurmctld", "-V"]).stdout.strip()
    host = f"{version}, Linux {platform.release()}, {processors()} processors"
    load = f"load {os.getloadavg()[1]:.1f} by others and this"
    text = f"{host}, {load}; {asked.runs} pairs, medians.\n\n{text}"
    print(text)
    if asked.write:
        before, _, rest = asked.write.read_text("utf-8").partition(_BEGIN)
        after = rest.partition(_END)[2]
        asked.write.write_text(f"{before}{_BEGIN}\n{text}\n\n{_END}{after}", "utf-8")


if __name__ == "__main__":
    main()

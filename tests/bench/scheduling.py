"""The order of `farm build` on the build-dependency graph of Debian's source packages.

    python -m tests.bench.scheduling [--seeds N] [--write docs/scheduling.md]

The scheduler itself walks the graph, with a clock that is made up. Durations are drawn, from a
seed, from a heavy-tailed distribution. Beside it: who is ready first is started first.
"""

from __future__ import annotations

import argparse
import heapq
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from farm.errors import FarmError
from farm.model import Demand, Plan
from farm.rebuild.engines import Capacity
from farm.rebuild.ranks import Graph as Waiting
from farm.rebuild.ranks import remaining_paths
from farm.rebuild.simulation import simulated
from tests.bench.indexes import fetch_indexes
from tests.bench.sources import Graph, graph

SUITE = "bookworm"
SIZES = (1000, 10_000)
WORKERS = (1, 2, 16, 256)
AT_MOST = 1.05  # of the bound
_MILLISECONDS = 5.0  # of scheduling, a job, at most
_MEDIAN, _SIGMA = 60.0, 1.5  # of the durations' lognormal distribution: one in a thousand takes
# more than an hour and a half, half of all the work is in one package of fifteen
_WRONG = 0.5  # sigma of the factor by which expectations are off, where they are
_MARK = "<!-- made by make bench-scheduling: below this line nothing is written by hand -->"


@dataclass(frozen=True)
class Case:
    """One walk. Times in seconds, of the made-up clock; `cost` is milliseconds of processor time
    of this process for each job, everything included."""

    packages: int
    workers: int
    seed: int
    path: float
    work: float
    ours: float
    astray: float  # with expectations that are wrong
    first_come: float
    cost: float

    @property
    def bound(self) -> float:
        """No schedule is shorter."""
        return max(self.path, self.work / self.workers)


def durations(plan: Plan, seed: int) -> dict[str, float]:
    """Seconds of each step."""
    chance = random.Random(seed)
    return {step.id: _MEDIAN * chance.lognormvariate(0, _SIGMA) for step in plan.steps}


def first_come(plan: Plan, seconds: Mapping[str, float], workers: int) -> float:
    """How long it takes if what is ready first is started first, in the plan's order to begin
    with."""
    waiting = Waiting(plan.steps)
    left = [len(needs) for needs in waiting.awaited]
    ready = [place for place, number in enumerate(left) if not number]
    ends: list[tuple[float, int]] = []
    now, next_ready = 0.0, 0
    while next_ready < len(ready) or ends:
        while next_ready < len(ready) and len(ends) < workers:
            place = ready[next_ready]
            next_ready += 1
            heapq.heappush(ends, (now + seconds[plan.steps[place].id], place))
        now, place = heapq.heappop(ends)
        for after in waiting.following[place]:
            left[after] -= 1
            if not left[after]:
                ready.append(after)
    return now


def measure(found: Graph, workers: int, seed: int) -> Case:
    """One walk, one with wrong expectations, and first come, first served."""
    plan = found.plan
    seconds = durations(plan, seed)
    demands = {name: Demand(seconds=each) for name, each in seconds.items()}
    started = time.process_time()
    ours = simulated(plan, demands, [Capacity(workers)])
    cost = (time.process_time() - started) / len(plan.steps) * 1000
    if len(ours.spans) != len(plan.steps):
        raise SystemExit(f"{len(plan.steps) - len(ours.spans)} steps were never built")
    chance = random.Random(-seed - 1)
    expected = {
        name: Demand(seconds=each * chance.lognormvariate(0, _WRONG))
        for name, each in seconds.items()
    }
    astray = simulated(plan, expected, [Capacity(workers)], seconds=seconds)
    return Case(
        len(plan.steps), workers, seed,
        max(remaining_paths(plan, seconds).values()), sum(seconds.values()),
        ours.seconds, astray.seconds, first_come(plan, seconds, workers), cost,
    )  # fmt: skip


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=5, help="of the durations (default: 5)")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/farm/bench-solver"))
    parser.add_argument("--write", type=Path, help="also write the table into this page")
    asked = parser.parse_args(argv)
    indexes = asked.cache.expanduser().resolve() / "indexes"
    indexes.mkdir(parents=True, exist_ok=True)
    packages, sources = fetch_indexes(indexes, (SUITE,))[SUITE]
    graphs, cases = [], []
    for size in SIZES:
        found = graph(packages, sources, size)
        graphs.append(found)
        for workers in (*WORKERS, None):
            for seed in range(asked.seeds):
                cases.append(measure(found, workers or _hardest(found, seed), seed))
                print(line([cases[-1]]), flush=True)
    text = report(graphs, cases, sources)
    print(text)
    if asked.write:
        page = asked.write.read_text("utf-8").partition(_MARK)[0] if asked.write.exists() else ""
        asked.write.write_text(f"{page}{_MARK}\n\n{text}", "utf-8")
    asked_for = [case for case in cases if case.workers in WORKERS]
    good = all(case.ours <= AT_MOST * case.bound for case in asked_for)
    return 0 if good and all(case.cost < _MILLISECONDS for case in cases) else 1


def _hardest(found: Graph, seed: int) -> int:
    """As many workers as make the longest chain and all the work take about the same time."""
    seconds = durations(found.plan, seed)
    path = max(remaining_paths(found.plan, seconds).values())
    return max(1, round(sum(seconds.values()) / path))


def line(cases: Sequence[Case]) -> str:
    """One row of the table: a case, whatever the seed."""
    workers = sorted({case.workers for case in cases})
    many = f"{workers[0]}" if len(workers) == 1 else f"{workers[0]} to {workers[-1]}"

    def times(name: str) -> str:
        of_bound = [getattr(case, name) / case.bound for case in cases]
        return f"{statistics.median(of_bound):.3f} | {max(of_bound):.3f}"

    hours = statistics.median(case.bound for case in cases) / 3600
    which = "path" if statistics.median(c.path - c.work / c.workers for c in cases) > 0 else "work"
    return (
        f"| {cases[0].packages} | {many} | {hours:.1f} h, {which} | {times('ours')}"
        f" | {times('astray')} | {times('first_come')} | {max(c.cost for c in cases):.2f} ms |"
    )


def report(graphs: Sequence[Graph], cases: Sequence[Case], sources: Path) -> str:
    """The figures, and of what."""
    fetched = time.strftime("%Y-%m-%d", time.gmtime(sources.stat().st_mtime))
    seeds = len({case.seed for case in cases})
    lines = [
        "## A replay on Debian's packages",
        "",
        f"Made by `make bench-scheduling` on {time.strftime('%Y-%m-%d', time.gmtime())}:"
        f" {os.cpu_count()} processors, {platform.machine()}, Python {platform.python_version()};"
        f" Debian's {SUITE} (main, amd64), indexes fetched {fetched}. The scheduler itself walks"
        " the graph of build dependencies, with a clock that is made up; which packages are taken"
        " and how their circles are cut is said in `tests/bench/sources.py`. Durations are"
        f" lognormal, median {_MEDIAN:.0f} s, sigma {_SIGMA}: {seeds} seeds.",
        "",
        *(
            f"- {len(each.plan.steps)} packages, {each.edges} edges; {each.cut} more were cut, the"
            f" largest circle had {each.largest} packages."
            for each in graphs
        ),
        "",
        "Makespan over max(critical path, total work / workers), which no schedule can be below:"
        f" median and worst of the seeds. Wrong expectations: each is off by a factor, lognormal"
        f" with sigma {_WRONG}. First come: what is ready first is started first. The cost is the"
        " processor time of the whole replay for each job, its engine included, at its worst. The"
        " last line of each size is for as many workers as make critical path and work equal,"
        " where a schedule is hardest to fit.",
        "",
        "| packages | workers | bound | farm | worst | wrong expectations | worst | first come"
        " | worst | cost of a job |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]  # fmt: skip
    for size in SIZES:
        of_size = [case for case in cases if case.packages == size]
        for workers in WORKERS:
            lines.append(line([case for case in of_size if case.workers == workers]))
        rest = [case for case in of_size if case.workers not in WORKERS]
        if rest:
            lines.append(line(rest))
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except FarmError as error:
        sys.exit(str(error))

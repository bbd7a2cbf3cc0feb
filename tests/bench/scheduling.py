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
from tests.bench.bounds import sharper_bound
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
# In the crowded replay: what packages want, on machines with so much memory for each core.
_CORES = (1, 1, 1, 2, 4, 8)
_MEMORY, _MEMORY_SIGMA, _PER_CORE = 500 << 20, 1.0, 2 << 30
_CROWDED = (16, 256)
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


@dataclass(frozen=True)
class Crowded:
    """One walk of packages that want different numbers of cores, and memory."""

    packages: int
    cores: int
    seed: int
    bound: float  # critical path, core-seconds, byte-seconds: the longest of them
    ours: float
    cost: float


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


def crowd(found: Graph, cores: int, seed: int) -> Crowded:
    """One walk within cores and memory."""
    plan, seconds, chance = found.plan, durations(found.plan, seed), random.Random(-seed - 1)
    most = cores * _PER_CORE
    demands = {
        name: Demand(
            cores=min(chance.choice(_CORES), cores),
            memory=min(int(_MEMORY * chance.lognormvariate(0, _MEMORY_SIGMA)), most),
            seconds=each,
        )
        for name, each in seconds.items()
    }
    started = time.process_time()
    ours = simulated(plan, demands, [Capacity(cores, cores, most)])
    cost = (time.process_time() - started) / len(plan.steps) * 1000
    bound = max(
        *remaining_paths(plan, seconds).values(),
        sum(each.cores * each.seconds for each in demands.values()) / cores,
        sum(each.memory * each.seconds for each in demands.values()) / most,
    )
    return Crowded(len(plan.steps), cores, seed, bound, ours.seconds, cost)


def cost_of(plan: Plan, workers: int) -> float:
    """Milliseconds of processor time for each job of one walk."""
    demands = {name: Demand(seconds=each) for name, each in durations(plan, 0).items()}
    started = time.process_time()
    simulated(plan, demands, [Capacity(workers)])
    return (time.process_time() - started) / len(plan.steps) * 1000


def _pairs(plan: Plan) -> int:
    return sum(len(step.needs) for step in plan.steps)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=10, help="of the durations (default: 10)")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/farm/bench-solver"))
    parser.add_argument("--write", type=Path, help="also write the table into this page")
    asked = parser.parse_args(argv)
    indexes = asked.cache.expanduser().resolve() / "indexes"
    indexes.mkdir(parents=True, exist_ok=True)
    packages, sources = fetch_indexes(indexes, (SUITE,))[SUITE]
    graphs: list[Graph] = []
    cases: list[Case] = []
    crowded: list[Crowded] = []
    closed: list[float] = []
    for size in SIZES:
        found = graph(packages, sources, size)
        graphs.append(found)
        closed.append(cost_of(found.closed, max(WORKERS)))
        for workers in (*WORKERS, None):
            for seed in range(asked.seeds):
                cases.append(measure(found, workers or _hardest(found, seed), seed))
                print(line([cases[-1]]), flush=True)
        for cores in _CROWDED:
            crowded += [crowd(found, cores, seed) for seed in range(asked.seeds)]
            print(crowded_line(crowded[-asked.seeds :]), flush=True)
    text = report(graphs, cases, crowded, closed, sources)
    print(text)
    if asked.write:
        page = asked.write.read_text("utf-8").partition(_MARK)[0] if asked.write.exists() else ""
        asked.write.write_text(f"{page}{_MARK}\n\n{text}", "utf-8")
    asked_for = [case for case in cases if case.workers in WORKERS]
    good = all(case.ours <= AT_MOST * case.bound for case in asked_for)
    costs = [*closed, *(case.cost for case in cases), *(case.cost for case in crowded)]
    return 0 if good and max(costs) < _MILLISECONDS else 1


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


def _of_bound(case: Case) -> float:
    return case.ours / case.bound


def crowded_line(cases: Sequence[Crowded]) -> str:
    """One row of the second table: a case, whatever the seed."""
    of_bound = [case.ours / case.bound for case in cases]
    hours = statistics.median(case.bound for case in cases) / 3600
    return (
        f"| {cases[0].packages} | {cases[0].cores} | {hours:.1f} h"
        f" | {statistics.median(of_bound):.3f} | {max(of_bound):.3f}"
        f" | {max(case.cost for case in cases):.2f} ms |"
    )


def report(
    graphs: Sequence[Graph],
    cases: Sequence[Case],
    crowded: Sequence[Crowded],
    closed: Sequence[float],
    sources: Path,
) -> str:
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
            f"- {len(each.plan.steps)} packages with {each.edges} dependencies on one another;"
            f" {each.cut} more were cut, the largest circle had {each.largest} packages. With what"
            f" needs need counted as well, as in farm's own plans, there are {_pairs(each.closed)},"
            f" and a job costs {cost:.2f} ms."
            for each, cost in zip(graphs, closed, strict=True)
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
    worst = max((case for case in cases if case.packages == min(SIZES)), key=_of_bound)
    if _of_bound(worst) > 1.01:
        found = next(each for each in graphs if len(each.plan.steps) == worst.packages)
        best = sharper_bound(found.plan, durations(found.plan, worst.seed), worst.workers)
        lines += [
            "",
            f"The worst of {worst.packages} packages ({_of_bound(worst):.3f} with {worst.workers}"
            f" workers) is at most {worst.ours / best:.3f} times as long as the shortest schedule"
            f" there is: none is below {best / worst.bound:.3f} of the bound, by what has to"
            " be done within spans of time (`tests/bench/bounds.py`).",
        ]
    lines += [
        "",
        "The same packages where each wants one core or two, four or eight, and memory (lognormal,"
        f" median {_MEMORY >> 20} MiB, sigma {_MEMORY_SIGMA}), on machines with"
        f" {_PER_CORE >> 30} GiB for each core. The bound is the longest of critical path,"
        " core-seconds and byte-seconds; since packages cannot be cut into pieces that fill the"
        " gaps, no schedule need come near it.",
        "",
        "| packages | cores | bound | farm | worst | cost of a job |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for size in SIZES:
        for cores in _CROWDED:
            those = [case for case in crowded if (case.packages, case.cores) == (size, cores)]
            lines.append(crowded_line(those))
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except FarmError as error:
        sys.exit(str(error))

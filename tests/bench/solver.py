"""`farm closure` beside Debian's dose on Debian's own indexes: time, memory and verdicts.

    python -m tests.bench.solver [--runs N] [--write docs/solver.md]

Wants `apt-get install dose-builddebcheck dose-distcheck`. What is fetched and made (about 500 MB)
is kept below the cache directory, so a second time only the measuring is done.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from farm import run
from farm.errors import FarmError, MachineError
from tests.bench.indexes import fetch_indexes
from tests.bench.processes import Run, median, ratios, timed
from tests.bench.verdicts import Comparison, compare

SUITES = ("bookworm", "trixie")
_FARM_TOML = 'default_release = "bench"\n[releases.bench]\narchitectures = ["x86_64"]\n'
_MOST_LISTED = 50
_HOW = """\
## How

What needs something that nothing can fulfil is broken, and so is what needs that: a fixpoint.
Every other dependency gets one default provider, so that every package has one closure; where
nothing in it forbids anything else in it, the closure is a valid installation, a witness. Where
two default providers are in one another's way, the other choice is tried. What is left, some
hundred questions, goes to libsolv, each with a solver of its own. Verdicts only: a lock always
comes from libsolv. `tests/unit/test_witness.py` compares verdicts and rechecks with plain libsolv
on random universes, thousands of them in `make soak`.

What is kept between runs, below the state directory: the repositories as libsolv's `.solv` files
and the graph of who needs and has what as arrays of numbers, both named by the checksums of the
metadata. No verdict is kept. An update is brought into the pool and the graph of the first check
without reading again what has not changed, and decided anew; what libsolv answered before stands
while all that it would install is there.
"""


@dataclass(frozen=True)
class Case:
    """A question for both: which base, and which sources on it (none: the base's packages)."""

    title: str
    base: str
    sources: str = ""

    @property
    def name(self) -> str:
        return f"{self.sources or 'packages'}-on-{self.base}"

    def dose(self, indexes: Path) -> list[str]:
        packages = str(indexes / self.base / "Packages")
        if not self.sources:
            return ["dose-debcheck", "--deb-native-arch=amd64", packages]
        sources = str(indexes / self.sources / "Sources")
        return ["dose-builddebcheck", "--deb-native-arch=amd64", packages, sources]

    def farm(self, metadata: Path) -> list[str]:
        command = [str(Path(sys.executable).with_name("farm")), "closure"]
        command += ["--base", str(metadata / self.base)]
        return command + (
            ["--sources", str(metadata / f"{self.sources}-sources")] if self.sources else []
        )

    def names(self, metadata: Path) -> Path:
        return metadata / (f"{self.sources}-sources" if self.sources else self.base) / "names.json"


CASES = (
    Case("sources of bookworm on bookworm", "bookworm", "bookworm"),
    Case("sources of bookworm on trixie", "trixie", "bookworm"),
    Case("packages of bookworm", "bookworm"),
    Case("packages of trixie", "trixie"),
)


@dataclass(frozen=True)
class Measured:
    """A case's runs, in turn, and what both said."""

    case: Case
    cold: tuple[Run, ...]
    warm: tuple[Run, ...]
    dose: tuple[Run, ...]
    verdicts: Comparison


@dataclass(frozen=True)
class Rechecked:
    """After an update of a hundred packages: times in seconds, and whether it was right."""

    case: Case
    reading: tuple[float, ...]  # fetching, verifying and comparing the new metadata
    deciding: tuple[float, ...]
    right: bool  # the same packages broken as in a check from scratch


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=5, help="pairs of runs (default: 5)")
    parser.add_argument("--cold", type=int, default=3, help="cold runs of farm (default: 3)")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/farm/bench-solver"))
    parser.add_argument("--write", type=Path, help="also write the table into this file")
    asked = parser.parse_args(argv)
    for program in ("dose-builddebcheck", "dose-debcheck"):
        if shutil.which(program) is None:
            raise MachineError(
                f"{program} is not installed",
                hint="apt-get install dose-builddebcheck dose-distcheck",
            )
    cache = asked.cache.expanduser().resolve()
    indexes, metadata, site = prepared(cache)
    measured = []
    for case in CASES:
        print(f"{case.title} …", flush=True)
        measured.append(measure(case, indexes, metadata, site, asked.runs, asked.cold))
        print(row(measured[-1]), flush=True)
    print("updates …", flush=True)
    updated = [recheck(case, metadata, site, asked.cold) for case in CASES]
    text = report(measured, updated, indexes, asked.runs)
    print(text)
    if asked.write:
        asked.write.write_text(text, "utf-8")
    same = all(each.verdicts.same for each in measured)
    return 0 if same and all(each.right for each in updated) else 1


def prepared(cache: Path) -> tuple[Path, Path, Path]:
    """Indexes, rpm-md and a site with a farm.toml, made where they are missing."""
    indexes, metadata, site = cache / "indexes", cache / "rpm-md", cache / "site"
    fetch_indexes(indexes, SUITES)
    done = metadata / "done"
    converter = Path(__file__).with_name("convert.py").read_bytes()
    if not done.exists() or done.read_bytes() != converter:
        print("converting the indexes to rpm-md …", flush=True)
        run.run(
            [sys.executable, "-m", "tests.bench.convert", str(indexes), str(metadata), *SUITES],
            cwd=Path(__file__).parents[2],
        )
        done.write_bytes(converter)
    site.mkdir(parents=True, exist_ok=True)
    (site / "farm.toml").write_text(_FARM_TOML)
    return indexes, metadata, site


def measure(
    case: Case, indexes: Path, metadata: Path, site: Path, runs: int, cold: int
) -> Measured:
    """Cold runs, then farm and dose in turn, then the verdicts of both."""
    output = site / f"{case.name}.out"
    chilled = []
    for _ in range(cold):
        shutil.rmtree(site / ".farm", ignore_errors=True)
        chilled.append(timed(case.farm(metadata), output, site))
    warm, dose = [], []
    for _ in range(runs):
        warm.append(timed(case.farm(metadata), output, site))
        dose.append(timed([*case.dose(indexes), "--failures"], site / "dose.out", site))
    report = site / f"{case.name}.yaml"
    told = site / f"{case.name}.json"
    timed([*case.dose(indexes), "--failures", "--successes"], report, site)
    timed([*case.farm(metadata), "--json"], told, site)
    verdicts = compare(report, told, case.names(metadata))
    return Measured(case, tuple(chilled), tuple(warm), tuple(dose), verdicts)


def recheck(case: Case, metadata: Path, site: Path, runs: int) -> Rechecked:
    """The verdicts after an update, from the state of the first check, and from scratch."""
    told = site / f"{case.name}-updated.json"
    update = str(metadata / f"{case.base}-updated")
    reading, deciding = [], []
    for _ in range(runs):
        shutil.rmtree(site / ".farm", ignore_errors=True)
        timed(case.farm(metadata), told, site)
        timed([*case.farm(metadata), "--json", "--update", update], told, site)
        (closure,) = json.loads(told.read_bytes())["closures"]
        reading.append(closure["update"]["reading"])
        deciding.append(closure["update"]["deciding"])
    still = _broken(closure).difference(closure["update"]["repaired"])
    after = still | _broken(closure["update"])
    moved = replace(case, base=f"{case.base}-updated")
    timed([*moved.farm(metadata), "--json"], told, site)
    (scratch,) = json.loads(told.read_bytes())["closures"]
    return Rechecked(case, tuple(reading), tuple(deciding), after == _broken(scratch))


def _broken(closure: Mapping[str, Any]) -> set[str]:
    """name.arch of the packages: an update changes their versions."""
    names = (each["package"].rsplit(".", 1) for each in closure["broken"])
    return {f"{nevra.rsplit('-', 2)[0]}.{arch}" for nevra, arch in names}


def row(each: Measured) -> str:
    """One line of the table."""
    faster = ratios(each.warm, each.dose, "wall")
    memory = median(each.warm, "memory") / median(each.dose, "memory")
    return (
        f"| {each.case.title} | {each.verdicts.asked} | {each.verdicts.broken} "
        f"| {median(each.dose, 'wall'):.2f} s, {median(each.dose, 'memory'):.0f} MiB "
        f"| {median(each.warm, 'wall'):.2f} s, {median(each.warm, 'memory'):.0f} MiB "
        f"| **{faster:.1f}** | {memory:.0%} "
        f"| {median(each.cold, 'wall'):.2f} s, {median(each.cold, 'memory'):.0f} MiB "
        f"| {differences(each.verdicts)} |"
    )


def differences(verdicts: Comparison) -> str:
    number = len(verdicts.only_farm) + len(verdicts.only_dose) + len(verdicts.not_asked)
    return f"{number} differ" if number else "the same"


def report(
    measured: Sequence[Measured], updated: Sequence[Rechecked], indexes: Path, runs: int
) -> str:
    """The page: what was measured, on what, and every difference."""
    dates = {
        suite: time.strftime("%Y-%m-%d", time.gmtime((indexes / suite / "Sources").stat().st_mtime))
        for suite in SUITES
    }
    lines = [
        "# The solver at scale",
        "",
        "`farm closure` beside Debian's own checkers, dose-builddebcheck and dose-debcheck, on the"
        " same indexes of Debian (main, amd64), converted to rpm-md by `tests/bench/convert.py`"
        " with dpkg's meaning of versions and relations kept.",
        "",
        "Made by `make bench-solver` on "
        f"{time.strftime('%Y-%m-%d', time.gmtime())}: {os.cpu_count()} processors,"
        f" {platform.machine()}, Python {platform.python_version()}; indexes fetched"
        f" {', '.join(f'{suite} {date}' for suite, date in dates.items())}. Whole processes, start"
        f" included, farm and dose in turn; medians of {runs} pairs, the ratio is the median of the"
        " pairs' ratios. Memory is the process's peak. Cold: nothing is known of the base, its"
        " metadata is verified, examined, read and kept. Warm: it was read before; no verdict is"
        " kept.",
        "",
        "| question | packages | broken | dose | farm, warm | times faster | memory | farm, cold"
        " | verdicts |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
        *(row(each) for each in measured),
        "",
        "## After an update of the base",
        "",
        "`farm closure --update`: a hundred packages of the base changed (newer releases, some with"
        " a new requirement or conflict, some without a Provides). The recheck starts from the"
        " state of the first check; the new metadata has to be fetched, verified and compared with"
        " the old before. The same packages are broken as in a check from scratch.",
        "",
        "| question | new metadata | recheck | as from scratch |",
        "| --- | ---: | ---: | --- |",
        *(
            f"| {each.case.title} | {statistics.median(each.reading):.2f} s"
            f" | **{statistics.median(each.deciding):.2f} s**"
            f" | {'yes' if each.right else 'NO'} |"
            for each in updated
        ),
        "",
    ]
    lines += [*_HOW.splitlines(), ""]
    for each in measured:
        if each.verdicts.same:
            continue
        lines += [f"## Differences: {each.case.title}", ""]
        for who, found in (("farm", each.verdicts.only_farm), ("dose", each.verdicts.only_dose)):
            lines += [
                f"- {name} {version}: broken for {who} alone. {why}"
                for (name, version), why in list(found.items())[:_MOST_LISTED]
            ]
        lines += [
            f"- {name} {version}: asked by one of the two only"
            for name, version in each.verdicts.not_asked[:_MOST_LISTED]
        ]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except FarmError as error:
        sys.exit(str(error))

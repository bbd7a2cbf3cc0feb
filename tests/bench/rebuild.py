"""What farm promises of rebuilding, measured in one run; the table goes into docs/caching.md.

    python -m tests.bench.rebuild [--runs N] [--layer DIR] [--thousand DIR] [--write FILE]

`--layer` is a farm whose layer is built (what is not is built first, untimed; this checkout by
default), `--thousand` where the generated layer of `tests.bench.standing` is kept between runs. A
mock in the PATH is measured beside farm.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
import tempfile
from pathlib import Path

from farm.run import run
from tests.bench.attempt import Figures, measure
from tests.bench.processes import Run, median
from tests.bench.standing import build_with_nothing_to_do, prepared

HERE = Path(__file__).parents[2]
_BEGIN, _END = "<!-- measured -->\n", "<!-- end of what was measured -->\n"


def nothing_to_do(root: Path, runs: int) -> list[Run]:
    """`farm build --all` in a farm whose layer is built."""
    run([sys.executable, "-P", "-m", "farm", "-C", root, "build", "--all"], timeout=7200)
    with tempfile.TemporaryDirectory(prefix="farm-bench-") as name:
        return build_with_nothing_to_do(root, runs, Path(name) / "output")


def table(attempt: Figures, layer: list[Run], thousand: list[Run], runs: int) -> str:
    """The measures as Markdown, each beside what was promised."""
    lines = [
        f"Made by `make bench-rebuild` on {datetime.datetime.now(datetime.UTC):%Y-%m-%d}: "
        f"{os.cpu_count()} processors, {platform.machine()}, Python {platform.python_version()}, "
        f"load {os.getloadavg()[0]:.0f}. Whole processes, start included; medians of {runs} runs, "
        "ratios pair by pair. Memory is the process's peak.",
        "",
        "| measure | promised | measured |",
        "| --- | ---: | ---: |",
        _row(
            "start of `farm work` → rpmbuild runs, root warm, full record kept", "0.25 s",
            f"**{attempt.farm.start:.2f} s**",
        ),
        _row("a trivial C library in all", "", f"{attempt.farm.whole:.2f} s"),
    ]  # fmt: skip
    if attempt.mock is not None and attempt.start_ratio and attempt.whole_ratio:
        lines += [
            _row("the same start with mock, overlayfs plugin", "", f"{attempt.mock.start:.2f} s"),
            _row("mock's whole time", "", f"{attempt.mock.whole:.2f} s"),
            _row("start, of mock's", "1/3", f"**1/{attempt.start_ratio:.1f}**"),
            _row("in all, of mock's", "1/2", f"**1/{attempt.whole_ratio:.1f}**"),
        ]
    lines += [
        _row("`farm build --all`, nothing to do, this layer", "1 s", _nothing(layer)),
        _row("`farm build --all`, nothing to do, 1,000 specs", "3 s", _nothing(thousand)),
    ]
    return "\n".join(lines) + "\n"


def _row(measure: str, promised: str, measured: str) -> str:
    return f"| {measure} | {promised} | {measured} |"


def _nothing(runs: list[Run]) -> str:
    return f"**{median(runs, 'wall'):.2f} s**, {median(runs, 'memory'):.0f} MiB"


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description="What farm promises of rebuilding.")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--layer", type=Path, default=HERE)
    parser.add_argument("--thousand", type=Path, help="where the generated layer is kept")
    parser.add_argument("--write", type=Path, help="put the table into this file, too")
    asked = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="farm-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        thousand = (asked.thousand or directory / "thousand").resolve()
        prepared(thousand, 1000, 20_000)
        text = table(
            measure(directory / "attempt", asked.runs),
            nothing_to_do(asked.layer.resolve(), asked.runs),
            nothing_to_do(thousand, asked.runs),
            asked.runs,
        )
    print(text)
    if asked.write:
        before, _, rest = asked.write.read_text("utf-8").partition(_BEGIN)
        after = rest.partition(_END)[2]
        asked.write.write_text(f"{before}{_BEGIN}\n{text}\n{_END}{after}", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

"""How long does `farm build --all` take when 1,000 generated specs stand as they are built?

    .venv/bin/python -m tests.bench.standing DIRECTORY [--specs 1000] [--packages 20000] [--runs 7]

The layer is that of `tests.bench.layer`. Its results are recorded by farm's own scheduler and
rules, with real locks and keys, but an engine of this benchmark's takes the place of the workers:
one rpmbuild makes the small real packages of all recipes at once. Whole commands are timed then,
process start included.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from farm import rpmheader
from farm.config import load
from farm.ledger import coordinator
from farm.model import Built, Demand, Going, Job, Lock, Package, Recipe, digest_of
from farm.progress import Emit
from farm.publish.tree import Publication
from farm.rebuild.engines import Capacity, Ended, Moved
from farm.rebuild.scheduler import walk
from farm.rebuild.settle import Settler
from farm.run import run
from farm.store import sha256_of
from farm.survey import Survey, open_survey
from farm.workshop import open_workshop
from tests.bench.layer import big_repository, layer
from tests.bench.processes import Run, median, timed

_DIST = ".deb13"
_PARTS = ("", "-devel", "-libs")


def everything_at_once(root: Path, directory: Path, names: Sequence[str]) -> Path:
    """The packages that the specs of `names` would give, by one rpmbuild; where they lie."""
    lines = [
        "Name: all", "Version: 1", f"Release: 1{_DIST}", "Summary: All", "License: MIT",
        "%description", "All.",
    ]  # fmt: skip
    for name in names:
        spec = root / "specs" / name / f"{name}.spec"
        text = spec.read_text() if spec.exists() else ""
        at_run_time = [line for line in text.splitlines() if line.startswith("Requires: big")]
        for part in _PARTS:
            lines += [f"%package -n {name}{part}", f"Summary: {name}"]
            lines += [f"Requires: {name}%{{?_isa}} = 1-1{_DIST}"] if part else at_run_time
            lines += [f"%description -n {name}{part}", "For a measurement."]
            lines += [f"%files -n {name}{part}"]
    (directory / "all.spec").write_text("\n".join(lines) + "\n")
    macros = {
        "_topdir": str(directory), "_dbpath": str(directory / "db"),
        "_binary_payload": "w1.gzdio", "debug_package": "%{nil}",
    }  # fmt: skip
    defines = [word for name, value in macros.items() for word in ("--define", f"{name} {value}")]
    run(["rpmbuild", "-bb", "--quiet", *defines, directory / "all.spec"],
        env={"HOME": str(directory)}, timeout=900)  # fmt: skip
    return directory / "RPMS" / "x86_64"


class _Instead:
    """An engine whose attempts are over at once: the packages lie there already."""

    capacity = Capacity(1)

    def __init__(self, packages: Path) -> None:
        self._packages = packages
        self._news: list[Ended | Moved] = []

    def start(self, job: Job, directory: Path, rank: float = 0.0) -> None:
        results = directory / "results"
        results.mkdir(parents=True)
        packages = []
        for part in _PARTS:
            path = next(self._packages.glob(f"{job.recipe.name}{part}-1-*.rpm"), None)
            if path is None:  # a metapackage of the generated groups
                continue
            shutil.copyfile(path, results / path.name)
            nevra = rpmheader.read(path).nevra
            size = path.stat().st_size
            packages.append(Package(nevra, sha256_of(path), size, job.recipe.name))
        source = Package(packages[0].nevra, job.srpm, 1, job.recipe.name)
        self._news.append(Ended(job.attempt, Built(tuple(packages), source, 1.0)))

    def recover(self, attempts: Sequence[Going]) -> frozenset[str]:
        return frozenset()

    def poll(self, seconds: float) -> tuple[Ended | Moved, ...]:
        news, self._news = tuple(self._news), []
        return news

    def stop(self) -> None:
        pass


def record(root: Path, packages: Path, emit: Emit) -> int:
    """Have every recipe of the layer stand; how many do."""
    config = load(root)
    with coordinator(config.path("state")) as ledger:
        survey = open_survey(config, ledger, emit, release=None)
        shop = open_workshop(survey, builder="embedded", jobs=1)
        plan = survey.plan(tuple(survey.recipes))
        settler = _without_sandbox(shop.settler(), survey)
        endings = walk(
            plan, _Instead(packages), settler.settle, settler.finish, lambda step: Demand(), emit,
            begin=settler.begin,
        )  # fmt: skip
    failed = [f"{e.step.id}: {e.outcome}" for e in endings if e.result is None]
    if failed:
        raise SystemExit("\n".join(failed[:5]))
    publication = Publication(config.path("publication"))
    for ending in endings:
        if ending.result is not None:
            publication.add_result(ending.result, digest_of(ending.result))
    return len(endings)


def _without_sandbox(settler: Settler, survey: Survey) -> Settler:
    """Neither 1,000 source packages nor the archive of a base that is only metadata."""

    def srpm(recipe: Recipe, counter: int, bootstrap: bool) -> Package:
        sha256 = survey.store.put_bytes(f"source of {recipe.digest}".encode())
        evaluation = survey.evaluations[recipe.name, survey.chroots[0].name]
        return Package(evaluation.source, sha256, 1, recipe.name)  # type: ignore[union-attr]

    def archive(lock: Lock) -> None:
        pass

    return replace(settler, stages=replace(settler.stages, srpm=srpm, archive=archive))


def prepared(root: Path, specs: int, size: int) -> None:
    """The layer below `root`, everything in it built."""
    if (root / "ready").exists():
        return
    big_repository(root / "big", size, family=8)
    layer(root, specs, size)
    made = root / "made"
    made.mkdir()
    packages = everything_at_once(
        root, made, [*(f"layer{n}" for n in range(specs)), "cluster-master"]
    )
    stand = record(root, packages, lambda *words, **more: None)
    shutil.rmtree(made)
    (root / "ready").write_text(f"{stand}\n")


def build_with_nothing_to_do(root: Path, runs: int, output: Path) -> list[Run]:
    """Whole commands, timed; the first one, that reads what is not kept yet, does not count."""
    farm = [sys.executable, "-P", "-m", "farm", "-C", str(root), "build", "--all"]
    command = ["sh", "-c", 'exec "$@" 2>/dev/null', "sh", *farm]  # a line for each step
    taken = []
    for _ in range(runs + 1):
        taken.append(timed(command, output, Path.cwd()))
        if "Nothing to do" not in output.read_text():
            raise SystemExit(output.read_text())
    return taken[1:]


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--specs", type=int, default=1000)
    parser.add_argument("--packages", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args(argv)
    root = options.directory.resolve()
    prepared(root, options.specs, options.packages)
    runs = build_with_nothing_to_do(root, options.runs, root / "output")
    print(f"{median(runs, 'wall'):.2f} s, {median(runs, 'memory'):.0f} MiB")


if __name__ == "__main__":
    main(sys.argv[1:])

"""A small farm whose attempts are jobs of a small cluster, and what may be asked of it."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farm.ledger import reader
from farm.model import Attempt, Built, Failed
from farm.run import Child, launch, run
from tests.real.publishing import free_port
from tests.real.site import Site
from tests.real.slurm import Cluster, wait_until

PACKAGES = ("cluster-master", "tally", "tallynotes", "tallyprint")
SLOW = 3  # seconds that the build of tally, which another waits for, takes at least


def small_layer(root: Path) -> Site:
    """The small layer, for this machine's architecture alone."""
    site = Site.make(root)
    settings = root / "farm.toml"
    settings.write_text(settings.read_text().replace('"x86_64", "aarch64"', '"x86_64"'))
    return site


def slow_layer(root: Path, seconds: float = SLOW) -> Site:
    """The small layer, with a build in it that takes long enough to be disturbed."""
    site = small_layer(root)
    site.edit("tally", "%install\n", f"%install\nsleep {seconds}\n")
    site.commit("Slow")
    return site


class Layers:
    """Layers that are ready to build (key imported, base pinned, specs read), made once."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._made: dict[str, Site] = {}
        self._undisturbed: dict[str, dict[str, str]] = {}

    def copy(self, layer: Callable[[Path], Site], root: Path) -> Site:
        """One of them in `root`, for a test of its own."""
        made = self._made.get(layer.__name__)
        if made is None:
            made = self._made[layer.__name__] = layer(self._home / layer.__name__ / "layer")
            made.farm("plan", "--all")
        site = Site(root, free_port())
        root.parent.mkdir(parents=True, exist_ok=True)
        run(["cp", "-a", made.root, root])
        settings = root / "farm.toml"
        settings.write_text(settings.read_text().replace(f":{made.port}", f":{site.port}"))
        return site

    def undisturbed(self, layer: Callable[[Path], Site]) -> dict[str, str]:
        """What this machine makes of it without any cluster: NEVRA → sha256."""
        name = layer.__name__
        if name not in self._undisturbed:
            site = self.copy(layer, self._home / f"{name}-here" / "layer")
            site.farm("build", "--all")
            site.farm("publish")
            self._undisturbed[name] = site.packages()
        return self._undisturbed[name]


@dataclass
class Clustered:
    site: Site
    cluster: Cluster

    @classmethod
    def make(cls, site: Site, cluster: Cluster, more: str = "", slurm: str = "") -> Clustered:
        """`more` are lines of [build], `slurm` of [slurm]."""
        with (site.root / "farm.toml").open("a") as file:
            file.write(
                f'[build]\nengine = "slurm"\nretry_seconds = 1\n{more}\n'
                f"[slurm]\nlost = 3\ncores = 1\n{slurm}\n"
            )
        return cls(site, cluster)

    @property
    def state(self) -> Path:
        return self.site.root / ".farm"

    def build(self, *words: str, code: int = 0) -> list[dict[str, Any]]:
        """`farm build …`; its events."""
        done = self.site.farm("build", *words, "--json", code=code, env=self.cluster.environment)
        return [json.loads(line) for line in done.stdout.splitlines()]

    @contextlib.contextmanager
    def building(self, *words: str) -> Iterator[Building]:
        """A build that runs beside us; it is ended with the block, if it has not ended before."""
        log = self.site.root.parent / f"build-{time.monotonic_ns()}.log"
        command = self.site.command("build", *(words or ("--all",)), "--json")
        child = launch(command, env=self.cluster.environment, log=log)
        try:
            yield Building(child, log)
        finally:
            child.end()

    def publish(self) -> dict[str, str]:
        """What `farm publish` publishes: NEVRA → sha256 before signing."""
        self.site.farm("publish")
        return self.site.packages()

    def attempts(self) -> tuple[Attempt, ...]:
        """Every attempt that has ended, oldest first."""
        with reader(self.state) as ledger:
            assert ledger is not None
            return tuple(sorted(ledger.attempts(), key=lambda each: each.started))

    def accounted(self, *, jobs: bool = True) -> None:
        """Every attempt has one end, every package was built once, and no job is left (`jobs`)."""
        with reader(self.state) as ledger:
            assert ledger is not None
            assert ledger.going() == ()
        begun = {path.name for path in (self.state / "attempts").iterdir()}
        assert begun <= {attempt.id for attempt in self.attempts()}
        built = Counter(a.step for a in self.attempts() if isinstance(a.outcome, Built))
        assert set(built.values()) == {1}, built
        if jobs:
            wait_until(lambda: self.cluster.jobs() == [], "all jobs to end")

    def mishaps(self) -> list[Failed]:
        """How attempts failed, oldest first."""
        return [a.outcome for a in self.attempts() if isinstance(a.outcome, Failed)]

    def job_of(self, package: str) -> dict[str, str] | None:
        """The living job that builds a package, None while there is none."""
        for job in self.cluster.jobs():
            order = self.state / "attempts" / job["name"].removeprefix("farm-") / "job.json"
            if order.exists() and json.loads(order.read_text())["job"]["recipe"]["name"] == package:
                return job
        return None

    def attempt_of(self, package: str) -> str:
        """The attempt whose living job builds a package."""
        job = self.job_of(package)
        assert job is not None
        return job["name"].removeprefix("farm-")

    def wait_for(self, package: str, phase: str = "%install") -> dict[str, str]:
        """Until a package's attempt is in a phase; its job."""
        found: list[dict[str, str]] = []

        def there() -> bool:
            job = self.job_of(package)
            if job is not None and phase in self.phases(job):
                found.append(job)
            return bool(found)

        wait_until(there, f"{package} to be in {phase}")
        return found[0]

    def phases(self, job: dict[str, str]) -> list[str]:
        """Phases that a job's worker has noted."""
        path = self.state / "attempts" / job["name"].removeprefix("farm-") / "phases"
        return path.read_text().splitlines() if path.exists() else []


@dataclass
class Building:
    """A `farm build` that runs."""

    child: Child
    log: Path

    def events(self) -> list[dict[str, Any]]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def wait_for(self, true: Callable[[dict[str, Any]], object], what: str) -> None:
        """Until there is an event of that kind."""
        wait_until(lambda: any(true(event) for event in self.events()), what)

    def ends(
        self, code: int = 0, seconds: float = 90.0, meanwhile: Callable[[], object] = lambda: None
    ) -> None:
        """It ends by itself, with this exit code; `meanwhile` is done again and again."""

        def over() -> bool:
            meanwhile()
            return self.child.poll() is not None

        wait_until(over, "the build to end", seconds)
        assert self.child.poll() == code, self.log.read_text()
        assert "Traceback" not in self.log.read_text(), self.log.read_text()

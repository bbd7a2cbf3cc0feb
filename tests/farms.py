"""Farms that were never built, for the tests of what is shown: a ledger full of results of any
number of packages that need one another, failures and hostile texts among them."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from farm.config import Config, Paths, ReleaseConfig
from farm.ledger import Ledger, coordinator
from farm.model import (
    LAYER,
    Built,
    Failed,
    Lock,
    LockedPackage,
    Manifest,
    Nevra,
    Package,
    Result,
    digest_of,
)
from farm.progress import Event
from farm.rebuild.attempts import log_path
from tests.layers import LayerOf, owned_by, spec_text

RELEASE = "debian-13"
ARCHS = ("x86_64", "aarch64")
_WORDS = (
    "cluster", "mpi", "lib", "node", "file", "job", "time", "power", "shell", "fast", "graph",
    "solve", "mesh", "grid", "trace", "prof", "cache", "store", "net", "key",
)  # fmt: skip


@dataclass
class Farm:
    """A layer of `size` packages below a directory, in order: each needs some before it. Those
    called `names` are the last of them."""

    root: Path
    size: int = 12
    seed: int = 1
    names: tuple[str, ...] = ()
    version: str = "1.0"
    needs: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        chance = random.Random(self.seed)
        layer = LayerOf(self.root / "layer", in_git=False)
        self.names = (*_names(self.size - len(self.names), chance), *self.names)
        texts = {f"{name}/{name}.spec": spec_text(name) for name in self.names}
        layer.write({**texts, **owned_by("people")})
        self.config = Config(
            root=layer.config.root,
            paths=Paths(state="../state", cache="../cache", publication="../repo"),
            releases={RELEASE: ReleaseConfig(architectures=ARCHS, title="A test")},
        )
        for number, name in enumerate(self.names):
            # most want one of a few libraries, as in any distribution
            common = self.names[: max(1, min(number, self.size // 12))] if number else ()
            any_ = self.names[:number]
            many = chance.choice((0, 0, 1, 1, 1, 2, 2, 3)) if number else 0
            direct = [chance.choice(common if chance.random() < 0.7 else any_) for _ in range(many)]
            every = {need for each in direct for need in (each, *self.needs[each])}
            self.needs[name] = tuple(sorted(every))

    @property
    def state(self) -> Path:
        return self.config.path("state")

    @property
    def publication(self) -> Path:
        return self.config.path("publication")

    def steps(self) -> Iterator[tuple[str, str]]:
        """Every package with each step of it."""
        for name in self.names:
            for arch in ARCHS:
                yield name, f"{name}@{RELEASE}-{arch}"

    def fill(self, *, failed: Sequence[str] = (), text: str = "", log: str = "") -> None:
        """Have everything built once; these `failed` afterwards, saying `text`."""
        packages: dict[tuple[str, str], Package] = {}
        with coordinator(self.state) as ledger:
            for number, (name, step) in enumerate(self.steps()):
                arch = step.rpartition("-")[2]
                package = _package(name, arch, self.version)
                packages[name, arch] = package
                lock = Lock(tuple(_locked(packages[need, arch]) for need in self.needs[name]))
                self._built(ledger, step, package, lock, 1_790_000_000.0 + 60 * number)
                if name in failed:
                    self.fail(ledger, step, text or f"{name}: %build failed")
                if log:
                    self.write_log(step, f"{step.replace('@', '-')}", log)

    def _built(
        self, ledger: Ledger, step: str, package: Package, lock: Lock, finished: float
    ) -> None:
        manifest = Manifest(digest_of(step), lock.digest, "chroot", 1)
        source = Package(replace(package.nevra, arch="src"), digest_of((step, "s")), 1, "")
        built = Built((package,), source, 40.0 + len(lock.packages))
        result = Result(
            key=manifest.key, step=step, manifest=manifest, lock=lock, recipe_files=(),
            counter=0, commit="c" * 40, built=built, finished=finished,
        )  # fmt: skip
        ledger.record(result)
        attempt = attempt_id(len(step) * 7919 + int(finished))
        ledger.begin(attempt, step, manifest.key)
        ledger.end(attempt, built)

    def fail(self, ledger: Ledger, step: str, text: str, excerpt: Sequence[str] = ()) -> str:
        """Record a failure of the package's own; the attempt's id."""
        attempt = attempt_id(int(digest_of((step, text))[:8], 16))
        ledger.begin(attempt, step, digest_of(step))
        ledger.end(attempt, Failed("package", text, tuple(excerpt), "%build", seconds=12.5))
        return attempt

    def write_log(self, step: str, attempt: str, text: str) -> Path:
        """The compressed log of an attempt that has ended."""
        name, _, chroot = step.partition("@")
        path = log_path(self.state, name, chroot, attempt)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode("utf-8", "surrogateescape"), mtime=0))
        return path

    def queued(self, at: float) -> Iterator[Event]:
        """What a run says of its steps before anything else."""
        for name, step in self.steps():
            chroot = step.partition("@")[2]
            needs = tuple(f"{need}@{chroot}" for need in self.needs[name])
            yield Event(at=at, state="queued", step=step, needs=needs, expected=60.0, cores=1)


def attempt_id(number: int) -> str:
    """An id such as attempts have."""
    return f"20261120-{number % 1_000_000:06d}-{number % (1 << 32):08x}"


def _names(size: int, chance: random.Random) -> Iterator[str]:
    seen: set[str] = set()
    while len(seen) < size:
        name = "-".join(chance.sample(_WORDS, chance.choice((1, 2, 2, 3))))
        if name not in seen:
            seen.add(name)
            yield name


def _package(name: str, arch: str, version: str) -> Package:
    nevra = Nevra(name, 0, version, "1.deb13", arch)
    return Package(nevra, digest_of((name, arch)), 1000, name)


def _locked(package: Package) -> LockedPackage:
    return LockedPackage(package.nevra, package.sha256, package.size, LAYER)

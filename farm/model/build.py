"""One attempt at one job, and what came of it."""

from __future__ import annotations

import re
from typing import Literal

from farm.model.chroot import Chroot, Lock
from farm.model.layer import Recipe, RecipeFile
from farm.model.noun import Noun, digest_of
from farm.model.package import Nevra, Package


class Limits(Noun, frozen=True):
    """What one attempt may use: seconds, and bytes of memory with tmpfs counted (0: no limit)."""

    time: int = 6 * 3600
    silence: int = 3600
    memory: int = 0
    disk: int = 0


class Usage(Noun, frozen=True):
    """What an attempt used: seconds of processor time of all its processes, the most bytes of
    memory at once (tmpfs counted), the most bytes of disk at once. 0: not measured."""

    cpu: float = 0.0
    memory: int = 0
    disk: int = 0


class Demand(Noun, frozen=True):
    """What an attempt is expected to need: cores, bytes of memory (tmpfs counted) and of disk at
    once, seconds from its start to its end. 0: not known."""

    cores: int = 1
    memory: int = 0
    disk: int = 0
    seconds: float = 0.0


class Job(Noun, frozen=True):
    """A step whose needs are settled; all that a worker has to know."""

    attempt: str  # farm's own id of this attempt
    step: str
    recipe: Recipe
    chroot: Chroot
    lock: Lock
    setup_lock: Lock
    counter: int  # rebuild counter, part of %dist
    key: str
    epoch_seconds: int  # SOURCE_DATE_EPOCH
    inputs: tuple[tuple[str, str], ...] = ()  # name below SOURCES, sha256: spec, patches, archives
    srpm: str = ""  # sha256 of the canonical SRPM; "" when this job makes it
    cpus: int = 1
    limits: Limits = Limits()
    builder: str = "embedded"
    demand: Demand = Demand()
    avoid: tuple[str, ...] = ()  # machines on which an earlier attempt met with a mishap

    @property
    def dist(self) -> str:
        return f"{self.chroot.dist}.{self.counter}" if self.counter else self.chroot.dist


class Compiler(Noun, frozen=True):
    """A root with a C compiler: libraries that a variation preloads are made in one."""

    chroot: Chroot
    lock: Lock


class WorkOrder(Noun, frozen=True):
    """A job and where things are on the machine that does it (absolute paths)."""

    job: Job
    store: str  # read only
    roots: str  # directory of build roots; "": the machine's own choice
    keep: bool = True  # keep what a failed build left, for `farm shell`
    variations: tuple[str, ...] = ()  # differences made on purpose, outside the key
    compilers: tuple[Compiler, ...] = ()  # for variations; the job's own root may have one, too


class Phase(Noun, frozen=True):
    """How long one phase of an attempt took."""

    name: str
    seconds: float


CORES = "cores"  # among what is recorded of the host: how many `make -j` was given
_NUMBER = re.compile(r"[0-9]{1,6}")


class Built(Noun, frozen=True, tag="built"):
    packages: tuple[Package, ...]  # binary packages
    srpm: Package
    seconds: float
    phases: tuple[Phase, ...] = ()
    host: tuple[tuple[str, str], ...] = ()  # recorded beside the result, outside the key
    installed: tuple[str, ...] = ()  # "NEVRA sha256" of what was in the root, if asked of it
    usage: Usage = Usage()

    @property
    def cores(self) -> int:
        """How many `make -j` was given, 0 where that was not recorded."""
        recorded = dict(self.host).get(CORES, "")
        return int(recorded) if _NUMBER.fullmatch(recorded) else 0


class Failed(Noun, frozen=True, tag="failed"):
    """`kind`: the package's own fault, the infrastructure's, a limit that was hit, which `limit`
    names, or nobody's: farm was stopped, or it was not wanted any more (interrupted)."""

    kind: Literal["package", "infrastructure", "limit", "interrupted"]
    message: str
    excerpt: tuple[str, ...] = ()
    phase: str = ""
    where: str = ""  # file:line, where there is one
    hint: str = ""
    seconds: float = 0.0
    usage: Usage = Usage()
    limit: Literal["", "time", "silence", "memory", "disk"] = ""


class Skipped(Noun, frozen=True, tag="skipped"):
    """Not tried: a need failed (`because` names it), or the architecture is excluded."""

    because: str


Outcome = Built | Failed | Skipped


class Attempt(Noun, frozen=True):
    """One try of one job. Times are seconds since 1970; `place` is the machine that did it."""

    id: str
    step: str
    key: str
    started: float
    ended: float
    outcome: Outcome
    place: str = ""


class Going(Noun, frozen=True):
    """An attempt that has begun and of which no end is known."""

    id: str
    step: str
    key: str
    started: float  # seconds since 1970


class Manifest(Noun, frozen=True):
    """What a key is the hash of, kept so that two keys can be compared in words."""

    recipe: str  # Recipe.digest
    lock: str  # Lock.digest
    chroot: str  # Chroot.digest
    recipe_number: int

    @property
    def key(self) -> str:
        return digest_of(self)


class Result(Noun, frozen=True):
    """A key that has been built: what came out, and from what.

    `chroot` (as another machine can use it), `inputs` (as a job's), `spec` and `epoch_seconds`
    let the same be built again; results of an early farm lack them.
    """

    key: str
    step: str
    manifest: Manifest
    lock: Lock
    recipe_files: tuple[RecipeFile, ...]
    counter: int
    commit: str
    built: Built
    finished: float
    scratch: bool = False
    bootstrap: bool = False  # of a step that only lets its cycle be built: never published
    chroot: Chroot | None = None
    inputs: tuple[tuple[str, str], ...] = ()
    spec: str = ""  # file name
    epoch_seconds: int = 0  # SOURCE_DATE_EPOCH


class Former(Noun, frozen=True):
    """What stays of a build record that was removed: which names are taken by which bytes."""

    step: str
    finished: float
    counter: int
    source: Nevra
    packages: tuple[tuple[str, str], ...]  # NEVRA, sha256 before signing

    @classmethod
    def of(cls, result: Result) -> Former:
        packages = tuple((str(p.nevra), p.sha256) for p in result.built.packages)
        return cls(result.step, result.finished, result.counter, result.built.srpm.nevra, packages)

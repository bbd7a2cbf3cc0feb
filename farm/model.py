"""The nouns of farm: frozen, tuples inside, JSON both ways.

A job file is the wire format between the coordinator and its workers, a manifest the one
between today and the verification of years later; both are these types as JSON.
"""

from __future__ import annotations

import hashlib
import re
from typing import Literal, TypeVar

import msgspec

from farm.errors import StateError
from farm.steps import BOOTSTRAP, bootstrap_name

T = TypeVar("T")


class Noun(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all nouns: immutable, comparable, hashable, JSON both ways."""


def to_json(noun: object) -> bytes:
    """Canonical JSON: fields in declared order, no white space; equal nouns, equal bytes."""
    return msgspec.json.encode(noun, order="deterministic")


def from_json(kind: type[T], text: bytes, *, where: str = "") -> T:
    """Parse what `to_json` wrote. Raises StateError naming `where` on anything else."""
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        raise StateError(
            f"{where or 'a record'} is not a {kind.__name__} that this farm understands",
            why=str(error),
            hint="It was written by another version of farm, or damaged.",
        ) from error


def digest_of(noun: object) -> str:
    """sha256 of the canonical JSON."""
    return hashlib.sha256(to_json(noun)).hexdigest()


class Nevra(Noun, frozen=True, order=True):
    """name-epoch:version-release.arch, the identity of a binary or source package."""

    name: str
    epoch: int
    version: str
    release: str
    arch: str

    def __str__(self) -> str:
        epoch = f"{self.epoch}:" if self.epoch else ""
        return f"{self.name}-{epoch}{self.version}-{self.release}.{self.arch}"

    @property
    def evr(self) -> str:
        """`1:2.3-4`, the epoch left out when 0."""
        return f"{self.epoch}:{self.version}-{self.release}" if self.epoch else self.vr

    @property
    def vr(self) -> str:
        return f"{self.version}-{self.release}"

    @property
    def filename(self) -> str:
        """The customary file name (no epoch in it)."""
        return f"{self.name}-{self.version}-{self.release}.{self.arch}.rpm"

    @classmethod
    def parse(cls, text: str) -> Nevra:
        """Inverse of `str`. Raises ValueError when `text` is no NEVRA."""
        match = _NEVRA.fullmatch(text)
        if match is None:
            raise ValueError(f"not a name-version-release.arch: {text!r}")
        name, epoch, version, release, arch = match.groups()
        return cls(name, int(epoch or 0), version, release, arch)


_NEVRA = re.compile(r"(.+)-(?:(\d+):)?([^-:]+)-([^-]+)\.([^.-]+)")


class Package(Noun, frozen=True):
    """A package that farm built: `sha256` and `size` (bytes) are those of the unsigned file."""

    nevra: Nevra
    sha256: str
    size: int
    source: str  # name of the source package
    debug: bool = False  # debuginfo, debugsource


class SignedPackage(Noun, frozen=True):
    """The published copy: `sha256` is of the signed file, `package` says what is inside."""

    package: Package
    sha256: str
    size: int
    key: str  # fingerprint of the signing key


class RecipeFile(Noun, frozen=True):
    """One file of a recipe's directory, `path` relative to it."""

    path: str
    sha256: str
    executable: bool = False


class SourceFile(Noun, frozen=True):
    """A line of Fedora's `sources` format: a file kept outside git, known by its SHA512."""

    name: str
    sha512: str


class Recipe(Noun, frozen=True):
    """A spec directory with its source checksums.

    `directory` is where the files are (absolute; a generated recipe lies in the state
    directory). It is not part of the digest; `files` and `sources` are.
    """

    name: str
    spec: str  # file name of the spec
    directory: str
    files: tuple[RecipeFile, ...]
    sources: tuple[SourceFile, ...] = ()
    commit: str = ""  # last commit that touched it
    scratch: bool = False  # uncommitted changes, or a foreign .src.rpm: never published
    origin: Literal["spec", "generated", "srpm"] = "spec"
    group: str = ""  # who owns it

    @property
    def digest(self) -> str:
        return digest_of((self.name, self.spec, self.files, self.sources))


class Group(Noun, frozen=True):
    """A set of packages that is a comps group and, if `metapackage`, a package of that name."""

    id: str
    name: str
    description: str
    version: str
    packages: tuple[str, ...]  # binary package names, mandatory
    optional: tuple[str, ...] = ()
    metapackage: bool = True
    changelog: tuple[tuple[str, str, str], ...] = ()  # ISO date, author, text; newest first


class Layer(Noun, frozen=True):
    """The layer at one commit."""

    commit: str
    recipes: tuple[Recipe, ...]
    groups: tuple[Group, ...]
    owners: tuple[tuple[str, str], ...] = ()  # source package, owning group of people
    problems: tuple[Problem, ...] = ()  # of recipes left out, of groups and owners
    notes: tuple[str, ...] = ()  # worth saying, in the way of nothing

    def recipe(self, name: str) -> Recipe | None:
        return next((recipe for recipe in self.recipes if recipe.name == name), None)


class Evaluation(Noun, frozen=True):
    """What rpm says of a recipe in one chroot (rpmspec in the sandbox)."""

    source: Nevra  # arch "src"
    packages: tuple[tuple[Nevra, tuple[str, ...]], ...]  # binary package, its declared Provides
    build_requires: tuple[str, ...]
    build_conflicts: tuple[str, ...] = ()
    exclusive_arch: tuple[str, ...] = ()
    exclude_arch: tuple[str, ...] = ()
    dynamic: bool = False  # has %generate_buildrequires
    epoch_seconds: int = 0  # newest changelog entry, SOURCE_DATE_EPOCH
    has_dist: bool = True  # Release mentions %{?dist}
    requires: tuple[tuple[str, tuple[str, ...]], ...] = ()  # binary name, declared Requires
    files: tuple[str, ...] = ()  # names of the declared Source and Patch files
    conflicts: tuple[tuple[str, tuple[str, ...]], ...] = ()  # binary name, declared Conflicts
    obsoletes: tuple[tuple[str, tuple[str, ...]], ...] = ()  # binary name, declared Obsoletes
    bootstrap: bool = False  # has a build condition of that name


class Repository(Noun, frozen=True):
    """A base repository of a chroot, as its mock file names it (variables substituted)."""

    id: str
    baseurl: tuple[str, ...] = ()
    metalink: str = ""
    mirrorlist: str = ""
    gpgkeys: tuple[str, ...] = ()
    gpgcheck: bool = False
    repo_gpgcheck: bool = False
    priority: int = 99
    excludes: tuple[str, ...] = ()
    module_hotfixes: bool = False
    sslverify: bool = True
    variables: tuple[tuple[str, str], ...] = ()  # of dnf; a mirror list may hold some, too


class Chroot(Noun, frozen=True):
    """A release on an architecture, read from `chroots/<name>.cfg` (mock's own format)."""

    name: str  # debian-13-x86_64
    release: str  # debian-13
    arch: str  # x86_64
    repositories: tuple[Repository, ...]
    setup: tuple[str, ...]  # what chroot_setup_cmd installs
    dist: str  # the %dist tag without the rebuild counter, e.g. ".deb13"
    macros: tuple[tuple[str, str], ...] = ()  # name without its %, value
    with_options: tuple[str, ...] = ()  # build conditions switched on: x for %_with_x --with-x
    without_options: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[str, str], ...] = ()  # path below the root (no leading /), content
    directories: tuple[str, ...] = ()  # made in the root, absolute there
    unprivileged_user: str = "mockbuild"
    nice: int = 0
    timeout: int = 0  # seconds for rpmbuild; 0: the configured limit
    emulator: str = ""  # a static qemu of the base's own, "" for the machine's
    native_tools: str = ""  # directory of the native-tools layer, "" where not emulated or off
    ignored: tuple[str, ...] = ()  # options read and known not to change results
    refused: tuple[str, ...] = ()  # options that only mock honours

    @property
    def bootstrapping(self) -> Chroot:
        """This chroot with the build condition `bootstrap` on.

        Its %dist makes other NEVRAs, which sort below those of the build without it.
        """
        return msgspec.structs.replace(
            self,
            dist=f"{self.dist}~{BOOTSTRAP}",
            with_options=(*self.with_options, BOOTSTRAP),
            without_options=tuple(o for o in self.without_options if o != BOOTSTRAP),
        )

    @property
    def digest(self) -> str:
        """Of what may change a result: not the addresses of the repositories."""
        return digest_of(
            (self.arch, self.setup, self.dist, self.macros, self.with_options,
             self.without_options, self.environment, self.files, self.directories,
             self.unprivileged_user)
        )  # fmt: skip


class LockedPackage(Noun, frozen=True):
    """One package of a lock. `sha256` is of the file that is installed (unsigned for layer's)."""

    nevra: Nevra
    sha256: str
    size: int
    repository: str  # id of the base repository, or "layer"
    location: str = ""  # absolute address, or "" for the layer's own, found in the store


class Lock(Noun, frozen=True):
    """The exact packages of one build root, sorted by NEVRA.

    `setup` names those that the chroot's set-up alone brings in: a root of them is shared.
    """

    packages: tuple[LockedPackage, ...]
    setup: tuple[str, ...] = ()  # sha256 of each

    @property
    def digest(self) -> str:
        """Of names and checksums; where a package came from does not matter."""
        return digest_of(tuple((str(p.nevra), p.sha256) for p in self.packages))


class Problem(Noun, frozen=True):
    """Why something cannot be built, installed or upgraded, as data."""

    kind: str  # "nothing-provides", "conflict", "bad-spec", "cycle", …
    subject: str  # the package in question
    facts: tuple[str, ...]  # the smallest set that cannot hold together, one sentence each
    remedy: str = ""
    changes: tuple[str, ...] = ()  # what of the base became different and does it

    def __str__(self) -> str:
        first = self.facts[0] if self.facts else self.kind
        lines = [first if first.startswith(self.subject) else f"{self.subject}: {first}"]
        lines += [f"  {fact}" for fact in self.facts[1:]]
        lines += [f"  because {change}" for change in self.changes]
        return "\n".join(lines + ([f"  -> {self.remedy}"] if self.remedy else []))


class Verdict(Noun, frozen=True):
    """What one check says of one package.

    `open`: nothing is wrong, but what it needs can only be known after a build (`missing` names
    it). `rebuild`: as built it does not fit any more, its source does.
    """

    check: str  # "build", "install", "replaces", "files", "upgrade"
    package: str  # of the layer: source package (build) or binary package
    chroot: str
    state: Literal["ok", "open", "rebuild", "broken"]
    problem: Problem | None = None
    missing: tuple[str, ...] = ()


class Waiver(Noun, frozen=True):
    """A check that a publication was forced through, why, and what it had found."""

    check: str
    reason: str
    problems: tuple[Problem, ...] = ()


class Step(Noun, frozen=True):
    """A recipe in a chroot. `needs` are the names of steps that must have their result first,
    `direct` those among them that its own BuildRequires resolve to; `after` are waited for as well,
    since they may turn out to be needed, but may fail. With `bootstrap` it is built with the
    condition of that name, for the sake of its cycle; what comes out is never published."""

    recipe: str
    chroot: str
    needs: tuple[str, ...]
    direct: tuple[str, ...] = ()
    problem: Problem | None = None
    excluded: str = ""  # why this architecture is left out (ExclusiveArch, ExcludeArch)
    bootstrap: bool = False
    after: tuple[str, ...] = ()

    @property
    def awaited(self) -> tuple[str, ...]:
        return (*self.needs, *self.after)

    @property
    def name(self) -> str:
        """What `needs` of the same chroot call it."""
        return bootstrap_name(self.recipe) if self.bootstrap else self.recipe

    @property
    def id(self) -> str:
        return f"{self.name}@{self.chroot}"


class Plan(Noun, frozen=True):
    """Steps in an order in which they can run."""

    steps: tuple[Step, ...]
    problems: tuple[Problem, ...] = ()


class Limits(Noun, frozen=True):
    """What one attempt may use: seconds, and bytes of memory with tmpfs counted (0: no limit)."""

    time: int = 6 * 3600
    silence: int = 3600
    memory: int = 0
    disk: int = 0


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

    @property
    def dist(self) -> str:
        return f"{self.chroot.dist}.{self.counter}" if self.counter else self.chroot.dist


class WorkOrder(Noun, frozen=True):
    """A job and where things are on the machine that does it (absolute paths)."""

    job: Job
    store: str  # read only
    roots: str  # directory of build roots; "": the machine's own choice
    keep: bool = True  # keep what a failed build left, for `farm shell`


class Phase(Noun, frozen=True):
    """How long one phase of an attempt took."""

    name: str
    seconds: float


class Built(Noun, frozen=True, tag="built"):
    packages: tuple[Package, ...]  # binary packages
    srpm: Package
    seconds: float
    phases: tuple[Phase, ...] = ()
    host: tuple[tuple[str, str], ...] = ()  # recorded beside the result, outside the key
    installed: tuple[str, ...] = ()  # "NEVRA sha256" of what was in the root, if asked of it


class Failed(Noun, frozen=True, tag="failed"):
    """`kind`: the package's own fault, the infrastructure's, or a limit that was hit."""

    kind: Literal["package", "infrastructure", "limit"]
    message: str
    excerpt: tuple[str, ...] = ()
    phase: str = ""
    where: str = ""  # file:line, where there is one
    hint: str = ""
    seconds: float = 0.0


class Skipped(Noun, frozen=True, tag="skipped"):
    """Not tried: a need failed (`because` names it), or the architecture is excluded."""

    because: str


Outcome = Built | Failed | Skipped


class Attempt(Noun, frozen=True):
    """One try of one job. Times are seconds since 1970."""

    id: str
    step: str
    key: str
    started: float
    ended: float
    outcome: Outcome


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
    """A key that has been built: what came out, and from what."""

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


class SnapshotEntry(Noun, frozen=True):
    """One source package's standing in a snapshot, for one architecture."""

    recipe: str
    arch: str
    key: str
    counter: int


class Snapshot(Noun, frozen=True):
    """An immutable set of signed packages; published beside them as `snapshot.json`.

    `results` are the build records behind the entries: with them the ledger can be made again.
    """

    id: str
    release: str
    created: int
    commit: str
    packages: tuple[SignedPackage, ...]
    entries: tuple[SnapshotEntry, ...] = ()
    results: tuple[str, ...] = ()  # sha256 of the result records under results/
    waivers: tuple[Waiver, ...] = ()  # checks that it was published in spite of

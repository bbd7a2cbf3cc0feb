"""Probe packages: which variations really make a difference here, and to nothing else.

A package that comes out the same under a changed clock says something only if the clock did
change. The source package `probe` has a package for every variation that records what it is
about; under a variation that one has to come out different, and all others the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from farm.model import Built, Chroot, Job, Limits, Lock, Recipe, RecipeFile
from farm.sandbox.variation import NAMES
from farm.store import Store, sha256_of, write_atomic

# What a lock for the probe is solved from, in any release. Its root has a compiler, so the
# libraries that variations preload are made in it as well.
BUILD_REQUIRES = ("gcc", "python3")

# What is seen when the spec is read: the source package has the spec as rpm expanded it.
SEEN_BY_RPM = frozenset(NAMES) - {"order", "roots"}

_DATA = Path(__file__).parent / "data"
_EPOCH = 946728000  # SOURCE_DATE_EPOCH of the spec's changelog: 1 January 2000, noon
_LIMITS = Limits(time=900, silence=600)

_PACKAGE = """
%package {name}
Summary:        What a build sees of its root: {name}

%description {name}
Tells whether a build root was made to differ.

%files {name}
%{{_datadir}}/probe/{name}
"""


@dataclass(frozen=True)
class Judgement:
    """What became of one round of variations on one architecture.

    `ineffective`: asked for, but its probe came out the same. `leaked`: not asked for, but its
    probe came out different, or is missing. "source" stands for the source package, which tells
    what rpm saw when it read the spec.
    """

    variations: tuple[str, ...]
    effective: tuple[str, ...]
    ineffective: tuple[str, ...]
    leaked: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not (self.ineffective or self.leaked)


def probe_job(
    chroot: Chroot,
    lock: Lock,
    setup_lock: Lock,
    *,
    directory: Path,
    store: Store,
    attempt: str,
    written: int,
    cpus: int = 1,
) -> Job:
    """The job that builds the probe in a chroot, its source package included.

    `lock` is solved from BUILD_REQUIRES. The recipe is written into `directory`, its files are
    put into `store`. `written` are seconds since 1970, about now, and the same for all jobs
    whose packages are to be compared.
    """
    recipe = _recipe(directory, written)
    inputs = tuple((f.path, store.put(directory / f.path)) for f in recipe.files)
    return Job(
        attempt=attempt,
        step=f"{recipe.name}@{chroot.name}",
        recipe=recipe,
        chroot=chroot,
        lock=lock,
        setup_lock=setup_lock,
        counter=0,
        key="0" * 64,
        epoch_seconds=_EPOCH,
        inputs=inputs,
        cpus=cpus,
        limits=_LIMITS,
    )


def judge(usual: Built, varied: Built, variations: Iterable[str]) -> Judgement:
    """Compare the probe as it is usually built with the one built under `variations`."""
    asked = tuple(variations)
    before, after = _by_name(usual), _by_name(varied)
    differ = {name for name in NAMES if before.get(name, "?") != after.get(name, "!")}
    leaked = [name for name in NAMES if name in differ and name not in asked]
    ineffective = [name for name in asked if name not in differ]
    if (usual.srpm.sha256 != varied.srpm.sha256) != bool(SEEN_BY_RPM.intersection(asked)):
        (ineffective if SEEN_BY_RPM.intersection(asked) else leaked).append("source")
    effective = tuple(name for name in asked if name in differ)
    return Judgement(asked, effective, tuple(ineffective), tuple(leaked))


def spec(written: int) -> str:
    """The text of the probe's spec."""
    text = (_DATA / "probe.spec").read_text("utf-8").replace("@WRITTEN@", str(written))
    main, mark, changelog = text.partition("%changelog\n")
    return main + "".join(_PACKAGE.format(name=name) for name in NAMES) + "\n" + mark + changelog


def _recipe(directory: Path, written: int) -> Recipe:
    directory.mkdir(parents=True, exist_ok=True)
    contents = {
        name: (_DATA / name).read_text("utf-8") for name in ("look.c", "look.py")
    } | {"probe.spec": spec(written)}  # fmt: skip
    files = []
    for name, text in sorted(contents.items()):
        write_atomic(directory / name, text)
        files.append(RecipeFile(name, sha256_of(directory / name)))
    return Recipe("probe", "probe.spec", str(directory), tuple(files))


def _by_name(built: Built) -> dict[str, str]:
    """Variation → digest of its package."""
    return {p.nevra.name.removeprefix("probe-"): p.sha256 for p in built.packages}

"""What is reached stays, what is not goes, and a run that is killed harms nothing."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.collection import GcReport, GcRequest, Retention, Scene, collect
from farm.errors import PublishError
from farm.ledger import Ledger, coordinator
from farm.model import (
    Built,
    Chroot,
    Job,
    Lock,
    LockedPackage,
    Manifest,
    Nevra,
    Package,
    Recipe,
    Repository,
    Result,
    Snapshot,
    WorkOrder,
    digest_of,
    to_json,
)
from farm.plan.metadata.pins import Pin
from farm.publish.provenance import lock_file
from farm.publish.tree import History, Publication, Replaced
from farm.rebuild.attempts import log_path, root_log_path
from farm.rebuild.roots import RootCache
from farm.store import Store

DAY = 86400
NOW = 1_800_000_000
CHROOT = Chroot("d-x86_64", "d", "x86_64", (), (), ".d")
RETENTION = Retention(NOW, snapshots=2, days=10, attested_days=100, grace_hours=24)


class Killed(BaseException):
    """The process is gone."""


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class World:
    """A farm's directories with things in them; `reached` is what has to stay, kept by hand."""

    root: Path
    chance: random.Random
    reached: set[Path] = field(default_factory=set)
    made: list[Result] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reached_results: set[str] = set()
        self.state, self.tree = self.root / "state", Publication(self.root / "repo")
        self.store = Store(self.state / "store")
        self.state.mkdir(parents=True)

    @property
    def scene(self) -> Scene:
        return Scene(
            self.state, self.tree.root, RETENTION,
            recipes=frozenset("abc"), chroots=frozenset({"d-x86_64"}),
            roots=self.root / "roots",
        )  # fmt: skip

    def stored(self, text: str) -> str:
        return self.store.put_bytes(text.encode())

    def locked(self, number: int) -> LockedPackage:
        name = f"base{number}"
        nevra = Nevra(name, 0, "1", "1", "x86_64")
        return LockedPackage(nevra, self.stored(name), 1, "base")

    def result(self, step: str, number: int, finished: float, content: str = "") -> Result:
        name = step.partition("@")[0]
        built = self.stored(content or f"{step} {number}")
        source = self.stored(f"{step} {number} source")
        locked = [self.locked(n) for n in sorted(self.chance.sample(range(12), 3))]
        if self.made and self.chance.random() < 0.4:  # built with a package of the layer
            (own,) = self.chance.choice(self.made).built.packages
            locked.append(LockedPackage(own.nevra, own.sha256, 1, "layer"))
        lock = Lock(tuple(locked))
        return Result(
            key=sha(f"key {step} {number}"), step=step,
            manifest=Manifest(str(number), lock.digest, "c", 1), lock=lock, recipe_files=(),
            counter=0, commit="", finished=finished, chroot=CHROOT,
            built=Built(
                (Package(Nevra(name, 0, "1", str(number), "x86_64"), built, 1, name),),
                Package(Nevra(name, 0, "1", str(number), "src"), source, 1, name), 1.0,
            ),
            inputs=((f"{name}.spec", self.stored(f"{name}.spec {number}")),),
        )  # fmt: skip

    def reach(self, result: Result) -> None:
        """The files of a result, of its build root and of its recipe; and the same of whoever
        made a package of the layer that is in that build root."""
        if result.key in self.reached_results:
            return
        self.reached_results.add(result.key)
        own = {p.sha256 for p in result.lock.packages if p.repository == "layer"}
        for other in self.made:
            if own & {p.sha256 for p in other.built.packages}:
                self.reach(other)
        names = [p.sha256 for p in (*result.built.packages, result.built.srpm)]
        names += [p.sha256 for p in result.lock.packages]
        names += [sha256 for _, sha256 in result.inputs]
        self.reached |= {self.store.path(name) for name in names}
        self.reached |= {
            self.state / "signed" / "KEY" / name[:2] / f"{name[2:]}.rpm"
            for name in [p.sha256 for p in (*result.built.packages, result.built.srpm)]
        }

    def write(self, path: Path, text: str = "x") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def publish(self, number: int, created: float, results: list[Result]) -> Path:
        """A snapshot with these builds behind it, their locks and the packages in those."""
        names = []
        for result in results:
            names.append(digest_of(result))
            self.tree.add_result(result, names[-1])
            resource, content = lock_file(result.lock)
            self.write(self.tree.root / resource.uri, content.decode())
            for package in result.lock.packages:
                archived = self.archived(package.sha256)
                if not archived.exists():
                    archived.parent.mkdir(parents=True, exist_ok=True)
                    os.link(self.store.path(package.sha256), archived)
        snapshot = Snapshot(f"s{number}", "d", int(created), "", (), results=tuple(sorted(names)))
        directory = self.tree.snapshot_directory("d", snapshot.id)
        for name in ("x86_64/a.rpm", "x86_64/b.rpm"):
            self.write(directory / name, snapshot.id)
        self.write(directory / "snapshot.json", to_json(snapshot).decode())
        return directory

    def archived(self, sha256: str) -> Path:
        return self.tree.root / "archive" / sha256[:2] / f"{sha256[2:]}.rpm"

    def reach_snapshot(self, directory: Path, results: list[Result]) -> None:
        self.reached |= {p for p in directory.rglob("*") if p.is_file()}
        for result in results:
            self.reach(result)
            self.reached.add(self.tree.result_path(digest_of(result)))
            self.reached.add(self.tree.root / lock_file(result.lock)[0].uri)
            self.reached |= {self.archived(p.sha256) for p in result.lock.packages}

    def files(self) -> set[Path]:
        """Everything there is, the figures left out."""
        own = {"ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm", "coordinator.lock"}
        places = (self.state, self.tree.root)
        found = {p for place in places for p in place.rglob("*") if p.is_file()}
        found = {p for p in found if p.name not in own and p.name != "former.json"}
        return {p for p in found if p != self.tree.root / ".lock"}


def build(world: World) -> None:
    """A random history of builds and publications, with what is reached noted beside it."""
    chance = world.chance
    results: list[Result] = []
    stood: list[Result] = []
    with coordinator(world.state) as ledger:
        for step in ("a@d-x86_64", "b@d-x86_64", "a~bootstrap@d-x86_64", "gone@d-x86_64"):
            made: list[Result] = []
            for number in range(chance.randrange(1, 5)):
                at = NOW - chance.randrange(0, 40) * DAY
                same = made and chance.random() < 0.3
                content = f"{step} {number - 1}" if same else ""
                result = world.result(step, number, at + number, content)
                if same:  # the same package, built from other inputs
                    packages = made[-1].built.packages
                    built = msgspec.structs.replace(result.built, packages=packages)
                    result = msgspec.structs.replace(result, built=built)
                made.append(result)
                world.made.append(result)
                ledger.record(result)
                world_attempt(world, ledger, result)
            results += made
            stands = chance.choice(made)
            ledger.stand(step, stands.key)
            if step != "gone@d-x86_64" or stands.finished > NOW - RETENTION.days * DAY:
                stood += [r for r in made if r.built.packages == stands.built.packages]
        for each in stood:
            world.reach(each)
        publish_some(world, results)
        # signed again or not: copies of everything ever built
        for result in results:
            for package in (*result.built.packages, result.built.srpm):
                name = package.sha256
                world.write(world.state / "signed" / "KEY" / name[:2] / f"{name[2:]}.rpm")
        world.stored(f"nobody's {chance.random()}")
        world.write(world.state / "scratch" / "x" / "x.spec")
        world.write(world.state / "attempts" / "unknown" / "job.json")
        world.write(world.tree.root / "locks" / "ab" / "cd.json", "{}")
        last_attempts(world, ledger)
        for number in range(chance.randrange(3)):
            left_open(world, ledger, chance.choice(("a@d-x86_64", "gone@d-x86_64")), number)


def left_open(world: World, ledger: Ledger, step: str, number: int) -> None:
    """An attempt without an end: what it made, and all that its job names, may be wanted yet."""
    source, own = world.stored(f"open source {number}"), world.stored(f"open spec {number}")
    job = Job(
        attempt=f"open-{number}", step=step, recipe=Recipe("r", "r.spec", "/", ()), chroot=CHROOT,
        lock=Lock((world.locked(30 + number),)), setup_lock=Lock(()), counter=0, key="k",
        epoch_seconds=0, srpm=source, inputs=(("r.spec", own),),
    )  # fmt: skip
    ledger.begin_job(job)
    home = world.state / "attempts" / job.attempt
    order = to_json(WorkOrder(job, str(world.store.root), "")).decode()
    world.reached |= {
        world.write(home / "job.json", order),
        world.write(home / "outcome.json"),
        world.write(home / "results" / "r.rpm"),
        *(world.store.path(name) for name in (source, own, job.lock.packages[0].sha256)),
    }


def world_attempt(world: World, ledger: object, result: Result) -> None:
    """The attempt behind a result, with its log."""
    name = f"{result.finished:.0f}-{result.key[:8]}"
    ledger.begin(name, result.step, result.key)  # type: ignore[attr-defined]
    ledger.end(name, result.built)  # type: ignore[attr-defined]
    job = Job(
        attempt=name, step=result.step, recipe=Recipe("r", "r.spec", "/", ()), chroot=CHROOT,
        lock=result.lock, setup_lock=Lock((world.locked(20),)), counter=0, key=result.key,
        epoch_seconds=0, srpm=result.built.srpm.sha256,
    )  # fmt: skip
    order = to_json(WorkOrder(job, str(world.store.root), ""))
    world.write(world.state / "attempts" / name / "job.json", order.decode())
    recipe = result.step.partition("@")[0].removesuffix("~bootstrap")
    for log in logs_of(world, recipe, name):
        world.write(log)


def logs_of(world: World, recipe: str, attempt: str) -> set[Path]:
    """The logs of an attempt, and what the status pages show of them."""
    return {
        place(home, recipe, "d-x86_64", attempt)
        for place in (log_path, root_log_path)
        for home in (world.state, world.tree.root / "status")
    }


def publish_some(world: World, results: list[Result]) -> None:
    chance = world.chance
    ages = sorted((chance.randrange(0, 200) for _ in range(chance.randrange(1, 6))), reverse=True)
    made = []
    for number, age in enumerate(ages):
        behind = chance.sample(results, min(len(results), 2))
        made.append((number, age, world.publish(number, NOW - age * DAY, behind), behind))
    current = chance.choice(made)
    lately = chance.choice(made)
    replaced = chance.choice((0.5, 3))  # days ago
    earlier = (Replaced(f"000001-s{lately[0]}", f"s{lately[0]}", int(NOW - replaced * DAY)),)
    history = History(f"000002-s{current[0]}", f"s{current[0]}", NOW, "http://x", earlier)
    trees = world.tree.root / "trees" / "d"
    for name in (history.tree, earlier[0].tree):
        world.write(trees / name / "x86_64" / "a.rpm")
    here = world.write(trees / history.tree / "history.json", to_json(history).decode())
    world.tree.pointer("d").symlink_to(f"trees/d/{history.tree}")
    world.reached |= {here, trees / history.tree / "x86_64" / "a.rpm"}
    if replaced < 1:
        world.reached.add(trees / earlier[0].tree / "x86_64" / "a.rpm")
    newest = {number for number, *_ in sorted(made, key=lambda m: (m[1], -m[0]))[:2]}
    for number, age, directory, behind in made:
        attested = chance.random() < 0.3
        kept = number in newest or age < 10 or number == current[0] or (attested and age < 100)
        kept = kept or (number == lately[0] and replaced < 1)
        if attested:
            home = world.tree.root / "attestations" / "d" / f"s{number}"
            told = world.write(home / "KEY.intoto.json")
            if kept:
                world.reached.add(told)
        if kept:
            world.reach_snapshot(directory, behind)


def last_attempts(world: World, ledger: object) -> None:
    """The last attempt at each package of the layer stays, with all that its job names; of the
    others the logs of builds that are kept."""
    results = {r.key: r for s in ledger.steps() for r in ledger.results_of(s)}  # type: ignore[attr-defined]
    kept = {key for key, r in results.items() if reached_whole(world, r)}
    for step in ledger.steps():  # type: ignore[attr-defined]
        recipe = step.partition("@")[0].removesuffix("~bootstrap")
        attempts = ledger.attempts(step)  # type: ignore[attr-defined]
        for attempt in attempts:
            logs = logs_of(world, recipe, attempt.id)
            if attempt.key in kept:
                world.reached |= logs
            if attempt is attempts[0] and recipe != "gone":
                world.reached |= {*logs, world.state / "attempts" / attempt.id / "job.json"}
                result = results[attempt.key]
                names = [p.sha256 for p in result.lock.packages]
                names += [result.built.srpm.sha256, sha("base20")]
                world.reached |= {world.store.path(name) for name in names}


def reached_whole(world: World, result: Result) -> bool:
    """Whether this very result is kept."""
    return result.key in world.reached_results


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    memory = Path("/dev/shm")  # the many small writes wait for a disk otherwise
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


def made(place: Path, seed: int) -> World:
    root = place / str(seed)
    shutil.rmtree(root, ignore_errors=True)
    world = World(root, random.Random(seed))
    build(world)
    world.reached &= world.files()
    return world


def gc(world: World, *, dry_run: bool = False) -> GcReport:
    with coordinator(world.state) as ledger:
        return collect(world.scene, ledger, GcRequest(dry_run), lambda *words, **more: None)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_what_is_reached_stays_and_what_is_not_goes(place: Path, seed: int) -> None:
    world = made(place, seed)
    before = world.files()
    foreseen = gc(world, dry_run=True)
    assert world.files() == before
    report = gc(world)
    assert world.files() == world.reached
    assert (report.rows, report.freed) == (foreseen.rows, foreseen.freed)
    assert gc(world).rows == ()
    shutil.rmtree(world.root)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**9), after=st.integers(0, 60))
def test_a_run_that_is_killed_leaves_what_is_reached_and_half_of_nothing(
    place: Path, seed: int, after: int
) -> None:
    world = made(place, seed)
    whole = {
        path: {p for p in path.rglob("*") if p.is_file()}
        for path in (world.tree.root / "snapshots" / "d").iterdir()
    }
    with pytest.MonkeyPatch.context() as patched:
        left = after

        def mortal(name: str, owner: object) -> None:
            real = getattr(owner, name)

            def step(*words: object, **more: object) -> object:
                nonlocal left
                left -= 1
                if left < 0:
                    raise Killed
                return real(*words, **more)

            patched.setattr(owner, name, step)

        for name in ("unlink", "rename", "rmdir"):
            mortal(name, Path)
        mortal("unlink", os)
        mortal("rmdir", os)
        with contextlib.suppress(Killed):
            gc(world)
    assert world.reached <= world.files()
    for path, files in whole.items():
        assert not path.exists() or {p for p in path.rglob("*") if p.is_file()} == files
    for snapshot in world.tree.snapshots():  # whatever is to be seen has its records
        assert all(world.tree.result_path(name).exists() for name in snapshot.results)
    gc(world)
    assert world.files() == world.reached
    shutil.rmtree(world.root)


def test_a_snapshot_that_waits_for_attestations_stays_however_little_is_to_be_kept(
    place: Path,
) -> None:
    world = made(place, 5)
    behind = [world.result("c@d-x86_64", 9, NOW - 200 * DAY)]
    directory = world.publish(99, NOW + 60, behind)  # made after the pointer moved last
    nothing = replace(RETENTION, now=NOW + 200 * DAY, snapshots=0, days=0, attested_days=0)
    with coordinator(world.state) as ledger:
        scene = replace(world.scene, retention=nothing)
        collect(scene, ledger, GcRequest(), lambda *words, **more: None)
    assert (directory / "snapshot.json").exists()
    assert world.tree.result_path(digest_of(behind[0])).exists()
    assert world.store.path(behind[0].built.packages[0].sha256).exists()
    assert len(world.tree.snapshots("d")) == 2, "the current one and this"


def test_names_that_were_published_stay_taken(place: Path) -> None:
    foreseen = (made(place, seed) for seed in range(100))
    world = next(
        world
        for world in foreseen
        if any(row.kind == "build records" for row in gc(world, dry_run=True).rows)
    )
    every = {
        (result.step, str(p.nevra)): p.sha256
        for result in world.tree.results()
        for p in result.built.packages
    }
    gc(world)
    left = {
        (former.step, nevra): sha256
        for former in world.tree.formers()
        for nevra, sha256 in former.packages
    }
    there = {
        (result.step, str(p.nevra)): p.sha256
        for result in world.tree.results()
        for p in result.built.packages
    }
    assert left | there == every
    assert left


def test_nothing_is_removed_while_another_farm_publishes(place: Path) -> None:
    world = made(place, 3)
    before = world.files()
    with world.tree.writing("d"), pytest.raises(PublishError, match="is publishing"):
        gc(world)
    assert world.files() == before


def test_a_link_that_stays_elsewhere_frees_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, random.Random(1))
    (tmp_path / "repo").mkdir()
    name = world.stored("x" * 9000)
    os.link(world.store.path(name), tmp_path / "elsewhere")
    with coordinator(world.state):
        pass
    report = gc(world)
    assert [(row.kind, row.number, row.bytes) for row in report.rows] == [("stored files", 1, 0)]
    assert (tmp_path / "elsewhere").read_text() == "x" * 9000


def test_verdicts_of_packages_that_are_gone_go_and_so_does_old_evidence(tmp_path: Path) -> None:
    world = World(tmp_path, random.Random(1))
    world.write(world.state / "verified" / "a" / "d-x86_64.json", "{}")
    kept = world.state / "differences" / "b" / "d-x86_64-plain-emulation"
    world.write(kept / "report.txt")
    world.reached = world.files()
    for step in ("gone/d-x86_64.json", "a/other-x86_64.json"):
        world.write(world.state / "verified" / step, "{}")
    world.write(world.state / "differences" / "gone" / "d-x86_64" / "report.txt")
    old = world.state / "differences" / "a" / "d-x86_64"
    world.write(old / "report.txt")
    os.utime(old, (NOW - 20 * DAY, NOW - 20 * DAY))
    os.utime(kept, (NOW, NOW))
    gc(world)
    assert world.files() == world.reached


def test_build_roots_that_nobody_used_go_and_those_in_use_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farm.collection.removal.remove", shutil.rmtree)
    world = World(tmp_path, random.Random(1))
    roots = world.scene.roots
    assert roots is not None
    names = ("base-old", "delta-used", "delta-young", "kept-20200101-x", "somebody-elses", "mock")
    for name in names:
        world.write(roots / name / "tree" / "file")
        os.utime(roots / name, (NOW - 2 * DAY, NOW - 2 * DAY))
    os.utime(roots / "delta-young")
    os.utime(roots / "delta-young", (NOW, NOW))
    said: list[str] = []
    with (
        coordinator(world.state) as ledger,
        RootCache(roots, world.store).held(roots / "delta-used", exclusive=False),
    ):
        emit = lambda *words, text="", **more: said.append(text)  # noqa: E731
        report = collect(world.scene, ledger, GcRequest(), emit)
    assert [(row.kind, row.number) for row in report.rows] == [("build roots", 3)]
    left = {path.name for path in roots.iterdir()}
    assert left == {"delta-used", "delta-young", "somebody-elses", "mock", "locks"}
    assert said == ["the build root delta-used is in use and stays"]


def test_old_bases_in_the_shared_cache_go_only_when_asked_and_not_if_pinned(tmp_path: Path) -> None:
    world = World(tmp_path, random.Random(1))
    bases = tmp_path / "base"
    for name in ("x86_64-new", "x86_64-old", "x86_64-pinned", "x86_64-draft"):
        world.write(bases / "d" / name / "Packages" / "a.rpm")
        if not name.endswith("draft"):
            world.write(bases / "d" / name / "recipe")
    (bases / "d" / "x86_64").symlink_to("x86_64-new")
    address = (bases / "d" / "x86_64-pinned").resolve().as_uri()
    pin = Pin(Repository("base"), "r" * 64, (address,), ())
    world.write(world.state / "pins" / "d-x86_64" / "base" / "pin.json", to_json(pin).decode())
    scene = replace(world.scene, bases=bases)
    quiet = lambda *words, **more: None  # noqa: E731
    with coordinator(world.state) as ledger:
        assert collect(scene, ledger, GcRequest(), quiet).rows == ()
        (row,) = collect(scene, ledger, GcRequest(bases=True), quiet).rows
    assert (row.kind, row.number) == ("embedded bases", 1)
    left = {path.name for path in (bases / "d").iterdir()}
    assert left == {"x86_64", "x86_64-new", "x86_64-pinned", "x86_64-draft"}

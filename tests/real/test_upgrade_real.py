"""What farm says of upgrades, judged by dnf: it upgrades small real sites in roots of their own."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from farm.model import Nevra
from farm.plan.fit.shipment import Shipment, published
from farm.plan.fit.upgrade import upgrade_findings
from farm.plan.fit.upgradepool import UpgradePool
from farm.plan.metadata.pins import Pin
from farm.plan.metadata.repodata import pin_repository
from farm.plan.universe import nevra_of
from farm.run import Completed, run
from tests.repositories import chroot, repository
from tests.rpms import Spec, build, needs_rpmbuild

pytestmark = [
    pytest.mark.real,
    needs_rpmbuild,
    pytest.mark.skipif(shutil.which("dnf") is None, reason="dnf is not installed"),
]

CLUSTER = Spec("cluster", arch="noarch", requires=["munge"])
MUNGE = Spec("munge", release="3", requires=["libc"])
PLUGIN = Spec("plugin", requires=["munge"])
BASE = (Spec("libc"), Spec("editor"))

Make = Callable[[Spec], Path]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Builds a package; the same one is built once for all tests."""
    home = tmp_path_factory.mktemp("packages")

    def made(spec: Spec) -> Path:
        place = home / hashlib.sha256(repr(spec).encode()).hexdigest()[:16]
        if not place.is_dir():
            build(place, spec)
        (path,) = (place).glob("*/RPMS/*/*.rpm")
        return path

    return made


@dataclass(frozen=True)
class Machine:
    """A base and two snapshots as repositories, and a site's root."""

    home: Path
    make: Make

    def written(self, name: str, packages: Sequence[Spec]) -> set[str]:
        """Write a repository; gives its NEVRAs."""
        directory = self.home / name / "x86_64"
        directory.mkdir(parents=True)
        for spec in packages:
            path = self.make(spec)
            (directory / path.name).hardlink_to(path)
        run(["createrepo_c", "--quiet", directory])
        shipment = published(self.home / name, "x86_64", self.home / "cache")
        assert shipment is not None
        return {str(package.nevra) for package in shipment.packages}

    def dnf(self, layer: str, *words: str, best: bool = False, check: bool = True) -> Completed:
        return run(
            [
                "unshare", "--user", "--map-root-user",
                "dnf", "-y", f"--installroot={self.home / 'root'}", "--releasever=1",
                "--forcearch=x86_64", "--setopt=reposdir=/dev/null", "--nogpgcheck", "--refresh",
                f"--setopt=best={int(best)}", "--setopt=ignorearch=1",
                f"--setopt=cachedir={self.home}/dnf-{layer}", f"--setopt=logdir={self.home}",
                f"--repofrompath=base,file://{self.home}/base/x86_64",
                f"--repofrompath=layer,file://{self.home}/{layer}/x86_64",
                "--repo=base", "--repo=layer", *words,
            ],
            env=self.environment, check=check,
        )  # fmt: skip

    @property
    def environment(self) -> dict[str, str]:
        (self.home / ".rpmmacros").write_text("%_dbpath /var/lib/rpm\n")
        return {"HOME": str(self.home)}

    @property
    def installed(self) -> set[str]:
        root = self.home / "root"
        listed = run(
            ["unshare", "--user", "--map-root-user",
             "rpm", "--root", root, "-qa", "--qf", "%{NEVRA}\n"],
            env=self.environment,
        ).stdout.split()  # fmt: skip
        return {str(Nevra.parse(text)) for text in listed}

    @property
    def pin(self) -> Pin:
        return pin_repository(repository(self.home / "base" / "x86_64"), self.home / "pin")

    def shipments(self) -> tuple[Shipment, Shipment]:
        old, new = (published(self.home / n, "x86_64", self.home / "cache") for n in ("old", "new"))
        assert old is not None and new is not None
        return old, new

    def predicted(self) -> tuple[set[str], set[str]]:
        """What farm thinks a site has before and after `dnf upgrade`."""
        old, new = self.shipments()
        pool = UpgradePool.open(
            chroot(self.pin.repository), [self.pin], self.home / "c", [old], new
        )
        numbers = {nevra.name: number for nevra, number in pool.earlier.items()}
        found = pool.install(list(pool.earlier.values()), numbers["cluster"])
        assert isinstance(found, frozenset), found
        before = {str(nevra_of(pool.solvable(number))) for number in found}
        with pool.site(found) as site:
            after = site.upgrade()
            assert isinstance(after, frozenset), after
            return before, {str(nevra_of(pool.solvable(number))) for number in after}

    def kinds(self) -> set[str]:
        """What farm has to say against the new snapshot."""
        old, new = self.shipments()
        over = chroot(self.pin.repository)
        found = upgrade_findings(over, [self.pin], self.home / "c", [old], new, ["cluster"])
        assert found.notes == ()
        return {problem.kind for problem in found.problems}


SCENARIOS: dict[str, tuple[Sequence[Spec], Sequence[Spec], set[str]]] = {
    "release up": ((), (replace(MUNGE, release="4"),), set()),
    "release counter reset": ((), (replace(MUNGE, release="1"),), {"evr-backwards"}),
    "epoch in place of a version": ((), (replace(MUNGE, version="0.1", epoch=1),), set()),
    "version back": ((), (replace(MUNGE, version="0.9"),), {"evr-backwards"}),
    "to a pre-release": ((), (replace(MUNGE, version="1.0~rc1"),), {"evr-backwards"}),
    "to a snapshot after it": ((), (replace(MUNGE, version="1.0^git1"),), set()),
    "another spelling": ((), (replace(MUNGE, version="1.00"),), {"evr-unchanged"}),
    "noarch, higher": ((), (replace(MUNGE, arch="noarch", release="4"),), set()),
    "noarch, the same": ((), (replace(MUNGE, arch="noarch"),), {"evr-unchanged"}),
    "a member cannot be installed": (
        (), (replace(MUNGE, release="4", requires=["gone"]),), {"upgrade-blocked"},
    ),
    "a member conflicts with the base of the site": (
        (replace(CLUSTER, requires=["munge", "editor"]),),
        (
            replace(CLUSTER, requires=["munge", "editor"], version="2"),
            replace(MUNGE, release="4", conflicts=["editor"]),
        ),
        {"upgrade-blocked"},
    ),
    "a package vanishes": (
        (replace(CLUSTER, requires=["munge", "plugin"]), PLUGIN),
        (replace(CLUSTER, version="2"), replace(MUNGE, release="4")),
        {"vanished"},
    ),
    "a package vanishes and holds back the rest": (
        (replace(CLUSTER, requires=["munge", "plugin"]), replace(PLUGIN, requires=["munge < 2"])),
        (replace(CLUSTER, version="2"), replace(MUNGE, version="2")),
        {"vanished", "upgrade-blocked"},
    ),
    "renamed with Provides and Obsoletes": (
        (replace(CLUSTER, requires=["munge", "plugin"]), PLUGIN),
        (
            replace(CLUSTER, requires=["munge", "plugin"]), MUNGE,
            Spec("addon", provides=["plugin = 2"], obsoletes=["plugin < 2"]),
        ),
        set(),
    ),
    "renamed with Provides alone": (
        (replace(CLUSTER, requires=["munge", "plugin"]), PLUGIN),
        (
            replace(CLUSTER, requires=["munge", "plugin"]), MUNGE,
            Spec("addon", provides=["plugin = 2"]),
        ),
        {"vanished"},
    ),
    "obsoleted too low": (
        (replace(CLUSTER, requires=["munge", "plugin"]), PLUGIN),
        (CLUSTER, MUNGE, Spec("addon", provides=["plugin"], obsoletes=["plugin < 1.0"])),
        {"vanished"},
    ),
    "split": (
        (),
        (
            replace(MUNGE, version="2", requires=["munge-libs"]),
            Spec("munge-libs", version="2", obsoletes=["munge < 2"]),
        ),
        set(),
    ),
    "obsoletes its own past": ((), (replace(MUNGE, version="2", obsoletes=["munge < 2"]),), set()),
    "a recommended package cannot be upgraded": (
        (replace(CLUSTER, recommends=["plugin"]), PLUGIN),
        (replace(CLUSTER, recommends=["plugin"]), MUNGE,
         replace(PLUGIN, version="2", requires=["gone"])),
        {"upgrade-blocked"},
    ),
    "the metapackage drops a member": (
        (replace(CLUSTER, requires=["munge", "plugin"]), PLUGIN),
        (replace(CLUSTER, version="2"), MUNGE, replace(PLUGIN, version="2")),
        set(),
    ),
    "multilib, one of the two goes on alone": (
        (replace(CLUSTER, requires=["munge", "lib", "lib(32)"]),
         Spec("lib", arch="i686", provides=["lib(32)"]), Spec("lib")),
        (replace(CLUSTER, requires=["munge", "lib", "lib(32)"]), MUNGE, Spec("lib", version="2")),
        {"vanished", "upgrade-blocked"},
    ),
}  # fmt: skip


def completed(changes: Sequence[Spec]) -> list[Spec]:
    """The usual packages, and these in place of those of the same name."""
    names = {spec.name for spec in changes}
    return [*(spec for spec in (CLUSTER, MUNGE) if spec.name not in names), *changes]


@pytest.mark.parametrize("name", SCENARIOS)
def test_dnf_keeps_the_old_where_farm_says_so_and_nowhere_else(
    name: str, tmp_path: Path, make: Make
) -> None:
    old, new, kinds = SCENARIOS[name]
    machine = Machine(tmp_path, make)
    base = machine.written("base", BASE)
    machine.written("old", completed(old))
    offered = machine.written("new", completed(new))
    before, after = machine.predicted()
    machine.dnf("old", "install", "cluster")
    assert machine.installed == before
    machine.dnf("new", "upgrade")
    assert machine.installed == after
    stuck = machine.installed - offered - base
    assert machine.kinds() == kinds
    assert bool(stuck) == bool(kinds), stuck


def test_where_dnf_is_told_to_want_the_best_it_fails_where_farm_says_blocked(
    tmp_path: Path, make: Make
) -> None:
    old, new, _ = SCENARIOS["a member cannot be installed"]
    machine = Machine(tmp_path, make)
    machine.written("base", BASE)
    machine.written("old", completed(old))
    machine.written("new", completed(new))
    machine.dnf("old", "install", "cluster", best=True)
    refused = machine.dnf("new", "upgrade", best=True, check=False)
    assert not refused.ok
    assert "nothing provides gone needed by munge-1.0-4" in refused.stdout + refused.stderr


NAMES = ("munge", "plugin", "tool", "lib")


def anything(dice: random.Random, version: str) -> list[Spec]:
    """A layer as chance has it."""
    specs = []
    for name in NAMES:
        others = [other for other in (*NAMES, "editor") if other != name]
        if dice.random() < (0.85 if version == "2" else 1):
            specs.append(
                Spec(
                    name,
                    version=dice.choice([version, version, "1"]),
                    release=dice.choice("12"),
                    arch="noarch",
                    requires=dice.sample(others, dice.choice([0, 0, 1])),
                    conflicts=[
                        f"{other} < 2" for other in dice.sample(others, dice.choice([0, 0, 0, 1]))
                    ],
                    obsoletes=[
                        f"{other} < 2"
                        for other in dice.sample(others, dice.choice([0, 0, 0, 1]))
                        if version == "2"
                    ],
                    provides=dice.sample(others, dice.choice([0, 0, 0, 1])),
                )
            )
    return specs


@pytest.mark.parametrize("seed", range(4))
def test_a_site_of_chance_ends_where_dnf_ends(seed: int, tmp_path: Path, make: Make) -> None:
    dice = random.Random(seed)
    machine = Machine(tmp_path, make)
    base = machine.written("base", BASE)
    cluster = Spec("cluster", arch="noarch", requires=["munge", "tool"], recommends=["plugin"])
    while True:
        shutil.rmtree(tmp_path / "old", ignore_errors=True)
        shutil.rmtree(tmp_path / "new", ignore_errors=True)
        machine.written("old", [cluster, *anything(dice, "1")])
        offered = machine.written("new", [replace(cluster, version="2"), *anything(dice, "2")])
        if machine.dnf("old", "install", "cluster", check=False).ok:
            break
        shutil.rmtree(tmp_path / "root", ignore_errors=True)
    before, after = machine.predicted()
    assert machine.installed == before
    machine.dnf("new", "upgrade")
    assert machine.installed == after
    if machine.installed - offered - base:
        assert machine.kinds()

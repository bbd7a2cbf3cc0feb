"""From every snapshot ever published, `dnf upgrade` has to bring every site to the new one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farm.errors import StateError
from farm.model import Problem
from farm.plan.fit.arrivals import Arrivals
from farm.plan.fit.findings import Findings
from farm.plan.fit.shipment import Shipment, published, to_be_shipped
from farm.plan.fit.upgrade import upgrade_findings
from farm.plan.fit.upgradepool import UpgradePool
from farm.plan.metadata.repodata import pin_repository
from tests.repositories import Comps, Rpm, chroot, repository, write_repository

META = Rpm("cluster", "1-1", "noarch", requires=["munge"], source="cluster")
MUNGE = Rpm("munge", "0.5-3.t1", requires=["libc"], source="munge")
LIBC = Rpm("libc", "2-1")


@dataclass
class World:
    """A base and snapshots below one directory."""

    home: Path
    base: Sequence[Rpm] = (LIBC,)
    arch: str = "x86_64"
    groups: Sequence[str] = ("cluster",)
    snapshots: list[Shipment] = field(default_factory=list)

    def shipment(self, packages: Sequence[Rpm], debug: Sequence[Rpm] = ()) -> Shipment:
        directory = self.home / f"s{len(list(self.home.iterdir()))}"
        groups = [Comps(group) for group in self.groups]
        write_repository(directory / self.arch, packages, groups=groups)
        if debug:
            write_repository(directory / self.arch / "debug", debug)
        shipment = published(directory, self.arch, self.home / "cache")
        assert shipment is not None
        return shipment

    def published(self, *packages: Rpm, debug: Sequence[Rpm] = ()) -> World:
        shipment = replace(self.shipment(packages, debug), name=f"snapshot {len(self.snapshots)}")
        self.snapshots.append(shipment)
        return self

    def findings(self, *packages: Rpm, debug: Sequence[Rpm] = ()) -> Findings:
        new = replace(self.shipment(packages, debug), name="the new snapshot")
        directory = self.home / f"base{len(list(self.home.iterdir()))}"
        write_repository(directory, self.base)
        pin = pin_repository(repository(directory), directory / "pin")
        over = chroot(pin.repository, arch=self.arch)
        return upgrade_findings(over, [pin], self.home / "cache", self.snapshots, new)

    def problems(self, *packages: Rpm, debug: Sequence[Rpm] = ()) -> tuple[Problem, ...]:
        return self.findings(*packages, debug=debug).problems

    def problem(self, *packages: Rpm) -> Problem:
        (problem,) = self.problems(*packages)
        return problem


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def kinds(problems: Sequence[Problem]) -> list[tuple[str, str]]:
    return sorted((problem.kind, problem.subject) for problem in problems)


def test_what_goes_up_is_fine(world: World) -> None:
    world.published(META, MUNGE)
    new = (replace(META, evr="1-2"), replace(MUNGE, evr="0.5-4.t1"))
    assert world.findings(*new) == Findings()


def test_what_stays_is_fine_and_costs_nothing(tmp_path: Path) -> None:
    world = World(tmp_path).published(META, MUNGE)
    more = world.shipment((META, MUNGE, Rpm("pdsh")))
    assert upgrade_findings(chroot(), [], tmp_path / "none", world.snapshots, more) == Findings()
    assert not (tmp_path / "none").exists()


def test_a_release_counter_that_was_reset_is_refused_with_the_release_to_write(
    world: World,
) -> None:
    devel = replace(MUNGE, name="munge-devel", requires=())
    debug = [replace(devel, name=f"munge-{what}") for what in ("debuginfo", "debugsource")]
    world.published(META, MUNGE, devel, debug=debug)
    reset = [replace(rpm, evr="0.5-1.t1") for rpm in (MUNGE, devel, *debug)]
    (problem,) = world.problems(META, *reset[:2], debug=reset[2:])
    assert problem == Problem(
        "evr-backwards",
        "munge",
        (
            "munge, munge-devel and 2 debug packages: published in snapshot 0 at 0.5-3.t1, to be "
            "published at 0.5-1.t1",
            "0.5-3.t1 is the higher one: the release went from 3.t1 back to 1.t1",
            "dnf never goes back: sites that have the published packages keep them, silently, "
            "and get no update until munge is above 0.5-3.t1",
        ),
        "Set `Release: 4%{?dist}` in munge's spec, above every release that was published.",
    )


@pytest.mark.parametrize(
    ("was", "now", "cause", "remedy"),
    [
        ("1:1.0-1", "2.0-1", "the epoch went from 1 to 0", "Put `Epoch: 1` back"),
        ("2.0-1", "1.9-4", "the version went from 2.0 back to 1.9", "`Epoch: 1`"),
        ("2:2.0-1", "2:1.9-4", "the version went from 2.0 back to 1.9", "`Epoch: 3`"),
        ("1.0-1", "1.0~rc1-1", "`~` sorts before", "above 1.0"),
        ("1.0^git1-1", "1.0-1", "`^` sorts after", "above 1.0^git1"),
        ("1.10-1", "1.9-1", "the version went from 1.10 back to 1.9", "above 1.10"),
        ("1-3.t1.2", "1-3.t1", "the rebuild counter went from 2 back to 0", "ledger rebuild"),
        ("1-10.t1", "1-9.t1.4", "the release went from 10.t1", "`Release: 11%{?dist}`"),
    ],
)
def test_each_way_back_is_named_with_its_own_remedy(
    world: World, was: str, now: str, cause: str, remedy: str
) -> None:
    problem = world.published(replace(MUNGE, evr=was)).problem(replace(MUNGE, evr=now))
    assert (problem.kind, problem.subject) == ("evr-backwards", "munge")
    assert cause in problem.facts[1] and f"{was} is the higher one" in problem.facts[1]
    assert remedy in problem.remedy


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("9.0-9", "1:1.0-1"), ("1.0~rc1-1", "1.0-1"), ("1.0-1", "1.0^git1-1"),
        ("1.0~rc2-1", "1.0^git1-1"), ("1.9-1", "1.10-1"), ("1-3.t1", "1-3.t1.1"), ("1-a", "1-1"),
    ],
)  # fmt: skip
def test_what_rpm_sorts_higher_is_an_upgrade(world: World, was: str, now: str) -> None:
    upgraded = world.published(replace(MUNGE, evr=was)).findings(replace(MUNGE, evr=now))
    assert upgraded == Findings()


@pytest.mark.parametrize(("was", "now"), [("1.0-1", "1.00-1"), ("1.0-1", "1.0-01")])
def test_two_spellings_of_one_version_are_no_upgrade(world: World, was: str, now: str) -> None:
    problem = world.published(replace(MUNGE, evr=was)).problem(replace(MUNGE, evr=now))
    assert problem.kind == "evr-unchanged"


def test_a_metapackage_gets_its_version_from_the_list_of_groups(world: World) -> None:
    world.published(replace(META, evr="2-1"), MUNGE)
    problem = world.problem(META, MUNGE)
    assert problem.remedy == "Raise `version` of group cluster in groups.toml above 2."


def test_the_highest_of_all_snapshots_counts_and_is_reported_once(world: World) -> None:
    for evr in ("1-1.t1", "1-5.t1", "1-4.t1"):
        world.published(replace(MUNGE, evr=evr))
    problem = world.problem(replace(MUNGE, evr="1-2.t1"))
    assert "published in snapshot 2 and 1 earlier at 1-5.t1" in problem.facts[0]


@pytest.mark.parametrize(("was", "now"), [("noarch", "x86_64"), ("x86_64", "noarch")])
def test_to_and_from_noarch_is_an_upgrade_when_the_release_goes_up(
    world: World, was: str, now: str
) -> None:
    world.published(replace(META, requires=["data"]), Rpm("data", "1-1", was))
    upgraded = (replace(META, requires=["data"]), Rpm("data", "1-2", now))
    assert world.findings(*upgraded) == Findings()


@pytest.mark.parametrize(("was", "now"), [("noarch", "x86_64"), ("x86_64", "noarch")])
def test_to_and_from_noarch_with_the_same_release_is_no_upgrade(
    world: World, was: str, now: str
) -> None:
    problem = world.published(Rpm("data", "1-1.t1", was)).problem(Rpm("data", "1-1.t1", now))
    assert problem.kind == "evr-unchanged"
    assert f"data-1-1.t1.{was}" in problem.facts[0] and f"data-1-1.t1.{now}" in problem.facts[0]
    assert "Release: 2%{?dist}" in problem.remedy


def test_of_multilib_packages_each_architecture_goes_its_own_way(world: World) -> None:
    both = [Rpm("lib", "1-2", arch, provides=[f"lib({arch})"]) for arch in ("i686", "x86_64")]
    meta = replace(META, requires=["lib(i686)", "lib(x86_64)"])
    world.published(meta, *both)
    assert world.findings(meta, *(replace(rpm, evr="1-3") for rpm in both)) == Findings()
    new = replace(both[1], evr="1-3")
    lower = world.problems(meta, replace(both[0], evr="1-1"), new)
    assert kinds(lower) == [("evr-backwards", "lib"), ("upgrade-blocked", "cluster")]
    vanished, blocked = world.problems(meta, new)
    assert vanished.facts[0] == "lib.i686: published in snapshot 0 at 1-2"
    assert vanished.remedy.startswith("Publish lib for i686 again")
    assert "keeps the old lib-1-2.x86_64" in blocked.facts[0]  # dnf does not part the two
    broken = (replace(both[0], evr="1-3", requires=["gone"]), replace(both[1], evr="1-3"))
    assert {problem.facts[-1] for problem in world.problems(meta, *broken)} == {
        "lib-1-3.i686 (new) requires gone, which nothing provides",
        "only one of lib-1-2.x86_64 (installed) and lib-1-3.x86_64 (new) can be installed",
    }


def test_a_package_that_vanishes_without_obsoletes_is_refused_with_the_line_to_write(
    world: World,
) -> None:
    old = Rpm("munge-compat", "0.5-3.t1.2", source="munge")
    world.published(MUNGE, old)
    problem = world.problem(MUNGE)
    assert (problem.kind, problem.subject) == ("vanished", "munge")
    assert problem.facts[0] == "munge-compat: published in snapshot 0 at 0.5-3.t1.2"
    assert problem.remedy == (
        "If munge takes the place, write `Obsoletes: munge-compat < 0.5-4` into its part of the "
        "spec."
    )


@pytest.mark.parametrize(
    "evr", ["0.5-3.t1", "2:1.0~rc1-0.1.t1", "1.0^git1-9.t1.10", "1-alpha", "1-rc.t1", "7-0"]
)
def test_the_line_that_a_message_proposes_is_the_cure(world: World, evr: str) -> None:
    world.published(MUNGE, Rpm("munge-compat", evr, source="munge"))
    (line,) = re.findall(r"`Obsoletes: ([^`]+)`", world.problem(MUNGE).remedy)
    upgraded = replace(MUNGE, evr="0.6-1.t1", obsoletes=[line])
    assert world.findings(upgraded) == Findings()


def test_provides_without_obsoletes_replaces_nothing_and_is_said_so(world: World) -> None:
    world.published(Rpm("pdsh-old"), MUNGE)
    problem = world.problem(Rpm("pdsh", provides=["pdsh-old = 1-1"]), MUNGE)
    assert problem.kind == "vanished"
    assert "pdsh-1-1.x86_64 provides pdsh-old, but that replaces nothing" in problem.facts[2]
    assert "If pdsh takes the place, write `Obsoletes: pdsh-old < 1-2`" in problem.remedy


def test_a_rename_with_obsoletes_is_fine(world: World) -> None:
    meta = replace(META, requires=["pdsh-old"])
    world.published(meta, Rpm("pdsh-old"))
    renamed = Rpm("pdsh", provides=["pdsh-old = 2"], obsoletes=["pdsh-old < 2"])
    assert world.findings(meta, renamed) == Findings()


def test_obsoletes_of_too_low_a_version_leave_the_package_behind(world: World) -> None:
    world.published(Rpm("pdsh-old", "1-4.t1"))
    assert world.problem(Rpm("pdsh", obsoletes=["pdsh-old < 1-4"])).kind == "vanished"


def test_obsoletes_match_names_not_what_is_provided(world: World) -> None:
    world.published(Rpm("pdsh-old", provides=["rsh-tool = 1"]))
    assert world.problem(Rpm("pdsh", obsoletes=["rsh-tool"])).kind == "vanished"


def test_a_split_with_obsoletes_and_requires_is_fine(world: World) -> None:
    world.published(META, MUNGE)
    split = (
        replace(MUNGE, evr="0.5-4.t1", requires=["munge-libs"]),
        Rpm("munge-libs", "0.5-4.t1", obsoletes=["munge < 0.5-4"]),
    )
    assert world.findings(META, *split) == Findings()


def test_a_package_that_obsoletes_its_own_past_is_fine(world: World) -> None:
    world.published(META, MUNGE)
    new = replace(MUNGE, evr="0.6-1.t1", obsoletes=["munge < 0.6", "munge"])
    assert world.findings(META, new) == Findings()


def test_a_package_that_moved_into_the_base_is_fine(world: World) -> None:
    world.published(replace(META, requires=["munge", "libc"]), MUNGE)
    world.base = (LIBC, Rpm("munge", "0.6-1"))
    assert world.findings(replace(META, evr="1-2")) == Findings()


def test_a_package_that_the_base_has_lower_is_not_there_yet(world: World) -> None:
    world.published(MUNGE)
    world.base = (LIBC, Rpm("munge", "0.4-1"))
    assert world.problem(META).kind == "vanished"


def test_a_package_that_the_base_obsoletes_is_fine_once_the_layer_has_it_no_more(
    world: World,
) -> None:
    world.published(META, MUNGE)
    world.base = (LIBC, Rpm("auth", "1-1", provides=["munge"], obsoletes=["munge < 1"]))
    assert world.findings(replace(META, evr="1-2")) == Findings()


def test_a_package_of_the_layer_that_the_base_puts_out_is_refused(world: World) -> None:
    world.published(META, MUNGE)
    world.base = (LIBC, Rpm("auth", "1-1", provides=["munge"], obsoletes=["munge < 1"]))
    problem = world.problem(META, replace(MUNGE, evr="0.5-4.t1"))
    assert problem.kind == "obsoleted-by-base"
    assert "auth-1-1.x86_64" in problem.facts[1]


def test_debug_packages_go_with_the_package_that_they_belong_to(world: World) -> None:
    old = Rpm("old", source="old")
    debug = [replace(old, name=f"old-{what}") for what in ("debuginfo", "debugsource")]
    world.published(old, debug=debug)
    assert world.findings(Rpm("new", obsoletes=["old < 2"])) == Findings()


def test_debug_packages_of_a_package_that_has_no_more_are_mentioned(world: World) -> None:
    debug = [replace(MUNGE, name=f"munge-{what}") for what in ("debuginfo", "debugsource")]
    world.published(MUNGE, debug=debug)
    new = replace(MUNGE, evr="0.5-4.t1", arch="noarch")
    assert world.findings(new) == Findings()
    findings = world.findings(new, debug=[Rpm("pdsh-debuginfo")])
    assert findings.problems == ()
    assert "munge-debuginfo and munge-debugsource" in findings.notes[0]


def test_a_metapackage_may_drop_a_member_that_stays_in_the_layer(world: World) -> None:
    world.published(replace(META, requires=["munge", "pdsh"]), MUNGE, Rpm("pdsh"))
    assert world.findings(replace(META, evr="2-1"), MUNGE, Rpm("pdsh", "1-2")) == Findings()


def test_a_member_that_leaves_metapackage_and_layer_at_once_is_refused(world: World) -> None:
    world.published(replace(META, requires=["munge", "pdsh"]), MUNGE, Rpm("pdsh"))
    problem = world.problem(replace(META, evr="2-1"), MUNGE)
    assert kinds([problem]) == [("vanished", "pdsh")]


def test_a_group_that_is_dropped_leaves_its_metapackage_at_the_sites(world: World) -> None:
    world.published(META, MUNGE)
    world.groups = ()
    problem = world.problem(MUNGE)
    assert kinds([problem]) == [("vanished", "cluster")]
    assert problem.remedy.startswith("Keep the group in groups.toml")


def test_a_new_metapackage_that_cannot_be_installed_keeps_the_old_one_and_says_why(
    world: World,
) -> None:
    world.published(META, MUNGE)
    new = replace(META, evr="2-1", requires=["munge", "perl(gone)"])
    assert world.problem(new, MUNGE) == Problem(
        "upgrade-blocked",
        "cluster",
        (
            "a site that installed cluster from snapshot 0 on x86_64: `dnf upgrade` keeps the old "
            "cluster-1-1.noarch",
            "cluster-2-1.noarch (new) requires perl(gone), which nothing provides",
        ),
        "Make the new package installable there: publish what it requires, or let it obsolete "
        "what it cannot be installed with.",
    )


def test_a_new_member_that_conflicts_with_the_base_of_a_site_is_refused(world: World) -> None:
    world.base = (LIBC, Rpm("editor"))
    meta = replace(META, requires=["munge", "editor"])
    world.published(meta, MUNGE)
    problem = world.problem(meta, replace(MUNGE, evr="1-1", conflicts=["editor"]))
    assert problem.kind == "upgrade-blocked"
    assert any("munge-1-1.x86_64 (new) conflicts with editor" in fact for fact in problem.facts)


def test_what_a_site_has_only_by_recommendation_has_to_arrive_too(world: World) -> None:
    meta = replace(META, requires=["munge"], recommends=["extra"])
    world.published(meta, MUNGE, Rpm("extra", "1-1"))
    problem = world.problem(meta, MUNGE, Rpm("extra", "1-2", requires=["gone"]))
    assert "keeps the old extra-1-1.x86_64" in problem.facts[0]


def test_two_new_packages_that_cannot_come_together_are_named_together(world: World) -> None:
    meta = replace(META, requires=["munge", "pdsh"])
    world.published(meta, MUNGE, Rpm("pdsh"))
    problem = world.problem(
        meta, replace(MUNGE, evr="1-1", conflicts=["pdsh >= 2"]), Rpm("pdsh", "2-1")
    )
    assert problem.kind == "upgrade-blocked"
    assert any("munge-1-1.x86_64 (new) conflicts with pdsh >= 2" in fact for fact in problem.facts)


def test_a_package_that_vanished_and_pins_an_old_library_holds_back_the_rest(
    world: World,
) -> None:
    plugin = Rpm("plugin", requires=["munge = 0.5-3.t1"])
    world.published(replace(META, requires=["munge", "plugin"]), MUNGE, plugin)
    problems = world.problems(replace(META, evr="2-1"), replace(MUNGE, evr="0.6-1"))
    assert kinds(problems) == [("upgrade-blocked", "cluster"), ("vanished", "plugin")]
    (blocked,) = (problem for problem in problems if problem.kind == "upgrade-blocked")
    assert "plugin-1-1.x86_64 (installed) requires munge = 0.5-3.t1" in "\n".join(blocked.facts)


def test_the_same_fault_from_many_snapshots_is_one_problem(world: World) -> None:
    world.published(META, MUNGE).published(META, MUNGE, Rpm("pdsh"))
    new = (replace(META, evr="2-1", requires=["gone"]), MUNGE, Rpm("pdsh", "1-2"))
    problem = world.problem(*new)
    assert "from snapshot 1 (and from 1 earlier)" in problem.facts[0]


def test_a_metapackage_that_the_base_left_behind_is_said_to_be_and_its_upgrade_is_solved(
    world: World,
) -> None:
    world.published(replace(META, requires=["munge", "libold"]), MUNGE)
    mended = world.findings(replace(META, evr="2-1"), replace(MUNGE, evr="0.6-1"))
    assert mended.problems == ()
    (note,) = mended.notes
    assert "cluster of snapshot 0 can no longer be installed on today's base (x86_64)" in note
    assert note.endswith(
        "cluster-1-1.noarch (published before) requires libold, which nothing provides"
    )
    still = world.findings(replace(META, evr="2-1", requires=["gone"]), replace(MUNGE, evr="0.6-1"))
    assert kinds(still.problems) == [("upgrade-blocked", "cluster")]
    assert len(still.notes) == 1


def test_files_of_the_base_that_only_its_filelists_name_count(world: World) -> None:
    world.base = (LIBC, Rpm("words", files=["/usr/share/words"]))
    world.published(META, MUNGE)
    new = (replace(META, evr="2-1", requires=["munge", "/usr/share/words"]), MUNGE)
    assert world.findings(*new) == Findings()


def test_packages_that_are_not_built_yet_can_be_upgraded_to(world: World, tmp_path: Path) -> None:
    world.published(MUNGE)
    piece = world.shipment((replace(MUNGE, evr="0.5-1.t1"),)).packages[0].load()
    new = to_be_shipped((), tmp_path / "cache", pieces=[piece])
    findings = upgrade_findings(chroot(), [], tmp_path / "cache", world.snapshots, new)
    assert kinds(findings.problems) == [("evr-backwards", "munge")]


def test_the_rebuild_counter_of_a_package_that_is_not_built_yet_is_still_to_be_given(
    world: World, tmp_path: Path
) -> None:
    world.published(replace(MUNGE, evr="0.5-3.t1.2"))
    built = world.shipment((replace(MUNGE, evr="0.5-3.t1"),))
    declared = to_be_shipped((), tmp_path / "cache", pieces=[built.packages[0].load()])

    def found(new: Shipment) -> list[tuple[str, str]]:
        findings = upgrade_findings(chroot(), [], tmp_path / "cache", world.snapshots, new)
        return kinds(findings.problems)

    assert found(declared) == []
    assert found(built) == [("evr-backwards", "munge")]


def test_a_release_that_has_no_such_architecture_yet_has_nothing_to_say(tmp_path: Path) -> None:
    assert published(tmp_path, "riscv64", tmp_path / "cache") is None


def test_metadata_that_was_tampered_with_is_refused(world: World, tmp_path: Path) -> None:
    world.published(MUNGE)
    for path in tmp_path.rglob("x86_64/repodata/primary.xml.gz"):
        path.write_bytes(path.read_bytes() + b"more")
        with pytest.raises(StateError, match="is damaged"):
            published(path.parents[2], "x86_64", tmp_path / "other cache")


def test_what_was_kept_on_disk_may_be_deleted(world: World, tmp_path: Path) -> None:
    world.published(MUNGE)
    before = world.snapshots[0].packages[0].load()
    for path in (tmp_path / "cache").rglob("*-1"):
        path.unlink()
    again = published(tmp_path / "s0", "x86_64", tmp_path / "cache")
    assert again is not None and again.packages[0].load() == before


def test_what_sites_have_is_found_out_once_for_a_snapshot_and_a_base(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.published(replace(META, requires=["munge", "libc"]), MUNGE)
    new = (replace(META, evr="2-1", requires=["gone"]), replace(MUNGE, evr="1-1"))
    first = world.findings(*new)
    asked: list[int] = []
    original = UpgradePool.install

    def install(pool: UpgradePool, snapshot: Sequence[int], wanted: int) -> object:
        asked.append(wanted)
        return original(pool, snapshot, wanted)

    monkeypatch.setattr(UpgradePool, "install", install)
    assert world.findings(*new) == first and asked == []
    for kept in (tmp_path / "cache" / "sites").iterdir():
        kept.write_text("[")
    assert world.findings(*new) == first and len(asked) == 1
    world.base = (replace(LIBC, evr="3-1"),)
    assert world.findings(*new) == first and len(asked) == 2


def test_of_many_kinds_of_sites_that_do_not_arrive_the_newest_are_looked_into(world: World) -> None:
    for release in range(1, 12):
        world.published(META, replace(MUNGE, evr=f"0.5-{release}.t1"))
    findings = world.findings(replace(META, evr="2-1", requires=["gone"]), MUNGE)
    blocked = [p for p in findings.problems if p.kind == "upgrade-blocked"]
    assert "from snapshot 10 (and from 7 earlier)" in blocked[0].facts[0]
    assert findings.notes == (
        "cluster: 3 more kinds of sites, of earlier snapshots, are looked into once these "
        "problems are solved (x86_64)",
    )


VERSIONS = st.from_regex(r"([0-2]:)?[0-2]([.~^][0-2a]){0,2}-[1-3](\.t1(\.[12])?)?", fullmatch=True)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(one=VERSIONS, other=VERSIONS)
def test_of_two_versions_at_most_one_is_an_upgrade_of_the_other(
    tmp_path_factory: pytest.TempPathFactory, one: str, other: str
) -> None:
    def faults(was: str, now: str) -> list[str]:
        world = World(tmp_path_factory.mktemp("world")).published(Rpm("a", was))
        return [problem.kind for problem in world.problems(Rpm("a", now))]

    there, back = faults(one, other), faults(other, one)
    if one.removeprefix("0:") == other.removeprefix("0:"):
        assert there == back == []
    else:
        pair = sorted([there, back])
        assert pair in ([[], ["evr-backwards"]], [["evr-unchanged"], ["evr-unchanged"]])


NAMES = ("munge", "plugin", "tool", "libx", "cluster")
WORDS = ("munge", "plugin", "tool", "libx", "libc", "editor", "cap", "auth")
VERSIONED = st.builds(
    lambda name, version: f"{name}{version}",
    st.sampled_from(WORDS),
    st.sampled_from(["", "", " < 2", " >= 2", " = 1-1"]),
)
RICH = st.builds(
    lambda one, word, other: f"({one} {word} {other})",
    st.sampled_from(WORDS),
    st.sampled_from(["if", "unless", "or"]),
    st.sampled_from(WORDS),
)


def some(strategy: st.SearchStrategy[str], most: int = 1) -> st.SearchStrategy[list[str]]:
    return st.one_of(st.just([]), st.lists(strategy, max_size=most))


def any_package(name: str, version: st.SearchStrategy[str]) -> st.SearchStrategy[Rpm]:
    return st.builds(
        Rpm,
        st.just(name),
        st.builds("{}-{}".format, version, st.sampled_from("12")),
        st.sampled_from(["x86_64", "x86_64", "noarch", "i686"]),
        requires=some(st.one_of(VERSIONED, RICH), 2),
        conflicts=some(VERSIONED),
        obsoletes=some(VERSIONED),
        recommends=some(VERSIONED),
        provides=some(st.sampled_from(["cap", "munge = 2", "plugin"])),
    )


def any_layer(version: st.SearchStrategy[str]) -> st.SearchStrategy[list[Rpm]]:
    packages = st.tuples(*(any_package(name, version) for name in NAMES))
    return st.builds(
        lambda rpms, lost: [rpm for rpm in rpms if rpm.name not in lost],
        packages,
        st.lists(st.sampled_from(NAMES[:4]), max_size=1),
    )


@settings(max_examples=25, deadline=None)
@given(
    snapshots=st.lists(any_layer(st.just("1")), min_size=1, max_size=3),
    new=any_layer(st.sampled_from("12")),
    base=st.tuples(any_package("editor", st.just("1")), any_package("auth", st.just("1"))),
)
def test_a_site_that_is_told_to_be_fine_is_upgraded_in_full(
    tmp_path_factory: pytest.TempPathFactory,
    snapshots: list[list[Rpm]],
    new: list[Rpm],
    base: tuple[Rpm, ...],
) -> None:
    world = World(tmp_path_factory.mktemp("world"), base=(LIBC, *base), groups=NAMES)
    # What was published under a name is the only thing that ever is.
    every = {(rpm.name, rpm.evr, rpm.arch): rpm for some in (*snapshots, new) for rpm in some}
    *earlier, last = (
        [every[rpm.name, rpm.evr, rpm.arch] for rpm in packages] for packages in (*snapshots, new)
    )
    for packages in earlier:
        world.published(*packages)
    short = world.findings(*last)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Arrivals, "_doubtful", lambda _, places: frozenset(places))
        patch.setattr("farm.plan.fit.arrivals._MOST_HELD", 1000)
        in_full = world.findings(*last)
    assert kinds(short.problems) == kinds(in_full.problems)

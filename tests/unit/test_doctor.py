"""What the doctor says of a machine, from injected facts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm import config as configuration
from farm import doctor
from farm.doctor.cluster import Cluster
from farm.doctor.facts import PROGRAMS, Emulation, Facts, Space
from farm.doctor.finding import Finding
from farm.doctor.findings import findings
from farm.rebuild.mockaccess import Access

GIB = 1 << 30

GOOD = Facts(
    user="ada",
    uid=1000,
    kernel="6.12.9-amd64",
    programs={
        **dict.fromkeys(PROGRAMS, ""),
        "git": "2.47.2", "rpm": "4.20.1", "gpg": "2.4.7", "bwrap": "0.11.0", "unshare": "2.41",
    },
    package_manager="apt",
    sysctls={"user.max_user_namespaces": 63000, "kernel.unprivileged_userns_clone": 1},
    subordinate=(65536, 65536),
    first_free_id=165536,
    sandbox_problem="",
    emulations=(Emulation("aarch64", "/usr/bin/qemu-aarch64-static"),),
    spaces=(
        Space("state", "/farm/.farm", 40 * GIB, 2 * GIB),
        Space("build roots", "/dev/shm/farm-1000", 12 * GIB, 2 * GIB, in_memory=True),
    ),
    memory=16 * GIB,
    shared_memory_overlays=True,
    release="debian-13",
    base_missing=(),
    wants_base=True,
    mock=Access(),
    builder="auto",
    key="farm-demo",
    key_problem="",
    key_is_demo=False,
    now=1_760_000_000.0,
    newest=1_759_000_000.0,
    locale_sources=True,
)  # fmt: skip

GOOD_SCREEN = """\
ok       programs: git 2.47.2, rpm 4.20.1, rpmkeys, rpmsign, gpg 2.4.7, gpg-agent, bwrap 0.11.0, \
unshare 2.41, setpriv, newuidmap, newgidmap, dnf
ok       kernel: Linux 6.12.9-amd64
ok       user ids: ada has 65536 subordinate ids
ok       sandbox: user namespace, overlay and bubblewrap work
ok       emulation of aarch64: /usr/bin/qemu-aarch64-static can be registered in the sandbox
ok       state: /farm/.farm: 40.0 GiB free
ok       build roots: /dev/shm/farm-1000 (memory): 12.0 GiB free
ok       memory: 16.0 GiB available
ok       embedded base: debian-13 is there
ok       mock: not installed; the embedded builder takes its place
ok       verifying: every variation of `farm verify` can be made
ok       signing key farm-demo: it can sign
ok       clock: 2025-10-09 08:53 UTC
"""

BARE = replace(
    GOOD,
    locale_sources=False,
    programs={"git": "2.47.2", "unshare": "2.41", "setpriv": "", "apt-get": ""},
    subordinate=(0, 0),
    first_free_id=231072,
    sandbox_problem="the user ada has no range of subordinate ids",
    emulations=(Emulation("aarch64"),),
    spaces=(Space("state", "/farm/.farm", 300 << 20, 2 * GIB),),
    base_missing=("x86_64", "aarch64"),
    key_problem="farm has no key ring yet",
)

BARE_SCREEN = """\
MISSING  rpm: not installed; it fills build roots
         -> As root: apt-get install rpm
MISSING  rpmkeys: not installed; it checks signatures
         -> As root: apt-get install rpm
MISSING  rpmsign: not installed; it signs packages
         -> As root: apt-get install rpm
MISSING  gpg: not installed; it signs and checks
         -> As root: apt-get install gnupg
MISSING  gpg-agent: not installed; it holds the signing key
         -> As root: apt-get install gpg-agent
MISSING  bwrap: not installed; it isolates builds
         -> As root: apt-get install bubblewrap
MISSING  newuidmap: not installed; it maps ids
         -> As root: apt-get install uidmap
MISSING  newgidmap: not installed; it maps ids
         -> As root: apt-get install uidmap
weak     dnf: not installed; it acts as a site in `farm try`
         -> As root: apt-get install dnf
ok       programs: git 2.47.2, unshare 2.41, setpriv
ok       kernel: Linux 6.12.9-amd64
MISSING  user ids: ada has 0 subordinate uids and 0 gids; a build root wants 65536
         -> As root: usermod --add-subuids 231072-296607 --add-subgids 231072-296607 ada
MISSING  sandbox: the user ada has no range of subordinate ids
         -> Install what is missing above (bwrap, newuidmap, newgidmap).
MISSING  emulation of aarch64: there is no qemu for aarch64 (`farm base build` brings one along)
         -> As root: apt-get install qemu-user-static, or build for this machine's own \
architecture only
MISSING  state: /farm/.farm: 300 MiB free, 2.0 GiB wanted
         -> Make room, or name another directory in farm.toml ([paths]).
ok       memory: 16.0 GiB available
weak     embedded base: debian-13 is not made yet for x86_64, aarch64
         -> Run `farm base build`.
ok       mock: not installed; the embedded builder takes its place
weak     verifying: `farm verify` cannot vary the locale: its sources are missing
         -> As root: apt-get install locales
weak     signing key farm-demo: nothing can be published: farm has no key ring yet
         -> Run `farm key new farm-demo`, or `farm key import FILE`.
ok       clock: 2025-10-09 08:53 UTC
"""


def only(found: tuple[Finding, ...], what: str) -> Finding:
    (one,) = (finding for finding in found if finding.what == what)
    return one


def not_ok(facts: Facts) -> set[str]:
    return {finding.what for finding in findings(facts) if finding.severity != "ok"}


def screen(facts: Facts, capsys: pytest.CaptureFixture[str]) -> str:
    from farm.screens.housekeeping import show_findings  # noqa: PLC0415

    show_findings(findings(facts), as_json=False)
    return capsys.readouterr().out


def test_a_machine_that_lacks_nothing_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert not_ok(GOOD) == set()
    assert screen(GOOD, capsys) == GOOD_SCREEN


def test_a_bare_machine_gets_a_remedy_for_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert screen(BARE, capsys) == BARE_SCREEN


def test_on_fedora_packages_have_fedoras_names() -> None:
    fedora = replace(BARE, package_manager="dnf")
    assert only(findings(fedora), "rpmsign").remedy == "As root: dnf install rpm-sign"
    remedy = only(findings(fedora), "emulation of aarch64").remedy
    assert remedy.startswith("As root: dnf install qemu-user-static-aarch64")


def test_root_needs_neither_subordinate_ids_nor_their_helpers() -> None:
    programs = {k: v for k, v in GOOD.programs.items() if k not in ("newuidmap", "newgidmap")}
    root = replace(GOOD, user="root", uid=0, subordinate=(0, 0), programs=programs)
    assert not_ok(root) == set()


@pytest.mark.parametrize(
    ("kernel", "severity"),
    [("5.10.0-30-amd64", "missing"), ("5.14.0-503.el9", "weak"), ("6.1.0-28-amd64", "weak"),
     ("6.6.1", "weak"), ("6.7.0", "ok"), ("6.18.44-fc", "ok"), ("10.0", "ok")],
)  # fmt: skip
def test_a_kernel_is_judged_by_its_version(kernel: str, severity: str) -> None:
    assert only(findings(replace(GOOD, kernel=kernel)), "kernel").severity == severity


def test_a_kernel_whose_tmpfs_takes_no_user_attributes_keeps_roots_on_disk() -> None:
    found = only(findings(replace(GOOD, shared_memory_overlays=False)), "kernel")
    assert found.severity == "weak"
    assert "on disk" in found.detail


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"sysctls": {"user.max_user_namespaces": 0}}, "sysctl -w user.max_user_namespaces=15000"),
        (
            {"sysctls": {"kernel.unprivileged_userns_clone": 0}},
            "sysctl -w kernel.unprivileged_userns_clone=1",
        ),
        (
            {"sysctls": {"kernel.apparmor_restrict_unprivileged_userns": 1}},
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ({"kernel": "4.18.0-553.el8"}, "Boot Linux 5.11"),
        ({"subordinate": (0, 65536)}, "subordinate ids"),
        ({}, "--privileged"),
    ],
)
def test_a_sandbox_that_cannot_be_made_names_the_likeliest_cause(
    change: dict[str, object], remedy: str
) -> None:
    facts = replace(GOOD, sandbox_problem="unshare failed: Operation not permitted", **change)  # type: ignore[arg-type]
    found = only(findings(facts), "sandbox")
    assert found.severity == "missing"
    assert "Operation not permitted" in found.detail
    assert remedy in found.remedy


def test_a_restriction_that_does_not_bite_is_not_mentioned() -> None:
    sysctls = {"kernel.apparmor_restrict_unprivileged_userns": 1}
    assert not_ok(replace(GOOD, sysctls=sysctls)) == set()


def test_too_old_programs_are_named_with_what_is_needed() -> None:
    facts = replace(GOOD, programs={**GOOD.programs, "bwrap": "0.4.0", "rpm": "4.14.3"})
    assert only(findings(facts), "bwrap").detail == "version 0.4.0 is too old; 0.5 is needed"
    assert only(findings(facts), "rpm").severity == "missing"


def test_an_emulator_that_cannot_be_registered_is_told_with_the_kernels_words() -> None:
    refused = Emulation("aarch64", "/usr/bin/qemu-aarch64-static", "no emulator can be registered")
    found = only(findings(replace(GOOD, emulations=(refused,))), "emulation of aarch64")
    assert found.severity == "missing"
    assert found.detail == "no emulator can be registered"
    assert "6.7" in found.remedy


def test_a_directory_of_somebody_else_is_told_with_the_command_that_gives_it() -> None:
    blocked = Space("state", "/srv/farm/.farm", GIB, GIB, barrier="/srv/farm")
    found = only(findings(replace(GOOD, spaces=(blocked,))), "state")
    assert (found.severity, found.detail) == ("missing", "/srv/farm/.farm cannot be made by ada")
    assert found.remedy.startswith("As root: install -d -o ada /srv/farm/.farm")


@given(free=st.integers(0, 100 * GIB), wanted=st.integers(1, 10 * GIB), in_memory=st.booleans())
def test_less_room_never_looks_better(free: int, wanted: int, in_memory: bool) -> None:
    ranks = {"ok": 0, "weak": 1, "missing": 2}

    def rank(size: int) -> int:
        space = Space("state", "/x", size, wanted, in_memory=in_memory)
        return ranks[only(findings(replace(GOOD, spaces=(space,))), "state").severity]

    assert rank(free) <= rank(free // 2)
    assert (rank(free) == 0) == (free >= wanted)


def test_without_apt_a_missing_base_is_no_small_matter() -> None:
    programs = {k: v for k, v in GOOD.programs.items() if k != "apt-get"}
    fedora = replace(GOOD, programs=programs, package_manager="dnf", base_missing=("x86_64",))
    assert only(findings(fedora), "embedded base").severity == "missing"
    assert not_ok(replace(fedora, wants_base=False)) == set()


def test_mock_is_wanted_only_where_it_was_asked_for() -> None:
    refused = Access("/usr/bin/mock", problem="ada is not in the group mock", remedy="usermod …")
    found = only(findings(replace(GOOD, mock=refused)), "mock")
    assert (found.severity, found.remedy) == ("weak", "usermod …")
    assert "embedded builder" in found.detail
    assert only(findings(replace(GOOD, mock=refused, builder="mock")), "mock").severity == "missing"
    absent = replace(GOOD, builder="mock", package_manager="dnf")
    assert only(findings(absent), "mock").remedy == "As root: dnf install mock"
    assert "embedded" in only(findings(replace(absent, package_manager="apt")), "mock").remedy
    usable = Access("/usr/bin/mock", user="ada", uid=1000)
    assert only(findings(replace(GOOD, mock=usable, builder="mock")), "mock").severity == "ok"


def test_the_demonstrations_key_is_not_for_sites() -> None:
    found = only(findings(replace(GOOD, key_is_demo=True)), "signing key farm-demo")
    assert found.severity == "weak"
    assert "farm key new" in found.remedy


def test_a_clock_behind_the_layers_newest_commit_is_wrong() -> None:
    behind = replace(GOOD, now=GOOD.newest - 2 * 86400)
    assert not_ok(behind) == {"clock"}
    assert not_ok(replace(GOOD, now=GOOD.newest - 60)) == set()


@given(st.sets(st.sampled_from(PROGRAMS)))
def test_whatever_is_not_ok_has_a_remedy(lacking: set[str]) -> None:
    programs = {name: version for name, version in GOOD.programs.items() if name not in lacking}
    found = findings(replace(GOOD, programs=programs))
    assert all(finding.remedy for finding in found if finding.severity != "ok")
    assert {f.what for f in found if f.what in PROGRAMS} == lacking - {"apt-get"}


def test_examining_this_machine_changes_nothing_and_is_quick(tmp_path: Path) -> None:
    config = configuration.load(tmp_path)
    found = doctor.examine(config)
    assert list(tmp_path.iterdir()) == []
    assert {"programs", "kernel", "sandbox", "state", "clock"} <= {each.what for each in found}


def test_a_machine_without_locale_sources_is_told_what_verifying_lacks() -> None:
    found = {f.what: f for f in findings(replace(GOOD, locale_sources=False))}
    assert found["verifying"].severity == "weak"
    assert found["verifying"].remedy == "As root: apt-get install locales"


@pytest.mark.parametrize(
    ("cluster", "severity", "words"),
    [
        (Cluster(archs=("x86_64",)), "ok", "takes jobs for x86_64"),
        (Cluster(missing=("sbatch",)), "missing", "not installed: sbatch"),
        (Cluster(silence="DOWN"), "missing", "does not answer: DOWN"),
        (Cluster(refused={"riscv64": "Invalid feature"}), "missing", "riscv64 is taken: Invalid"),
        (Cluster(archs=("x86_64",), address=False), "missing", "do not know this machine"),
    ],
)
def test_a_cluster_that_takes_no_jobs_is_told_with_the_remedy(
    cluster: Cluster, severity: str, words: str
) -> None:
    found = [each for each in findings(replace(GOOD, cluster=cluster)) if each.what == "slurm"]
    assert (found[0].severity, bool(found[0].remedy)) == (severity, severity != "ok")
    assert words in found[0].detail


def test_a_farm_without_a_cluster_hears_nothing_of_one() -> None:
    assert not [each for each in findings(GOOD) if each.what == "slurm"]

"""From a contributor's spec to a site's `dnf install`, through the command line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from farm import rpmheader
from farm.run import run
from farm.store import Store
from tests.real.site import Site

pytestmark = pytest.mark.real

X86, ARM = "x86_64", "aarch64"
NAMES = ("tally", "tallyprint", "tallynotes", "cluster-master")
ALL = {(name, arch) for name in NAMES for arch in (X86, ARM)}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The small layer, built for both architectures and published once."""
    site = Site.make(tmp_path_factory.mktemp("farm") / "layer")
    verdicts = site.verdicts("--all")
    assert verdicts == dict.fromkeys(ALL, "built")
    assert site.summary("publish")["moved"]
    return site


@pytest.fixture
def site(built: Site, tmp_path: Path) -> Site:
    """A copy of it that a test may change."""
    return built.copied(tmp_path)


def test_a_second_build_has_nothing_to_do(built: Site) -> None:
    assert set(built.verdicts("--all").values()) == {"kept"}
    assert "Nothing to do" in built.farm("build", "--all").stdout


def test_a_second_publication_moves_nothing(built: Site) -> None:
    assert not built.summary("publish")["moved"]


def test_packages_are_of_their_architecture(built: Site, tmp_path: Path) -> None:
    machines = {}
    for arch in (X86, ARM):
        (package,) = (built.root / "repo" / "debian-13" / arch).rglob("tallyprint-2*.rpm")
        run(["sh", "-c", f"rpm2cpio {package} | cpio -idm --quiet"], cwd=tmp_path)
        header = (tmp_path / "usr" / "bin" / "tallyprint").read_bytes()[:20]
        machines[arch] = int.from_bytes(header[18:20], "little")
        shutil.rmtree(tmp_path / "usr")
    assert machines == {X86: 62, ARM: 183}  # EM_X86_64, EM_AARCH64


def test_plain_emulation_gives_the_bytes_that_native_tools_gave(
    built: Site, tmp_path: Path
) -> None:
    site = Site.make(tmp_path / "layer")
    plain = {"FARM_BUILD_NATIVE_TOOLS": "false"}
    site.farm("build", "tallyprint", "--arch", ARM, env=plain)
    site.farm("publish", env=plain)
    ours = {name: sha for name, sha in site.packages().items() if name.endswith(ARM)}
    assert len(ours) == 7
    assert ours.items() <= built.packages().items()


def test_what_it_needs_is_built_and_nothing_else(site: Site) -> None:
    verdicts = site.verdicts("tallyprint", "--arch", X86)
    assert set(verdicts) == {("tally", X86), ("tallyprint", X86)}


def test_a_site_installs_with_signatures_checked_and_runs_it(built: Site) -> None:
    with built.served():
        done = built.farm("try", "cluster-master", "--run", "echo $HOSTTYPE; tallyprint")
    for arch in (X86, ARM):
        assert f"  {arch}\n  42\n" in done.stdout


def test_a_changed_comment_rebuilds_that_package_and_stops_there(site: Site) -> None:
    site.edit("tally", "%description\n", "# A word to the reader.\n%description\n")
    site.commit()
    before = site.published()
    verdicts = site.verdicts("--all", "--arch", X86)
    assert verdicts["tally", X86] == "built"
    assert verdicts["tallyprint", X86] == "kept"
    site.verdicts("--all")
    assert not site.summary("publish")["moved"]
    assert site.published() == before


def test_other_bytes_get_the_next_rebuild_counter_on_all_architectures(site: Site) -> None:
    source = site.root / "specs" / "tally" / "tally.c"
    source.write_text(source.read_text().replace("so_far + 1", "1 + so_far + 0 * so_far"))
    source.write_text(source.read_text() + "\nint tally_more(void) { return 2; }\n")
    site.commit()
    rows = site.summary("build", "--all")["rows"]
    versions = {(row["recipe"], row["arch"]): row["evr"] for row in rows}
    assert versions["tally", X86] == versions["tally", ARM] == "1.0-1.deb13.1"
    assert site.summary("publish")["moved"]
    names = [name.rpartition("/")[2] for name in site.published()]
    assert "tally-1.0-1.deb13.1.x86_64.rpm" in names


def test_a_lost_ledger_comes_back_from_the_published_tree(site: Site) -> None:
    source = site.root / "specs" / "tally" / "tally.c"
    source.write_text(source.read_text() + "\nint tally_more(void) { return 2; }\n")
    site.commit()
    site.verdicts("--all")
    site.summary("publish")
    for name in ("ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"):
        (site.root / ".farm" / name).unlink(missing_ok=True)
    assert "restored" in site.farm("ledger", "rebuild").stdout
    rows = site.summary("build", "--all")["rows"]
    assert {row["verdict"] for row in rows} == {"kept"}
    assert {row["evr"] for row in rows if row["recipe"] == "tally"} == {"1.0-1.deb13.1"}
    assert not site.summary("publish")["moved"]


def test_an_uncommitted_spec_is_a_scratch_build_and_never_published(site: Site) -> None:
    site.edit("tallynotes", "count from one", "count from zero")
    rows = site.summary("build", "tallynotes", "--arch", X86)["rows"]
    assert [row["verdict"] for row in rows] == ["built"]
    assert "scratch" in rows[0]["reason"]
    assert not site.summary("publish")["moved"]


def test_a_plain_source_package_is_a_scratch_build(site: Site) -> None:
    (srpm,) = (site.root / "repo" / "debian-13" / "source").rglob("tallynotes-*.src.rpm")
    rows = site.summary("build", str(srpm), "--arch", X86, "--force")["rows"]
    assert [(row["recipe"], row["verdict"]) for row in rows] == [("tallynotes", "built")]
    assert "scratch" in rows[0]["reason"]


def test_a_removed_package_leaves_the_next_snapshot(site: Site) -> None:
    shutil.rmtree(site.root / "specs" / "tallynotes")
    groups = site.root / "specs" / "groups.toml"
    groups.write_text(
        groups.read_text().replace(', "tallynotes"', "").replace('version = "1"', 'version = "2"')
    )
    site.commit()
    site.verdicts("--all")
    before = site.published()
    refused = site.farm("publish", code=7).stderr
    assert "[upgrade] tallynotes: published in snapshot" in refused
    assert "Obsoletes: tallynotes < " in refused
    assert site.published() == before
    answer = site.summary("publish", "--force", "upgrade", "nobody reads them")
    assert [name.partition("-1-1")[0] for name in answer["removed"]] == ["tallynotes"]
    assert [waiver["reason"] for waiver in answer["waivers"]] == ["nobody reads them"]
    # what was let go once is not asked about again
    site.edit("tally", "A library that counts.", "A library that counts well.")
    site.commit()
    site.verdicts("--all")
    assert site.summary("publish")["moved"]


def test_an_excluded_architecture_is_skipped_with_the_reason(site: Site) -> None:
    site.edit("tallyprint", "URL:", "ExclusiveArch:  x86_64\nURL:")
    site.commit()
    rows = site.summary("build", "tallyprint")["rows"]
    by_arch = {row["arch"]: row for row in rows if row["recipe"] == "tallyprint"}
    assert by_arch[ARM]["verdict"] == "skipped"
    assert "ExclusiveArch" in by_arch[ARM]["reason"]


def test_a_dry_run_says_why_and_builds_nothing(site: Site) -> None:
    site.edit("tally", "A library that counts.", "A library that counts well.")
    site.commit()
    text = site.farm("build", "--all", "--arch", X86, "--dry-run").stdout
    assert "its recipe changed" in text
    assert "if the bytes of tally change" in text
    assert site.farm("build", "--all", "--arch", X86, "--dry-run").stdout == text


def test_a_build_condition_can_be_set_for_one_chroot(site: Site) -> None:
    site.edit("tallynotes", "Name: ", "%bcond_with advice\nName: ")
    site.edit("tallynotes", "%files\n", "%files\n%if %{with advice}\n%doc advice\n%endif\n")
    site.edit("tallynotes", "%install\n", "%install\necho count twice >advice\n")
    with (site.root / "chroots" / "debian-13-x86_64.cfg").open("a") as chroot:
        chroot.write("config_opts['macros']['%_with_advice'] = '--with-advice'\n")
    site.commit()
    rows = site.summary("build", "tallynotes", code=0)["rows"]
    assert {row["verdict"] for row in rows} == {"built"}
    warned = site.farm("build", "tallynotes").stderr
    assert "tallynotes" in warned and "differ" in warned
    done = site.farm("publish", code=7)
    assert "tallynotes" in done.stderr and "not the same" in done.stderr


def test_a_spec_may_find_out_itself_what_it_needs(site: Site) -> None:
    site.edit("tallynotes", "%install\n", "%generate_buildrequires\necho zlib-devel\n\n%install\n")
    site.edit("tallynotes", '"count from one"', '"$(grep -c ZLIB_H %{_includedir}/zlib.h)"')
    site.commit()
    rows = site.summary("build", "tallynotes", "--arch", X86)["rows"]
    assert [row["verdict"] for row in rows] == ["built"]


def test_one_broken_package_does_not_stop_the_others(site: Site) -> None:
    site.edit("tallynotes", "count from one", "count from two")
    site.edit("tally", "test -s", "echo 'expected 3, got 4' >&2; false; test -s")
    site.commit()
    verdicts = site.verdicts("--all", "--arch", X86, code=1)
    assert verdicts["tally", X86] == "failed"
    assert verdicts["tallyprint", X86] == "skipped"
    assert verdicts["tallynotes", X86] == "built"


def failure(site: Site, *words: str) -> str:
    """What a user reads when something is wrong."""
    done = site.farm(*words, code=1)
    return done.stdout + done.stderr


def test_a_failing_check_shows_its_telling_lines(site: Site) -> None:
    site.edit("tally", "test -s", "echo 'expected 3, got 4' >&2; false; test -s")
    site.commit()
    text = failure(site, "build", "tally", "--arch", X86)
    assert "%check" in text and "expected 3, got 4" in text and "farm log tally" in text
    assert "expected 3, got 4" in site.farm("log", "tally", "--arch", X86).stdout
    shell = site.farm("shell", "tally", "--arch", X86, "--", "sh", "-c", "ls BUILD/*/; id -un")
    assert "mockbuild" in shell.stdout


def test_a_spec_that_does_not_parse_is_named_with_its_line(site: Site) -> None:
    site.edit("tally", "%prep\n", "%prep\n%if 1 ==\n")
    site.commit()
    text = failure(site, "build", "tally", "--arch", X86)
    assert "tally.spec:22" in text and "1 ==" in text


def test_a_source_with_the_wrong_checksum_is_refused_by_name(site: Site) -> None:
    site.edit("tally", "Source1:", "Source2:        extra.tar.gz\nSource1:")
    (site.root / "specs" / "tally" / "sources").write_text(f"SHA512 (extra.tar.gz) = {'0' * 128}\n")
    lookaside = site.root.parent / "lookaside" / "tally"
    lookaside.mkdir(parents=True)
    (lookaside / "extra.tar.gz").write_text("other bytes")
    with (site.root / "farm.toml").open("a") as toml:
        toml.write(f'[sources]\norigins = ["lookaside"]\nlookaside = ["{lookaside.parent}"]\n')
    site.commit()
    text = failure(site, "build", "tally", "--arch", X86)
    assert "tally: " in text and "extra.tar.gz" in text and "lookaside" in text


def test_what_nobody_provides_is_named_with_the_nearest(site: Site) -> None:
    site.edit("tally", "BuildRequires:  gcc", "BuildRequires:  gcc, zlib-devl")
    site.commit()
    text = failure(site, "build", "tally", "--arch", X86)
    assert "zlib-devl" in text and "zlib-devel" in text


def test_a_missing_key_is_named_and_nothing_moves(site: Site) -> None:
    with (site.root / "farm.toml").open("a") as toml:
        toml.write("[build]\njobs = 1\n")
    text = (site.root / "farm.toml").read_text()
    (site.root / "farm.toml").write_text(text.replace("[publish]", '[publish]\nkey = "nobody"'))
    before = site.published()
    done = site.farm("publish", code=7)
    assert "nobody" in done.stderr and "farm key" in done.stderr
    assert site.published() == before


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("build", "tallie"), 2, "tally"),
        (("build", "tally", "--arch", "riscv64"), 2, "riscv64"),
        (("build", "tally", "--release", "debian-31"), 3, "debian-31"),
        (("build",), 2, "--all"),
        (("log", "tally", "--arch", "x86"), 2, "x86_64"),
        (("build", "nowhere.src.rpm"), 4, "nowhere.src.rpm"),
    ],
)
def test_a_users_mistake_gets_one_clear_message(
    site: Site, words: tuple[str, ...], code: int, said: str
) -> None:
    done = site.farm(*words, code=code)
    assert said in done.stderr
    assert done.stderr.startswith("farm: ")


def test_a_full_disk_is_said_before_anything_starts(site: Site) -> None:
    done = site.farm("build", "--all", code=6, env={"FARM_BUILD_MINIMUM_FREE": "999999999"})
    assert "free" in done.stderr


def test_noarch_is_published_once_with_the_first_architectures_copy(built: Site) -> None:
    copies = [
        path
        for arch in (X86, ARM)
        for path in (built.root / "repo" / "debian-13" / arch).rglob("tallynotes-*.noarch.rpm")
    ]
    assert len(copies) == 2
    assert copies[0].read_bytes() == copies[1].read_bytes()


def test_status_names_what_stands_and_what_is_published(built: Site) -> None:
    lines = built.farm("status").stdout.splitlines()
    (line,) = [line for line in lines if line.startswith("tally ") and X86 in line]
    assert line.count("1.0-1.deb13") == 2


def test_unsigned_bytes_lie_in_the_store_and_signed_ones_are_published(built: Site) -> None:
    store = Store(built.root / ".farm" / "store")
    for path in (built.root / "repo" / "debian-13" / X86).rglob("*.rpm"):
        assert rpmheader.read(path).is_signed
    plain = [
        p
        for p in store.root.rglob("*")
        if p.is_file() and p.open("rb").read(4) == b"\xed\xab\xee\xdb"
    ]
    ours = [p for p in plain if rpmheader.read(p).nevra.name.startswith("tally")]
    assert ours and not any(rpmheader.read(p).is_signed for p in ours)


def test_a_recipe_that_cannot_be_used_at_all_fails_when_everything_is_asked_for(
    site: Site,
) -> None:
    broken = site.root / "specs" / "garbage"
    broken.mkdir()
    (broken / "garbage.spec").write_bytes(bytes(range(256)))
    site.commit()
    verdicts = site.verdicts("--all", "--arch", X86, code=1)
    assert verdicts["garbage", X86] == "failed"
    assert verdicts["tally", X86] in ("built", "kept")

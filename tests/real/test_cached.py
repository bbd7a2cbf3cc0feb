"""What is rebuilt, what is not, and how farm says so; damage of what is kept."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from farm.sandbox import remove
from farm.store import Store
from tests import rpms
from tests.real.bases import MovingBase
from tests.real.site import Site

pytestmark = pytest.mark.real

X86, ARM = "x86_64", "aarch64"
MORE = "\nint tally_more(void) { return 2; }\n"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The small layer, built for both architectures and published once."""
    site = Site.make(tmp_path_factory.mktemp("farm") / "layer")
    assert set(site.verdicts("--all").values()) == {"built"}
    assert site.summary("publish")["moved"]
    return site


@pytest.fixture
def site(built: Site, tmp_path: Path) -> Site:
    """A copy of it that a test may change."""
    return built.copied(tmp_path)


def why(site: Site, name: str, *words: str) -> str:
    return site.farm("why", name, "--rebuild", *words).stdout


def rows(site: Site, *words: str) -> dict[tuple[str, str], tuple[str, str, str]]:
    """(package, architecture) → verdict, reason, version."""
    return {
        (row["recipe"], row["arch"]): (row["verdict"], row.get("reason", ""), row.get("evr", ""))
        for row in site.summary("build", *words)["rows"]
    }


def stored(site: Site, name: str) -> Path:
    """The file in the store of a package of the layer on x86_64 (or of its source)."""
    snapshot = json.loads((site.root / "repo" / "debian-13" / "snapshot.json").read_text())
    for signed in snapshot["packages"]:
        nevra = signed["package"]["nevra"]
        if nevra["name"] == name.removesuffix(".src") and nevra["arch"] == (
            "src" if name.endswith(".src") else X86
        ):
            return Store(site.root / ".farm" / "store").path(signed["package"]["sha256"])
    raise AssertionError(f"nothing called {name} is published")


def locked(site: Site, name: str) -> Path:
    """The file in the store of a package that tally is built with on x86_64."""
    texts = [path.read_text() for path in (site.root / ".farm" / "attempts").glob("*/job.json")]
    jobs = [json.loads(text)["job"] for text in texts]
    job = next(job for job in jobs if job["step"] == f"tally@debian-13-{X86}")
    packages = job["lock"]["packages"]
    sha256 = next(p["sha256"] for p in packages if p["nevra"]["name"] == name)
    return Store(site.root / ".farm" / "store").path(sha256)


def damage(path: Path, how: str) -> None:
    """Another file under the same name: the store's files are links to other places' too."""
    content = bytearray(path.read_bytes())
    path.unlink()
    if how == "a flipped byte":
        content[len(content) // 2] ^= 1
    elif how == "cut short":
        del content[len(content) // 2 :]
    if how != "gone":
        path.write_bytes(content)


def test_a_comment_rebuilds_its_package_everywhere_and_nothing_else(site: Site) -> None:
    before = json.loads((site.root / "repo" / "debian-13" / "history.json").read_text())
    site.edit("tally", "%description\n", "# A word to the reader.\n%description\n")
    site.commit()
    told = why(site, "tally")
    for arch in (X86, ARM):
        assert f"tally on {arch} would be built: its recipe changed: tally.spec" in told
    assert "+ # A word to the reader." in told
    assert "may be built: if the bytes of tally change" in why(site, "tallyprint", "--arch", X86)
    found = rows(site, "--all")
    for arch in (X86, ARM):
        assert found["tally", arch] == ("built", "its recipe changed: tally.spec", "1.0-1.deb13")
        assert found["tallyprint", arch][:2] == ("kept", "same inputs")
    assert not site.summary("publish")["moved"]
    after = json.loads((site.root / "repo" / "debian-13" / "history.json").read_text())
    assert after == before
    told = why(site, "tally", "--arch", X86)
    assert "tally on x86_64 stays as it is: same inputs" in told
    assert "it was built then because: tally.spec changed" in told


def test_other_bytes_of_a_need_rebuild_and_the_same_result_keeps_its_name(site: Site) -> None:
    source = site.root / "specs" / "tally" / "tally.c"
    source.write_text(source.read_text() + MORE)
    site.commit()
    assert "tally.c:" in why(site, "tally", "--arch", X86)
    found = rows(site, "--all", "--arch", X86)
    assert found["tally", X86][2] == "1.0-1.deb13.1"
    verdict, reason, version = found["tallyprint", X86]
    assert verdict == "built" and "tally" in reason and "became 1.0-1.deb13.1" in reason
    assert version == "2.0-1.deb13", "the same bytes: the name that they were published under"
    told = why(site, "tallyprint", "--arch", X86)
    assert "it was built then because: tally" in told and "became 1.0-1.deb13.1" in told


@pytest.mark.parametrize(
    ("policy", "verdict", "said"),
    [
        ("broken", "keep", "policy broken: nothing that counts has changed"),
        ("direct", "keep", "policy direct: nothing that counts has changed"),
        ("full", "build", "has other bytes"),
    ],
)
def test_what_a_changed_base_rebuilds_is_the_releases_policy(
    tmp_path: Path, built: Site, policy: str, verdict: str, said: str
) -> None:
    site = built.copied(tmp_path)
    base = MovingBase.under(site, tmp_path / "base")
    toml = site.root / "farm.toml"
    toml.write_text(toml.read_text() + f'policy = "{policy}"\n')
    site.commit()
    shutil.rmtree(site.root / ".farm" / "pins")  # the copy is another address of the same
    site.farm("base", "update")
    assert set(site.verdicts("--all", "--arch", X86).values()) == {"kept"}
    base.built_again("binutils")
    moved = site.farm("base", "update").stdout
    assert "0 packages new, 0 gone, 1 with other bytes\n  ~ binutils-2" in moved
    foreseen = rows(site, "tally", "--arch", X86, "--dry-run")
    assert foreseen["tally", X86][0] == verdict
    assert said in foreseen["tally", X86][1]
    told = why(site, "tally", "--arch", X86)
    assert foreseen["tally", X86][1] in told, "one reason, in the same words"
    assert "differs first: binutils-2" in told and "has other bytes (base)" in told
    assert "it is in the build root because" in told
    if policy == "full":
        foreseen = rows(site, "--all", "--arch", X86, "--dry-run")
        assert foreseen["tallyprint", X86][0] == "build", "the bytes of tally do not matter"
        assert "binutils" in foreseen["tallyprint", X86][1]
        found = rows(site, "--all", "--arch", X86)
        assert found["tally", X86][0] == found["tallyprint", X86][0] == "built"
        counted = [version for *_, version in found.values() if version.endswith(".1")]
        assert not counted, "the same bytes keep their names"
        assert not site.summary("publish")["moved"]


def test_a_base_that_changes_the_result_gives_it_the_next_counter(tmp_path: Path) -> None:
    site = Site.make(tmp_path / "layer")
    base = MovingBase.under(site, tmp_path / "base")
    toml = site.root / "farm.toml"
    toml.write_text(toml.read_text().replace('["x86_64", "aarch64"]', '["x86_64"]'))
    words = rpms.Spec("tallywords", arch="noarch", files=(("/usr/share/tallywords", "one\n"),))
    base.add(rpms.build(tmp_path, words)[0])
    site.edit("tallynotes", "BuildArch:", "BuildRequires: tallywords\nBuildArch:")
    site.edit("tallynotes", '"count from one"', '"$(cat /usr/share/tallywords)"')
    site.commit()
    assert rows(site, "tallynotes")["tallynotes", X86][2] == "1-1.deb13"
    site.summary("publish")
    newer = replace(words, version="2.0", files=(("/usr/share/tallywords", "two\n"),))
    base.add(rpms.build(tmp_path, newer)[0])
    moved = site.farm("base", "update").stdout
    assert "1 packages new, 0 gone\n  + tallywords-2.0-1.noarch" in moved
    assert rows(site, "tallynotes", "--dry-run")["tallynotes", X86][0] == "keep"
    toml.write_text(toml.read_text() + 'policy = "full"\n')
    said = "tallywords-1.0-1.noarch became 2.0-1"
    assert said in why(site, "tallynotes")
    verdict, reason, version = rows(site, "tallynotes")["tallynotes", X86]
    assert (verdict, version) == ("built", "1-1.deb13.1")
    assert reason.endswith("was published with other bytes: counter 1")
    assert site.summary("publish")["moved"]
    assert f"it was built then because: {said}" in why(site, "tallynotes")


def test_a_state_directory_that_was_moved_is_worth_as_much_as_before(
    site: Site, tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere"
    (site.root / ".farm").rename(moved)
    for job in moved.glob("attempts/*/job.json"):  # the store of the fixture is still there
        text = job.read_text()
        store = json.loads(text)["store"]
        job.unlink()
        job.write_text(text.replace(store, "/nowhere/store"))
    env = {"FARM_PATHS_STATE": str(moved)}
    told = site.farm("build", "--all", "--json", env=env).stdout.splitlines()[-1]
    assert {row["verdict"] for row in json.loads(told)["summary"]["rows"]} == {"kept"}
    assert "Nothing to publish" in site.farm("publish", env=env).stdout
    assert "Nothing to remove" in site.farm("gc", env=env).stdout
    shell = ("shell", "tally", "--arch", X86, "--", "id", "-un")
    assert "mockbuild" in site.farm(*shell, env=env).stdout


@pytest.mark.parametrize("how", ["a flipped byte", "cut short", "gone"])
def test_a_damaged_package_that_others_are_built_with_is_made_again(site: Site, how: str) -> None:
    path = stored(site, "tally-devel")
    whole = path.read_bytes()
    damage(path, how)
    done = site.farm("build", "--all", "--arch", X86)
    assert ("was damaged" in done.stderr) == (how != "gone")
    assert "its files are gone" in done.stdout
    assert path.read_bytes() == whole
    verdicts = site.verdicts("--all", "--arch", X86)
    assert set(verdicts.values()) == {"kept"}


@pytest.mark.parametrize("how", ["a flipped byte", "cut short", "gone"])
def test_a_damaged_source_package_is_made_again(site: Site, how: str) -> None:
    path = stored(site, "tally.src")
    whole = path.read_bytes()
    damage(path, how)
    site.farm("build", "tally", "--arch", X86)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("how", ["a flipped byte", "cut short", "gone"])
def test_a_damaged_package_of_the_base_is_fetched_again(site: Site, how: str) -> None:
    path = locked(site, "binutils")
    whole = path.read_bytes()
    damage(path, how)
    done = site.farm("build", "tally", "--force", "--arch", X86)
    assert ("was damaged" in done.stderr) == (how != "gone")
    assert path.read_bytes() == whole


def test_damage_that_no_file_system_shows_is_found_by_the_worker(
    site: Site, tmp_path: Path
) -> None:
    path = locked(site, "binutils")
    whole = path.read_bytes()
    site.farm("build", "tally", "--arch", X86)  # now all of them are known to be whole
    damage(path, "a flipped byte")
    memory = site.root / ".farm" / "checked.json"
    known = json.loads(memory.read_text())
    found = path.stat()
    state = [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
    known[path.parent.name + path.name] = state
    memory.write_text(json.dumps(known))
    roots = tmp_path / "roots"
    try:
        env = {"FARM_PATHS_ROOTS": str(roots)}
        done = site.farm("build", "tally", "--force", "--arch", X86, env=env)
    finally:
        remove(roots)
    assert f"{path} was damaged" in done.stderr
    assert path.read_bytes() == whole


def test_damage_in_a_build_root_is_found_before_it_is_built_in(site: Site, tmp_path: Path) -> None:
    roots = tmp_path / "roots"
    env = {"FARM_PATHS_ROOTS": str(roots)}
    build = ("build", "tally", "--force", "--arch", X86)
    try:
        assert "damaged" not in site.farm(*build, env=env).stderr
        assert "damaged" not in site.farm(*build, env=env).stderr
        (base,) = (path for path in roots.glob("base-*/tree") if (path / "usr/bin/bash").exists())
        program = base / "usr" / "bin" / "bash"
        with program.open("r+b") as file:  # in place, the same size, its time put back
            file.seek(4000)
            file.write(b"\0\0\0\0")
        done = site.farm(*build, env=env)
        assert "was damaged: it is made again" in done.stderr
        assert "damaged" not in site.farm(*build, env=env).stderr
        shutil.rmtree(base / "usr" / "share" / "doc", ignore_errors=True)
        (base / "etc" / "added").mkdir()
        assert "was damaged: it is made again" in site.farm(*build, env=env).stderr
    finally:
        remove(roots)


@pytest.mark.parametrize("pattern", ["setup-*.json", "*.solv", "plan-*.json", "*.needs"])
def test_a_damaged_answer_is_found_again(site: Site, pattern: str) -> None:
    kept = list((site.root / ".farm" / "solv").glob(pattern))
    assert kept
    for path in kept:
        path.unlink()
        path.write_bytes(b"\0 nonsense")
    assert set(site.verdicts("--all").values()) == {"kept"}
    site.edit("tally", "%description\n", "# A word to the reader.\n%description\n")
    assert "its recipe changed" in why(site, "tally", "--arch", X86)

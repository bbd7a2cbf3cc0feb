"""`farm closure`: a whole base, sources on it, and an update of it, through the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from farm.__main__ import run_command
from tests.repositories import Rpm, write_repository

BASE = (
    Rpm("app", requires=["lib >= 2"]),
    Rpm("lib", "2-1"),
    Rpm("old", requires=["lib < 2"]),
    Rpm("clash", requires=["app", "rival"]),
    Rpm("rival", conflicts=["lib"]),
    Rpm("chain", requires=["old"]),
)
SOURCES = (
    Rpm("good", arch="src", requires=["app"]),
    Rpm("bad", arch="src", requires=["missing-devel"]),
    Rpm("torn", arch="nosrc", requires=["app"], conflicts=["lib"]),
    Rpm("binary"),
)


class Site:
    """A directory with a farm.toml and nothing else; repositories beside it."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self._capsys = capsys
        (directory / "farm.toml").write_text(
            'default_release = "el"\n[releases.el]\narchitectures = ["x86_64", "aarch64"]\n'
        )

    def repository(self, name: str, packages: Sequence[Rpm]) -> str:
        return str(write_repository(self.directory / name, packages))

    def run(self, *words: str) -> tuple[int, str, str]:
        code = run_command(["-C", str(self.directory), "closure", *words])
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def json(self, *words: str) -> dict[str, Any]:
        _, out, _ = self.run("--json", *words)
        (closure,) = json.loads(out)["closures"]
        assert isinstance(closure, dict)
        return closure


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    return Site(tmp_path, capsys)


def broken(closure: dict[str, Any]) -> dict[str, list[str]]:
    return {each["package"]: each["problem"]["facts"] for each in closure["broken"]}


def test_each_package_of_a_base_that_cannot_be_installed_is_named_with_its_reasons(
    site: Site,
) -> None:
    found = broken(site.json("--base", site.repository("base", BASE)))
    assert found.keys() == {"old-1-1.x86_64", "chain-1-1.x86_64", "clash-1-1.x86_64"}
    assert found["old-1-1.x86_64"] == [
        "old-1-1.x86_64 (base) requires lib < 2, which nothing provides;"
        " the newest there is lib-2-1.x86_64 (base)"
    ]
    assert found["chain-1-1.x86_64"] == [
        "chain-1-1.x86_64 (base) requires old, provided by old-1-1.x86_64",
        *found["old-1-1.x86_64"],
    ]
    assert (
        "rival-1-1.x86_64 (base) conflicts with lib, provided by lib-2-1.x86_64 (base)"
        in found["clash-1-1.x86_64"]
    )


def test_a_base_in_order_ends_well(site: Site) -> None:
    code, out, _ = site.run("--base", site.repository("base", BASE[:2]))
    assert code == 0
    assert "2 of 2 packages can be installed, 0 cannot" in out


def test_something_broken_ends_with_exit_code_1(site: Site) -> None:
    code, out, _ = site.run("--base", site.repository("base", BASE))
    assert code == 1
    assert "3 of 6 packages can be installed, 3 cannot" in out


def test_sources_are_held_against_the_base_with_their_build_conflicts(site: Site) -> None:
    base = site.repository("base", BASE)
    closure = site.json("--base", base, "--sources", site.repository("src", SOURCES))
    assert closure["total"] == 3
    assert broken(closure).keys() == {"bad-1-1.src", "torn-1-1.nosrc"}


def test_several_repositories_are_one_base(site: Site) -> None:
    first = site.repository("first", BASE[:1])
    code, out, _ = site.run("--base", first)
    assert code == 1, out
    code, out, _ = site.run("--base", first, "--base", site.repository("second", BASE[1:2]))
    assert code == 0, out


def test_a_file_that_a_source_needs_is_found_in_the_filelists(site: Site) -> None:
    base = site.repository("base", [Rpm("data", files=["/usr/share/data/table"])])
    wanting = Rpm("wanting", arch="src", requires=["/usr/share/data/table"])
    code, out, _ = site.run("--base", base, "--sources", site.repository("src", [wanting]))
    assert code == 0, out


def test_an_update_says_what_it_breaks_and_what_it_repairs(site: Site) -> None:
    base = site.repository("base", BASE)
    after = [Rpm("lib", "1-1") if rpm.name == "lib" else rpm for rpm in BASE]
    moved = site.json("--base", base, "--update", site.repository("after", after))["update"]
    assert (moved["gone"], moved["come"]) == (1, 1)
    assert broken(moved).keys() == {"app-1-1.x86_64"}
    assert moved["repaired"] == ["chain.x86_64", "old.x86_64"]


def test_another_base_altogether_is_read_anew(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("all of it has changed")

    monkeypatch.setattr("farm.closure._LARGEST_UPDATE", 3)
    monkeypatch.setattr("farm.closure.apply", never)
    base = site.repository("base", BASE)
    other = [Rpm(rpm.name, "3-1", requires=rpm.requires) for rpm in BASE if rpm.name != "app"]
    moved = site.json("--base", base, "--update", site.repository("other", other))["update"]
    assert (moved["gone"], moved["come"]) == (6, 5)
    assert broken(moved).keys() == set()
    assert moved["repaired"] == []


def test_an_update_that_breaks_nothing_new_ends_well(site: Site) -> None:
    base = site.repository("base", BASE)
    after = site.repository("after", [*BASE, Rpm("more")])
    code, out, _ = site.run("--base", base, "--update", after)
    assert code == 0
    assert "(0 packages gone, 1 new): 0 cannot be installed any more" in out


def test_an_update_of_a_file_that_only_filelists_name_is_seen(site: Site) -> None:
    user = Rpm("user", requires=["/usr/share/data/table"])
    base = site.repository("base", [user, Rpm("data", files=["/usr/share/data/table"])])
    without = site.repository("without", [user, Rpm("data", "2-1", files=["/usr/share/other"])])
    moved = site.json("--base", base, "--update", without)["update"]
    assert broken(moved).keys() == {"user-1-1.x86_64"}
    back = site.json("--base", without, "--update", base)["update"]
    assert back["repaired"] == ["user.x86_64"]


def test_a_second_run_reads_nothing_of_the_metadata_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = site.repository("base", BASE)
    first = site.json("--base", base)

    def never(*_: object) -> bytes:
        raise AssertionError("metadata was read again")

    monkeypatch.setattr("farm.plan.metadata.solvfiles.content_of", never)
    monkeypatch.setattr("farm.plan.closure.graphfile.read_graph", never)
    assert broken(site.json("--base", base)) == broken(first)


def test_a_kept_graph_that_is_damaged_is_made_again(site: Site) -> None:
    base = site.repository("base", BASE)
    first = site.json("--base", base)
    (kept,) = (site.directory / ".farm/solv").glob("*.graph")
    for damage in (b"", b"x" * 100, kept.read_bytes()[:-1]):
        kept.write_bytes(damage)
        assert broken(site.json("--base", base)) == broken(first)


def test_a_base_that_has_moved_is_read_again(site: Site) -> None:
    base = site.repository("base", BASE)
    assert site.run("--base", base)[0] == 1
    site.repository("base", BASE[:2])
    assert site.run("--base", base)[0] == 0


def test_a_repository_without_sources_is_refused(site: Site) -> None:
    base = site.repository("base", BASE)
    code, _, err = site.run("--base", base, "--sources", base)
    assert code == 5
    assert "there is no source package" in err


def test_a_base_without_filelists_is_warned_of_where_files_are_asked_for(site: Site) -> None:
    base = Path(site.repository("base", [Rpm("user", requires=["/usr/share/data/table"])]))
    text = (base / "repodata/repomd.xml").read_text()
    start, end = text.index('<data type="filelists"'), text.rindex("</repomd>")
    (base / "repodata/repomd.xml").write_text(text[:start] + text[end:])
    _, _, err = site.run("--base", str(base))
    assert "without filelists" in err
    assert "/usr/share/data/table" in err


def test_the_state_that_is_pinned_survives_a_look_at_the_present(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = Site(tmp_path, capsys)
    base = site.repository("base", BASE[:2])
    (tmp_path / "chroots").mkdir()
    for arch in ("x86_64", "aarch64"):
        (tmp_path / f"chroots/el-{arch}.cfg").write_text(
            f"config_opts['target_arch'] = '{arch}'\n"
            "config_opts['chroot_setup_cmd'] = 'install app'\n"
            "config_opts['dist'] = 'el'\n"
            'config_opts["dnf.conf"] = """[main]\n'
            f'[base]\nname=base\nbaseurl=file://{base}\n"""\n'
        )
    assert site.run("--arch", "x86_64")[0] == 0
    (pin,) = (tmp_path / ".farm/pins/el-x86_64/base").glob("*/primary*")
    pin.with_name("from-an-older-farm").write_bytes(b"kept")
    code, out, err = site.run("--arch", "x86_64", "--update", "present")
    assert code == 0, err
    assert "(0 packages gone, 0 new)" in out
    assert pin.with_name("from-an-older-farm").exists()
    assert site.run("--arch", "x86_64", "--base", "pinned")[0] == 0

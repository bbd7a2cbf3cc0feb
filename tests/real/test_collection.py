"""`farm gc` on a farm that has published, and everything works as before afterwards."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.real.site import Site

pytestmark = pytest.mark.real

X86 = "x86_64"


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Three snapshots of the small layer on one architecture; only the last one is kept."""
    site = Site.make(tmp_path_factory.mktemp("farm") / "layer")
    toml = (site.root / "farm.toml").read_text()
    toml = toml.replace('["x86_64", "aarch64"]', '["x86_64"]')
    limits = "grace_hours = 0\nkeep_snapshots = 1\nkeep_days = 0\n"
    (site.root / "farm.toml").write_text(toml.replace("[releases", f"{limits}[releases"))
    site.commit()
    for number in range(3):
        source = site.root / "specs" / "tally" / "tally.c"
        source.write_text(source.read_text() + f"\nint tally_{number}(void) {{ return 2; }}\n")
        site.commit()
        site.farm("build", "--all")
        assert site.summary("publish")["moved"]
    return site


@pytest.fixture
def site(grown: Site, tmp_path: Path) -> Site:
    return grown.copied(tmp_path)


def removed(answer: dict[str, Any]) -> dict[str, int]:
    return {row["kind"]: row["number"] for row in answer["rows"]}


def snapshots(site: Site) -> set[str]:
    return {path.name for path in (site.root / "repo" / "snapshots" / "debian-13").iterdir()}


def test_what_it_says_is_what_it_does_and_everything_works_afterwards(site: Site) -> None:
    before = {path for path in site.root.rglob("*") if path.is_file()}
    foreseen = site.summary("gc", "--dry-run")
    assert {path for path in site.root.rglob("*") if path.is_file()} == before
    assert removed(foreseen)["snapshots"] == 2
    done = site.summary("gc")
    assert removed(done) == removed(foreseen)
    assert len(snapshots(site)) == 1
    assert "Nothing to remove" in site.farm("gc").stdout
    published = site.published()
    assert set(site.verdicts("--all").values()) == {"kept"}
    assert not site.summary("publish")["moved"]
    site.farm("log", "tally")
    for name in ("ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"):
        (site.root / ".farm" / name).unlink(missing_ok=True)
    site.farm("ledger", "rebuild")
    assert set(site.verdicts("--all").values()) == {"kept"}
    assert not site.summary("publish")["moved"]
    assert site.published() == published


def test_a_name_that_was_published_once_is_never_given_to_other_bytes(site: Site) -> None:
    site.summary("gc")
    source = site.root / "specs" / "tally" / "tally.c"
    source.write_text(source.read_text() + "\nint tally_other(void) { return 3; }\n")
    site.commit()
    versions = {r["recipe"]: r["evr"] for r in site.summary("build", "--all")["rows"]}
    assert versions["tally"] == "1.0-1.deb13.3"


def test_a_collection_that_is_killed_is_finished_by_the_next(site: Site) -> None:
    published = site.published()
    for tenths in range(2, 12, 2):
        child = site.begin("gc")
        time.sleep(tenths / 10)
        os.killpg(child.pid, signal.SIGKILL)
        child.end()
        assert site.published() == published
        for directory in (site.root / "repo" / "snapshots" / "debian-13").iterdir():
            assert (directory / "snapshot.json").exists()
            assert len(list(directory.rglob("repomd.xml"))) == 3
    site.summary("gc")
    assert len(snapshots(site)) == 1
    assert "Nothing to remove" in site.farm("gc").stdout
    assert set(site.verdicts("--all").values()) == {"kept"}


def test_what_stands_can_be_made_and_compared_again(site: Site) -> None:
    site.summary("gc")
    site.farm("verify", "tally")

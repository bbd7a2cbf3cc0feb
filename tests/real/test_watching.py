"""Whoever watches a farm at work: logs that follow, figures for monitoring, signed messages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from farm.run import launch, run
from farm.site.serve import serving
from tests.real.site import Site
from tests.receivers import SECRET, Receiver, parsed, value

pytestmark = pytest.mark.real

X86 = {"release": "debian-13", "arch": "x86_64"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def site(tmp_path: Path, receiver: Receiver) -> Site:
    site = Site.make(tmp_path / "layer")
    site.edit("tally", "%build\n", "%build\nfor n in 1 2 3 4; do echo step $n; sleep 1; done\n")
    with (site.root / "farm.toml").open("a") as settings:
        settings.write(f'[webhook]\naddresses = ["{receiver.address}"]\nsecret_file = "secret"\n')
    (site.root / "secret").write_text(f"{SECRET}\n")
    (site.root / ".gitignore").write_text("/.farm/\n/repo/\n/secret\n")
    site.commit()
    return site


def test_a_build_is_watched_from_its_queue_to_the_publication(
    site: Site, receiver: Receiver, tmp_path: Path
) -> None:
    build = site.begin("build", "tally", "--arch", "x86_64")
    journal = site.root / ".farm" / "run" / "events.jsonl"
    deadline = time.monotonic() + 120
    while '"queued","step":"tally@' not in (journal.read_text() if journal.exists() else ""):
        assert time.monotonic() < deadline, (tmp_path / "begun.log").read_text()
        time.sleep(0.05)
    log = tmp_path / "followed"
    follower = launch(site.command("log", "tally", "--arch", "x86_64", "--follow"), log=log)
    lines: dict[str, float] = {}
    while follower.poll() is None:
        assert time.monotonic() < deadline, log.read_text()
        for line in log.read_text().splitlines():
            lines.setdefault(line, time.monotonic())
        time.sleep(0.1)
    assert follower.poll() == 0, log.read_text()
    text = log.read_text()
    assert text.splitlines()[-1].startswith("tally@debian-13-x86_64: built in ")
    spread = lines["step 4"] - lines["step 1"]
    assert spread > 1.5, "the log came in one piece at the end"
    while build.poll() is None:
        time.sleep(0.05)
    assert build.poll() == 0
    kept = site.farm("log", "tally", "--arch", "x86_64").stdout
    assert kept in text, "what was followed is what was kept"

    assert receiver.types == ["build.finished"]
    told = receiver.taken[0][1]["data"]
    assert told["counts"]["built"] >= 1
    assert (told["result"], told["failed"]) == ("ok", [])
    assert told["commit"] == run(["git", "-C", site.root, "rev-parse", "HEAD"]).stdout.strip()

    figures = parsed((site.root / "repo" / "status" / "metrics.txt").read_text())
    assert value(figures, "farm_run_active", verb="build", release="debian-13") == 0
    assert value(figures, "farm_steps", **X86, state="built") == told["counts"]["built"]
    before = value(figures, "farm_build_seconds_count", **X86)
    assert before == told["counts"]["built"]

    site.farm("publish")
    assert receiver.types == ["build.finished", "release.published"]
    published = receiver.taken[1][1]["data"]
    assert published["changed"] == published["packages"] > 0
    with serving(site.root / "repo") as address, urlopen(f"{address}/metrics", timeout=5) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        figures = parsed(answer.read().decode())
    assert value(figures, "farm_run_active", verb="publish", release="debian-13") == 0
    assert value(figures, "farm_build_seconds_count", **X86) == before
    assert value(figures, "farm_snapshot_packages", release="debian-13") == published["packages"]

    site.farm("publish")  # nothing moves: nothing is told
    assert receiver.types == ["build.finished", "release.published"]


def test_a_failed_build_is_told_counted_and_shown(site: Site, receiver: Receiver) -> None:
    site.edit("tally", "echo step $n; sleep 1; done", "true; done; echo 'x.c:1: error: no'; exit 3")
    site.commit()
    receiver.status = 503
    done = site.farm("build", "tally", "--arch", "x86_64", code=1)
    assert "it answered 503" in done.stderr
    assert "t0ken" not in done.stderr
    (row,) = [r for r in site.farm("log", "tally", "--list").stdout.splitlines() if "x86_64" in r]
    assert "failed (package)" in row
    shown = site.farm("log", "tally").stdout.splitlines()
    assert shown[0].startswith("tally@debian-13-x86_64 failed: ")
    assert any("x.c:1: error: no" in line for line in shown[1:5])
    figures = parsed((site.root / "repo" / "status" / "metrics.txt").read_text())
    assert value(figures, "farm_packages_failing", **X86) == 1
    attempt = {"verdict": "failed", "class": "package", "limit": ""}
    assert value(figures, "farm_attempts_total", **X86, **attempt) == 1
    receiver.status = 200
    site.farm("build", "tally", "--arch", "x86_64", code=1)
    first, second = (message["data"] for _, message in receiver.taken)
    assert [each["package"] for each in first["failed"]] == ["tally"]
    assert (first["result"], second["result"]) == ("failed", "failed")
    assert "t0ken" not in site.farm("config").stdout

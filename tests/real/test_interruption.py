"""Whatever is stopped in the middle leaves nothing half done, and the next run resumes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from farm.run import run
from tests.real.site import Site

pytestmark = pytest.mark.real


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site.make(tmp_path / "layer")
    site.edit("tally", "%build\n", "%build\nsleep 4\n")
    site.commit()
    return site


def wait_for_build(site: Site) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if any("%build" in p.read_text() for p in site.root.glob(".farm/attempts/*/phases")):
            return
        time.sleep(0.05)
    raise AssertionError((site.root.parent / "begun.log").read_text())


def processes_of(site: Site) -> list[str]:
    """Command lines that still mention this farm's attempts."""
    mark = str(site.root / ".farm" / "attempts")
    return [line for line in run(["ps", "-eo", "args"]).stdout.splitlines() if mark in line]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_build_leaves_no_process_and_resumes(site: Site, how: signal.Signals) -> None:
    child = site.begin("build", "tally", "--arch", "x86_64")
    wait_for_build(site)
    os.kill(child.pid, how)
    deadline = time.monotonic() + 15
    while (child.poll() is None or processes_of(site)) and time.monotonic() < deadline:
        time.sleep(0.05)
    code = child.poll()
    assert code == (-9 if how == signal.SIGKILL else 130)
    assert processes_of(site) == []
    verdicts = site.verdicts("tally", "--arch", "x86_64")
    assert verdicts == {("tally", "x86_64"): "built"}


def test_a_second_farm_that_is_not_to_wait_is_told_who_is_at_work(site: Site) -> None:
    child = site.begin("build", "tally", "--arch", "x86_64")
    wait_for_build(site)
    done = site.farm("build", "tally", "--no-wait", code=8)
    assert "another farm" in done.stderr
    child.end()

"""An engine is a file of a hundred lines: one that farm does not know builds the layer."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm import pipeline
from farm.building import BuildRequest, run
from farm.config import load
from farm.ledger import reader
from farm.model import Built
from tests import shells
from tests.real.clustered import small_layer
from tests.shells import Host, ShellEngine

pytestmark = pytest.mark.real

NATIVE = frozenset({"x86_64"})


def test_an_engine_of_less_than_a_hundred_lines_builds_the_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(Path(shells.__file__).read_text().splitlines()) < 100
    hosts = {name: Host(NATIVE, 1, ("sh", "-c")) for name in ("one", "other")}
    monkeypatch.setattr(run, "open_engine", lambda *_, **__: ShellEngine(hosts))
    site = small_layer(tmp_path / "layer")
    report = pipeline.build(load(site.root), BuildRequest(everything=True), lambda *_, **__: None)
    assert report.ok
    with reader(site.root / ".farm") as ledger:
        assert ledger is not None
        attempts = ledger.attempts()
    assert all(isinstance(attempt.outcome, Built) for attempt in attempts)
    assert {attempt.place for attempt in attempts} == {"one", "other"}
    here = small_layer(tmp_path / "here" / "layer")
    here.farm("build", "--all")
    for each in (site, here):
        each.farm("publish")
    assert site.packages() == here.packages()

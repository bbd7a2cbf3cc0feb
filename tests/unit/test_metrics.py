"""Metrics are text that Prometheus reads; they say what the ledger says, and counters grow."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.accounts import Tally
from farm.audience import audience
from farm.config import Config, Paths, ReleaseConfig, Site
from farm.ledger import Ledger, coordinator
from farm.metrics import Family, Metrics, metrics_path, render
from farm.model import Built, Failed, Nevra, Outcome, Package, Snapshot, to_json
from farm.progress import Event
from farm.publish.tree import History
from farm.site.serve import serving
from tests.layers import LayerOf, group_text, owned_by, spec_text
from tests.receivers import Samples, parsed, value

STEP = "tiny@d-1-x86_64"
_SPECS = ("tiny/tiny", "other/other", "tools/deep/deep")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    layer = LayerOf(tmp_path / "layer", in_git=False)
    layer.write({f"{name}.spec": spec_text(name.rpartition("/")[2]) for name in _SPECS})
    layer.write({"groups.toml": group_text("everything", ["tiny"]), **owned_by("people")})
    return Config(
        root=layer.config.root,
        paths=Paths(cache=str(tmp_path / "cache")),
        default_release="d-1",
        releases={"d-1": ReleaseConfig(architectures=("x86_64", "aarch64"))},
    )


@pytest.fixture
def ledger(config: Config) -> Iterator[Ledger]:
    with coordinator(config.path("state")) as ledger:
        yield ledger


def built(seconds: float) -> Built:
    return Built((), Package(Nevra("tiny", 0, "1", "1", "src"), "0" * 64, 1, "tiny"), seconds)


def tried(ledger: Ledger, attempt: str, outcome: Outcome, step: str = STEP) -> None:
    ledger.begin(attempt, step, "k")
    ledger.end(attempt, outcome)


def publish(config: Config) -> None:
    """What a release points at."""
    root = config.path("publication")
    directory = root / "snapshots" / "d-1" / "s1"
    directory.mkdir(parents=True)
    directory.joinpath("snapshot.json").write_bytes(to_json(Snapshot("s1", "d-1", 1234, "c0", ())))
    (root / "trees").mkdir()
    (root / "trees" / "t1").mkdir()
    history = History("t1", "s1", 1234, "http://x")
    (root / "trees" / "t1" / "history.json").write_bytes(to_json(history))
    (root / "d-1").symlink_to("trees/t1")


def written(config: Config) -> Samples:
    return parsed(metrics_path(config).read_text())


def test_what_was_tried_is_counted_by_how_it_ended(config: Config, ledger: Ledger) -> None:
    tried(ledger, "a1", built(20.0))
    tried(ledger, "a2", built(400.0))
    tried(ledger, "a3", Failed("package", "no", seconds=5.0))
    tried(ledger, "a4", Failed("limit", "too much", seconds=7.0, limit="memory"))
    with Metrics(config, ledger):
        pass
    samples = written(config)
    where = {"release": "d-1", "arch": "x86_64"}
    counted = {
        tuple(dict(labels)[name] for name in ("verdict", "class", "limit")): number
        for (name, labels), number in samples.items()
        if name == "farm_attempts_total"
    }
    assert counted == {
        ("built", "", ""): 2,
        ("failed", "package", ""): 1,
        ("failed", "limit", "memory"): 1,
    }
    assert value(samples, "farm_attempt_seconds_total", **where, verdict="failed") == 12
    assert value(samples, "farm_build_seconds_sum", **where) == 420
    assert value(samples, "farm_build_seconds_count", **where) == 2
    assert value(samples, "farm_build_seconds_bucket", **where, le="10") == 0
    assert value(samples, "farm_build_seconds_bucket", **where, le="30.0") is None
    assert value(samples, "farm_build_seconds_bucket", **where, le="30") == 1
    assert value(samples, "farm_build_seconds_bucket", **where, le="600") == 2
    assert value(samples, "farm_build_seconds_bucket", **where, le="+Inf") == 2
    last = value(samples, "farm_last_success_timestamp_seconds", **where)
    assert last is not None
    assert abs(last - time.time()) < 60


def test_attempts_are_counted_now_and_then_and_at_the_end(
    config: Config, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[str] = []
    tallies = ledger.tallies

    def counting(bounds: Iterable[float] = ()) -> tuple[Tally, ...]:
        counted.append("")
        return tallies(bounds)

    monkeypatch.setattr(ledger, "tallies", counting)
    with Metrics(config, ledger) as metrics:
        metrics.see(Event(time.time(), "begun", text="build", release="d-1"))
        for number in range(50):
            tried(ledger, f"a{number}", built(1.0))
            metrics.see(Event(time.time(), "built", step=STEP))
        metrics.see(Event(time.time(), "ended", text="build", release="d-1"))
    where = {"release": "d-1", "arch": "x86_64"}
    assert value(written(config), "farm_build_seconds_count", **where) == 50
    assert len(counted) <= 5


def test_counters_only_grow_from_run_to_run(config: Config, ledger: Ledger) -> None:
    seen: Samples = {}
    outcomes: list[Outcome] = [built(1.0), Failed("package", "no"), built(2.5), built(9.0)]
    for number, outcome in enumerate(outcomes):
        tried(ledger, f"a{number}", outcome)
        with Metrics(config, ledger) as metrics:
            metrics.see(Event(time.time(), "begun", text="build", release="d-1"))
            metrics.see(Event(time.time(), "ended", text="build", release="d-1"))
        now = written(config)
        for (name, labels), before in seen.items():
            if name.endswith(("_total", "_bucket", "_sum", "_count")):
                assert now[name, labels] >= before, name
        seen = now
    assert value(seen, "farm_build_seconds_count", release="d-1", arch="x86_64") == 3


def test_a_run_is_seen_while_it_goes_on_and_when_it_has_ended(
    config: Config, ledger: Ledger
) -> None:
    run = {"verb": "build", "release": "d-1"}
    where = {"release": "d-1", "arch": "x86_64"}
    with Metrics(config, ledger) as metrics:
        metrics.see(Event(100.5, "begun", text="build", release="d-1"))
        for step in (STEP, "other@d-1-x86_64", "third@d-1-x86_64"):
            metrics.see(Event(101, "queued", step=step))
        metrics.see(Event(102, "running", step=STEP, phase="start"))
        deadline = time.monotonic() + 10
        while value(written(config), "farm_steps", **where, state="running") != 1:
            assert time.monotonic() < deadline, "what happened was never written"
            time.sleep(0.05)
        samples = written(config)
        assert value(samples, "farm_run_active", **run) == 1
        assert value(samples, "farm_run_started_timestamp_seconds", **run) == 100.5
        assert value(samples, "farm_run_ended_timestamp_seconds", **run) is None
        assert value(samples, "farm_steps", **where, state="queued") == 2
        assert value(samples, "farm_steps", release="d-1", arch="aarch64", state="queued") == 0
        metrics.see(Event(103, "failed", step=STEP, text="no"))
        metrics.see(Event(104, "ended", text="build", release="d-1", kind="interrupted"))
    samples = written(config)
    assert value(samples, "farm_run_active", **run) == 0
    assert value(samples, "farm_run_ended_timestamp_seconds", **run) == 104
    assert value(samples, "farm_steps", **where, state="failed") == 1
    assert value(samples, "farm_steps", **where, state="queued") == 0, "nothing is queued any more"


def test_the_packages_that_failed_last_are_named_while_they_are_of_the_layer(
    config: Config, ledger: Ledger
) -> None:
    tried(ledger, "a1", Failed("package", "no"))
    tried(ledger, "a2", Failed("package", "no"), "gone@d-1-x86_64")
    tried(ledger, "a3", Failed("package", "no"), "other@d-1-x86_64")
    tried(ledger, "a4", built(1.0), "other@d-1-x86_64")
    with Metrics(config, ledger):
        pass
    samples = written(config)
    where = {"release": "d-1", "arch": "x86_64"}
    assert value(samples, "farm_packages_failing", **where) == 1
    assert failing(samples) == {"tiny"}


def failing(samples: Samples) -> set[str]:
    return {dict(labels)["package"] for name, labels in samples if name == "farm_package_failing"}


def test_of_the_layer_is_what_its_list_of_groups_makes_and_what_lies_deeper(
    config: Config, ledger: Ledger
) -> None:
    for number, name in enumerate(("everything", "deep", "tools", "gone")):
        tried(ledger, f"a{number}", Failed("package", "no"), f"{name}@d-1-x86_64")
    with Metrics(config, ledger):
        pass
    assert failing(written(config)) == {"everything", "deep"}


def test_a_recipe_that_cannot_be_used_is_of_the_layer_all_the_same(
    config: Config, ledger: Ledger
) -> None:
    tried(ledger, "a1", Failed("package", "no"))
    (config.path("specs") / "tiny" / "tiny.spec").write_text("Name: another\n")
    with Metrics(config, ledger):
        pass
    assert failing(written(config)) == {"tiny"}


def test_where_the_layer_cannot_be_read_whatever_failed_is_told_of(
    config: Config, ledger: Ledger
) -> None:
    tried(ledger, "a1", Failed("package", "no"), "gone@d-1-x86_64")
    config.path("specs").rename(config.root / "elsewhere")
    with Metrics(config, ledger):
        pass
    assert failing(written(config)) == {"gone"}


def test_what_is_published_is_told_with_its_time(config: Config, ledger: Ledger) -> None:
    publish(config)
    with Metrics(config, ledger):
        pass
    samples = written(config)
    assert value(samples, "farm_snapshot_created_timestamp_seconds", release="d-1") == 1234
    assert value(samples, "farm_snapshot_packages", release="d-1") == 0
    assert value(samples, "farm_snapshot_info", release="d-1", snapshot="s1", commit="c0") == 1


def test_whoever_reads_it_while_it_is_written_sees_all_of_it(
    config: Config, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farm.metrics._LEAST", 0.0)
    with Metrics(config, ledger) as metrics:
        metrics.see(Event(1, "begun", text="build", release="d-1"))
        for number in range(40):
            metrics.see(Event(2, "queued", step=f"p{number}@d-1-x86_64"))
            samples = written(config)
            assert value(samples, "farm_run_active", verb="build", release="d-1") == 1
            assert any(name == "farm_updated_timestamp_seconds" for name, _ in samples)


def test_ten_thousand_events_do_not_become_ten_thousand_files(
    config: Config, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[object] = []
    monkeypatch.setattr("farm.metrics.write_atomic", lambda *words: writes.append(words))
    with Metrics(config, ledger) as metrics:
        started = time.monotonic()
        for number in range(10_000):
            metrics.see(Event(2, "queued", step=f"p{number}@d-1-x86_64"))
        took = time.monotonic() - started
    assert len(writes) <= took / 2 + 3


def test_a_run_keeps_the_file_through_its_audience(config: Config, ledger: Ledger) -> None:
    told: list[str] = []

    def emit(state: str, step: str = "", **fields: object) -> None:
        told.append(state)

    with audience(config, ledger, emit, verb="build", release="d-1") as tell:
        tell("queued", STEP)
        assert value(written(config), "farm_run_active", verb="build", release="d-1") == 1
    assert value(written(config), "farm_run_active", verb="build", release="d-1") == 0
    assert told == ["begun", "queued", "ended"]


def test_without_status_pages_the_text_lies_in_the_state_directory(
    config: Config, ledger: Ledger
) -> None:
    config = msgspec.structs.replace(config, site=Site(status=False))
    with Metrics(config, ledger):
        pass
    assert metrics_path(config) == config.path("state") / "metrics.txt"
    assert written(config)
    assert not config.path("publication").exists()


_LABELS = st.dictionaries(st.from_regex(r"[a-z][a-z_]{0,9}", fullmatch=True), st.text(), max_size=3)


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.text().filter(str.strip),
            st.lists(st.tuples(_LABELS, st.floats(-1e9, 1e9)), min_size=1),
        ),
        max_size=4,
    )
)
def test_whatever_labels_and_helps_say_it_is_read_back(
    told: list[tuple[str, list[tuple[dict[str, str], float]]]],
) -> None:
    families = []
    wanted: Samples = {}
    for number, (text, samples) in enumerate(told):
        each = {tuple(sorted(labels.items())): number for labels, number in samples}
        name = f"farm_{number}"
        families.append(
            Family(name, "gauge", text, tuple(("", labels, v) for labels, v in each.items()))
        )
        wanted |= {(name, frozenset(labels)): v for labels, v in each.items()}
    found = parsed(render(families))
    assert found.keys() == wanted.keys()
    assert all(found[key] == pytest.approx(wanted[key], rel=1e-6, abs=1e-3) for key in wanted)


def test_the_server_answers_where_monitoring_systems_ask(config: Config, ledger: Ledger) -> None:
    with Metrics(config, ledger):
        pass
    with serving(config.path("publication")) as address:
        for path in ("/metrics", "/status/metrics.txt"):
            with urlopen(address + path, timeout=5) as answer:
                assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
                assert answer.headers["Cache-Control"] == "no-cache"
                assert parsed(answer.read().decode()) == written(config)
        with pytest.raises(HTTPError):
            urlopen(f"{address}/metrics/", timeout=5)


def test_the_documentation_names_every_metric_and_no_other(config: Config, ledger: Ledger) -> None:
    text = (Path(__file__).parents[2] / "docs" / "watching.md").read_text()
    table = re.findall(r"`(farm_[a-z_]+)`", text)
    tried(ledger, "a1", built(20.0))
    tried(ledger, "a2", Failed("package", "no"))
    publish(config)
    with Metrics(config, ledger) as metrics:
        metrics.see(Event(1, "begun", text="build", release="d-1"))
        metrics.see(Event(2, "ended", text="build", release="d-1"))
    written = re.findall(r"^# TYPE (\S+)", metrics_path(config).read_text(), re.M)
    assert set(written) - set(table) <= {"farm_run_ended_timestamp_seconds"}
    assert set(table) <= set(written)
    assert set(re.findall(r"    .*?(farm_[a-z_]+)", text)) <= set(written)

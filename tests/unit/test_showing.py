"""The watcher behind the status pages: what it gathers, and that it is in nobody's way."""

from __future__ import annotations

import gzip
import os
import shutil
import time
from pathlib import Path

import msgspec
import pytest

from farm.config import Site
from farm.ledger import coordinator
from farm.progress import Event
from farm.showing import Showing, logs, show
from farm.showing.gathering import Gatherer
from farm.showing.memory import Memory
from farm.showing.needs import Relations
from farm.site.status.facts import Facts, OfRelease
from farm.site.status.now import Now, Run
from tests.farms import ARCHS, RELEASE, Farm, attempt_id

X86, ARM = (f"{RELEASE}-{arch}" for arch in ARCHS)


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    return Farm(tmp_path, 8)


def tell(showing: Showing, state: str, step: str = "", **fields: object) -> None:
    at = fields.pop("at", time.time())
    showing.see(Event(at=at, state=state, step=step, **fields))  # type: ignore[arg-type]


def whole_run(farm: Farm, *events: tuple[str, str, dict[str, object]]) -> None:
    with Showing(farm.config) as showing:
        tell(showing, "begun", text="build", release=RELEASE)
        for state, step, fields in events:
            tell(showing, state, step, **fields)
        tell(showing, "ended", text="build", release=RELEASE)


def now_of(farm: Farm) -> Now:
    return msgspec.json.decode((farm.publication / "status/now.json").read_bytes(), type=Now)


def page(farm: Farm, name: str) -> str:
    return (farm.publication / f"status/packages/{name}.html").read_text()


def gathered(farm: Farm, *events: Event) -> Facts:
    run = Run()
    for event in events:
        run.hear(event)
    memory = Memory(farm.state / "status.json")
    gatherer = Gatherer(farm.config, memory, logs.Logs(farm.publication, farm.state))
    with coordinator(farm.state) as ledger:
        gatherer.learn(run)
        return gatherer.facts(ledger, run, frozenset())


def test_pages_of_a_run_are_as_of_what_it_told_last(farm: Farm) -> None:
    farm.fill()
    step = f"{farm.names[0]}@{X86}"
    later = time.time() + 50
    going = gathered(farm, Event(at=later, state="queued", step=step))
    assert (going.changed, going.moving) == (later, True)
    over = gathered(
        farm,
        Event(at=later, state="queued", step=step),
        Event(at=later, state="ended", kind="interrupted"),
    )
    assert over.changed < later
    assert not over.moving


def test_every_name_that_a_directory_can_have_has_a_page_if_a_file_can_be_called_so(
    tmp_path: Path,
) -> None:
    good = ("_x", "c++", "a~b", "a^1", "näme", "two words", "100%", "x" * 150)
    bad = ("a@b", "new\nline", "ä" * 120)
    farm = Farm(tmp_path, 12, names=(*good, *bad))
    with coordinator(farm.state):
        pass
    whole_run(farm)
    there = {path.stem for path in (farm.publication / "status/packages").iterdir()}
    assert there == {*farm.names} - {*bad}
    assert {package.name for package in gathered(farm).packages} == there


def of(told: Facts, name: str) -> OfRelease:
    (package,) = (each for each in told.packages if each.name == name)
    return package.releases[0]


def wait_for(path: Path, text: bytes, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists() or text not in path.read_bytes():
        assert time.monotonic() < deadline, path
        time.sleep(0.05)


def test_a_run_leaves_a_page_for_every_package_and_says_that_it_has_ended(farm: Farm) -> None:
    farm.fill()
    whole_run(farm)
    names = {path.stem for path in (farm.publication / "status/packages").iterdir()}
    assert names == set(farm.names)
    now = now_of(farm)
    assert (now.every, now.outcome, now.verb, now.running) == (0.0, "done", "build", ())
    assert (farm.publication / "index.html").exists()
    leftovers = [p for p in farm.publication.rglob(".*") if p.is_file()]
    assert leftovers == []


def test_a_second_run_without_news_writes_no_page_again(farm: Farm) -> None:
    farm.fill()
    whole_run(farm)
    pages = sorted(farm.publication.rglob("*.html"))
    before = [path.stat().st_mtime_ns for path in pages]
    revision = now_of(farm).revision
    whole_run(farm)
    assert [path.stat().st_mtime_ns for path in pages] == before
    assert now_of(farm).revision == revision


def test_a_page_that_was_removed_comes_back_and_one_of_a_package_that_left_goes(farm: Farm) -> None:
    farm.fill()
    whole_run(farm)
    first, second = farm.names[:2]
    (farm.publication / f"status/packages/{first}.html").unlink()
    shutil.rmtree(farm.config.path("specs") / second)
    whole_run(farm)
    names = {path.stem for path in (farm.publication / "status/packages").iterdir()}
    assert names == set(farm.names) - {second}


def test_what_somebody_removes_while_a_run_goes_on_is_there_again_at_its_end(farm: Farm) -> None:
    farm.fill()
    whole_run(farm)
    status = farm.publication / "status"

    def told() -> set[Path]:
        return {path.relative_to(status) for path in status.rglob("*") if path.is_file()}

    before = told()
    with Showing(farm.config) as showing:
        tell(showing, "begun", text="build", release=RELEASE)
        tell(showing, "queued", f"{farm.names[0]}@{X86}")
        wait_for(status / "index.html", b"queued")
        shutil.rmtree(status)
        tell(showing, "built", f"{farm.names[0]}@{X86}", text="why not")
        tell(showing, "ended", text="build", release=RELEASE)
    assert before <= told()


def test_states_follow_the_run_then_the_last_attempt_then_what_stands(farm: Farm) -> None:
    farm.fill(failed=farm.names[:1], text="it broke\nin two lines")
    a, b, c, d, *_ = farm.names
    with coordinator(farm.state) as ledger:
        attempts = ledger.attempts(f"{a}@{X86}")
    assert len(attempts) == 2
    told = gathered(
        farm,
        Event(at=1.0, state="queued", step=f"{b}@{X86}"),
        Event(at=2.0, state="running", step=f"{c}@{X86}", phase="start", attempt="x"),
        Event(at=time.time(), state="skipped", step=f"{d}@{X86}", text=f"{a}, which it needs"),
        Event(at=time.time(), state="skipped", step=f"{d}@{ARM}", text="ExclusiveArch: x86_64"),
    )
    states = {name: [spot.state for spot in of(told, name).spots] for name in (a, b, c, d)}
    assert states[a] == ["failed", "failed"]
    assert states[b] == ["queued", "built"]
    assert states[c] == ["running", "built"]
    assert states[d] == ["skipped", "excluded"]
    assert of(told, a).spots[0].because == "it broke"
    assert of(told, c).spots[0].tries[0].verdict == "running"


def test_what_was_skipped_is_remembered_until_the_package_is_built(farm: Farm) -> None:
    farm.fill()
    step = f"{farm.names[0]}@{X86}"
    whole_run(farm, ("skipped", step, {"text": "munge, which it needs, failed"}))
    assert of(gathered(farm), farm.names[0]).spots[0].state == "skipped"
    assert "munge, which it needs, failed" in page(farm, farm.names[0])
    whole_run(farm, ("kept", step, {"text": "same inputs"}))
    assert of(gathered(farm), farm.names[0]).spots[0].state == "built"


def test_a_failure_that_a_kept_result_followed_is_history(farm: Farm) -> None:
    farm.fill(failed=farm.names[:1])
    step = f"{farm.names[0]}@{X86}"
    assert of(gathered(farm), farm.names[0]).spots[0].state == "failed"
    whole_run(farm, ("kept", step, {"text": "same inputs", "at": time.time() + 1}))
    assert of(gathered(farm), farm.names[0]).spots[0].state == "built"


def test_a_failure_before_any_attempt_is_told_as_well(farm: Farm) -> None:
    step = f"{farm.names[0]}@{X86}"
    farm.fill()
    whole_run(farm, ("failed", step, {"text": "nothing provides foo", "kind": "package"}))
    spot = of(gathered(farm), farm.names[0]).spots[0]
    assert (spot.state, spot.because) == ("failed", "nothing provides foo")


def test_needs_are_known_from_what_was_built_and_from_plans(farm: Farm) -> None:
    farm.fill()
    name = max(farm.names, key=lambda each: len(farm.needs[each]))
    each = of(gathered(farm), name)
    assert set(each.needs) | set(each.needs_also) == set(farm.needs[name])
    other = next(n for n in farm.names if n not in {*farm.needs[name], name})
    planned = Event(at=1.0, state="queued", step=f"{name}@{X86}", needs=(f"{other}@{X86}",))
    for told in (gathered(farm, planned),):
        assert other in {*of(told, name).needs, *of(told, name).needs_also}
        assert name in {*of(told, other).wanted_by, *of(told, other).wanted_also}


def test_what_build_requires_name_is_needed_directly_even_if_others_bring_it() -> None:
    needs = {"a": frozenset[str](), "b": frozenset({"a"}), "c": frozenset({"a", "b"})}
    assert Relations(needs, {}).needs("c") == (("b",), ("a",))
    assert Relations(needs, {"c": frozenset({"a"})}).needs("c") == (("a", "b"), ())
    assert Relations(needs, {}).wanted_by("a") == (("b",), ("c",))


def test_a_recipe_that_cannot_be_used_is_shown_with_its_problem(farm: Farm) -> None:
    farm.fill()
    (farm.config.path("specs") / farm.names[0] / f"{farm.names[0]}.spec").write_text("what?\n")
    whole_run(farm)
    assert "cannot be used" in page(farm, farm.names[0])


def test_logs_of_ended_attempts_are_linked_not_copied(farm: Farm) -> None:
    farm.fill()
    with coordinator(farm.state) as ledger:
        attempt = ledger.attempts(f"{farm.names[0]}@{X86}")[0].id
    log = farm.write_log(f"{farm.names[0]}@{X86}", attempt, "hello\n")
    whole_run(farm)
    shown = farm.publication / f"status/logs/{farm.names[0]}/{X86}/{attempt}.log.gz"
    assert gzip.decompress(shown.read_bytes()) == b"hello\n"
    assert shown.stat().st_ino == log.stat().st_ino
    assert f"{attempt}.log.gz" in page(farm, farm.names[0])


@pytest.mark.parametrize("links", [True, False])
def test_a_running_log_grows_and_gives_way_to_the_packed_one(
    farm: Farm, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(1, "no links here")

        monkeypatch.setattr(os, "link", refuse)
    name, attempt = farm.names[0], attempt_id(3)
    shown = farm.publication / f"status/logs/{name}/{X86}/{attempt}.log"
    source = farm.state / "attempts" / attempt / "build.log"
    source.parent.mkdir(parents=True)
    source.write_text("one\n")
    place = logs.Logs(farm.publication, farm.state)
    assert place.follow([(f"{name}@{X86}", attempt)]) == {attempt}
    with source.open("a") as file:
        file.write("two\n")
    place.follow([(f"{name}@{X86}", attempt)])
    assert shown.read_text() == "one\ntwo\n"
    farm.write_log(f"{name}@{X86}", attempt, "one\ntwo\nthree\n")
    source.unlink()
    assert place.follow([]) == frozenset()
    assert gzip.decompress(shown.with_suffix(".log.gz").read_bytes()).endswith(b"three\n")
    assert shown.exists(), "whoever follows it has not heard yet"
    place.take_away()
    assert not shown.exists()


def test_a_log_that_a_killed_run_left_growing_is_taken_away(farm: Farm) -> None:
    farm.fill()
    left = farm.publication / f"status/logs/{farm.names[0]}/{X86}/{attempt_id(1)}.log"
    left.parent.mkdir(parents=True)
    left.write_text("cut sho")
    whole_run(farm)
    assert not left.exists()


def test_without_logs_none_is_shown_and_those_shown_before_go(farm: Farm) -> None:
    farm.fill(log="secret\n")
    with coordinator(farm.state) as ledger:
        attempt = ledger.attempts(f"{farm.names[0]}@{X86}")[0].id
    farm.write_log(f"{farm.names[0]}@{X86}", attempt, "secret\n")
    whole_run(farm)
    assert (farm.publication / "status/logs").exists()
    farm.config = msgspec.structs.replace(farm.config, site=Site(logs=False))
    whole_run(farm)
    assert not (farm.publication / "status/logs").exists()
    assert "log.gz" not in page(farm, farm.names[0])


def test_now_is_there_before_the_pages_and_is_written_again_while_nothing_happens(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farm.showing._EVERY", 0.3)
    monkeypatch.setattr("farm.showing._TICK", 0.05)
    farm.fill()
    now = farm.publication / "status/now.json"
    with Showing(farm.config) as showing:
        tell(showing, "begun", text="build", release=RELEASE)
        wait_for(now, b'"build"')
        first = now_of(farm).at
        deadline = time.monotonic() + 10
        while now_of(farm).at == first:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert now_of(farm).every > 0


def test_a_run_that_nobody_ends_is_told_to_be_cut_short(farm: Farm) -> None:
    farm.fill()
    with Showing(farm.config) as showing:
        tell(showing, "begun", text="build", release=RELEASE)
    assert now_of(farm).outcome == "interrupted"
    assert now_of(farm).every == 0.0


def test_what_goes_wrong_is_raised_once_where_the_run_can_tell_it(farm: Farm) -> None:
    farm.fill()
    farm.publication.write_text("a file where a directory should be")
    showing = Showing(farm.config)
    showing.__enter__()
    with pytest.raises(OSError):
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            tell(showing, "note", text="x")
            time.sleep(0.02)
    showing.__exit__(None, None, None)


def test_a_damaged_memory_is_no_obstacle(farm: Farm) -> None:
    farm.fill()
    (farm.state / "status.json").write_bytes(b"{ not json")
    (farm.publication / "status").mkdir(parents=True)
    (farm.publication / "status/now.json").write_bytes(b"[]")
    whole_run(farm)
    assert now_of(farm).outcome == "done"


def test_the_pages_are_renewed_without_a_run_and_open_ones_hear_of_it(farm: Farm) -> None:
    farm.fill()
    whole_run(farm)
    before = now_of(farm)
    with coordinator(farm.state) as ledger:
        farm.fail(ledger, f"{farm.names[0]}@{X86}", "later")
        show(farm.config, ledger, lambda *_, **__: None)
    assert "later" in page(farm, farm.names[0])
    after = now_of(farm)
    assert after.revision != before.revision
    assert msgspec.structs.replace(after, revision="") == msgspec.structs.replace(
        before, revision=""
    )


def test_renewing_pages_that_were_never_there_makes_none_and_trouble_is_a_warning(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm.fill()
    told: list[str] = []

    def emit(state: str, **fields: str) -> None:
        told.append(f"{state}: {fields['text']}")

    with coordinator(farm.state) as ledger:
        show(farm.config, ledger, emit)
        assert not farm.publication.exists()
        (farm.publication / "status").mkdir(parents=True)
        (farm.publication / "status/index.html").mkdir()
        show(farm.config, ledger, emit)
    assert len(told) == 1 and told[0].startswith("warning: the status pages")


def test_telling_the_pages_costs_the_run_next_to_nothing(tmp_path: Path) -> None:
    farm = Farm(tmp_path, 1000)
    run = Run()
    events = list(farm.queued(time.time()))
    began = time.process_time()
    for event in events:
        run.hear(event)
    each = (time.process_time() - began) / len(events)
    assert each < 0.000_2, f"{each * 1e6:.0f} µs for each event"
    began = time.process_time()
    run.now(time.time(), "r", every=5.0, logs=frozenset())
    assert time.process_time() - began < 0.1

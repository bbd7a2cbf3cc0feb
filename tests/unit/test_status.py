"""The status pages as text: everything escaped, everything said, nothing written twice."""

from __future__ import annotations

import html
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from farm.progress import Event
from farm.site.status.facts import (
    STATES,
    Facts,
    File,
    OfRelease,
    PackagePage,
    ReleaseFacts,
    Shown,
    SnapshotRow,
    Spot,
    Stands,
    State,
    Try,
    foremost,
)
from farm.site.status.files import Folder
from farm.site.status.now import Now, Run, encoded
from farm.site.status.pages import Site, duration, package_path, size

CHROOT = "debian-13-x86_64"


def attempt(text: str = "", **fields: object) -> Try:
    known: dict[str, object] = {
        "message": text, "excerpt": (text, text), "hint": text, "kind": "package",
        "phase": text, "where": text, "place": text, "log": True, "root": True,
    }  # fmt: skip
    return Try("20261120-000001-0000000a", CHROOT, 1e9, "failed", 3.0, **(known | fields))  # type: ignore[arg-type]


def package(name: str, text: str = "", state: State = "failed", **fields: object) -> PackagePage:
    spot = Spot(
        CHROOT, "x86_64", state, text,
        Stands(text or "1.0-1", 1e9, 3.0, 1, text, "k" * 64, text, text),
        Shown(text or "1.0-1", 1, "other", text),
        (attempt(text),),
    )  # fmt: skip
    of = OfRelease(
        "debian-13", (spot,), requires=(text,), snapshot=text,
        files=(File(text, f"snapshots/{text}", 5, f"snapshots/{text}.a", f"snapshots/{text}.b"),),
    )  # fmt: skip
    of = msgspec.structs.replace(of, **fields)
    return PackagePage(name, text, text, (of,))


def facts(*packages: PackagePage, text: str = "") -> Facts:
    row = SnapshotRow(text or "abc", 5, text, 7, ((text, text),), current=True)
    release = ReleaseFacts("debian-13", text, ((CHROOT, "x86_64"),), (text,), 5, (row,))
    return Facts((release,), packages, 1e9, text, text)


_SITE = Site()  # templates are compiled once


def pages(told: Facts) -> dict[str, str]:
    """Every page of a site, by path."""
    site = _SITE
    found = [*site.overview(told)]
    found += (site.graph(told, release) for release in told.alive)
    found += (site.package(told, each) for each in told.packages)
    return {path: text.decode() for path, text in found if path.endswith(".html")}


class Skeleton(HTMLParser):
    """Tags and the names of their attributes; what a browser would run or load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        for name, value in attrs:
            if name in ("href", "src"):
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)


HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&amp;{{ 7*7 }}\x1b[31m</pre>"


def test_hostile_texts_change_no_tag_and_no_attribute_of_any_page() -> None:
    plain = pages(facts(package("munge", "plain"), text="plain"))
    hostile = pages(facts(package("munge", HOSTILE), text=HOSTILE))
    assert plain.keys() == hostile.keys()
    for path in plain:
        assert Skeleton(hostile[path]).tags == Skeleton(plain[path]).tags, path


@settings(max_examples=30, deadline=None)
@given(st.text(min_size=1, max_size=60))
@example("`<b>` and `")
def test_no_text_whatever_gets_out_of_its_place(text: str) -> None:
    told = pages(facts(package("munge", f"x{text}"), text=f"x{text}"))
    harmless = "plain" + "`" * text.count("`")  # which a hint has around what one types
    plain = pages(facts(package("munge", harmless), text=harmless))
    for path, page in told.items():
        assert Skeleton(page).tags == Skeleton(plain[path]).tags


def test_hostile_texts_are_shown_as_they_are() -> None:
    told = pages(facts(package("munge", HOSTILE), text=HOSTILE))
    shown = Skeleton(told[package_path("munge")]).text
    assert shown.count(HOSTILE) >= 3  # message, excerpt, reason
    assert "49" not in html.unescape(shown.replace(HOSTILE, ""))


def test_a_page_without_a_script_says_that_it_cannot_take_back_what_runs() -> None:
    for state, told in (("running", True), ("queued", True), ("failed", False), ("built", False)):
        site = pages(facts(package("munge", state=state)))  # type: ignore[arg-type]
        for path in ("index.html", package_path("munge"), "status/graph-debian-13.html"):
            _, _, rest = site[path].partition("<main")
            assert ("If farm was killed since" in rest) is told, (path, state)


def test_a_name_with_odd_characters_leads_to_its_page() -> None:
    name = "c++-100%_lib+x"
    told = pages(facts(package(name)))
    links = [unquote(link) for link in Skeleton(told["index.html"]).links]
    assert package_path(name) in links
    assert package_path(name) in told


def test_every_link_between_pages_leads_to_a_page_or_into_the_publication() -> None:
    told = pages(facts(package("munge"), package("pdsh", needs=("munge",))))
    site = Site()
    there = {*told, *(path for path, _ in site.assets())}
    outside = ("snapshots/", "debian-13/", "farm-debian-13.repo", "status/logs/")
    for path, page in told.items():
        found = Skeleton(page)
        for link in found.links:
            target, _, anchor = link.partition("#")
            if not target:
                assert anchor in found.ids, f"{path}: {link}"
                continue
            assert "://" not in target and not target.startswith("/"), f"{path}: {link}"
            resolved = str(Path("/root", path).parent.joinpath(unquote(target)).resolve())
            resolved = str(Path(resolved)).removeprefix("/root").lstrip("/")
            assert resolved in there or f"{resolved}/".startswith(outside), f"{path}: {link}"


def test_no_page_has_an_id_twice_or_anything_inline() -> None:
    told = pages(facts(package("munge", "x"), package("pdsh", "y", needs=("munge",)), text="z"))
    for path, page in told.items():
        found = Skeleton(page)
        assert len(set(found.ids)) == len(found.ids), path
        for tag, attributes in found.tags:
            assert tag not in ("style", "iframe", "object", "base"), path
            assert "style" not in attributes, path
            assert not [a for a in attributes if a.startswith("on")], path
        assert re.search(r"<script(?! src=)", page) is None, path
        assert "default-src 'none'" in page


def test_a_page_says_the_same_whenever_it_is_made() -> None:
    told = facts(package("munge", "x"), package("pdsh", needs=("munge",)))
    assert pages(told) == pages(told)


def test_without_anything_built_the_page_says_how_to_begin() -> None:
    never = PackagePage(
        "munge", releases=(OfRelease("debian-13", (Spot(CHROOT, "x86_64", "never"),)),)
    )
    told = facts(never)
    assert told.empty
    text = Skeleton(pages(told)["index.html"]).text
    assert "Nothing was built yet" in text and "farm build --all" in text
    assert "Nothing was built yet" not in Skeleton(pages(facts(package("a")))["index.html"]).text


def test_failures_come_with_class_and_telling_lines() -> None:
    limit = package("munge")
    spot = limit.releases[0].spots[0]
    failed = attempt("it took 3 h", kind="limit", limit="time", excerpt=("line one", "line two"))
    spot = msgspec.structs.replace(spot, tries=(failed,), because="it took 3 h")
    told = facts(package("munge", spots=(spot,)))
    overview = Skeleton(pages(told)["index.html"]).text
    page = Skeleton(pages(told)[package_path("munge")]).text
    assert "it took 3 h" in overview and "time" in overview
    assert "line one\nline two" in page and "a limit was hit: time" in page


def test_what_a_hint_says_to_type_is_shown_as_such_and_escaped() -> None:
    failed = attempt("no", hint="say `farm log <b>`, or `this")
    told = facts(package("munge"))
    release = told.packages[0].releases[0]
    spot = msgspec.structs.replace(release.spots[0], tries=(failed,))
    munge = msgspec.structs.replace(
        told.packages[0], releases=(msgspec.structs.replace(release, spots=(spot,)),)
    )
    _, page = Site().package(facts(munge), munge)
    assert b"<p>say <code>farm log &lt;b&gt;</code>, or <code>this</code></p>" in page


def test_dependencies_are_told_both_ways() -> None:
    told = pages(
        facts(
            package("munge", wanted_by=("pdsh",), wanted_also=("site",)),
            package("pdsh", needs=("munge",), wanted_by=("site",)),
            package("site", needs=("pdsh",), needs_also=("munge",)),
        )
    )
    munge = Skeleton(told[package_path("munge")])
    assert [link for link in munge.links if link.endswith(("/pdsh.html", "/site.html"))]
    assert "through it" in munge.text
    site = Skeleton(told[package_path("site")])
    assert len([link for link in site.links if link.endswith("/munge.html")]) == 1


def test_states_have_a_sign_of_their_own_shape_and_a_word() -> None:
    told = pages(facts(package("munge", state="failed")))["index.html"]
    symbols = dict(re.findall(r'<symbol id="s-(\w+)"[^>]*>(.*?)</symbol>', told))
    assert set(symbols) == {*STATES, "stopped"}  # which the script calls what a silent run had
    assert len(set(symbols.values())) == len(symbols)


def test_without_logs_no_page_leads_to_one() -> None:
    site = Site(logs=False)
    told = facts(package("munge", "x"))
    _, page = site.package(told, told.packages[0])
    assert b"status/logs" not in page
    assert not [path for path, _ in site.overview(told) if "log" in path]


def test_without_logs_no_line_of_one_is_shown_either() -> None:
    failed = attempt("%build failed", excerpt=("token=hunter2",))
    told = facts(package("munge"))
    spot = msgspec.structs.replace(told.packages[0].releases[0].spots[0], tries=(failed,))
    one = msgspec.structs.replace(told.packages[0].releases[0], spots=(spot,))
    munge = msgspec.structs.replace(told.packages[0], releases=(one,))
    shown, hidden = (Site(logs=logs).package(facts(munge), munge)[1] for logs in (True, False))
    assert b"hunter2" in shown
    assert b"hunter2" not in hidden
    assert b"%build failed" in hidden


def test_of_several_states_the_one_that_wants_attention_speaks() -> None:
    assert foremost(["built", "failed"]) == "failed"
    assert foremost(["failed", "running"]) == "running"
    assert foremost([]) == "never"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0.4 s"), (59.2, "59 s"), (185, "3 min 5 s"), (7800, "2 h 10 min")]
)
def test_durations_are_told_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_sizes_are_told_in_words() -> None:
    assert [size(n) for n in (5, 1500, 250_000, 3_400_000_000)] == [
        "5 B", "1.5 kB", "250 kB", "3.4 GB",
    ]  # fmt: skip


def test_a_file_is_written_only_when_it_says_something_else(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    assert folder.write("status/a.html", b"one")
    before = (tmp_path / "status/a.html").stat()
    assert not folder.write("status/a.html", b"one")
    assert not Folder(tmp_path).write("status/a.html", b"one")
    assert (tmp_path / "status/a.html").stat().st_mtime_ns == before.st_mtime_ns
    assert folder.write("status/a.html", b"two")
    assert sorted(p.name for p in (tmp_path / "status").iterdir()) == ["a.html"]


def test_a_file_that_somebody_removed_is_written_again(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write("status/releases.html", b"same")
    (tmp_path / "status/releases.html").unlink()
    assert folder.write("status/releases.html", b"same")
    assert (tmp_path / "status/releases.html").read_bytes() == b"same"


def test_what_a_killed_run_left_half_written_is_taken_away(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for path in ("status/now.json", "status/packages/a.html", "index.html"):
        folder.write(path, b"whole")
        draft = (tmp_path / path).with_name(f".{Path(path).name}.x7_kq9ab")
        draft.write_bytes(b"ha")
        os.utime(draft, (1e9, 1e9))
    of_now = tmp_path / "status/.metrics.txt.abcd1234"  # somebody else's, who is about to move it
    of_now.write_bytes(b"ha")
    somebodys = (
        tmp_path / ".htaccess",
        tmp_path / "status/.nojekyll",
        tmp_path / ".index.html.bak",
    )
    for other in somebodys:
        other.write_bytes(b"")
        os.utime(other, (1e9, 1e9))
    folder.remove_drafts()
    left = {each for each in tmp_path.rglob(".*") if each.is_file()}
    assert left == {of_now, *somebodys}


def test_an_index_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<h1>Our mirror</h1>")
    folder, told = Folder(tmp_path), facts(package("munge"))
    for path, content in Site().overview(told):
        folder.write(path, content)
    assert (tmp_path / "index.html").read_text() == "<h1>Our mirror</h1>"
    assert "Build status" in (tmp_path / "status/index.html").read_text()


def test_pages_of_packages_that_are_gone_go_and_other_files_stay(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for name in ("old.html", "new.html", "notes.txt"):
        folder.write(f"status/packages/{name}", b"x")
    folder.keep_only("status/packages", ["status/packages/new.html"])
    left = sorted(p.name for p in (tmp_path / "status/packages").iterdir())
    assert left == ["new.html", "notes.txt"]


def run_of(*events: Event) -> Run:
    run = Run()
    for event in events:
        run.hear(event)
    return run


def event(state: str, step: str = "", at: float = 100.0, **fields: object) -> Event:
    return Event(at=at, state=state, step=step, **fields)  # type: ignore[arg-type]


def now_of(run: Run, at: float = 200.0) -> Now:
    told = encoded(run.now(at, "r1", every=5.0, logs=frozenset({"a1"})))
    return msgspec.json.decode(told, type=Now)


def test_what_runs_is_told_with_phase_and_expectation() -> None:
    step = f"munge@{CHROOT}"
    now = now_of(
        run_of(
            event("begun", text="build", release="debian-13"),
            event("queued", step, needs=(), expected=60.0),
            event("running", step, 110.0, phase="start", attempt="a1", expected=60.0, text="new"),
            event("running", step, 120.0, phase="%build", attempt="a1", place="node7"),
        )
    )
    (job,) = now.running
    assert (job.package, job.phase, job.since, job.started) == ("munge", "%build", 120.0, 110.0)
    assert (job.expected, job.place, job.log) == (60.0, "node7", True)
    assert now.counts[CHROOT].running == 1 and now.every == 5.0 and now.verb == "build"


def test_a_second_attempt_of_a_step_starts_its_clock_anew() -> None:
    step = f"munge@{CHROOT}"
    run = run_of(
        event("running", step, 110.0, phase="start", attempt="a1"),
        event("running", step, 115.0, phase="%build", attempt="a1"),
        event("running", step, 150.0, phase="start", attempt="a2"),
    )
    (job,) = now_of(run).running
    assert (job.attempt, job.started, job.log) == ("a2", 150.0, False)


def test_an_attempt_that_only_waits_has_not_started() -> None:
    step = f"munge@{CHROOT}"
    run = run_of(
        event("running", step, 110.0, phase="start", attempt="a1", expected=60.0),
        event("running", step, 115.0, phase="queued", attempt="a1"),
    )
    (job,) = now_of(run).running
    assert (job.started, job.since, now_of(run).left) == (0.0, 115.0, 60.0)
    run.hear(event("running", step, 190.0, phase="root", attempt="a1"))
    (job,) = now_of(run).running
    assert (job.started, now_of(run).left) == (190.0, 50.0)
    run.hear(event("running", step, 195.0, phase="retry in 20 s"))
    assert now_of(run).running[0].started == 0.0
    run.hear(event("running", step, 199.0, phase="start", attempt="a2"))
    assert now_of(run).running[0].started == 199.0


def test_a_run_that_has_ended_runs_nothing_and_is_not_expected_to_write() -> None:
    step = f"munge@{CHROOT}"
    run = run_of(
        event("begun", text="build"),
        event("running", step, phase="start", attempt="a1"),
        event("ended", text="build", kind="interrupted"),
    )
    now = now_of(run)
    assert (now.running, now.every, now.outcome, now.ended) == ((), 0.0, "interrupted", 100.0)


def test_endings_are_named_newest_first_and_only_a_few() -> None:
    run = run_of(*(event("built", f"p{n}@{CHROOT}", 100.0 + n, seconds=2.0) for n in range(40)))
    now = now_of(run)
    assert [each.package for each in now.recent][:2] == ["p39", "p38"]
    assert len(now.recent) <= 12 and now.counts[CHROOT].built == 40


def test_what_waits_is_named_as_it_will_come() -> None:
    run = run_of(
        event("queued", f"late@{CHROOT}", needs=(f"early@{CHROOT}",)),
        event("queued", f"early@{CHROOT}"),
        event("queued", f"now@{CHROOT}", needs=(f"early@{CHROOT}",), urgent=True),
    )
    assert now_of(run).waiting[0] == f"now@{CHROOT}"
    assert now_of(run).waiting[1] == f"early@{CHROOT}"


def test_now_stays_small_with_a_thousand_packages() -> None:
    run = run_of(event("begun", text="build"))
    for number in range(1000):
        for arch in ("x86_64", "aarch64"):
            run.hear(event("queued", f"package-{number}@debian-13-{arch}", expected=60.0))
    for number in range(32):
        step = f"package-{number}@{CHROOT}"
        run.hear(event("running", step, phase="%build", attempt="a" * 24, expected=60.0))
    assert len(encoded(run.now(200.0, "r", every=5.0, logs=frozenset()))) < 16_000


def test_texts_of_events_are_cut_to_one_line() -> None:
    step = f"munge@{CHROOT}"
    now = now_of(run_of(event("failed", step, text="one\n" + "x" * 5000, kind="package")))
    assert now.recent[0].text == "one"
    now = now_of(run_of(event("failed", step, text="y" * 5000)))
    assert len(now.recent[0].text) == 300


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["queued", "running", "built", "kept", "failed", "skipped"]),
            st.sampled_from([f"{name}@{CHROOT}" for name in "abc"]),
            st.sampled_from(["", "start", "%build"]),
            st.sampled_from(["", "a1", "a2"]),
        )
    )
)
def test_whatever_events_come_each_step_is_counted_once(
    told: list[tuple[str, str, str, str]],
) -> None:
    run = run_of(*(event(s, step, phase=p, attempt=a) for s, step, p, a in told))
    now = now_of(run)
    counted = [sum(msgspec.to_builtins(c).values()) for c in now.counts.values()]
    assert sum(counted) == len({step for _, step, _, _ in told})
    assert len(now.running) == sum(c.running for c in now.counts.values())


def test_what_is_told_elsewhere_is_no_step() -> None:
    run = run_of(event("running", "base x86_64", phase="unpack"), event("note", text="hello"))
    now = now_of(run)
    assert (now.counts, now.running, now.note) == ({}, (), "hello")

"""The status pages in a real browser, over a real farm and over made-up ones of any size."""

from __future__ import annotations

import contextlib
import email.utils
import gzip
import http.server
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from farm.ledger import coordinator, reader
from farm.progress import Event
from farm.run import Child
from farm.showing import Showing, show
from farm.site.serve import serving
from tests.browser import CHROMIUM, DESKTOP, PHONE, chromium, visit
from tests.farms import RELEASE, Farm, attempt_id
from tests.real.site import Site

# The machine may be busy with something else.
expect.set_options(timeout=40_000)

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="chromium is not installed"),
]

HOSTILE = "</pre><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>\"'&lt;"
X86, ARM = f"{RELEASE}-x86_64", f"{RELEASE}-aarch64"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def tell(showing: Showing, state: str, step: str = "", **fields: object) -> None:
    at = fields.pop("at", time.time())
    showing.see(Event(at=at, state=state, step=step, **fields))  # type: ignore[arg-type]


@contextlib.contextmanager
def run_of(farm: Farm, verb: str = "build") -> Iterator[Showing]:
    """A run that tells the pages what a test wants it to."""
    with Showing(farm.config) as showing:
        tell(showing, "begun", text=verb, release=RELEASE)
        yield showing
        tell(showing, "ended", text=verb, release=RELEASE)


def wait_for(what: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def has(path: Path, text: bytes) -> Callable[[], bool]:
    """Whether a file is there and has this in it, when asked."""
    return lambda: path.exists() and text in path.read_bytes()


def begin_log(farm: Farm, showing: Showing, step: str, number: int, text: str = "") -> Path:
    """The growing log of an attempt that begins; it waits until the pages know of it."""
    attempt = attempt_id(number)
    log = farm.state / "attempts" / attempt / "build.log"
    log.parent.mkdir(parents=True)
    if text:
        log.write_text(text)
    tell(showing, "running", step, phase="start", attempt=attempt)
    now = farm.publication / "status/now.json"
    wait_for(has(now, b'"log":true' if text else b'"running":1'))
    wait_for((farm.publication / "status/log.html").exists)
    return log


def log_page(step: str, attempt: str) -> str:
    """Where the pages show the log of an attempt, below their address."""
    return f"/status/log.html#{step.replace('@', '/')}/{attempt}"


def every_state(farm: Farm, showing: Showing) -> dict[str, str]:
    """Have packages of the farm be in each state; which, by state."""
    names = farm.names
    for event in farm.queued(time.time()):
        showing.see(event)
    tell(showing, "built", f"{names[0]}@{X86}", text="a changed spec", seconds=12.0)
    tell(showing, "kept", f"{names[0]}@{ARM}", text="same inputs")
    tell(showing, "failed", f"{names[1]}@{X86}", text="%build failed", kind="package")
    tell(showing, "skipped", f"{names[2]}@{X86}", text=f"{names[1]}, which it needs, failed")
    tell(showing, "skipped", f"{names[2]}@{ARM}", text="ExclusiveArch: x86_64")
    running = f"{names[3]}@{X86}"
    attempt = attempt_id(4711)
    directory = farm.state / "attempts" / attempt
    directory.mkdir(parents=True)
    (directory / "build.log").write_text("+ make\n")
    fields = {"attempt": attempt, "expected": 100.0, "place": "node1"}
    tell(showing, "running", running, phase="start", at=time.time() - 30, **fields)
    tell(showing, "running", running, phase="%build", **fields)
    return {"built": names[0], "failed": names[1], "skipped": names[2], "running": names[3]}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Farm, str, str]]:
    """A farm of a dozen packages in the middle of a run; its address, and that of a log."""
    farm = Farm(tmp_path_factory.mktemp("shown"), 14)
    log = "".join(f"line {n} {'x' * (n % 150)}\n" for n in range(3000)) + "error: it broke\n"
    farm.fill(log=log)
    with coordinator(farm.state) as ledger:
        step = f"{farm.names[1]}@{X86}"
        lines = ("main.c:3:1: error: unknown type name 'foo'", "make: *** [main.o] Error 1")
        farm.fail(ledger, step, "%build failed: unknown type name 'foo'", lines)
        attempt = ledger.attempts(step)[-1].id
    farm.write_log(step, attempt, log)
    with run_of(farm) as showing:
        every_state(farm, showing)
        now = farm.publication / "status/now.json"
        wait_for(has(now, b'"log":true'))
        wait_for(has(farm.publication / "index.html", b"%build failed"))
        wait_for((farm.publication / f"status/packages/{farm.names[3]}.html").exists)
        with serving(farm.publication) as address:
            yield farm, address, address + log_page(step, attempt)


def whole_log(page: Page) -> str:
    """What is in the page of a log, in sight or not."""
    return page.locator("#log").text_content() or ""


def addresses(shown: tuple[Farm, str, str]) -> list[str]:
    farm, address, log = shown
    pages = ["index.html", "status/releases.html", f"status/graph-{RELEASE}.html"]
    pages += [f"status/packages/{name}.html" for name in farm.names[:4]]
    return [*(f"{address}/{page}" for page in pages), log]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(
    browser: Browser, shown: tuple[Farm, str, str], scheme: str
) -> None:
    for address in addresses(shown):
        with visit(browser, address, scheme=scheme) as seen:
            seen.page.wait_for_timeout(400)
            seen.page.keyboard.press("/")
            seen.page.keyboard.type("e")
            seen.page.wait_for_timeout(150)
            assert seen.low_contrasts() == [], address


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_no_page_is_wider_than_the_window(
    browser: Browser, shown: tuple[Farm, str, str], size: tuple[int, int]
) -> None:
    for address in addresses(shown):
        with visit(browser, address, size=size) as seen:
            seen.page.wait_for_timeout(300)
            assert seen.overflow() <= 0, address


LONG = "averyverylongnameofapackagewithoutanyplacewhereitcouldbebroken2"


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_odd_names_and_long_versions_fit_and_lead_to_their_pages(
    browser: Browser, tmp_path: Path, size: tuple[int, int]
) -> None:
    names = ("c++", "gtk+-2.0_x", "R", LONG)
    farm = Farm(tmp_path, 9, names=names, version="1.0~rc1^20261120git0123abcd+dfsg")
    farm.fill(failed=names[:2], text="%build failed: https://example.org/" + "a" * 250)
    with run_of(farm) as showing, serving(farm.publication) as address:
        for event in farm.queued(time.time()):
            showing.see(event)
        for number, name in enumerate(names[2:]):
            place = f"{'node' * 20}.example.org"
            fields = {"attempt": attempt_id(number), "place": place, "expected": 60.0}
            tell(showing, "running", f"{name}@{X86}", phase="%build", **fields)
        wait_for((farm.publication / f"status/packages/{LONG}.html").exists)
        for name in names:
            with visit(browser, address, size=size) as seen:
                page = seen.page
                expect(page.locator("#now-running .job")).to_have_count(2)
                page.keyboard.press("/")
                page.keyboard.type(name)
                hit = page.locator("#hits li").first
                expect(hit).to_contain_text(name)
                assert seen.overflow() <= 0
                # in one go: the hits are drawn anew whenever the pages change
                tall = page.evaluate("document.querySelector('#hits li').offsetHeight")
                assert 0 < tall < 40 + 3 * len(name), "a name is spread over letters"
                page.keyboard.press("Enter")
                page.wait_for_url("**/status/packages/*.html")
                expect(page.locator("h1")).to_have_text(name)
                page.wait_for_timeout(200)
                assert seen.overflow() <= 0
                assert seen.low_contrasts() == []


def test_what_runs_is_on_the_first_page(browser: Browser, shown: tuple[Farm, str, str]) -> None:
    farm, address, _ = shown
    with visit(browser, address) as seen:
        expect(seen.page.locator("#now-title")).to_have_text(f"Building {RELEASE}")
        job = seen.page.locator("#now-running .job")
        expect(job).to_have_count(1)
        expect(job).to_contain_text(farm.names[3])
        expect(job).to_contain_text("node1")
        expect(job.locator("[aria-current]")).to_have_text("%build")
        assert 0.2 < float(job.locator("progress").get_attribute("value") or 0) < 0.98
        expect(seen.page.locator("#now-counts")).to_contain_text("queued")
        cell = seen.page.locator(f'[data-step="{farm.names[3]}@{X86}"]')
        expect(cell).to_have_text("running")
        excluded = seen.page.locator(f'[data-step="{farm.names[2]}@{ARM}"]')
        expect(excluded).to_have_text("not for it")


def test_the_whole_site_can_be_walked_with_a_keyboard(
    browser: Browser, shown: tuple[Farm, str, str]
) -> None:
    farm, address, _ = shown
    with visit(browser, address) as seen:
        page = seen.page
        page.keyboard.press("Tab")
        expect(page.locator(".skip")).to_be_focused()
        assert (page.locator(".skip").bounding_box() or {"width": 0})["width"] > 50
        page.keyboard.press("Enter")
        expect(page.locator("#main")).to_be_focused()
        seen_links = set()
        for _ in range(12):
            page.keyboard.press("Tab")
            outline, link = page.evaluate(
                "[getComputedStyle(document.activeElement).outlineStyle,"
                " document.activeElement.outerHTML.slice(0, 120)]"
            )
            assert outline not in ("none", ""), f"no sign of focus on {link}"
            seen_links.add(link)
        assert len(seen_links) == 12, "the focus does not move on"
        page.keyboard.press("/")
        expect(page.locator("#search")).to_be_focused()
        page.keyboard.type(farm.names[5])
        expect(page.locator("#hits li").first).to_contain_text(farm.names[5])
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/status/packages/{farm.names[5]}.html")
        page.keyboard.press("/")
        page.keyboard.type("no such package")
        expect(page.locator("#hits")).to_contain_text("No package is called so")
        page.keyboard.press("Escape")
        expect(page.locator("#hits")).to_be_hidden()


def test_landmarks_and_names_are_there_for_a_screen_reader(
    browser: Browser, shown: tuple[Farm, str, str]
) -> None:
    for address in addresses(shown):
        with visit(browser, address) as seen:
            page = seen.page
            assert page.locator("main").count() == 1
            assert page.locator("h1").count() == 1
            assert page.get_by_role("navigation", name="Pages").count() == 1
            assert page.get_by_role("combobox", name="Search packages").count() == 1
            nameless = page.evaluate(
                "[...document.querySelectorAll('a[href], button, input, select')]"
                ".filter((e) => !e.hidden && !(e.textContent.trim() || e.labels?.length))"
                ".map((e) => e.outerHTML.slice(0, 100))"
            )
            assert nameless == [] or all("log-package" in each for each in nameless), address


def test_search_filters_the_table_and_so_does_the_state(
    browser: Browser, shown: tuple[Farm, str, str]
) -> None:
    farm, address, _ = shown
    with visit(browser, address) as seen:
        rows = seen.page.locator("table.packages tbody tr:visible")
        expect(rows).to_have_count(len(farm.names))
        seen.page.fill("#search", farm.names[2])
        expect(rows).to_have_count(sum(farm.names[2] in name for name in farm.names))
        seen.page.fill("#search", "")
        seen.page.select_option("[data-filter]", "failed")
        expect(rows).to_have_count(1)
        expect(rows).to_contain_text(farm.names[1])


def test_the_picture_has_every_package_and_shows_what_hangs_together(
    browser: Browser, shown: tuple[Farm, str, str]
) -> None:
    farm, address, _ = shown
    name = max(farm.names, key=lambda each: len(farm.needs[each]))
    with visit(browser, f"{address}/status/graph-{RELEASE}.html") as seen:
        assert seen.page.locator(".node").count() == len(farm.names)
        seen.page.focus(f"#n-{name}")
        near = seen.page.evaluate(
            "[...document.querySelectorAll('.node.near')].map((n) => n.dataset.name)"
        )
        wanted = {other for other in farm.names if name in farm.needs[other]}
        assert set(near) == {name, *farm.needs[name], *wanted}
        seen.page.keyboard.press("Enter")
        seen.page.wait_for_url(f"**/packages/{name}.html")
        expect(seen.page.locator("h1")).to_have_text(name)


def test_without_javascript_everything_is_there_that_is_not_live(
    browser: Browser, shown: tuple[Farm, str, str]
) -> None:
    farm, address, log = shown
    with visit(browser, address, script=False) as seen:
        text = seen.page.inner_text("body")
        assert all(name in text for name in farm.names)
        assert "%build failed" in text and "failed" in text and "1.0-1.deb13" in text
        assert not seen.page.locator("#search").is_visible()
        seen.page.click(f"table.packages >> text={farm.names[1]}")
        text = seen.page.inner_text("body")
        assert "unknown type name 'foo'" in text and "make: *** [main.o] Error 1" in text
        file = seen.page.locator("a.log").last.get_attribute("href")
        assert file and file.endswith(".log.gz")
        answer = seen.page.request.get(f"{address}/status/packages/{file}")
        assert gzip.decompress(answer.body()).startswith(b"line 0")
    with visit(browser, log, script=False) as seen:
        assert "wants JavaScript" in seen.page.inner_text("main")


def test_the_pages_can_be_looked_at_from_a_disk(
    browser: Browser, shown: tuple[Farm, str, str], tmp_path: Path
) -> None:
    farm, _, _ = shown
    shutil.copytree(farm.publication, tmp_path / "copy", ignore=shutil.ignore_patterns("logs"))
    with visit(browser, (tmp_path / "copy/index.html").as_uri(), quiet=False) as seen:
        assert farm.names[0] in seen.page.inner_text("main")
        back = seen.page.evaluate(
            "getComputedStyle(document.querySelector('.top')).borderBottomStyle"
        )
        assert back == "solid", "the style was not loaded"
        expect(seen.page.locator("#alert")).to_contain_text("a copy on a disk")


def test_a_packed_log_is_shown_with_its_telling_lines(
    browser: Browser, shown: tuple[Farm, str, str]
) -> None:
    with visit(browser, shown[2]) as seen:
        expect(seen.page.locator("#log-state")).to_have_text("3,001 lines")
        expect(seen.page.locator("#log .telling")).to_have_text("error: it broke\n")
        assert whole_log(seen.page).startswith("line 0")
        bottom = seen.page.evaluate(
            "(() => { const l = document.getElementById('log');"
            " return l.scrollHeight - l.scrollTop - l.clientHeight })()"
        )
        assert bottom < 5, "the end of a log is what one wants to see"
        assert (seen.page.locator("#log-file").get_attribute("href") or "").endswith(".log.gz")


ODD_LINES = {
    "\x1b[1;31mred\x1b[0m \x1b[38:2::1:2:3mrgb\x1b[m plain": "red rgb plain",
    "1 %\r50 %\r100 %": "100 %",
    "windows\r": "windows",
    "\x1b]0;title\x07after \x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\x1b(B\x1b=": "after link",
    "N\bNA\bAM\bME\bE abc\b\b\bxyz": "NAME xyz",
    "bell\x07 null\x00 page\x0c\x7f": "bell^G null^@ page^L^?",
    "\udcff\udcfe bytes": "�� bytes",
    "turned \u202eround\u202c": "turned <U+202E>round<U+202C>",
    "tab\tseparated": "tab\tseparated",
    "x" * 300_000: "x" * 10_000 + " … and 290,000 more characters",
    "<b>bold</b>": "<b>bold</b>",
}


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_whatever_is_in_a_log_is_shown_as_text_and_can_be_read_to_its_end(
    browser: Browser, tmp_path: Path, size: tuple[int, int]
) -> None:
    farm = Farm(tmp_path, 1)
    farm.fill()
    step = f"{farm.names[0]}@{X86}"
    with reader(farm.state) as ledger:
        assert ledger is not None
        attempt = ledger.attempts(step)[0].id
    farm.write_log(step, attempt, "\n".join((*ODD_LINES, "gcc -c " + "-Wsomething " * 40)) + "\n")
    show_all(farm)
    with (
        serving(farm.publication) as address,
        visit(browser, address + log_page(step, attempt), size=size) as seen,
    ):
        expect(seen.page.locator("#log-state")).to_have_text(f"{len(ODD_LINES) + 1} lines")
        shown = whole_log(seen.page).split("\n")
        assert [*shown[: len(ODD_LINES)]] == [*ODD_LINES.values()]
        cut = seen.page.evaluate(
            "[...document.querySelectorAll('#log pre')].some((p) => p.scrollWidth > p.clientWidth)"
        )
        assert not cut, "the ends of long lines are out of sight, and nothing scrolls there"
        assert seen.overflow() <= 0


def test_the_link_that_skips_to_the_content_leaves_a_log_where_it_is(
    browser: Browser, shown: tuple[Farm, str, str]
) -> None:
    with visit(browser, shown[2]) as seen:
        page = seen.page
        expect(page.locator("#log-state")).to_have_text("3,001 lines")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator("#main")).to_be_focused()
        page.wait_for_timeout(500)
        expect(page.locator("#log-state")).to_have_text("3,001 lines")
        page.reload()
        expect(page.locator("#log-state")).to_have_text("3,001 lines")


def test_a_line_that_grows_is_shown_before_it_ends(browser: Browser, tmp_path: Path) -> None:
    farm = Farm(tmp_path, 1)
    farm.fill()
    step = f"{farm.names[0]}@{X86}"
    with run_of(farm) as showing, serving(farm.publication) as address:
        log = begin_log(farm, showing, step, 95, "first line\n..")
        with visit(browser, address + log_page(step, log.parent.name)) as seen:
            expect(seen.page.locator("#log")).to_have_text("first line\n..")
            with log.open("a") as file:
                file.write("..F")
            expect(seen.page.locator("#log")).to_have_text("first line\n....F")
            with log.open("a") as file:
                file.write("\nlast line\n")
            expect(seen.page.locator("#log")).to_have_text("first line\n....F\nlast line\n")
            expect(seen.page.locator("#log-state")).to_contain_text("3 lines")


def test_a_log_that_grows_is_followed_to_its_end(browser: Browser, tmp_path: Path) -> None:
    farm = Farm(tmp_path, 3)
    farm.fill()
    step = f"{farm.names[0]}@{X86}"
    with run_of(farm) as showing, serving(farm.publication) as address:
        log = begin_log(farm, showing, step, 99, "first line\n")
        attempt = log.parent.name
        with visit(browser, address + log_page(step, attempt)) as seen:
            expect(seen.page.locator("#log")).to_contain_text("first line")
            for number in range(3):
                with log.open("a") as file:
                    file.write(f"more {number} \x1b[31mred\x1b[0m ä\n")
                expect(seen.page.locator("#log")).to_contain_text(f"more {number} red ä")
            expect(seen.page.locator("#log-state")).to_contain_text("4 lines, still being written")
            farm.write_log(step, attempt, log.read_text() + "the end\n")
            with coordinator(farm.state) as ledger:
                ledger.begin(attempt, step, "key")
            log.unlink()
            tell(showing, "failed", step, text="no", kind="package", attempt=attempt)
            expect(seen.page.locator("#log")).to_contain_text("the end")
            expect(seen.page.locator("#log-state")).to_have_text("5 lines")
            assert whole_log(seen.page).count("first line") == 1


def test_a_log_that_nobody_has_begun_to_write_is_waited_for(
    browser: Browser, tmp_path: Path
) -> None:
    farm = Farm(tmp_path, 3)
    farm.fill()
    step = f"{farm.names[0]}@{X86}"
    with run_of(farm) as showing, serving(farm.publication) as address:
        log = begin_log(farm, showing, step, 97)
        attempt = log.parent.name
        with visit(browser, address + log_page(step, attempt)) as seen:
            # which hears of every file that is not there
            expect(seen.page.locator("#log-state")).to_contain_text("Nothing was written yet")
            time.sleep(15)
            log.write_text("first line\n")
            expect(seen.page.locator("#log")).to_contain_text("first line")
            farm.write_log(step, attempt, "first line\nthe end\n")
            tell(showing, "failed", step, text="no", kind="package", attempt=attempt)
            expect(seen.page.locator("#log-state")).to_have_text("2 lines")


def test_a_log_that_was_cut_short_with_its_run_says_so(browser: Browser, tmp_path: Path) -> None:
    farm = Farm(tmp_path, 3)
    farm.fill()
    step = f"{farm.names[0]}@{X86}"
    with Showing(farm.config) as showing, serving(farm.publication) as address:
        tell(showing, "begun", text="build", release=RELEASE)
        log = begin_log(farm, showing, step, 96, "first line\n")
        with visit(browser, address + log_page(step, log.parent.name)) as seen:
            # which hears of every file that is not there
            expect(seen.page.locator("#log-state")).to_contain_text("still being written")
            tell(showing, "ended", text="build", release=RELEASE, kind="interrupted")
            said = "1 line; it was cut short when the build was stopped"
            expect(seen.page.locator("#log-state")).to_have_text(said)


class _NoRanges(http.server.SimpleHTTPRequestHandler):
    """A plain web server: it knows no ranges, and says that what ends in .gz is packed."""

    def end_headers(self) -> None:
        if self.path.endswith(".gz"):
            self.send_header("Content-Encoding", "gzip")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_any_web_server_can_serve_the_pages(browser: Browser, tmp_path: Path) -> None:
    farm = Farm(tmp_path, 3)
    farm.fill(log="packed line\n")
    step = f"{farm.names[0]}@{X86}"
    handler = partial(_NoRanges, directory=str(farm.publication))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        with run_of(farm) as showing:
            log = begin_log(farm, showing, step, 98, "first line\n")
            with visit(browser, address + log_page(step, log.parent.name)) as seen:
                expect(seen.page.locator("#log")).to_contain_text("first line")
                with log.open("a") as file:
                    file.write("second line\n")
                expect(seen.page.locator("#log")).to_contain_text("second line")
                assert whole_log(seen.page).count("first line") == 1
        with reader(farm.state) as ledger:
            assert ledger is not None
            done = ledger.attempts(f"{farm.names[1]}@{X86}")[0].id
        farm.write_log(f"{farm.names[1]}@{X86}", done, "packed line\n")
        with coordinator(farm.state) as ledger:
            show(farm.config, ledger, lambda *words, **more: None)
        with visit(browser, address + log_page(f"{farm.names[1]}@{X86}", done)) as seen:
            expect(seen.page.locator("#log")).to_have_text("packed line\n")
    finally:
        server.shutdown()
        server.server_close()


def test_a_log_of_fifty_megabytes_does_not_hold_the_page_up(
    browser: Browser, tmp_path: Path
) -> None:
    farm = Farm(tmp_path, 1)
    farm.fill()
    step = f"{farm.names[0]}@{X86}"
    line = "gcc -O2 -g -Wall -fstack-protector-strong -c file{:07}.c -o file.o"
    text = "\n".join(line.format(n) for n in range(750_000)) + "\n"
    assert len(text) > 50_000_000
    with reader(farm.state) as ledger:
        assert ledger is not None
        attempt = ledger.attempts(step)[0].id
    farm.write_log(step, attempt, text)
    show_all(farm)
    place = log_page(step, attempt)
    with serving(farm.publication) as address, visit(browser, f"{address}{place}") as seen:
        seen.page.evaluate(
            "() => { window.longest = 0; let last = performance.now(); setInterval(() => {"
            " const now = performance.now(); window.longest = Math.max(window.longest, now - last);"
            " last = now; }, 20); }"
        )
        expect(seen.page.locator("#log-state")).to_have_text("750,000 lines", timeout=60_000)
        assert seen.page.evaluate("window.longest") < 1500, "the page stood still (ms)"
        assert whole_log(seen.page).rstrip().endswith("file0749999.c -o file.o")
        assert seen.page.evaluate("document.querySelectorAll('#log pre').length") < 50
        button = seen.page.locator("#log-earlier")
        expect(button).to_contain_text("earlier lines")
        before = seen.page.locator("#log pre").count()
        button.click()
        assert seen.page.locator("#log pre").count() > before


def show_all(farm: Farm) -> None:
    with run_of(farm):
        pass


def test_hostile_texts_run_nothing(browser: Browser, tmp_path: Path) -> None:
    farm = Farm(tmp_path, 4)
    farm.fill()
    step = f"{farm.names[0]}@{X86}"
    with coordinator(farm.state) as ledger:
        attempt = farm.fail(ledger, step, f"%build failed: {HOSTILE}", (HOSTILE, HOSTILE))
        attempt = ledger.attempts(step)[0].id
    farm.write_log(step, attempt, f"{HOSTILE}\nerror: {HOSTILE}\n\x00\xff\udcff\n")
    with run_of(farm) as showing, serving(farm.publication) as address:
        tell(showing, "failed", step, text=HOSTILE, kind="package")
        tell(showing, "skipped", f"{farm.names[1]}@{X86}", text=HOSTILE)
        tell(showing, "running", f"{farm.names[2]}@{X86}", phase=HOSTILE, place=HOSTILE)
        tell(showing, "warning", text=HOSTILE)
        wait_for((farm.publication / f"status/packages/{farm.names[3]}.html").exists)
        pages = ["index.html", f"status/packages/{farm.names[0]}.html"]
        pages += [log_page(step, attempt)[1:]]
        for path in pages:
            with visit(browser, f"{address}/{path}") as seen:
                expect(seen.page.locator("main")).to_contain_text(HOSTILE)
                seen.page.wait_for_timeout(500)
                assert seen.page.evaluate("window.hacked") is None
        for odd in ("../../../now", "%2e%2e/x/20261120-000001-aa", "a/b/<script>", "a/b/c"):
            with visit(browser, f"{address}/status/log.html#{odd}") as seen:
                expect(seen.page.locator("#log-state")).to_contain_text("Which log?")


def test_the_policy_holds(browser: Browser, shown: tuple[Farm, str, str]) -> None:
    with visit(browser, shown[1], quiet=False) as seen:
        seen.page.evaluate(
            "() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
            " document.body.append(s); document.body.setAttribute('style', 'color: red'); }"
        )
        assert seen.page.evaluate("window.ran") is None
        blocked = seen.page.evaluate(
            "fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'blocked')"
        )
        assert blocked == "blocked"
        told = " ".join(seen.violations())
        assert "script-src" in told and "style-src" in told and "connect-src" in told


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Farm, str, Path]]:
    """The pages that a run left which was killed two hours ago: one package ran, one had failed,
    one was built since the pages were written, the others waited. Its address and its now.json."""
    place = tmp_path_factory.mktemp("killed")
    farm, copy = Farm(place / "farm", 6), place / "copy"
    farm.fill()
    with run_of(farm) as showing:
        for event in farm.queued(time.time()):
            showing.see(event)
        tell(showing, "failed", f"{farm.names[1]}@{X86}", text="it broke", kind="package")
        begin_log(farm, showing, f"{farm.names[0]}@{X86}", 1, "first line\n")
        wait_for(has(farm.publication / f"status/packages/{farm.names[0]}.html", b"1.log"))
        wait_for((farm.publication / f"status/packages/{farm.names[5]}.html").exists)
        shutil.copytree(farm.publication, copy)
    now = copy / "status/now.json"
    told = msgspec.json.decode(now.read_bytes())
    late = {"step": f"{farm.names[2]}@{X86}", "package": farm.names[2], "chroot": X86}
    told["recent"].insert(0, late | {"state": "built", "at": told["at"]})
    now.write_bytes(msgspec.json.encode(told | {"at": told["at"] - 7200}))
    with serving(copy) as address:
        yield farm, address, now


_MOVES = re.compile(r"\b(running|queued)\b")


def test_a_run_that_was_killed_is_said_to_be_silent(
    browser: Browser, killed: tuple[Farm, str, Path]
) -> None:
    farm, address, _ = killed
    with visit(browser, address) as seen:
        page = seen.page
        expect(page.locator("#alert")).to_contain_text("Nothing was heard of the build since")
        expect(page.locator("#alert")).to_contain_text("2 h ago")
        expect(page.locator("#now-running .job")).to_have_count(0)
        expect(page.locator("#now-counts")).to_contain_text("1 was running")
        expect(page.locator("table")).not_to_contain_text(_MOVES)
        expect(page.locator("table .chip", has_text="stopped")).to_have_count(10)
        first, second = page.locator(".tally").all()
        expect(first).to_contain_text("4 stopped without a word")
        expect(second).to_contain_text("6 stopped without a word")
        for card in (first, second):
            assert not _MOVES.search(card.inner_text())
        assert page.locator(".meter .running, .meter .queued").count() == 0
        expect(page.locator(f'[data-step="{farm.names[2]}@{X86}"]')).to_have_text("built")
        page.select_option("[data-filter]", "queued")
        expect(page.locator(".nothing")).to_be_visible()
        assert seen.low_contrasts() == []


@pytest.mark.parametrize("where", ["package", "graph", "log"])
def test_no_page_of_a_run_that_was_killed_says_that_something_runs(
    browser: Browser, killed: tuple[Farm, str, Path], where: str
) -> None:
    farm, address, _ = killed
    name = farm.names[0]
    path = {
        "package": f"packages/{name}.html",
        "graph": f"graph-{RELEASE}.html",
        "log": log_page(f"{name}@{X86}", attempt_id(1)).removeprefix("/status/"),
    }[where]
    with visit(browser, f"{address}/status/{path}") as seen:
        page = seen.page
        expect(page.locator("#alert")).to_contain_text("Nothing was heard of the build since")
        if where == "log":
            said = "1 line; nothing was heard of the build since"
            expect(page.locator("#log-state")).to_contain_text(said)
            expect(page.locator("#log-follow")).to_be_hidden()
            return
        static = page.locator("#static")
        expect(static).not_to_contain_text(_MOVES)
        moving = ".running, .queued, [href='#s-running'], [href='#s-queued']"
        assert static.locator(moving).count() == 0
        if where == "graph":
            expect(page.locator("main > .wide > .legend")).to_contain_text("stopped")
            expect(page.locator("#means-stopped")).to_be_visible()
        assert seen.low_contrasts() == []


def test_a_run_that_is_heard_of_again_is_shown_as_before(
    browser: Browser, killed: tuple[Farm, str, Path]
) -> None:
    _, address, now = killed
    told = now.read_bytes()
    with visit(browser, address) as seen:
        expect(seen.page.locator(".tally").first).to_contain_text("stopped")
        alive = msgspec.json.decode(told) | {"at": time.time(), "every": 300.0}
        try:
            now.write_bytes(msgspec.json.encode(alive))
            expect(seen.page.locator("#alert")).to_be_hidden()
            expect(seen.page.locator(".tally").first).to_contain_text("1 running")
            expect(seen.page.locator(".tally")).not_to_contain_text(["stopped", "stopped"])
            expect(seen.page.locator("table .chip.running")).to_have_count(1)
            expect(seen.page.locator("table .chip", has_text="stopped")).to_have_count(0)
            expect(seen.page.locator("#now-running .job")).to_have_count(1)
        finally:
            now.write_bytes(told)


def test_without_javascript_nobody_is_told_that_a_killed_run_goes_on(
    browser: Browser, killed: tuple[Farm, str, Path]
) -> None:
    farm, address, _ = killed
    for path in ("", f"status/packages/{farm.names[0]}.html", f"status/graph-{RELEASE}.html"):
        with visit(browser, f"{address}/{path}", script=False) as seen:
            note = seen.page.locator(".note", has_text="JavaScript")
            expect(note).to_contain_text("If farm was killed since, it has stopped.")
            expect(note).to_be_visible()


def test_clocks_that_differ_do_not_make_a_run_seem_dead(browser: Browser, tmp_path: Path) -> None:
    farm = Farm(tmp_path, 3)
    farm.fill()

    def elsewhere(route: Route) -> None:  # the server's clock is an hour ahead of the farm's
        answer = route.fetch()
        later = email.utils.formatdate(time.time() + 3600, usegmt=True)
        route.fulfill(response=answer, headers={**answer.headers, "date": later})

    with run_of(farm) as showing, serving(farm.publication) as address:
        tell(showing, "running", f"{farm.names[0]}@{X86}", phase="%build", attempt=attempt_id(1))
        wait_for(has(farm.publication / "status/now.json", b'"running":1'))
        wait_for((farm.publication / "index.html").exists)
        with visit(browser, address) as seen:
            seen.page.route("**/now.json", elsewhere)
            seen.page.reload()
            expect(seen.page.locator("#alert")).to_contain_text("Nothing was heard of the build")
            expect(seen.page.locator("#alert")).to_be_hidden()
            expect(seen.page.locator("#now-running .job")).to_have_count(1)
            assert " h " not in seen.page.inner_text("#now-running .times")


def test_a_server_that_is_away_during_a_run_says_nothing_of_the_run(
    browser: Browser, tmp_path: Path
) -> None:
    farm = Farm(tmp_path, 3)
    farm.fill()
    with run_of(farm) as showing:
        tell(showing, "running", f"{farm.names[0]}@{X86}", phase="%build", attempt=attempt_id(1))
        wait_for(has(farm.publication / "status/now.json", b'"running":1'))
        wait_for((farm.publication / "index.html").exists)
        shutil.copytree(farm.publication, tmp_path / "copy")
    copy = tmp_path / "copy/status/now.json"
    told = msgspec.json.decode(copy.read_bytes())
    copy.write_bytes(msgspec.json.encode(told | {"at": time.time(), "every": 1.0}))
    with (
        serving(tmp_path / "copy") as address,
        visit(browser, address, quiet=False) as seen,
    ):
        expect(seen.page.locator("#now-running .job")).to_have_count(1)
        seen.page.route("**/now.json", lambda route: route.abort())
        expect(seen.page.locator("#alert")).to_contain_text("does not answer since")
        time.sleep(15)  # longer than anybody waits for a run that is silent
        expect(seen.page.locator("#alert")).to_contain_text("does not answer since")
        expect(seen.page.locator("#now-running .job")).to_have_count(1)


def test_a_server_that_is_away_is_said_to_be_and_asked_again(
    browser: Browser, tmp_path: Path
) -> None:
    farm = Farm(tmp_path, 3)
    farm.fill()
    with run_of(farm) as showing:
        tell(showing, "running", f"{farm.names[0]}@{X86}", phase="%build", attempt=attempt_id(1))
        now = farm.publication / "status/now.json"
        wait_for(has(now, b'"running":1'))
        wait_for((farm.publication / "index.html").exists)
        with contextlib.ExitStack() as stack:
            address = stack.enter_context(serving(farm.publication))
            seen = stack.enter_context(visit(browser, address, quiet=False))
            expect(seen.page.locator("#now-running .job")).to_have_count(1)
            seen.page.route("**/now.json", lambda route: route.abort())
            expect(seen.page.locator("#alert")).to_contain_text("does not answer since")
            assert farm.names[0] in seen.page.inner_text("main")
            seen.page.unroute("**/now.json")
            expect(seen.page.locator("#alert")).to_be_hidden(timeout=30_000)


def test_screen_readers_hear_of_failures_and_little_else(browser: Browser, tmp_path: Path) -> None:
    farm = Farm(tmp_path, 6)
    farm.fill()
    with run_of(farm) as showing, serving(farm.publication) as address:
        for event in farm.queued(time.time()):
            showing.see(event)
        now = farm.publication / "status/now.json"
        wait_for(has(now, b'"queued"'))
        wait_for((farm.publication / "index.html").exists)
        with visit(browser, address) as seen:
            expect(seen.page.locator("#now-title")).to_contain_text("Building")
            seen.page.evaluate(
                "() => { window.said = []; new MutationObserver(() => window.said.push("
                "document.getElementById('said').textContent)).observe("
                "document.getElementById('said'), { childList: true }) }"
            )
            for name in farm.names[:3]:
                tell(showing, "running", f"{name}@{X86}", phase="start", attempt=attempt_id(5))
                tell(showing, "built", f"{name}@{X86}", text="new", seconds=2.0)
            expect(seen.page.locator("#now-counts")).to_contain_text("3 built")
            assert seen.page.evaluate("window.said") == []
            tell(showing, "failed", f"{farm.names[4]}@{ARM}", text="no", kind="package")
            expect(seen.page.locator("#said")).to_have_text(f"{farm.names[4]} on aarch64 failed.")
            assert len(seen.page.evaluate("window.said")) == 1


def test_focus_and_what_was_opened_stay_when_a_page_is_renewed(
    browser: Browser, tmp_path: Path
) -> None:
    farm = Farm(tmp_path, 6)
    farm.fill()
    with run_of(farm) as showing, serving(farm.publication) as address:
        wait_for((farm.publication / "status/now.json").exists)
        tell(showing, "kept", f"{farm.names[0]}@{X86}", text="same inputs")
        wait_for((farm.publication / "index.html").exists)
        with visit(browser, address) as seen:
            seen.page.select_option("[data-filter]", "built")
            link = seen.page.locator(f"table.packages >> text={farm.names[2]}").first
            link.focus()
            tell(showing, "failed", f"{farm.names[1]}@{X86}", text="it broke", kind="package")
            expect(seen.page.locator(".failures")).to_contain_text("it broke")
            assert farm.names[2] in seen.page.evaluate("document.activeElement.textContent")
            assert seen.page.input_value("[data-filter]") == "built"


def test_a_thousand_packages_are_shown_in_good_time(browser: Browser, tmp_path: Path) -> None:
    farm = Farm(tmp_path, 1000)
    farm.fill(failed=farm.names[10:12])
    with run_of(farm) as showing, serving(farm.publication) as address:
        for event in farm.queued(time.time()):
            showing.see(event)
        wait_for((farm.publication / f"status/graph-{RELEASE}.html").exists)
        now = farm.publication / "status/now.json"
        wait_for(has(now, b'"queued":1000'))
        assert now.stat().st_size < 16_000
        with visit(browser, address) as seen:
            rows = seen.page.locator("table.packages tbody tr")
            assert rows.count() == 1000
            begun = time.monotonic()
            seen.page.fill("#search", farm.names[700])
            expect(seen.page.locator("#hits li").first).to_contain_text(farm.names[700])
            assert time.monotonic() - begun < 2
        with visit(browser, address, size=PHONE) as seen:
            assert seen.overflow() <= 0
        with visit(browser, f"{address}/status/graph-{RELEASE}.html") as seen:
            assert seen.page.locator(".node").count() == 1000
            seen.page.click("[data-zoom=fit]")
            box = seen.page.locator(".graph").bounding_box()
            assert box and box["width"] <= DESKTOP[0]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, str]]:
    """A small real farm of which nothing was built, and `farm serve` over it."""
    site = Site.make(tmp_path_factory.mktemp("web") / "layer")
    wait = "for i in 1 2 3 4 5 6 7 8 9; do echo turn $i of the wheel; sleep 1; done\n"
    site.edit("tally", "%build\n", f"%build\n{wait}")
    settings = site.root / "farm.toml"
    settings.write_text(settings.read_text().replace('"x86_64", "aarch64"', '"x86_64"'))
    site.commit("Slower")
    (site.root / "repo").mkdir()
    with site.served() as address:
        yield site, address


def ends(child: Child, seconds: float = 300.0) -> int:
    wait_for(lambda: child.poll() is not None, seconds)
    return child.poll() or 0


def test_a_real_build_is_followed_from_the_first_step_to_the_published_packages(
    browser: Browser, real: tuple[Site, str]
) -> None:
    site, address = real
    child = site.begin("build", "--all")
    try:
        wait_for((site.root / "repo/index.html").exists, 120)
        with visit(browser, address) as seen:
            page = seen.page
            expect(page.locator("#now-title")).to_have_text("Building debian-13")
            job = page.locator("#now-running .job", has_text="tally").first
            expect(job).to_contain_text("%build", timeout=120_000)
            expect(job.locator("a", has_text="live log")).to_be_visible()
            job.locator("a", has_text="live log").click()
            page.wait_for_url("**/status/log.html#tally/**")
            expect(page.locator("#log")).to_contain_text("turn 1 of the wheel")
            expect(page.locator("#log")).to_contain_text("turn 4 of the wheel")
            expect(page.locator("#log-state")).not_to_contain_text("still being", timeout=60_000)
            expect(page.locator("#log")).to_contain_text("Wrote: ")
            page.goto(address)
            cell = page.locator('td[data-step="tallyprint@debian-13-x86_64"]')
            expect(cell).to_have_text("built", timeout=120_000)
            expect(page.locator("#now-title")).to_have_text("The last build of debian-13")
            expect(page.locator("#now-when")).to_contain_text("ended")
    finally:
        assert ends(child) == 0
    site.farm("publish")
    with visit(browser, f"{address}/status/packages/tally.html") as seen:
        page = seen.page
        expect(page.locator("main")).to_contain_text("1.0-1.deb13")
        expect(page.locator(".history")).to_contain_text("built")
        expect(page.get_by_role("link", name=re.compile("^tallyprint"))).to_be_visible()
        for kind, what in (("provenance", "payload"), ("bill of materials", "CycloneDX")):
            link = page.locator("a", has_text=kind).first.get_attribute("href")
            answer = page.request.get(f"{address}/status/packages/{link}")
            assert answer.ok and what in answer.text(), kind
    with visit(browser, f"{address}/status/releases.html") as seen:
        expect(seen.page.locator(".snapshots li")).to_have_count(1)
        expect(seen.page.locator(".snapshots li")).to_contain_text("current")


def test_a_build_that_is_killed_leaves_pages_that_the_next_one_puts_right(
    browser: Browser, real: tuple[Site, str]
) -> None:
    site, address = real
    site.edit("tally", "Count things", "Count more things")
    site.commit("A change")
    child = site.begin("build", "tally")
    now = site.root / "repo/status/now.json"
    try:
        wait_for(lambda: b"%build" in now.read_bytes() and b'"log":true' in now.read_bytes(), 120)
    finally:
        os.kill(child.pid, signal.SIGKILL)
    assert ends(child) == -signal.SIGKILL
    growing = list((site.root / "repo/status/logs").rglob("*.log"))
    assert growing
    with visit(browser, address) as seen:
        expect(seen.page.locator("#alert")).to_contain_text("Nothing was heard", timeout=40_000)
    site.farm("build", "tally")
    with visit(browser, address) as seen:
        expect(seen.page.locator("#now-title")).to_have_text("The last build of debian-13")
        expect(seen.page.locator("#alert")).to_be_hidden()
    assert not [log for log in growing if log.exists()]

"""Two and more builds at once on one state directory: the second has the first do it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from farm.ledger import reader
from farm.rebuild.claim import claimed
from farm.run import Child, launch
from tests.real.site import Site

pytestmark = pytest.mark.real

_SPEC = """\
Name:           {name}
Version:        1
Release:        1%{{?dist}}
Summary:        A build that takes {seconds} s
License:        MIT
URL:            https://example.org/{name}
BuildArch:      noarch

%description
Nothing.

%build
sleep {seconds}
{more}

%install
install -d %{{buildroot}}%{{_datadir}}/{name}

%files
%{{_datadir}}/{name}

%changelog
* Mon Jun 01 2026 Farm Tests <tests@example.org> - 1-1
- First
"""
_NATIVE = ("--arch", "x86_64")


def add(site: Site, name: str, seconds: float, more: str = "") -> None:
    """A package whose build takes so long."""
    site.spec(name).parent.mkdir()
    site.spec(name).write_text(_SPEC.format(name=name, seconds=seconds, more=more))


@dataclass
class Begun:
    """A farm command that was begun."""

    child: Child
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text("utf-8") if self.log.exists() else ""

    def says(self, text: str) -> None:
        """Wait until it does."""
        until(lambda: text in self.output, lambda: f"never said {text!r}:\n{self.output}")

    def ends(self, code: int = 0) -> str:
        """Wait for its end; all that it said."""
        until(lambda: self.child.poll() is not None, lambda: f"does not end:\n{self.output}")
        assert self.child.poll() == code, self.output
        assert "Traceback" not in self.output
        return self.output

    def signal(self, number: int) -> None:
        os.kill(self.child.pid, number)


def until(condition: Callable[[], bool], why: Callable[[], str], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, why()
        time.sleep(0.02)


class Place:
    """A small farm where several commands run at once."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._begun: list[Begun] = []

    def begin(self, *words: str) -> Begun:
        log = self.site.root.parent / f"{len(self._begun)}.log"
        self._begun.append(Begun(launch(self.site.command(*words), log=log), log))
        return self._begun[-1]

    def end(self) -> None:
        """Interrupt what is still at work."""
        for one in self._begun:
            if one.child.poll() is None:
                one.signal(signal.SIGINT)
        for one in self._begun:
            until(lambda one=one: one.child.poll() is not None, lambda one=one: one.output)  # type: ignore[misc]

    def build(self, *words: str) -> Begun:
        return self.begin("build", *_NATIVE, *words)

    @contextlib.contextmanager
    def held(self, one: Begun) -> Iterator[None]:
        """Meanwhile it does nothing, but what it has begun goes on."""
        one.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            one.signal(signal.SIGCONT)

    def joins(self, first: Begun, *words: str, build: Sequence[str] = _NATIVE) -> Begun:
        """Another build, whose wish is there before the first one does anything more."""
        wishes = self.site.root / ".farm" / "wishes"
        before = set(wishes.glob("*.wish"))
        with self.held(first):
            second = self.begin("build", *build, *words)
            until(lambda: set(wishes.glob("*.wish")) > before, lambda: second.output)
        return second

    def kill_worker(self) -> None:
        """Of the attempt that was begun last."""
        claim = claimed(max(self.site.root.glob(".farm/attempts/*/claim.json")).parent)
        assert claim is not None and claim.pid
        os.kill(claim.pid, signal.SIGKILL)

    def attempts(self, name: str) -> int:
        """How often a package was tried, with what came of it."""
        with reader(self.site.root / ".farm") as ledger:
            assert ledger is not None
            return len(ledger.attempts(f"{name}@debian-13-x86_64"))


def rows(output: str) -> dict[str, str]:
    """Package → verdict of the summary of a `--json` answer."""
    summary: dict[str, Any] = msgspec.json.decode(output.splitlines()[-1])["summary"]
    return {row["recipe"]: row["verdict"] for row in summary["rows"]}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    site = Site.make(tmp_path / "farm")
    for number in (1, 2, 3):
        add(site, f"slow{number}", 1.5)
    add(site, "endless", 900)
    add(site, "broken", 0.1, "echo 'telling: it cannot work' >&2; exit 3")
    site.commit()
    place = Place(site)
    yield place
    place.end()


@pytest.fixture
def endless(place: Place) -> Begun:
    """A build that is at work for as long as the test lasts."""
    first = place.build("endless")
    first.says("start    endless")
    return first


def test_the_second_has_the_first_build_what_it_does_not(place: Place, endless: Begun) -> None:
    told = place.joins(endless, "tallyprint").ends()
    assert "farm build (process" in told and "is asked to build tallyprint as well" in told
    assert "takes it on, 2 steps" in told
    assert "built    tally@debian-13-x86_64" in told and "2 built in" in told
    assert "endless" not in told, "what others want is not its business"
    assert "wants tallyprint as well: 2 steps" in endless.output


def test_what_the_first_builds_already_is_built_once(place: Place) -> None:
    first = place.build("slow1")
    first.says("start    slow1")
    second = place.joins(first, "slow1", "--json")
    assert rows(second.ends()) == {"slow1": "built"}
    first.ends()
    assert place.attempts("slow1") == 1


def test_an_urgent_wish_overtakes_what_is_queued_in_the_first(place: Place) -> None:
    first = place.build("--jobs", "1", "slow1", "slow2", "slow3")
    first.says("start    slow")
    place.joins(first, "--urgent", "tallyprint").ends()
    told = first.ends()
    order = [line.split()[1].partition("@")[0] for line in told.splitlines() if line[:5] == "start"]
    assert order[1:3] == ["tally", "tallyprint"], order
    assert "before everything else" in told


def test_each_ends_by_its_own_packages(place: Place) -> None:
    first = place.build("slow1", "--json")
    first.says('"phase":"start"')
    told = place.joins(first, "broken", "tallynotes").ends(1)
    assert "telling: it cannot work" in told
    assert "1 built, 1 failed" in told
    assert rows(first.ends()) == {"slow1": "built"}


def test_a_second_that_stops_at_its_first_failure_leaves_the_rest_to_the_first(
    place: Place,
) -> None:
    first = place.build("slow1", "--jobs", "1")
    first.says("start    slow1")
    second = place.joins(first, "--fail-fast", "--urgent", "broken", "slow2", "slow3")
    told = second.ends(1)
    assert f"process {first.child.pid} goes on with it" in told
    assert "built    slow3" in first.ends()


def test_a_first_that_stops_at_its_first_failure_takes_nothing_on(place: Place) -> None:
    first = place.build("slow1", "--fail-fast")
    first.says("start    slow1")
    second = place.joins(first, "broken")
    second.says("it stops at the first failure; waiting for it to end")
    first.ends()
    second.ends(1)


def test_when_the_first_is_killed_the_second_goes_on(place: Place, endless: Begun) -> None:
    second = place.joins(endless, "slow2", "tallynotes")
    second.says("takes it on")
    endless.signal(signal.SIGKILL)
    told = second.ends()
    assert "slow2" in told and "tallynotes" in told
    endless.ends(-signal.SIGKILL)


def test_when_the_first_is_interrupted_the_others_go_on(place: Place) -> None:
    first = place.build("--jobs", "1", "endless")
    first.says("start    endless")
    second, third = place.joins(first, "slow2", "--json"), place.joins(first, "slow3", "--json")
    second.says("takes it on")
    third.says("takes it on")
    first.signal(signal.SIGINT)
    first.ends(130)
    assert rows(second.ends()) == {"slow2": "built"}
    assert rows(third.ends()) == {"slow3": "built"}
    assert "ended before it was done: going on here" in second.output + third.output
    assert place.attempts("slow3") == 1


def test_what_the_second_gave_up_goes_on_in_the_first(place: Place) -> None:
    first = place.build("--jobs", "1", "slow1", "slow2")
    first.says("start    slow")
    second = place.joins(first, "slow3")
    second.says("takes it on")
    with place.held(first):
        second.signal(signal.SIGINT)
        told = second.ends(130)
    assert f"Process {first.child.pid} goes on with what it took on" in told
    assert "built    slow3" in first.ends()
    assert not list((place.site.root / ".farm" / "wishes").glob("*.wish"))


def test_the_second_waits_or_is_refused_as_it_is_told(place: Place) -> None:
    first = place.build("slow1")
    first.says("start    slow1")
    with place.held(first):
        refused = place.build("--no-wait", "tallynotes").ends(8)
        assert f"another farm (process {first.child.pid}) is at work" in refused
        waits = place.build("--wait", "tallynotes")
        waits.says("is at work here: waiting for it to end")
    first.ends()
    assert "built    tallynotes" in waits.ends()


def test_what_only_an_own_run_can_do_waits_for_it(place: Place) -> None:
    first = place.build("slow1")
    first.says("start    slow1")
    with place.held(first):
        forced = place.build("--force", "tallynotes")
        forced.says("waiting for it to end")
    first.ends()
    assert "asked for" in forced.ends()


def test_a_wish_is_built_from_the_layer_as_it_is_now(place: Place) -> None:
    """The emergency: a fix is committed while a long run has built the package already."""
    site = place.site
    add(site, "early", 0.1)
    site.commit()
    first = place.build("--jobs", "2", "early", "slow1", "endless", "--json")
    first.says('"state":"built","step":"early')
    first.says('"step":"endless@debian-13-x86_64","phase":"%build"')
    site.edit("early", "Release:        1", "Release:        2")
    site.edit("early", "- 1-1\n", "- 1-2\n")
    site.commit()
    told = place.joins(first, "--urgent", "early").ends()
    assert "1-2.deb13" in told
    assert "the layer was read again: early" in first.output
    assert place.attempts("early") == 2
    assert first.output.count('"phase":"start"') == 4, "what ran went on"


def test_what_runs_while_the_layer_is_read_again_counts(place: Place) -> None:
    site = place.site
    first = place.build("--jobs", "1", "slow1", "slow2", "--json")
    first.says('"step":"slow1@debian-13-x86_64","phase":"%build"')
    site.edit("tallynotes", "Release:        1", "Release:        2")
    site.edit("tallynotes", "- 1-1\n", "- 1-2\n")
    site.commit()
    assert "1-2.deb13" in place.joins(first, "tallynotes").ends()
    assert rows(first.ends()) == {"slow1": "built", "slow2": "built"}
    assert "farm was stopped" not in first.output
    assert place.attempts("slow1") == place.attempts("slow2") == 1


def test_another_number_at_a_time_is_no_secret_and_no_reason_to_wait(place: Place) -> None:
    first = place.build("--jobs", "2", "slow1")
    first.says("start    slow1")
    told = place.joins(first, "--jobs", "5", "tally", "--json").ends()
    (warning,) = [line for line in told.splitlines() if '"state":"warning"' in line]
    pid = first.child.pid
    assert f"process {pid} has at most 2 attempts at a time: --jobs 5 does not change" in warning
    first.ends()


def test_a_mishap_is_waited_for_and_counted_though_the_layer_is_read_again(place: Place) -> None:
    site = place.site
    with (site.root / "farm.toml").open("a") as file:
        file.write("[build]\nretries = 1\nretry_seconds = 15\n")
    site.commit()
    first = place.build("endless", "--json")
    first.says('"phase":"%build"')
    place.kill_worker()
    first.says("tried again in 15 s")
    met = time.monotonic()
    add(site, "brandnew", 0.1)
    site.commit()
    place.joins(first, "brandnew").ends()
    assert "the layer was read again: brandnew" in first.output
    first.says("attempt 2: the worker ended without a word")
    assert time.monotonic() - met > 13
    until(lambda: first.output.count('"phase":"%build"') == 3, lambda: first.output)
    place.kill_worker()
    assert rows(first.ends(1)) == {"endless": "failed"}
    assert place.attempts("endless") == 2, "it was tried more often than build.retries allows"


def test_uncommitted_changes_wait_for_their_own_run(place: Place) -> None:
    first = place.build("slow1")
    first.says("start    slow1")
    place.site.edit("tallynotes", "count from one", "count from zero")
    second = place.joins(first, "tallynotes")
    second.says("tallynotes has uncommitted changes, which it does not read again; waiting")
    first.ends()
    assert "scratch: never published" in second.ends()


def test_a_package_that_is_new_in_the_layer_is_taken_on(place: Place, endless: Begun) -> None:
    add(place.site, "brandnew", 0.1)
    place.site.commit()
    told = place.joins(endless, "brandnew").ends()
    assert "takes it on" in told and "built    brandnew" in told


def test_an_architecture_that_the_first_does_not_build_for_is_taken_on(
    place: Place, endless: Begun
) -> None:
    second = place.joins(endless, "tallynotes", "--json", build=("--arch", "aarch64"))
    told = second.ends()
    summary = msgspec.json.decode(told.splitlines()[-1])["summary"]
    assert [(row["recipe"], row["arch"]) for row in summary["rows"]] == [("tallynotes", "aarch64")]
    assert "takes it on" in told


def test_what_only_one_wishes_and_cannot_be_planned_fails_nobody_else(
    place: Place, endless: Begun
) -> None:
    chroot = place.site.root / "chroots" / "debian-13-aarch64.cfg"
    text = chroot.read_text()
    chroot.write_text(text + "\nconfig_opts['chroot_setup_cmd'] = 'install nothing-like-it'\n")
    second = place.joins(endless, "tallynotes", build=("--arch", "aarch64"))
    second.says("waiting for it to end")
    assert "debian-13-aarch64 cannot be set up" in second.output
    assert endless.child.poll() is None, "the wish of another failed it"
    place.joins(endless, "tallynotes").ends()
    endless.signal(signal.SIGINT)
    second.ends(5)


def test_retrying_what_failed_is_handed_over_without_names_too(place: Place) -> None:
    place.build("broken").ends(1)
    first = place.build("endless")
    first.says("start    endless")
    told = place.joins(first, "--retry-failed").ends(1)
    assert "asked to build what failed before as well" in told and "takes it on, 1 step;" in told
    assert place.attempts("broken") == 2


def test_what_failed_in_the_first_is_tried_again_for_who_names_it(place: Place) -> None:
    first = place.build("broken", "endless")
    first.says("FAILED   broken")
    first.says("start    endless")
    assert "takes it on" in place.joins(first, "broken").ends(1)
    place.joins(first, "broken", "--retry-failed").ends(1)
    assert place.attempts("broken") == 3
    place.joins(first, "broken", "tallynotes", "--json").ends(1)
    assert first.output.count("start    endless") == 1, "what ran went on"


def test_what_failed_before_is_told_and_tried_again_when_it_is_asked_for(place: Place) -> None:
    for name in ("slow1", "slow2", "slow3", "endless"):
        shutil.rmtree(place.site.spec(name).parent)
    place.site.edit("tally", "%build\n", "%build\nexit 3\n")
    place.site.commit()
    assert rows(place.build("--all", "--json").ends(1))["tallyprint"] == "skipped"
    told = place.build("--all").ends(1)
    assert place.attempts("broken") == place.attempts("tally") == 1, "it was tried again"
    assert "failed before" in told and "telling: it cannot work" in told
    place.build("--retry-failed", "--json").ends(1)
    assert place.attempts("broken") == place.attempts("tally") == 2
    place.site.edit("tally", "exit 3\n", "")
    place.site.commit()
    verdicts = rows(place.build("--retry-failed", "--json").ends(1))
    assert verdicts == {"broken": "failed", "tally": "built", "tallyprint": "built"}


def test_publishing_waits_for_the_build(place: Place) -> None:
    first = place.build("slow1")
    first.says("start    slow1")
    with place.held(first):
        assert "is at work" in place.begin("publish", "--no-wait").ends(8)
        publishes = place.begin("publish")
        publishes.says("farm build (process")
    first.ends()
    assert "slow1" in publishes.ends()


def test_questions_wait_for_nobody(place: Place, endless: Begun) -> None:
    for words in (
        ["status"],
        ["build", "--dry-run", *_NATIVE, "--all"],
        ["why", "tallyprint", *_NATIVE],
        ["check", *_NATIVE],
        ["plan", "--all", *_NATIVE],
    ):
        place.begin(*words).ends()
    assert endless.child.poll() is None


def test_ten_at_once_build_each_package_once(place: Place) -> None:
    names = ["slow1", "slow2", "slow3", "tally", "tallyprint", "tallynotes"]
    many = [place.build(names[number % 6], names[number % 5], "--json") for number in range(10)]
    for number, one in enumerate(many):
        verdicts = rows(one.ends())
        assert {names[number % 6], names[number % 5]} <= verdicts.keys()
        assert set(verdicts.values()) <= {"built", "kept"}
    assert [place.attempts(name) for name in names] == [1] * 6

"""Logs are found by package and attempt, and followed while another farm writes them."""

from __future__ import annotations

import errno
import fcntl
import gzip
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import farm.logs
from farm.config import Config, Paths
from farm.errors import UsageError
from farm.ledger import Ledger, coordinator
from farm.logs import (
    Begins,
    Ends,
    Grows,
    LogRequest,
    Sight,
    Waits,
    attempts,
    follow,
    show,
)
from farm.model import Built, Failed, Nevra, Outcome, Package
from farm.progress import Event
from farm.progress.journal import Journal, journal_path
from farm.rebuild.attempts import attempt_directory, keep_logs, log_path
from farm.rebuild.claim import Claim, enter
from farm.screens.looking import show_attempts, show_following, show_log
from farm.steps import chroot_of, recipe_of
from farm.store import is_claimed

PROJECT = Path(__file__).parents[2]
X86, ARM = "tiny@debian-13-x86_64", "tiny@debian-13-aarch64"
BOOT = "tiny~bootstrap@debian-13-x86_64"
REQUEST = LogRequest("tiny")


class Place:
    """What `farm build` leaves and does, as far as logs are concerned."""

    def __init__(self, config: Config, ledger: Ledger) -> None:
        self.config, self.ledger = config, ledger
        self.state = config.path("state")

    def begin(self, attempt: str, step: str = X86) -> Path:
        self.ledger.begin(attempt, step, "k")
        directory = attempt_directory(self.state, attempt)
        directory.mkdir(parents=True)
        return directory / "build.log"

    def end(self, attempt: str, outcome: Outcome, step: str = X86, place: str = "") -> None:
        """As the settler does: the log is kept, the end recorded, the directory tidied."""
        log = attempt_directory(self.state, attempt) / "build.log"
        if log.exists():
            self.keep(attempt, log.read_text(), step)
        self.ledger.end(attempt, outcome, place=place)
        log.unlink(missing_ok=True)

    def keep(self, attempt: str, text: str, step: str = X86) -> None:
        kept = log_path(self.state, recipe_of(step), chroot_of(step), attempt)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(gzip.compress(text.encode()))

    def tried(self, attempt: str, outcome: Outcome, step: str = X86, place: str = "") -> None:
        self.begin(attempt, step).write_text(f"log of {attempt}\n")
        self.end(attempt, outcome, step, place)

    def follow(self, *acts: Callable[[], Any], request: LogRequest = REQUEST) -> list[Sight]:
        """Everything that is seen while these acts happen one after the other."""
        left = list(acts)

        def sleep(seconds: float) -> None:
            assert left, "nothing more happens, and it still waits"
            left.pop(0)()

        sights = list(follow(self.config, request, sleep))
        assert not left, "it ended before everything had happened"
        return sights


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    config = Config(root=tmp_path, paths=Paths(chroots=str(PROJECT / "chroots")))
    with coordinator(config.path("state")) as ledger:
        yield Place(config, ledger)


def built(seconds: float = 3.0) -> Built:
    return Built((), Package(Nevra("tiny", 0, "1", "1", "src"), "0" * 64, 1, "tiny"), seconds)


FAILED = Failed("package", "make failed", ("tiny.c:1: error: no",), hint="Mend it.", seconds=2.0)


def text_of(sights: list[Sight]) -> str:
    return "".join(sight.text for sight in sights if isinstance(sight, Grows))


def test_the_newest_log_is_shown_whatever_the_architecture(place: Place) -> None:
    place.tried("a1", built())
    place.tried("a2", FAILED, ARM)
    answer = show(place.config, REQUEST)
    assert (answer.step, answer.attempt, answer.text) == (ARM, "a2", "log of a2\n")
    assert answer.failed == FAILED
    older = show(place.config, replace(REQUEST, archs=("x86_64",)))
    assert (older.attempt, older.failed) == ("a1", None)


@pytest.mark.parametrize("keep", [0, 1, 15, 60, -9])
def test_of_a_damaged_log_what_is_left_is_shown(place: Place, keep: int) -> None:
    words = "".join(f"{n * n} is the square of {n}\n" for n in range(2000))
    place.keep("a1", words)
    place.begin("a1")
    place.end("a1", built())
    path = show(place.config, REQUEST).path
    path.write_bytes(path.read_bytes()[:keep] or b"no archive")
    text = show(place.config, REQUEST).text
    assert text.endswith(f"(the rest of this log is lost: {path} is damaged)\n")
    left = text.partition("\n(")[0]
    assert words.startswith(left)
    assert keep >= 0 or len(left) > len(words) / 2
    assert text_of(place.follow(request=replace(REQUEST, attempt="a1"))) == text


def test_of_a_log_for_which_there_is_no_room_no_part_is_kept(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.begin("a1").write_text("said\n")

    def full(source: object, sink: Any) -> None:
        sink.write(b"sa")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space"):
        keep_logs(place.state, X86, "a1")
    assert list((place.state / "logs").rglob("*.gz*")) == []


def test_an_older_attempt_is_shown_by_its_id(place: Place) -> None:
    place.tried("a1", FAILED)
    place.tried("a2", built())
    answer = show(place.config, replace(REQUEST, attempt="a1"))
    assert (answer.text, answer.failed) == ("log of a1\n", FAILED)


@pytest.mark.parametrize("attempt", ["nothing", "../a1", "b1"])
def test_an_attempt_that_is_none_of_the_package_is_refused(place: Place, attempt: str) -> None:
    place.tried("a1", built())
    place.tried("b1", built(), "other@debian-13-x86_64")
    with pytest.raises(UsageError, match="no ended attempt"):
        show(place.config, replace(REQUEST, attempt=attempt))


def test_whoever_asks_for_a_running_attempt_is_told_how_to_see_it(place: Place) -> None:
    place.tried("a1", built())
    place.begin("a2")
    assert show(place.config, REQUEST).running == (X86,)
    with pytest.raises(UsageError) as caught:
        show(place.config, replace(REQUEST, attempt="a2"))
    assert "--follow" in caught.value.hint


def test_a_package_that_was_never_tried_is_told(place: Place) -> None:
    for ask in (show, attempts):
        with pytest.raises(UsageError, match="never tried"):
            ask(place.config, REQUEST)


def test_attempts_are_listed_with_time_place_verdict_and_seconds(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.tried("a1", built(3.0), BOOT)
    place.tried("a2", Failed("limit", "too much", seconds=2.0, limit="memory"), place="node7")
    place.tried("a3", Failed("infrastructure", "gone", seconds=1.0), ARM)
    place.begin("a4").write_text("said\n")
    enter(attempt_directory(place.state, "a4"), Claim("w", "node9"))
    rows = attempts(place.config, REQUEST)
    assert [(r.attempt, r.arch, r.verdict, r.place, r.log) for r in rows] == [
        ("a4", "x86_64", "running", "node9", True),
        ("a3", "aarch64", "failed (infrastructure)", "", True),
        ("a2", "x86_64", "failed (limit: memory)", "node7", True),
        ("a1", "x86_64", "built", "", True),
    ]
    assert [row.seconds for row in rows[1:]] == [1.0, 2.0, 3.0]
    assert rows[0].ended is None
    show_attempts(rows, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["attempt", "arch", "began", "place", "verdict", "time", "log"]
    assert "bootstrap built" in lines[-1]


def test_what_a_farm_that_was_stopped_left_is_not_said_to_run(tmp_path: Path) -> None:
    config = Config(root=tmp_path, paths=Paths(chroots=str(PROJECT / "chroots")))
    with coordinator(config.path("state")) as ledger:
        place = Place(config, ledger)
        place.tried("a1", built())
        place.begin("a2")
        place.begin("a3", ARM)
        enter(attempt_directory(place.state, "a3"), Claim("w", "node9", number="17"))
    rows = [(row.attempt, row.verdict, row.seconds > 0) for row in attempts(config, REQUEST)]
    assert rows == [("a3", "running", True), ("a2", "unfinished", False), ("a1", "built", True)]
    assert show(config, REQUEST).running == (ARM,)


def test_a_log_is_followed_as_it_grows_until_the_attempt_ends(place: Place) -> None:
    log = place.begin("a1")
    with log.open("w", buffering=1) as said:
        said.write("one\n")
        sights = place.follow(
            lambda: said.write("two\n"),
            lambda: said.write("thr"),
            lambda: said.write("ee\n"),
            lambda: said.write("four\n"),
            lambda: place.end("a1", built()),
        )
    assert sights[0] == Begins(X86, "a1")
    assert [s.text for s in sights if isinstance(s, Grows)][:2] == ["one\n", "two\n"]
    assert text_of(sights) == "one\ntwo\nthree\nfour\n"
    assert sights[-1] == Ends(X86, "built in 3.0 s", built(), fine=True)


def test_an_attempt_of_the_shortest_kind_is_seen_whole(place: Place) -> None:
    """It began and ended between two looks: the log is compressed and its directory tidied."""
    place.begin("a1")
    place.keep("a1", "all of it\n")
    sights = place.follow(lambda: place.ledger.end("a1", FAILED))
    assert text_of(sights) == "all of it\n"
    assert sights[-1] == Ends(X86, "failed (package): make failed", FAILED, fine=False)


def test_characters_that_come_in_parts_are_put_together(place: Place) -> None:
    log, letter = place.begin("a1"), "é".encode()
    with log.open("wb", buffering=0) as said:
        said.write(letter[:1])
        sights = place.follow(
            lambda: said.write(letter[1:]),
            lambda: said.write(b"\xff\n"),
            lambda: place.ledger.end("a1", built()),
        )
    assert text_of(sights) == "é�\n"


def test_a_package_that_is_queued_is_waited_for(place: Place) -> None:
    with Journal(journal_path(place.state)) as journal:
        journal.see(Event(1, "queued", step=X86))
        sights = place.follow(
            lambda: None,
            lambda: journal.see(Event(2, "running", step=X86, phase="start")),
            lambda: place.begin("a1").write_text("said\n"),
            lambda: place.end("a1", built()),
        )
    assert sights == [
        Waits(f"{X86} is queued; its log follows when it begins"),
        Begins(X86, "a1"),
        Grows("said\n"),
        Ends(X86, "built in 3.0 s", built(), fine=True),
    ]


@pytest.mark.parametrize(("state", "fine"), [("kept", True), ("skipped", False), ("failed", False)])
def test_a_queued_package_of_which_no_attempt_comes_ends_the_wait(
    place: Place, state: Any, fine: bool
) -> None:
    with Journal(journal_path(place.state)) as journal:
        journal.see(Event(1, "queued", step=X86))
        end = Event(2, state, step=X86, text="because")
        sights = place.follow(lambda: journal.see(end))
    assert sights[-1] == Ends(X86, f"{state}: because", None, fine=fine)


def test_a_package_that_is_not_queued_is_not_waited_for(place: Place) -> None:
    with Journal(journal_path(place.state)) as journal:
        journal.see(Event(1, "queued", step="other@debian-13-x86_64"))
        with pytest.raises(UsageError, match="no tiny in its queue"):
            place.follow()


def test_nothing_is_waited_for_where_no_farm_is_at_work(tmp_path: Path) -> None:
    config = Config(root=tmp_path, paths=Paths(chroots=str(PROJECT / "chroots")))
    with coordinator(config.path("state")), Journal(journal_path(config.path("state"))) as journal:
        journal.see(Event(1, "queued", step=X86))  # of a farm that was killed
    with pytest.raises(UsageError, match="no farm is building tiny now"):
        list(follow(config, REQUEST, lambda seconds: pytest.fail("it waits")))


def test_what_a_killed_farm_left_is_not_followed_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(farm.logs, "_ORPHANED", 0.0)
    config = Config(root=tmp_path, paths=Paths(chroots=str(PROJECT / "chroots")))
    with coordinator(config.path("state")) as ledger:
        Place(config, ledger).begin("a1").write_text("the last words\n")
    sights = list(follow(config, REQUEST, lambda seconds: None))
    assert text_of(sights) == "the last words\n"
    last = sights[-1]
    assert isinstance(last, Ends)
    assert not last.fine
    assert "no farm is at work" in last.text


def test_of_several_that_run_the_last_is_followed_and_the_others_are_named(place: Place) -> None:
    place.begin("a1", ARM)
    place.begin("a2", X86)
    enter(attempt_directory(place.state, "a2"), Claim("w", "node9"))
    sights = place.follow(lambda: place.end("a2", built()))
    assert sights[0] == Begins(X86, "a2", (ARM,), "node9")
    sights = place.follow(
        lambda: place.end("a1", built(), ARM), request=replace(REQUEST, archs=("aarch64",))
    )
    assert sights[0] == Begins(ARM, "a1", ())


def test_an_attempt_that_has_ended_can_be_followed_to_its_end(place: Place) -> None:
    place.tried("a1", FAILED)
    sights = place.follow(request=replace(REQUEST, attempt="a1"))
    assert text_of(sights) == "log of a1\n"
    assert isinstance(sights[-1], Ends)


def test_a_failure_begins_with_its_telling_lines(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.tried("a1", FAILED)
    show_log(show(place.config, REQUEST), only_path=False)
    out = capsys.readouterr().out
    assert out.splitlines() == [
        f"{X86} failed: make failed",
        "  | tiny.c:1: error: no",
        "  -> Mend it.",
        "",
        "log of a1",
    ]


def test_who_follows_sees_the_log_apart_from_what_is_said_about_it(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.tried("a1", FAILED)
    fine = show_following(place.follow(request=replace(REQUEST, attempt="a1")))
    captured = capsys.readouterr()
    assert not fine
    assert captured.out == "log of a1\n"
    assert captured.err.splitlines() == [
        f"{X86}, attempt a1",
        f"{X86}: failed (package): make failed",
        "  | tiny.c:1: error: no",
        "  -> Mend it.",
    ]


def test_whether_a_lock_is_claimed_can_be_asked_without_touching_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_claimed(path)
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        assert not is_claimed(path)
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert is_claimed(path)
        assert not is_claimed(tmp_path)
    finally:
        os.close(handle)
    assert not is_claimed(path)


def test_asking_never_keeps_a_farm_from_beginning(tmp_path: Path) -> None:
    path, over, asked = tmp_path / "lock", threading.Event(), [0]

    def ask() -> None:
        while not over.is_set():
            is_claimed(path)
            asked[0] += 1

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for _ in range(2000):
            handle = os.open(path, os.O_RDWR | os.O_CREAT)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises where somebody has it
            os.close(handle)
    finally:
        over.set()
        thread.join()
    assert asked[0] > 10


def test_what_a_build_wrote_for_the_terminal_is_shown_and_not_obeyed(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place.begin("a1").write_text("\x1b]0;owned\x07\x9b2J\tend\n")
    place.end("a1", built())
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    show_log(show(place.config, REQUEST), only_path=False)
    assert capsys.readouterr().out == "\u241b]0;owned\u2407\ufffd2J\tend\n"
    monkeypatch.setattr("sys.stdout.isatty", lambda: False)
    show_log(show(place.config, REQUEST), only_path=False)
    assert capsys.readouterr().out == "\x1b]0;owned\x07\x9b2J\tend\n"


def test_a_long_log_is_followed_in_pieces(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(farm.logs, "_PIECE", 1000)
    text = "löng\n" * 2000
    place.begin("a1").write_text(text)
    sights = place.follow(lambda: place.end("a1", built()))
    assert text_of(sights) == text
    assert max(len(sight.text) for sight in sights if isinstance(sight, Grows)) <= 1000

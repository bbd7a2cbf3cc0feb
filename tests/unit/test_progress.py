"""Events as a terminal, a plain log, a JSON stream and a journal tell them."""

from __future__ import annotations

import io
import os
import re
import sys
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from farm.progress import Event, JsonLines, Lines, plain, watcher
from farm.progress.follow import Follower
from farm.progress.journal import Journal, journal_path
from farm.progress.tally import Tally
from farm.progress.terminal import Bars, Picture, rows, summary
from farm.run import run

NOW = 1_000_000.0
_STYLE = re.compile(r"\x1b\[[0-9;]*m")


def queued(step: str, expected: float = 10.0, *needs: str, total: int = 9) -> Event:
    return Event(NOW, "queued", step, expected=expected, needs=needs, total=total)


def running(step: str, phase: str = "%build", ago: float = 5.0, **fields: object) -> Event:
    fields = {"expected": 10.0, "attempt": f"of {step}", **fields}
    return Event(NOW - ago, "running", step, phase=phase, **fields)  # type: ignore[arg-type]


def tally(*events: Event) -> Tally:
    seen = Tally()
    for event in events:
        seen.see(event)
    return seen


def drawn(seen: Tally, width: int = 100, height: int = 40) -> list[str]:
    picture = Picture(lambda: NOW)
    picture.tally = seen
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=True)
    with console.capture() as captured:
        console.print(picture)
    return [_STYLE.sub("", line) for line in captured.get().splitlines()]


def test_a_row_has_package_architecture_phase_and_time_against_expectation() -> None:
    [row] = drawn(tally(running("munge@debian-13-aarch64", expected=20.0)))
    assert row.split()[:4] == [">", "munge", "aarch64", "%build"]
    assert row.endswith("0:05 of 0:20")
    bar = row.split()[4]
    assert 0.2 < bar.count("━") / len(bar) < 0.3


def test_what_takes_longer_than_expected_has_a_full_bar_and_says_how_much() -> None:
    [row] = drawn(tally(running("munge@debian-13-aarch64", ago=75.0)))
    assert row.endswith("1:15, 1:05 over")
    assert "─" not in row and "━" in row


def test_what_nothing_was_expected_of_has_no_bar() -> None:
    [row] = drawn(tally(running("munge@debian-13-aarch64", expected=0.0)))
    assert "━" not in row and "─" not in row
    assert row.endswith(" 0:05")


def test_another_machine_is_named_and_this_one_is_not() -> None:
    there = drawn(
        tally(running("a@r-x86_64", place="node7.cluster.example"), running("b@r-x86_64"))
    )
    assert "node7" in there[0] and "cluster" not in there[0]
    [here] = drawn(tally(running("a@r-x86_64", place=os.uname().nodename)))
    assert os.uname().nodename not in here


def test_a_bootstrap_and_an_urgent_one_are_marked() -> None:
    row, other = drawn(tally(running("egg~bootstrap@r-x86_64", urgent=True), running("b@r-x86_64")))
    assert row.startswith("! egg (bootstrap)")
    assert other.startswith("> b ")


def test_a_retry_that_is_waited_for_has_no_time() -> None:
    seen = tally(running("a@r-x86_64", "start", ago=50.0), running("a@r-x86_64", "retry in 20 s"))
    [row] = drawn(seen)
    assert row.rstrip().endswith("retry in 20 s")
    seen.see(running("a@r-x86_64", "start", ago=2.0, attempt="another"))
    [row] = drawn(seen)
    assert row.endswith("0:02 of 0:10")


def test_time_in_the_queue_of_a_cluster_is_not_time_of_the_attempt() -> None:
    queued = running("a@r-x86_64", "queued: Resources", ago=40.0)
    seen = tally(running("a@r-x86_64", "start", ago=50.0), queued)
    assert drawn(seen)[0].rstrip().endswith("queued: Resources")
    assert seen.left(NOW) == 10.0
    seen.see(running("a@r-x86_64", "root", ago=3.0))
    assert drawn(seen)[0].endswith("0:03 of 0:10")


def test_the_time_of_an_attempt_goes_on_from_phase_to_phase() -> None:
    seen = tally(running("a@r-x86_64", "start", ago=50.0), running("a@r-x86_64", "%check", ago=1.0))
    assert drawn(seen)[0].endswith("0:50, 0:40 over")


@pytest.mark.parametrize("number", [11, 12, 13, 64])
def test_many_attempts_do_not_flood_the_terminal(number: int) -> None:
    seen = tally(*(running(f"p{each}@r-x86_64") for each in range(number)))
    lines = drawn(seen)
    assert len(lines) == min(number, 12)
    if number > 12:
        assert lines[-1].strip() == f"+ {number - 11} more"


def test_a_short_terminal_has_room_for_the_total_above_all() -> None:
    steps = [f"p{each}@r-x86_64" for each in range(30)]
    seen = tally(*(queued(step, total=30) for step in steps), *(running(step) for step in steps))
    for height in (3, 5, 8):
        lines = drawn(seen, height=height)
        assert len(lines) <= height - 1
        assert lines[-1].startswith("0 of 30, 30 running")
        assert "more" in "".join(lines)


@given(
    width=st.integers(20, 200),
    name=st.text("abcdefgh-+~", min_size=1, max_size=70),
    place=st.text("abc.", max_size=40),
    elapsed=st.floats(0, 10**6),
    expected=st.floats(0, 10**6),
    phase=st.sampled_from(["start", "BuildRequires", "%prep", "a phase nobody has thought of"]),
)
def test_no_row_is_wider_than_the_terminal(
    width: int, name: str, place: str, elapsed: float, expected: float, phase: str
) -> None:
    event = running(f"{name}@debian-13-aarch64", phase, elapsed, expected=expected, place=place)
    seen = tally(queued("b@r-x86_64"), event)
    for line in (*rows(seen, NOW, width, 12), summary(seen, NOW, elapsed, width)):
        assert line.cell_len <= width
        assert "\n" not in line.plain


def test_names_share_what_a_narrow_terminal_has_and_columns_stand_below_one_another() -> None:
    seen = tally(running("a-rather-long-name-of-a-package@r-x86_64"), running("b@r-aarch64"))
    for width in (60, 80, 120):
        first, second = drawn(seen, width)
        assert first.index("%build") == second.index("%build")
        assert first.index("0:05") == second.index("0:05")


def test_a_phase_that_takes_many_words_has_the_room_that_there_is() -> None:
    words = "writing the metadata of 344 packages"
    seen = tally(running("base x86_64", words, expected=60.0))
    assert words in drawn(seen, 100)[0] and drawn(seen, 100)[0].endswith("0:05 of 1:00")
    assert "writing the met… 0:05 of 1:00" in drawn(seen, 50)[0]


def test_the_total_counts_by_state_and_tells_failures_first() -> None:
    seen = tally(
        *(queued(f"p{n}@r-x86_64") for n in range(9)),
        Event(NOW, "built", "p0@r-x86_64", done=1, total=9),
        Event(NOW, "kept", "p1@r-x86_64", done=2, total=9),
        Event(NOW, "failed", "p2@r-x86_64", done=3, total=9),
        Event(NOW, "skipped", "p3@r-x86_64", done=4, total=9),
        running("p4@r-x86_64"),
    )
    line = drawn(seen, 120)[-1]
    assert line.startswith("4 of 9, 1 failed, 1 running, about 45 s left")
    for part in ("1 built", "1 kept", "1 skipped", "4 queued"):
        assert part in line
    assert drawn(seen, 40)[-1].startswith("4 of 9, 1 failed")


def test_the_expected_end_is_that_of_the_longest_chain_or_of_all_the_work() -> None:
    chain = tally(
        queued("a", 10.0), queued("b", 20.0, "a"), queued("c", 30.0, "b"), queued("d", 1.0)
    )
    assert chain.left(NOW) == 61.0  # one at a time: all the work
    chain.most = 4
    assert chain.left(NOW) == 60.0
    chain.see(running("a", ago=4.0))
    assert chain.left(NOW) == 56.0
    chain.see(Event(NOW, "built", "a"))
    assert chain.left(NOW) == 50.0


def test_what_is_over_its_time_is_thought_to_end_soon_and_a_loop_is_no_trap() -> None:
    late = tally(queued("a", 10.0), running("a", ago=500.0))
    assert late.left(NOW) == 1.0
    late.see(Event(NOW, "note", total=2))
    assert "left" not in drawn(late, 100)[-1], "nobody knows how long it still takes"
    loop = tally(queued("a", 10.0, "b"), queued("b", 10.0, "a"))
    assert loop.left(NOW) >= 20.0


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(
    ["queued", "start", "%build", "built", "kept", "failed", "skipped", "retry in 5 s"]
)), max_size=40))  # fmt: skip
def test_whatever_is_told_in_whatever_order_can_be_drawn(told: list[tuple[int, str]]) -> None:
    seen = Tally()
    for number, state in told:
        step = f"p{number}@r-x86_64"
        if state == "queued":
            seen.see(queued(step, 3.0, f"p{(number + 1) % 6}@r-x86_64"))
        elif state in ("built", "kept", "failed", "skipped"):
            seen.see(Event(NOW, state, step, done=1, total=6))  # type: ignore[arg-type]
        else:
            seen.see(running(step, state))
    assert len(seen.running) == sum(state == "running" for state in seen.states.values())
    assert seen.left(NOW) >= 0
    drawn(seen)


def test_bars_tell_what_ended_above_and_do_not_tell_what_was_kept() -> None:
    stream = io.StringIO()
    with Bars(stream) as bars:
        bars.console.file = stream
        for event in (
            Event(NOW, "kept", "a@r-x86_64", text="same inputs", done=1, total=3),
            Event(NOW, "failed", "b@r-x86_64", text="[brackets] are no markup", done=2, total=3),
            Event(NOW, "built", "c@r-x86_64", seconds=2.0, done=3, total=3),
        ):
            bars.see(event)
    said = stream.getvalue()
    assert "FAILED   b@r-x86_64: [brackets] are no markup" in said
    assert "built    c@r-x86_64 in 2.0 s" in said
    assert "same inputs" not in said


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (running("a", "start", place="node1"), "start    a on node1"),
        (running("a", "start"), "start    a"),
        (running("a", "%build"), ""),
        (running("a", "goes on", text="begun before farm was stopped"),
         "goes on  a: begun before farm was stopped"),
        (running("a", "retry in 5 s"), ""),
        (Event(NOW, "kept", "a", text="same inputs", seconds=4.0), "kept     a: same inputs"),
        (Event(NOW, "failed", "a", text="no", seconds=4.0), "FAILED   a in 4.0 s: no"),
        (Event(NOW, "skipped", "a", text="b, which it needs, failed"),
         "skipped  a: b, which it needs, failed"),
        (Event(NOW, "warning", "a", text="a: the node died; tried again in 5 s"),
         "warning: a: the node died; tried again in 5 s"),
        (Event(NOW, "begun", text="build"), ""),
        (Event(NOW, "ended", text="build", kind="interrupted"), ""),
        (queued("a"), ""),
    ],
)  # fmt: skip
def test_plain_lines_tell_what_is_worth_a_line(event: Event, line: str) -> None:
    assert plain(event) == line
    stream = io.StringIO()
    Lines(stream).see(event)
    assert stream.getvalue() == (f"{line}\n" if line else "")


def test_json_has_every_event_with_what_it_says() -> None:
    stream = io.StringIO()
    event = queued("a", 4.0, "b")
    JsonLines(stream).see(event)
    assert msgspec.json.decode(stream.getvalue(), type=Event) == event


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_only_a_terminal_that_can_move_its_cursor_gets_bars(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(watcher("auto", _Terminal()), Bars)
    assert isinstance(watcher("auto", io.StringIO()), Lines)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(watcher("auto", _Terminal()), Lines)


def test_who_draws_no_bars_does_not_pay_for_them() -> None:
    modules = "farm.progress.follow, farm.audience, farm.turns"
    asked = f"import sys, {modules}; print('rich' in sys.modules)"
    assert run([sys.executable, "-c", asked], cwd=Path(__file__).parents[2]).stdout == "False\n"


def test_a_journal_is_followed_as_it_grows_and_half_a_line_is_waited_for(tmp_path: Path) -> None:
    path = journal_path(tmp_path)
    follower = Follower(path)
    assert follower.read() == ()
    with Journal(path) as journal:
        journal.see(queued("a"))
        assert follower.read() == (queued("a"),)
        assert follower.read() == ()
        whole = msgspec.json.encode(queued("b"))
        with path.open("ab") as file:
            file.write(whole[:20])
            file.flush()
            assert follower.read() == ()
            file.write(whole[20:] + b"\n")
    assert follower.read() == (queued("b"),)


def test_when_a_new_run_begins_the_rest_of_the_old_one_is_read_first(tmp_path: Path) -> None:
    path = journal_path(tmp_path)
    follower = Follower(path)
    with Journal(path) as first:
        first.see(queued("a"))
        follower.read()
        first.see(queued("b"))
    with path.open("ab") as killed:
        killed.write(b'{"at":1,"state":"bui')
    for name in "cd":
        with Journal(path) as journal:
            journal.see(queued(name))
    assert [event.step for event in follower.read()] == ["b", "d"], "c came and went unseen"


def test_lines_of_another_farm_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(
        b'{"at":1,"state":"sings"}\n\xff\xfe\n' + msgspec.json.encode(queued("a")) + b"\n"
    )
    assert Follower(path).read() == (queued("a"),)


@given(st.binary(max_size=60), st.lists(st.integers(1, 40), max_size=20))
def test_however_a_journal_is_cut_into_pieces_the_same_is_read(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, cuts: list[int]
) -> None:
    path = tmp_path_factory.mktemp("journal") / "events.jsonl"
    events = [queued("a"), running("a"), Event(NOW, "built", "ä")]
    whole = b"".join(msgspec.json.encode(event) + b"\n" for event in events)
    whole += noise.replace(b"{", b"") + b"\n" + msgspec.json.encode(queued("end")) + b"\n"
    follower, read, at = Follower(path), list[Event](), 0
    path.touch()
    for cut in (*cuts, len(whole)):
        with path.open("ab") as file:
            file.write(whole[at : at + cut])
        at += cut
        read += follower.read()
    follower.close()
    assert read == [*events, queued("end")]


def test_a_journal_is_written_at_once(tmp_path: Path) -> None:
    with Journal(tmp_path / "events.jsonl") as journal:
        began = time.monotonic()
        for number in range(1000):
            journal.see(queued(f"p{number}"))
        assert time.monotonic() - began < 1.0
        assert len(Follower(tmp_path / "events.jsonl").read()) == 1000

"""Whoever watches a run hears all of it, and can do it no harm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from farm import audience as room
from farm.audience import audience
from farm.config import Config, Paths
from farm.errors import MachineError
from farm.ledger import coordinator
from farm.progress import Event, Quiet, Watcher, emitter
from farm.progress.follow import Follower
from farm.progress.journal import journal_path

Plug = Callable[..., None]


class Heard(Quiet):
    def __init__(self) -> None:
        self.events: list[Event] = []

    def see(self, event: Event) -> None:
        self.events.append(event)

    def __exit__(self, *exc: object) -> None:
        self.events.append(Event(0.0, "note", text="closed"))

    @property
    def states(self) -> list[str]:
        return [event.state for event in self.events if event.text != "closed"]


class Fails(Heard):
    """Fails at a certain state, or as it begins."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self._at = at
        if at == "made":
            raise MachineError("it cannot be made")

    def __enter__(self) -> Fails:
        if self._at == "entered":
            raise OSError("the disk is full")
        return self

    def see(self, event: Event) -> None:
        super().see(event)
        if event.state == self._at:
            raise ValueError("a mistake of its own")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(root=tmp_path, paths=Paths(state="state"))


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Plug:
    def put(**watchers: Callable[[], Watcher]) -> None:
        def plugged_in(*_: object) -> Iterator[tuple[str, Callable[[], Watcher]]]:
            yield from watchers.items()

        monkeypatch.setattr(room, "_plugged_in", plugged_in)

    return put


def hold(config: Config, heard: Watcher, work: Callable[..., None]) -> None:
    state = config.path("state")
    with (
        coordinator(state) as ledger,
        audience(config, ledger, emitter(heard), verb="build", release="r") as tell,
    ):
        work(tell)


def some_work(tell: Callable[..., None]) -> None:
    tell("queued", "a@r", expected=3.0)
    tell("built", "a@r", seconds=2.0)


def test_a_run_begins_and_ends_for_all_who_watch_it(config: Config) -> None:
    heard = Heard()
    hold(config, heard, some_work)
    assert heard.states == ["begun", "queued", "built", "ended"]
    begun, *_, ended = (event for event in heard.events if event.text != "closed")
    assert (begun.text, begun.release) == ("build", "r")
    assert (ended.text, ended.kind) == ("build", "") and ended.seconds > 0
    kept = Follower(journal_path(config.path("state"))).read()
    assert [event.state for event in kept] == heard.states
    assert [event.at for event in kept] == [e.at for e in heard.events if e.text != "closed"]


@pytest.mark.parametrize(
    ("raised", "kind"), [(KeyboardInterrupt(), "interrupted"), (MachineError("no"), "error")]
)
def test_how_a_run_ended_is_told_even_when_it_did_not_come_to_its_end(
    config: Config, plug: Plug, raised: BaseException, kind: str
) -> None:
    def breaks(tell: Callable[..., None]) -> None:
        raise raised

    plugged = Heard()
    plug(it=lambda: plugged)
    with pytest.raises(type(raised)):
        hold(config, Heard(), breaks)
    assert plugged.states == ["begun", "ended"]
    assert plugged.events[1].kind == kind
    assert plugged.events[-1].text == "closed"


@pytest.mark.parametrize(
    ("at", "why"),
    [
        ("made", "it cannot be made"),
        ("entered", "the disk is full"),
        ("begun", "a mistake of its own"),
        ("built", "a mistake of its own"),
        ("ended", "a mistake of its own"),
    ],
)
def test_a_watcher_that_fails_is_told_once_and_left_out_and_the_others_go_on(
    config: Config, plug: Plug, at: str, why: str
) -> None:
    heard, other = Heard(), Heard()
    plug(bad=lambda: Fails(at), good=lambda: other)
    hold(config, heard, some_work)
    warnings = [event.text for event in heard.events if event.state == "warning"]
    assert warnings == [f"bad: left out of the rest of this run: {why}"]
    assert other.states == ["begun", "queued", "built", "ended"]


def test_a_journal_that_cannot_be_written_fails_no_run(config: Config) -> None:
    (config.path("state")).mkdir()
    (config.path("state") / "run").write_text("in the way")
    heard = Heard()
    hold(config, heard, some_work)
    assert "built" in heard.states
    (warning,) = (event.text for event in heard.events if event.state == "warning")
    assert warning.startswith("the journal of this run: left out of the rest of this run: ")
    assert "Errno" not in warning
    assert str(config.path("state") / "run") in warning


def test_who_called_and_cannot_hear_any_more_keeps_nobody_from_hearing_the_end(
    config: Config, plug: Plug
) -> None:
    class Deaf(Heard):
        def see(self, event: Event) -> None:
            if event.state in ("built", "ended"):
                raise BrokenPipeError

    plugged = Heard()
    plug(it=lambda: plugged)
    with pytest.raises(BrokenPipeError):
        hold(config, Deaf(), some_work)
    assert plugged.states == ["begun", "queued", "built", "ended"]

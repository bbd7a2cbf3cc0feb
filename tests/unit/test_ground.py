"""Pages are left alone where nothing that they follow from has changed, and only there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from farm.inputs import layer_of
from farm.ledger import coordinator
from farm.model import to_json
from farm.progress import Event
from farm.showing import Showing, _Writer
from farm.showing.gathering import Gatherer
from farm.site.status.now import Now, Run
from tests.farms import ARCHS, RELEASE, Farm, attempt_id

X86, ARM = (f"{RELEASE}-{arch}" for arch in ARCHS)


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    made = Farm(tmp_path, 4)
    made.fill()
    return made


@pytest.fixture
def gathered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An entry each time that the facts of all pages are gathered."""
    found: list[str] = []
    facts = Gatherer.facts

    def counted(self: Gatherer, *arguments: object) -> object:
        found.append("")
        return facts(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Gatherer, "facts", counted)
    return found


def kept(farm: Farm, *, state: str = "kept", kind: str = "") -> None:
    """A run as of `farm build --all`."""
    layer_of(farm.config, RELEASE)
    with Showing(farm.config) as showing:
        showing.see(Event(at=1e12, state="begun", text="build", release=RELEASE))
        for chroot in (X86, ARM):
            for name in farm.names:
                step = f"{name}@{chroot}"
                showing.see(Event(at=1e12, state="queued", step=step))
                last = state if (name, chroot) == (farm.names[0], X86) else "kept"
                showing.see(Event(at=1e12, state=last, step=step, text=last))  # type: ignore[arg-type]
        showing.see(Event(at=1e12, state="ended", text="build", release=RELEASE, kind=kind))


def test_a_run_that_brings_no_news_gathers_nothing_and_says_that_it_was_there(
    farm: Farm, gathered: list[str]
) -> None:
    kept(farm)
    there = {p: p.stat().st_mtime_ns for p in farm.publication.rglob("*.html")}
    assert len(gathered) == 1
    kept(farm)
    kept(farm)
    assert len(gathered) == 1
    assert {p: p.stat().st_mtime_ns for p in farm.publication.rglob("*.html")} == there
    now = msgspec.json.decode((farm.publication / "status/now.json").read_bytes(), type=Now)
    assert (now.outcome, now.counts[X86].kept) == ("done", 4)


def _tried(farm: Farm) -> None:
    step, attempt = f"{farm.names[1]}@{ARM}", attempt_id(900)
    with coordinator(farm.state) as ledger:
        ledger.begin(attempt, step, "key")
        ledger.close([attempt], "farm was stopped")


def _stands_no_more(farm: Farm) -> None:
    with coordinator(farm.state) as ledger:
        ledger._db.execute("delete from standings where step = ?", (f"{farm.names[1]}@{ARM}",))


def _verified(farm: Farm) -> None:
    path = farm.state / "verified" / farm.names[1] / f"{ARM}.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(to_json({}))


def _recipe_gone(farm: Farm) -> None:
    shutil.rmtree(farm.config.path("specs") / farm.names[2])


def _page_gone(farm: Farm) -> None:
    (farm.publication / f"status/packages/{farm.names[0]}.html").unlink()


def _first_page_gone(farm: Farm) -> None:
    (farm.publication / "index.html").unlink()


def _memory_gone(farm: Farm) -> None:
    (farm.state / "status.json").unlink()


@pytest.mark.parametrize(
    "happens",
    [
        _tried,
        _stands_no_more,
        _verified,
        _recipe_gone,
        _page_gone,
        _first_page_gone,
        _memory_gone,
    ],
)
def test_whatever_pages_follow_from_is_missed_or_found(
    farm: Farm, gathered: list[str], happens: Callable[[Farm], None]
) -> None:
    kept(farm)
    kept(farm)
    assert len(gathered) == 1
    happens(farm)
    kept(farm)
    assert len(gathered) == 2
    kept(farm)
    assert len(gathered) == 2


@pytest.mark.parametrize(("state", "kind"), [("failed", ""), ("skipped", ""), ("kept", "error")])
def test_a_run_that_is_not_all_kept_is_news(
    farm: Farm, gathered: list[str], state: str, kind: str
) -> None:
    kept(farm)
    kept(farm, state=state, kind=kind)
    assert len(gathered) == 2


def test_pages_of_a_run_that_was_killed_are_made_again(farm: Farm) -> None:
    kept(farm)
    page = farm.publication / f"status/packages/{farm.names[0]}.html"
    before = page.read_bytes()
    run = Run()
    step = f"{farm.names[0]}@{X86}"
    run.hear(Event(at=2e12, state="queued", step=step))
    with coordinator(farm.state) as ledger:
        _Writer(farm.config).pages(ledger, run, frozenset({step}), whole=False)
    assert page.read_bytes() != before
    kept(farm)
    assert page.read_bytes() == before

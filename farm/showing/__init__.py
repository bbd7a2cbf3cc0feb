"""The status pages kept up to date while farm builds and publishes.

A thread of its own writes: `status/now.json` at most once a second, pages when there is news and
never for more than a small part of the time. Whatever goes wrong with it is said once and is no
concern of the run's.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from farm.config import Config
from farm.ledger import Ledger, reader
from farm.model import digest_of
from farm.progress import Emit, Event, Quiet
from farm.showing.ground import ground
from farm.showing.logs import Logs
from farm.showing.memory import Memory
from farm.site.status.files import Folder, put
from farm.site.status.now import Now, Run, encoded
from farm.site.status.pages import HOME, Site, package_path
from farm.steps import recipe_of

if TYPE_CHECKING:
    from farm.showing.gathering import Gatherer
    from farm.site.status.facts import Facts

__all__ = ["Showing", "show"]

_TICK = 1.0  # seconds between two looks
_EVERY = 5.0  # seconds within which now.json is written again while a run goes on
_PAUSE = 2.0  # seconds between two times that pages are written, at least
_PATIENCE = 5.0  # seconds for a run to find that there is nothing to do
_SHARE = 40  # and this many times what writing them took
_LONGEST = 30.0  # but no more than this
_HELPING = 0.25  # seconds for pages of packages, of which many may be new, at a time


class Showing(Quiet):
    """Watches a run and keeps the pages up to date."""

    def __init__(self, config: Config) -> None:
        self._run = Run()
        self._news: set[str] = set()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._broken: Exception | None = None
        self._writer = _Writer(config)
        self._state = config.path("state")
        self._thread = threading.Thread(target=self._work, name="status pages", daemon=True)

    def __enter__(self) -> Showing:
        self._thread.start()
        return self

    def see(self, event: Event) -> None:
        """Raises what went wrong since, once."""
        with self._lock:
            self._run.hear(event)
            if event.step:
                self._news.add(event.step)
        self._tell()

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()
        self._tell()

    def _tell(self) -> None:
        broken, self._broken = self._broken, None
        if broken is not None:
            raise broken

    def _work(self) -> None:
        try:
            with contextlib.ExitStack() as stack:
                self._follow(stack)
        except Exception as error:
            self._broken = error

    def _follow(self, stack: contextlib.ExitStack) -> None:
        writer, ledger = self._writer, None
        began = time.monotonic()
        pages_at, any_at = began + _PAUSE, began + _PATIENCE  # when pages may be written (again)
        waiting: set[str] = set()
        writer.begin()
        while True:
            over = self._over.wait(_TICK)
            with self._lock:
                heard, run = bool(self._news) or over, self._run
                waiting |= self._news
                self._news.clear()
                if over and not run.ended:  # nobody said so: the run was cut short
                    run.hear(Event(at=time.time(), state="ended", kind="interrupted"))
                began = time.monotonic()
                news = bool(waiting or writer.behind) and began >= pages_at
                due = over or (news and (began >= any_at or not run.looking))
                copied = run.copied() if due else run
            if due and not writer.told:  # pages may take a while
                with self._lock:
                    writer.now(run, heard=True)
            if due:
                ledger = ledger or stack.enter_context(reader(self._state))
                if ledger is not None and not (over and writer.no_news(ledger, copied)):
                    writer.pages(ledger, copied, frozenset(waiting), whole=over)
                waiting.clear()
                took = time.monotonic() - began
                pages_at = time.monotonic() + min(max(_PAUSE, took * _SHARE), _LONGEST)
            with self._lock:
                writer.now(run, heard=heard or due)
            if over:
                return


def show(config: Config, ledger: Ledger, emit: Emit) -> None:
    """Write every page as things are, without a run: after something was removed, say. What goes
    wrong is told as a warning."""
    if not config.site.status or not (config.path("publication") / HOME).exists():
        return
    try:
        run = Run()
        run.ended = time.time()
        writer = _Writer(config)
        writer.pages(ledger, run, frozenset(), whole=True)
        writer.revise()
    except Exception as error:
        emit("warning", text=f"the status pages could not be written: {error}")


class _Writer:
    """Brings facts onto the disk."""

    def __init__(self, config: Config) -> None:
        publication, state = config.path("publication"), config.path("state")
        self._folder = Folder(publication)
        self._site = Site(logs=config.site.logs)
        self._all_logs = Logs(publication, state)
        self._logs = self._all_logs if config.site.logs else None
        self._memory = Memory(state / "status.json")
        self._config = config
        self._begun = False  # whether pages were written for this run
        self.behind = False  # whether pages are left that would say something else
        self._told_at = 0.0
        self._now = publication / HOME / "now.json"
        self._before = self._read_now()
        self._revision = self._before.revision if self._before is not None else ""

    @cached_property
    def _gatherer(self) -> Gatherer:
        from farm.showing.gathering import Gatherer  # noqa: PLC0415 - most runs have no news

        return Gatherer(self._config, self._memory, self._logs)

    def begin(self) -> None:
        """Put right what an earlier run left, and have what no run changes."""
        self._folder.remove_drafts()
        self._assets()
        self._all_logs.clear_growing()
        if self._logs is None:
            self._all_logs.remove()

    def _assets(self) -> None:
        for path, content in self._site.assets():
            self._folder.write(path, content)

    @property
    def told(self) -> bool:
        """Whether now.json is of this run."""
        return self._told_at > 0

    def now(self, run: Run, *, heard: bool) -> None:
        """now.json and the logs that grow."""
        at = time.time()
        running = [(name, run.steps[name].job.attempt) for name in run.running]
        logs = self._logs.follow(running) if self._logs is not None else frozenset()
        if heard or at - self._told_at >= _EVERY:
            put(self._now, encoded(run.now(at, self._revision, every=_EVERY, logs=logs)))
            self._told_at = at

    def pages(self, ledger: Ledger, run: Run, news: frozenset[str], *, whole: bool) -> None:
        """Every page that would say something else than it does; `whole`: those of packages that
        are gone vanish."""
        if not (whole or self._begun):
            self._memory.doubt()
        self._begun = True
        self._assets()
        self._gatherer.learn(run)
        facts = self._gatherer.facts(ledger, run, news)
        until = float("inf") if whole else time.monotonic() + _HELPING
        self.behind = self._packages(facts, frozenset(map(recipe_of, news)), until)
        every = [self._site.graph(facts, release) for release in facts.alive]
        every += self._site.overview(facts)  # last: it leads to all others
        for path, content in every:
            self._write(path, content)
        if whole:
            pages = (package_path(package.name) for package in facts.packages)
            self._folder.keep_only(f"{HOME}/packages", pages)
            self._folder.keep_only(HOME, (path for path, _ in every))
            self._folder.drop_old_assets(path for path, _ in self._site.assets())
            self._memory.ground = ground(self._config, ledger, self._site.stamp)
            self._gatherer.save()

    def no_news(self, ledger: Ledger, run: Run) -> bool:
        """Whether all pages would say at the end of this run what they say already."""
        known = self._memory.ground
        return bool(
            not self._begun
            and known
            and run.outcome == "done"
            and self._memory.knows(run)
            and ground(self._config, ledger, self._site.stamp) == known
        )

    def _write(self, path: str, content: bytes) -> None:
        if self._folder.write(path, content):
            self._revision = hashlib.sha256(self._revision.encode() + content).hexdigest()[:12]

    def _packages(self, facts: Facts, first: frozenset[str], until: float) -> bool:
        """Pages of those packages of which, or of whose relations, something is new: those named
        first. Whether the time was too short for all."""
        states = {p.name: tuple((r.release, r.state) for r in p.releases) for p in facts.packages}
        releases = tuple((r.name, r.title, r.chroots, bool(r.snapshots)) for r in facts.releases)
        stamps, there = self._memory.pages, self._folder.names(f"{HOME}/packages")
        for package in sorted(facts.packages, key=lambda each: each.name not in first):
            related = {name for each in package.releases for name in each.related}
            theirs = tuple((name, states.get(name)) for name in sorted(related))
            stamp = digest_of((self._site.stamp, package, releases, theirs))[:16]
            path = package_path(package.name)
            if stamps.get(package.name) == stamp and path in there:
                continue
            if time.monotonic() > until:
                return True
            self._write(*self._site.package(facts, package))
            stamps[package.name] = stamp
        return False

    def revise(self) -> None:
        """Let now.json tell of new pages, and of nothing else."""
        if self._before is not None and self._before.revision != self._revision:
            told = msgspec.structs.replace(self._before, revision=self._revision)
            put(self._now, encoded(told))

    def _read_now(self) -> Now | None:
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            return msgspec.json.decode(self._now.read_bytes(), type=Now)
        return None

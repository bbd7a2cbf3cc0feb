"""What a monitoring system asks for, in Prometheus' text format 0.0.4.

Counters are sums over the ledger, so that they grow across runs; gauges say how the run that goes
on (or the last one) stands, and what is published. Ages are not told: time stamps are, and
`time() - …` is the age whenever it is asked for.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from farm.accounts import Tally
from farm.config import Config
from farm.errors import FarmError
from farm.inputs import layer_as_read, layer_of
from farm.ledger import Ledger
from farm.model import Snapshot
from farm.progress import Event
from farm.progress.events import Quiet
from farm.publish.tree import Publication
from farm.steps import chroot_of, recipe_of
from farm.store import write_atomic

BUCKETS = (10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400)  # seconds
_LEAST = 2.0  # seconds from one writing to the next
_OF_A_RUN = ("queued", "running", "built", "kept", "failed", "skipped")

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Family:
    """One metric with all its samples. Of a histogram a sample's name has a suffix of its own."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    samples: tuple[tuple[str, Labels, float], ...]  # suffix, labels, value


def render(families: Iterable[Family]) -> str:
    """The families as text; those without samples are left out."""
    lines = []
    for family in families:
        if not family.samples:
            continue
        told = family.help.replace("\\", r"\\").replace("\n", r"\n")
        lines += [f"# HELP {family.name} {told}", f"# TYPE {family.name} {family.kind}"]
        for suffix, labels, value in family.samples:
            inside = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels)
            braces = f"{{{inside}}}" if inside else ""
            lines.append(f"{family.name}{suffix}{braces} {_number(value)}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(round(value, 3))


def metrics_path(config: Config) -> Path:
    """Where the text lies: below the publication root, where any web server serves it; in the
    state directory where the status pages are switched off."""
    if config.site.status:
        return config.path("publication") / "status" / "metrics.txt"
    return config.path("state") / "metrics.txt"


def of_ledger(tallies: Sequence[Tally]) -> tuple[Family, ...]:
    """What all attempts there ever were add up to."""
    built = [tally for tally in tallies if tally.verdict == "built"]
    return (
        Family(
            "farm_attempts_total", "counter",
            "Attempts that have ended, by verdict; failed ones by class and limit.",
            tuple(
                ("", (*_where(t.chroot), ("verdict", t.verdict), ("class", t.kind),
                      ("limit", t.cap)), t.count)
                for t in tallies
            ),
        ),
        Family(
            "farm_attempt_seconds_total", "counter", "Seconds that attempts took, by verdict.",
            _summed((t.chroot, (("verdict", t.verdict),), t.seconds) for t in tallies),
        ),
        Family(
            "farm_cpu_seconds_total", "counter",
            "Seconds of processor time that attempts used, where it was measured.",
            _summed((t.chroot, (), t.cpu) for t in tallies),
        ),
        Family(
            "farm_build_seconds", "histogram", "How long successful attempts took.",
            tuple(sample for tally in built for sample in _histogram(tally)),
        ),
        Family(
            "farm_last_success_timestamp_seconds", "gauge",
            "When the newest successful attempt ended.",
            tuple(("", _where(t.chroot), t.last) for t in built),
        ),
    )  # fmt: skip


def _histogram(tally: Tally) -> Iterator[tuple[str, Labels, float]]:
    where = _where(tally.chroot)
    for bound, count in zip(BUCKETS, tally.within, strict=True):
        yield "_bucket", (*where, ("le", str(bound))), count
    yield "_bucket", (*where, ("le", "+Inf")), tally.count
    yield "_sum", where, tally.seconds
    yield "_count", where, tally.count


def _summed(
    rows: Iterable[tuple[str, Labels, float]],
) -> tuple[tuple[str, Labels, float], ...]:
    sums: dict[Labels, float] = {}
    for chroot, labels, value in rows:
        key = (*_where(chroot), *labels)
        sums[key] = sums.get(key, 0.0) + value
    return tuple(("", labels, value) for labels, value in sums.items())


def of_layer(standing: Iterable[str], failing: Iterable[str]) -> tuple[Family, ...]:
    """How many packages stand, and which failed last; both are given as steps."""
    stands = Counter(chroot_of(step) for step in standing)
    failed = sorted(failing)
    counted = Counter(chroot_of(step) for step in failed)
    chroots = sorted(stands.keys() | counted.keys())
    return (
        Family(
            "farm_packages_standing", "gauge", "Source packages whose result counts.",
            tuple(("", _where(chroot), stands[chroot]) for chroot in chroots),
        ),
        Family(
            "farm_packages_failing", "gauge", "Source packages whose last attempt failed.",
            tuple(("", _where(chroot), counted[chroot]) for chroot in chroots),
        ),
        Family(
            "farm_package_failing", "gauge", "1 for each source package whose last attempt failed.",
            tuple(
                ("", (*_where(chroot_of(step)), ("package", step.partition("@")[0])), 1)
                for step in failed
            ),
        ),
    )  # fmt: skip


@dataclass
class Run:
    """What the events of a run say of it."""

    verb: str = ""
    release: str = ""
    begun: float = 0.0
    ended: float = 0.0
    steps: dict[str, str] = field(default_factory=dict)  # step -> its state

    def see(self, event: Event) -> None:
        if event.state == "begun":
            self.verb, self.release, self.begun = event.text, event.release, event.at
        elif event.state == "ended":
            self.ended = event.at
            # what was queued or running when it was stopped is neither any more
            self.steps = {s: o for s, o in self.steps.items() if o not in ("queued", "running")}
        elif event.step and event.state in _OF_A_RUN:
            self.steps[event.step] = event.state

    def families(self, chroots: Sequence[str]) -> tuple[Family, ...]:
        """`chroots` are told of even when nothing happens there."""
        counted = Counter((chroot_of(step), state) for step, state in self.steps.items())
        there = dict.fromkeys((*chroots, *sorted({chroot_of(step) for step in self.steps})))
        run: Labels = (("verb", self.verb), ("release", self.release))
        return (
            Family(
                "farm_run_active", "gauge",
                "1 while a run is under way, and after one that was killed.",
                (("", run, 0 if self.ended else 1),),
            ),
            Family(
                "farm_run_started_timestamp_seconds", "gauge", "When the last run began.",
                (("", run, self.begun),),
            ),
            Family(
                "farm_run_ended_timestamp_seconds", "gauge", "When the last run ended.",
                (("", run, self.ended),) if self.ended else (),
            ),
            Family(
                "farm_steps", "gauge", "Steps of the run that goes on, or of the last one.",
                tuple(
                    ("", (*_where(chroot), ("state", state)), counted[chroot, state])
                    for chroot in there
                    for state in _OF_A_RUN
                ),
            ),
        )  # fmt: skip


def of_snapshots(current: Mapping[str, Snapshot]) -> tuple[Family, ...]:
    """What releases point at."""
    return (
        Family(
            "farm_snapshot_created_timestamp_seconds", "gauge",
            "When the snapshot was made that the release is at.",
            tuple(("", (("release", name),), s.created) for name, s in current.items()),
        ),
        Family(
            "farm_snapshot_packages", "gauge", "Packages in the snapshot that the release is at.",
            tuple(("", (("release", name),), len(s.packages)) for name, s in current.items()),
        ),
        Family(
            "farm_snapshot_info", "gauge", "1; the labels say which snapshot the release is at.",
            tuple(
                ("", (("release", name), ("snapshot", s.id), ("commit", s.commit)), 1)
                for name, s in current.items()
            ),
        ),
    )  # fmt: skip


def _of_machine(config: Config) -> tuple[Family, ...]:
    state = os.statvfs(config.path("state"))
    return (
        Family(
            "farm_state_free_bytes", "gauge", "Bytes that are free in the state directory.",
            (("", (), state.f_bavail * state.f_frsize),),
        ),
        Family(
            "farm_updated_timestamp_seconds", "gauge", "When these figures were written.",
            (("", (), time.time()),),
        ),
    )  # fmt: skip


def _where(chroot: str) -> Labels:
    release, _, arch = chroot.rpartition("-")
    return ("release", release), ("arch", arch)


class Metrics(Quiet):
    """Keeps the text up to date, at most once in a while, and always at the end of a run."""

    def __init__(self, config: Config, ledger: Ledger) -> None:
        self._config, self._ledger = config, ledger
        self._path = metrics_path(config)
        self._run = Run()
        self._recorded: tuple[Family, ...] = ()
        self._published: tuple[Family, ...] = ()
        self._lock = threading.RLock()
        self._timer: threading.Timer | None = None
        self._written = 0.0
        self._stale, self._asked = False, 0.0  # what was recorded: out of date, when it was asked

    def __enter__(self) -> Metrics:
        self._ask_ledger()
        self._ask_publication()
        return self

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._write()

    def see(self, event: Event) -> None:
        with self._lock:
            self._run.see(event)
            self._stale = self._stale or event.state in ("built", "failed")
            due = self._stale and time.monotonic() >= self._asked + _LEAST
            if due or event.state == "ended":
                self._ask_ledger()
            if event.state == "published":
                self._ask_publication()
            if event.state in ("begun", "ended", "published"):
                self._write()
            elif event.step and self._timer is None:
                wait = max(0.0, self._written + _LEAST - time.monotonic())
                self._timer = threading.Timer(wait, self._due)
                self._timer.daemon = True
                self._timer.start()

    def _due(self) -> None:
        with self._lock:
            self._timer = None
            try:
                self._write()
            except OSError:
                return  # on a full disk the next event, or the end, meets with it again

    def _ask_ledger(self) -> None:
        """Only from the thread that the ledger belongs to, and now and then: all attempts that
        there ever were are counted."""
        self._stale, self._asked = False, time.monotonic()
        self._recorded = (
            *of_ledger(self._ledger.tallies(BUCKETS)),
            *of_layer(self._ledger.standing_steps(), self._failing()),
        )

    def _failing(self) -> Iterable[str]:
        """Steps of packages of the layer, those that the list of groups makes and those with a
        broken recipe included; of any package while the layer cannot be read."""
        failing = self._ledger.failing()
        if not failing:
            return ()
        try:
            layer = layer_as_read(self._config) or layer_of(
                self._config, self._config.default_release
            )
        except FarmError:
            return failing
        known = {recipe.name for recipe in layer.recipes} | {p.subject for p in layer.problems}
        return (step for step in failing if recipe_of(step) in known)

    def _chroots(self) -> tuple[str, ...]:
        name = self._run.release
        release = self._config.releases.get(name)
        return tuple(f"{name}-{arch}" for arch in release.architectures) if release else ()

    def _ask_publication(self) -> None:
        current, tree = {}, Publication(self._config.path("publication"))
        for name in self._config.releases:
            try:
                snapshot = tree.current(name)
            except FarmError:
                continue  # a damaged one is the business of whoever publishes
            if snapshot is not None:
                current[name] = snapshot
        self._published = of_snapshots(current)

    def _write(self) -> None:
        self._written = time.monotonic()
        families = (
            *self._run.families(self._chroots()),
            *self._recorded,
            *self._published,
            *_of_machine(self._config),
        )
        write_atomic(self._path, render(families))

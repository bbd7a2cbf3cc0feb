"""Ledger, layer, published tree and the run that goes on → what the status pages tell."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from farm.config import Config
from farm.errors import FarmError
from farm.layer.repository import read_layer
from farm.ledger import Ledger
from farm.model import Layer
from farm.showing.logs import Logs
from farm.showing.memory import Memory
from farm.showing.needs import Relations, build_requires, of_lock
from farm.showing.published import OnShow, Showcase
from farm.showing.steps import OfStep, Steps
from farm.site.repofile import paste_lines
from farm.site.status.facts import (
    Facts,
    OfRelease,
    PackagePage,
    ReleaseFacts,
    Spot,
    State,
    Try,
)
from farm.site.status.now import Run
from farm.steps import chroot_of, recipe_of
from farm.store import Store

_ONLY_TRIED = "what was built of it was scratch, which does not count"
_READ_AGAIN = 60.0  # seconds after which the layer may have become another one
_LONGEST = 200  # bytes of a name: a file is called so, and a little more


@dataclass
class Gatherer:
    """Puts the facts together; steps without news are not asked about again."""

    config: Config
    memory: Memory
    logs: Logs | None  # None: they are not shown
    _layer: Layer | None = None
    _read_at: float = 0.0  # monotonic

    def __post_init__(self) -> None:
        state = self.config.path("state")
        self.store = Store(state / "store")
        self._steps = Steps(state, self.memory, self.logs)
        self._showcase = Showcase(self.config.path("publication"))

    def read_layer(self) -> None:
        """The layer as it is now; one that cannot be read is no layer."""
        self._read_at = time.monotonic()
        try:
            self._layer = read_layer(self.config)
        except FarmError:
            self._layer = None

    def learn(self, run: Run) -> None:
        """Remember what a run has told."""
        self.memory.learn(run)

    def facts(self, ledger: Ledger, run: Run, news: Iterable[str]) -> Facts:
        """Everything, after `news` of these steps."""
        self._steps.forget(news)
        self._steps.read(ledger)
        if self._layer is None or time.monotonic() - self._read_at > _READ_AGAIN:
            self.read_layer()
        tried = ledger.steps()
        releases = tuple(self._release(name) for name in self.config.releases)
        onshow = {release.name: self._showcase.of(release.name) for release in releases}
        known = {
            release.name: self._known(ledger, run, release, tried, onshow[release.name])
            for release in releases
        }
        names = sorted({name for each in known.values() for name in each})
        problems = {p.subject: str(p) for p in self._layer.problems} if self._layer else {}
        owners = {r.name: r.group for r in self._layer.recipes} if self._layer else {}
        return Facts(
            releases,
            tuple(
                PackagePage(
                    name, owners.get(name, ""), problems.get(name, ""),
                    tuple(known[r.name][name] for r in releases if name in known[r.name]),
                )
                for name in names
            ),
            changed=self._changed(releases, run),
            commit=self._layer.commit if self._layer else "",
            key_file=self._key_file(),
        )  # fmt: skip

    def save(self) -> None:
        """Keep what no ledger knows for the next run."""
        self.memory.newest = max((s.ended for s in self._steps.known.values()), default=0.0)
        there = {s.standing.built.srpm.sha256 for s in self._steps.known.values() if s.standing}
        self.memory.save(frozenset(self._steps.known), frozenset(there))

    def _key_file(self) -> str:
        name = self.config.publish.key_file
        return name if (self.config.path("publication") / name).exists() else ""

    def _changed(self, releases: tuple[ReleaseFacts, ...], run: Run) -> float:
        ended = [step.ended for step in self._steps.known.values()]
        heard = [last.at for name, last in self.memory.steps.items() if name in self._steps.known]
        heard += [] if run.ended else [step.at for step in run.steps.values()]
        published = [float(s.created) for release in releases for s in release.snapshots]
        return max((*ended, *heard, *published, *(float(r.since) for r in releases)), default=0.0)

    def _release(self, name: str) -> ReleaseFacts:
        settings, onshow = self.config.releases[name], self._showcase.of(name)
        groups = self._layer.groups if self._layer else ()
        packages = [group.id for group in groups if group.metapackage][:1]
        return ReleaseFacts(
            name,
            settings.title,
            tuple((f"{name}-{arch}", arch) for arch in settings.architectures),
            paste_lines(self.config, name, packages or ("PACKAGE",)),
            onshow.since,
            onshow.snapshots,
        )

    def _known(
        self, ledger: Ledger, run: Run, release: ReleaseFacts, tried: Iterable[str], onshow: OnShow
    ) -> Mapping[str, OfRelease]:
        """Every package that belongs to a release, and what is to be told of it."""
        names = self._names(run, release, tried, onshow)
        steps = {
            f"{name}@{chroot}": self._steps.of(ledger, f"{name}@{chroot}")
            for name in names
            for chroot, _ in release.chroots
        }
        requires = {
            name: tuple(
                dict.fromkeys(
                    word
                    for chroot, _ in release.chroots
                    for word in self._requires(steps[f"{name}@{chroot}"])
                )
            )
            for name in names
        }
        relations = self._relations(names, release, steps, requires)
        return {
            name: OfRelease(
                release.name,
                tuple(
                    self._spot(f"{name}@{chroot}", arch, steps, run, onshow)
                    for chroot, arch in release.chroots
                ),
                *relations.needs(name),
                *relations.wanted_by(name),
                requires=requires[name],
                files=onshow.files.get(name, ()),
                snapshot=onshow.current,
            )
            for name in names
        }

    def _names(
        self, run: Run, release: ReleaseFacts, tried: Iterable[str], onshow: OnShow
    ) -> tuple[str, ...]:
        """Packages of the layer, those with a broken recipe included, those of the run and those
        that are published; none for a release that nobody built for yet."""
        chroots = {name for name, _ in release.chroots}
        planned = {recipe_of(step) for step in run.steps if chroot_of(step) in chroots}
        touched = bool(planned) or any(chroot_of(step) in chroots for step in tried)
        if not (touched or onshow.current or release.name == self.config.default_release):
            return ()
        if self._layer is None:
            known = {recipe_of(name) for name in self.memory.steps if chroot_of(name) in chroots}
        else:
            specs = self.config.path("specs")
            known = {recipe.name for recipe in self._layer.recipes}
            known |= {p.subject for p in self._layer.problems if (specs / p.subject).is_dir()}
        every = known | planned | onshow.recipes
        return tuple(sorted(name for name in every if _has_page(name)))

    def _relations(
        self,
        names: tuple[str, ...],
        release: ReleaseFacts,
        steps: Mapping[str, OfStep],
        requires: Mapping[str, tuple[str, ...]],
    ) -> Relations:
        makers = {
            package.nevra.name: recipe_of(name)
            for name, step in steps.items()
            if step.standing is not None
            for package in step.standing.built.packages
        }
        every = frozenset(names)
        needs = {
            name: frozenset().union(
                *(self._needs(f"{name}@{chroot}", steps, makers) for chroot, _ in release.chroots)
            )
            & every
            for name in names
        }
        named = {
            name: frozenset(makers[w] for word in words if (w := word.partition(" ")[0]) in makers)
            for name, words in requires.items()
        }
        return Relations(needs, named)

    def _needs(
        self, step: str, steps: Mapping[str, OfStep], makers: Mapping[str, str]
    ) -> frozenset[str]:
        last, standing = self.memory.of(step), steps[step].standing
        if last.planned:
            return frozenset(map(recipe_of, last.needs)) - {recipe_of(step)}
        return of_lock(standing, makers) if standing is not None else frozenset()

    def _requires(self, step: OfStep) -> tuple[str, ...]:
        if step.standing is None:
            return ()
        sha256 = step.standing.built.srpm.sha256
        if sha256 not in self.memory.requires:
            self.memory.requires[sha256] = build_requires(self.store.path(sha256))
        return self.memory.requires[sha256]

    def _spot(
        self, name: str, arch: str, steps: Mapping[str, OfStep], run: Run, onshow: OnShow
    ) -> Spot:
        step = steps[name]
        state, because = self._state(name, step, run)
        tries = step.tries
        running = run.steps.get(name)
        if running is not None and running.state == "running" and running.job.attempt:
            job = running.job
            tries = (
                Try(
                    job.attempt, job.chroot, job.started, "running",
                    place=job.place, log=self.logs is not None,
                ),
                *tries,
            )  # fmt: skip
        shown = onshow.shown.get((recipe_of(name), arch))
        return Spot(chroot_of(name), arch, state, because, step.stands, shown, tries)

    def _state(self, name: str, step: OfStep, run: Run) -> tuple[State, str]:
        heard, last = run.steps.get(name), self.memory.of(name)
        if heard is not None and not run.ended and heard.state in ("queued", "running"):
            return heard.state, ""  # type: ignore[return-value]
        if last.state == "skipped" and last.at >= step.ended:
            excluded = last.text.startswith(("ExclusiveArch", "ExcludeArch"))
            return ("excluded" if excluded else "skipped"), last.text
        if last.state == "failed" and last.at >= step.ended:
            return "failed", last.text
        if last.state in ("built", "kept") and last.at >= step.ended and step.stands:
            return "built", ""
        newest = next((each for each in step.tries if not each.bootstrap), None)
        if newest is not None and newest.verdict == "failed":
            return "failed", newest.message.partition("\n")[0]
        if step.stands is not None:
            return "built", ""
        problem = self._problem(recipe_of(name))
        if problem:
            return "failed", problem
        return "never", _ONLY_TRIED if newest is not None and newest.verdict == "built" else ""

    def _problem(self, recipe: str) -> str:
        problems = self._layer.problems if self._layer else ()
        return next((str(p).partition("\n")[0] for p in problems if p.subject == recipe), "")


def _has_page(name: str) -> bool:
    """Whether a file can be called so, and a step: names that rpm refuses have their page, since it
    says what is wrong with them."""
    fits = name.isprintable() and not name.startswith(".") and not {"/", "@"} & {*name}
    return fits and 0 < len(name.encode()) <= _LONGEST

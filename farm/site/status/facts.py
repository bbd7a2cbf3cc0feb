"""What the status pages tell, as data; times are seconds since 1970."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from farm.model import Noun

State = Literal["running", "queued", "failed", "skipped", "built", "excluded", "never"]
# What a package is called whose architectures differ: the first of these that one of them is in.
STATES: tuple[State, ...] = (
    "running", "queued", "failed", "skipped", "built", "excluded", "never",
)  # fmt: skip


class Try(Noun, frozen=True):
    """An attempt as a page shows it. `log` is whether there is one to be read, `root` whether
    there is a list of what was in its build root."""

    id: str
    chroot: str
    started: float
    verdict: Literal["built", "failed", "skipped", "running"]
    seconds: float = 0.0
    kind: str = ""  # class of a failure
    limit: str = ""
    message: str = ""
    excerpt: tuple[str, ...] = ()
    hint: str = ""
    phase: str = ""
    where: str = ""
    place: str = ""
    cpu: float = 0.0  # seconds of processor time
    memory: int = 0  # bytes
    bootstrap: bool = False
    log: bool = False
    root: bool = False


class Stands(Noun, frozen=True):
    """The result that counts, and why it took the place of the one before."""

    evr: str
    finished: float
    seconds: float
    counter: int
    commit: str
    key: str
    reason: str = ""
    verified: str = ""


class File(Noun, frozen=True):
    """A published package, its statement of provenance and its bill of materials: paths below
    the publication root, "" for one that is not there."""

    name: str
    path: str
    size: int
    provenance: str = ""
    materials: str = ""


class Shown(Noun, frozen=True):
    """What a release's current snapshot has of a package on one architecture."""

    evr: str
    counter: int
    key: str  # of the build
    signed_by: str  # fingerprint


class Spot(Noun, frozen=True):
    """A package in one chroot. `because`: why it failed, was skipped or is excluded."""

    chroot: str
    arch: str
    state: State
    because: str = ""
    stands: Stands | None = None
    shown: Shown | None = None
    tries: tuple[Try, ...] = ()  # newest first

    @property
    def last(self) -> Try | None:
        return next((each for each in self.tries if not each.bootstrap), None)

    @property
    def failure(self) -> Try | None:
        """The attempt that made it fail, if it is in that state."""
        last = self.last
        return last if self.state == "failed" and last and last.verdict == "failed" else None

    @property
    def unpublished(self) -> bool:
        """Whether something else stands than what is published."""
        return self.stands is not None and (self.shown is None or self.shown.key != self.stands.key)


class OfRelease(Noun, frozen=True):
    """A package in one release. `needs` are recipes of the layer that its own builds wait for,
    `wanted_by` those that wait for it, each direct or not."""

    release: str
    spots: tuple[Spot, ...]
    needs: tuple[str, ...] = ()
    needs_also: tuple[str, ...] = ()  # through those
    wanted_by: tuple[str, ...] = ()
    wanted_also: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()  # its BuildRequires, as the source package has them
    files: tuple[File, ...] = ()
    snapshot: str = ""

    @property
    def related(self) -> tuple[str, ...]:
        return (*self.needs, *self.needs_also, *self.wanted_by, *self.wanted_also)

    @property
    def state(self) -> State:
        return foremost(spot.state for spot in self.spots)

    @property
    def evr(self) -> str:
        """The version that stands, of the architecture that has built it last."""
        standing = [spot.stands for spot in self.spots if spot.stands is not None]
        return max(standing, key=lambda each: each.finished).evr if standing else ""

    @property
    def published(self) -> str:
        return next((spot.shown.evr for spot in self.spots if spot.shown is not None), "")

    @property
    def finished(self) -> float:
        """When it was built last, 0 if never."""
        return max((s.stands.finished for s in self.spots if s.stands is not None), default=0.0)

    @property
    def unpublished(self) -> bool:
        return any(spot.unpublished for spot in self.spots)


class PackagePage(Noun, frozen=True):
    """A package of the layer, in every release that knows of it."""

    name: str
    group: str = ""
    problem: str = ""  # why its recipe cannot be used
    releases: tuple[OfRelease, ...] = ()

    def within(self, release: str) -> OfRelease | None:
        return next((each for each in self.releases if each.release == release), None)

    @property
    def state(self) -> State:
        return foremost(each.state for each in self.releases)

    @property
    def moving(self) -> bool:
        """Whether a run that goes on has not come to its end with it."""
        return self.state in ("running", "queued")


class SnapshotRow(Noun, frozen=True):
    """A snapshot in the published tree."""

    id: str
    created: int
    commit: str
    packages: int
    waivers: tuple[tuple[str, str], ...] = ()  # check, reason
    current: bool = False


class ReleaseFacts(Noun, frozen=True):
    """A release: its architectures, what sites do to use it, what was published of it."""

    name: str
    title: str
    chroots: tuple[tuple[str, str], ...]  # name, architecture
    paste: tuple[str, ...] = ()
    since: int = 0  # when its pointer moved last
    snapshots: tuple[SnapshotRow, ...] = ()  # newest first

    @property
    def current(self) -> SnapshotRow | None:
        return next((each for each in self.snapshots if each.current), None)


class Facts(Noun, frozen=True):
    """Everything that the pages tell. `changed` is when the newest of it happened."""

    releases: tuple[ReleaseFacts, ...]
    packages: tuple[PackagePage, ...]  # by name
    changed: float = 0.0
    commit: str = ""  # of the layer
    key_file: str = ""  # below the publication root

    @property
    def alive(self) -> tuple[ReleaseFacts, ...]:
        """The releases that packages belong to."""
        return tuple(
            release
            for release in self.releases
            if any(package.within(release.name) for package in self.packages)
        )

    @property
    def moving(self) -> bool:
        """Whether a run goes on, as far as these facts know."""
        return any(package.moving for package in self.packages)

    @property
    def empty(self) -> bool:
        """Nothing was ever tried, and nothing published."""
        return not any(
            spot.tries or spot.stands or spot.shown or spot.state in ("running", "queued")
            for package in self.packages
            for each in package.releases
            for spot in each.spots
        )


def foremost(states: Iterable[State]) -> State:
    """The one that speaks for several."""
    found = set(states)
    return next((state for state in STATES if state in found), "never")

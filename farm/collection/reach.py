"""What must stay: everything that a snapshot within its retention, an attestation, a result that
stands, or the last attempt at a package reaches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from farm.model import Job, Lock, Result, Snapshot
from farm.publish.provenance import lock_file
from farm.publish.tree import History, Replaced
from farm.rebuild.keys import bytes_of

_DAY, _HOUR = 86400, 3600


@dataclass(frozen=True)
class Retention:
    """How long things stay that nothing current needs; `now` is seconds since 1970."""

    now: float
    snapshots: int  # of each release, the newest ones
    days: int
    attested_days: int
    grace_hours: int

    def young(self, at: float) -> bool:
        """Whether something of that moment stays because of its age alone."""
        return at > self.now - self.days * _DAY


def kept_snapshots(
    release: Sequence[Snapshot],
    history: History | None,
    attested: frozenset[str],
    retention: Retention,
) -> frozenset[str]:
    """Ids of those snapshots of one release that stay.

    The current one and those that clients may still be reading always do.
    """
    newest = sorted(release, key=lambda s: (s.created, s.id), reverse=True)
    kept = {snapshot.id for snapshot in newest[: retention.snapshots]}
    kept |= {snapshot.id for snapshot in release if retention.young(snapshot.created)}
    oldest = retention.now - retention.attested_days * _DAY
    kept |= {s.id for s in release if s.id in attested and s.created > oldest}
    if history is not None:
        kept.add(history.snapshot)
        kept |= {replaced.snapshot for replaced in in_grace(history, retention)}
    return frozenset(kept)


def in_grace(history: History, retention: Retention) -> tuple[Replaced, ...]:
    """What was replaced so lately that clients may still ask for it."""
    oldest = retention.now - retention.grace_hours * _HOUR
    return tuple(replaced for replaced in history.earlier if replaced.at > oldest)


def kept_results(
    standing: Sequence[Result], made: Sequence[Result], published: Iterable[Result]
) -> tuple[Result, ...]:
    """Results whose files stay: those that stand, those of kept snapshots, and those that put out
    a package of the layer which is in the build root of one of these, and so on.

    Of everything `made`, what has the same bytes as a result that stands belongs to that: the
    first such build is whom the provenance of the next snapshot will tell of.
    """
    found = {result.key: result for result in (*standing, *published)}
    stand = {(result.step, bytes_of(result.built)) for result in standing}
    makers: dict[str, list[Result]] = {}
    for result in made:
        if (result.step, bytes_of(result.built)) in stand:
            found.setdefault(result.key, result)
        for package in result.built.packages:
            makers.setdefault(package.sha256, []).append(result)
    waiting = list(found.values())
    while waiting:
        for locked in waiting.pop().lock.packages:
            if locked.of_layer:
                for maker in makers.pop(locked.sha256, ()):
                    if maker.key not in found:
                        found[maker.key] = maker
                        waiting.append(maker)
    return tuple(found.values())


def files_of(
    results: Iterable[Result], jobs: Iterable[Job], locks: Iterable[Lock]
) -> frozenset[str]:
    """sha256 of every file in the store that these reach."""
    found: set[str] = set()
    for result in results:
        found.update(package.sha256 for package in (*result.built.packages, result.built.srpm))
        found.update(sha256 for _, sha256 in result.inputs)
        found.update(_packages(result.lock))
    for job in jobs:
        found.update(_packages(job.lock), _packages(job.setup_lock), {job.srpm})
        found.update(sha256 for _, sha256 in job.inputs)
    for lock in locks:
        found.update(_packages(lock))
    return frozenset(found - {""})


def lock_names(results: Iterable[Result]) -> frozenset[str]:
    """sha256 of the published locks of these results."""
    return frozenset(lock_file(result.lock)[0].digest["sha256"] for result in results)


def _packages(lock: Lock) -> Iterator[str]:
    return (package.sha256 for package in lock.packages)

"""Publishing: results → signed packages → an immutable snapshot → one pointer moves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from farm.config import Publish
from farm.model import Group, Nevra, Package, Result, Snapshot, SnapshotEntry, Waiver
from farm.publish.ancestry import ancestry, tell
from farm.publish.archive import Fetch, keep, locator
from farm.publish.attestations import Quorum, quorum
from farm.publish.attesters import Panel
from farm.publish.beside import bills, joined, statements
from farm.publish.builds import Behind, Of, builds_behind, digest
from farm.publish.drafts import Earlier, draft_snapshot, draft_tree, next_history, snapshot_id
from farm.publish.gates import Contents, choose
from farm.publish.keys import Key, KeyRing, key_ring
from farm.publish.signing import SignedCopies, SignedCopy
from farm.publish.tree import Publication
from farm.store import Store

Report = Callable[[str], None]
Promote = Callable[[Quorum], tuple[Waiver, ...] | None]
Judge = Callable[[Contents, Callable[[Package], Path]], tuple[Waiver, ...]]


@dataclass(frozen=True)
class Published:
    """What publishing did. Packages are written `name-evr.arch`, changed ones `old → new`."""

    release: str
    snapshot: str
    moved: bool  # False: what was published already is this
    new: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    notes: tuple[str, ...]
    packages: int
    signed: int  # how many had to be signed now
    records: int  # build records that were not in the tree before
    seconds: float
    waivers: tuple[Waiver, ...] = ()  # checks that it was forced through
    statements: int = 0  # how many statements of provenance had to be signed now
    archived: int = 0  # packages of build roots that were not in the archive before
    awaits: str = ""  # the attestations that the snapshot has and wants, when it was not promoted
    address: str = ""  # of the snapshot


def read_snapshots(publication: Path, release: str | None = None) -> tuple[Snapshot, ...]:
    """Every snapshot in a published tree (of one release, or all), oldest first."""
    return Publication(publication).snapshots(release)


def read_results(publication: Path) -> tuple[Result, ...]:
    """Every build record in a published tree, oldest first: what a lost ledger is made of."""
    return Publication(publication).results()


def read_current(publication: Path, release: str) -> Snapshot | None:
    """The snapshot that a release is at, None before the first."""
    return Publication(publication).current(release)


def publish(
    publication: Path,
    state: Path,
    *,
    release: str,
    results: Mapping[str, Sequence[Result]],
    store: Store,
    groups: Sequence[Group],
    settings: Publish,
    created: int,
    commit: str,
    files: Mapping[str, str] | None = None,
    report: Report = lambda text: None,
    judge: Judge = lambda contents, locate: (),
    fetch: Fetch = lambda lock: None,
    recorded: Of = lambda step: (),
    panel: Panel | None = None,
    promote: Promote = lambda found: () if found.reached else None,
) -> Published:
    """Publish these results, by architecture, as what the release now is.

    The set of packages decides the snapshot's id: the same set again moves nothing, one that
    was published earlier is pointed at again. `created` is the time of publishing (seconds
    since 1970) and becomes the metadata's revision. `files` are texts to lie beside the releases
    (name, content), as the public key does. `judge` sees what the pointer would move to before
    anything is signed: it refuses, or says in spite of what it lets it pass. `fetch` brings the
    packages of a lock into the store, `recorded` has every result of a step, oldest first.
    `promote` sees how far the attestations of `panel` go: None leaves the snapshot to strangers,
    and the pointer where it is. Everything is signed, verified and on the disk before the
    pointer moves; on any error sites see what they saw before.
    Raises PublishError (KeyMissing among them) and StateError.
    """
    started = time.monotonic()
    tree = Publication(publication)
    with key_ring(state) as ring, tree.writing(release) as draft:
        key = ring.find(settings.key)
        earlier = Earlier(tree, store)
        contents = choose(results, earlier.packages, earlier.locate, debug=settings.debug_packages)
        published, locate = tree.results(), locator(publication, store)
        behind = builds_behind(contents, results, published, recorded, earlier.locate, store)
        archived = ancestry(publication, behind, published, recorded, store, locate)
        notes = (*contents.notes, *behind.notes, *archived.notes, *_warnings(key, settings.address))
        for note in notes:
            report(note)
        identity = snapshot_id(release, contents, groups, key, behind.records)
        history, before = tree.history(release), tree.current(release)
        now = max(created, history.since + 1 if history else 0)
        moved = history is None or (history.snapshot, history.address) != (
            identity,
            settings.address,
        )
        waivers = judge(contents, earlier.locate) if moved else ()
        signed = 0
        locks = [build.result.lock for build in (*behind.builds, *archived.builds)]
        kept = keep(
            publication, locks, store, fetch, archive=settings.archive, sources=archived.sources
        )
        told = tell(publication, archived, settings, state, ring, key, locate)
        if not earlier.has(release, identity):
            copies, signed = _signed(contents, earlier, SignedCopies(state), ring, key, report)
            snapshot = Snapshot(
                id=identity,
                release=release,
                created=now,
                commit=commit,
                packages=tuple(copies[package.sha256].signed for package in contents.packages),
                entries=tuple(_entries(results)),
                results=tuple(sorted({digest(r) for r in _every(results, behind)})),
                waivers=waivers,
            )
            told_of, more = statements(behind, copies, settings.layer, state, ring, key)
            told += more
            beside = joined(told_of, bills(behind, copies, release, state, locate, report))
            report(f"indexing {len(contents.packages)} packages")
            place = draft / "snapshot"
            draft_snapshot(place, snapshot, contents, copies, groups, ring, key, beside)
            tree.add_snapshot(draft / "snapshot", release, identity)
        records = [tree.add_result(result, digest(result)) for result in _every(results, behind)]
        for name, text in {settings.key_file: ring.public(key), **(files or {})}.items():
            tree.add_file(name, text)
        found = Quorum(identity, 0)
        if moved and panel is not None:
            found = quorum(tree, panel, tree.read(release, identity))
        let = promote(found) if moved else ()
        if let is None:
            moved = False
        elif moved:
            waivers = (*waivers, *let)
            name = tree.next_tree(release, identity)
            following = next_history(history, name, identity, settings, waivers, now=now)
            draft_tree(draft / "tree", tree, release, tuple(contents.repositories), following)
            tree.move_pointer(draft / "tree", release, following)
    new, changed, removed = _changes(
        [signed.package for signed in before.packages] if before else [], contents.packages
    )
    return Published(
        release, identity, moved, new, changed, removed, (*notes, *kept.notes),
        len(contents.packages), signed, sum(records), time.monotonic() - started, waivers,
        told, kept.packages, found.told if let is None else "",
        f"{settings.address.rstrip('/')}/snapshots/{release}/{identity}",
    )  # fmt: skip


def _signed(
    contents: Contents,
    earlier: Earlier,
    copies: SignedCopies,
    ring: KeyRing,
    key: Key,
    report: Report,
) -> tuple[dict[str, SignedCopy], int]:
    """A signed copy for each package, published ones first; how many were signed now."""
    published = {p.sha256: earlier.copy(p, key) for p in contents.packages}
    ready = {sha256: copy for sha256, copy in published.items() if copy}
    wanted = [package for package in contents.packages if package.sha256 not in ready]
    added = copies.add(
        wanted,
        earlier.locate,
        ring,
        key,
        lambda done, total: report(f"signed {done} of {total} packages"),
    )
    return ready | {p.sha256: copies.get(p, key) for p in wanted}, len(added)


def _every(results: Mapping[str, Sequence[Result]], behind: Behind) -> Iterator[Result]:
    """Each result once: those chosen, and those that the provenance tells of."""
    chosen = [result for some in results.values() for result in some]
    yield from {digest(r): r for r in (*chosen, *(b.result for b in behind.builds))}.values()


def _entries(results: Mapping[str, Sequence[Result]]) -> Iterator[SnapshotEntry]:
    for arch, some in sorted(results.items()):
        for result in sorted(some, key=lambda result: result.step):
            recipe = result.step.split("@", 1)[0]
            yield SnapshotEntry(recipe, arch, result.key, result.counter)


def _warnings(key: Key, address: str) -> Iterator[str]:
    if key.is_demo and not _is_local(address):
        yield (
            f"warning: signing with the demonstration key for {address}: its secret half is "
            "public, so these signatures prove nothing; `farm key new NAME` makes a real one"
        )


def _is_local(address: str) -> bool:
    parts = urlsplit(address)
    host = parts.hostname or ""
    return parts.scheme == "file" or host in ("localhost", "::1") or host.startswith("127.")


def _changes(
    before: Sequence[Package], after: Sequence[Package]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """New, changed and removed binary packages; debug packages go without saying."""
    old, new = _by_name(before), _by_name(after)
    return (
        tuple(str(new[name]) for name in sorted(new.keys() - old.keys())),
        tuple(
            f"{old[name]} → {new[name].evr}"
            for name in sorted(new.keys() & old.keys())
            if old[name] != new[name]
        ),
        tuple(str(old[name]) for name in sorted(old.keys() - new.keys())),
    )


def _by_name(packages: Sequence[Package]) -> dict[tuple[str, str], Nevra]:
    return {
        (package.nevra.name, package.nevra.arch): package.nevra
        for package in packages
        if package.nevra.arch != "src" and not package.debug
    }

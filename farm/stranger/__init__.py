"""`farm verify --repo URL`: are a mirror's packages what their sources make of them?

Without layer, ledger or store, with nothing but the mirror's address (and, better, the
maintainers' key): signed metadata → packages → provenance → lock and source package → the same
build again → yes, no, or cannot.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from farm.config import Config, nearest
from farm.errors import UsageError
from farm.progress import Emit
from farm.sandbox import clear_abandoned
from farm.store import Store
from farm.stranger.answers import Answer, StrangerReport
from farm.stranger.attest import attested
from farm.stranger.exhibits import Examiner
from farm.stranger.mirror import find
from farm.stranger.published import Publication, read_publication
from farm.stranger.supply import Supply, check_bases
from farm.stranger.trust import Key, trusted_key
from farm.stranger.work import (
    Run,
    StrangerRequest,
    build_all_again,
    cases_of,
    examined,
    rebuilds_of,
)
from farm.verify.claims import Listed
from farm.verify.foreign import shown

__all__ = ["Answer", "StrangerReport", "StrangerRequest", "attested", "verify_published"]


def verify_published(config: Config, request: StrangerRequest, emit: Emit) -> StrangerReport:
    """A mirror's address → every file's answer.

    Raises Refused when what vouches for everything is not as it should be, Unverifiable when
    the mirror cannot be read, UsageError for names that it does not have.
    """
    started = time.monotonic()
    check_bases(request.bases)
    home = config.path("cache") / "verify"
    home.mkdir(parents=True, exist_ok=True)
    clear_abandoned(home)
    mirror = find(request.url, request.release or config.default_release, request.snapshot)
    with (
        trusted_key(mirror, request.key) as key,
        tempfile.TemporaryDirectory(dir=home, prefix=f"{os.getpid()}-") as scratch,
    ):
        publication = read_publication(mirror, key)
        _introduce(publication, key, emit)
        run = Run(
            config, request, publication, Examiner(publication, Path(scratch)),
            Supply(
                Store(home / "store"), f"{mirror.root}/archive", request.bases, home / "bases",
                lambda text: emit("warning", text=text),
            ),
            Path(scratch), emit,
        )  # fmt: skip
        groups = examined(run, _chosen(publication, request))
        if not groups and not run.answers:
            raise UsageError(
                f"nothing of what was named was made on {', '.join(request.archs)}",
                hint="A source package is verified where it was made: leave --arch out.",
            )
        cases = tuple(cases_of(run, groups))
        rebuilds = tuple(rebuilds_of(run, cases))
        build_all_again(run, rebuilds)
    described = publication.snapshot
    return StrangerReport(
        address=mirror.snapshot,
        release=described.release,
        snapshot=described.id,
        created=described.created,
        keys=tuple(sorted(key.fingerprints)),
        key_from=key.origin,
        key_is_the_repositorys=key.own,
        answers=tuple(answer for _, answer in sorted(run.answers.items())),
        seconds=time.monotonic() - started,
        rebuilt=run.rebuilt,
    )


def _introduce(publication: Publication, key: Key, emit: Emit) -> None:
    snapshot = publication.snapshot
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(snapshot.created))
    emit("note", text=f"{snapshot.release}, snapshot {snapshot.id}, made {made}")
    emit("note", text=f"{publication.mirror.snapshot}: all metadata signed and whole")
    fingerprints = ", ".join(sorted(key.fingerprints))
    if key.own:
        emit(
            "warning",
            text=f"the key {fingerprints} came from the repository itself ({key.origin}): "
            "compare it with what the maintainers tell elsewhere, or name theirs with --key",
        )
    else:
        emit("note", text=f"checked with the key {fingerprints} ({key.origin})")


def _chosen(publication: Publication, request: StrangerRequest) -> tuple[Listed, ...]:
    """The files that are asked about. Raises UsageError for a name that there is not."""
    archs = sorted({entry.arch for entry in publication.snapshot.entries})
    for arch in request.archs:
        if arch not in archs:
            raise UsageError(
                f"{publication.snapshot.release} is not published for {shown(arch)!r}",
                why=f"There is: {', '.join(archs)}",
                hint=nearest(arch, archs),
            )
    wanted = [
        listed
        for listed in publication.files
        if listed.repository == "source"
        or not request.archs
        or listed.repository.partition("/")[0] in request.archs
    ]
    if not request.names:
        return tuple(wanted)
    sources = {p.package.nevra: p.package.source for p in publication.snapshot.packages}
    named = {listed: {*_names(listed), sources.get(listed.nevra, "")} for listed in wanted}
    for name in request.names:
        if not any(name in names for names in named.values()):
            known = sorted({n for names in named.values() for n in names if n})
            raise UsageError(
                f"the snapshot has no package {shown(name)!r}",
                hint=nearest(name, known)
                or "Name a package, its source package, a name-version-release.arch or a file.",
            )
    return tuple(listed for listed in wanted if named[listed].intersection(request.names))


def _names(listed: Listed) -> Iterator[str]:
    yield from (listed.nevra.name, str(listed.nevra), listed.name)

"""Two packages that should be the same: what differs, file by file, with the likely cause.

The signature of the first is left aside, so that a published package can be compared with one
that was built again. Packages are foreign bytes: what cannot be read is a difference as well.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from farm import rpmheader
from farm.errors import StateError
from farm.rpmheader import Rpm
from farm.rpmpayload import DAMAGE
from farm.store import sha256_of
from farm.verify import tags
from farm.verify.content import LARGEST, compare_files
from farm.verify.difference import Difference
from farm.verify.explain import NO_CLUES, Clues, likely_cause, mode_cause
from farm.verify.listing import Entry, archive_order, entries, extracted

__all__ = ["Clues", "Difference", "differences"]

_MOST_FILES = 200  # whose content is looked into
_TIME = "a date: the file was made or changed during the build and keeps that time"
_BUILD_ID = "a build id: it follows from a difference in the program that it names"
_BUILD_IDS = "/.build-id/"


def differences(
    expected: Path,
    found: Path,
    clues: Clues = NO_CLUES,
) -> tuple[Difference, ...]:
    """What differs between a package and its second build; () when they are the same.

    `expected` may be signed: nothing but its signature may differ then. A file that is no
    whole package is a difference of the kind `damage`. Raises OSError for a file that cannot be
    opened, and where there is no room to unpack.
    """
    try:
        old, new = rpmheader.read(expected), rpmheader.read(found)
        if rpmheader.identity(expected) == rpmheader.identity(found):
            return _outside(expected, old, found, new)
        return tuple(_told(expected, old, found, new, clues)) or (_unexplained(),)
    except StateError as error:
        return (_damage(error.what, error.why),)


def _outside(expected: Path, old: Rpm, found: Path, new: Rpm) -> tuple[Difference, ...]:
    """Header and payload are the same: of unsigned packages the rest has to be, too."""
    if old.is_signed or new.is_signed or sha256_of(expected) == sha256_of(found):
        return ()
    return (
        Difference(
            kind="signature", aspect="header and payload are the same, what is before them is not"
        ),
    )


def _told(expected: Path, old: Rpm, found: Path, new: Rpm, clues: Clues) -> Iterator[Difference]:
    ours, theirs = entries(old), entries(new)
    told_files = tuple(_listed(ours, theirs, clues))
    same_content = {e.path: e.digest for e in ours} == {e.path: e.digest for e in theirs}
    yield from _tags(old, new, clues, contents_too=same_content and not told_files)
    yield from told_files
    changed = _changed(ours, theirs)
    try:
        yield from _contents(expected, old, found, new, changed, clues)
        if not told_files and not changed:
            yield from _payload(expected, old, found, new)
    except (*DAMAGE, StateError) as error:
        yield _damage("a payload cannot be read", str(error))


def _tags(old: Rpm, new: Rpm, clues: Clues, *, contents_too: bool) -> Iterator[Difference]:
    left_out = tags.OF_FILES if contents_too else tags.OF_FILES | tags.OF_CONTENTS
    for tag in sorted({*old.header.tags, *new.header.tags} - left_out):
        was, now = old.header.value(tag), new.header.value(tag)
        if was == now:
            continue
        first, second = tags.shown(was, now), tags.shown(now, was)
        cause = _BY_TAG.get(tag, "") or likely_cause(first.encode(), second.encode(), clues)
        if not cause and isinstance(was, tuple) and isinstance(now, tuple):
            reordered = Counter(map(str, was)) == Counter(map(str, now))
            cause = "the same values in another order" if reordered else ""
        derived = tag in _OF_CAPABILITIES and bool(_BUILD_ID_ALONE.fullmatch(first))
        yield Difference(
            kind="tag", path=tags.name(tag), old=first, new=second,
            cause=_BUILD_ID if derived else cause, consequence=derived,
        )  # fmt: skip


# Names and versions of Provides and Requires: those of debug packages hold build ids.
_OF_CAPABILITIES = frozenset({1047, 1113, 1049, 1050})
_BUILD_ID_ALONE = re.compile(r"(debuginfo\(build-id\) = )?[0-9a-f]{40}(, [0-9a-f]{40})*")
_BY_TAG = {
    rpmheader.BUILDTIME: "a date: when it was built",
    rpmheader.BUILDHOST: "the host name",
    1064: "another version of rpm: the root was another one",
    1096: "inode numbers of the build's file system",
}


def _listed(
    ours: tuple[Entry, ...], theirs: tuple[Entry, ...], clues: Clues
) -> Iterator[Difference]:
    """Files that only one of them has, and properties that are not the same."""
    before, after = {e.path: e for e in ours}, {e.path: e for e in theirs}
    missing = [path for path in before if path not in after]
    added = [path for path in after if path not in before]
    paired = dict(zip(missing, added, strict=True)) if len(missing) == len(added) else {}
    causes = {
        path: cause_of_names(old, new, clues) for old, new in paired.items() for path in (old, new)
    }
    for path in missing:
        yield _one_sided("missing", path, causes.get(path, ""))
    for path in added:
        yield _one_sided("added", path, causes.get(path, ""))
    for path, old in before.items():
        new = after.get(path)
        if new is not None:
            yield from _properties(old, new, clues)
    if before.keys() == after.keys() and list(before) != list(after):
        yield Difference(
            kind="payload", aspect="the files are in another order", path="file list",
            cause="the order of a directory's files, or another locale",
        )  # fmt: skip


def cause_of_names(old: str, new: str, clues: Clues) -> str:
    """Why something has one name in the first build and another one in the second, in words."""
    return likely_cause(old.encode("utf-8", "replace"), new.encode("utf-8", "replace"), clues)


def _one_sided(kind: str, path: str, cause: str) -> Difference:
    derived = _BUILD_IDS in path
    cause = _BUILD_ID if derived else cause
    return Difference(
        kind="missing" if kind == "missing" else "added",
        path=path,
        cause=cause,
        consequence=derived,
    )


def _properties(old: Entry, new: Entry, clues: Clues) -> Iterator[Difference]:
    link = _BUILD_ID if _BUILD_IDS in old.path else ""
    if not link and old.link != new.link:
        link = cause_of_names(old.link, new.link, clues)
    aspects = (
        ("mode", f"{old.mode:o}", f"{new.mode:o}", mode_cause(old.mode, new.mode)),
        ("mtime", str(old.mtime), str(new.mtime), _TIME),
        ("owner", f"{old.user}:{old.group}", f"{new.user}:{new.group}",
         "the user and group of the build"),
        ("link", old.link, new.link, link),
        ("flags", f"{old.flags:#x}", f"{new.flags:#x}", ""),
        ("verify flags", f"{old.verify:#x}", f"{new.verify:#x}", ""),
        ("device", str(old.rdev), str(new.rdev), ""),
        ("capabilities", old.capabilities, new.capabilities, ""),
        ("language", old.language, new.language, ""),
    )  # fmt: skip
    for aspect, was, now, cause in aspects:
        if was != now:
            yield Difference(
                kind="entry", path=old.path, aspect=aspect, old=was, new=now, cause=cause
            )


def _changed(ours: tuple[Entry, ...], theirs: tuple[Entry, ...]) -> tuple[str, ...]:
    """Files on both sides whose content is not the same."""
    after = {entry.path: entry for entry in theirs}
    return tuple(
        entry.path
        for entry in ours
        if entry.is_regular
        and entry.path in after
        and (entry.digest, entry.size) != (after[entry.path].digest, after[entry.path].size)
    )


def _contents(
    expected: Path, old: Rpm, found: Path, new: Rpm, changed: tuple[str, ...], clues: Clues
) -> Iterator[Difference]:
    if not changed:
        return
    looked_into = changed[:_MOST_FILES]
    with tempfile.TemporaryDirectory(prefix="farm-compare-") as scratch:
        sides = []
        for side, package, rpm in (("old", expected, old), ("new", found, new)):
            directory = Path(scratch, side)
            directory.mkdir()
            sides.append(extracted(package, rpm, looked_into, directory, limit=LARGEST))
        for path in looked_into:
            first, second = sides[0].get(path), sides[1].get(path)
            if first is None or second is None:
                yield Difference(kind="content", path=path, aspect="too large to be looked into")
                continue
            yield from compare_files(path, first, second, clues) or (
                # the archive's bytes are the same, but not what the header says of them
                Difference(kind="entry", path=path, aspect="checksum"),
            )
    if len(changed) > _MOST_FILES:
        more = len(changed) - _MOST_FILES
        yield Difference(kind="content", aspect=f"{more} more files differ", path="…")


def _payload(expected: Path, old: Rpm, found: Path, new: Rpm) -> Iterator[Difference]:
    """The file lists are the same: the payloads can differ in order and packing only."""
    if rpmheader.identity(expected).payload == rpmheader.identity(found).payload:
        return
    ours, theirs = archive_order(expected, old), archive_order(found, new)
    if ours == theirs:
        yield Difference(
            kind="payload", path="payload", aspect="the same files, packed in another way",
            cause="another compression: its level, its threads, or another version of rpm",
        )  # fmt: skip
    elif sorted(ours) == sorted(theirs):
        yield Difference(
            kind="payload", path="payload", aspect="the same files in another order",
            cause="the order of a directory's files",
        )  # fmt: skip
    else:
        yield Difference(
            kind="payload", path="payload", aspect="it does not hold what the header lists"
        )


def _damage(what: str, why: str) -> Difference:
    return Difference(kind="damage", path=what, aspect=why)


def _unexplained() -> Difference:
    """The headers differ in their form only: order of tags, padding."""
    return Difference(kind="payload", path="header", aspect="the same tags in another form")

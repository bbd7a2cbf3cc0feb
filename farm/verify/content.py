"""What differs between two versions of one file: in which part of it, and what it looks like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from farm.verify import elf
from farm.verify.archives import Part, parts
from farm.verify.difference import Difference
from farm.verify.excerpt import (
    around,
    common_tail,
    first_difference,
    hexdump,
    line_excerpt,
)
from farm.verify.explain import Clues, likely_cause, order_of, strings

LARGEST = 1 << 28  # bytes of a file that is looked into
_MOST_PARTS = 12  # differences told of one file
_MOST_LINES = 400
_RUN = 1 << 16  # bytes from the first to the last difference that a cause is sought in


def compare_files(path: str, old: Path, new: Path, clues: Clues) -> tuple[Difference, ...]:
    """What differs between two files that are no larger than `LARGEST`."""
    return tuple(_limited(compare(path, old.read_bytes(), new.read_bytes(), clues), path))


def compare(
    path: str, old: bytes, new: bytes, clues: Clues, *, part: str = "", depth: int = 2
) -> Iterator[Difference]:
    """What differs between two versions of the file `path`, or of the `part` of it."""
    if old == new:
        return
    found: Sequence[Difference] = ()
    if elf.is_elf(old) and elf.is_elf(new):
        found = tuple(_sections(path, old, new, clues, part))
    elif depth:
        ours, theirs = parts(old), parts(new)
        if ours is not None and theirs is not None:
            found = tuple(_members(path, ours, theirs, clues, part, depth - 1))
            found = found or (_packed(path, part, old, new),)
    if not found and path.endswith(".pyc") and old[:4] == new[:4] and old[:16] != new[:16]:
        found = (_bytecode(path, old, new),)
    if not found:
        ours_text, theirs_text = _text(old), _text(new)
        if ours_text is not None and theirs_text is not None:
            found = (_lines(path, ours_text, theirs_text, clues, part),)
        else:
            found = (_bytes(path, old, new, clues, part),)
    yield from found


def _limited(found: Iterator[Difference], path: str) -> Iterator[Difference]:
    for number, difference in enumerate(found):
        if number == _MOST_PARTS:
            rest = 1 + sum(1 for _ in found)
            yield Difference(kind="content", path=path, aspect=f"{rest} more parts of it differ")
            return
        yield difference


def _sections(path: str, old: bytes, new: bytes, clues: Clues, inside: str) -> Iterator[Difference]:
    ours, theirs = elf.sections(old), elf.sections(new)
    if ours is None or theirs is None:
        return
    names = list(dict.fromkeys((*ours, *theirs)))
    differing = [
        name for name in names if ours.get(name, (0, b""))[1] != theirs.get(name, (0, b""))[1]
    ]
    # the telling ones first: debug information follows the code, identifiers follow both
    differing.sort(key=lambda name: (name in elf.DERIVED, name.startswith(".debug")))
    found = list(_each_section(path, ours, theirs, differing, clues, inside))
    found.sort(key=lambda difference: (difference.consequence, not difference.cause))
    moved = any(
        len(ours[n][1]) != len(theirs[n][1]) for n in differing if n in ours and n in theirs
    )
    told = [d for d in found if d.cause and not d.consequence]
    others = [d for d in found if not d.cause]
    if moved and told and others:
        yield from told
        behind = ", ".join(d.part.rpartition(" ")[2] for d in others)
        yield Difference(
            kind="content", path=path, part=f"sections {behind}", consequence=True,
            cause="addresses move where something before them has another length",
        )  # fmt: skip
        yield from (d for d in found if d.consequence)
        return
    yield from found


def _each_section(
    path: str,
    ours: Mapping[str, tuple[int, bytes]],
    theirs: Mapping[str, tuple[int, bytes]],
    differing: Sequence[str],
    clues: Clues,
    inside: str,
) -> Iterator[Difference]:
    own = [name for name in differing if name not in elf.DERIVED]
    for name in differing:
        part = f"{inside}, section {name}" if inside else f"section {name}"
        if name not in ours or name not in theirs:
            side = "first" if name in ours else "second"
            yield Difference(
                kind="content", path=path, part=part, aspect=f"only in the {side} build"
            )
            continue
        (_, a), (_, b) = ours[name], theirs[name]
        if name in elf.DERIVED:
            drawn = not own and _is_drawn(name, a) and _is_drawn(name, b)
            cause = (
                "it follows from the other differences in the file"
                if own
                else "a build id of 16 bytes: random, where the linker was told --build-id=uuid"
                if drawn
                else "it follows from a difference in what was stripped: look at the debuginfo"
            )
            yield Difference(
                kind="content", path=path, part=part, offset=first_difference(a, b),
                old=a[-20:].hex(), new=b[-20:].hex(), consequence=not drawn, cause=cause,
            )  # fmt: skip
            continue
        yield _bytes(path, a, b, clues, part)


def _is_drawn(name: str, note: bytes) -> bool:
    """Whether a build id has the length of a random one; what is computed has 20 bytes, or 8."""
    return name == ".note.gnu.build-id" and len(note) == 32 and 16 in (note[4], note[7])


def _members(
    path: str,
    old: tuple[Part, ...],
    new: tuple[Part, ...],
    clues: Clues,
    inside: str,
    depth: int,
) -> Iterator[Difference]:
    names_a, names_b = [p.name for p in old], [p.name for p in new]
    if names_a != names_b:
        order = order_of(names_a, names_b)
        only_a = sorted((Counter(names_a) - Counter(names_b)).elements())
        only_b = sorted((Counter(names_b) - Counter(names_a)).elements())
        yield Difference(
            kind="content", path=path, part=inside,
            aspect="order of its members" if order else "its members",
            old=", ".join(only_a[:5]), new=", ".join(only_b[:5]),
            excerpt=line_excerpt(names_a, names_b),
            cause=order.replace("lines", "files"),
        )  # fmt: skip
    theirs = {part.name: part for part in new}
    for ours in old:
        other = theirs.get(ours.name)
        if other is None:
            continue
        part = f"{inside}, {ours.name}" if inside else ours.name
        for (aspect, was), (_, now) in zip(ours.properties, other.properties, strict=False):
            if was != now:
                yield Difference(
                    kind="content", path=path, part=part, aspect=aspect, old=was, new=now,
                    cause=_CAUSES.get(aspect, ""),
                )  # fmt: skip
        yield from compare(path, ours.content, other.content, clues, part=part, depth=depth)


_CAUSES = {
    "mtime": "a date: the archive keeps when its files were changed",
    "owner": "the user and group of the build",
    "mode": "the umask of the build",
    "inode": "inode numbers of the build's file system",
    "device": "the file system that the build was on",
}
_PLAIN = (b"!<arch>\n", b"070701", b"070702")  # archives that compress nothing


def _packed(path: str, part: str, old: bytes, new: bytes) -> Difference:
    at = first_difference(old, new)
    plain = old.startswith(_PLAIN) or old[257:262] == b"ustar"
    return Difference(
        kind="content", path=path, part=part, offset=at, excerpt=hexdump(old, new, at),
        aspect="the same content, packed in another way",
        cause="what the archive keeps beside its files, or another version of what made it"
        if plain
        else "another number of threads or level of the compression",
    )  # fmt: skip


def _bytecode(path: str, old: bytes, new: bytes) -> Difference:
    flags = int.from_bytes(old[4:8], "little")
    times = tuple(str(int.from_bytes(data[8:12], "little")) for data in (old, new))
    if flags & 1:
        return Difference(
            kind="content", path=path, aspect="hash of its source", offset=8,
            cause="its source differs",
        )  # fmt: skip
    return Difference(
        kind="content", path=path, aspect="time of its source", offset=8, old=times[0],
        new=times[1], cause="a date: Python notes when the source was changed",
    )  # fmt: skip


def _text(data: bytes) -> str | None:
    if b"\0" in data:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _lines(path: str, old: str, new: str, clues: Clues, part: str) -> Difference:
    a, b = old.split("\n"), new.split("\n")
    start = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
    start = min(len(a), len(b)) if start is None else start
    end = 0
    while end < min(len(a), len(b)) - start and a[-1 - end] == b[-1 - end]:
        end += 1
    ours, theirs = a[start : len(a) - end], b[start : len(b) - end]
    cause = order_of(ours, theirs) or _cause_of_lines(ours, theirs, clues)
    return Difference(
        kind="content", path=path, part=part, aspect=f"line {start + 1}",
        excerpt=line_excerpt(*_only_differing(ours, theirs)), cause=cause,
    )  # fmt: skip


def _only_differing(ours: list[str], theirs: list[str]) -> tuple[list[str], list[str]]:
    if len(ours) != len(theirs):
        return ours, theirs
    pairs = [(x, y) for x, y in zip(ours, theirs, strict=True) if x != y]
    return [x for x, _ in pairs], [y for _, y in pairs]


def _cause_of_lines(ours: list[str], theirs: list[str], clues: Clues) -> str:
    ours, theirs = _only_differing(ours, theirs)
    pairs = (
        [("\n".join(ours[:_MOST_LINES]), "\n".join(theirs[:_MOST_LINES]))]
        if len(ours) != len(theirs)
        else list(zip(ours, theirs, strict=True))[:_MOST_LINES]
    )
    for x, y in pairs:
        cause = likely_cause(x.encode(), y.encode(), clues)
        if cause:
            return cause
    if sorted(ours) == sorted(theirs) and len(ours) > 1:
        return order_of(ours, theirs)
    return ""


def _bytes(path: str, old: bytes, new: bytes, clues: Clues, part: str) -> Difference:
    at = first_difference(old, new)
    tail = common_tail(old, new, at)
    last = max(len(old), len(new)) - tail
    cause = likely_cause(around(old, at), around(new, at), clues)
    if not cause:
        span = min(_RUN, last - at)
        ours, theirs = old[at : at + span], new[at : at + span]
        cause = order_of(list(strings(ours)), list(strings(theirs))) or _other_values(ours, theirs)
    what = f"the last is byte {last - 1}" if last - at > 1 else "in that one only"
    if len(old) != len(new):
        what = f"{len(old)} and {len(new)} bytes long"
    return Difference(
        kind="content", path=path, part=part, offset=at, aspect=what,
        excerpt=hexdump(old, new, at), cause=cause,
    )  # fmt: skip


def _other_values(old: bytes, new: bytes) -> str:
    """Whether the same bytes are there in another order, in words."""
    if len(old) == len(new) and len(old) >= 8 and sorted(old) == sorted(new):
        return "the same values in another order: of a directory, a hash, or of what ended first"
    return ""

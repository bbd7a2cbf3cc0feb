"""Documents of a publication as a stranger reads them: bounded, and no name in them is trusted.

What comes out of here may be used as a path, a digest or a word of a command.
"""

from __future__ import annotations

import re

import msgspec

from farm.errors import Refused, Unverifiable
from farm.model import Chroot, Lock, Nevra, Snapshot, T, repeated_name
from farm.model.envelope import IN_TOTO, Envelope
from farm.model.provenance import BUILD_TYPE, PROVENANCE, STATEMENT, Resource, Statement

# Bytes that a document may have. A lock of 2,000 packages has half a megabyte.
LARGEST_SNAPSHOT = 256 << 20
LARGEST_ENVELOPE = 64 << 20
LARGEST_LOCK = 64 << 20
LARGEST_SMALL = 1 << 20  # a signature, a .repo file
LARGEST_KEY = 4 << 20
LARGEST_HISTORY = 16 << 20
LARGEST_PACKAGE = 16 << 30

_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")
_PACKAGE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,254}")
_VERSION = re.compile(r"[A-Za-z0-9._+~^]{1,255}")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_DIST = re.compile(r"[A-Za-z0-9._~^+]{0,64}")
_MOST_CORES = 999_999  # what `Built.cores` reads at most
_LONGEST_TIME = 7 * 24 * 3600  # seconds that a build may be given
_LONGEST_SHOWN = 200
_LONGEST_PATH = 4096
_LATEST = 253402300799  # the end of the year 9999


def shown(text: object, longest: int = _LONGEST_SHOWN) -> str:
    """Foreign text for a terminal: on one line, no control characters, not endless.

    >>> shown("a\\x1b[31m\\nb")
    'a?[31m?b'
    """
    plain = "".join(c if c.isprintable() else "?" for c in str(text))
    return plain if len(plain) <= longest else plain[: longest - 1] + "…"


def is_digest(text: str) -> bool:
    """Whether it is a sha256 in hexadecimal digits."""
    return _DIGEST.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """Whether it may be one component of a path: a release, an architecture, a snapshot's id."""
    return _NAME.fullmatch(text) is not None


def is_nevra(nevra: Nevra) -> bool:
    """Whether each part is what rpm writes there, so that the file name is one, too."""
    return (
        _PACKAGE.fullmatch(nevra.name) is not None
        and 0 <= nevra.epoch < 1 << 32
        and _VERSION.fullmatch(nevra.version) is not None
        and _VERSION.fullmatch(nevra.release) is not None
        and is_name(nevra.arch)
    )


def is_below(text: str) -> bool:
    """Whether it is a relative path that stays below where it starts."""
    return (
        0 < len(text) <= _LONGEST_PATH
        and text.isprintable()
        and "\\" not in text
        and all(part not in ("", ".", "..") for part in text.split("/"))
    )


def read_snapshot(text: bytes, address: str) -> Snapshot:
    """snapshot.json. Raises Refused."""
    snapshot = _read(Snapshot, text, "snapshot.json", address)
    good = (
        is_name(snapshot.id)
        and is_name(snapshot.release)
        and 0 <= snapshot.created <= _LATEST
        and all(
            is_nevra(p.package.nevra) and is_digest(p.sha256) and is_digest(p.package.sha256)
            and p.size >= 0
            for p in snapshot.packages
        )
        and all(is_name(entry.arch) for entry in snapshot.entries)
    )  # fmt: skip
    if not good:
        raise _unusable("snapshot.json", address, "a name or a checksum in it is none")
    return snapshot


class _Replaced(msgspec.Struct):
    snapshot: str


class _History(msgspec.Struct):
    """What of a tree's history.json concerns a stranger."""

    earlier: tuple[_Replaced, ...] = ()


def read_history(text: bytes) -> tuple[str, ...]:
    """The earlier snapshots that a history.json names; it is signed by nobody, and they are."""
    try:
        history = _decoded(_History, text)
    except ValueError:
        return ()
    return tuple(dict.fromkeys(each.snapshot for each in history.earlier if is_name(each.snapshot)))


def read_envelope(text: bytes, name: str) -> Envelope:
    """A DSSE envelope around an in-toto statement, its signatures not judged. Raises Refused."""
    envelope = _read(Envelope, text, "its envelope", name)
    _check_once(text, "its envelope", name)
    if envelope.payload_type != IN_TOTO:
        raise _unusable(
            "its envelope", name, f"it holds a payload of the type {shown(envelope.payload_type)!r}"
        )
    return envelope


def read_statement(content: bytes, name: str) -> Statement:
    """The provenance in an envelope whose signature is good.

    Raises Unverifiable for another kind of statement: whoever signed it may have used another
    version of farm; Refused for one with names or digests that are none.
    """
    try:
        statement = _decoded(Statement, content)
    except ValueError as error:
        raise Unverifiable(
            f"{name}: its provenance is not of a form that this farm understands",
            why=shown(error),
            hint="It is signed as it should be: look for the version of farm that wrote it.",
        ) from error
    kinds = (
        (statement.type, STATEMENT),
        (statement.predicate_type, PROVENANCE),
        (statement.predicate.build_definition.build_type, BUILD_TYPE),
    )
    for found, known in kinds:
        if found != known:
            raise Unverifiable(
                f"{name}: its provenance is not of a form that this farm understands",
                why=f"It is of the type {shown(found)!r}, not {known!r}.",
                hint="It is signed as it should be: look for the version of farm that wrote it.",
            )
    _check_once(content, "its provenance", name)
    definition = statement.predicate.build_definition
    internal = definition.internal_parameters
    good = (
        all(_is_named(r) for r in (*statement.subject, *definition.resolved_dependencies))
        and internal.counter >= 0
        and 0 <= internal.epoch_seconds <= _LATEST
        and 0 <= internal.cores <= _MOST_CORES
    )
    if not good:
        raise _unusable("its provenance", name, "a name or a digest in it is none")
    return statement


def read_lock(text: bytes, name: str) -> Lock:
    """A published lock. Raises Refused."""
    lock = _read(Lock, text, "the lock of its build root", name)
    packages = lock.packages
    good = (
        all(is_nevra(p.nevra) and is_digest(p.sha256) and p.size >= 0 for p in packages)
        and all(
            p.location == "" or p.location.startswith(("http://", "https://")) for p in packages
        )
        and {p.sha256 for p in packages}.issuperset(lock.setup)
    )
    if not good:
        raise _unusable(
            "the lock of its build root", name, "a name, a checksum or an address in it is none"
        )
    if len({p.nevra for p in packages}) != len(packages):
        raise _unusable("the lock of its build root", name, "it lists a package twice")
    return lock


def read_sums(text: bytes) -> dict[str, str]:
    """sha256 by path of a list as `sha256sum` writes it. Raises ValueError."""
    found: dict[str, str] = {}
    for line in text.decode("utf-8").splitlines():
        digest, gap, path = line[:64], line[64:66], line[66:]
        if not is_digest(digest) or gap != "  " or not is_below(path) or path in found:
            raise ValueError(f"a line in it is none: {shown(line)!r}")
        found[path] = digest
    return found


def maybe_lock(text: bytes) -> Lock | None:
    """What may be a lock, for a message about how it is wrong; nothing in it was looked at."""
    try:
        return _decoded(Lock, text)
    except ValueError:
        return None


def usable_chroot(chroot: Chroot, name: str) -> Chroot:
    """A chroot out of a statement, without anything that concerns another machine.

    Raises Unverifiable for one that reaches out of the root that is made of it, or that wants
    what farm's own builder does not do.
    """
    wrong = _reaching_out(chroot)
    if wrong:
        raise Unverifiable(
            f"{name}: the chroot of its provenance cannot be made",
            why=f"It has {shown(wrong)}.",
        )
    if chroot.refused:
        raise Unverifiable(
            f"{name}: its chroot has options that farm's own builder does not honour",
            why="\n".join(shown(option) for option in chroot.refused[:10]),
        )
    return msgspec.structs.replace(
        chroot,
        repositories=(),
        emulator="",
        native_tools="",
        nice=min(max(chroot.nice, 0), 19),
        timeout=min(max(chroot.timeout, 0), _LONGEST_TIME),
    )


def _reaching_out(chroot: Chroot) -> str:
    for word in (chroot.name, chroot.release, chroot.arch):
        if not is_name(word):
            return f"the name {word!r}"
    if not _USER.fullmatch(chroot.unprivileged_user):
        return f"the user {chroot.unprivileged_user!r}"
    if not _DIST.fullmatch(chroot.dist):
        return f"the %dist {chroot.dist!r}"
    for path, _ in chroot.files:
        if not is_below(path):
            return f"the file {path!r}"
    for path in chroot.directories:
        if not is_below(path.strip("/")):
            return f"the directory {path!r}"
    for variable, value in chroot.environment:
        if not _VARIABLE.fullmatch(variable) or "\0" in value:
            return f"the environment variable {variable!r}"
    return ""


def _is_named(resource: Resource) -> bool:
    return (
        len(resource.name) <= _LONGEST_PATH
        and resource.name.isprintable()
        and all(
            is_digest(value) for kind, value in resource.digest.items() if kind == "sha256"
        )
    )  # fmt: skip


def _check_once(text: bytes, what: str, where: str) -> None:
    repeated = repeated_name(text)
    if repeated:
        raise _unusable(what, where, f"it says {shown(repeated)!r} twice, not the same perhaps")


def _read(kind: type[T], text: bytes, what: str, where: str) -> T:
    try:
        return _decoded(kind, text)
    except ValueError as error:
        raise _unusable(what, where, shown(error)) from error


def _decoded(kind: type[T], text: bytes) -> T:
    """Raises ValueError; JSON that is too deep to be read is no better than damaged."""
    try:
        return msgspec.json.decode(text, type=kind)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _unusable(what: str, where: str, why: str) -> Refused:
    return Refused(
        f"{where}: {what} is not what farm writes",
        why=why,
        hint="It was damaged or changed after it was published; ask the maintainers, or another "
        "mirror.",
    )

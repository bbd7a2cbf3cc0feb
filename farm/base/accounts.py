"""The account files of a new system, from the masters that Debian's base-passwd brings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from stat import S_IFREG

from farm.base.deb import Entry
from farm.base.rpmfile import CONFIG, NOREPLACE, File

_MASTERS = "/usr/share/base-passwd"
_UNCHANGED_SINCE = 19000  # days since 1970: a password age that is no moment of ours


def files(given: Mapping[str, Entry]) -> Iterator[File]:
    """passwd, group, shadow, gshadow; every account is locked."""
    passwd = given[f"{_MASTERS}/passwd.master"]
    group = given[f"{_MASTERS}/group.master"]
    users = [line.split(":") for line in passwd.data.decode().splitlines()]
    groups = [line.split(":") for line in group.data.decode().splitlines()]
    yield _file("/etc/passwd", (":".join((user[0], "x", *user[2:])) for user in users), 0o644)
    yield _file("/etc/group", (":".join((entry[0], "x", *entry[2:])) for entry in groups), 0o644)
    yield _file(
        "/etc/shadow", (f"{user[0]}:*:{_UNCHANGED_SINCE}:0:99999:7:::" for user in users),
        0o600,
    )  # fmt: skip
    yield _file("/etc/gshadow", (f"{entry[0]}:*::" for entry in groups), 0o600)
    for path in ("/etc/subuid", "/etc/subgid"):
        yield _file(path, (), 0o644)


def capabilities(given: tuple[File, ...]) -> Iterator[str]:
    """user(x) and group(x), which rpm asks for when a package has files of theirs."""
    for file in given:
        if file.path in ("/etc/passwd", "/etc/group"):
            kind = "user" if file.path == "/etc/passwd" else "group"
            for line in file.data.decode().splitlines():
                yield f"{kind}({line.partition(':')[0]})"


def _file(path: str, lines: Iterator[str] | tuple[str, ...], mode: int) -> File:
    data = "".join(line + "\n" for line in lines).encode()
    return File(path, S_IFREG | mode, 0, data, flags=CONFIG | NOREPLACE)

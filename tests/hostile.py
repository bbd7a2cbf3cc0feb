"""rpm-md written piece by piece, so that any piece of it can be wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

ROOT = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<metadata xmlns="http://linux.duke.edu/metadata/common"'
    ' xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="{}">\n'
)
VERSION = '<version epoch="0" ver="1" rel="1"/>'


def checksum(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def package(
    name: str,
    *groups: str,
    version: str = VERSION,
    arch: str = "x86_64",
    sum: str = "",
    location: str | None = None,
    files: str = "",
) -> str:
    """A `<package>` of primary.xml that provides its own name."""
    sum = sum or f'<checksum type="sha256" pkgid="YES">{checksum(name)}</checksum>'
    location = f'<location href="{name[:40]}.rpm"/>' if location is None else location
    return (
        f'<package type="rpm"><name>{name}</name><arch>{arch}</arch>{version}{sum}'
        f"<summary>s</summary><description>d</description><size package='1'/>{location}"
        f"<format><rpm:provides>{entry(name)}</rpm:provides>{''.join(groups)}{files}</format>"
        "</package>\n"
    )


def entry(name: str, more: str = "") -> str:
    return f'<rpm:entry name="{name}"{" " if more else ""}{more}/>'


def requires(*entries: str) -> str:
    return f"<rpm:requires>{''.join(entries)}</rpm:requires>"


def conflicts(*entries: str) -> str:
    return f"<rpm:conflicts>{''.join(entries)}</rpm:conflicts>"


def document(*packages: str, announced: int | None = None) -> bytes:
    """A primary.xml."""
    count = len(packages) if announced is None else announced
    return (ROOT.format(count) + "".join(packages) + "</metadata>\n").encode()


def filelists(owners: Mapping[str, str], *, announced: int | None = None) -> bytes:
    """A filelists.xml: the package's name → one path of it ("": none)."""
    pieces = [
        f'<package pkgid="{checksum(name)}" name="{name}" arch="x86_64">{VERSION}'
        f"{f'<file>{path}</file>' if path else ''}</package>\n"
        for name, path in owners.items()
    ]
    count = len(pieces) if announced is None else announced
    return (
        f'<filelists xmlns="http://linux.duke.edu/metadata/filelists" packages="{count}">\n'
        + "".join(pieces)
        + "</filelists>\n"
    ).encode()


def repodata(directory: Path, parts: Mapping[str, bytes], more: str = "") -> Path:
    """A repository with these metadata files and a repomd.xml that is right about them.

    A part's key is its kind, with a suffix of its own where it is compressed (`primary.gz`).
    """
    target = directory / "repodata"
    target.mkdir(parents=True, exist_ok=True)
    data = []
    for name, content in parts.items():
        (target / name).write_bytes(content)
        data.append(
            f'<data type="{name.partition(".")[0]}">'
            f'<checksum type="sha256">{hashlib.sha256(content).hexdigest()}</checksum>'
            f'<location href="repodata/{name}"/><size>{len(content)}</size></data>'
        )
    text = "\n".join(data) + more
    (target / "repomd.xml").write_text(
        f'<repomd xmlns="http://linux.duke.edu/metadata/repo">{text}</repomd>'
    )
    return directory

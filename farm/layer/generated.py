"""Recipes that nobody writes: metapackages from the list of groups, the release package.

Their text follows from the list alone, so that the same list gives the same recipe on every
machine; a version comes from the list, never from a commit.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from farm.errors import LayerError
from farm.layer.groups import Changelog, ReleasePackage
from farm.model import Group, Recipe, RecipeFile
from farm.store import write_atomic

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LICENSE = "MIT"
_KEY_DIRECTORY = "/etc/pki/rpm-gpg"
_REPO_DIRECTORY = "/etc/yum.repos.d"
_GPGKEY = re.compile(r"^gpgkey[ \t]*=.*$", re.MULTILINE)


def metapackage_recipe(
    group: Group, directory: Path, *, commit: str = "", scratch: bool = False
) -> Recipe:
    """The recipe of a group's metapackage, written to `directory` (made, or brought up to date)."""
    files = {f"{group.id}.spec": metapackage_spec(group)}
    return _write(group.id, files, directory, commit=commit, scratch=scratch)


def metapackage_spec(group: Group) -> str:
    """The spec of a noarch package that requires the group's members."""
    wanted = [f"Requires:       {name}" for name in group.packages]
    wanted += [f"Suggests:       {name}" for name in group.optional]
    return _spec(
        name=group.id,
        version=group.version,
        summary=group.name,
        tags=wanted,
        description=group.description or group.name,
        changelog=group.changelog,
    )


def release_recipe(
    package: ReleasePackage,
    *,
    release: str,
    repo_text: str,
    key_text: str,
    directory: Path,
    commit: str = "",
    scratch: bool = False,
) -> Recipe:
    """The recipe of the package that holds a release's .repo file and signing key.

    For the package farm-release, `repo_text` becomes /etc/yum.repos.d/farm-<release>.repo, the
    name that the published file has as well: a site that pasted it first has no repository
    twice. `key_text` (ASCII armour) becomes /etc/pki/rpm-gpg/RPM-GPG-KEY-farm, and every gpgkey
    in the text names that file. `directory` is made, or brought up to date.
    Raises LayerError when the text has no gpgkey.
    """
    stem = package.name.removesuffix("-release")
    repo, key = f"{stem}-{release}.repo", f"RPM-GPG-KEY-{stem}"
    repo_text, replaced = _GPGKEY.subn(f"gpgkey=file://{_KEY_DIRECTORY}/{key}", repo_text)
    if not replaced:
        raise LayerError(f"{package.name}: the .repo text names no gpgkey")
    spec = _spec(
        name=package.name,
        version=package.version,
        summary=package.summary,
        tags=[f"Source0:        {repo}", f"Source1:        {key}"],
        description="Tells dnf where the packages are and which key they are signed with.",
        changelog=package.changelog,
        install=[
            f"install -D -p -m 0644 %{{SOURCE0}} %{{buildroot}}{_REPO_DIRECTORY}/{repo}",
            f"install -D -p -m 0644 %{{SOURCE1}} %{{buildroot}}{_KEY_DIRECTORY}/{key}",
        ],
        files=[
            f"%config(noreplace) {_REPO_DIRECTORY}/{repo}",
            f"{_KEY_DIRECTORY}/{key}",
        ],
    )
    files = {f"{package.name}.spec": spec, repo: repo_text, key: key_text}
    return _write(package.name, files, directory, commit=commit, scratch=scratch)


def changelog_heading(date: str, author: str) -> str:
    """`* Fri Nov 20 2026 A. Author <a@example.org>`: a changelog entry's first line."""
    day = datetime.date.fromisoformat(date)
    return f"* {_DAYS[day.weekday()]} {_MONTHS[day.month - 1]} {day.day:02} {day.year} {author}"


def _spec(
    *,
    name: str,
    version: str,
    summary: str,
    tags: Iterable[str],
    description: str,
    changelog: Changelog,
    install: Iterable[str] = (),
    files: Iterable[str] = (),
) -> str:
    lines = [
        f"Name:           {name}",
        f"Version:        {version}",
        "Release:        1%{?dist}",
        f"Summary:        {_plain(summary).rstrip('.')}",
        f"License:        {_LICENSE}",
        "BuildArch:      noarch",
        *tags,
        "",
        "%description",
        *(_plain(line).rstrip() for line in description.splitlines()),
        "",
        "%prep",
        "",
        "%build",
        "",
        "%install",
        *install,
        "",
        "%files",
        *files,
        "",
        "%changelog",
    ]
    for date, author, text in changelog:
        lines.append(changelog_heading(date, _plain(author)))
        lines += [f"- {_plain(line.strip())}" for line in text.splitlines() if line.strip()]
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def _plain(text: str) -> str:
    return text.replace("%", "%%")


def _write(
    name: str, files: Mapping[str, str], directory: Path, *, commit: str, scratch: bool
) -> Recipe:
    directory.mkdir(parents=True, exist_ok=True)
    for stray in sorted(directory.iterdir()):
        if stray.name not in files:
            shutil.rmtree(stray) if stray.is_dir() else stray.unlink()
    listed: list[RecipeFile] = []
    for path, text in sorted(files.items()):
        content = text.encode()
        target = directory / path
        if not target.exists() or target.read_bytes() != content:
            write_atomic(target, content)
        listed.append(RecipeFile(path, hashlib.sha256(content).hexdigest()))
    return Recipe(
        name=name,
        spec=f"{name}.spec",
        directory=str(directory),
        files=tuple(listed),
        commit=commit,
        scratch=scratch,
        origin="generated",
    )

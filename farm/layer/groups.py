"""`specs/groups.toml`: the one list of groups, and of the package that describes the repository.

    [[group]]
    id = "cluster-master"
    name = "Head node"
    description = "What the head node of a cluster runs."
    version = "1.0"
    packages = ["genders", "munge"]
    optional = ["freeipmi"]
    changelog = [
      { date = 2026-11-20, author = "Maintainers <maintainers@example.org>", text = "First list." },
    ]

    [release-package]
    name = "farm-release"
    summary = "Repository and signing key of the layer"
    version = "1"
    changelog = [ … ]

A metapackage's version is the list's own, so that it is rebuilt when the list changes, not with
every commit.
"""

from __future__ import annotations

import datetime
import re
import tomllib
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from farm.config import nearest
from farm.errors import LayerError
from farm.model import Group, Problem

FILE = "groups.toml"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]*")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._~^]*")

Changelog = tuple[tuple[str, str, str], ...]
_T = TypeVar("_T", bound=msgspec.Struct)


class _Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    date: datetime.date
    author: str
    text: str


class _Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    name: str
    description: str
    version: str
    packages: tuple[str, ...]
    changelog: tuple[_Change, ...]
    optional: tuple[str, ...] = ()
    metapackage: bool = True


class _ReleasePackage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    version: str
    changelog: tuple[_Change, ...]
    summary: str = "Repository and signing key"


@dataclass(frozen=True)
class ReleasePackage:
    """The package that carries the .repo file and the signing key; the changelog as a Group's."""

    name: str
    version: str
    summary: str
    changelog: Changelog


@dataclass(frozen=True)
class GroupList:
    """What `groups.toml` says."""

    groups: tuple[Group, ...] = ()
    release_package: ReleasePackage | None = None


def parse(text: str, where: str, today: datetime.date) -> GroupList:
    """Read the list. Raises LayerError naming `where`, the group and what is wrong."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LayerError(f"{where} is not valid TOML", why=str(error)) from error
    _known(table, ("group", "release-package"), where)
    groups: list[Group] = []
    entries = table.get("group", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise LayerError(f"{where}: groups are written as [[group]]")
    for number, entry in enumerate(entries, 1):
        name = f"{where}: group {entry.get('id', f'number {number}')}"
        group = _convert(entry, _Group, name)
        changelog = _checked(group.id, group.version, group.changelog, name, today)
        _check_members(group, name)
        if any(line.lstrip().startswith("%") for line in group.description.splitlines()):
            # rpm would take it for a section or a condition, escaped or not.
            raise LayerError(f"{name}: a line of the description begins with %")
        if any(known.id == group.id for known in groups):
            raise LayerError(f"{name} is there twice")
        groups.append(
            Group(
                id=group.id,
                name=" ".join(group.name.split()),
                description=group.description.strip(),
                version=group.version,
                packages=tuple(sorted(group.packages)),
                optional=tuple(sorted(group.optional)),
                metapackage=group.metapackage,
                changelog=changelog,
            )
        )
    return GroupList(tuple(groups), _release_package(table, where, today))


def unknown_members(
    group: Group, packages: Set[str], groups: Set[str], where: str
) -> tuple[Problem, ...]:
    """A problem that names the members which are no packages of the layer, if there are any.

    Metapackages of `groups` may be members too.
    """
    known = sorted(packages - groups)
    facts = [
        f"{where}: {member} is not a package of the layer. {nearest(member, known)}".strip()
        for member in (*group.packages, *group.optional)
        if member not in packages | groups
    ]
    if not facts:
        return ()
    return (Problem("unknown-member", group.id, tuple(facts), f"Correct the list in {where}."),)


def _release_package(
    table: Mapping[str, Any], where: str, today: datetime.date
) -> ReleasePackage | None:
    if "release-package" not in table:
        return None
    name = f"{where}: release-package"
    package = _convert(table["release-package"], _ReleasePackage, name)
    changelog = _checked(package.name, package.version, package.changelog, name, today)
    return ReleasePackage(package.name, package.version, package.summary.strip(), changelog)


def _convert(entry: Any, kind: type[_T], where: str) -> _T:
    if isinstance(entry, dict):
        _known(entry, tuple(field.name for field in msgspec.structs.fields(kind)), where)
    try:
        return msgspec.convert(entry, kind)
    except msgspec.ValidationError as error:
        raise LayerError(f"{where} is not as it should be", why=str(error)) from error


def _known(table: Mapping[str, Any], fields: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in fields:
            raise LayerError(f"{where}: unknown key {key}", hint=nearest(key, fields))


def _checked(
    name: str, version: str, changes: tuple[_Change, ...], where: str, today: datetime.date
) -> Changelog:
    if not _NAME.fullmatch(name):
        raise LayerError(f"{where}: {name!r} is not a package name")
    if not _VERSION.fullmatch(version):
        raise LayerError(
            f"{where}: {version!r} is not a version", hint="Letters, digits and `.`, no hyphen."
        )
    if not changes:
        raise LayerError(
            f"{where} has no changelog", hint="Its newest date is the time of the package's build."
        )
    dates = [change.date for change in changes]
    if dates != sorted(dates, reverse=True):
        raise LayerError(f"{where}: the changelog's newest entry has to come first")
    if dates[0] > today:
        raise LayerError(f"{where}: the changelog entry of {dates[0]} is from the future")
    return tuple(
        (change.date.isoformat(), " ".join(change.author.split()), change.text.strip())
        for change in changes
    )


def _check_members(group: _Group, where: str) -> None:
    members = (*group.packages, *group.optional)
    for member in members:
        if not _NAME.fullmatch(member):
            raise LayerError(f"{where}: {member!r} is not a package name")
        if members.count(member) > 1:
            raise LayerError(f"{where}: {member} is listed twice")
    if not members:
        raise LayerError(f"{where} has no packages")

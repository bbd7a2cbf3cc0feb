"""The same package in two repositories, or twice in one: always the same answer, and a true one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest

from farm.errors import RepositoryError
from farm.model import Lock, LockedPackage, Repository
from farm.plan.metadata.download import download
from farm.plan.metadata.repodata import fetch_pin
from farm.plan.solver import resolve
from farm.plan.universe import Universe
from farm.store import Store
from tests.repositories import Rpm, chroot, repository, write_repository

ONE, OTHER = Rpm("a", files=("/usr/bin/one",)), Rpm("a", files=("/usr/bin/other",))


def locked(
    directory: Path, repositories: Sequence[Repository], *, fetched: bool = True
) -> tuple[LockedPackage, ...]:
    pins = [fetch_pin(each, directory / f"pin-{each.id}") for each in repositories]
    where = chroot(*repositories)
    universe = Universe.open(where, pins, directory / "solv")
    lock = resolve(universe, where, ["a"])
    assert isinstance(lock, Lock)
    if fetched:
        assert download(lock.packages, Store(directory / "store"), pins) == len(lock.packages)
    return lock.packages


def written(directory: Path, name: str, *packages: Rpm, **fields: object) -> Repository:
    base = write_repository(directory / name, packages, package_files=True)
    return repository(base, name, **fields)


def test_the_first_repository_of_a_chroot_gives_its_package_whatever_its_bytes(
    tmp_path: Path,
) -> None:
    one, other = written(tmp_path, "one", ONE), written(tmp_path, "other", OTHER)
    for number, order in enumerate(itertools.permutations((one, other))):
        (package,) = locked(tmp_path / str(number), order)
        first = ONE if order[0] is one else OTHER
        assert (package.repository, package.sha256) == (order[0].id, first.sha256)
        assert package.location.startswith(order[0].baseurl[0])


def test_a_priority_decides_before_the_order_of_repositories(tmp_path: Path) -> None:
    one = written(tmp_path, "one", ONE, priority=99)
    other = written(tmp_path, "other", OTHER, priority=10)
    for number, order in enumerate(itertools.permutations((one, other))):
        (package,) = locked(tmp_path / str(number), order)
        assert (package.repository, package.sha256) == ("other", OTHER.sha256)


def test_a_mirror_under_another_name_gives_the_same_lock(tmp_path: Path) -> None:
    one, mirror = written(tmp_path, "one", ONE), written(tmp_path, "mirror", ONE)
    alone = locked(tmp_path / "1", [one])
    assert locked(tmp_path / "2", [one, mirror]) == alone


def test_of_two_in_one_repository_the_choice_does_not_depend_on_their_order(
    tmp_path: Path,
) -> None:
    (first,) = locked(tmp_path / "1", [written(tmp_path / "a", "r", ONE, OTHER)], fetched=False)
    (second,) = locked(tmp_path / "2", [written(tmp_path / "b", "r", OTHER, ONE)], fetched=False)
    assert first.sha256 == second.sha256


def test_a_package_that_is_listed_twice_with_the_same_bytes_is_one(tmp_path: Path) -> None:
    (package,) = locked(tmp_path, [written(tmp_path, "one", ONE, ONE)])
    assert package.sha256 == ONE.sha256


def test_a_file_with_the_name_of_another_package_is_not_taken_for_it(tmp_path: Path) -> None:
    """Both files are `a-1-1.x86_64.rpm`: one of the two has other bytes than its metadata says."""
    base = written(tmp_path, "one", ONE)
    (tmp_path / "one" / ONE.filename).write_bytes(OTHER.content)
    with pytest.raises(RepositoryError, match=r"1 of 1 packages .* a-1-1\.x86_64"):
        locked(tmp_path, [base])

"""The set-up's lock is kept, and never outlives what it was solved from."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm.model import Lock, Problem
from farm.plan.metadata.pins import Pin
from farm.plan.metadata.repodata import pin_repository
from farm.plan.setup import setup_lock
from farm.plan.universe import Universe
from tests.repositories import Rpm, chroot, repository, write_repository


class Farm:
    """A base and how often it was opened."""

    def __init__(self, directory: Path, *packages: Rpm) -> None:
        self.directory = directory
        self.opened = 0
        self.change(*packages)

    def change(self, *packages: Rpm) -> None:
        write_repository(self.directory / "base", packages)

    def lock(self, *setup: str) -> Lock | Problem:
        place = repository(self.directory / "base")
        where = chroot(place, setup=setup)
        pins: tuple[Pin, ...] = (pin_repository(place, self.directory / "pins"),)
        cache = self.directory / "cache"

        def base() -> Universe:
            self.opened += 1
            return Universe.open(where, pins, cache)

        return setup_lock(where, pins, cache, base)


def names(lock: Lock | Problem) -> set[str]:
    assert isinstance(lock, Lock)
    return {str(package.nevra) for package in lock.packages}


def test_the_base_is_opened_once_for_the_same_question(tmp_path: Path) -> None:
    farm = Farm(tmp_path, Rpm("bash", requires=["glibc"]), Rpm("glibc"))
    assert farm.lock("bash") == farm.lock("bash")
    assert farm.opened == 1


@pytest.mark.parametrize("newer", [Rpm("bash", "2-1"), Rpm("bash", requires=["glibc"])])
def test_another_base_is_asked_again(tmp_path: Path, newer: Rpm) -> None:
    farm = Farm(tmp_path, Rpm("bash"), Rpm("glibc"))
    before = names(farm.lock("bash"))
    farm.change(newer, Rpm("glibc"))
    assert names(farm.lock("bash")) != before
    assert farm.opened == 2


def test_another_set_up_is_asked_again(tmp_path: Path) -> None:
    farm = Farm(tmp_path, Rpm("bash"), Rpm("glibc"))
    assert names(farm.lock("bash")) != names(farm.lock("bash", "glibc"))


def test_a_problem_is_not_kept(tmp_path: Path) -> None:
    farm = Farm(tmp_path, Rpm("bash"))
    assert isinstance(farm.lock("nowhere"), Problem)
    assert isinstance(farm.lock("nowhere"), Problem)
    assert farm.opened == 2


def test_a_damaged_record_is_made_again(tmp_path: Path) -> None:
    farm = Farm(tmp_path, Rpm("bash"))
    before = farm.lock("bash")
    (kept,) = (tmp_path / "cache").glob("setup-*.json")
    kept.write_bytes(kept.read_bytes()[:-9])
    assert farm.lock("bash") == before
    assert farm.opened == 2

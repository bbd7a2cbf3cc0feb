"""Packages that were built once, and what has become of what they require."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from farm.model import Evaluation, Nevra, Package
from farm.plan.fit.contribution import Contribution
from farm.plan.fit.declared import Declared
from farm.plan.fit.misfit import misfit
from farm.plan.fit.view import View
from farm.plan.metadata.repodata import pin_repository
from farm.plan.universe import Universe
from tests.repositories import Rpm, chroot, repository, write_repository

PDSH = Nevra("pdsh", 0, "1", "1", "x86_64")
MUNGE = Nevra("munge-libs", 0, "1", "1", "x86_64")


def said(
    requires: Sequence[str], base: Sequence[str], new: Sequence[str], old: Sequence[str]
) -> str:
    """What is said of pdsh: what it requires; what the base, munge as it was rebuilt in this run,
    and munge as the run found it provide."""
    with tempfile.TemporaryDirectory() as scratch:
        place = repository(write_repository(Path(scratch) / "base", [Rpm("lib", provides=base)]))
        pins = (pin_repository(place, Path(scratch) / "pins"),)
        where = chroot(place)
        cache = Path(scratch) / "cache"
        pieces = [
            Declared(PDSH, ("pdsh = 1-1",), tuple(requires)).piece,
            Declared(MUNGE, ("munge-libs = 1-1", *new)).piece,
        ]
        universe = Universe.open(where, pins, cache, declared=pieces)
        evaluation = Evaluation(
            Nevra("munge", 0, "1", "1", "src"), ((MUNGE, ("munge-libs = 1-1", *old)),), ()
        )
        view = View.open(where, pins, cache, [Contribution("munge", evaluation)])
        return misfit(universe, [Package(PDSH, "0" * 64, 1, "pdsh")], view, {"pdsh", "munge"})


@pytest.mark.parametrize(
    ("requires", "base", "new", "old", "fits"),
    [
        (("libz.so.1()(64bit)",), ("libz.so.1()(64bit)",), (), (), True),
        (("libz.so.1()(64bit)",), ("libz.so.2()(64bit)",), (), (), False),
        (("libm.so.2()(64bit)",), (), ("libm.so.2()(64bit)",), (), True),
        # it was there when the run began, and the build since put out another one
        (("libm.so.2()(64bit)",), (), ("libm.so.3()(64bit)",), ("libm.so.2()(64bit)",), False),
        # a plain name is the spec's, and the contributor's to mend
        (("no-such-package",), (), (), (), True),
        (("pkgconfig(z) >= 2",), ("pkgconfig(z) = 1",), (), (), False),
    ],
)
def test_what_only_a_build_found_out_has_to_be_there_still(
    requires: Sequence[str], base: Sequence[str], new: Sequence[str], old: Sequence[str], fits: bool
) -> None:
    found = said(requires, base, new, old)
    expected = f"pdsh-1-1.x86_64 requires {requires[0]}, which nothing provides any more"
    assert found == ("" if fits else expected)

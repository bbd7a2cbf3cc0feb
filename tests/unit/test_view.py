"""The layer over its base before it is built: what is known, what is open."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm.model import Evaluation, Lock, Nevra, Problem
from farm.plan.fit.contribution import Contribution
from farm.plan.fit.declared import Declared, built_relations, declared, generated
from farm.plan.fit.view import View
from farm.plan.metadata.repodata import pin_repository
from farm.plan.solver import resolve
from tests.repositories import Rpm, chroot, repository, write_repository

BASE = (
    Rpm("bash"),
    Rpm("glibc", provides=["libc.so.6()(64bit)"]),
    Rpm("zlib-devel", provides=["pkgconfig(zlib) = 1.3"]),
)


def evaluation(
    name: str,
    build: tuple[str, ...] = (),
    requires: tuple[str, ...] = (),
    provides: tuple[str, ...] = (),
    evr: str = "1-1",
) -> Evaluation:
    version, _, release = evr.partition("-")
    nevra = Nevra(name, 0, version, release, "x86_64")
    return Evaluation(
        source=Nevra(name, 0, version, release, "src"),
        packages=((nevra, (f"{name} = {evr}", *provides)),),
        build_requires=build,
        requires=((name, requires),) if requires else (),
    )


def view(tmp_path: Path, *evaluations: Evaluation) -> View:
    write_repository(tmp_path / "base", BASE)
    place = repository(tmp_path / "base")
    pins = (pin_repository(place, tmp_path / "pins"),)
    where = chroot(place, setup=("bash",))
    return View.open(
        where, pins, tmp_path / "cache", [Contribution(e.source.name, e) for e in evaluations]
    )


def test_what_is_not_built_yet_can_be_required_by_its_declared_names(tmp_path: Path) -> None:
    munge = evaluation("munge-devel", provides=("munge-headers = 2",), requires=("zlib-devel",))
    pdsh = evaluation("pdsh", build=("munge-headers >= 1",))
    seen = view(tmp_path, munge, pdsh)
    lock = resolve(seen.universe, seen.chroot, pdsh.build_requires)
    assert isinstance(lock, Lock)
    assert {p.nevra.name for p in lock.packages} == {"bash", "munge-devel", "zlib-devel"}
    assert seen.recipes_in(lock.packages) == {"munge-devel"}


def test_what_only_a_build_reveals_is_open_while_something_is_not_built(tmp_path: Path) -> None:
    munge = evaluation("munge-devel")
    pdsh = evaluation("pdsh", build=("pkgconfig(munge) >= 0.5", "munge-devel"))
    seen = view(tmp_path, munge, pdsh)
    assert isinstance(resolve(seen.universe, seen.chroot, pdsh.build_requires), Problem)
    lock = resolve(seen.hopeful, seen.chroot, pdsh.build_requires)
    assert isinstance(lock, Lock)
    hoped = seen.hoped_for(lock.packages, pdsh.build_requires)
    assert hoped == ("pkgconfig(munge) >= 0.5",)


def test_a_plain_name_that_nobody_has_is_never_open(tmp_path: Path) -> None:
    seen = view(tmp_path, evaluation("pdsh", build=("no-such-devel",)))
    assert seen.open_capabilities == ()
    assert seen.hopeful is seen.universe


def test_what_the_base_has_in_an_older_version_may_still_come_from_the_layer(
    tmp_path: Path,
) -> None:
    seen = view(tmp_path, evaluation("pdsh", build=("pkgconfig(zlib) >= 7",)))
    assert seen.open_capabilities == ("pkgconfig(zlib) >= 7",)


def test_the_last_build_tells_what_the_next_will_probably_provide() -> None:
    last = Declared(
        Nevra("munge-libs", 0, "0.5.14", "1", "x86_64"),
        provides=("munge-libs = 0.5.14-1", "libmunge.so.2()(64bit)", "config(munge-libs) = 1-1"),
        requires=("libc.so.6()(64bit)", "munge = 0.5.14-1"),
        files=("/usr/lib64/libmunge.so.2",),
    ).piece
    said = evaluation("munge-libs", evr="0.5.15-1", requires=("munge = 0.5.15-1",))
    (package,) = declared(said, {("munge-libs", "x86_64"): last})
    assert package.provides == ("munge-libs = 0.5.15-1", "libmunge.so.2()(64bit)")
    assert package.requires == ("munge = 0.5.15-1", "libc.so.6()(64bit)")
    assert package.files == ("/usr/lib64/libmunge.so.2",)


def test_a_piece_says_what_it_was_made_from() -> None:
    made = Declared(
        Nevra("a&b", 2, "1~rc1", "3", "noarch"),
        provides=("a&b = 2:1~rc1-3", "x(y) >= 4"),
        requires=("(c or d)", "e < 5-6"),
        conflicts=("f",),
        obsoletes=("g <= 1:7",),
        files=("/usr/bin/<odd>",),
    )
    found = built_relations(made.piece)
    assert {kind: set(texts) for kind, texts in found.items()} == {
        "provides": {"a&b = 2:1~rc1-3", "x(y) >= 4"},
        "requires": {"(c or d)", "e < 5-6"},
        "conflicts": {"f"},
        "obsoletes": {"g <= 1:7"},
        "files": {"/usr/bin/<odd>"},
    }


@pytest.mark.parametrize(
    ("text", "only_a_build_can_tell"),
    [
        ("munge", False),
        ("munge-devel >= 0.5", False),
        ("munge(x86-64) = 0.5", False),
        ("pkgconfig(munge)", True),
        ("libmunge.so.2()(64bit)", True),
        ("libmunge.so.2(MUNGE_1)(64bit)", True),
        ("libold.so.1", True),
        ("perl(Foo::Bar)", True),
        ("python3dist(requests) >= 2", True),
        ("/usr/bin/munge", True),
        ("cmake(Foo)", True),
    ],
)
def test_names_that_only_a_build_reveals_are_told_by_their_form(
    text: str, only_a_build_can_tell: bool
) -> None:
    assert generated(text) is only_a_build_can_tell

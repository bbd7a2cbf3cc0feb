"""Paths that two packages own, by rpm's rules; and those that the layer shares with its base."""

from __future__ import annotations

import gzip
import hashlib
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import StateError
from farm.model import Nevra, Package, Problem
from farm.plan.fit.basefiles import base_file_findings
from farm.plan.fit.findings import Findings
from farm.plan.fit.ownership import clashes, difference, ownership_problems, together_in
from farm.plan.fit.rpmfiles import File, files_of, read_files
from farm.plan.metadata import primary
from farm.plan.metadata.repodata import pin_repository
from farm.plan.universe import Universe
from tests.repositories import Rpm, chroot, repository, write_repository
from tests.unit.test_rpmheader import package as rpm_bytes

REG, DIR, LNK, FIFO = stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO


def file(
    path: str = "/usr/share/x",
    kind: int = REG,
    permissions: int = 0o644,
    content: str = "a" * 64,
    **fields: object,
) -> File:
    values: dict[str, object] = {
        "path": path, "mode": kind | permissions, "user": "root", "group": "root",
        "size": 3 if kind != DIR else 0, "content": "" if kind in (DIR, FIFO) else content,
        "algorithm": 8, "colour": 0, "ghost": False,
    }  # fmt: skip
    return File(**(values | fields))  # type: ignore[arg-type]


def written(path: Path, nevra: Nevra, files: Sequence[File], long: bool = False) -> Path:
    """A package file whose header tells these files."""
    directories = sorted({f"{Path(f.path).parent}/" for f in files})
    regular = [f.content if stat.S_ISREG(f.mode) else "" for f in files]
    links = [f.content if stat.S_ISLNK(f.mode) else "" for f in files]
    tags: dict[int, tuple[int, object]] = {
        1000: (8, [nevra.name]), 1001: (8, [nevra.version]), 1002: (8, [nevra.release]),
        1022: (8, [nevra.arch]), 1044: (8, [f"{nevra.name}-1-1.src.rpm"]),
    }  # fmt: skip
    if files:
        tags |= {
            5008 if long else 1028: (5 if long else 4, [f.size for f in files]),
            1030: (3, [f.mode for f in files]), 1035: (8, regular), 1036: (8, links),
            1037: (4, [(1 << 6) * f.ghost for f in files]),
            1039: (8, [f.user for f in files]), 1040: (8, [f.group for f in files]),
            1116: (4, [directories.index(f"{Path(f.path).parent}/") for f in files]),
            1117: (8, [Path(f.path).name for f in files]), 1118: (8, directories),
            1140: (4, [f.colour for f in files]), 5011: (4, [8]),
        }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(rpm_bytes(tags))
    return path


@dataclass
class Shop:
    """Built packages and the universe that they are the layer of."""

    home: Path
    base: Sequence[Rpm] = (Rpm("libc"),)
    built: list[tuple[Package, Path]] = field(default_factory=list)
    layer: list[Rpm] = field(default_factory=list)

    def package(self, name: str, *files: File, arch: str = "x86_64", **relations: Any) -> Shop:
        rpm = Rpm(name, arch=arch, **relations)
        nevra = Nevra(name, 0, "1", "1", arch)
        path = written(self.home / "built" / f"{nevra}.rpm", nevra, files)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self.built.append((Package(nevra, digest, 1, rpm.source or name), path))
        self.layer.append(rpm)
        return self

    @property
    def universe(self) -> Universe:
        """The layer's relations are told by metadata: these packages hold files only."""
        base, layer = self.home / "base", self.home / "layer"
        write_repository(base, self.base)
        write_repository(layer, self.layer)
        pin = pin_repository(repository(base), self.home / "pin")
        pieces = [
            b"<package " + piece.split(b"</package>")[0] + b"</package>"
            for piece in _primary(layer).split(b"<package ")[1:]
        ]
        return Universe.open(chroot(pin.repository), [pin], self.home / "cache", (), pieces)

    def problems(self) -> tuple[Problem, ...]:
        return ownership_problems(self.built, together_in(self.universe), self.home / "cache")

    def base_findings(self) -> Findings:
        return base_file_findings(self.universe, self.built, self.home / "cache")


def _primary(directory: Path) -> bytes:
    return gzip.decompress((directory / "repodata" / "primary.xml.gz").read_bytes())


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        (file(), file(), ""),
        (file(), file(content="b" * 64), "different content"),
        (file(), file(size=4), "different content"),
        (file(), file(content="a" * 32, algorithm=1), "different content"),
        (file(), file(permissions=0o755), "mode 0644 in one and 0755 in the other"),
        (file(permissions=0o4755), file(permissions=0o755), "mode 4755 in one and 0755"),
        (file(), file(user="munge"), "owner root:root in one and munge:root in the other"),
        (file(), file(group="munge"), "owner root:root in one and root:munge in the other"),
        (file(), file(content="b" * 64, ghost=True), ""),
        (file(kind=DIR), file(permissions=0o600, ghost=True), ""),
        (file(kind=DIR), file(kind=DIR), ""),
        (file(kind=DIR), file(kind=DIR, permissions=0o755), "mode 0644 in one and 0755"),
        (file(kind=DIR), file(kind=DIR, group="munge"), "owner root:root"),
        (file(kind=DIR), file(), "a directory in one and a file in the other"),
        (file(kind=LNK), file(), "a symlink in one and a file in the other"),
        (file(kind=LNK, content="a"), file(kind=LNK, content="a"), ""),
        (file(kind=LNK, content="a"), file(kind=LNK, content="b"), "a link to a in one and to b"),
        (file(kind=FIFO), file(kind=FIFO), ""),
        (file(colour=1), file(colour=2, content="b" * 64), ""),
        (file(colour=2), file(colour=2, content="b" * 64), "different content"),
        (file(colour=0), file(colour=2, content="b" * 64), "different content"),
    ],
)
def test_what_rpm_allows_two_packages_to_share(one: File, other: File, told: str) -> None:
    assert difference(one, other).startswith(told) and bool(difference(one, other)) == bool(told)


FILES = st.builds(
    file,
    kind=st.sampled_from([REG, DIR, LNK]),
    permissions=st.sampled_from([0o644, 0o755]),
    content=st.sampled_from(["a" * 64, "b" * 64]),
    user=st.sampled_from(["root", "munge"]),
    colour=st.sampled_from([0, 1, 2]),
    ghost=st.booleans(),
)


@given(one=FILES, other=FILES)
def test_it_does_not_matter_which_package_is_looked_at_first(one: File, other: File) -> None:
    assert bool(difference(one, other)) == bool(difference(other, one))
    assert difference(one, one) == ""


def test_what_a_header_says_is_read(tmp_path: Path) -> None:
    nevra = Nevra("munge", 0, "1", "1", "x86_64")
    files = (
        file("/etc/munge", DIR, 0o700, user="munge", group="munge"),
        file("/etc/munge/key", permissions=0o400, ghost=True),
        file("/usr/bin/munge", permissions=0o755, colour=2, size=5_000_000_000),
        file("/usr/lib64/libmunge.so", LNK, 0o777, "libmunge.so.2", size=13),
    )
    path = written(tmp_path / "munge.rpm", nevra, files, long=True)
    assert read_files(path) == files
    assert read_files(written(tmp_path / "meta.rpm", nevra, ())) == ()


def test_a_file_of_the_layer_that_is_no_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.rpm").write_bytes(b"nothing")
    package = Package(Nevra("x", 0, "1", "1", "noarch"), "ab" * 32, 1, "x")
    with pytest.raises(StateError, match=r"x\.rpm"):
        files_of(package, tmp_path / "x.rpm", tmp_path / "cache")


def test_packages_that_share_nothing_or_the_same_are_fine(shop: Shop) -> None:
    shared = file("/usr/share/licenses/common")
    directory = file("/usr/share/farm", DIR, 0o755)
    shop.package("one", shared, directory, file("/usr/bin/one"))
    shop.package("two", shared, directory, file("/usr/bin/two"))
    assert shop.problems() == ()


def test_two_packages_that_own_a_path_differently_are_named_with_path_and_difference(
    shop: Shop,
) -> None:
    shop.package("one", file("/etc/x.conf"), file("/usr/bin/x"))
    shop.package("two", file("/etc/x.conf", content="b" * 64), file("/usr/bin/x"))
    assert shop.problems() == (
        Problem(
            "file-conflict",
            "one",
            (
                "one-1-1.x86_64 and two-1-1.x86_64 own the same path, differently",
                "/etc/x.conf: different content",
                "nothing keeps a site from having both, and then rpm refuses to install them",
            ),
            "Take it out of one of the two packages, or, if the two are alternatives, let one say "
            "`Conflicts: two`.",
        ),
    )


def test_of_many_paths_some_are_shown_and_the_rest_counted(shop: Shop) -> None:
    shop.package("one", *(file(f"/usr/share/x/{n}") for n in range(8)))
    shop.package("two", *(file(f"/usr/share/x/{n}", permissions=0o600) for n in range(8)))
    (problem,) = shop.problems()
    assert "… and 3 more" in problem.facts


def test_a_path_below_a_merged_directory_is_the_same_by_either_name(shop: Shop) -> None:
    shop.package("one", file("/bin/x")).package("two", file("/usr/bin/x", content="b" * 64))
    (problem,) = shop.problems()
    assert "/usr/bin/x: different content" in problem.facts


@pytest.mark.parametrize(
    "relations",
    [{"conflicts": ["one"]}, {"conflicts": ["thing < 3"]}, {"obsoletes": ["one < 2"]}],
    ids=str,
)
def test_packages_that_exclude_each_other_may_own_the_same_path(
    shop: Shop, relations: dict[str, Any]
) -> None:
    shop.package("one", file(), provides=["thing = 2"])
    shop.package("two", file(permissions=0o600), **relations)
    assert shop.problems() == ()


def test_a_conflict_with_another_version_excludes_nobody(shop: Shop) -> None:
    shop.package("one", file())
    shop.package("two", file(permissions=0o600), conflicts=["one < 1"], obsoletes=["one < 1"])
    assert len(shop.problems()) == 1


def test_packages_whose_requirements_exclude_each_other_may_own_the_same_path(shop: Shop) -> None:
    shop.package("mpi-a", provides=["mpi"], conflicts=["mpi-b"]).package("mpi-b", provides=["mpi"])
    shop.package("one", file(), requires=["mpi-a"])
    shop.package("two", file(permissions=0o600), requires=["mpi-b"])
    assert shop.problems() == ()


def test_a_package_that_cannot_be_installed_yet_is_not_taken_to_exclude_anybody(
    shop: Shop,
) -> None:
    shop.package("one", file(), requires=["gone"]).package("two", file(permissions=0o600))
    assert len(shop.problems()) == 1


def test_the_two_architectures_of_a_library_share_what_is_the_same_in_both(shop: Shop) -> None:
    for arch, colour in (("i686", 1), ("x86_64", 2)):
        shop.package(
            "lib", file("/usr/bin/tool", content=arch * 8, colour=colour), file(), arch=arch
        )
    assert shop.problems() == ()
    shop.built.clear()
    for arch in ("i686", "x86_64"):
        shop.package("lib", file("/usr/share/doc/lib", content=arch * 8), arch=arch)
    assert [problem.subject for problem in shop.problems()] == ["lib"]


def test_debug_packages_meet_where_their_packages_do(shop: Shop) -> None:
    clash = (file("/usr/lib/debug/x"), file("/usr/lib/debug/x", content="b" * 64))
    shop.package("one").package("two", conflicts=["one"])
    shop.package("one-debuginfo", clash[0]).package("two-debuginfo", clash[1])
    del shop.layer[2:]  # a universe of what sites install has no debug packages
    assert shop.problems() == ()
    shop.layer[1] = Rpm("two")
    assert [problem.subject for problem in shop.problems()] == ["one-debuginfo"]


def test_what_was_read_once_is_not_read_again(shop: Shop, tmp_path: Path) -> None:
    shop.package("one", file()).package("two", file(permissions=0o600))
    first = clashes(shop.built, tmp_path / "cache")
    for _, path in shop.built:
        path.unlink()
    assert clashes(shop.built, tmp_path / "cache") == first
    (kept,) = (tmp_path / "cache" / "clashes").iterdir()
    kept.write_text("[")
    assert clashes(list(reversed(shop.built)), tmp_path / "cache") == first != ()


@pytest.mark.parametrize(
    ("theirs", "clash"),
    [
        ("/usr/share/x", True), ("/usr/share/x/", False), ("%ghost /usr/share/x", False),
        ("/usr/share/x.old", False),
    ],
)  # fmt: skip
def test_a_file_that_the_base_has_as_well_is_reported(shop: Shop, theirs: str, clash: bool) -> None:
    shop.base = (Rpm("libc"), Rpm("words", files=[theirs, "/usr/bin/words"]))
    problems = shop.package("one", file()).base_findings().problems
    assert [(p.kind, p.subject) for p in problems] == [("file-in-base", "one")] * clash
    if clash:
        assert problems[0].facts[0] == (
            "one-1-1.x86_64 and words-1-1.x86_64 of repository base both own /usr/share/x"
        )
        assert "`Conflicts: words`" in problems[0].remedy


@pytest.mark.parametrize("ours", [file(kind=DIR), file(ghost=True)], ids=["directory", "ghost"])
def test_a_directory_or_ghost_of_ours_is_no_matter(shop: Shop, ours: File) -> None:
    shop.base = (Rpm("words", files=["/usr/share/x"]),)
    assert shop.package("one", ours).base_findings() == Findings()


@pytest.mark.parametrize("relations", [{"conflicts": ["words"]}, {"obsoletes": ["words"]}], ids=str)
def test_a_package_that_cannot_meet_the_bases_may_have_its_files(
    shop: Shop, relations: dict[str, Any]
) -> None:
    shop.base = (Rpm("words", files=["/usr/share/x"]),)
    assert shop.package("one", file(), **relations).base_findings() == Findings()


def test_a_package_in_place_of_the_bases_may_have_its_files(shop: Shop) -> None:
    shop.base = (Rpm("words", "0-1", files=["/usr/share/x"]),)
    assert shop.package("words", file()).base_findings() == Findings()


def test_the_base_may_write_a_merged_path_in_the_old_way(shop: Shop) -> None:
    shop.base = (Rpm("words", files=["/bin/x"]),)
    (problem,) = shop.package("one", file("/usr/bin/x")).base_findings().problems
    assert problem.facts[0].endswith("both own /usr/bin/x")


def test_what_the_base_was_searched_for_is_kept_for_each_package(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.base = (Rpm("words", files=["/usr/share/x", "/usr/share/y"]),)
    assert len(shop.package("one", file()).base_findings().problems) == 1
    searched: list[list[str]] = []
    original = primary.owners

    def owners(content: bytes, wanted: Iterable[str]) -> dict[str, list[list[str]]]:
        searched.append(sorted(wanted))
        return original(content, wanted)

    monkeypatch.setattr("farm.plan.fit.basefiles.primary.owners", owners)
    assert len(shop.base_findings().problems) == 1 and searched == []
    shop.package("two", file("/usr/share/y"))
    assert [p.subject for p in shop.base_findings().problems] == ["one", "two"]
    assert searched == [["/usr/share/y"]]


def test_a_base_without_filelists_is_said_to_have_none(shop: Shop, tmp_path: Path) -> None:
    write_repository(tmp_path / "bare", [Rpm("words")])
    repomd = tmp_path / "bare" / "repodata" / "repomd.xml"
    lines = [line for line in repomd.read_text().splitlines() if 'type="filelists"' not in line]
    repomd.write_text("\n".join(lines))
    pin = pin_repository(repository(tmp_path / "bare"), tmp_path / "pin")
    universe = Universe.open(chroot(pin.repository), [pin], tmp_path / "cache")
    found = base_file_findings(universe, shop.package("one", file()).built, tmp_path / "cache")
    assert found.problems == () and "has no filelists" in found.notes[0]

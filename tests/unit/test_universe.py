"""The pool of base and layer: what is in it, what is left out, what is kept on disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from farm.errors import RepositoryError, StateError
from farm.model import Lock, Nevra, Package
from farm.plan.metadata import primary, solvfiles
from farm.plan.metadata.modules import parse_modules
from farm.plan.metadata.repodata import pin_repository
from farm.plan.solver import providers, resolve
from farm.plan.universe import Universe
from farm.store import sha256_of
from tests.repositories import Comps, Rpm, chroot, repository, write_repository
from tests.rpms import Spec, build, needs_rpmbuild

STREAMS = """\
---
document: modulemd-defaults
version: 1
data:
  module: perl
  stream: "5.26"
  profiles:
    "5.26": [common]
...
---
document: modulemd
version: 2
data:
  name: perl
  stream: "5.26"
  artifacts:
    rpms:
    - perl-4:5.26-1.x86_64
...
---
document: modulemd
version: 2
data:
  name: ruby
  stream: 3.3
  description: >-
    A language.
    data: of all kinds
  artifacts:
    rpms:
    - ruby-0:3.3-1.x86_64
    - ruby-0:3.3-1.src
...
"""


def opened(tmp_path: Path, packages: Sequence[Rpm], *, arch: str = "x86_64", **kw: Any) -> Universe:
    fields = {key: kw.pop(key) for key in ("excludes", "module_hotfixes") if key in kw}
    write_repository(tmp_path / "base", packages, **kw)
    pin = pin_repository(repository(tmp_path / "base", **fields), tmp_path / "pin")
    return Universe.open(chroot(pin.repository, arch=arch), [pin], tmp_path / "cache")


def names(tmp_path: Path, packages: Sequence[Rpm], **kw: Any) -> list[str]:
    return listed(opened(tmp_path, packages, **kw))


def listed(of: Universe) -> list[str]:
    """What the pool holds; `of` has to live as long as its solvables are looked at."""
    return sorted(str(solvable) for solvable in of.pool.solvables)


def test_source_packages_stay_out(tmp_path: Path) -> None:
    packages = [Rpm("a", arch=arch) for arch in ("x86_64", "i686", "noarch", "src", "nosrc")]
    assert names(tmp_path, packages) == ["a-1-1.i686", "a-1-1.noarch", "a-1-1.x86_64"]


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("a", ["ab-1-1.x86_64", "b-2-1.noarch"]),
        ("a*", ["b-2-1.noarch"]),
        ("*.noarch", ["a-1-1.x86_64", "ab-1-1.x86_64"]),
        ("b-2-1", ["a-1-1.x86_64", "ab-1-1.x86_64"]),
        ("b-0:2-1.noarch", ["a-1-1.x86_64", "ab-1-1.x86_64"]),
        ("b-3*", ["a-1-1.x86_64", "ab-1-1.x86_64", "b-2-1.noarch"]),
    ],
)
def test_excluded_packages_are_not_there(tmp_path: Path, pattern: str, left: list[str]) -> None:
    packages = (Rpm("a"), Rpm("ab"), Rpm("b", "2-1", arch="noarch"))
    assert names(tmp_path, packages, excludes=(pattern,)) == left


def test_modular_packages_are_hidden_unless_their_stream_is_the_default(tmp_path: Path) -> None:
    packages = (
        Rpm("ruby", "3.0-1"), Rpm("ruby", "3.3-1"),
        Rpm("perl", "4:5.26-1"), Rpm("perl", "4:5.40-1"),
    )  # fmt: skip
    assert names(tmp_path, packages, modules=STREAMS) == [
        "perl-4:5.26-1.x86_64",
        "ruby-3.0-1.x86_64",
    ]


def test_a_hotfix_repository_is_free_of_modularity(tmp_path: Path) -> None:
    packages = (Rpm("ruby", "3.0-1"), Rpm("ruby", "3.3-1"))
    shown = names(tmp_path, packages, modules=STREAMS, module_hotfixes=True)
    assert shown == ["ruby-3.0-1.x86_64", "ruby-3.3-1.x86_64"]


def test_modules_of_a_repository_without_any_hide_nothing() -> None:
    assert parse_modules(b"") == parse_modules(b"--- \n...\n")


def test_a_file_outside_primary_is_found_when_a_dependency_names_it(tmp_path: Path) -> None:
    packages = (
        Rpm("data", files=["/usr/share/data/x&<y>"]),
        Rpm("user", requires=["/usr/share/data/x&<y>"]),
    )
    lock = resolve(opened(tmp_path, packages), chroot(), ["user"])
    assert isinstance(lock, Lock)
    assert [p.nevra.name for p in lock.packages] == ["data", "user"]


def test_filelists_are_left_alone_while_nobody_asks_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> dict[str, list[str]]:
        raise AssertionError("filelists.xml was read")

    monkeypatch.setattr(primary, "owners", never)
    pool = opened(tmp_path, (Rpm("a", files=["/usr/bin/a", "/usr/share/a/x"]),))
    assert providers(pool, "/usr/bin/a") == ("a-1-1.x86_64",)


def test_filelists_are_read_once_for_a_file_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    real = primary.owners

    def counted(content: bytes, wanted: Iterable[str]) -> dict[str, list[list[str]]]:
        asked.append(sorted(wanted))
        return real(content, wanted)

    monkeypatch.setattr(primary, "owners", counted)
    first = opened(tmp_path, (Rpm("a", files=["/opt/a/x"]), Rpm("b", files=["/opt/a/x"])))
    both = ("a-1-1.x86_64", "b-1-1.x86_64")
    assert providers(first, "/opt/a/x") == both
    assert providers(first, "/opt/a/x") == both
    assert providers(Universe.open(first.chroot, first.pins, first.cache), "/opt/a/x") == both
    assert asked == [["/opt/a/x"]]


def test_a_warm_universe_is_read_from_its_cache_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cold = opened(tmp_path, (Rpm("a", requires=["/opt/x"]), Rpm("b", files=["/opt/x"])))

    def never(*_: object) -> bytes:
        raise AssertionError("metadata was read again")

    monkeypatch.setattr(solvfiles, "content_of", never)
    warm = Universe.open(cold.chroot, cold.pins, cold.cache)
    assert resolve(warm, chroot(), ["a"]) == resolve(cold, chroot(), ["a"])


def test_a_damaged_cache_is_made_again(tmp_path: Path) -> None:
    cold = opened(tmp_path, (Rpm("a", requires=["/opt/none"]),))
    (kept,) = cold.cache.glob("*.solv")
    for other in (*cold.cache.glob("*.needs"), *cold.cache.glob("*.owners")):
        other.write_bytes(b"{")
    for damage in (b"", b"SOLV", kept.read_bytes()[:100], b"\0" * 500):
        kept.write_bytes(damage)
        warm = Universe.open(cold.chroot, cold.pins, cold.cache)
        assert listed(warm) == ["a-1-1.x86_64"]


def test_the_cache_follows_the_metadata(tmp_path: Path) -> None:
    opened(tmp_path, (Rpm("a"),))
    assert names(tmp_path, (Rpm("b"),)) == ["b-1-1.x86_64"]


def test_groups_of_all_repositories_are_joined(tmp_path: Path) -> None:
    pins = []
    for number, member in enumerate(("a", "b")):
        directory = write_repository(
            tmp_path / str(number),
            (Rpm(member),),
            groups=[Comps("g", [member], default=[f"{member}-d"], optional=[f"{member}-o"])],
        )
        pins.append(pin_repository(repository(directory, f"r{number}"), tmp_path / f"p{number}"))
    both = Universe.open(chroot(*(p.repository for p in pins)), pins, tmp_path / "cache")
    assert both.groups == {"g": ("a", "a-d", "b", "b-d")}


def test_damaged_groups_name_their_repository(tmp_path: Path) -> None:
    broken = opened(tmp_path, (Rpm("a"),), groups=[Comps("g")])
    (pin,) = broken.pins
    file = pin.file("group")
    assert file is not None
    pin.path(file).write_text("<comps>")
    with pytest.raises(RepositoryError, match="'base' is damaged"):
        _ = broken.groups


def test_a_repository_without_sha256_is_refused_when_it_is_locked(tmp_path: Path) -> None:
    pool = opened(tmp_path, (Rpm("a"),))
    solvable = pool.pool.add_repo("odd").add_solvable()
    solvable.name, solvable.evr, solvable.arch = "b", "1-1", "noarch"
    with pytest.raises(RepositoryError, match=r"'odd' names no sha256 of b-1-1\.noarch"):
        pool.locked(solvable)


def test_a_file_of_the_layer_that_is_no_rpm_is_named(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text("no package")
    package = Package(Nevra("x", 0, "1", "1", "noarch"), "0" * 64, 10, "x")
    base = opened(tmp_path, ())
    with pytest.raises(StateError, match=r"x-1-1\.noarch in the store is not an RPM"):
        Universe.open(base.chroot, base.pins, base.cache, [(package, file)])


def test_files_in_blocks_of_any_size_are_attributed_to_their_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = b"<filelists>" + b"".join(
        b'<package pkgid="%02x" name="p" arch="noarch">'
        b'<file type="dir">/d</file><file>/f%d</file></package>' % (number, number)
        for number in range(20)
    )
    for size in (1, 50, 1000, 1 << 20):
        monkeypatch.setattr(primary, "_BLOCK", size)
        found = primary.owners(text, ["/d", "/f7", "/none"])
        assert found["/f7"] == [["p", "07"]]
        assert len(found["/d"]) == 20
        assert found["/none"] == []


@pytest.mark.parametrize("depth", [200, 100_000])
def test_a_dependency_deep_enough_to_overflow_the_parser_is_refused(
    tmp_path: Path, depth: int
) -> None:
    hostile = Rpm("a", requires=["(" * depth + "b" + " or c)" * depth])
    with pytest.raises(RepositoryError, match="of repository 'base' cannot be used") as caught:
        opened(tmp_path, (hostile,))
    assert "more than 100 brackets" in caught.value.why


def test_a_cold_and_a_warm_universe_give_the_same_lock(tmp_path: Path) -> None:
    packages = (
        Rpm("a", requires=["/usr/bin/x", "/opt/y"]),
        Rpm("x1", files=["/usr/bin/x"]), Rpm("x2", files=["/usr/bin/x", "/opt/y"]),
        Rpm("y", files=["/opt/y"]),
    )  # fmt: skip
    cold = opened(tmp_path, packages)
    first = resolve(cold, cold.chroot, ["a"])
    assert isinstance(first, Lock)
    for _ in range(2):
        warm = Universe.open(cold.chroot, cold.pins, cold.cache)
        assert resolve(warm, cold.chroot, ["a"]) == first
        assert resolve(warm, cold.chroot, ["/opt/y", "/usr/bin/x"]) == resolve(
            cold, cold.chroot, ["/opt/y", "/usr/bin/x"]
        )


@needs_rpmbuild
def test_what_is_kept_of_a_package_of_the_layer_is_made_again_when_it_is_damaged(
    tmp_path: Path,
) -> None:
    binary, _ = build(tmp_path, Spec("tiny"))
    nevra = Nevra("tiny", 0, "1.0", "1", "x86_64")
    package = Package(nevra, sha256_of(binary), binary.stat().st_size, "tiny")
    cache = tmp_path / "cache"
    whole = solvfiles.layer_metadata(package, binary, cache)
    (kept,) = (path for path in (cache / "layer").rglob("*") if path.is_file())
    content = kept.read_bytes()
    for damage in (content[:-9], content.replace(b"tiny", b"tinx"), b""):
        kept.write_bytes(damage)
        assert solvfiles.layer_metadata(package, binary, cache) == whole

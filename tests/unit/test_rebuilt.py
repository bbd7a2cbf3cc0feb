"""What differs from what a result was made of, in words."""

from __future__ import annotations

import hashlib
from pathlib import Path

import git
import msgspec
import pytest

from farm.layer.history import earlier_bytes
from farm.model import (
    Built,
    Chroot,
    Lock,
    LockedPackage,
    Manifest,
    Nevra,
    Package,
    Recipe,
    RecipeFile,
    Result,
)
from farm.rebuild.changes import of_chroot, of_lock, of_recipe, summed_up
from farm.rebuild.keys import RECIPE_NUMBER, changed_input, changed_inputs
from farm.rebuilt import _diff, _instead, _text

CHROOT = Chroot(
    "d-x86_64", "d", "x86_64", (), ("gcc", "make"), ".d",
    macros=(("_smp", "2"),), with_options=("tests",), files=(("etc/hosts", "a\nb\n"),),
)  # fmt: skip


def package(name: str, version: str = "1", content: str = "", repository: str = "base",
            arch: str = "x86_64") -> LockedPackage:  # fmt: skip
    sha256 = hashlib.sha256(f"{name} {version} {content} {arch}".encode()).hexdigest()
    return LockedPackage(Nevra(name, 0, version, "1", arch), sha256, 1, repository)


LOCK = Lock((package("gcc"), package("zeta", repository="layer")))


def recipe(**files: str) -> Recipe:
    texts = {"munge.spec": "one", "fix.patch": "p"} | {
        k.replace("_", "."): v for k, v in files.items()
    }
    listed = tuple(
        RecipeFile(name, hashlib.sha256(text.encode()).hexdigest())
        for name, text in sorted(texts.items())
        if text
    )
    return Recipe("munge", "munge.spec", "/", listed)


def result(made: Recipe | None = None, lock: Lock = LOCK, chroot: Chroot | None = CHROOT) -> Result:
    made = made or recipe()
    srpm = Package(Nevra("munge", 0, "1", "1", "src"), "s" * 64, 1, "munge")
    digest = chroot.digest if chroot is not None else "of an early farm"
    return Result(
        "k", "munge@d-x86_64", Manifest(made.digest, lock.digest, digest, RECIPE_NUMBER), lock,
        made.files, 0, "c", Built((), srpm, 1.0), 1.0, chroot=chroot, spec="munge.spec",
    )  # fmt: skip


def test_nothing_differs_from_itself() -> None:
    assert changed_inputs(result(), recipe(), CHROOT, LOCK) == ()
    assert changed_input(result(), recipe(), CHROOT, LOCK, frozenset(), "full") == ""


def test_files_of_a_recipe_are_named_the_spec_first() -> None:
    changes = of_recipe(result(), recipe(munge_spec="two", fix_patch="", extra_patch="x"))
    assert [change.text for change in changes] == [
        "munge.spec changed", "extra.patch is new", "fix.patch is gone",
    ]  # fmt: skip
    said = changed_input(result(), recipe(fix_patch="q"), CHROOT, LOCK, frozenset(), "broken")
    assert said == "its recipe changed: fix.patch"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"macros": (("_smp", "4"),)}, "the macro %_smp was '2', is '4'"),
        ({"macros": (("_smp", "2"), ("x", "y"))}, "the macro %x is new: 'y'"),
        ({"macros": ()}, "the macro %_smp is gone: '2'"),
        ({"dist": ".e"}, "%dist was '.d', is '.e'"),
        ({"setup": ("gcc",)}, "the set-up no longer installs make"),
        ({"setup": ("gcc", "make", "tar")}, "the set-up installs tar as well"),
        ({"setup": ("make", "gcc")}, "the set-up packages have another order"),
        ({"with_options": ()}, "the build condition tests is not switched on"),
        ({"without_options": ("docs",)}, "the build condition docs is switched off"),
        ({"environment": (("A", "b"),)}, "the environment variable A is new: 'b'"),
        ({"files": (("etc/hosts", "a\n"),)}, "the file /etc/hosts changed"),
        ({"directories": ("/x",)}, "the directory /x is made"),
        ({"unprivileged_user": "me"}, "the build user was 'mockbuild', is 'me'"),
    ],
)
def test_a_setting_of_the_chroot_is_named_with_what_it_was(
    change: dict[str, object], said: str
) -> None:
    now = msgspec.structs.replace(CHROOT, **change)
    assert now.digest != CHROOT.digest
    (found,) = of_chroot(result(), now)
    assert found.text == said
    assert said in changed_input(result(), recipe(), now, LOCK, frozenset(), "broken")


def test_what_does_not_change_a_result_is_no_change_of_the_chroot() -> None:
    now = msgspec.structs.replace(CHROOT, nice=5, native_tools="/x")
    assert of_chroot(result(), now) == ()


def test_of_an_early_farms_chroot_only_that_it_differs_is_known() -> None:
    (change,) = changed_inputs(result(chroot=None), recipe(), CHROOT, LOCK)
    assert change.kind == "chroot" and "early farm" in change.text


def test_a_build_root_is_compared_package_by_package_the_layers_first() -> None:
    new = Lock(
        (package("gcc", "2"), package("make"), package("zeta", content="b", repository="layer"))
    )
    texts = [change.text for change in of_lock(LOCK, new)]
    assert texts == [
        "zeta-1-1.x86_64 has other bytes",
        "gcc-1-1.x86_64 became 2-1",
        "make-1-1.x86_64 is new in its build root",
    ]
    gone = of_lock(new, LOCK)
    assert "make-1-1.x86_64 is no longer in its build root" in [change.text for change in gone]


def test_the_same_name_on_two_architectures_or_twice_is_not_mixed_up() -> None:
    both = Lock((package("gcc"), package("gcc", arch="i686"), package("kernel"),
                 package("kernel", "2")))  # fmt: skip
    assert of_lock(both, both) == ()
    one = Lock((package("gcc"), package("gcc", arch="i686"), package("kernel", "2"),
                package("kernel", "3")))  # fmt: skip
    assert [change.text for change in of_lock(both, one)] == ["kernel-1-1.x86_64 became 3-1"]


def test_many_changes_are_summed_up() -> None:
    new = Lock(tuple(package(f"p{number}") for number in range(9)))
    told = summed_up(of_lock(Lock(()), new))
    assert told.count("is new") == 3 and told.endswith("and 6 more")


def test_why_a_result_took_the_place_of_another() -> None:
    first = result()
    assert _instead(None, first) == "nothing was built before it"
    second = result(recipe(munge_spec="two"))
    assert _instead(first, second) == "munge.spec changed"
    third = result(lock=Lock((package("gcc", "2"), *LOCK.packages[1:])))
    assert _instead(first, third) == "gcc-1-1.x86_64 became 2-1"
    assert "early farm" in _instead(result(chroot=None), first)
    counted = msgspec.structs.replace(first, counter=2)
    assert _instead(first, counted) == "the rebuild counter moved to 2"
    assert _instead(first, first) == "nothing differs: it was asked for"


def test_changed_lines_have_their_places() -> None:
    old = "a\nb\nc\nd\n"
    assert list(_diff("x", old, "a\nB\nc\nd\ne\n")) == ["x:2 - b", "x:2 + B", "x:5 + e"]
    long = list(_diff("x", "", "\n".join(map(str, range(30)))))
    assert len(long) == 9 and long[-1] == "… and 22 more changed lines"


def test_what_is_no_text_is_not_compared_line_by_line() -> None:
    assert _text(b"a\0b") is None and _text(b"\xff") is None and _text(None) is None
    assert _text("ä".encode()) == "ä"


def test_an_earlier_file_comes_from_git_if_it_is_the_very_one(tmp_path: Path) -> None:
    specs = tmp_path / "specs"
    (specs / "a").mkdir(parents=True)
    (specs / "a" / "a.spec").write_text("old")
    repository = git.Repo.init(tmp_path)
    repository.git.add("--all")
    person = git.Actor("A", "a@example.org")
    commit = repository.index.commit("One", author=person, committer=person).hexsha
    (specs / "a" / "a.spec").write_text("new")
    digest = hashlib.sha256(b"old").hexdigest()
    assert earlier_bytes(specs, commit, "a/a.spec", digest) == b"old"
    assert earlier_bytes(specs, commit, "a/a.spec", "0" * 64) is None
    assert earlier_bytes(specs, commit, "a/b.spec", digest) is None
    assert earlier_bytes(specs, "0" * 40, "a/a.spec", digest) is None
    assert earlier_bytes(tmp_path.parent, commit, "a/a.spec", digest) is None

"""Does the layer fit its base, and what would another base break?"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from farm.model import Evaluation, Group, Nevra, Package, Problem, Verdict
from farm.plan.fit.check import layer_verdicts
from farm.plan.fit.compare import Comparison, compare
from farm.plan.fit.contribution import Contribution
from farm.plan.fit.declared import Declared
from farm.plan.fit.looping import may_loop
from farm.plan.fit.view import View
from farm.plan.metadata.repodata import pin_repository
from farm.store import write_atomic
from tests.repositories import Rpm, chroot, repository, write_repository

BASE = (
    Rpm("bash"),
    Rpm("openssl-libs", "3.0-1", provides=["libssl.so.3()(64bit)"]),
    Rpm("openssl-devel", "3.0-1", requires=["openssl-libs = 3.0-1"], provides=["pkgconfig(ssl)"]),
    Rpm("python3"),
    Rpm("untouched"),
)


def spec(
    name: str,
    build: tuple[str, ...] = (),
    requires: tuple[str, ...] = (),
    *,
    avoid: tuple[str, ...] = (),
    conflicts: tuple[str, ...] = (),
) -> Evaluation:
    nevra = Nevra(name, 0, "1", "1.t1", "x86_64")
    return Evaluation(
        source=Nevra(name, 0, "1", "1.t1", "src"),
        packages=((nevra, (f"{name} = 1-1.t1",)),),
        build_requires=build,
        build_conflicts=avoid,
        requires=((name, requires),) if requires else (),
        conflicts=((name, conflicts),) if conflicts else (),
    )


class Layer:
    """Recipes over bases, each built (with what its build found out) or only declared."""

    def __init__(self, directory: Path, *evaluations: Evaluation) -> None:
        self.directory = directory
        self.evaluations = {each.source.name: each for each in evaluations}
        self.found: dict[str, tuple[str, ...]] = {}
        self.groups: list[Group] = []

    def built(self, name: str, *requires: str) -> None:
        """It was built, and rpm found that it requires these as well."""
        self.found[name] = requires

    def over(self, *base: Rpm) -> Callable[[frozenset[str]], View]:
        key = f"base-{hashlib.sha256(repr(base).encode()).hexdigest()[:12]}"
        place = repository(write_repository(self.directory / key, base))
        pins = (pin_repository(place, self.directory / f"pins-{key}"),)
        where = chroot(place, setup=("bash",))

        def open_view(stale: frozenset[str]) -> View:
            some = [
                self._contribution(name, name in stale)
                for name, evaluation in sorted(self.evaluations.items())
                if not evaluation.exclusive_arch
            ]
            return View.open(where, pins, self.directory / "cache", some)

        return open_view

    def _contribution(self, name: str, stale: bool) -> Contribution:
        evaluation = self.evaluations[name]
        if name not in self.found:
            return Contribution(name, evaluation)
        (nevra, provides), *_ = evaluation.packages
        own = dict(evaluation.requires).get(name, ())
        piece = Declared(nevra, provides, (*own, *self.found[name])).piece
        sha256 = hashlib.sha256(piece).hexdigest()
        # the cached description of a package in the store, as reading the RPM would leave it
        kept = self.directory / "cache" / "layer" / sha256[:2] / f"{sha256[2:]}-{_format()}"
        write_atomic(kept, f"{sha256}\n".encode() + piece)
        package = Package(nevra, sha256, 1, name)
        return Contribution(name, evaluation, ((package, kept),), current=True, stale=stale)

    def verdicts(self, *base: Rpm) -> dict[tuple[str, str], Verdict]:
        found = layer_verdicts(
            self.over(*base), self.evaluations, self.groups, self.evaluations.keys()
        )
        return {(v.check, v.package.split("-1-1")[0]): v for v in found}

    def compare(self, *base: Rpm) -> Comparison:
        return compare(
            self.over(*BASE), self.over(*base), self.evaluations, self.groups, self.evaluations
        )


def _format() -> str:
    from farm.plan.metadata import solvfiles  # noqa: PLC0415 - its private format number is part of a name

    return solvfiles._FORMAT


def replaced(*changed: Rpm, without: tuple[str, ...] = ()) -> tuple[Rpm, ...]:
    """The base with these packages in place of those of the same name."""
    gone = {each.name for each in changed} | set(without)
    return (*(each for each in BASE if each.name not in gone), *changed)


def group(name: str, *members: str) -> Group:
    return Group(name, name, "", "1", members)


def states(verdicts: dict[tuple[str, str], Verdict]) -> dict[tuple[str, str], str]:
    return {question: verdict.state for question, verdict in verdicts.items()}


def test_a_layer_in_good_order_has_only_good_verdicts(tmp_path: Path) -> None:
    layer = Layer(tmp_path, spec("munge", ("openssl-devel",)), spec("pdsh", ("munge",), ("munge",)))
    assert states(layer.verdicts(*BASE)) == {
        ("build", "munge"): "ok",
        ("build", "pdsh"): "ok",
        ("install", "munge"): "ok",
        ("install", "pdsh"): "ok",
    }


def test_only_the_guilty_are_broken(tmp_path: Path) -> None:
    layer = Layer(
        tmp_path, *(spec(f"p{n}", ("openssl-devel",)) for n in range(7)), spec("bad", ("nowhere",))
    )
    found = layer.verdicts(*BASE)
    assert [q for q, verdict in found.items() if verdict.state == "broken"] == [("build", "bad")]
    problem = found["build", "bad"].problem
    assert problem is not None
    assert problem.facts == ("BuildRequires: nowhere: nothing provides it",)


def test_packages_that_cannot_be_had_together_are_not_broken(tmp_path: Path) -> None:
    layer = Layer(tmp_path, spec("this", conflicts=("that",)), spec("that"), spec("third"))
    assert set(states(layer.verdicts(*BASE)).values()) == {"ok"}


def test_a_build_that_wants_a_package_kept_out_is_asked_alone(tmp_path: Path) -> None:
    layer = Layer(
        tmp_path,
        spec("fine", ("openssl-devel",), avoid=("python3",)),
        spec("torn", ("python3",), avoid=("python3",)),
    )
    found = states(layer.verdicts(*BASE))
    assert (found["build", "fine"], found["build", "torn"]) == ("ok", "broken")


def test_a_member_that_does_not_get_along_with_its_metapackage_is_broken(tmp_path: Path) -> None:
    layer = Layer(
        tmp_path,
        spec("cluster-master", requires=("munge",)),
        spec("munge"),
        spec("odd", conflicts=("munge",)),
    )
    layer.groups = [Group("cluster-master", "m", "", "1", ("munge",), ("odd",))]
    found = layer.verdicts(*BASE)
    assert states(found)["install", "odd"] == "broken"
    problem = found["install", "odd"].problem
    assert problem is not None
    assert any("odd-1-1.t1.x86_64 (layer) conflicts with munge" in fact for fact in problem.facts)
    assert states(found)["install", "cluster-master"] == "ok"


def test_metapackages_that_exclude_each_other_do_not_break_what_both_have(tmp_path: Path) -> None:
    layer = Layer(
        tmp_path,
        spec("munge"),
        spec("with-this", requires=("munge",), conflicts=("with-that",)),
        spec("with-that", requires=("munge",)),
    )
    layer.groups = [group("with-this", "munge"), group("with-that", "munge")]
    assert set(states(layer.verdicts(*BASE)).values()) == {"ok"}


def test_what_only_a_build_can_tell_is_open(tmp_path: Path) -> None:
    layer = Layer(tmp_path, spec("munge"), spec("pdsh", ("pkgconfig(munge)",)))
    verdict = layer.verdicts(*BASE)["build", "pdsh"]
    assert (verdict.state, verdict.missing) == ("open", ("pkgconfig(munge)",))


def test_what_is_open_does_not_hide_what_is_broken(tmp_path: Path) -> None:
    layer = Layer(tmp_path, spec("munge"), spec("pdsh", ("pkgconfig(munge)", "nowhere")))
    verdict = layer.verdicts(*BASE)["build", "pdsh"]
    assert verdict.state == "broken" and verdict.problem is not None
    assert verdict.problem.facts == ("BuildRequires: nowhere: nothing provides it",)


def test_once_all_is_built_nothing_is_open(tmp_path: Path) -> None:
    layer = Layer(tmp_path, spec("munge"), spec("pdsh", ("pkgconfig(munge)",)))
    layer.built("munge")
    layer.built("pdsh")
    assert states(layer.verdicts(*BASE))["build", "pdsh"] == "broken"


def test_a_new_soname_merely_wants_a_rebuild(tmp_path: Path) -> None:
    layer = Layer(
        tmp_path,
        spec("munge", ("openssl-devel",)),
        spec("cluster-master", requires=("munge",)),
        spec("bystander"),
    )
    layer.groups = [group("cluster-master", "munge")]
    for name in layer.evaluations:
        layer.built(name, *(["libssl.so.3()(64bit)"] if name == "munge" else []))
    new = replaced(
        Rpm("openssl-libs", "4.0-1", provides=["libssl.so.4()(64bit)"]),
        Rpm("openssl-devel", "4.0-1", requires=["openssl-libs = 4.0-1"]),
    )
    found = layer.compare(*new)
    assert found.breaks == ()
    assert {(v.package.split("-1-1")[0], v.missing) for v in found.rebuilds} == {
        ("munge", ("munge",)),
        ("cluster-master", ("munge",)),
    }
    assert "bystander" not in found.asked
    (problem,) = [v.problem for v in found.rebuilds if v.package.startswith("munge")]
    assert problem is not None
    assert problem.changes == (
        "openssl-libs-3.0-1.x86_64 became 4.0-1: it does not provide libssl.so.3()(64bit) any more",
    )


def test_only_what_a_rebuild_helps_is_to_be_rebuilt(tmp_path: Path) -> None:
    layer = Layer(
        tmp_path, spec("munge"), spec("other"), spec("needs-munge", requires=("munge",)),
        spec("says-so", requires=("libssl.so.3()(64bit)",)),
    )  # fmt: skip
    for name in ("munge", "other", "says-so"):
        layer.built(name, "libssl.so.3()(64bit)")
    layer.built("needs-munge")
    found = layer.compare(
        *replaced(Rpm("openssl-libs", "4.0-1", provides=["libssl.so.4()(64bit)"]),
                  without=("openssl-devel",))
    )  # fmt: skip
    assert {v.package.split("-1-1")[0]: v.missing for v in found.rebuilds} == {
        "munge": ("munge",), "other": ("other",), "needs-munge": ("munge",),
    }  # fmt: skip
    assert [v.package.split("-1-1")[0] for v in found.breaks] == ["says-so"]


def test_what_else_is_wrong_over_the_other_base_is_said_to_break(tmp_path: Path) -> None:
    layer = Layer(tmp_path, spec("munge"), spec("bystander"))

    def sound(view: View) -> list[Verdict]:
        return [
            Verdict("replaces", solvable.name, "c", "broken",
                    Problem("replaces-base", solvable.name, (f"the base has {solvable}",)))
            for solvable in view.universe.providers("munge") if solvable.repo.name == "base"
        ]  # fmt: skip

    def over(one: tuple[Rpm, ...], other: tuple[Rpm, ...]) -> Comparison:
        views = layer.over(*one), layer.over(*other)
        return compare(*views, layer.evaluations, (), layer.evaluations, sound)

    more = (*BASE, Rpm("munge", "0-1"))
    (broken,) = over(BASE, more).breaks
    assert (broken.check, broken.package) == ("replaces", "munge")
    assert broken.problem is not None
    assert broken.problem.changes == ("munge-0-1.x86_64 is new in the base",)
    assert [v.package for v in over(more, BASE).mended] == ["munge"]
    assert over(more, more).breaks == over(more, more).mended == ()


def test_what_a_package_of_the_same_version_says_otherwise_is_told(tmp_path: Path) -> None:
    layer = Layer(tmp_path, spec("munge"))
    new = Rpm("openssl-libs", "3.0-1", provides=["libssl.so.4()(64bit)"], obsoletes=["ssl < 2"])
    assert layer.compare(*replaced(new)).changed == (
        "openssl-libs-3.0-1.x86_64 provides libssl.so.3()(64bit) no more, "
        "now provides libssl.so.4()(64bit), now obsoletes ssl < 2",
    )


def test_an_older_package_that_is_added_is_said_to_be_there_as_well(tmp_path: Path) -> None:
    layer = Layer(tmp_path, spec("munge"))
    assert layer.compare(*BASE, Rpm("python3", "0.5-1")).changed == (
        "python3-0.5-1.x86_64 is there as well",
    )


def test_a_vanished_provides_is_named_as_what_breaks(tmp_path: Path) -> None:
    layer = Layer(tmp_path, spec("munge", ("pkgconfig(ssl)",)), spec("bystander", ("python3",)))
    found = layer.compare(*replaced(Rpm("openssl-devel", "3.1-1")))
    (broken,) = found.breaks
    assert (broken.check, broken.package) == ("build", "munge")
    assert broken.problem is not None
    assert broken.problem.changes == (
        "openssl-devel-3.0-1.x86_64 became 3.1-1: it does not provide pkgconfig(ssl) any more",
    )
    assert found.asked == ("munge",)


def test_a_package_that_left_the_base_is_named(tmp_path: Path) -> None:
    layer = Layer(tmp_path, spec("munge", requires=("python3",)))
    (broken,) = layer.compare(*replaced(without=("python3",))).breaks
    assert broken.problem is not None
    assert broken.problem.changes == (
        "python3-1-1.x86_64, which provided python3, is gone from the base",
    )


def test_new_conflicts_of_the_base_are_named(tmp_path: Path) -> None:
    layer = Layer(tmp_path, spec("munge", ("openssl-devel", "python3")))
    (broken,) = layer.compare(*replaced(Rpm("python3", "2-1", conflicts=["openssl-libs"]))).breaks
    assert broken.problem is not None
    assert broken.problem.changes == (
        "python3-1-1.x86_64 became 2-1: it now conflicts with openssl-libs",
    )


def test_what_the_new_base_mends_is_said(tmp_path: Path) -> None:
    layer = Layer(tmp_path, spec("munge", ("nowhere",)))
    found = layer.compare(*BASE, Rpm("nowhere"))
    assert [verdict.package for verdict in found.mended] == ["munge"]
    assert found.breaks == ()


def test_an_unchanged_base_asks_nothing_again(tmp_path: Path) -> None:
    layer = Layer(tmp_path, spec("munge", ("openssl-devel",)))
    found = layer.compare(*reversed(BASE))
    assert (found.asked, found.changed, found.breaks) == ((), (), ())


@pytest.mark.parametrize("added", [Rpm("openssl-devel", "9-1", requires=["nowhere"])])
def test_a_newer_package_that_cannot_be_had_is_asked_about(tmp_path: Path, added: Rpm) -> None:
    """The newest version is wanted: one that is only added can break what asks for it."""
    layer = Layer(tmp_path, spec("munge", ("openssl-devel",)))
    (broken,) = layer.compare(*BASE, added).breaks
    assert broken.package == "munge"


def looping(layer: Layer) -> frozenset[str]:
    return may_loop(layer.over(*BASE)(frozenset()), layer.evaluations)


def test_a_layer_in_order_has_no_suspects(tmp_path: Path) -> None:
    layer = Layer(tmp_path, spec("a", ("b",)), spec("b", ("c",), ("d",)), spec("c"), spec("d"))
    assert looping(layer) == frozenset()


def test_what_is_built_with_itself_by_way_of_what_is_installed_is_suspected(tmp_path: Path) -> None:
    layer = Layer(
        tmp_path, spec("a", ("b",)), spec("b", (), ("c",)), spec("c", ("a",)), spec("x", ("a",))
    )
    assert looping(layer) == {"a", "c"}


def test_packages_that_only_require_each_other_are_no_loop(tmp_path: Path) -> None:
    layer = Layer(tmp_path, spec("a", (), ("b",)), spec("b", (), ("a",)))
    assert looping(layer) == frozenset()


def test_a_recipe_that_is_left_out_on_this_architecture_is_named(tmp_path: Path) -> None:
    munge = msgspec.structs.replace(spec("munge"), exclusive_arch=("aarch64",))
    layer = Layer(tmp_path, munge, spec("pdsh", ("munge",)))
    problem = layer.verdicts(*BASE)["build", "pdsh"].problem
    assert problem is not None
    assert problem.remedy == (
        "munge of the layer has it, but is not for x86_64 (ExclusiveArch: aarch64)."
    )

"""The layer adds to its base: what takes the place of the base's packages or files is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from farm.config import load
from farm.errors import ConfigError
from farm.model import Problem
from farm.plan.fit.findings import Findings
from farm.plan.fit.replaces import replaces_findings
from farm.plan.fit.shipment import published
from farm.plan.metadata.repodata import pin_repository
from farm.plan.universe import Universe
from tests.repositories import Rpm, chroot, repository, write_repository

BASE = (Rpm("libc", "2-1"), Rpm("munge", "0.5-1"), Rpm("munge-libs", "0.5-1"), Rpm("rsh", "1-1"))


def findings(
    tmp_path: Path,
    layer: Sequence[Rpm],
    declared: Mapping[str, Sequence[str]] | None = None,
    base: Sequence[Rpm] = BASE,
) -> Findings:
    write_repository(tmp_path / "base", base)
    write_repository(tmp_path / "snapshot" / "x86_64", layer)
    shipment = published(tmp_path / "snapshot", "x86_64", tmp_path / "cache")
    assert shipment is not None
    pin = pin_repository(repository(tmp_path / "base"), tmp_path / "pin")
    pieces = [package.load() for package in shipment.packages]
    universe = Universe.open(chroot(pin.repository), [pin], tmp_path / "cache", (), pieces)
    sources = {package.nevra: package.source for package in shipment.packages}
    return replaces_findings(universe, sources, declared or {}, release="test-1")


def test_packages_of_the_layers_own_are_fine(tmp_path: Path) -> None:
    layer = [Rpm("pdsh", requires=["rsh"], provides=["parallel-shell"], obsoletes=["pdsh-old"])]
    assert findings(tmp_path, layer) == Findings()


def test_packages_of_the_same_name_are_one_problem_of_their_source_package(tmp_path: Path) -> None:
    layer = [Rpm(name, "0.6-1.t1", source="munge") for name in ("munge", "munge-libs", "munge-x")]
    assert findings(tmp_path, layer).problems == (
        Problem(
            "replaces-base",
            "munge",
            (
                "munge and munge-libs: the base has packages of the same names",
                "munge-0.6-1.t1.x86_64 of the layer, munge-0.5-1.x86_64 of repository base: the "
                "layer's is higher and takes the place of the base's at every site",
                "munge-libs-0.6-1.t1.x86_64 of the layer, munge-libs-0.5-1.x86_64 of repository "
                "base: the layer's is higher and takes the place of the base's at every site",
            ),
            "Take it out of the layer, or give it a name and paths of its own. If the layer is "
            "meant to replace it, say so in farm.toml, under [releases.test-1.replaces]: "
            'munge = ["munge", "munge-libs"]',
        ),
    )


@pytest.mark.parametrize(
    ("evr", "outcome"),
    [
        ("0.6-1", "takes the place"),
        ("0.5-1", "the versions are equal"),
        ("0.4-9", "sites never get the layer's"),
        ("1:0.1-1", "takes the place"),
    ],
)
def test_it_is_said_which_of_the_two_wins(tmp_path: Path, evr: str, outcome: str) -> None:
    (problem,) = findings(tmp_path, [Rpm("munge", evr)]).problems
    assert problem.kind == "replaces-base" and outcome in problem.facts[1]


def test_the_highest_of_the_bases_is_the_one_to_compare_with(tmp_path: Path) -> None:
    base = (Rpm("munge", "0.5-1"), Rpm("munge", "0.9-1"), Rpm("munge", "0.7-1"))
    (problem,) = findings(tmp_path, [Rpm("munge", "0.8-1")], base=base).problems
    assert "munge-0.9-1.x86_64" in problem.facts[1]


@pytest.mark.parametrize(
    ("obsoletes", "hit"),
    [
        ("rsh", True), ("rsh < 2", True), ("rsh <= 1-1", True), ("rsh = 1-1", True),
        ("rsh < 1", False), ("rsh > 1-1", False), ("shell", False),
    ],
)  # fmt: skip
def test_obsoletes_count_where_name_and_version_match(
    tmp_path: Path, obsoletes: str, hit: bool
) -> None:
    base = (*BASE[:3], Rpm("rsh", "1-1", provides=["shell = 5"]))
    found = findings(tmp_path, [Rpm("pdsh", obsoletes=[obsoletes])], base=base)
    assert [problem.kind for problem in found.problems] == ["obsoletes-base"] * hit
    if hit:
        (problem,) = found.problems
        assert problem.facts[0].startswith(f"pdsh-1-1.x86_64 obsoletes {obsoletes}, and the base")
        assert 'pdsh = ["rsh"]' in problem.remedy


def test_obsoleting_its_own_past_is_fine_where_the_base_has_none(tmp_path: Path) -> None:
    assert findings(tmp_path, [Rpm("pdsh", "2-1", obsoletes=["pdsh < 2"])]) == Findings()


def test_what_is_declared_is_allowed_and_nothing_else(tmp_path: Path) -> None:
    layer = [
        Rpm("munge", "0.6-1", source="munge"),
        Rpm("munge-libs", "0.6-1", source="munge"),
        Rpm("pdsh", obsoletes=["rsh"], source="pdsh"),
    ]
    declared = {"munge": ["munge", "munge-l*"], "pdsh": ["rsh"]}
    assert findings(tmp_path, layer, declared) == Findings()
    some = findings(tmp_path, layer, {"munge": ["munge"], "pdsh": ["munge*"]}).problems
    assert [(p.kind, p.subject) for p in some] == [
        ("replaces-base", "munge"),
        ("obsoletes-base", "pdsh"),
    ]


def test_a_declaration_that_nothing_needs_is_said(tmp_path: Path) -> None:
    layer = [Rpm("pdsh", source="pdsh")]
    found = findings(tmp_path, layer, {"pdsh": ["rsh", "munge"], "pdhs": ["rsh"]})
    assert found.problems == ()
    assert found.notes == (
        "farm.toml: releases.test-1.replaces.pdhs: the layer has no package of that name. "
        "Perhaps you meant 'pdsh'.",
        "farm.toml: releases.test-1.replaces.pdsh: rsh and munge can be taken out, pdsh replaces "
        "nothing of that name in the base",
    )


def test_a_declaration_that_does_not_help_is_said(tmp_path: Path) -> None:
    layer = [Rpm("munge", "0.4-1", source="munge")]
    found = findings(tmp_path, layer, {"munge": ["munge"]})
    assert found.problems == ()
    assert "munge-0.5-1.x86_64 of repository base is higher: sites have that one" in found.notes[0]


def test_providing_the_name_of_a_base_package_is_worth_a_note(tmp_path: Path) -> None:
    layer = [Rpm("pdsh", provides=["rsh = 9", "pdsh-shell"], source="pdsh")]
    found = findings(tmp_path, layer)
    assert found.problems == ()
    (note,) = found.notes
    assert note.startswith("pdsh-1-1.x86_64 provides rsh, which is the name of rsh-1-1.x86_64")
    assert findings(tmp_path, layer, {"pdsh": ["rsh"]}).notes == ()


REPLACES = """\
[releases.one]
architectures = ["x86_64"]
[releases.one.replaces]
"""


def test_farm_toml_says_what_may_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "farm.toml").write_text(REPLACES + 'munge = ["munge", "libmunge*"]\n')
    assert load(tmp_path).releases["one"].replaces == {"munge": ("munge", "libmunge*")}


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('munge = "munge"', "releases.one.replaces.munge"),
        ('munge = ["munge", 3]', "releases.one.replaces.munge"),
        ('munge = [""]', "releases.one.replaces.munge"),
    ],
)
def test_a_declaration_of_the_wrong_kind_is_named(tmp_path: Path, line: str, named: str) -> None:
    (tmp_path / "farm.toml").write_text(REPLACES + line + "\n")
    with pytest.raises(ConfigError, match=named) as refused:
        load(tmp_path)
    assert str(tmp_path / "farm.toml") in refused.value.what
    assert "munge = [" in refused.value.hint


@pytest.mark.parametrize(
    ("obsoletes", "hit"), [("pdsh", True), ("pdsh < 2", True), ("pdsh < 1", False), ("x", False)]
)
def test_what_the_base_takes_away_from_the_layer_is_a_problem(
    tmp_path: Path, obsoletes: str, hit: bool
) -> None:
    base = (*BASE, Rpm("clush", "3-1", obsoletes=[obsoletes]))
    layer = [Rpm("pdsh", "1-1", source="pdsh")]
    found = findings(tmp_path, layer, base=base).problems
    assert [problem.kind for problem in found] == ["obsoleted-by-base"] * hit
    if hit:
        assert found[0].facts == (
            f"clush-3-1.x86_64 of repository base obsoletes {obsoletes}, and the layer has "
            "pdsh-1-1.x86_64",
            "`dnf upgrade` puts the base's in the place of the layer's at every site",
        )
    again = findings(tmp_path / "declared", layer, {"pdsh": ["clush"]}, base)
    assert again.problems == ()

"""Sources from the machine's real registries, real source packages, real tar and rpmbuild."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from farm.config import Sources
from farm.errors import LayerError, SourceError
from farm.layer.generated import metapackage_recipe, release_recipe
from farm.layer.groups import ReleasePackage
from farm.layer.origins import Offer, Wanted
from farm.layer.origins.debian import Debian
from farm.layer.origins.pypi import PyPI
from farm.layer.repository import read_layer
from farm.layer.sources import SourceCache, fetch
from farm.layer.srpm import recipe_from_srpm
from farm.layer.tarball import Member, tar_gz
from farm.layer.update import update
from farm.model import Group, Recipe
from farm.run import run
from tests.layers import NOW, LayerOf, spec_text
from tests.rpms import needs_rpmbuild

pytestmark = pytest.mark.real

needs_apt = pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt on this machine")
CHANGES = (("2026-01-05", "A <a@example.org>", "First."),)


def rpmbuild(
    home: Path, spec: Path, *what: str, sources: Path | None = None, **macros: str
) -> list[Path]:
    """What the host's rpmbuild makes of a trusted spec."""
    settings = {"_topdir": str(home), "_dbpath": str(home / "db"), "dist": ".test", **macros}
    settings["_sourcedir"] = str(sources or spec.parent)
    defines = [word for name, value in settings.items() for word in ("--define", f"{name} {value}")]
    run(["rpmbuild", *what, "--quiet", *defines, spec], env={"HOME": str(home)})
    return sorted(home.glob("*RPMS/**/*.rpm"))


@pytest.fixture(scope="module")
def apt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private apt root: its lists are fetched once for all tests here."""
    return tmp_path_factory.mktemp("apt")


@needs_apt
def test_debians_archive_has_the_tarball_of_a_declared_checksum(tmp_path: Path, apt: Path) -> None:
    asked = Wanted("genders", "genders.tar.gz", "0" * 128, version="1.27.3")
    offers = [answer for answer in Debian(apt).offers(asked, tmp_path) if isinstance(answer, Offer)]
    digest = hashlib.sha512(offers[-1].path.read_bytes()).hexdigest()
    layer = LayerOf(tmp_path / "farm", in_git=False, sources=Sources(origins=("debian",)))
    cache = layer.config.path("cache")
    cache.mkdir()
    (cache / "debian-sources").symlink_to(apt)
    layer.write(
        {
            "genders/genders.spec": spec_text("genders", tags="Source0: other-name.tar.gz"),
            "genders/sources": f"SHA512 (other-name.tar.gz) = {digest}\n",
        }
    )
    recipe = read_layer(layer.config, now=NOW).recipes[0]
    heard: list[str] = []
    files = dict(fetch(recipe, layer.config, say=heard.append))
    assert hashlib.sha512(files["other-name.tar.gz"].read_bytes()).hexdigest() == digest
    assert "other-name.tar.gz from debian (Debian's genders" in heard[0]


@needs_apt
def test_update_declares_debians_tarball_of_the_specs_version(tmp_path: Path, apt: Path) -> None:
    asked = Wanted("genders", "genders.tar.gz", "0" * 128, version="1.27.3")
    offers = [answer for answer in Debian(apt).offers(asked, tmp_path) if isinstance(answer, Offer)]
    version = offers[0].path.name.removeprefix("genders_").partition(".orig")[0].replace("-", ".")
    layer = LayerOf(tmp_path / "farm", in_git=False, sources=Sources(origins=("debian",)))
    cache = layer.config.path("cache")
    cache.mkdir()
    (cache / "debian-sources").symlink_to(apt)
    tags = "Source0: https://archive.invalid/genders-%{version}.tar.gz"
    layer.write({"genders/genders.spec": spec_text("genders", version=version, tags=tags)})
    done = update(read_layer(layer.config, now=NOW).recipes[0], layer.config)
    assert [(f.file, f.origin, f.state) for f in done.files] == [
        (f"genders-{version}.tar.gz", "debian", "new")
    ]
    assert (layer.specs / "genders/sources").read_text().startswith("SHA512 (genders-")
    layer.write({"genders/genders.spec": spec_text("genders", version="0.1", tags=tags)})
    with pytest.raises(SourceError, match=r"no origin has genders-0\.1\.tar\.gz"):
        update(read_layer(layer.config, now=NOW).recipes[0], layer.config)


@needs_apt
def test_what_an_interrupted_download_left_is_not_offered(tmp_path: Path, apt: Path) -> None:
    asked = Wanted("genders", "genders.tar.gz", "0" * 128, version="1.27.3")
    before = [a for a in Debian(apt).offers(asked, tmp_path) if isinstance(a, Offer)]
    whole = before[0].path.read_bytes()
    before[0].path.write_bytes(whole[: len(whole) // 2])
    after = [a for a in Debian(apt).offers(asked, tmp_path) if isinstance(a, Offer)]
    assert [a.path.read_bytes() for a in after if a.path == before[0].path] == [whole]


@needs_apt
def test_a_package_that_debian_does_not_have_is_said_to_be_missing(
    tmp_path: Path, apt: Path
) -> None:
    wanted = Wanted("no-such-package-anywhere", "x-1.tar.gz", "0" * 128, version="1")
    [answer] = Debian(apt).offers(wanted, tmp_path)
    assert not isinstance(answer, Offer)
    assert answer.why == "there is none of that name"


def test_pypis_sdist_comes_through_pips_own_configuration(tmp_path: Path) -> None:
    wanted = Wanted("python-six", "six-1.16.0.tar.gz", version="1.16.0")
    answers = [a for a in PyPI(20).offers(wanted, tmp_path) if isinstance(a, Offer)]
    assert answers
    listed = run(["tar", "tzf", answers[0].path]).stdout
    assert "six-1.16.0/setup.py" in listed


def test_an_unreachable_upstream_costs_little_and_the_next_origin_is_asked(tmp_path: Path) -> None:
    aside = tmp_path / "aside/munge"
    aside.mkdir(parents=True)
    (aside / "munge-1.0.tar.gz").write_bytes(b"\x1f\x8bx")
    layer = LayerOf(
        tmp_path / "farm",
        in_git=False,
        sources=Sources(
            origins=("upstream", "lookaside"), lookaside=(str(tmp_path / "aside"),), timeout=2
        ),
    )
    tags = "Source0: https://archive.invalid/munge-%{version}.tar.gz"
    layer.write({"munge/munge.spec": spec_text("munge", tags=tags)})
    recipe = read_layer(layer.config, now=NOW).recipes[0]
    assert [f.origin for f in update(recipe, layer.config).files] == ["lookaside"]


@needs_rpmbuild
@pytest.mark.parametrize("payload", ["w9.gzdio", "w9.bzdio", "w7.xzdio", "w3.zstdio", "w.ufdio"])
def test_a_source_package_of_any_compression_becomes_a_scratch_recipe(
    tmp_path: Path, payload: str
) -> None:
    given = {
        "thing.spec": spec_text("thing", tags="Source0: big.bin\nSource1: run\nPatch0: a.patch"),
        "big.bin": "".join(f"{n * n}\n" for n in range(200_000)),
        "run": "#!/bin/sh\n",
        "a.patch": "",
    }
    (tmp_path / "in").mkdir()
    for name, text in given.items():
        (tmp_path / "in" / name).write_text(text)
    (tmp_path / "in/run").chmod(0o755)
    [srpm] = rpmbuild(tmp_path / "home", tmp_path / "in/thing.spec", "-bs", _source_payload=payload)

    recipe = recipe_from_srpm(srpm, tmp_path / "out")

    assert (recipe.name, recipe.spec, recipe.origin) == ("thing", "thing.spec", "srpm")
    assert recipe.scratch
    assert {name: path.read_text() for name, path in files_of(recipe, tmp_path).items()} == given
    assert [file.path for file in recipe.files if file.executable] == ["run"]
    assert recipe_from_srpm(srpm, tmp_path / "out") == recipe

    whole = srpm.read_bytes()
    cut = tmp_path / "cut.src.rpm"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LayerError, match="damaged"):
        recipe_from_srpm(cut, tmp_path / "out")


def files_of(recipe: Recipe, tmp_path: Path) -> dict[str, Path]:
    layer = LayerOf(tmp_path / "elsewhere", in_git=False, sources=Sources(origins=()))
    return dict(fetch(recipe, layer.config, SourceCache(layer.config)))


@needs_rpmbuild
def test_a_binary_package_is_not_taken_for_a_source_package(tmp_path: Path) -> None:
    spec = tmp_path / "thing.spec"
    spec.write_text(spec_text("thing", tags="BuildArch: noarch"))
    [binary] = rpmbuild(tmp_path / "home", spec, "-bb")
    with pytest.raises(LayerError, match="is not a source package"):
        recipe_from_srpm(binary, tmp_path / "out")


@needs_rpmbuild
def test_generated_recipes_are_accepted_by_rpmbuild(tmp_path: Path) -> None:
    group = Group(
        "cluster-master",
        "Head node",
        "100% of it.\nIt is %{text}.",
        "1.2",
        ("genders", "munge"),
        ("hpcc",),
        changelog=CHANGES,
    )
    meta = metapackage_recipe(group, tmp_path / "meta")
    [package] = rpmbuild(tmp_path / "h1", Path(meta.directory) / meta.spec, "-bb")
    assert package.name == "cluster-master-1.2-1.test.noarch.rpm"
    asked = run(["rpm", "-qp", "--nosignature", "--requires", "--suggests", package]).stdout
    assert {"genders", "munge", "hpcc"} <= set(asked.split())
    text = run(["rpm", "-qp", "--nosignature", "--qf", "%{description}", package]).stdout
    assert text == "100% of it.\nIt is %{text}."

    release = release_recipe(
        ReleasePackage("farm-release", "1", "Repository and key", CHANGES),
        release="el9",
        repo_text="[farm]\ngpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-farm\n",
        key_text="KEY\n",
        directory=tmp_path / "release",
    )
    [package] = rpmbuild(tmp_path / "h2", Path(release.directory) / release.spec, "-bb")
    listed = run(["rpm", "-qp", "--nosignature", "--list", package]).stdout.split()
    assert listed == ["/etc/pki/rpm-gpg/RPM-GPG-KEY-farm", "/etc/yum.repos.d/farm-el9.repo"]
    configuration = run(["rpm", "-qp", "--nosignature", "--configfiles", package]).stdout.split()
    assert configuration == ["/etc/yum.repos.d/farm-el9.repo"]


def test_tar_unpacks_the_archive_of_a_directory(tmp_path: Path) -> None:
    long = "top/" + "d" * 80 + "/" + "f" * 90
    members = [Member("top/run", b"#!/bin/sh\nexit 0\n", True), Member(long, b"x" * 70_000)]
    archive = tmp_path / "top.tar.gz"
    archive.write_bytes(tar_gz(members, 1_767_614_400))
    run(["gzip", "-t", archive])
    run(["tar", "xzf", archive, "-C", tmp_path])
    run([tmp_path / "top/run"])
    assert (tmp_path / long).read_bytes() == b"x" * 70_000
    assert int((tmp_path / "top").stat().st_mtime) == 1_767_614_400

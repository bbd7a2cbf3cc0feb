"""Locks over real packages and real signed repositories, judged by dnf and gpg."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

import pytest

from farm.config import load
from farm.errors import RepositoryError
from farm.model import Chroot, Lock, Package, Problem, Repository
from farm.plan.chroots import read_chroot
from farm.plan.metadata.download import download
from farm.plan.metadata.repodata import pin_repository
from farm.plan.solver import installable, resolve, resolve_setup
from farm.plan.universe import Universe
from farm.run import run
from farm.store import Store
from tests.real.publishing import DEMO_KEY, Place
from tests.repositories import chroot as chroot_over
from tests.rpms import Spec, build, package

pytestmark = pytest.mark.real
PROJECT = Path(__file__).parents[2]
BASE = load(PROJECT).base_directory
REQUIREMENTS = (
    (),
    ("gcc", "make"),
    ("gcc-c++", "cmake", "python3-devel", "pkgconfig(zlib)", "/usr/bin/perl"),
    ("openmpi-devel", "gcc-gfortran", "autoconf", "automake", "libtool"),
)


def opened(chroot: Chroot, home: Path, layer: Sequence[tuple[Package, Path]] = ()) -> Universe:
    pins = [pin_repository(r, home / "pins" / r.id) for r in chroot.repositories]
    return Universe.open(chroot, pins, home / "solv", layer)


def dnf_chooses(repository: Path, home: Path, arch: str, wanted: Sequence[str]) -> set[str]:
    """File names of what dnf would install into an empty root, weak dependencies included."""
    done = run(
        [
            "dnf", "--quiet", f"--installroot={home / 'root'}", "--releasever=1",
            f"--forcearch={arch}", f"--repofrompath=it,{repository.as_uri()}", "--repo=it",
            "--setopt=reposdir=/dev/null",
            f"--setopt=cachedir={home / 'dnf'}", f"--setopt=logdir={home}",
            "download", "--resolve", "--alldeps", "--urls", *wanted,
        ]
    )  # fmt: skip
    urls = re.findall(r"^file://.*\.rpm$", done.stdout, re.MULTILINE)
    return {Path(unquote(url)).name for url in urls}


def file_names(lock: Lock | Problem) -> set[str]:
    assert isinstance(lock, Lock), lock
    return {Path(unquote(locked.location)).name for locked in lock.packages}


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
@pytest.mark.parametrize("requires", REQUIREMENTS, ids=lambda names: ",".join(names) or "set-up")
def test_a_build_root_of_the_embedded_base_is_what_dnf_would_install(
    tmp_path: Path, arch: str, requires: Sequence[str]
) -> None:
    base = BASE / "debian-13" / arch
    if not base.is_dir():
        pytest.skip("the embedded base is not built (farm base build)")
    chroot = read_chroot(PROJECT / f"chroots/debian-13-{arch}.cfg", {"farm_base": str(BASE)})
    universe = opened(chroot, tmp_path)
    lock = resolve(universe, chroot, requires)
    assert file_names(lock) == dnf_chooses(base, tmp_path, arch, (*chroot.setup, *requires))
    setup = resolve_setup(universe, chroot)
    assert isinstance(lock, Lock) and isinstance(setup, Lock)
    assert set(lock.setup) == {locked.sha256 for locked in setup.packages}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Real packages indexed by createrepo_c."""
    specs = (
        Spec("tool", requires=("libthing", "/usr/share/data/words"), recommends=("extra",)),
        Spec("libthing-old", version="0.9", provides=("libthing = 0.9",)),
        Spec("libthing-new", version="1.2", provides=("libthing = 1.2",)),
        Spec("data", arch="noarch", files=(("/usr/share/data/words", "a b\n"),)),
        Spec("extra", version="3.0", epoch=1),
        Spec("extra", version="9.0"),
    )
    directory = tmp_path / "repository"
    directory.mkdir()
    for spec in specs:
        for path in build(tmp_path, spec)[:-1]:
            path.rename(directory / path.name)
    run(["createrepo_c", "--quiet", directory])
    return directory


def test_a_site_gets_what_dnf_would_install_weak_dependencies_included(
    repository: Path, tmp_path: Path
) -> None:
    where = chroot_over(Repository(id="it", baseurl=(repository.as_uri(),)))
    universe = opened(where, tmp_path)
    answer = installable(universe, ["tool"])
    assert file_names(answer) == dnf_chooses(repository, tmp_path, "x86_64", ["tool"])
    assert "extra-3.0-1.x86_64.rpm" in file_names(answer)
    strict = installable(universe, ["tool"], weak=False)
    assert file_names(answer) - file_names(strict) == {"extra-3.0-1.x86_64.rpm"}


def test_locked_packages_are_archived_and_outlive_their_repository(
    repository: Path, tmp_path: Path
) -> None:
    where = chroot_over(Repository(id="it", baseurl=(repository.as_uri(),)))
    universe = opened(where, tmp_path)
    lock = resolve(universe, where, ["tool"])
    assert isinstance(lock, Lock)
    store = Store(tmp_path / "store")
    assert download(lock.packages, store, universe.pins) == len(lock.packages)
    for path in repository.rglob("*.rpm"):
        path.unlink()
    assert download(lock.packages, store, universe.pins) == 0
    for locked in lock.packages:
        done = run(["rpm", "-qp", "--qf", "%{NAME}", store.get(locked.sha256)])
        assert done.stdout == locked.nevra.name


def test_packages_of_the_layer_are_locked_by_their_unsigned_bytes(
    repository: Path, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    layer = []
    for spec in (
        Spec("libthing", version="2.0", requires=("/opt/layer/file", "/usr/share/data/words")),
        Spec("more", arch="noarch", files=(("/opt/layer/file", "x\n"),)),
    ):
        built = package(build(tmp_path / "layer", spec)[0], store)
        layer.append((built, store.get(built.sha256)))
    where = chroot_over(Repository(id="it", baseurl=(repository.as_uri(),)))
    for _ in range(2):  # the second time from the cache
        lock = resolve(opened(where, tmp_path, layer), where, ["libthing >= 2"])
        assert isinstance(lock, Lock)
        ours = [p for p in lock.packages if p.repository == "layer"]
        assert {(p.nevra, p.sha256, p.size, p.location) for p in ours} == {
            (built.nevra, built.sha256, built.size, "") for built, _ in layer
        }
        # A file of the base that only a package of the layer asks for.
        assert [p.nevra.name for p in lock.packages if p.repository == "it"] == ["data"]
        assert download(ours, store) == 0


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    """A signed repository of signed packages, as farm publishes them."""
    place = Place(tmp_path / "place")
    place.publish(place.built("hello"))
    return place.root / "debian-13" / "x86_64"


def signed_base(signed: Path, *keys: Path) -> Repository:
    return Repository(
        id="signed",
        baseurl=(signed.as_uri(),),
        gpgcheck=True,
        repo_gpgcheck=True,
        gpgkeys=tuple(key.as_uri() for key in keys),
    )


def other_key(directory: Path) -> Path:
    home = directory / "gpg"
    home.mkdir(mode=0o700)
    gpg = ("gpg", "--homedir", str(home), "--batch", "--pinentry-mode", "loopback")
    run([*gpg, "--passphrase", "", "--quick-generate-key", "other", "ed25519", "sign", "never"])
    path = directory / "other.asc"
    path.write_text(run([*gpg, "--armor", "--export", "other"]).stdout)
    run(["gpgconf", "--homedir", home, "--kill", "all"])
    return path


@pytest.fixture
def public_key() -> Path:
    return DEMO_KEY.with_suffix(".pub.asc")


def test_a_signed_base_is_pinned_and_its_packages_archived(
    signed: Path, public_key: Path, tmp_path: Path
) -> None:
    where = chroot_over(signed_base(signed, public_key))
    universe = opened(where, tmp_path)
    lock = resolve(universe, where, ["hello"])
    assert isinstance(lock, Lock)
    assert download(lock.packages, Store(tmp_path / "store"), universe.pins) == 1


def test_metadata_signed_by_another_key_is_refused(
    signed: Path, public_key: Path, tmp_path: Path
) -> None:
    stranger = other_key(tmp_path)
    with pytest.raises(RepositoryError, match="'signed'") as caught:
        pin_repository(signed_base(signed, stranger), tmp_path / "pin")
    assert "not signed as it should be" in caught.value.why
    assert pin_repository(signed_base(signed, stranger, public_key), tmp_path / "pin")


def test_a_stale_signature_of_the_metadata_is_refused(
    signed: Path, public_key: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    run(["cp", "-rL", signed, copy])
    repomd = copy / "repodata" / "repomd.xml"
    repomd.chmod(0o644)
    repomd.write_text(repomd.read_text() + "<!-- later -->\n")
    with pytest.raises(RepositoryError) as caught:
        pin_repository(signed_base(copy, public_key), tmp_path / "pin")
    assert "BAD signature" in caught.value.why


def test_a_missing_key_is_named_with_its_address(signed: Path, tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="signing key of repository 'signed'") as caught:
        pin_repository(signed_base(signed, tmp_path / "nowhere.asc"), tmp_path / "pin")
    assert "nowhere.asc" in caught.value.why
    with pytest.raises(RepositoryError, match="names no gpgkey"):
        pin_repository(signed_base(signed), tmp_path / "pin")


def test_an_unsigned_package_or_one_of_another_key_does_not_enter_the_store(
    repository: Path, signed: Path, public_key: Path, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    unsigned = Repository(
        id="it",
        baseurl=(repository.as_uri(),),
        gpgcheck=True,
        gpgkeys=(public_key.as_uri(),),
    )
    foreign = Repository(
        id="signed",
        baseurl=(signed.as_uri(),),
        gpgcheck=True,
        gpgkeys=(other_key(tmp_path).as_uri(),),
    )
    for base, name in ((unsigned, "data"), (foreign, "hello")):
        where = chroot_over(base)
        universe = opened(where, tmp_path / base.id)
        lock = resolve(universe, where, [name])
        assert isinstance(lock, Lock)
        with pytest.raises(RepositoryError, match=name) as caught:
            download(lock.packages, store, universe.pins)
        assert "not signed" in caught.value.why
        assert lock.packages[0].sha256 not in store

"""Keys, signatures and headers, judged by gpg and rpm themselves."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm import rpmheader
from farm.errors import KeyMissing, PublishError, UsageError
from farm.model import Package
from farm.publish.gates import same_noarch
from farm.publish.keys import DEMO_FINGERPRINT, Key, KeyRing, key_ring
from farm.publish.signing import SignedCopies, same_package, verifier
from farm.run import run
from farm.store import Store, sha256_of
from tests.rpms import Spec, build, package

pytestmark = pytest.mark.real

DEMO_KEY = Path(__file__).parents[2] / "ci" / "demo-key" / "farm-demo.asc"


@pytest.fixture(scope="module")
def rpms(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    directory = tmp_path_factory.mktemp("rpms")
    spec = Spec("hello", epoch=2, noarch_subpackage="data", requires=["bash >= 4"])
    return build(directory, spec)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def packages(rpms: tuple[Path, ...], store: Store) -> tuple[Package, ...]:
    return tuple(package(path, store) for path in rpms)


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[KeyRing]:
    with key_ring(tmp_path / "state") as ring:
        ring.import_file(DEMO_KEY)
        yield ring


@pytest.fixture
def key(ring: KeyRing) -> Key:
    return ring.find("farm-demo")


def sign(packages: tuple[Package, ...], state: Path, store: Store, ring: KeyRing, key: Key) -> int:
    def locate(package: Package) -> Path:
        return store.get(package.sha256)

    return len(SignedCopies(state).add(packages, locate, ring, key))


def test_a_new_key_can_be_listed_found_exported_and_used(tmp_path: Path) -> None:
    content = tmp_path / "content"
    content.write_text("x")
    with key_ring(tmp_path / "state") as ring:
        made = ring.new("cluster")
        assert ring.keys() == (made,)
        assert ring.find("cluster") == made
        assert (made.name, made.algorithm) == ("cluster", "rsa4096")
        assert ring.public(made).startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----")
        signature = tmp_path / "content.asc"
        signature.write_text(ring.sign_detached(content, made, at=0))
        ring.verify_detached(signature, content, made)
        content.write_text("y")
        with pytest.raises(PublishError, match="not good"):
            ring.verify_detached(signature, content, made)


def test_a_second_key_of_the_same_name_is_refused(tmp_path: Path) -> None:
    with key_ring(tmp_path / "state") as ring:
        ring.new("cluster")
        with pytest.raises(UsageError, match="already"):
            ring.new("cluster")
        with pytest.raises(UsageError, match="cannot be the name"):
            ring.new("my cluster <x@y>")


def test_the_key_ring_is_private_and_leaves_nothing_running(tmp_path: Path) -> None:
    with key_ring(tmp_path / "state") as ring:
        ring.import_file(DEMO_KEY)
        ring.sign_detached(DEMO_KEY, ring.find("farm-demo"), at=0)
        scratch = ring.scratch
    home = tmp_path / "state" / "keys" / "gnupg"
    assert home.stat().st_mode & 0o777 == 0o700
    assert not scratch.exists()
    assert not list(home.glob("S.*"))
    assert not _agents_of(home, scratch)


def test_the_agent_of_a_farm_that_was_killed_is_ended_by_the_next(tmp_path: Path) -> None:
    killed = """
import os, signal, sys
from pathlib import Path
from farm.publish.keys import key_ring
with key_ring(Path(sys.argv[1])) as ring:
    ring.import_file(Path(sys.argv[2]))
    ring.sign_detached(Path(sys.argv[2]), ring.find("farm-demo"), at=0)
    print(ring.scratch, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    state = tmp_path / "state"
    done = run(
        [sys.executable, "-c", killed, state, DEMO_KEY],
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    left = Path(done.stdout.strip())
    assert left.exists()
    assert _agents_of(left)
    with key_ring(state) as ring:
        assert ring.find("farm-demo")
    assert not left.exists()
    assert not _agents_of(left)


def _agents_of(*homes: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if "gpg-agent" in line and any(str(home) in line for home in homes):
            found.append(line)
    return found


def test_a_state_directory_deeper_than_a_socket_path_may_be_works(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120) / "state"
    with key_ring(deep) as ring:
        ring.import_file(DEMO_KEY)
        assert "BEGIN PGP SIGNATURE" in ring.sign_detached(DEMO_KEY, ring.find("farm-demo"), at=0)


def test_a_missing_key_says_how_to_get_one(tmp_path: Path) -> None:
    with key_ring(tmp_path / "state") as ring, pytest.raises(KeyMissing) as caught:
        ring.find("farm-demo")
    assert "farm key new farm-demo" in caught.value.hint
    assert "ci/demo-key/farm-demo.asc" in caught.value.hint


def test_a_file_without_secret_key_is_refused(ring: KeyRing, tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="no secret key") as caught:
        ring.import_file(DEMO_KEY.with_name("farm-demo.pub.asc"))
    assert "public key only" in caught.value.why
    (tmp_path / "text").write_text("hello")
    with pytest.raises(PublishError, match="no secret key"):
        ring.import_file(tmp_path / "text")
    with pytest.raises(UsageError):
        ring.import_file(tmp_path / "nothing")


def test_the_committed_demo_key_is_the_one_that_farm_warns_of(ring: KeyRing, key: Key) -> None:
    assert (key.fingerprint, key.is_demo) == (DEMO_FINGERPRINT, True)
    assert ring.public(key) == DEMO_KEY.with_name("farm-demo.pub.asc").read_text()


def test_a_locked_key_is_refused_with_the_reason(
    tmp_path: Path, packages: tuple[Package, ...], store: Store
) -> None:
    with key_ring(tmp_path / "locked") as ring:
        ring.gpg("--pinentry-mode", "loopback", "--passphrase", "secret",
                 "--quick-generate-key", "locked", "rsa2048", "sign", "never")  # fmt: skip
        ring.end_agent()  # it remembers the passphrase
        with pytest.raises(PublishError) as caught:
            sign(packages, tmp_path / "locked", store, ring, ring.find("locked"))
    assert "passphrase" in caught.value.hint
    assert not list((tmp_path / "locked" / "signed").rglob("*.rpm"))


def test_every_package_is_signed_once_and_the_store_is_untouched(
    tmp_path: Path, packages: tuple[Package, ...], store: Store, ring: KeyRing, key: Key
) -> None:
    assert sign(packages, tmp_path, store, ring, key) == len(packages)
    assert sign(packages, tmp_path, store, ring, key) == 0
    copies = SignedCopies(tmp_path)
    for one in packages:
        original, copy = store.get(one.sha256), copies.get(one, key)
        assert sha256_of(original) == one.sha256
        assert not rpmheader.read(original).is_signed
        assert rpmheader.read(copy.path).is_signed
        assert same_package(original, copy.path)
        assert copy.path.stat().st_ino != original.stat().st_ino
        assert copy.signed.sha256 == sha256_of(copy.path)


def test_the_same_package_and_key_give_the_same_signed_bytes(
    tmp_path: Path, packages: tuple[Package, ...], store: Store, ring: KeyRing, key: Key
) -> None:
    for state in ("one", "two"):
        sign(packages, tmp_path / state, store, ring, key)
    for one in packages:
        a, b = (SignedCopies(tmp_path / state).get(one, key) for state in ("one", "two"))
        assert a.signed == b.signed


def test_rpm_of_another_home_accepts_the_signature(
    tmp_path: Path, packages: tuple[Package, ...], store: Store, ring: KeyRing, key: Key
) -> None:
    sign(packages, tmp_path, store, ring, key)
    paths = [SignedCopies(tmp_path).path(one, key) for one in packages]
    database = ("--define", f"_dbpath {tmp_path / 'db'}")
    run(["rpmkeys", *database, "--import", DEMO_KEY.with_name("farm-demo.pub.asc")])
    done = run(["rpmkeys", *database, "--checksig", "--verbose", *paths])
    assert done.stdout.count("Header V4 RSA/SHA256 Signature") == len(paths)


def test_an_unsigned_package_a_foreign_key_and_a_changed_byte_are_refused_by_name(
    tmp_path: Path, rpms: tuple[Path, ...], packages: tuple[Package, ...], store: Store,
    ring: KeyRing, key: Key,
) -> None:  # fmt: skip
    other = ring.new("other-key")
    sign(packages, tmp_path, store, ring, other)
    sign(packages, tmp_path, store, ring, key)
    foreign = tmp_path / "foreign.rpm"
    shutil.copy(SignedCopies(tmp_path).path(packages[0], other), foreign)
    changed = tmp_path / "changed.rpm"
    content = bytearray(SignedCopies(tmp_path).path(packages[0], key).read_bytes())
    content[-10] ^= 1
    changed.write_bytes(content)
    good = SignedCopies(tmp_path).path(packages[0], key)
    with verifier(ring, key) as verify:
        verify([good])
        for bad in (rpms[0], foreign, changed):
            with pytest.raises(PublishError) as caught:
                verify([good, bad])
            assert bad.name in caught.value.what
            assert good.name not in caught.value.what


def test_a_package_that_is_no_longer_the_one_in_the_store_is_not_signed(
    tmp_path: Path, packages: tuple[Package, ...], store: Store, ring: KeyRing, key: Key
) -> None:
    path = store.get(packages[0].sha256)
    os.chmod(path, 0o644)  # noqa: PTH101
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(PublishError, match="not the package that was built"):
        sign(packages, tmp_path, store, ring, key)
    assert not SignedCopies(tmp_path).path(packages[0], key).exists()


def test_headers_say_what_rpm_says(rpms: tuple[Path, ...]) -> None:
    form = "%{NAME}|%{EPOCHNUM}|%{VERSION}|%{RELEASE}|%{SOURCERPM}|%{BUILDTIME}"
    for path in rpms:
        said = run(["rpm", "-qp", "--qf", form, path]).stdout.split("|")
        rpm = rpmheader.read(path)
        assert [rpm.nevra.name, str(rpm.nevra.epoch), rpm.nevra.version, rpm.nevra.release] == said[
            :4
        ]
        assert rpm.is_source == (said[4] == "(none)")
        assert rpm.source == "hello"
        assert str(rpm.build_time) == said[5]
        assert rpmheader.payload_is_whole(path)


def test_copies_of_a_noarch_package_from_two_architectures_are_the_same(tmp_path: Path) -> None:
    native, foreign = (
        next(
            path
            for path in build(tmp_path / arch, Spec("a", arch=arch, noarch_subpackage="data"))
            if path.name.endswith(".noarch.rpm")
        )
        for arch in ("x86_64", "aarch64")
    )
    assert sha256_of(native) != sha256_of(foreign)
    assert same_noarch(native, foreign) == ()


def test_a_noarch_package_that_differs_says_in_what(tmp_path: Path) -> None:
    one, two = (
        build(tmp_path / text, Spec("a", arch="noarch", provides=[f"x = {text}"],
                                    files=[("/usr/share/a", f"{text}\n")]))[0]
        for text in ("1", "22")
    )  # fmt: skip
    differences = "\n".join(same_noarch(one, two))
    assert "PROVIDEVERSION" in differences
    assert "payload" in differences

"""Pins: one known state of a base repository, verified, and clear words for a broken one."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from farm.errors import RepositoryError, StateError
from farm.model import LockedPackage, Repository, to_json
from farm.plan.metadata import transfer
from farm.plan.metadata.download import download
from farm.plan.metadata.pins import Pin, read_pin
from farm.plan.metadata.repodata import fetch_pin, parse_metalink, pin_repository, prune
from farm.plan.universe import Universe
from farm.store import Store
from tests.repositories import Comps, Rpm, chroot, repository, write_repository

PACKAGES = (Rpm("a"), Rpm("b", requires=("a",)))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_repository(
        tmp_path / "base", PACKAGES, groups=[Comps("g", ["a"])], package_files=True
    )


@pytest.fixture
def served(base: Path) -> Iterator[tuple[str, Path]]:
    """The base over http on loopback: its address and its directory."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(base))  # type: ignore[arg-type]

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", base
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_PAUSES", (0.0, 0.0))


def locked(pin: Pin, tmp_path: Path, *packages: Rpm) -> list[LockedPackage]:
    universe = Universe.open(chroot(pin.repository), [pin], tmp_path / "cache")
    pool = universe.pool
    return [
        universe.locked(next(iter(pool.whatprovides(pool.Dep(package.name)))))
        for package in packages
    ]


@pytest.mark.parametrize("compression", ["gz", "zstd", "xz", "bz2", "none"])
def test_metadata_of_every_compression_is_pinned_and_read(tmp_path: Path, compression: str) -> None:
    write_repository(tmp_path / "r", PACKAGES, compression=compression)
    pin = pin_repository(repository(tmp_path / "r"), tmp_path / "pin")
    (package,) = locked(pin, tmp_path, PACKAGES[1])
    assert (str(package.nevra), package.sha256) == ("b-1-1.x86_64", PACKAGES[1].sha256)


def test_a_pin_outlives_the_repository_it_was_made_from(base: Path, tmp_path: Path) -> None:
    pin = pin_repository(repository(base), tmp_path / "pin")
    write_repository(base, (Rpm("other"),))
    assert read_pin(tmp_path / "pin") == pin
    assert locked(pin, tmp_path, PACKAGES[0])


def test_a_new_state_can_be_looked_at_without_moving_the_pin(base: Path, tmp_path: Path) -> None:
    pinned = pin_repository(repository(base), tmp_path / "pin")
    write_repository(base, (Rpm("other"),))
    candidate = fetch_pin(repository(base), tmp_path / "pin")
    assert candidate.revision != pinned.revision
    assert read_pin(tmp_path / "pin") == pinned


def test_pruning_leaves_only_the_pinned_state(base: Path, tmp_path: Path) -> None:
    old = pin_repository(repository(base), tmp_path / "pin")
    write_repository(base, (Rpm("other"),))
    new = pin_repository(repository(base), tmp_path / "pin")
    prune(tmp_path / "pin")
    assert read_pin(tmp_path / "pin") == new
    assert not Path(old.directory).exists()


def test_a_local_base_is_pinned_where_its_link_points_now(base: Path, tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to(base)
    pin = pin_repository(repository(link), tmp_path / "pin")
    assert pin.addresses == (base.resolve().as_uri(),)


def test_a_pin_of_a_local_base_that_was_removed_is_no_pin(base: Path, tmp_path: Path) -> None:
    pin_repository(repository(base), tmp_path / "pin")
    base.rename(tmp_path / "elsewhere")
    assert read_pin(tmp_path / "pin") is None


def test_what_the_chroot_says_now_replaces_what_it_said(base: Path, tmp_path: Path) -> None:
    pin = pin_repository(repository(base), tmp_path / "pin")
    now = repository(base, priority=5, excludes=("b",))
    again = read_pin(tmp_path / "pin", now)
    assert again == msgspec.structs.replace(pin, repository=now)


def test_no_pin_yet_is_no_error(tmp_path: Path) -> None:
    assert read_pin(tmp_path / "pin") is None


def test_a_pin_that_lost_a_file_says_which(base: Path, tmp_path: Path) -> None:
    pin = pin_repository(repository(base), tmp_path / "pin")
    pin.path(pin.files[0]).unlink()
    with pytest.raises(StateError, match=r"'base' has lost primary-primary\.xml\.gz"):
        read_pin(tmp_path / "pin")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda r: (r / "repodata/primary.xml.gz").write_bytes(b""), "0 of"),
        (lambda r: (r / "repodata/primary.xml.gz").unlink(), "No such file"),
        (lambda r: (r / "repodata/repomd.xml").write_text("<repomd"), "repomd.xml is damaged"),
        (lambda r: (r / "repodata/repomd.xml").write_text(""), "repomd.xml is damaged"),
        (lambda r: (r / "repodata/repomd.xml").write_text("<repomd/>"), "no primary"),
        (lambda r: (r / "repodata/repomd.xml").unlink(), "No such file"),
        (
            lambda r: (r / "repodata/repomd.xml").write_text(
                '<repomd><data type="primary"><checksum type="crc">1</checksum>'
                '<location href="x"/></data></repomd>'
            ),
            "unknown type 'crc'",
        ),
        (
            lambda r: (r / "repodata/repomd.xml").write_text(
                '<repomd><data type="primary"></data></repomd>'
            ),
            "no location or checksum",
        ),
    ],
)
def test_a_broken_repository_is_named_with_its_address(
    base: Path, tmp_path: Path, damage: object, said: str
) -> None:
    damage(base)  # type: ignore[operator]
    with pytest.raises(RepositoryError) as caught:
        pin_repository(repository(base), tmp_path / "pin")
    assert "'base'" in caught.value.what
    assert base.as_uri() in caught.value.why
    assert said in caught.value.why
    assert read_pin(tmp_path / "pin") is None


def test_metadata_with_other_bytes_of_the_same_size_is_refused(base: Path, tmp_path: Path) -> None:
    primary = base / "repodata/primary.xml.gz"
    content = bytearray(primary.read_bytes())
    content[-1] ^= 1
    primary.write_bytes(content)
    with pytest.raises(RepositoryError) as caught:
        pin_repository(repository(base), tmp_path / "pin")
    assert "other bytes" in caught.value.why


def _swap(pin: Pin, content: bytes) -> Pin:
    """The pin as it would be had the mirror published `content` with its right checksum."""
    files = []
    for file in pin.files:
        if file.kind == "primary":
            pin.path(file).write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            file = msgspec.structs.replace(file, checksum=f"sha256:{digest}")  # noqa: PLW2901
        files.append(file)
    return msgspec.structs.replace(pin, files=tuple(files))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x1f\x8b\x08 not gzip",
        b"\x28\xb5\x2f\xfd\x00",
        b"\xfd7zXZ\x00\x00",
        b"BZh9",
        b"<html>Sorry</html>",
        b"<metadata><package type='rpm'><name>a</name>",
        b"<metadata><package type='rpm'></package></metadata>",
        b"<metadata packages='1'><package type=\"rpm\"><name>a</name><arch>x86_64</arch>"
        b'<version epoch="0" ver="1" rel="1"/></oops></package></metadata>',
    ],
)
def test_hostile_metadata_with_a_right_checksum_is_refused_in_words(
    base: Path, tmp_path: Path, content: bytes
) -> None:
    pin = _swap(pin_repository(repository(base), tmp_path / "pin"), content)
    with pytest.raises(RepositoryError, match="'base' is damaged"):
        Universe.open(chroot(pin.repository), [pin], tmp_path / "cache")


def test_a_repository_without_packages_is_an_empty_universe(tmp_path: Path) -> None:
    write_repository(tmp_path / "r", ())
    pin = pin_repository(repository(tmp_path / "r"), tmp_path / "pin")
    universe = Universe.open(chroot(pin.repository), [pin], tmp_path / "cache")
    assert universe.provided_names == ()


def test_a_repository_is_pinned_over_http(served: tuple[str, Path], tmp_path: Path) -> None:
    address, base = served
    pin = pin_repository(Repository(id="web", baseurl=(address + "/",)), tmp_path / "pin")
    assert pin.addresses == (address,)
    (package,) = locked(pin, tmp_path, PACKAGES[0])
    assert package.location == f"{address}/a-1-1.x86_64.rpm"
    store = Store(tmp_path / "store")
    assert download([package], store, [pin]) == 1
    assert store.get(package.sha256).read_bytes() == (base / "a-1-1.x86_64.rpm").read_bytes()
    assert download([package], store, [pin]) == 0


def test_the_next_mirror_is_asked_when_one_fails(
    served: tuple[str, Path], base: Path, tmp_path: Path
) -> None:
    address, _ = served
    dead = "http://127.0.0.1:1"
    mirrors = tmp_path / "mirrors"
    mirrors.write_text(f"# mirrors\n{dead}/$basearch\n{address}\n")
    pin = pin_repository(
        Repository(id="m", mirrorlist=mirrors.as_uri(), variables=(("basearch", "x86_64"),)),
        tmp_path / "pin",
    )
    assert pin.addresses == (address,)


def test_a_metalink_decides_which_repomd_is_believed(base: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256((base / "repodata/repomd.xml").read_bytes()).hexdigest()

    def metalink(sha256: str) -> Path:
        path = tmp_path / "metalink"
        path.write_text(
            '<?xml version="1.0"?><metalink xmlns="http://www.metalinker.org/"><files>'
            f'<file name="repomd.xml"><verification><hash type="sha256">{sha256}</hash>'
            "</verification><resources>"
            f'<url protocol="file" preference="99">{base.as_uri()}/repodata/repomd.xml</url>'
            "</resources></file></files></metalink>"
        )
        return path

    pin = pin_repository(Repository(id="f", metalink=metalink(digest).as_uri()), tmp_path / "pin")
    assert pin.addresses == (base.as_uri(),)
    with pytest.raises(RepositoryError) as caught:
        fetch_pin(Repository(id="f", metalink=metalink("0" * 64).as_uri()), tmp_path / "pin")
    assert "none of the checksums that the metalink names" in caught.value.why


def test_metalink_mirrors_come_by_preference_and_https_first() -> None:
    urls = "".join(
        f'<url preference="{preference}">{scheme}://{host}/x/repodata/repomd.xml</url>'
        for preference, scheme, host in [
            (90, "http", "a"),
            (10, "https", "b"),
            (50, "https", "c"),
            (99, "rsync", "d"),
        ]
    )
    bases, _ = parse_metalink(f"<metalink>{urls}</metalink>".encode())
    assert bases == ["https://c/x", "https://b/x", "http://a/x"]


@pytest.mark.parametrize("text", ["", "<metalink", "<metalink/>", "# nothing\n"])
def test_a_useless_list_of_mirrors_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "list").write_text(text)
    with pytest.raises(RepositoryError, match="list of mirrors of repository 'm'"):
        pin_repository(Repository(id="m", metalink=(tmp_path / "list").as_uri()), tmp_path / "pin")


def test_local_packages_are_linked_into_the_store_without_a_copy(
    base: Path, tmp_path: Path
) -> None:
    pin = pin_repository(repository(base), tmp_path / "pin")
    packages = locked(pin, tmp_path, *PACKAGES)
    store = Store(tmp_path / "store")
    seen: list[LockedPackage] = []
    assert download(packages, store, [pin], on_package=seen.append) == 2
    assert sorted(map(to_json, seen)) == sorted(map(to_json, packages))
    assert store.get(packages[0].sha256).samefile(base / "a-1-1.x86_64.rpm")


def test_a_package_that_is_gone_or_has_other_bytes_is_named_and_the_rest_is_kept(
    base: Path, tmp_path: Path
) -> None:
    pin = pin_repository(repository(base), tmp_path / "pin")
    good, bad = locked(pin, tmp_path, *PACKAGES)
    (base / "b-1-1.x86_64.rpm").write_text("something else")
    store = Store(tmp_path / "store")
    with pytest.raises(RepositoryError) as caught:
        download([good, bad], store, [pin])
    assert "1 of 2 packages" in caught.value.what and "b-1-1.x86_64" in caught.value.what
    assert "other bytes than its repository says" in caught.value.why
    assert good.sha256 in store and bad.sha256 not in store
    (base / "b-1-1.x86_64.rpm").unlink()
    with pytest.raises(RepositoryError) as caught:
        download([good, bad], store, [pin])
    assert "No such file" in caught.value.why


def test_a_file_that_never_ends_is_cut_off_at_its_announced_size(
    served: tuple[str, Path], tmp_path: Path
) -> None:
    address, base = served
    (base / "big").write_bytes(b"x" * 10_000)
    with pytest.raises(transfer.TransferError, match="larger than the 100 bytes"):
        transfer.fetch(f"{address}/big", tmp_path / "big", limit=100)


def test_addresses_of_odd_package_names_are_quoted_and_found(tmp_path: Path) -> None:
    odd = Rpm("libstdc++", "1:2^20240101~rc1-1.fc%1")
    base = write_repository(tmp_path / "odd base", (odd,), package_files=True)
    pin = pin_repository(repository(base), tmp_path / "pin")
    (package,) = locked(pin, tmp_path, odd)
    assert " " not in package.location
    assert download([package], Store(tmp_path / "store"), [pin]) == 1

"""Sites: dnf over http with every check on, also while farm publishes."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from farm.errors import PublishError, SolveError, UsageError
from farm.model import Chroot, Group, Repository
from farm.publish.keys import key_ring
from farm.publish.metadata import Entry, write_metadata
from farm.run import run, start
from farm.sandbox import scratch
from farm.site.serve import serving
from farm.site.trial import Trial, try_out
from farm.store import sha256_of
from tests.real.publishing import Place, chroot

pytestmark = pytest.mark.real

SCRIPT = "#!/bin/sh\necho hello\n"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def roots() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="test-trial-", dir=scratch()))
    yield path
    assert not list(path.iterdir()), "a trial left something behind"
    path.rmdir()


def serve_and_try(
    place: Place, roots: Path, *packages: str, root: Path | None = None, arch: str = "x86_64"
) -> Trial:
    with serving(root or place.root, port=place.port):
        return try_out(packages, chroot(arch), place.repo_text, roots=roots)


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_a_site_installs_from_the_mirror_with_every_check_on(
    place: Place, roots: Path, arch: str
) -> None:
    place.publish(place.built("hello", noarch_subpackage="data", recommends=["hello-data"]))
    trial = serve_and_try(place, roots, "hello", arch=arch)
    assert trial.installed == (f"hello-1.0-1.{arch}", "hello-data-1.0-1.noarch")
    assert trial.ok


def test_a_site_installs_a_group(place: Place, roots: Path) -> None:
    groups = [Group("cluster", "Cluster", "", "1", ("a", "b"), ("c",), metapackage=False)]
    place.publish(*(place.built(name) for name in "abc"), groups=groups)
    trial = serve_and_try(place, roots, "@cluster")
    assert trial.installed == ("a-1.0-1.x86_64", "b-1.0-1.x86_64")


def test_a_site_gets_an_update(place: Place, roots: Path) -> None:
    place.publish(place.built("hello"))
    place.publish(place.built("hello", "2.0"))
    assert serve_and_try(place, roots, "hello").installed == ("hello-2.0-1.x86_64",)


def test_the_root_can_be_kept(place: Place, roots: Path, tmp_path: Path) -> None:
    place.publish(place.built("hello"))
    kept = tmp_path / "kept"
    with serving(place.root, port=place.port):
        try_out(["hello"], chroot(), place.repo_text, roots=roots, keep=kept)
        with pytest.raises(UsageError, match="not an empty directory"):
            try_out(["hello"], chroot(), place.repo_text, roots=roots, keep=kept)
    assert (kept / "root/usr/share/hello/about").read_text() == "hello 1.0\n"


def test_a_package_that_is_nowhere_is_named(place: Place, roots: Path) -> None:
    place.publish(place.built("hello"))
    with pytest.raises(UsageError, match="no-such-thing"):
        serve_and_try(place, roots, "hello", "no-such-thing")


def test_packages_that_do_not_fit_together_are_a_problem_of_the_solver(
    place: Place, roots: Path
) -> None:
    place.publish(place.built("hello", requires=["something-nobody-has"]))
    with pytest.raises(SolveError) as caught:
        serve_and_try(place, roots, "hello")
    assert "something-nobody-has" in caught.value.why


def tampered(place: Place, change: Callable[[Path], None]) -> Path:
    """A copy of the publication in which something was changed in what sites see."""
    other = place.home / "tampered"
    shutil.copytree(place.root, other, symlinks=True)
    tree = (other / "debian-13").resolve()
    for path in tree.rglob("*"):
        path.chmod(path.stat().st_mode | 0o200)
    change(tree / "x86_64")
    return other


def test_a_signature_of_an_earlier_state_is_refused(place: Place, roots: Path) -> None:
    place.grace_hours = 0
    place.publish(place.built("hello"))
    stale = (place.root / "debian-13/x86_64/repodata/repomd.xml.asc").read_bytes()
    place.publish(place.built("hello", "2.0"))

    def change(repository: Path) -> None:
        (repository / "repodata/repomd.xml.asc").write_bytes(stale)

    with pytest.raises(PublishError, match="would refuse") as caught:
        serve_and_try(place, roots, "hello", root=tampered(place, change))
    assert "GPG" in caught.value.why


def test_a_changed_package_is_refused(place: Place, roots: Path) -> None:
    place.publish(place.built("hello"))

    def change(repository: Path) -> None:
        path = next(repository.rglob("*.rpm"))
        path.write_bytes(path.read_bytes()[:-1] + b"x")

    with pytest.raises(PublishError, match="would refuse"):
        serve_and_try(place, roots, "hello", root=tampered(place, change))


def reindexed(place: Place, replacement: Path) -> Callable[[Path], None]:
    """Another file in a package's place, with good metadata and a good signature over them."""

    def change(repository: Path) -> None:
        path = next(repository.rglob("*.rpm"))
        shutil.copyfile(replacement, path)
        shutil.rmtree(repository / "repodata")
        entry = Entry(path, str(path.relative_to(repository)), sha256_of(path))
        repomd = write_metadata(repository, [entry], created=place.clock)
        with key_ring(place.state) as ring:
            signature = ring.sign_detached(repomd, ring.find(place.key), at=place.clock)
        repomd.with_name("repomd.xml.asc").write_text(signature)

    return change


def test_an_unsigned_package_is_refused_even_in_signed_metadata(place: Place, roots: Path) -> None:
    hello = place.built("hello")
    place.publish(hello)
    unsigned = place.store.get(hello["x86_64"].built.packages[0].sha256)
    with pytest.raises(PublishError, match="would refuse") as caught:
        serve_and_try(place, roots, "hello", root=tampered(place, reindexed(place, unsigned)))
    assert "not signed" in caught.value.why


def test_a_package_signed_with_another_key_is_refused(place: Place, roots: Path) -> None:
    hello = place.built("hello")
    place.publish(hello)
    with key_ring(place.state) as ring:
        ring.new("other-key")
    elsewhere = replace(place, home=place.home / "elsewhere", key="other-key")
    elsewhere.state, elsewhere.store = place.state, place.store
    elsewhere.publish(hello)
    foreign = next((elsewhere.root / "debian-13/x86_64").rglob("*.rpm"))
    with pytest.raises(PublishError, match="would refuse"):
        serve_and_try(place, roots, "hello", root=tampered(place, reindexed(place, foreign)))


@contextlib.contextmanager
def publishing_all_the_time(place: Place) -> Iterator[None]:
    """Publishes one of four sets after another, as fast as it goes, and serves them."""
    sets = [place.built("hello", f"{n}.0") for n in range(4)]
    place.publish(sets[0])
    done = threading.Event()

    def publish() -> None:
        number = 0
        while not done.is_set():
            number += 1
            place.publish(sets[number % len(sets)])

    publisher = threading.Thread(target=publish)
    with serving(place.root, port=place.port):
        publisher.start()
        try:
            yield
        finally:
            done.set()
            publisher.join()


def test_dnf_is_never_refused_while_farm_publishes(place: Place, roots: Path) -> None:
    installed = 0
    with publishing_all_the_time(place):
        deadline = time.monotonic() + 8
        while installed < 3 or time.monotonic() < deadline:
            trial = try_out(["hello"], chroot(), place.repo_text, roots=roots)
            installed += len(trial.installed)
    assert installed >= 3


def test_led_by_the_mirrorlist_nobody_sees_parts_that_do_not_belong_together(
    place: Place,
) -> None:
    """The requests dnf makes, many times over; a plain baseurl is measured beside them.

    The latter may see a signature of the state after: both are read through the pointer.
    """
    seen: dict[str, list[tuple[bytes, bytes]]] = {"mirrorlist": [], "baseurl": []}
    with publishing_all_the_time(place), closing(_connection(place)) as connection:

        def get(path: str) -> bytes:
            connection.request("GET", path)
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status == 200, path
            return content

        def repository(kind: str) -> str:
            if kind == "baseurl":
                return "/debian-13/x86_64/"
            return urlsplit(get("/debian-13/x86_64/mirrorlist").decode().strip()).path

        deadline = time.monotonic() + 8
        while time.monotonic() < deadline:
            for kind, pairs in seen.items():
                place_now = repository(kind)
                repomd = get(f"{place_now}repodata/repomd.xml")
                pairs.append((repomd, get(f"{place_now}repodata/repomd.xml.asc")))
                match = re.search(rb"repodata/[0-9a-f]+-primary.xml.gz", repomd)
                assert match is not None
                primary = gzip.decompress(get(place_now + match[0].decode()))
                location = re.search(rb'location href="([^"]+)"', primary)
                assert location is not None
                get(repository(kind) + location[1].decode())  # asks for the mirrorlist again
    good = {
        (path.read_bytes(), path.with_name("repomd.xml.asc").read_bytes())
        for path in place.root.glob("snapshots/*/*/x86_64/repodata/repomd.xml")
    }
    lost = {kind: sum(pair not in good for pair in pairs) for kind, pairs in seen.items()}
    asked = {kind: len(pairs) for kind, pairs in seen.items()}
    print(f"disagreeing: {lost} of {asked}")
    assert asked["mirrorlist"] > 3
    assert lost["mirrorlist"] == 0


def _connection(place: Place) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", place.port, timeout=30)


def test_a_site_solves_against_the_base_repositories_of_the_chroot(
    place: Place, roots: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    library = place.built("library")["x86_64"].built.packages[0]
    path = base / "library.rpm"
    base.mkdir()
    shutil.copyfile(place.store.get(library.sha256), path)
    write_metadata(base, [Entry(path, path.name, library.sha256)], created=1)
    place.publish(place.built("hello", requires=["library"]))
    with_base = Chroot("c", "debian-13", "x86_64", (Repository("base", (base.as_uri(),)),), (), "")
    with serving(place.root, port=place.port):
        trial = try_out(["hello"], with_base, place.repo_text, roots=roots)
    assert trial.installed == ("hello-1.0-1.x86_64", "library-1.0-1.x86_64")


def test_curl_resumes_a_download_that_was_cut_off(place: Place, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    place.publish(place.built("hello"))
    whole = next((place.root / "debian-13/x86_64/Packages").rglob("*.rpm"))
    part = tmp_path / "part.rpm"
    part.write_bytes(whole.read_bytes()[:1000])
    with serving(place.root) as address:
        url = f"{address}/{whole.relative_to(place.root)}"
        run(["curl", "-sS", "--fail", "-C", "-", "-o", part, url])
    assert urlsplit(url).path.startswith("/debian-13/")
    assert sha256_of(part) == sha256_of(whole)


def test_serving_ends_on_a_signal_after_the_answer_under_way(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from farm.site.serve import serve
serve(Path(sys.argv[1]), "127.0.0.1", 0, lambda address: print(address, flush=True))
"""
    root = tmp_path / "repo"
    root.mkdir()
    (root / "large").write_bytes(bytes(64 << 20))
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    with start([sys.executable, "-c", script, str(root)], env=environment) as server:
        assert server.stdout is not None
        address = urlsplit(server.stdout.readline().strip())
        with closing(socket.create_connection(("127.0.0.1", address.port or 0))) as client:
            client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            received = len(client.recv(1 << 16))
            server.send_signal(signal.SIGTERM)
            while part := client.recv(1 << 20):
                received += len(part)
        assert server.wait(20) == 0
    assert received > 64 << 20

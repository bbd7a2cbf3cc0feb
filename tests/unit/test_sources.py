"""Sources: the `sources` format, the cache, the origins in their order, and `--update`."""

from __future__ import annotations

import concurrent.futures
import hashlib
import http.server
import io
import socket
import string
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.apt import Archive
from farm.config import Sources
from farm.errors import LayerError, MachineError, SourceError, UsageError
from farm.layer import checksums
from farm.layer.origins import Refusal, Wanted, compression
from farm.layer.origins.apt import source_entries
from farm.layer.origins.debian import Debian, Tarball, parse_sources
from farm.layer.origins.pypi import Sdist, parse_index, parse_settings
from farm.layer.origins.web import NotFetched, Web, shown
from farm.layer.repository import read_layer
from farm.layer.sources import SourceCache, fetch
from farm.layer.update import update
from farm.model import Recipe, SourceFile
from tests.layers import NOW, LayerOf, owned_by, spec_text

GOOD = b"\x1f\x8b the right bytes"
BAD = b"\x1f\x8b other bytes"
FILE = "munge-1.0.tar.gz"


def sha512(content: bytes) -> str:
    return hashlib.sha512(content).hexdigest()


def declared(content: bytes, file: str = FILE) -> str:
    return f"SHA512 ({file}) = {sha512(content)}\n"


class Server:
    """A web server on loopback: `files` by path; what was asked is in `asked`."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                content = server.files.get(self.path)
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, format: str, *args: object) -> None:
                return

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = Server()
    yield running
    running.close()


@pytest.fixture
def layer(tmp_path: Path, server: Server) -> LayerOf:
    """munge's Source0 is at the server, the lookaside is a directory `aside`."""
    config = Sources(origins=("lookaside", "upstream"), lookaside=("aside",), timeout=2)
    made = LayerOf(tmp_path / "farm", in_git=False, sources=config)
    made.write(owned_by("people"))
    made.write(
        {"munge/munge.spec": spec_text("munge", tags=f"Source0: {server.address}/up/{FILE}")}
    )
    return made


def recipe(layer: LayerOf, name: str = "munge") -> Recipe:
    found = read_layer(layer.config, now=NOW).recipe(name)
    assert found is not None
    return found


def fetched(layer: LayerOf, name: str = "munge") -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in fetch(recipe(layer, name), layer.config)}


_NAME = st.text(alphabet=string.ascii_letters + string.digits + "+._-~ ()=", min_size=1).filter(
    lambda name: name not in (".", "..")
)
_FILES = st.lists(
    st.builds(SourceFile, _NAME, st.binary(max_size=9).map(sha512)), unique_by=lambda f: f.name
)


@given(_FILES)
def test_the_sources_format_comes_back_as_it_was_written(files: list[SourceFile]) -> None:
    assert checksums.parse(checksums.render(files)) == tuple(files)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("d41d8cd98f00b204e9800998ecf8427e  munge.tar.gz", "sources:1: the old format with MD5"),
        ("MD5 (munge.tar.gz) = d41d8cd98f00b204e9800998ecf8427e", "a MD5 checksum"),
        ("SHA256 (munge.tar.gz) = " + "0" * 64, "a SHA256 checksum is not accepted"),
        ("SHA512 (munge.tar.gz) = " + "0" * 127, "no checksum line"),
        ("SHA512 (../munge.tar.gz) = " + "0" * 128, "no checksum line"),
        ("SHA512 (..) = " + "0" * 128, "not a file name"),
        ("# fine\n\nSHA512 (a) = " + "0" * 128 + "\nSHA512 (a) = " + "1" * 128, "sources:4: a is"),
    ],
)
def test_a_line_that_is_no_sha512_is_refused_with_its_number(text: str, message: str) -> None:
    with pytest.raises(LayerError, match=message):
        checksums.parse(text)


def test_committed_files_need_no_checksum(layer: LayerOf) -> None:
    layer.write({"munge/fix.patch": "a fix\n", f"munge/{FILE}": GOOD})
    assert fetched(layer) == {
        FILE: GOOD,
        "fix.patch": b"a fix\n",
        "munge.spec": (layer.specs / "munge/munge.spec").read_bytes(),
    }


def test_a_committed_file_with_other_bytes_than_declared_is_refused(layer: LayerOf) -> None:
    layer.write({f"munge/{FILE}": BAD, "munge/sources": declared(GOOD)})
    with pytest.raises(
        SourceError, match=r"munge: munge-1.0.tar.gz lies in the recipe's directory"
    ):
        fetched(layer)


def test_an_origin_with_other_bytes_is_passed_over_and_the_next_is_asked(
    layer: LayerOf, server: Server
) -> None:
    layer.write({"munge/sources": declared(GOOD), "../aside/munge/" + FILE: BAD})
    server.files[f"/up/{FILE}"] = GOOD
    heard: list[str] = []
    files = fetch(recipe(layer), layer.config, say=heard.append)
    assert dict(files)[FILE].read_bytes() == GOOD
    assert heard == [f"munge: {FILE} from upstream ({server.address}/up/{FILE})"]


def test_when_nobody_has_the_bytes_the_error_says_what_each_origin_said(
    layer: LayerOf, server: Server
) -> None:
    layer.write({"munge/sources": declared(GOOD), "../aside/munge/" + FILE: BAD})
    with pytest.raises(SourceError) as error:
        fetched(layer)
    assert error.value.what == f"munge: no origin has {FILE} with the declared checksum"
    aside, upstream = error.value.why.splitlines()[1:]
    assert aside.startswith("lookaside: ")
    assert f"other bytes, sha512 {sha512(BAD)[:32]}" in aside
    assert upstream == f"upstream: {server.address}/up/{FILE}: the server answers 404 Not Found"
    assert "farm sources --update munge" in error.value.hint


def test_a_fetched_file_is_not_fetched_again(layer: LayerOf, server: Server) -> None:
    layer.write({"munge/sources": declared(GOOD)})
    server.files[f"/up/{FILE}"] = GOOD
    fetched(layer)
    fetched(layer)
    assert server.asked == [f"/up/{FILE}"]


def test_a_damaged_file_in_the_cache_is_noticed_and_fetched_again(
    layer: LayerOf, server: Server
) -> None:
    layer.write({"munge/sources": declared(GOOD)})
    server.files[f"/up/{FILE}"] = GOOD
    fetched(layer)
    SourceCache(layer.config).path(sha512(GOOD), FILE).write_bytes(BAD)
    assert fetched(layer)[FILE] == GOOD
    assert len(server.asked) == 2


def test_several_threads_may_want_the_same_file(layer: LayerOf, server: Server) -> None:
    layer.write({"munge/sources": declared(GOOD)})
    server.files[f"/up/{FILE}"] = GOOD
    cache, munge = SourceCache(layer.config), recipe(layer)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: fetch(munge, layer.config, cache), range(16)))
    assert len(set(answers)) == 1
    assert dict(answers[0])[FILE].read_bytes() == GOOD
    assert [path.name for path in cache.directory.iterdir() if path.name.startswith(".")] == []


def test_fedoras_lookaside_layout_is_known_in_a_directory_and_over_http(
    tmp_path: Path, server: Server
) -> None:
    path = f"munge/{FILE}/sha512/{sha512(GOOD)}/{FILE}"
    for place in ("aside", f"{server.address}/pkgs/"):
        layer = LayerOf(
            tmp_path / place[:5],
            in_git=False,
            sources=Sources(origins=("lookaside",), lookaside=(place,)),
        )
        layer.write(
            {
                "munge/munge.spec": spec_text("munge", tags=f"Source0: {FILE}"),
                "munge/sources": declared(GOOD),
            }
        )
        if place == "aside":
            layer.write({f"../aside/{path}": GOOD})
        else:
            server.files[f"/pkgs/{path}"] = GOOD
            SourceCache(layer.config).path(sha512(GOOD), FILE).unlink()
        assert fetched(layer)[FILE] == GOOD


def test_a_downloaded_file_that_git_ignores_serves_when_its_checksum_is_right(
    tmp_path: Path,
) -> None:
    layer = LayerOf(tmp_path / "farm", sources=Sources(origins=()))
    layer.write(
        {
            ".gitignore": "*.tar.gz\n",
            "munge/munge.spec": spec_text("munge", tags=f"Source0: {FILE}"),
            "munge/sources": declared(GOOD),
            f"munge/{FILE}": BAD,
        }
    )
    with pytest.raises(SourceError, match="no origin has"):
        fetched(layer)
    layer.write({f"munge/{FILE}": GOOD})
    assert fetched(layer)[FILE] == GOOD


def test_a_source_that_nobody_declared_is_refused_with_its_line(layer: LayerOf) -> None:
    with pytest.raises(SourceError, match=rf"munge: munge.spec:6: {FILE} is neither in") as error:
        fetched(layer)
    assert "farm sources --update munge" in error.value.hint


def test_a_file_that_changes_while_farm_reads_it_is_noticed(layer: LayerOf) -> None:
    layer.write({"munge/sources": declared(GOOD)})
    before = recipe(layer)
    layer.write({"munge/munge.spec": spec_text("munge", version="2.0")})
    with pytest.raises(LayerError, match="was changed while farm was at work"):
        fetch(before, layer.config)


def tree(layer: LayerOf, name: str = "mpi-1.0.tar.gz") -> None:
    layer.write(
        {
            "mpi/mpi.spec": spec_text("mpi", tags=f"Source0: https://example.org/{name}"),
            "mpi/mpi-1.0/src/main.c": "int main;\n",
        }
    )
    layer.write({"mpi/mpi-1.0/configure": "#!/bin/sh\n"}, executable=True)


def test_a_directory_stands_for_the_archive_of_its_name(layer: LayerOf) -> None:
    tree(layer)
    with tarfile.open(fileobj=io.BytesIO(fetched(layer, "mpi")["mpi-1.0.tar.gz"])) as archive:
        listed = {member.name: (member.mode, member.mtime) for member in archive.getmembers()}
    midnight = 1767571200  # of the changelog entry's day
    assert listed == {
        "mpi-1.0": (0o755, midnight),
        "mpi-1.0/configure": (0o755, midnight),
        "mpi-1.0/src": (0o755, midnight),
        "mpi-1.0/src/main.c": (0o644, midnight),
    }


def test_the_archive_follows_the_directory_and_is_the_same_for_the_same_files(
    layer: LayerOf,
) -> None:
    tree(layer)
    first = fetched(layer, "mpi")["mpi-1.0.tar.gz"]
    layer.write({"mpi/mpi-1.0/src/main.c": "int other;\n"})
    assert fetched(layer, "mpi")["mpi-1.0.tar.gz"] != first
    layer.write({"mpi/mpi-1.0/src/main.c": "int main;\n"})
    assert fetched(layer, "mpi")["mpi-1.0.tar.gz"] == first


def test_a_directory_cannot_stand_for_an_xz_archive(layer: LayerOf) -> None:
    tree(layer, "mpi-1.0.tar.xz")
    with pytest.raises(SourceError, match="neither in the recipe's directory"):
        fetched(layer, "mpi")


def test_update_declares_what_upstream_has_and_says_who_differs(
    layer: LayerOf, server: Server
) -> None:
    server.files[f"/up/{FILE}"] = GOOD
    layer.write({"../aside/munge/" + FILE: BAD})
    done = update(recipe(layer), layer.config)
    assert (layer.specs / "munge/sources").read_text() == declared(GOOD)
    assert [(f.file, f.state, f.origin) for f in done.files] == [(FILE, "new", "upstream")]
    assert sha512(BAD) in done.notes[0]
    assert fetched(layer)[FILE] == GOOD


def test_update_without_upstream_refuses_origins_that_disagree(
    tmp_path: Path, layer: LayerOf
) -> None:
    layer.write({"../aside/munge/" + FILE: GOOD})
    done = update(recipe(layer), layer.config)
    assert done.files[0].origin == "lookaside"

    class Two(SourceCache):
        def __init__(self) -> None:
            super().__init__(layer.config)
            other = SourceCache(
                LayerOf(
                    tmp_path / "other",
                    in_git=False,
                    sources=Sources(origins=("lookaside",), lookaside=(str(tmp_path / "b"),)),
                ).config
            ).origins[0]
            other.name = "debian"
            self.origins = (*self.origins, other)

    (tmp_path / "b/munge").mkdir(parents=True)
    (tmp_path / "b/munge" / FILE).write_bytes(BAD)
    layer.write({"munge/sources": ""})
    with pytest.raises(SourceError, match="the origins disagree") as error:
        update(recipe(layer), layer.config, Two())
    assert sha512(GOOD) in error.value.why
    assert sha512(BAD) in error.value.why
    assert (layer.specs / "munge/sources").read_text() == ""


def test_update_keeps_a_checksum_as_long_as_anyone_has_those_bytes(
    layer: LayerOf, server: Server
) -> None:
    server.files[f"/up/{FILE}"] = BAD
    layer.write({"munge/sources": "# by hand\n" + declared(GOOD), "../aside/munge/" + FILE: GOOD})
    done = update(recipe(layer), layer.config)
    assert [(f.state, f.sha512) for f in done.files] == [("kept", sha512(GOOD))]
    assert (layer.specs / "munge/sources").read_text().startswith("# by hand")


def test_update_replaces_a_checksum_that_nobody_can_meet_and_says_so(
    layer: LayerOf, server: Server
) -> None:
    server.files[f"/up/{FILE}"] = BAD
    layer.write({"munge/sources": declared(GOOD)})
    done = update(recipe(layer), layer.config)
    assert [(f.state, f.sha512) for f in done.files] == [("changed", sha512(BAD))]


def test_update_keeps_what_is_declared_when_nobody_answers(layer: LayerOf) -> None:
    layer.write({"munge/sources": declared(GOOD)})
    done = update(recipe(layer), layer.config)
    assert [f.state for f in done.files] == ["kept"]
    assert "404" in done.notes[0]


def test_update_drops_what_the_spec_no_longer_wants(layer: LayerOf, server: Server) -> None:
    server.files[f"/up/{FILE}"] = GOOD
    layer.write({"munge/sources": declared(BAD, "munge-0.9.tar.gz")})
    done = update(recipe(layer), layer.config)
    assert done.removed == ("munge-0.9.tar.gz",)
    assert (layer.specs / "munge/sources").read_text() == declared(GOOD)


def test_update_does_not_take_a_web_page_for_an_archive(layer: LayerOf, server: Server) -> None:
    server.files[f"/up/{FILE}"] = b"<!DOCTYPE html><p>Please log in"
    with pytest.raises(SourceError, match="no origin has") as error:
        update(recipe(layer), layer.config)
    assert "a web page, not the file" in error.value.why


def test_update_is_for_recipes_of_the_working_tree(tmp_path: Path, server: Server) -> None:
    layer = LayerOf(tmp_path / "farm")
    layer.write({"munge/munge.spec": spec_text("munge")})
    layer.commit()
    committed = read_layer(layer.config, commit="HEAD", now=NOW).recipes[0]
    with pytest.raises(UsageError, match="could be updated"):
        update(committed, layer.config)


def test_a_host_that_does_not_answer_is_given_up_and_asked_only_once(
    layer: LayerOf, tmp_path: Path
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        web = Web(0.3)
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/a"
        started = time.monotonic()
        for _ in range(5):
            with pytest.raises(NotFetched, match="cannot be reached"):
                web.fetch(address, tmp_path / "a")
        assert time.monotonic() - started < 1.2


def test_a_download_that_is_cut_short_is_no_file(tmp_path: Path) -> None:
    def answer(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        connection.recv(4096)
        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 100\r\n\r\nshort")
        connection.close()

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        threading.Thread(target=answer, args=(listening,), daemon=True).start()
        with pytest.raises(NotFetched, match=r"cut short|broke off"):
            Web(5).fetch(f"http://127.0.0.1:{listening.getsockname()[1]}/a", tmp_path / "a")


@pytest.mark.parametrize("address", ["file:///etc/passwd", "gopher://example.org/", "munge.tar.gz"])
def test_only_http_and_ftp_addresses_are_fetched(address: str, tmp_path: Path) -> None:
    with pytest.raises(NotFetched, match="does not fetch"):
        Web(1).fetch(address, tmp_path / "a")


def test_a_password_in_an_address_is_used_but_not_shown(tmp_path: Path, server: Server) -> None:
    server.files["/a"] = b"x"
    address = server.address.replace("://", "://user:secret@") + "/a"
    Web(5).fetch(address, tmp_path / "a")
    assert shown(address) == f"{server.address}/a"


@pytest.mark.parametrize(
    ("file", "kind"),
    [("a.tar.gz", "gz"), ("a.tgz", "gz"), ("a.tar.xz", "xz"), ("a.conf", ""), ("gz", "gz")],
)
def test_an_archive_is_known_by_its_ending(file: str, kind: str) -> None:
    assert compression(file) == kind


SHOWSRC = f"""\
Package: genders
Binary: genders, libgenders0
Version: 1.27-3-3.1
Files:
 {"0" * 32} 1234 genders_1.27-3.orig.tar.gz
Checksums-Sha256:
 {"a" * 64} 2020 genders_1.27-3-3.1.dsc
 {"b" * 64} 1234 genders_1.27-3.orig.tar.gz
 {"c" * 64} 1234 genders_1.27-3.orig-docs.tar.xz
 {"d" * 64} 5678 genders_1.27-3-3.1.debian.tar.xz
 {"e" * 64} 99 genders_1.27-3.orig.tar.gz.asc
Directory: pool/main/g/genders

Package: dh-thing
Version: 1:0.4
Checksums-Sha256:
 {"f" * 64} 10 dh-thing_0.4.tar.xz
"""


def test_debians_answer_is_read_by_version_and_archive() -> None:
    genders, native = parse_sources(SHOWSRC)
    assert genders.archives == (
        Tarball("genders_1.27-3.orig.tar.gz", "b" * 64),
        Tarball("genders_1.27-3.orig-docs.tar.xz", "c" * 64),
    )
    assert genders.upstream == "1.27-3"
    assert genders.fits("1.27.3")
    assert not genders.fits("1.27")
    assert native.upstream == "0.4"
    assert native.archives == (Tarball("dh-thing_0.4.tar.xz", "f" * 64),)


def test_source_packages_are_asked_of_the_machines_own_suites_and_newer_ones() -> None:
    host = [
        Archive("http://mirror/debian", "bookworm", "main"),
        Archive("http://mirror/security", "bookworm-security", "main"),
        Archive("http://vendor/apt", "nodistro", "main"),
    ]
    entries = source_entries(host, "debian", "bookworm", "/keys.gpg")
    suites = [line for entry in entries for line in entry.splitlines() if "Suites" in line]
    assert [suite.split()[1] for suite in suites] == [
        "bookworm",
        "bookworm-security",
        "stable",
        "testing",
        "unstable",
    ]
    assert not any("vendor" in entry for entry in entries)
    assert all("Types: deb-src" in entry and "Signed-By: /keys.gpg" in entry for entry in entries)


def test_a_machine_without_apt_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    wanted = Wanted("munge", FILE, sha512(GOOD), version="1.0")
    answers = list(Debian(tmp_path / "apt").offers(wanted, tmp_path))
    assert answers == [Refusal("apt", "there is no apt on this machine")]


def test_pips_environment_counts_more_than_its_files() -> None:
    listed = (
        "global.index-url='http://files/simple'\n:env:.index-url='http://env/simple'\n"
        "global.extra-index-url='file:///a file:///b'\nglobal.find-links='/wheels'\n"
        "install.index-url='http://not-for-us/'\nglobal.cert='/ca.crt'\n"
    )
    settings = parse_settings(listed, "http://default/simple")
    assert settings.indexes == ("http://env/simple", "file:///a", "file:///b")
    assert settings.find_links == ("/wheels",)
    assert settings.certificates == Path("/ca.crt")
    assert parse_settings("", "http://default/simple").indexes == ("http://default/simple",)
    assert parse_settings("global.no-index='true'\n", "http://default/simple").indexes == ()


def test_an_index_page_is_read_as_html_and_as_json() -> None:
    page = "http://index/simple/mpi4py/"
    html = (
        '<a href="../../f/mpi4py-4.0.0.tar.gz#sha256=ab">x</a>'
        '<a href="/f/mpi4py-4.0.0-cp311.whl">y</a>'
    )
    text = '{"files": [{"filename": "mpi4py-4.0.0.tar.gz", "url": "../../f/mpi4py-4.0.0.tar.gz",'
    text += ' "hashes": {"sha256": "ab"}, "yanked": false}], "meta": {}}'
    expected = [Sdist("mpi4py-4.0.0.tar.gz", "http://index/f/mpi4py-4.0.0.tar.gz", "ab")]
    assert parse_index(html, page) == expected
    assert parse_index(text, page) == expected


@pytest.fixture
def index(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str, bytes], None]]:
    """A private index that pip is configured with; `put(file, content)`."""
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.address}/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")

    def put(file: str, content: bytes) -> None:
        digest = hashlib.sha256(content).hexdigest()
        server.files["/simple/clustershell/"] = (
            f'<a href="/f/{file}#sha256={digest}">{file}</a>'.encode()
        )
        server.files[f"/f/{file}"] = content

    yield put


def test_pypi_is_asked_through_the_index_that_pip_is_configured_with(
    tmp_path: Path, index: Callable[[str, bytes], None], server: Server
) -> None:
    layer = LayerOf(tmp_path / "farm", in_git=False, sources=Sources(origins=("pypi",)))
    file = "clustershell-1.9.tar.gz"
    layer.write(
        {
            "clustershell/clustershell.spec": spec_text("clustershell", tags=f"Source0: {file}"),
            "clustershell/sources": declared(GOOD, file),
        }
    )
    index("ClusterShell-1.9.tar.gz", GOOD)
    assert fetched(layer, "clustershell")[file] == GOOD
    assert server.asked == ["/simple/clustershell/", "/f/ClusterShell-1.9.tar.gz"]


def test_without_a_checksum_pypi_is_asked_only_for_projects_that_were_named(
    tmp_path: Path, index: Callable[[str, bytes], None]
) -> None:
    index("clustershell-1.9.tar.gz", GOOD)
    file = "clustershell-1.9.tar.gz"
    for names, refused in (({}, True), ({"clustershell": "ClusterShell"}, False)):
        layer = LayerOf(
            tmp_path / str(refused),
            in_git=False,
            sources=Sources(origins=("pypi",), names=names),
        )
        layer.write(
            {"clustershell/clustershell.spec": spec_text("clustershell", tags=f"Source0: {file}")}
        )
        if refused:
            with pytest.raises(SourceError, match="no origin has"):
                update(recipe(layer, "clustershell"), layer.config)
        else:
            done = update(recipe(layer, "clustershell"), layer.config)
            assert done.files[0].origin == "pypi"


def test_a_cache_that_cannot_be_written_is_a_plain_message(layer: LayerOf) -> None:
    layer.write({"munge/sources": declared(GOOD), "../aside/munge/" + FILE: GOOD})
    wanted = Wanted("munge", FILE, sha512(GOOD))
    cache = SourceCache(layer.config)
    cache.directory = layer.specs / "OWNERS"
    with pytest.raises(MachineError, match="cannot be written"):
        cache.fetch(wanted)

"""Servers that fail, lie or mean harm while metadata is fetched from them."""

from __future__ import annotations

import gzip
import http.server
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from farm.errors import MachineError, RepositoryError
from farm.model import Repository
from farm.plan.metadata import transfer
from farm.plan.metadata.repodata import fetch_pin
from farm.plan.metadata.transfer import TransferError, fetch, join
from farm.run import run
from tests.hostile import document, package, repodata

Handler = http.server.BaseHTTPRequestHandler
Answer = Callable[[Handler], None]


@dataclass
class Server:
    """A web server whose every answer a test decides; `asked` are the paths in order."""

    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    address: str = ""

    def answer(self, handler: Handler) -> None:
        self.asked.append(handler.path)
        (self.answers.get(handler.path) or self.answers.get("*") or status(404))(handler)


def status(code: int, **headers: str) -> Answer:
    def answer(handler: Handler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def body(content: bytes, **headers: str) -> Answer:
    def answer(handler: Handler) -> None:
        handler.send_response(200)
        for name, value in ({"Content_Length": str(len(content))} | headers).items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_PAUSES", (0.0, 0.0))
    monkeypatch.setattr(transfer, "_TIMEOUT", 0.3)


def serve(context: ssl.SSLContext | None = None) -> Iterator[Server]:
    state = Server()

    class Quiet(Handler):
        def do_GET(self) -> None:
            state.answer(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Calm(http.server.ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a client that hangs up is what some tests are about

    with Calm(("127.0.0.1", 0), Quiet) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        state.address = f"http{'s' if context else ''}://127.0.0.1:{server.server_port}"
        yield state
        server.shutdown()
        thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    yield from serve()


def refused(server: Server, target: Path, path: str = "/x") -> str:
    with pytest.raises(TransferError) as caught:
        fetch(server.address + path, target)
    return str(caught.value)


@pytest.mark.parametrize(("code", "tries"), [(404, 1), (403, 1), (401, 1), (410, 1), (500, 3),
                                             (503, 3), (429, 3), (408, 3)])  # fmt: skip
def test_what_may_pass_is_tried_again_and_what_is_final_is_not(
    server: Server, tmp_path: Path, code: int, tries: int
) -> None:
    server.answers["*"] = status(code)
    assert f"HTTP {code}" in refused(server, tmp_path / "x")
    assert len(server.asked) == tries


def test_a_server_that_recovers_is_believed(server: Server, tmp_path: Path) -> None:
    failures = [status(503), body(b"half", Content_Length="8")]

    def recovering(handler: Handler) -> None:
        answer = failures.pop() if failures else body(b"whole")
        answer(handler)

    server.answers["/x"] = recovering
    fetch(f"{server.address}/x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"whole"


def test_a_connection_that_ends_in_the_middle_is_told(server: Server, tmp_path: Path) -> None:
    server.answers["/x"] = body(b"12345", Content_Length="10")
    assert "the connection ended after 5 of 10 bytes" in refused(server, tmp_path / "x")
    assert len(server.asked) == 3


def test_a_server_that_says_nothing_or_nonsense_is_given_up(server: Server, tmp_path: Path) -> None:
    server.answers["/silent"] = lambda handler: time.sleep(1.0)
    assert "timed out" in refused(server, tmp_path / "x", "/silent")

    def stops(handler: Handler) -> None:
        body(b"1234", Content_Length="10")(handler)
        handler.wfile.flush()
        time.sleep(1.0)

    def nonsense(handler: Handler) -> None:
        handler.wfile.write(b"\x00\xff nonsense\r\n\r\n")

    server.answers["/stops"] = stops
    assert "timed out" in refused(server, tmp_path / "x", "/stops")
    server.answers["/nonsense"] = nonsense
    assert "nonsense" in refused(server, tmp_path / "x", "/nonsense")
    server.answers["/hangs-up"] = lambda handler: handler.connection.shutdown(socket.SHUT_RDWR)
    assert refused(server, tmp_path / "x", "/hangs-up")


def test_a_trickle_of_bytes_is_given_up(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "_PATIENCE", 0.3)

    def trickle(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(40):
            handler.wfile.write(b"x")
            time.sleep(0.05)

    server.answers["/x"] = trickle
    assert "it is too slow" in refused(server, tmp_path / "x")


def test_more_than_was_announced_is_not_written(server: Server, tmp_path: Path) -> None:
    server.answers["/x"] = body(bytes(1 << 20))
    with pytest.raises(TransferError, match="larger than the 1000 bytes"):
        fetch(f"{server.address}/x", tmp_path / "x", limit=1000)
    packed = body(gzip.compress(bytes(64 << 20)), Content_Encoding="gzip")
    server.answers["/y"] = packed
    with pytest.raises(TransferError, match="larger than the 1000 bytes"):
        fetch(f"{server.address}/y", tmp_path / "y", limit=1000)
    assert (tmp_path / "y").stat().st_size <= 1001


@pytest.mark.parametrize("place", [
    "file:///etc/hostname", "ftp://127.0.0.1/x", "gopher://x/", "/etc/../../x", "//[::1", "",
    "data:text/plain,x",
])  # fmt: skip
def test_a_redirect_to_where_farm_does_not_go_is_refused(
    server: Server, tmp_path: Path, place: str
) -> None:
    server.answers["/x"] = status(302, Location=place)
    refused(server, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_redirects_are_followed_but_not_for_ever(server: Server, tmp_path: Path) -> None:
    server.answers["/x"] = status(302, Location="/y")
    server.answers["/y"] = body(b"there")
    fetch(f"{server.address}/x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"there"
    server.answers["/loop"] = status(302, Location="/loop")
    assert "infinite loop" in refused(server, tmp_path / "x", "/loop")


def test_a_page_in_place_of_metadata_is_called_one(server: Server, tmp_path: Path) -> None:
    server.answers["*"] = body(b"<!doctype html>\n<html><p>Please log in.</html>")
    with pytest.raises(RepositoryError) as caught:
        fetch_pin(Repository(id="base", baseurl=(server.address,)), tmp_path / "pin")
    assert "it is a web page (does this network want a log-in?)" in caught.value.why
    assert server.address in caught.value.why


def test_metadata_that_a_server_packs_on_the_way_is_unpacked(
    server: Server, tmp_path: Path
) -> None:
    base = repodata(tmp_path / "base", {"primary": document(package("a"))})
    content = gzip.compress((base / "repodata/primary").read_bytes())
    repomd = gzip.compress((base / "repodata/repomd.xml").read_bytes())
    server.answers["/repodata/primary"] = body(content, Content_Encoding="x-gzip")
    server.answers["/repodata/repomd.xml"] = body(repomd, Content_Encoding="gzip")
    pin = fetch_pin(Repository(id="base", baseurl=(server.address,)), tmp_path / "pin")
    assert pin.path(pin.files[0]).read_bytes() == document(package("a"))
    server.answers["/x.gz"] = body(content, Content_Encoding="x-gzip")
    fetch(f"{server.address}/x.gz", tmp_path / "x.gz")
    assert (tmp_path / "x.gz").read_bytes() == content
    server.answers["/bad"] = body(content[:-20] + bytes(20), Content_Encoding="gzip")
    assert refused(server, tmp_path / "bad", "/bad")


def test_metadata_from_the_network_does_not_name_files_of_this_machine(
    server: Server, tmp_path: Path
) -> None:
    base = repodata(tmp_path / "base", {"primary": document(package("a"))})
    repomd = (base / "repodata/repomd.xml").read_text()
    server.answers["/repodata/repomd.xml"] = body(
        repomd.replace(
            'href="repodata/primary"', f'href="{base.as_uri()}/repodata/primary"'
        ).encode()
    )
    with pytest.raises(RepositoryError) as caught:
        fetch_pin(Repository(id="base", baseurl=(server.address,)), tmp_path / "pin")
    assert "it names a place that it may not: file://" in caught.value.why
    server.answers["/mirrors"] = body(f"{base.as_uri()}\n".encode())
    with pytest.raises(RepositoryError, match="names no mirror"):
        fetch_pin(Repository(id="base", mirrorlist=f"{server.address}/mirrors"), tmp_path / "pin")


@pytest.mark.parametrize(("base", "href", "place"), [
    ("http://h/b/", "a b.rpm", "http://h/b/a%20b.rpm"),
    ("http://h/b", "../c/a.rpm", "http://h/b/../c/a.rpm"),
    ("http://h/b", "https://i/a.rpm", "https://i/a.rpm"),
    ("file:///b", "file:///c/a.rpm", "file:///c/a.rpm"),
    ("http://h/b", "javascript:alert(1)", "http://h/b/javascript:alert(1)"),
])  # fmt: skip
def test_addresses_are_joined(base: str, href: str, place: str) -> None:
    assert join(base, href) == place


@pytest.mark.parametrize(
    "href", ["file:///etc/passwd", "FILE:///etc/passwd", "ftp://h/x", "://", ""]
)
def test_addresses_that_nobody_may_name_are_not_joined(href: str) -> None:
    with pytest.raises(TransferError):
        join("https://h/b", href)


def test_a_proxy_of_the_environment_is_used_and_its_failure_told(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", server.address)
    server.answers["http://upstream.invalid/x"] = body(b"by proxy")
    fetch("http://upstream.invalid/x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"by proxy"
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with pytest.raises(TransferError, match="refused"):
        fetch("http://upstream.invalid/x", tmp_path / "x")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server.answers["/direct"] = body(b"direct")
    fetch(f"{server.address}/direct", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"direct"


def test_a_certificate_that_nobody_vouches_for_is_refused_unless_that_is_wanted(
    tmp_path: Path,
) -> None:
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=a"
    run(("openssl", *words.split(), "-keyout", key, "-out", certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    for server in serve(context):
        server.answers["/x"] = body(b"secret")
        assert "TLS: self-signed certificate" in refused(server, tmp_path / "x")
        assert not server.asked
        fetch(f"{server.address}/x", tmp_path / "x", sslverify=False)
        assert (tmp_path / "x").read_bytes() == b"secret"


def test_a_plain_server_behind_https_is_told(server: Server, tmp_path: Path) -> None:
    with pytest.raises(TransferError, match=r"SSL|wrong version|record"):
        fetch(server.address.replace("http:", "https:") + "/x", tmp_path / "x")


def test_a_target_that_cannot_be_written_is_not_the_servers_fault(
    server: Server, tmp_path: Path
) -> None:
    server.answers["/x"] = body(bytes(1 << 16))
    with pytest.raises(MachineError, match="/dev/full cannot be written: No space left on device"):
        fetch(f"{server.address}/x", Path("/dev/full"))
    assert len(server.asked) == 1

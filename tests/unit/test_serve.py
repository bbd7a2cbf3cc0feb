"""The static server: what it gives, what it never gives."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.config import Config, Publish
from farm.errors import ConfigError, MachineError
from farm.site.repofile import paste_lines, repo_file
from farm.site.serve import serving
from farm.site.static import Span, parse_range, resolve


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: http.client.HTTPMessage


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "repo"
    (root / "snapshots" / "one" / "repodata").mkdir(parents=True)
    (root / "snapshots" / "one" / "repodata" / "repomd.xml").write_text("<repomd/>")
    (root / "snapshots" / "one" / "a b+c.rpm").write_bytes(bytes(range(256)) * 40)
    (root / "release").symlink_to("snapshots/one")
    (root / ".lock").write_text("secret")
    (tmp_path / "outside").write_text("secret")
    (root / "way-out").symlink_to("../outside")
    (root / "circle").symlink_to("circle")
    return root


@pytest.fixture
def port(root: Path) -> Iterator[int]:
    with serving(root) as address:
        yield urlsplit(address).port or 0


def ask(port: int, path: str, method: str = "GET", **headers: str) -> Answer:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=named)
        answer = connection.getresponse()
        return Answer(answer.status, answer.read(), answer.headers)


RPM = "/release/a%20b%2Bc.rpm"


def test_a_file_is_given_whole_with_its_type(port: int) -> None:
    answer = ask(port, RPM)
    assert (answer.status, answer.body) == (200, bytes(range(256)) * 40)
    assert answer.headers["Content-Type"] == "application/x-rpm"
    assert ask(port, "/release/repodata/repomd.xml").headers["Content-Type"].startswith("text/xml")


def test_a_part_of_a_file_is_given_as_a_part(port: int) -> None:
    answer = ask(port, RPM, Range="bytes=256-259")
    assert (answer.status, answer.body) == (206, b"\0\1\2\3")
    assert answer.headers["Content-Range"] == "bytes 256-259/10240"


def test_a_part_beyond_the_end_is_refused_with_the_size(port: int) -> None:
    answer = ask(port, RPM, Range="bytes=10240-")
    assert answer.status == 416
    assert answer.headers["Content-Range"] == "bytes */10240"


def test_a_part_of_a_file_that_has_changed_meanwhile_is_not_given(port: int) -> None:
    tag = ask(port, RPM).headers["ETag"]
    assert ask(port, RPM, Range="bytes=0-3", If_Range=tag).status == 206
    assert ask(port, RPM, Range="bytes=0-3", If_Range='"another"').status == 200


def test_head_tells_the_size_and_sends_nothing(port: int) -> None:
    answer = ask(port, RPM, "HEAD")
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "10240")


def test_an_unchanged_file_is_not_sent_again(port: int, root: Path) -> None:
    first = ask(port, RPM)
    assert ask(port, RPM, If_None_Match=first.headers["ETag"]).status == 304
    assert ask(port, RPM, If_Modified_Since=first.headers["Last-Modified"]).status == 304
    (root / "snapshots" / "one" / "a b+c.rpm").write_bytes(b"new")
    assert ask(port, RPM, If_None_Match=first.headers["ETag"]).body == b"new"


def test_one_connection_serves_many_requests(port: int) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        used = None
        for path in (RPM, "/release/", "/nothing", RPM):
            connection.request("GET", path)
            connection.getresponse().read()
            used = used or connection.sock
            assert connection.sock is used


def test_many_clients_are_served_at_once(port: int) -> None:
    with closing(socket.create_connection(("127.0.0.1", port))) as silent:
        silent.sendall(b"GET /rel")
        answers: list[int] = []
        threads = [
            threading.Thread(target=lambda: answers.append(ask(port, RPM).status)) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert answers == [200] * 8


@pytest.mark.parametrize(
    "path",
    [
        "/../outside",
        "/release/../../outside",
        "/%2e%2e/outside",
        "/..%2foutside",
        "/way-out",
        "/.lock",
        "/release/./repodata",
        "/circle",
        "/release/a%00b",
        "//../outside",
        "/nothing",
        "/release/repodata/repomd.xml/x",
    ],
)
def test_nothing_outside_or_hidden_is_given(port: int, path: str) -> None:
    answer = ask(port, path)
    assert answer.status == 404
    assert b"secret" not in answer.body


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "PATCH", "OPTIONS", "PROPFIND"])
def test_nothing_can_be_written(port: int, root: Path, method: str) -> None:
    before = sorted(path.name for path in root.rglob("*"))
    assert ask(port, "/release/new", method).status in (405, 501)
    assert sorted(path.name for path in root.rglob("*")) == before


def test_a_body_nobody_reads_is_not_taken_for_the_next_request(port: int) -> None:
    with closing(socket.create_connection(("127.0.0.1", port), timeout=5)) as client:
        inner = b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
        client.sendall(
            b"GET /release/repodata/repomd.xml HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
            % (len(inner), inner)
        )
        received = b""
        while part := client.recv(4096):
            received += part
    assert received.count(b"HTTP/1.1 ") == 1


def test_a_directory_is_listed_with_links_that_work(port: int) -> None:
    assert ask(port, "/release").headers["Location"] == "/release/"
    text = ask(port, "/release/").body.decode()
    assert 'href="a%20b%2Bc.rpm"' in text
    assert 'href="repodata/"' in text
    top = ask(port, "/").body.decode()
    assert "release/" in top
    assert not any(name in top for name in (".lock", "way-out", "circle"))


def test_a_redirect_never_leads_elsewhere(port: int) -> None:
    assert ask(port, "//release").headers["Location"] == "/release/"


def test_snapshots_may_be_kept_by_caches_and_the_rest_is_asked_for_again(port: int) -> None:
    assert "immutable" in ask(port, "/snapshots/one/repodata/repomd.xml").headers["Cache-Control"]
    assert ask(port, "/release/repodata/repomd.xml").headers["Cache-Control"] == "no-cache"


def test_a_port_in_use_is_said_with_a_remedy(root: Path, port: int) -> None:
    with pytest.raises(MachineError) as caught, serving(root, port=port):
        pass
    assert str(port) in caught.value.what
    assert "--port" in caught.value.hint


def test_requests_are_told_to_who_wants_to_know(root: Path) -> None:
    lines: list[str] = []
    with serving(root, log=lines.append) as address:
        ask(urlsplit(address).port or 0, "/nothing")
    assert any('"GET /nothing HTTP/1.1" 404' in line for line in lines)


@given(st.integers(1, 1000), st.integers(0, 2000), st.none() | st.integers(0, 2000))
def test_a_range_lies_inside_the_file_or_is_refused(
    size: int, first: int, last: int | None
) -> None:
    header = f"bytes={first}-{'' if last is None else last}"
    try:
        span = parse_range(header, size)
    except ValueError:
        assert first >= size
        return
    if span is None:
        assert last is not None
        assert last < first
    else:
        assert span == Span(first, size if last is None else min(last + 1, size))


@given(st.integers(1, 1000), st.integers(0, 2000))
def test_a_range_from_the_end_is_as_long_as_asked(size: int, last: int) -> None:
    if last == 0:
        with pytest.raises(ValueError, match="bytes=-0"):
            parse_range("bytes=-0", size)
    else:
        assert parse_range(f"bytes=-{last}", size) == Span(max(0, size - last), size)


@pytest.mark.parametrize("header", ["", "bytes=", "bytes=-", "bytes=0-1,5-6", "lines=1-2", "x"])
def test_what_is_no_single_range_means_the_whole_file(header: str) -> None:
    assert parse_range(header, 10) is None


@given(st.text(max_size=30))
def test_no_path_leads_out_of_the_root(path: str) -> None:
    root = Path("/usr/share").resolve()
    found = resolve(root, "/" + path)
    assert found is None or found == root or root in found.parents


def _sections(config: Config, **options: str) -> ConfigParser:
    parser = ConfigParser(interpolation=None)
    parser.read_string(repo_file(config, "debian-13", **options))
    return parser


def test_the_repo_file_has_every_check_on_and_names_the_mirrorlist() -> None:
    config = Config(publish=Publish(address="http://mirror.example/farm/", key="hpc"))
    main = _sections(config)["farm-debian-13"]
    assert (main["gpgcheck"], main["repo_gpgcheck"], main["enabled"]) == ("1", "1", "1")
    assert main["mirrorlist"] == "http://mirror.example/farm/debian-13/$basearch/mirrorlist"
    assert main["gpgkey"] == "http://mirror.example/farm/RPM-GPG-KEY-hpc"
    assert "baseurl" not in main


def test_debug_and_source_repositories_are_there_but_off() -> None:
    sections = _sections(Config())
    assert sections["farm-debian-13-debug"]["enabled"] == "0"
    assert sections["farm-debian-13-source"]["enabled"] == "0"
    without = _sections(Config(publish=Publish(debug_packages=False)))
    assert "farm-debian-13-debug" not in without


def test_a_release_package_names_its_own_copy_of_the_key() -> None:
    main = _sections(Config(), gpgkey="file:///etc/pki/rpm-gpg/RPM-GPG-KEY-farm")["farm-debian-13"]
    assert main["gpgkey"] == "file:///etc/pki/rpm-gpg/RPM-GPG-KEY-farm"


def test_an_unknown_release_has_no_repo_file() -> None:
    with pytest.raises(ConfigError):
        repo_file(Config(), "debian-31")


def test_a_site_pastes_two_lines() -> None:
    lines = paste_lines(Config(), "debian-13", ["cluster-master"])
    assert lines == (
        "curl -o /etc/yum.repos.d/farm-debian-13.repo http://127.0.0.1:8420/farm-debian-13.repo",
        "dnf install cluster-master",
    )


def test_figures_that_lie_outside_of_the_root_are_answered_nonetheless(
    root: Path, tmp_path: Path
) -> None:
    metrics = tmp_path / "state" / "metrics.txt"
    with serving(root, metrics=metrics) as address:
        with pytest.raises(HTTPError) as caught:
            urlopen(f"{address}/metrics", timeout=5)
        assert caught.value.code == 404
        metrics.parent.mkdir(exist_ok=True)
        metrics.write_text("farm_run_active 0\n")
        with urlopen(f"{address}/metrics?x=1", timeout=5) as answer:
            assert answer.read() == b"farm_run_active 0\n"
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")

"""The depot gives an attempt's worker what its job names and takes what it brings; nobody else."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import MachineError, UsageError
from farm.model import (
    Built,
    Chroot,
    Failed,
    Job,
    Lock,
    LockedPackage,
    Nevra,
    Outcome,
    Package,
    Recipe,
    WorkOrder,
    from_json,
    to_json,
)
from farm.rebuild import claim as claims
from farm.rebuild.claim import Claim
from farm.rebuild.remote import node, wire
from farm.rebuild.remote.cache import FileCache
from farm.rebuild.remote.depot import Depot
from farm.rebuild.remote.link import Link, Lost, Refusal, Withdrawn, send
from farm.rebuild.remote.receiving import is_result_name
from farm.rebuild.remote.wire import Grown, Terms, Ticket, Whole, secret_of, signed
from farm.store import Store

WORKER = "ab" * 16
CHROOT = Chroot("d-x86_64", "d", "x86_64", (), ("bash",), ".d")
CONTENT = b"an rpm, let us say\n" * 100


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def job_of(attempt: str, *files: str) -> Job:
    lock = Lock(tuple(LockedPackage(Nevra(f"p{n}", 0, "1", "1", "x86_64"), sha256, 1, "base")
                      for n, sha256 in enumerate(files)))  # fmt: skip
    return Job(
        attempt=attempt, step="tiny@d-x86_64", recipe=Recipe("tiny", "tiny.spec", "/", ()),
        chroot=CHROOT, lock=lock, setup_lock=Lock(()), counter=0, key="k", epoch_seconds=0,
    )  # fmt: skip


class Yard:
    """A depot with one attempt on offer, and a worker's link to it."""

    def __init__(self, root: Path, patience: float = 5.0) -> None:
        self.state, self.patience = root / "state", patience
        self.store = Store(self.state / "store")
        self.file = self.store.put_bytes(CONTENT)
        self.secret_file = self.store.put_bytes(b"somebody else's")
        self.job = job_of("a1", self.file)
        self.directory = self.state / "attempts" / "a1"
        self.directory.mkdir(parents=True)
        self.open()

    def open(self, port: int = 0) -> None:
        self.depot = Depot(self.store, "127.0.0.1", port, patience=self.patience)
        self.depot.__enter__()
        self.ticket = self.depot.offer(self.job, self.directory)

    def close(self) -> None:
        self.depot.__exit__(None, None, None)

    def link(self, worker: str = WORKER, secret: str = "", patience: float = 1.0) -> Link:
        ticket = replace(self.ticket, secret=secret or self.ticket.secret)
        return Link(ticket, worker, patience)

    def claimed(self, worker: str = WORKER) -> Link:
        link = self.link(worker)
        link.ask("POST", "claim", to_json(Claim(worker, "node1")))
        return link

    def raw(
        self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        """A request word for word; the answer has been read."""
        parts = urlsplit(self.ticket.address)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
        with closing(connection):
            connection.putrequest(method, target, skip_accept_encoding=True)
            sent = {"Content-Length": str(len(body)), **(headers or {})}
            for name, value in sent.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            answer.read()
        return answer

    def genuine(
        self, method: str, path: str, body: bytes = b"", worker: str = WORKER, attempt: str = "a1"
    ) -> tuple[str, dict[str, str]]:
        """Target and headers of a request as the worker would make it."""
        target = f"/{attempt}/{path}"
        secret = secret_of(wire.depot_key(self.state), attempt)
        said = signed(secret, worker, method, target, body)
        return target, {"Authorization": said.header}

    def files(self) -> dict[str, bytes]:
        """Whatever lies in the attempt's directory but its claim."""
        return {
            str(path.relative_to(self.directory)): path.read_bytes()
            for path in self.directory.rglob("*")
            if path.is_file() and path.name != claims.FILE
        }


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    yard = Yard(tmp_path)
    yield yard
    yard.close()


def package_of(content: bytes, name: str = "tiny") -> Package:
    return Package(Nevra(name, 0, "1.0", "1.d", "x86_64"), sha(content), len(content), "tiny")


def built(*packages: Package) -> Built:
    srpm = Package(Nevra("tiny", 0, "1.0", "1.d", "src"), "0" * 64, 1, "tiny")
    return Built(packages, srpm, 1.0)


def deliver(link: Link, tmp_path: Path, content: bytes, package: Package) -> None:
    path = tmp_path / "result"
    path.write_bytes(content)
    name = f"results/{package.nevra.filename}"
    send(link, name, path, 0, 7)
    link.ask("PUT", name, to_json(Whole(package.sha256, package.size)))


def test_the_worker_gets_its_job_and_the_files_that_the_job_names(
    yard: Yard, tmp_path: Path
) -> None:
    link = yard.claimed()
    order = link.ask("GET", "job.json").noun(WorkOrder)
    assert order.job == yard.job
    assert not order.keep
    with (tmp_path / "got").open("w+b") as file:
        link.download(f"files/{yard.file}", file)
    assert (tmp_path / "got").read_bytes() == CONTENT


def test_a_file_that_came_in_part_is_fetched_from_there_on(yard: Yard, tmp_path: Path) -> None:
    link = yard.claimed()
    with (tmp_path / "got").open("w+b") as file:
        file.write(b"*" * 100)
        link.download(f"files/{yard.file}", file)
    assert (tmp_path / "got").read_bytes() == b"*" * 100 + CONTENT[100:]


def test_a_file_of_the_store_that_the_job_does_not_name_is_not_to_be_had(yard: Yard) -> None:
    link = yard.claimed()
    for name in (yard.secret_file, "0" * 64, "..", f"..%2f{yard.file}", yard.file.upper()):
        with pytest.raises(Refusal):
            link.ask("GET", f"files/{name}")


def test_logs_grow_and_the_outcome_comes_last_with_its_results(yard: Yard, tmp_path: Path) -> None:
    link, result = yard.claimed(), b"a package\n" * 50
    assert link.ask("POST", "log/phases", b"root\n", 0).noun(Grown).size == 5
    assert link.ask("POST", "log/phases", b"%build\n", 5).noun(Grown).size == 12
    package = package_of(result)
    outcome = built(package)
    with pytest.raises(Refusal, match="is missing"):
        link.ask("PUT", "outcome.json", to_json(outcome))
    deliver(link, tmp_path, result, package)
    link.ask("PUT", "outcome.json", to_json(outcome))
    assert yard.files() == {
        "phases": b"root\n%build\n",
        f"results/{package.nevra.filename}": result,
        "outcome.json": to_json(outcome),
    }
    assert (yard.directory / "results" / package.nevra.filename).stat().st_mode & 0o777 == 0o644


def test_bytes_that_came_already_are_not_taken_twice(yard: Yard) -> None:
    link = yard.claimed()
    link.ask("POST", "log/build.log", b"one\n", 0)
    again = link.ask("POST", "log/build.log", b"one\n", 0)
    assert (again.status, again.noun(Grown).size) == (409, 4)
    ahead = link.ask("POST", "log/build.log", b"three\n", 8)
    assert (ahead.status, ahead.noun(Grown).size) == (409, 4)
    assert yard.files()["build.log"] == b"one\n"


def test_a_request_that_is_played_again_is_refused(yard: Yard) -> None:
    yard.claimed()
    target, headers = yard.genuine("POST", "log/phases?from=0", b"root\n")
    assert yard.raw("POST", target, b"root\n", headers).status == 200
    assert yard.raw("POST", target, b"root\n", headers).status == 403
    yard.close()
    yard.open()  # which remembers no nonce: the place of the bytes protects them
    assert yard.raw("POST", target, b"root\n", headers).status == 409
    assert yard.files()["phases"] == b"root\n"


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("the method", lambda r: ("PUT", *r[1:])),
        ("the path", lambda r: (r[0], r[1].replace("phases", "notes"), *r[2:])),
        ("the place", lambda r: (r[0], r[1].replace("from=0", "from=00"), *r[2:])),
        ("the attempt", lambda r: (r[0], r[1].replace("/a1/", "/a2/"), *r[2:])),
        ("the body", lambda r: (r[0], r[1], b"rOOt\n", r[3])),
        ("no credentials", lambda r: (*r[:3], {})),
        ("another scheme", lambda r: (*r[:3], {"Authorization": "Basic YTpi"})),
        ("a MAC cut short", lambda r: (*r[:3], {"Authorization": r[3]["Authorization"][:-1]})),
        (
            "another worker",
            lambda r: (*r[:3], {"Authorization": r[3]["Authorization"].replace("ab", "cd", 1)}),
        ),
    ],
)
def test_a_request_that_was_tampered_with_changes_nothing(
    yard: Yard, what: str, change: Callable[[Any], Any]
) -> None:
    yard.claimed()
    target, headers = yard.genuine("POST", "log/phases?from=0", b"root\n")
    answer = yard.raw(*change(("POST", target, b"root\n", headers)))
    assert answer.status in (400, 401), what
    assert yard.files() == {}
    # and the same untouched is taken, so it was the change that was refused
    target, headers = yard.genuine("POST", "log/phases?from=0", b"root\n")
    assert yard.raw("POST", target, b"root\n", headers).status == 200


def test_the_ticket_of_one_attempt_opens_no_other(yard: Yard) -> None:
    other = yard.state / "attempts" / "a2"
    other.mkdir()
    ticket = yard.depot.offer(job_of("a2", yard.secret_file), other)
    assert ticket.secret != yard.ticket.secret
    mixed = Link(Ticket(ticket.address, yard.ticket.secret), WORKER, 1.0)
    with pytest.raises(MachineError, match="does not take this ticket"):
        mixed.ask("POST", "claim", to_json(Claim(WORKER)))
    assert not list(other.iterdir())


def test_only_the_worker_that_came_first_has_the_attempt(yard: Yard) -> None:
    first = yard.claimed()
    second = yard.link("cd" * 16)
    with pytest.raises(Withdrawn, match="another worker"):
        second.ask("POST", "claim", to_json(Claim("cd" * 16)))
    for method, path in (("GET", "job.json"), ("POST", "log/phases"), ("PUT", "outcome.json")):
        with pytest.raises(Withdrawn, match="another worker"):
            second.ask(method, path, b"{}")
    target, headers = yard.genuine("GET", f"files/{yard.file}", worker="cd" * 16)
    assert yard.raw("GET", target, headers=headers).status == 410
    # the first may say it again: its answer may have been lost
    first.ask("POST", "claim", to_json(Claim(WORKER, "node1")))
    assert yard.files() == {}


def test_nothing_is_given_or_taken_before_the_claim(yard: Yard) -> None:
    link = yard.link()
    for method, path in (("GET", "job.json"), ("POST", "log/phases"), ("PUT", "results/x.rpm")):
        with pytest.raises(Withdrawn, match="none yet"):
            link.ask(method, path)
    assert yard.files() == {}


def test_an_attempt_that_the_coordinator_gave_up_is_nobodys(yard: Yard) -> None:
    assert claims.give_up(yard.directory)
    with pytest.raises(Withdrawn):
        yard.claimed()


def test_a_withdrawn_attempt_takes_nothing_any_more(yard: Yard) -> None:
    link = yard.claimed()
    link.ask("POST", "log/phases", b"root\n", 0)
    yard.depot.withdraw("a1")
    failed = to_json(Failed("package", "no"))
    for method, path, body in (
        ("POST", "log/phases", b"%build\n"),
        ("PUT", "outcome.json", failed),
        ("GET", "job.json", b""),
        ("GET", f"files/{yard.file}", b""),
    ):
        with pytest.raises(Withdrawn):
            link.ask(method, path, body)
    assert yard.files() == {"phases": b"root\n"}


def test_withdrawing_waits_for_what_is_being_taken(yard: Yard) -> None:
    """What is written when `withdraw` returns is all that will ever be written."""
    yard.claimed()
    over, sizes = threading.Event(), []

    def bring() -> None:
        link, at = yard.link(), 0
        while not over.is_set():
            try:
                at = link.ask("POST", "log/build.log", b"x" * 1000, at).noun(Grown).size
            except Withdrawn:
                return

    thread = threading.Thread(target=bring)
    thread.start()
    deadline = time.monotonic() + 20
    while not (yard.directory / "build.log").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    yard.depot.withdraw("a1")
    sizes = [(yard.directory / "build.log").stat().st_size]
    thread.join(20)
    over.set()
    assert not thread.is_alive(), "the worker was never told"
    assert (yard.directory / "build.log").stat().st_size == sizes[0] > 0


def test_an_attempt_that_has_ended_takes_nothing_but_the_same_outcome(yard: Yard) -> None:
    link, failed = yard.claimed(), to_json(Failed("package", "no"))
    link.ask("PUT", "outcome.json", failed)
    link.ask("PUT", "outcome.json", failed)  # the answer may have been lost
    with pytest.raises(Withdrawn):
        link.ask("PUT", "outcome.json", to_json(built()))
    with pytest.raises(Withdrawn):
        link.ask("POST", "log/phases", b"late\n", 0)
    with pytest.raises(Withdrawn):
        link.ask("GET", f"files/{yard.file}")
    assert yard.files() == {"outcome.json": failed}


@pytest.mark.parametrize(
    "name",
    [
        "../job.json", "..", "", ".rpm", "a/b.rpm", "x.rpm/../../y", "%2e%2e%2fx.rpm", "x.txt",
        "tiny-1.0-1.src.rpm", "a\\b.rpm", "-x.rpm", "x.rpm?from=1&to=2", "x" * 300 + ".rpm",
    ],
)  # fmt: skip
def test_no_name_leads_out_of_the_results(yard: Yard, name: str) -> None:
    yard.claimed()
    for method in ("POST", "PUT"):
        target, headers = yard.genuine(method, f"results/{name}", b"x")
        assert yard.raw(method, target, b"x", headers).status in (400, 404, 422)
    assert yard.files() == {}
    assert {path.name for path in yard.state.iterdir()} == {
        "store", "attempts", "depot.key", "depot.port",
    }  # fmt: skip


@given(
    st.text(max_size=40)
    | st.builds("{}.rpm".format, st.text("./\\%x-~^+", max_size=9))
    | st.builds("x{}.rpm".format, st.text(max_size=9))
)
def test_whatever_a_result_is_called_it_lies_among_the_results(name: str) -> None:
    if is_result_name(name):
        assert os.path.normpath(f"/results/{name}") == f"/results/{name}"
        assert Path("/results", name).parent == Path("/results")


def test_a_body_that_is_too_large_is_not_read(yard: Yard) -> None:
    yard.claimed()
    huge = wire.MOST_BODY + 1
    target, headers = yard.genuine("POST", "log/phases", b"")
    answer = yard.raw("POST", target, headers={**headers, "Content-Length": str(huge)})
    assert answer.status == 413
    target, headers = yard.genuine("POST", "log/phases", b"")
    answer = yard.raw("POST", target, headers={**headers, "Transfer-Encoding": "chunked"})
    assert answer.status == 413
    assert yard.files() == {}


def test_a_body_that_is_cut_short_is_not_taken(yard: Yard) -> None:
    yard.claimed()
    target, headers = yard.genuine("POST", "log/phases?from=0", b"root\n")
    parts = urlsplit(yard.ticket.address)
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        lines = [f"POST {target} HTTP/1.1", "Host: x", "Content-Length: 5"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        connection.sendall("\r\n".join([*lines, "", "ro"]).encode())
        connection.shutdown(socket.SHUT_WR)
        assert b" 400 " in connection.recv(1000)
    assert yard.files() == {}


def test_a_log_without_an_end_is_refused(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farm.rebuild.remote.receiving._MOST_LOG", 10)
    link = yard.claimed()
    link.ask("POST", "log/build.log", b"123456789\n", 0)
    with pytest.raises(Refusal, match="too long"):
        link.ask("POST", "log/build.log", b"!", 10)


def test_results_without_an_end_are_refused(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farm.rebuild.remote.receiving._MOST_RESULTS", 2)
    monkeypatch.setattr("farm.rebuild.remote.receiving._MOST_BYTES", 10)
    link = yard.claimed()
    link.ask("POST", "results/a.rpm", b"12345", 0)
    with pytest.raises(Refusal, match="too long"):
        link.ask("POST", "results/b.rpm", b"123456", 0)
    link.ask("POST", "results/b.rpm", b"12345", 0)
    with pytest.raises(Refusal, match="too many"):
        link.ask("POST", "results/c.rpm", b"1", 0)


def test_a_result_with_other_bytes_is_thrown_away_and_can_be_sent_again(
    yard: Yard, tmp_path: Path
) -> None:
    link, package = yard.claimed(), package_of(b"right")
    with pytest.raises(Refusal, match="other bytes"):
        deliver(link, tmp_path, b"wrong", package)
    assert yard.files() == {}
    deliver(link, tmp_path, b"right", package)
    assert yard.files() == {f"results/{package.nevra.filename}": b"right"}


def test_the_secret_is_the_same_after_a_restart_and_nobody_else_can_read_the_key(
    yard: Yard,
) -> None:
    before = yard.ticket
    link = yard.claimed()
    yard.close()
    yard.open()
    assert yard.ticket == before
    assert link.ask("POST", "log/phases", b"root\n", 0).status == 200
    assert (yard.state / "depot.key").stat().st_mode & 0o777 == 0o600
    assert before.secret not in repr(before)


def test_a_worker_waits_for_a_coordinator_that_comes_back(yard: Yard) -> None:
    link = yard.claimed()
    link.patience = 10.0
    link.ask("POST", "log/phases", b"root\n", 0)
    port = urlsplit(yard.ticket.address).port or 0
    yard.close()

    def again() -> None:
        time.sleep(0.6)
        yard.open(port)

    thread = threading.Thread(target=again)
    thread.start()
    assert link.ask("POST", "log/phases", b"%build\n", 5).noun(Grown).size == 12
    thread.join()


def test_an_attempt_that_is_not_on_offer_yet_is_waited_for(yard: Yard) -> None:
    link = yard.claimed()
    yard.close()
    yard.depot = Depot(yard.store, "127.0.0.1")
    yard.depot.__enter__()  # as after a restart, before the attempt is recovered
    timer = threading.Timer(0.5, lambda: yard.depot.offer(yard.job, yard.directory))
    timer.start()
    link.patience = 10.0
    assert link.ask("GET", "job.json").noun(WorkOrder).job == yard.job


def test_a_coordinator_that_stays_away_is_given_up_after_a_while(yard: Yard) -> None:
    link = yard.claimed()
    link.patience = 0.5
    yard.close()
    started = time.monotonic()
    with pytest.raises(Lost, match="was not reached"):
        link.ask("GET", "job.json")
    assert time.monotonic() - started < 10
    yard.open()


def test_an_answer_that_somebody_else_gave_is_not_believed(tmp_path: Path) -> None:
    """Whoever sits on the wire can hand out no job."""
    from http.server import BaseHTTPRequestHandler, HTTPServer  # noqa: PLC0415

    evil = to_json(WorkOrder(job_of("a1"), "", ""))

    class Impostor(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(evil)))
            self.send_header(wire.ANSWERED, "0" * 64)
            self.end_headers()
            self.wfile.write(evil)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Impostor)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        ticket = Ticket(f"http://127.0.0.1:{server.server_address[1]}/a1", "s" * 64)
        with pytest.raises(Lost, match="was not reached"):
            Link(ticket, WORKER, 0.5).ask("GET", "job.json")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_same_port_is_taken_again_after_a_restart(tmp_path: Path) -> None:
    store = Store(tmp_path / "state" / "store")
    with Depot(store, "127.0.0.1") as first:
        address = first.address
    with Depot(store, "127.0.0.1") as second:
        assert second.address == address
        with Depot(store, "127.0.0.1") as third:  # where it is taken, any other does
            assert third.address != address


def test_a_port_that_was_asked_for_and_is_taken_is_an_error(tmp_path: Path) -> None:
    store = Store(tmp_path / "state" / "store")
    with Depot(store, "127.0.0.1") as first:
        port = urlsplit(first.address).port or 0
        with pytest.raises(MachineError, match="cannot listen"), Depot(store, "127.0.0.1", port):
            pass


def test_nodes_are_told_the_name_that_they_know_this_machine_by(tmp_path: Path) -> None:
    with Depot(Store(tmp_path / "s" / "store"), "127.0.0.1", host="head.cluster") as depot:
        ticket = depot.offer(job_of("a1"), tmp_path)
        assert ticket.address.startswith("http://head.cluster:")


def test_how_long_ago_a_worker_said_anything_is_known(yard: Yard) -> None:
    assert yard.depot.heard("a1") is None
    yard.claimed()
    heard = yard.depot.heard("a1")
    assert heard is not None
    assert 0 <= heard < 20


@pytest.mark.parametrize("address", ["http://h", "ftp://h/a", "https://h/a", "/a", "http://h:x/a"])
def test_an_address_that_is_none_is_told(address: str) -> None:
    with pytest.raises(UsageError):
        Link(Ticket(address, "s"), WORKER, 1.0)


def test_work_without_a_ticket_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(wire.TICKET, raising=False)
    with pytest.raises(UsageError, match="FARM_TICKET"):
        node.work_from_afar("http://127.0.0.1:1/a1")


def append(content: bytes, log: list[int]) -> Callable[[Any], None]:
    """A fetch of `content`; `log` notes from where."""

    def fetch(file: Any) -> None:
        at = file.seek(0, 2)
        log.append(at)
        file.write(content[at:])

    return fetch


def test_the_cache_fetches_a_file_once(tmp_path: Path) -> None:
    cache, fetches = FileCache(tmp_path / "cache", 1 << 20), list[int]()
    for name in ("one", "two"):
        into = Store(tmp_path / name)
        cache.bring(sha(CONTENT), into, append(CONTENT, fetches))
        assert into.get(sha(CONTENT)).read_bytes() == CONTENT
    assert fetches == [0]


def test_what_a_killed_worker_fetched_of_a_file_is_gone_on_with(tmp_path: Path) -> None:
    cache, fetches = FileCache(tmp_path / "cache", 1 << 20), list[int]()

    def broken(file: Any) -> None:
        file.write(CONTENT[:100])
        file.flush()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.bring(sha(CONTENT), Store(tmp_path / "one"), broken)
    cache.bring(sha(CONTENT), Store(tmp_path / "two"), append(CONTENT, fetches))
    assert fetches == [100]


def test_a_damaged_file_of_the_cache_is_fetched_again(tmp_path: Path) -> None:
    cache, fetches = FileCache(tmp_path / "cache", 1 << 20), list[int]()
    cache.bring(sha(CONTENT), Store(tmp_path / "one"), append(CONTENT, fetches))
    path = Store(tmp_path / "cache" / "files").path(sha(CONTENT))
    path.chmod(0o644)
    path.write_bytes(b"decay")
    cache.bring(sha(CONTENT), Store(tmp_path / "two"), append(CONTENT, fetches))
    assert Store(tmp_path / "two").get(sha(CONTENT)).read_bytes() == CONTENT
    assert fetches == [0, 0]


def test_a_file_that_always_comes_with_other_bytes_is_told(tmp_path: Path) -> None:
    fetches = list[int]()
    with pytest.raises(MachineError, match="other bytes"):
        FileCache(tmp_path / "cache", 1 << 20).bring(
            sha(CONTENT), Store(tmp_path / "one"), append(b"x", fetches)
        )
    assert len(fetches) == 3
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.stat().st_size == 1]


def test_the_cache_keeps_to_its_limit_and_takes_nothing_from_whoever_works(tmp_path: Path) -> None:
    cache, into = FileCache(tmp_path / "cache", 250), Store(tmp_path / "one")
    contents = [bytes([n]) * 100 for n in range(4)]
    for number, content in enumerate(contents):
        cache.bring(sha(content), into, append(content, []))
        path = Store(tmp_path / "cache" / "files").path(sha(content))
        os.utime(path, (number, number))
    cache.tidy()
    kept = Store(tmp_path / "cache" / "files")
    assert [sha(content) in kept for content in contents] == [False, False, True, True]
    assert all(into.get(sha(content)).read_bytes() == content for content in contents)


def test_workers_at_once_want_the_same_files_and_each_is_fetched_once(tmp_path: Path) -> None:
    contents = [bytes([n]) * 5000 for n in range(8)]
    fetches: dict[bytes, list[int]] = {content: [] for content in contents}
    errors: list[BaseException] = []

    def slow(content: bytes) -> Callable[[Any], None]:
        def fetch(file: Any) -> None:
            fetches[content].append(file.seek(0, 2))
            for part in range(0, len(content), 1000):
                file.write(content[part : part + 1000])
                file.flush()
                time.sleep(0.001)

        return fetch

    def worker(number: int) -> None:
        try:
            cache, into = FileCache(tmp_path / "cache", 1 << 20), Store(tmp_path / str(number))
            for content in contents:
                cache.bring(sha(content), into, slow(content))
                assert into.get(sha(content)).read_bytes() == content
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=worker, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not errors
    assert all(found == [0] for found in fetches.values())


class Working:
    """The node's side with a stand-in for the build itself."""

    def __init__(self, yard: Yard, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.yard, self.home = yard, node.Home(root / "node", root / "roots")
        self._patch = monkeypatch

    def work(self, act: Callable[[WorkOrder, Path], Outcome]) -> Outcome:
        self._patch.setattr(node, "attempt", act)
        return node.Node(self.home, self.yard.ticket).work()


@pytest.fixture
def working(yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Working:
    return Working(yard, tmp_path, monkeypatch)


def test_everything_looks_as_if_the_worker_had_worked_here(yard: Yard, working: Working) -> None:
    content = b"x" * 3_000_000  # several pieces
    package = package_of(content)

    def act(order: WorkOrder, directory: Path) -> Outcome:
        assert Store(Path(order.store)).get(yard.file).read_bytes() == CONTENT
        (directory / "phases").write_text("root\n%build\n")
        (directory / "notes").write_text("a word\n")
        (directory / "build.log").write_text("long\n" * 1000)
        (directory / "root.log").write_text("bash\n")
        results = directory / "results"
        results.mkdir()
        (results / package.nevra.filename).write_bytes(content)
        return built(package)

    outcome = working.work(act)
    assert yard.files() == {
        "phases": b"root\n%build\n",
        "notes": b"a word\n",
        "build.log": b"long\n" * 1000,
        "root.log": b"bash\n",
        f"results/{package.nevra.filename}": content,
        "outcome.json": to_json(outcome),
    }
    assert not list((working.home.cache / "attempts").iterdir())


def test_phases_and_log_are_seen_while_the_attempt_goes_on(yard: Yard, working: Working) -> None:
    def act(order: WorkOrder, directory: Path) -> Outcome:
        with (directory / "build.log").open("w") as log:
            for line in ("first", "second"):
                log.write(f"{line}\n")
                log.flush()
                deadline = time.monotonic() + 20
                there = yard.directory / "build.log"
                while line.encode() not in (there.read_bytes() if there.exists() else b""):
                    assert time.monotonic() < deadline, f"{line} was never seen"
                    time.sleep(0.02)
        return Failed("package", "no")

    assert working.work(act) == Failed("package", "no")


def test_a_file_that_the_store_has_lost_is_an_outcome(yard: Yard, working: Working) -> None:
    yard.store.path(yard.file).unlink()
    outcome = working.work(lambda order, directory: pytest.fail("it was built all the same"))
    assert isinstance(outcome, Failed)
    assert outcome.kind == "infrastructure"
    assert "lost this file" in outcome.message
    assert yard.files()["outcome.json"] == to_json(outcome)


def test_a_file_of_the_store_that_is_damaged_is_an_outcome(yard: Yard, working: Working) -> None:
    path = yard.store.path(yard.file)
    path.chmod(0o644)
    path.write_bytes(CONTENT[:-1] + b"?")
    outcome = working.work(lambda order, directory: pytest.fail("it was built all the same"))
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.phase) == ("infrastructure", "fetch")
    assert "other bytes" in outcome.message


def test_a_log_that_is_too_long_is_cut_and_the_build_is_not(
    yard: Yard, working: Working, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farm.rebuild.remote.receiving._MOST_LOG", 200)

    def act(order: WorkOrder, directory: Path) -> Outcome:
        (directory / "build.log").write_text("a line\n" * 10)
        time.sleep(1.2)
        with (directory / "build.log").open("a") as log:
            log.write("more\n" * 1000)
        time.sleep(1.2)
        return Failed("package", "no")

    assert working.work(act) == Failed("package", "no")
    assert yard.files()["build.log"] == b"a line\n" * 10
    assert yard.files()["notes"].startswith(b"of build.log only the beginning was kept")


def test_results_that_are_refused_are_an_outcome(
    yard: Yard, working: Working, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farm.rebuild.remote.receiving._MOST_BYTES", 3)
    package = package_of(b"large")

    def act(order: WorkOrder, directory: Path) -> Outcome:
        (directory / "results").mkdir()
        (directory / "results" / package.nevra.filename).write_bytes(b"large")
        return built(package)

    outcome = working.work(act)
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.phase) == ("infrastructure", "deliver")
    assert yard.files() == {"outcome.json": to_json(outcome)}


def test_a_worker_whose_attempt_is_withdrawn_stops_and_says_why(
    yard: Yard, working: Working
) -> None:
    """SIGTERM ends a worker; here it raises what `__main__` has it raise."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)

    def act(order: WorkOrder, directory: Path) -> Outcome:
        yard.depot.withdraw("a1")
        (directory / "phases").write_text("root\n")  # so that the worker says something
        time.sleep(30)
        pytest.fail("it went on")

    try:
        with pytest.raises(Withdrawn):
            working.work(act)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert yard.files() == {}
    assert not list((working.home.cache / "attempts").iterdir())


def test_an_outcome_is_delivered_to_a_coordinator_that_was_started_again(
    yard: Yard, working: Working
) -> None:
    def act(order: WorkOrder, directory: Path) -> Outcome:
        port = urlsplit(yard.ticket.address).port or 0
        yard.close()
        (directory / "build.log").write_text("said while nobody listened\n")
        threading.Timer(1.0, yard.open, (port,)).start()
        return Failed("package", "no")

    outcome = working.work(act)
    assert yard.files() == {
        "build.log": b"said while nobody listened\n",
        "outcome.json": to_json(outcome),
    }


class BadWire:
    """Passes bytes on to a port, and cuts each connection off after so many of them."""

    def __init__(self, port: int, cuts: Iterator[int]) -> None:
        self._to, self._cuts, self.cut = port, cuts, 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._socket.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                left = [next(self._cuts)]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=(*pair, left), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, left: list[int]) -> None:
        with contextlib.suppress(OSError):
            while left[0] > 0 and (some := source.recv(min(65536, left[0]))):
                left[0] -= len(some)
                sink.sendall(some)
            self.cut += left[0] <= 0
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()


def test_a_wire_that_breaks_again_and_again_changes_no_byte(
    yard: Yard, working: Working, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farm.rebuild.remote.link._FIRST_WAIT", 0.01)
    chance = random.Random(5)
    big = chance.randbytes(2_000_000)
    yard.close()
    yard.job, yard.patience = job_of("a1", yard.file, yard.store.put_bytes(big)), 30.0
    yard.open()
    port = urlsplit(yard.ticket.address).port or 0
    wire_ = BadWire(port, iter(lambda: chance.randint(200, 1_500_000), None))
    yard.ticket = replace(
        yard.ticket, address=yard.ticket.address.replace(str(port), str(wire_.port))
    )
    content = chance.randbytes(3_000_000)
    package, log = package_of(content), "a line of the log\n" * 20_000

    def act(order: WorkOrder, directory: Path) -> Outcome:
        assert Store(Path(order.store)).get(sha(big)).read_bytes() == big
        (directory / "build.log").write_text(log)
        (directory / "results").mkdir()
        (directory / "results" / package.nevra.filename).write_bytes(content)
        return built(package)

    outcome = working.work(act)
    assert wire_.cut > 3, "the wire never broke"
    assert yard.files() == {
        "build.log": log.encode(),
        f"results/{package.nevra.filename}": content,
        "outcome.json": to_json(outcome),
    }
    wire_.close()


def test_everything_that_a_job_takes_is_named(tmp_path: Path) -> None:
    job = job_of("a1", "1" * 64)
    setup = job_of("a1", "2" * 64).lock
    job = msgspec.structs.replace(job, setup_lock=setup, inputs=(("tiny.spec", "3" * 64),))
    assert wire.files_of(job) == ("1" * 64, "2" * 64, "3" * 64)
    with_srpm = msgspec.structs.replace(job, srpm="4" * 64)
    assert wire.files_of(with_srpm) == ("1" * 64, "4" * 64)


def test_what_the_wire_says_is_json_that_either_side_understands(yard: Yard) -> None:
    claimed = yard.link().ask("POST", "claim", to_json(Claim(WORKER)))
    assert json.loads(claimed.body) == {"patience": 5.0, "cache": 20 << 30}
    assert from_json(Terms, claimed.body) == Terms(5.0, 20 << 30)

"""Builds on machines that share no directory with the coordinator, and whatever dies meanwhile."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest

from farm.model import Built, Failed, Outcome, WorkOrder, from_json, to_json
from farm.rebuild.claim import Claim
from farm.rebuild.remote.depot import Depot
from farm.rebuild.remote.link import Link
from farm.rebuild.remote.wire import Ticket
from farm.rebuild.worker import read_order, work
from farm.run import Child, launch, run
from farm.sandbox import remove
from tests.builds import ROOT, Ground, order, tiny
from tests.processes import descendants, parents
from tests.real.publishing import free_port
from tests.real.test_user import PYTHON, USER, why_not

pytestmark = pytest.mark.real

# A coordinator of its own process, so that it can be killed: it offers one attempt.
_COORDINATOR = """\
import sys, time
from pathlib import Path
from farm.rebuild.remote.depot import Depot
from farm.rebuild.worker import read_order
from farm.store import Store
state, job_file, port, ticket = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
with Depot(Store(state / "store"), "127.0.0.1", port, patience=60) as depot:
    offered = depot.offer(read_order(job_file).job, job_file.parent)
    Path(ticket).write_text(f"{offered.address} {offered.secret}")
    time.sleep(600)
"""
_SLOW = ("%build\n", "%build\necho slowly; sleep 6\n")


@dataclass
class Node:
    """A machine with a cache and build roots of its own, maybe in a network of its own."""

    home: Path
    inside: Sequence[str] = ()  # words before a command that put it there
    python: str = sys.executable
    path: str = str(ROOT)

    def start(self, ticket: Ticket, name: str) -> Child:
        self.home.mkdir(exist_ok=True)
        environment = {
            "PYTHONPATH": self.path,
            "FARM_TICKET": ticket.secret,
            "FARM_PATHS_CACHE": str(self.home / "cache"),
            "FARM_PATHS_ROOTS": str(self.home / "roots"),
        }
        words = [*self.inside, self.python, "-P", "-m", "farm", "work", ticket.address]
        return launch(words, env=environment, log=self.log(name))

    def log(self, name: str) -> Path:
        return self.home / f"{name}.log"

    def files(self) -> list[Path]:
        return [path for path in self.home.glob("cache/node-*/files/*/*") if path.is_file()]

    def attempts(self) -> list[Path]:
        return list(self.home.glob("cache/node-*/attempts/*"))


@pytest.fixture(scope="module")
def local(place: Ground, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """What comes of the tiny library where everything is at hand."""
    outcome = work(order(place, tiny(tmp_path_factory.mktemp("recipe")), "local"))
    assert isinstance(outcome, Built), outcome
    return outcome


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(Path(f"/dev/shm/farm-node-{os.getpid()}"))
    yield node
    remove(node.home)


@pytest.fixture
def far(node: Node) -> Iterator[tuple[Node, str]]:
    """A node in a network of its own, and the address of this machine as seen from there."""
    if os.getuid() != 0 or not shutil.which("ip"):
        pytest.skip("a network namespace wants root and the program ip")
    name = f"farm{os.getpid() % 100_000}"
    here, there = f"{name}a", f"{name}b"
    run(["ip", "netns", "add", name])
    try:
        run(["ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", name])
        run(["ip", "addr", "add", "10.213.77.1/30", "dev", here])
        run(["ip", "link", "set", here, "up"])
        run(["ip", "-n", name, "addr", "add", "10.213.77.2/30", "dev", there])
        run(["ip", "-n", name, "link", "set", there, "up"])
        yield replace(node, inside=("ip", "netns", "exec", name)), "10.213.77.1"
    finally:
        run(["ip", "netns", "delete", name], check=False)
        run(["ip", "link", "delete", here], check=False)


def ended(child: Child, node: Node, name: str, seconds: float = 120.0) -> int:
    """Wait for a worker; its exit code."""
    deadline = time.monotonic() + seconds
    while child.poll() is None:
        assert time.monotonic() < deadline, node.log(name).read_text()
        time.sleep(0.05)
    code = child.poll()
    assert code is not None
    assert "Traceback" not in node.log(name).read_text(), node.log(name).read_text()
    return code


def seen(path: Path, text: str, seconds: float = 120.0) -> None:
    """Wait until a file on the coordinator's side says something."""
    deadline = time.monotonic() + seconds
    while text not in (path.read_text("utf-8", "replace") if path.exists() else ""):
        assert time.monotonic() < deadline, f"{path} never said {text!r}"
        time.sleep(0.05)


def runs(pid: int) -> bool:
    """Whether a process is there that has not ended (one may wait to be collected)."""
    with contextlib.suppress(OSError):
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    return False


def outcome_of(directory: Path) -> Outcome:
    text = (directory / "outcome.json").read_bytes()
    outcome: Outcome = from_json(Outcome, text)  # type: ignore[arg-type]
    return outcome


def assert_same(directory: Path, local: Built) -> None:
    """The packages of an attempt are, byte for byte, those of the local one, and all there."""
    outcome = outcome_of(directory)
    assert isinstance(outcome, Built), outcome
    assert outcome.packages == local.packages
    names = {package.nevra.filename for package in local.packages}
    assert {path.name for path in (directory / "results").iterdir()} == names


def order_of(place: Ground, recipe: Path, attempt: str, *changes: tuple[str, str]) -> Path:
    return order(place, tiny(recipe, *changes), attempt)


def test_a_build_in_another_network_gives_the_same_bytes(
    place: Ground, local: Built, far: tuple[Node, str], tmp_path: Path
) -> None:
    node, here = far
    job_file = order_of(place, tmp_path / "r", "afar")
    with Depot(place.store, here, free_port()) as depot:
        ticket = depot.offer(read_order(job_file).job, job_file.parent)
        child = node.start(ticket, "afar")
        assert ended(child, node, "afar") == 0, node.log("afar").read_text()
    assert_same(job_file.parent, local)
    phases = (job_file.parent / "phases").read_text().split()
    assert phases == [phase.name for phase in outcome_of(job_file.parent).phases]  # type: ignore[union-attr]
    assert "Executing(%build)" in (job_file.parent / "build.log").read_text()
    assert "gcc" in (job_file.parent / "root.log").read_text()
    assert str(place.state) not in node.log("afar").read_text()
    assert node.attempts() == []
    wanted = {p.sha256 for p in read_order(job_file).job.lock.packages}
    assert len(node.files()) == len(wanted) + 1  # and the source package


def test_a_node_wants_no_root(place: Ground, local: Built, node: Node, tmp_path: Path) -> None:
    if why_not():
        pytest.skip(why_not())
    user = pwd.getpwnam(USER)
    words = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups"]
    libraries = Path(msgspec.__file__).parents[1]
    node = replace(
        node, inside=("setpriv", *words, "env", f"HOME={user.pw_dir}", f"USER={USER}"),
        python=str(PYTHON), path=f"{ROOT}:{libraries}",
    )  # fmt: skip
    reads = [*node.inside, f"PYTHONPATH={node.path}", node.python, "-P", "-c", "import farm.cli"]
    if not run(reads, check=False).ok:
        pytest.skip(f"{USER} cannot read farm where it is")
    node.home.mkdir()
    shutil.chown(node.home, user.pw_uid, user.pw_gid)
    job_file = order_of(place, tmp_path / "r", "user")
    with Depot(place.store, "127.0.0.1") as depot:
        child = node.start(depot.offer(read_order(job_file).job, job_file.parent), "user")
        assert ended(child, node, "user") == 0, node.log("user").read_text()
    assert_same(job_file.parent, local)
    assert {path.stat().st_uid for path in node.files()} == {user.pw_uid}
    assert node.attempts() == []


def test_a_failure_afar_is_told_as_one_here(place: Ground, node: Node, tmp_path: Path) -> None:
    broken = ("%build\n", "%build\necho 'tiny.c:3: error: no' >&2; exit 3\n")
    job_file = order_of(place, tmp_path / "r", "broken", broken)
    with Depot(place.store, "127.0.0.1") as depot:
        ticket = depot.offer(read_order(job_file).job, job_file.parent)
        child = node.start(ticket, "broken")
        assert ended(child, node, "broken") == 0
    failed = outcome_of(job_file.parent)
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.phase) == ("package", "%build")
    assert any("tiny.c:3" in line for line in failed.excerpt)
    assert "tiny.c:3" in (job_file.parent / "build.log").read_text()
    assert not list(node.home.glob("roots/kept-*")), "nobody would look at it there"


def test_a_node_that_dies_leaves_nothing_that_counts_and_another_attempt_is_made(
    place: Ground, local: Built, node: Node, tmp_path: Path
) -> None:
    job_file = order_of(place, tmp_path / "r", "dies", _SLOW)
    again = order_of(place, tmp_path / "r2", "again")
    with Depot(place.store, "127.0.0.1") as depot:
        ticket = depot.offer(read_order(job_file).job, job_file.parent)
        child = node.start(ticket, "dies")
        seen(job_file.parent / "build.log", "slowly")
        for pid in descendants(child.pid, parents()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert ended(child, node, "dies") == -9
        assert not (job_file.parent / "outcome.json").exists()
        assert "%build" in (job_file.parent / "phases").read_text()
        # whoever is started in its place is a zombie: the attempt was begun
        child = node.start(ticket, "zombie")
        assert ended(child, node, "zombie") != 0
        assert "another worker" in node.log("zombie").read_text()
        depot.withdraw("dies")
        fetched = {path: path.stat().st_ctime_ns for path in node.files()}
        child = node.start(depot.offer(read_order(again).job, again.parent), "again")
        assert ended(child, node, "again") == 0, node.log("again").read_text()
        assert fetched.keys() <= set(node.files())
    assert_same(again.parent, local)
    assert node.attempts() == [], "what the killed worker left is gone"


def test_an_attempt_that_is_withdrawn_is_stopped_where_it_runs(
    place: Ground, node: Node, tmp_path: Path
) -> None:
    job_file = order_of(place, tmp_path / "r", "withdrawn", ("%build\n", "%build\nsleep 300\n"))
    with Depot(place.store, "127.0.0.1") as depot:
        child = node.start(depot.offer(read_order(job_file).job, job_file.parent), "withdrawn")
        seen(job_file.parent / "phases", "%build")
        inside = descendants(child.pid, parents())
        assert len(inside) > 1
        depot.withdraw("withdrawn")
        assert ended(child, node, "withdrawn", 40) == 8
    assert "does not want this attempt" in node.log("withdrawn").read_text()
    deadline = time.monotonic() + 5
    while alive := [pid for pid in inside if runs(pid)]:
        assert time.monotonic() < deadline, run(["ps", "-fp", ",".join(map(str, alive))]).stdout
        time.sleep(0.05)
    assert not (job_file.parent / "outcome.json").exists()
    assert node.attempts() == []


def test_a_coordinator_that_is_killed_in_the_middle_gets_the_result_when_it_is_back(
    place: Ground, node: Node, tmp_path: Path
) -> None:
    job_file = order_of(place, tmp_path / "r", "orphan", _SLOW)
    port, ticket_file = free_port(), tmp_path / "ticket"

    def coordinator(name: str) -> Child:
        ticket_file.unlink(missing_ok=True)
        arguments = (str(place.state), str(job_file), str(port), str(ticket_file))
        words = [sys.executable, "-c", _COORDINATOR, *arguments]
        child = launch(words, env={"PYTHONPATH": str(ROOT)}, log=tmp_path / name)
        deadline = time.monotonic() + 20
        while not (ticket_file.exists() and ticket_file.read_text().count(" ") == 1):
            assert time.monotonic() < deadline, (tmp_path / name).read_text()
            time.sleep(0.05)
        return child

    first = coordinator("first")
    address, secret = ticket_file.read_text().split()
    child = node.start(Ticket(address, secret), "orphan")
    seen(job_file.parent / "build.log", "slowly")
    os.kill(first.pid, signal.SIGKILL)
    first.end()
    time.sleep(8)  # the build ends while nobody listens
    assert child.poll() is None, node.log("orphan").read_text()
    assert not (job_file.parent / "outcome.json").exists()
    second = coordinator("second")
    try:
        assert ticket_file.read_text() == f"{address} {secret}"
        assert ended(child, node, "orphan") == 0, node.log("orphan").read_text()
    finally:
        second.end()
    slow = work(order_of(place, tmp_path / "r2", "slow-here", _SLOW))
    assert isinstance(slow, Built)
    assert_same(job_file.parent, slow)
    assert (job_file.parent / "build.log").read_text().count("\nslowly\n") == 1


def test_a_job_file_of_afar_names_no_directory_of_the_coordinator(
    place: Ground, tmp_path: Path
) -> None:
    job_file = order_of(place, tmp_path / "r", "paths")
    with Depot(place.store, "127.0.0.1") as depot:
        link = Link(depot.offer(read_order(job_file).job, job_file.parent), "ab" * 16, 5)
        link.ask("POST", "claim", to_json(Claim("ab" * 16)))
        got = link.ask("GET", "job.json").noun(WorkOrder)
    assert (got.store, got.roots) == ("", "")

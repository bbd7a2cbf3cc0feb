"""A small Slurm cluster of its own on this machine: munged, slurmctld and a few slurmd.

Everything is private (key, sockets, ports, directories), listens on the loopback address only, and
is ended by process id. Daemons can be killed and started again, as machines are.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from farm.run import Child, Completed, launch, run
from tests.processes import descendants, parents
from tests.real.publishing import free_port

_PATIENCE = 30.0  # seconds until a daemon has to be there
NODES = {"native1": "x86_64", "native2": "x86_64", "foreign": "aarch64"}


def why_not() -> str:
    """Why this machine cannot run a cluster, or ""."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [
        n for n in ("munged", "slurmctld", "slurmd", "sbatch") if not shutil.which(n, path=path)
    ]
    return f"not installed: {', '.join(missing)}" if missing else ""


def wait_until(true: Callable[[], object], what: str, seconds: float = _PATIENCE) -> None:
    """Raises AssertionError when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.1)


@dataclass
class Cluster:
    """`nodes`: name → feature. `cpus` and `megabytes` are what each node claims to have."""

    home: Path
    nodes: Mapping[str, str] = field(default_factory=lambda: dict(NODES))
    cpus: int = 2
    megabytes: int = 8000
    accounting: bool = True  # a file of completed jobs, which is all that `sacct -c` wants
    settings: str = ""  # more lines for slurm.conf
    # Slurm starts a batch job up to 3 seconds after it could; a second is enough to wait in tests
    scheduler: str = "batch_sched_delay=0"
    numbers: set[str] = field(default_factory=set)  # of all jobs that were seen
    _daemons: dict[str, Child] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.port = free_port()
        self.ports = {node: free_port() for node in self.nodes}
        self.conf = self.home / "slurm.conf"
        self.history = self.home / "history.txt" if self.accounting else None
        self._munge = self.home / "munge"
        for directory in (self.home, self._munge, self.home / "state", self.home / "spool"):
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(0o755)
        key = self._munge / "key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        self.conf.write_text(self._configuration())

    @property
    def environment(self) -> dict[str, str]:
        """What the clients need in order to find this cluster and no other."""
        return {"SLURM_CONF": str(self.conf)}

    def client(self, *words: str, check: bool = True, timeout: float = 30.0) -> Completed:
        """sbatch, scancel, scontrol… of this cluster."""
        return run(words, env=self.environment, check=check, timeout=timeout)

    def start(self) -> None:
        """Everything, until all nodes are idle."""
        self.start_munged()
        self.start_controller()
        for node in self.nodes:
            self.start_node(node)
        self.wait_for_nodes()

    def stop(self) -> None:
        """Everything that was started, jobs included."""
        for node in self.nodes:
            self.kill_node(node)
        for name in list(self._daemons):
            self._kill(name)
        for pid in self._of_jobs():
            _kill_family(pid)

    def start_munged(self) -> None:
        socket_path, home = self._munge / "socket", self._munge
        words = [
            "munged", "--foreground", f"--socket={socket_path}", f"--key-file={home / 'key'}",
            f"--pid-file={home / 'pid'}", f"--log-file={home / 'log'}",
            f"--seed-file={home / 'seed'}", "--num-threads=2", "--force",
        ]  # fmt: skip
        self._daemons["munged"] = launch(words, log=self._munge / "out")
        wait_until(socket_path.exists, "munged")

    def start_controller(self) -> None:
        words = ["slurmctld", "-D", "-f", str(self.conf)]
        self._daemons["slurmctld"] = launch(words, log=self.home / "slurmctld.out")
        wait_until(self.answers, "slurmctld")

    def answers(self) -> bool:
        return " is UP" in self.client("scontrol", "ping", check=False).stdout

    def start_node(self, node: str) -> None:
        words = ["slurmd", "-D", "-N", node, "-f", str(self.conf)]
        self._daemons[node] = launch(words, log=self.home / f"{node}.out")

    def wait_for_nodes(self, *nodes: str, state: str = "idle", seconds: float = _PATIENCE) -> None:
        wanted = set(nodes or self.nodes)
        wait_until(
            lambda: wanted <= {name for name, found in self.states().items() if found == state},
            f"{', '.join(sorted(wanted))} to be {state}", seconds,
        )  # fmt: skip

    def states(self) -> dict[str, str]:
        """node → its state, as sinfo says it."""
        done = self.client("sinfo", "-h", "-N", "-o", "%N|%T", check=False)
        return dict(line.split("|", 1) for line in done.stdout.splitlines() if "|" in line)

    def resume_drained(self) -> None:
        """What an operator does after a slurmctld that handed out numbers again: it drains nodes
        that have seen the same number before."""
        for node, state in self.states().items():
            if state.startswith("drain"):
                words = ("scontrol", "update", f"NodeName={node}", "State=RESUME")
                self.client(*words, check=False)

    def kill_controller(self) -> None:
        """`kill -9`, without a chance to save anything."""
        self._kill("slurmctld")

    def forget(self) -> None:
        """What a slurmctld that is not there had saved is lost. It saves seconds after it has
        promised something, so one that dies loses at least the newest of it."""
        shutil.rmtree(self.home / "state")
        (self.home / "state").mkdir()

    def kill_node(self, node: str) -> None:
        """As if the machine had lost its power: slurmd and all that it had started."""
        for pid in self._of_jobs(node):
            _kill_family(pid)
        self._kill(node)
        for pid in self._of_jobs(node):
            _kill_family(pid)

    def jobs(self, *, every: bool = False) -> list[dict[str, str]]:
        """What squeue tells, alive ones only unless `every`."""
        names = ("number", "name", "state", "node", "reason", "comment")
        words = ["squeue", "-h", "-o", "%i|%j|%T|%N|%r|%k"] + (["--states=all"] if every else [])
        lines = self.client(*words).stdout.splitlines()
        jobs = [dict(zip(names, line.split("|"), strict=True)) for line in lines]
        self.numbers |= {job["number"] for job in jobs}
        return jobs

    def kill_slurmd(self, node: str) -> None:
        """`kill -9` of the daemon alone: its jobs run on."""
        self._kill(node)

    def nice(self, name: str) -> str:
        """How far back in the queue the living jobs of this name are put."""
        return self.client("squeue", "-h", f"--name={name}", "-o%y").stdout.strip()

    def _kill(self, name: str) -> None:
        child = self._daemons.pop(name, None)
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
            child.end()

    def _of_jobs(self, node: str = "") -> set[int]:
        """The slurmstepd of this cluster's jobs, found by what they started: a job's environment
        names the cluster and the node."""
        parent_of = parents()
        found = set()
        for pid in parent_of:
            variables = _environment(pid)
            if variables.get("SLURM_CONF") != str(self.conf) or "SLURM_JOB_ID" not in variables:
                continue
            if node and variables.get("SLURMD_NODENAME") != node:
                continue
            top = pid
            while parent_of.get(top, 1) not in (0, 1, os.getpid()):
                above = parent_of[top]
                if not _name(above).startswith(("slurmstepd", "sh", "python", "bash")):
                    break
                top = above
            found.add(top)
        return found

    def _configuration(self) -> str:
        user, host = getpass.getuser(), socket.gethostname()
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={self.ports[node]} "
            f"CPUs={self.cpus} RealMemory={self.megabytes} Feature={feature} State=UNKNOWN"
            for node, feature in self.nodes.items()
        )
        return f"""ClusterName=farmtest
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={self.port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={self._munge / "socket"},cred_expire=10
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType={"jobcomp/filetxt" if self.history else "jobcomp/none"}
JobCompLoc={self.history or "/dev/null"}
StateSaveLocation={self.home / "state"}
SlurmdSpoolDir={self.home / "spool"}/%n
SlurmctldPidFile={self.home / "slurmctld.pid"}
SlurmdPidFile={self.home / "slurmd"}-%n.pid
SlurmctldLogFile={self.home / "slurmctld.log"}
SlurmdLogFile={self.home / "slurmd"}-%n.log
ReturnToService=2
SlurmdTimeout=5
KillWait=5
MessageTimeout=5
SchedulerParameters={self.scheduler}
TCPTimeout=2
{self.settings}
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@contextlib.contextmanager
def cluster(home: Path, **options: object) -> Iterator[Cluster]:
    """A running cluster below a directory, which ends with the block."""
    made = Cluster(home, **options)  # type: ignore[arg-type]
    try:
        made.start()
        yield made
    finally:
        made.stop()


def _environment(pid: int) -> dict[str, str]:
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/environ").read_bytes().decode("utf-8", "replace")
        return dict(part.split("=", 1) for part in text.split("\0") if "=" in part)
    return {}


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text("utf-8").strip()
    return ""


def _kill_family(pid: int) -> None:
    for each in (pid, *descendants(pid, parents())):
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)

"""One attempt in Slurm's hands, as far as the coordinator knows."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from farm.errors import StateError
from farm.model import Failed, Job, Outcome, from_json, to_json
from farm.rebuild.claim import claimed
from farm.rebuild.engines.files import AttemptFiles
from farm.rebuild.engines.slurm.asking import Asked
from farm.rebuild.engines.slurm.clients import Row
from farm.rebuild.engines.slurm.ends import ALIVE, waiting_phase
from farm.rebuild.worker import read_order
from farm.store import write_atomic

_RECORD = "slurm.json"  # in the attempt's directory: it was handed over to this engine
_LAST_LINES = 5
_NOWHERE = ("", "(null)", "None assigned")  # what Slurm calls the node of a job that had none
_UNLUCKY = frozenset(("NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "REVOKED"))


class Attempt(AttemptFiles):
    """`handed`: sbatch was asked to take it and did, or its answer is not known. `gone`: when a
    queue was first seen without a living job of it (a clock's seconds), None while there is one."""

    def __init__(self, job: Job, directory: Path, asked: Asked) -> None:
        super().__init__(directory)
        self.job, self.asked = job, asked
        self.handed = asked.times > 0
        self.refused: Failed | None = None  # it cannot be handed over
        self.gone: float | None = None
        self.row: Row | None = None  # the last that Slurm said
        self.stuck: float | None = None  # since when its job waits for somebody to do something
        self.phase = ""  # as it was told last
        self._worked = ""  # the last that its worker has begun
        self.traced = False  # accounting was asked about it

    def remember(self, times: int) -> None:
        """Note what was asked, and how often, for a coordinator that comes after this one."""
        self.asked = msgspec.structs.replace(self.asked, times=times)
        write_atomic(self.directory / _RECORD, to_json(self.asked))

    def hand_over_again(self) -> None:
        """Its job is lost, and nobody had begun it."""
        self.handed, self.gone, self.row, self.traced = False, None, None, False

    def forget(self) -> None:
        """Nobody is to take it over any more."""
        (self.directory / _RECORD).unlink(missing_ok=True)

    @property
    def misfired(self) -> bool:
        """Whether its job was lost, or ended on a node, in a way that blames neither whoever was
        to begin it nor an operator; of use where nobody had begun it."""
        if self.row is None or self.row.state == "COMPLETED":
            return True
        # a node that refuses a job has it cancelled; what an operator cancels mostly waits
        return self.row.state in _UNLUCKY or (self.row.state == "CANCELLED" and bool(self._node))

    @property
    def place(self) -> str:
        """The node that it runs or ran on, "" while there is none."""
        claim = claimed(self.directory)
        if claim is not None and claim.place:
            return claim.place
        return self._node

    def hear(self, rows: list[Row], now: float) -> str:
        """What Slurm says of its jobs; the phase that follows, if it is a new one."""
        alive = [row for row in rows if row.state in ALIVE]
        if not alive:
            if rows:
                # a job that was refused leaves a row as well, of the same second, on no node
                self.row = max(rows, key=lambda row: (row.submitted, row.node not in _NOWHERE))
            elif self.row is not None and self.row.state in ALIVE:
                self.row = None
            if self.gone is None:
                self.gone = now
            return ""
        self.gone, self.row, self.traced = None, alive[-1], False
        self.row = next((row for row in alive if row.state == "RUNNING"), self.row)
        if self.row.state == "SUSPENDED":
            return self._new("suspended")
        if self._worked:  # what the worker itself says is newer, and truer after a restart
            return self._new(self._worked)
        return self._new("starting" if self.row.state == "RUNNING" else waiting_phase(self.row))

    def worked(self) -> list[str]:
        """Phases that its worker has begun since the last look."""
        phases = self.new_phases()
        if phases:
            self._worked = self.phase = phases[-1]
        return phases

    def ended(self) -> Outcome | None:
        """Its outcome, once it is there."""
        # reading the directory makes a network file system look again at what is in it
        with contextlib.suppress(OSError):
            if not any(path.name == "outcome.json" for path in self.directory.iterdir()):
                return None
        return self.outcome()

    def last_words(self) -> tuple[str, ...]:
        """The end of what its worker, or the shell that could not start one, printed."""
        with contextlib.suppress(OSError):
            text = (self.directory / "worker.log").read_text("utf-8", "replace")
            return tuple(text.strip().splitlines()[-_LAST_LINES:])
        return ()

    @property
    def _node(self) -> str:
        node = self.row.node if self.row is not None else ""
        return "" if node in _NOWHERE else node

    def _new(self, phase: str) -> str:
        if phase == self.phase:
            return ""
        self.phase = phase
        return phase


def left_behind(directory: Path, farm: str) -> Attempt | None:
    """An attempt that an earlier coordinator of this `farm` handed over, None for one that was
    not: in a copy of a state directory it is another farm's."""
    try:
        asked = from_json(Asked, (directory / _RECORD).read_bytes(), where=_RECORD)
        job = read_order(directory / "job.json").job
    except (OSError, StateError):
        return None
    ours = asked.farm == farm and job.attempt == directory.name
    return Attempt(job, directory, asked) if ours else None

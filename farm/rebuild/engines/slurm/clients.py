"""Slurm's own clients, started one at a time and with a deadline: words in, rows out.

A slurmctld that does not answer is no error: whoever asks hears `Silent` and asks again later.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from farm.run import Completed, run

PROGRAMS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo")
_SECONDS = 20.0  # for one client; they give up by themselves after MessageTimeout, 10 by default
_APART = "\x1f"  # between the fields of a row: in no name, reason or comment
_FIELDS = ("Name", "State", "NodeList", "Reason", "exit_code", "Comment", "SubmitTime")
_HISTORY = "JobName,State,NodeList,ExitCode,Submit"
# What the clients say when slurmctld or munge cannot be reached, or are too busy now.
_SILENCES = (
    "unable to contact slurm controller",
    "connection refused",
    "connection reset",
    "connect failure",
    "timed out",
    "zero bytes",
    "standby",
    "temporarily unable",
    "try again",
    "communication",
    "munge",
    "authentication",
    "credential",
    "unable to establish",
    "configuration source",
    "incomplete message",
    "no route to host",
)

# of nodes that start nothing, unless an operator does something about it
_OUT_OF_SERVICE = frozenset(
    ("down", "drained", "draining", "drain", "fail", "failing", "error", "unknown", "future")
)
_UNHEARD = ("connect failure", "connection refused", "configuration source")


class Silent(Exception):
    """Nobody answers. `unheard`: and nobody heard; else what was asked for may have been done."""

    def __init__(self, said: str, *, unheard: bool = False) -> None:
        # what a client says where no slurm.conf is, and where the one who has it cannot be reached
        if "configuration source" in said:
            said += "; is there a slurm.conf here, or does SLURM_CONF name one?"
        super().__init__(said)
        self.unheard = unheard


class Declined(Exception):
    """slurmctld answered that it will not; nothing was done."""

    @property
    def for_now(self) -> bool:
        """Whether there are too many jobs of this user: when one has ended it may."""
        said = str(self).lower()
        return "submit limit" in said or "too many" in said


@dataclass(frozen=True)
class Row:
    """A job as Slurm tells it. `code` is a wait status: exit code times 256, or a signal;
    `submitted` a time that sorts."""

    name: str
    state: str
    node: str = ""
    reason: str = ""
    code: int = 0
    comment: str = ""
    submitted: str = ""


@dataclass(frozen=True)
class Shape:
    """Nodes of one kind: their features, processors and MiB of memory for each."""

    features: frozenset[str]
    cpus: int
    memory: int


@dataclass(frozen=True)
class Node:
    """One node that takes jobs: its features, processors and MiB of memory (1: not counted)."""

    name: str
    features: frozenset[str]
    cpus: int
    memory: int


class Clients:
    """The cluster that SLURM_CONF, or the machine's own configuration, names."""

    def ping(self) -> None:
        """Raises Silent unless a slurmctld is there: asked quickly, unlike anything else."""
        done = run(["scontrol", "ping"], check=False, timeout=_SECONDS)
        if " is UP" not in done.stdout:
            down = (line for line in done.stdout.splitlines() if " is " in line)
            raise Silent(next(down, _words(done)))

    def submit(self, words: Sequence[str], script: str, env: Mapping[str, str]) -> None:
        """Hand in a batch script. Raises Silent and Declined."""
        _ask(["sbatch", "--parsable", *words], env=env, input=script)

    def probe(self, words: Sequence[str]) -> None:
        """Ask whether such a job would be taken, without handing it in. Raises Silent and
        Declined."""
        _ask(["sbatch", "--test-only", *words], input="#!/bin/sh\n")

    def queue(self) -> tuple[Row, ...]:
        """All jobs of this user that slurmctld remembers, ended ones included. Raises Silent."""
        form = ",".join(f"{name}:{_APART}" for name in _FIELDS)
        done = _asked(["squeue", "--me", "--states=all", "--noheader", "-O", form])
        return tuple(read_queue(done.stdout))

    def history(self, names: Sequence[str]) -> tuple[Row, ...] | None:
        """What accounting, or the file of completed jobs, says of jobs; None where there is none
        that could be asked."""
        words = ["sacct", "-n", "-P", "-X", "-S", "now-7days", f"--name={','.join(names)}"]
        for more in ([], ["-c"]):
            try:
                done = _ask([*words, *more, "-o", _HISTORY])
            except (Declined, Silent):
                continue
            return tuple(read_history(done.stdout))
        return None

    def cancel(self, name: str, *, waiting: bool = False) -> None:
        """End the jobs of this name, only those that have not begun if `waiting`; that there is
        none any more is fine. Raises Silent."""
        only = ["--state=PENDING"] if waiting else []
        with contextlib.suppress(Declined):
            _ask(["scancel", "--me", f"--name={name}", *only])

    def shapes(self, partition: str) -> tuple[Shape, ...]:
        """What nodes there are. Raises Silent."""
        where = [f"--partition={partition}"] if partition else []
        done = _asked(["sinfo", "--noheader", "-o", f"%f{_APART}%c{_APART}%m", *where])
        return tuple(read_shapes(done.stdout))

    def nodes(self, partition: str) -> tuple[Node, ...]:
        """The nodes of a partition ("": of the default one) that take jobs. Raises Silent."""
        where = [f"--partition={partition}"] if partition else []
        form = _APART.join(("%P", "%N", "%f", "%c", "%m", "%T"))
        done = _asked(["sinfo", "--noheader", "-N", "-o", form, *where])
        return tuple(read_nodes(done.stdout, default=not partition))


def read_queue(text: str) -> list[Row]:
    """The rows of squeue's answer."""
    rows = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(_APART)]
        if len(fields) >= len(_FIELDS):
            name, state, node, reason, code, comment, when = fields[: len(_FIELDS)]
            rows.append(Row(name, state, node, reason, _number(code), comment, when))
    return rows


def read_history(text: str) -> list[Row]:
    """The rows of sacct's answer; a state like `CANCELLED by 0` names who did it as its reason."""
    rows = []
    for line in text.splitlines():
        name, state, node, code, when = (*line.split("|"), "", "", "", "")[:5]
        status, _, signal = code.partition(":")
        word, _, reason = state.partition(" ")
        number = (_number(status) << 8) + _number(signal)
        rows.append(Row(name, word.rstrip("+"), node, reason, number, submitted=when))
    return rows


def read_shapes(text: str) -> list[Shape]:
    """The kinds of nodes in sinfo's answer."""
    shapes = []
    for line in text.splitlines():
        features, cpus, memory = (*line.split(_APART), "", "")[:3]
        shapes.append(Shape(_features(features), _number(cpus), _number(memory)))
    return shapes


def read_nodes(text: str, *, default: bool) -> list[Node]:
    """The nodes in sinfo's answer, those of other partitions than the default one left out if
    `default` and there is one."""
    rows = [line.split(_APART) for line in text.splitlines() if line.count(_APART) == 5]
    usual = [row for row in rows if row[0].endswith("*")] if default else []
    nodes = {}
    for _, name, features, cpus, memory, state in usual or rows:
        if state.rstrip("*~#!%$@^-+").lower() not in _OUT_OF_SERVICE:
            nodes[name] = Node(name, _features(features), _number(cpus), _number(memory))
    return list(nodes.values())


def _features(text: str) -> frozenset[str]:
    return frozenset(text.strip().split(",")) - {"", "(null)"}


def _ask(
    words: Sequence[str], *, env: Mapping[str, str] | None = None, input: str | None = None
) -> Completed:
    done = run(words, env=env, input=input, check=False, timeout=_SECONDS)
    if done.ok:
        return done
    said = _words(done)
    if done.reason or any(sign in done.stderr.lower() for sign in _SILENCES):
        raise Silent(said, unheard=any(sign in done.stderr.lower() for sign in _UNHEARD))
    raise Declined(said)


def _asked(words: Sequence[str]) -> Completed:
    """What cannot be declined: any other answer than the one wanted is none."""
    try:
        return _ask(words)
    except Declined as error:
        raise Silent(str(error)) from error


def _words(done: Completed) -> str:
    lines = [line.strip() for line in done.stderr.splitlines()]
    # after an option that it does not know a client says where its manual is
    lines = [line for line in lines if line and not line.startswith("Try ")]
    if done.reason:
        silent = f"{done.argv[0]} got no answer within {_SECONDS:.0f} s"
        return f"{silent}: {lines[-1]}" if lines else silent
    return lines[-1] if lines else f"{done.argv[0]} ended with {done.code}"


def _number(text: str) -> int:
    """The number at the start of a field, as in `16+`."""
    digits = text.strip().rstrip("+")
    return int(digits) if digits.isdigit() else 0

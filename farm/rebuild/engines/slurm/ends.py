"""What Slurm says of a job that left no outcome → a failure of the right class, in words."""

from __future__ import annotations

import signal

from farm.errors import StateError
from farm.model import Failed, Job
from farm.rebuild.engines.slurm.asking import Asked, minutes_of
from farm.rebuild.engines.slurm.clients import Row, Shape

ALIVE = frozenset(
    (
        "PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "REQUEUED", "REQUEUE_FED",
        "REQUEUE_HOLD", "RESIZING", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT", "STOPPED",
        "RESV_DEL_HOLD", "POWER_UP_NODE", "UPDATE_DB",
    )
)  # fmt: skip
_ORDINARY = frozenset(("", "None", "(null)", "Priority", "BeginTime"))
_PREFIX = "sbatch: error: Batch job submission failed: "
# Reasons of jobs that wait until somebody does something about it, and what.
_STUCK = {
    "PartitionTimeLimit": "it may take longer than its partition allows: lower timeout in "
    "[limits.{package}] or [build] of farm.toml",
    "PartitionDown": "its partition takes jobs and starts none until an operator says so",
    "PartitionInactive": "its partition takes jobs and starts none until an operator says so",
    "ReqNodeNotAvail": "the nodes that could do it are down, drained or reserved",
    "BadConstraints": "no node is as it asks for: compare [slurm] in farm.toml with `sinfo`",
    "JobHeldUser": "it is held: `scontrol release {job}`",
    "JobHeldAdmin": "an operator holds it",
}
_AGAIN = "`farm build` makes another attempt."


def waiting_phase(row: Row) -> str:
    """What a job that has not begun waits for, as a phase."""
    return "queued" if row.reason in _ORDINARY else f"queued: {row.reason}"


def stuck(row: Row, package: str) -> str:
    """What keeps a job waiting until somebody does something about it, "" where time does."""
    reason = row.reason.partition(",")[0]
    why = _STUCK.get(reason, "") if row.state == "PENDING" else ""
    said = why.format(package=package, job=f"jobname={row.name}")
    return f"the job of {package} waits in Slurm's queue ({reason}): {said}" if why else ""


def ended_badly(
    row: Row | None,
    job: Job,
    asked: Asked,
    *,
    phase: str,
    log: tuple[str, ...],
    lost: int,
    largest: Shape | None = None,
    address: str = "",
) -> Failed:
    """The failure of an attempt without an outcome.

    `row` is the last that Slurm said of its job (None: it knows none), `log` the worker's last
    words, `lost` the seconds that were waited, `largest` what the largest node has,
    `address` where nodes without a shared directory reach farm.
    """
    package = job.recipe.name

    def mishap(message: str, hint: str = _AGAIN) -> Failed:
        return Failed("infrastructure", f"{package}: {message}", log, phase=phase, hint=hint)

    if row is None:
        return mishap(
            f"Slurm does not know its job any more, and no outcome appeared within {lost} s",
            "slurmctld forgets what it had not saved when it is killed. " + _AGAIN,
        )
    where = f" on {row.node}" if row.node and row.node != "(null)" else ""
    match row.state:
        case "TIMEOUT" | "DEADLINE":
            after = f" after {minutes_of(job)} minutes" if minutes_of(job) else ""
            return Failed(
                "limit", f"{package}: Slurm ended it{where}{after}: it took too long", log,
                phase=phase, limit="time",
                hint=f"Raise timeout in [limits.{package}] of farm.toml, or the partition's "
                "MaxTime if that is lower.",
            )  # fmt: skip
        case "OUT_OF_MEMORY":
            return _out_of_memory(job, asked, largest, where, phase, log)
        case "CANCELLED":
            return mishap(
                f"its Slurm job was cancelled{where} (scancel)",
                "Somebody, or a policy of the cluster, ended it; to end the whole build, interrupt "
                "`farm build`.",
            )
        case "NODE_FAIL" | "BOOT_FAIL":
            return mishap(f"the node failed{where}")
        case "PREEMPTED" | "REVOKED":
            return mishap(f"it had to give way to another job{where}")
        case "COMPLETED":
            return mishap(
                f"Slurm says that it ended well{where}, but no outcome appeared within {lost} s",
                "Are the state directory and the node's view of it the same? If nodes share no "
                "directory, set slurm.shared = false.",
            )
    return mishap(
        f"the worker ended{where} with {_exit(row.code)} and left no outcome",
        _missing(row.code, address),
    )


def declined(why: str, job: Job) -> Failed:
    """slurmctld will not take the job as it is asked for."""
    return Failed(
        "infrastructure",
        f"{job.recipe.name}: Slurm does not take its job: {why.removeprefix(_PREFIX)}",
        (why,),
        phase="submit",
        hint="[slurm] in farm.toml names partition, account, qos, options and the features of the "
        "nodes; `farm doctor` compares them with the cluster.",
    )


def _out_of_memory(
    job: Job, asked: Asked, largest: Shape | None, where: str, phase: str, log: tuple[str, ...]
) -> Failed:
    package, most = job.recipe.name, job.limits.memory >> 20
    there = largest.memory if largest is not None else 0
    if most and asked.memory >= most:
        return Failed(
            "limit", f"{package}: it needed more than the {most} MiB that it may use{where}", log,
            phase=phase, limit="memory",
            hint=f"Raise memory in [limits.{package}] of farm.toml.",
        )  # fmt: skip
    if 1 < there <= asked.memory:
        return Failed(
            "limit", f"{package}: it needed more than the {there} MiB of the largest node", log,
            phase=phase, limit="memory",
            hint=f"Fewer processes want less: cores in [limits.{package}] of farm.toml.",
        )  # fmt: skip
    told = f"the {asked.memory} MiB that it was given" if asked.memory else "it was given"
    return Failed(
        "infrastructure", f"{package}: it needed more memory than {told}{where}", log, phase=phase,
        hint="The next attempt asks for more.",
    )  # fmt: skip


def _exit(code: int) -> str:
    number = code & 127
    if number:
        try:
            return f"signal {signal.Signals(number).name}"
        except ValueError:
            return f"signal {number}"
    return f"exit code {code >> 8}"


def _missing(code: int, address: str) -> str:
    if code >> 8 == StateError.code:
        return "It may have been started a second time, after a requeue: an attempt is made once."
    if code >> 8 in (126, 127):
        return (
            "The node cannot start farm: it has to be there under the same path, or slurm.farm in "
            "farm.toml says where it is."
        )
    if address:
        return (
            f"What it printed is lost. Is slurm.address ({address}) this machine's, as the "
            "node reaches it?"
        )
    return _AGAIN

"""What farm asks of Slurm, how it reads Slurm's answers, and what it makes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.config import Config, Paths, Slurm
from farm.errors import ConfigError
from farm.model import Chroot, Demand, Failed, Job, Limits, Lock, Recipe
from farm.rebuild.engines import Capacity, Machine
from farm.rebuild.engines.choice import open_engine
from farm.rebuild.engines.slurm import clients
from farm.rebuild.engines.slurm.asking import (
    Asked,
    Ground,
    attempt_of,
    largest_of,
    memory_of,
    minutes_of,
    name_of,
    nice_of,
    script_for,
    within,
    without_exclusion,
    words_for,
)
from farm.rebuild.engines.slurm.clients import (
    Clients,
    Declined,
    Row,
    Shape,
    Silent,
    read_history,
    read_queue,
    read_shapes,
)
from farm.rebuild.engines.slurm.ends import declined, ended_badly, waiting_phase
from farm.rebuild.engines.slurm.engine import identity_of
from farm.rebuild.engines.slurm.nodes import machines_of
from farm.rebuild.engines.slurm.post import address_of
from farm.rebuild.ranks import URGENT

MIB = 1 << 20


def job(attempt: str = "a1", arch: str = "x86_64", **more: Any) -> Job:
    chroot = Chroot(name="c", release="r", arch=arch, repositories=(), setup=(), dist=".d")
    made = Job(
        attempt=attempt, step="tiny@c", recipe=Recipe("tiny", "tiny.spec", "/", ()), chroot=chroot,
        lock=Lock(()), setup_lock=Lock(()), counter=0, key="k", epoch_seconds=0,
    )  # fmt: skip
    return msgspec.structs.replace(made, **more)


def words(given_job: Job, asked: Asked | None = None, **more: object) -> dict[str, str]:
    config = Slurm(**more)  # type: ignore[arg-type]
    ground = Ground(config, "ours", (Shape(frozenset({"x86_64", "fat"}), 16, 64000),))
    told = words_for(given_job, asked or Asked(), ground, "/state/a1/worker.log")
    return dict(word.split("=", 1) for word in told if "=" in word)


def test_a_job_asks_for_a_node_of_its_architecture() -> None:
    assert words(job())["--constraint"] == "x86_64"
    assert words(job(arch="aarch64"), features={"aarch64": "arm&fat"})["--constraint"] == "arm&fat"


def test_a_job_asks_for_what_the_plan_says() -> None:
    limits = Limits(time=3600, memory=4000 * MIB)
    asked = words(job(cpus=4, limits=limits), Asked(nice=7, memory=1500))
    assert asked["--cpus-per-task"] == "4"
    assert asked["--mem"] == "1500M"
    assert asked["--nice"] == "7"
    assert asked["--time"] == "70"  # and ten minutes for the root


def test_a_job_asks_for_no_more_than_the_largest_node_has() -> None:
    fat = Shape(frozenset({"x86_64", "fat"}), 16, 64000)
    other = Shape(frozenset({"aarch64"}), 128, 256_000)
    ground = Ground(Slurm(), "ours", (fat, other))
    assert "--cpus-per-task=16" in words_for(job(cpus=64), Asked(), ground, "/log")
    assert within(Asked(memory=100_000), largest_of(job(), ground)).memory == 64000
    unknown = Ground(Slurm(features={"x86_64": "fat&fast"}), "ours", (fat, other))
    assert within(Asked(memory=100_000), largest_of(job(), unknown)).memory == 100_000
    assert within(Asked(memory=100_000), largest_of(job(), Ground(Slurm(), "ours"))) == Asked(
        memory=100_000
    )


def test_a_cluster_that_does_not_count_memory_is_not_asked_for_any() -> None:
    asked = within(Asked(memory=500), Shape(frozenset({"x86_64"}), 2, 1))
    told = words_for(job(), asked, Ground(Slurm(), "ours"), "/log")
    assert not any(word.startswith("--mem") for word in told)


def test_a_job_is_never_requeued_and_says_whose_it_is() -> None:
    told = words_for(job(), Asked(), Ground(Slurm(), "ours"), "/log")
    assert {"--no-requeue", "--comment=farm:ours", "--job-name=farm-a1"} <= set(told)


def test_partition_account_qos_and_more_words_come_from_the_configuration() -> None:
    config = Slurm(partition="p", account="a", qos="q", options=("--nice=0", "--reservation=r"))
    told = words_for(job(), Asked(nice=900), Ground(config, "ours"), "/log")
    assert {"--partition=p", "--account=a", "--qos=q", "--reservation=r"} <= set(told)
    assert told.index("--nice=0") > told.index("--nice=900")  # the last one counts


def test_a_pattern_in_a_path_is_none() -> None:
    told = words_for(job(), Asked(), Ground(Slurm(), "ours"), "/at 100%j/worker.log")
    assert "--output=/at 100%%j/worker.log" in told


def test_nodes_to_be_avoided_can_be_left_out_again() -> None:
    told = words_for(job(avoid=("n1", "n2")), Asked(), Ground(Slurm(), "ours"), "/log")
    assert "--exclude=n1,n2" in told
    assert not any("exclude" in word for word in without_exclusion(told))


def test_a_script_becomes_its_command() -> None:
    assert script_for(["farm", "work", Path("/a b/job.json")]) == (
        "#!/bin/sh\nexec farm work '/a b/job.json'\n"
    )


@given(st.lists(st.floats(0, 1e8), min_size=2, max_size=20))
def test_who_has_the_longer_path_is_never_behind(ranks: list[float]) -> None:
    ordered = sorted(ranks, reverse=True)
    nices = [nice_of(rank) for rank in ordered]
    assert nices == sorted(nices)
    assert all(0 < nice <= 1000 for nice in nices)
    assert nice_of(URGENT + ordered[-1]) == 0


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40), st.integers(0, 1 << 20))
def test_memory_is_what_was_learnt_within_what_is_allowed(
    learnt: int, allowed: int, wanted: int
) -> None:
    asked = memory_of(job(demand=Demand(memory=learnt), limits=Limits(memory=allowed)), wanted)
    if not (learnt or allowed or wanted):
        assert asked == 0  # the partition's own
    elif allowed:
        assert asked * MIB >= min(learnt, allowed)
        assert asked <= -(-allowed // MIB) + 256
    else:
        assert asked * MIB >= max(learnt, wanted * MIB)


def test_a_chroots_own_time_limit_is_the_one_that_counts() -> None:
    hurried = job(limits=Limits(time=3600))
    chroot = msgspec.structs.replace(hurried.chroot, timeout=600)
    assert minutes_of(msgspec.structs.replace(hurried, chroot=chroot)) == 20
    assert minutes_of(job(limits=Limits(time=0))) == 0


def test_names_of_foreign_jobs_are_no_attempts() -> None:
    assert attempt_of(name_of("20261120-1")) == "20261120-1"
    assert attempt_of("wrap") == ""


def test_the_queue_is_read_as_squeue_writes_it() -> None:
    text = (
        "farm-a1\x1fFAILED\x1fn1\x1fNonZeroExitCode\x1f768\x1ffarm:x\x1f2026-11-20T14:57:41\x1f\n"
        "farm-a2\x1fPENDING\x1f\x1fReqNodeNotAvail, Unavailable:n[1-2]\x1f0\x1f(null)\x1f2\x1f\n"
        "cut short\x1f\n"
    )
    assert read_queue(text) == [
        Row("farm-a1", "FAILED", "n1", "NonZeroExitCode", 768, "farm:x", "2026-11-20T14:57:41"),
        Row("farm-a2", "PENDING", "", "ReqNodeNotAvail, Unavailable:n[1-2]", 0, "(null)", "2"),
    ]


def test_the_history_is_read_as_sacct_writes_it() -> None:
    assert read_history("farm-a1|CANCELLED by 0|n1|0:15|2\nfarm-a2|FAILED|n2|3:0\n") == [
        Row("farm-a1", "CANCELLED", "n1", "by 0", 15, submitted="2"),
        Row("farm-a2", "FAILED", "n2", "", 768),
    ]


def test_the_shapes_of_nodes_are_read_as_sinfo_writes_them() -> None:
    assert read_shapes("x86_64,fat\x1f16+\x1f64000\n(null)\x1f2\x1f1\n") == [
        Shape(frozenset({"x86_64", "fat"}), 16, 64000),
        Shape(frozenset(), 2, 1),
    ]


Program = Callable[[str, str], None]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Puts a program of that name first in the PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def write(name: str, script: str) -> None:
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)

    return write


@pytest.mark.parametrize(
    "said",
    [
        "Batch job submission failed: Unable to contact slurm controller (connect failure)",
        "Batch job submission failed: Socket timed out on send/recv operation",
        "Batch job submission failed: Zero Bytes were transmitted or received",
        "Batch job submission failed: Slurm temporarily unable to accept job",
        "Munge encode failed: Failed to access socket: No such file or directory",
        "Batch job submission failed: Protocol authentication error",
    ],
)
def test_a_controller_that_cannot_be_reached_is_silent(program: Program, said: str) -> None:
    program("sbatch", f"echo 'sbatch: error: {said}' >&2; exit 1")
    with pytest.raises(Silent) as caught:
        Clients().submit([], "#!/bin/sh\n", {})
    assert said in str(caught.value)
    assert caught.value.unheard == ("connect failure" in said)


@pytest.mark.parametrize(
    "said",
    [
        "Invalid partition name specified",
        "Invalid feature specification",
        "Requested node configuration is not available",
        "Invalid account or account/partition combination specified",
        "Invalid qos specification",
    ],
)
def test_a_controller_that_will_not_is_heard(program: Program, said: str) -> None:
    program("sbatch", f"echo 'sbatch: error: Batch job submission failed: {said}' >&2; exit 1")
    with pytest.raises(Declined, match=said):
        Clients().submit([], "#!/bin/sh\n", {})


def test_of_a_word_that_sbatch_does_not_know_the_word_is_told(program: Program) -> None:
    said = "sbatch: unrecognized option '--badly'"
    manual = 'Try "sbatch --help" for more information'
    program("sbatch", f"echo \"{said}\" >&2; echo '{manual}' >&2; exit 1")
    with pytest.raises(Declined, match=r"unrecognized option '--badly'$"):
        Clients().submit([], "#!/bin/sh\n", {})


def test_a_machine_of_no_cluster_is_told_what_it_lacks(program: Program) -> None:
    said = "fatal: Could not establish a configuration source"
    for name, ask in (("squeue", Clients().queue), ("scontrol", Clients().ping)):
        program(name, f"echo '{name}: {said}' >&2; exit 1")
        with pytest.raises(Silent, match=rf"{said}.*SLURM_CONF"):
            ask()


def test_a_controller_is_there_when_any_of_them_is_up(program: Program) -> None:
    down = "echo 'Slurmctld(primary) at a is DOWN'"
    program("scontrol", f"{down}; echo 'Slurmctld(backup) at b is UP'")
    Clients().ping()
    program("scontrol", f"{down}; exit 1")
    with pytest.raises(Silent, match="at a is DOWN"):
        Clients().ping()


def test_what_a_client_says_before_it_is_given_up_is_told(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "_SECONDS", 1.0)
    program("squeue", "echo 'squeue: error: cannot stat file slurm.conf' >&2; exec sleep 60")
    with pytest.raises(Silent, match=r"no answer within 1 s: .*cannot stat file slurm\.conf"):
        Clients().queue()


def test_jobs_that_are_over_need_no_cancelling(program: Program) -> None:
    program("scancel", "echo 'scancel: error: Job/step already completing' >&2; exit 1")
    Clients().cancel("farm-a1")


def test_without_any_accounting_there_is_no_history(program: Program) -> None:
    program("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    assert Clients().history(["farm-a1"]) is None


def test_without_a_database_the_file_of_completed_jobs_is_asked(program: Program) -> None:
    program("sacct", 'case "$*" in *" -c "*) echo "farm-a1|FAILED|n1|1:0";; *) exit 1;; esac')
    assert Clients().history(["farm-a1"]) == (Row("farm-a1", "FAILED", "n1", "", 256),)


def badly(row: Row | None, asked: Asked | None = None, **more: Any) -> Failed:
    return ended_badly(
        row, job(**more), asked or Asked(), phase="%build", log=("last words",), lost=60
    )  # fmt: skip


@pytest.mark.parametrize(
    ("state", "kind", "words"),
    [
        ("CANCELLED", "infrastructure", "cancelled on n1"),
        ("NODE_FAIL", "infrastructure", "the node failed on n1"),
        ("PREEMPTED", "infrastructure", "give way"),
        ("COMPLETED", "infrastructure", "no outcome appeared within 60 s"),
        ("FAILED", "infrastructure", "exit code 3"),
        ("TIMEOUT", "limit", "took too long"),
        ("DEADLINE", "limit", "took too long"),
    ],
)
def test_an_end_in_slurm_is_a_failure_of_its_class(state: str, kind: str, words: str) -> None:
    failed = badly(Row("farm-a1", state, "n1", code=768))
    assert failed.kind == kind
    assert words in failed.message and failed.message.startswith("tiny: ")
    assert failed.phase == "%build" and failed.excerpt == ("last words",) and failed.hint
    assert failed.limit == ("time" if kind == "limit" else "")


def test_a_lost_job_says_so() -> None:
    failed = badly(None)
    assert (failed.kind, failed.limit) == ("infrastructure", "")
    assert "does not know" in failed.message


def test_a_signal_is_named() -> None:
    assert "signal SIGKILL" in badly(Row("farm-a1", "FAILED", "n1", code=9)).message


def test_a_node_without_farm_is_told_from_a_worker_that_died() -> None:
    assert "slurm.farm" in badly(Row("farm-a1", "FAILED", "n1", code=127 << 8)).hint
    assert "second time" in badly(Row("farm-a1", "FAILED", "n1", code=8 << 8)).hint


def test_too_little_memory_is_a_limit_only_where_all_that_is_allowed_was_given() -> None:
    row = Row("farm-a1", "OUT_OF_MEMORY", "n1")
    allowed = Limits(memory=2000 * MIB)
    assert badly(row, Asked(memory=2256), limits=allowed).limit == "memory"
    guessed = badly(row, Asked(memory=900), limits=allowed)
    assert (guessed.kind, guessed.limit) == ("infrastructure", "")
    assert "asks for more" in guessed.hint
    assert badly(row).kind == "infrastructure"


def test_too_little_memory_on_the_largest_node_is_a_limit() -> None:
    row, largest = Row("farm-a1", "OUT_OF_MEMORY", "n1"), Shape(frozenset(), 4, 8000)
    for memory, limit in ((8000, "memory"), (4000, "")):
        failed = ended_badly(
            row, job(), Asked(memory=memory), phase="", log=(), lost=1, largest=largest
        )
        assert failed.limit == limit


def test_a_worker_that_left_no_word_at_a_distance_may_not_have_reached_farm() -> None:
    row = Row("farm-a1", "FAILED", "n1", code=6 << 8)
    failed = ended_badly(row, job(), Asked(), phase="", log=(), lost=1, address="build7:8500")
    assert "exit code 6" in failed.message
    assert "slurm.address (build7:8500)" in failed.hint


def test_a_refusal_keeps_slurms_words() -> None:
    failed = declined("Invalid qos specification", job())
    assert failed.kind == "infrastructure" and failed.excerpt == ("Invalid qos specification",)
    told = declined("sbatch: error: Batch job submission failed: Invalid qos", job()).message
    assert told == "tiny: Slurm does not take its job: Invalid qos"


def test_nodes_are_machines_for_what_their_features_name(program: Program) -> None:
    rows = [
        ("main*", "n1", "x86_64,big", "8", "16000", "idle"),
        ("main*", "n2", "aarch64", "4+", "1", "mixed"),
        ("main*", "n3", "x86_64", "8", "16000", "drained"),
        ("main*", "n4", "x86_64", "8", "16000", "down*"),
        ("main*", "n5", "gpu", "8", "16000", "idle"),
        ("test", "n6", "x86_64", "8", "16000", "idle"),
        ("test", "n1", "x86_64,big", "8", "16000", "idle"),
    ]
    lines = "\n".join("\x1f".join(row) for row in rows)
    program("sinfo", f"cat <<'END'\n{lines}\nEND")
    config = Slurm(features={"x86_64": "big|huge"})
    machines = machines_of(config, ("x86_64", "aarch64"))
    assert machines == (
        Machine(Capacity(8, 8, 16000 << 20), frozenset(["x86_64"]), "n1"),
        Machine(Capacity(4, 4, 0), frozenset(["aarch64"]), "n2"),
    )
    in_test = machines_of(Slurm(partition="test"), ("x86_64",))
    assert [each.name for each in in_test if isinstance(each, Machine)] == ["n1", "n6"]
    program("sinfo", "exit 0")
    assert machines_of(config, ("x86_64",)) == "no node in service, or no such partition"
    program("sinfo", "echo 'sinfo: error: Connection refused' >&2; exit 1")
    assert "Slurm does not answer" in str(machines_of(config, ("x86_64",)))


def test_why_a_job_waits_is_its_phase() -> None:
    assert waiting_phase(Row("farm-a1", "PENDING", reason="Priority")) == "queued"
    assert waiting_phase(Row("farm-a1", "PENDING", reason="Resources")) == "queued: Resources"


def test_a_copied_state_directory_is_another_farm(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    mine = identity_of(one)
    assert identity_of(one) == mine
    other.mkdir()
    (other / "cluster-identity").write_bytes((one / "cluster-identity").read_bytes())
    assert identity_of(other) != mine


@pytest.mark.parametrize(
    ("text", "host", "port"), [("build.example.org", "build.example.org", 0), ("a.b:81", "a.b", 81)]
)
def test_an_address_has_a_port_or_not(text: str, host: str, port: int) -> None:
    assert address_of(text) == (host, port)


def test_an_engine_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'slrum'"):
        open_engine("slrum", Config(paths=Paths()), tmp_path, 2)

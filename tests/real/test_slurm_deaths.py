"""Whatever dies in a cluster: the same packages as undisturbed, each attempt with one end."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.model import Built
from tests.real.clustered import PACKAGES, Clustered, Layers, slow_layer
from tests.real.slurm import Cluster, cluster, wait_until, why_not

pytestmark = [pytest.mark.real, pytest.mark.skipif(bool(why_not()), reason=why_not())]

NATIVE = ("--all",)


@pytest.fixture
def undisturbed(layers: Layers) -> dict[str, str]:
    return layers.undisturbed(slow_layer)


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "slurm") as made:
        yield made


@pytest.fixture
def farm(slurm: Cluster, tmp_path: Path, layers: Layers) -> Clustered:
    return Clustered.make(layers.copy(slow_layer, tmp_path / "layer"), slurm)


def test_a_node_that_dies_with_its_jobs(farm: Clustered, undisturbed: dict[str, str]) -> None:
    slurm = farm.cluster
    with farm.building(*NATIVE) as build:
        node = farm.wait_for("tally")["node"]
        slurm.kill_node(node)
        build.ends()
    assert farm.publish() == undisturbed
    assert [node in mishap.message for mishap in farm.mishaps()] != []
    (again,) = [
        a for a in farm.attempts() if a.step.startswith("tally@") and isinstance(a.outcome, Built)
    ]
    assert again.place != node
    farm.accounted()


def test_a_slurmd_that_dies_alone_takes_nothing_with_it(
    farm: Clustered, undisturbed: dict[str, str]
) -> None:
    with farm.building(*NATIVE) as build:
        farm.cluster.kill_slurmd(farm.wait_for("tally")["node"])
        build.wait_for(lambda e: e["state"] == "built" and e["step"].startswith("tally@"), "tally")
        build.ends()
    assert farm.publish() == undisturbed
    assert farm.mishaps() == []
    farm.accounted(jobs=False)  # slurmctld waits for the daemon to say that they are over


def test_a_controller_that_dies_before_it_saved_anything_and_hands_out_numbers_again(
    farm: Clustered, undisturbed: dict[str, str]
) -> None:
    slurm = farm.cluster
    words = ("sbatch", "--parsable", "-Jother", "-o/dev/null")
    for _ in range(2):
        slurm.client(*words, "--exclusive", "-Cx86_64", "--wrap=sleep 60")
    wait_until(lambda: [j["state"] for j in slurm.jobs()] == ["RUNNING"] * 2, "the others")
    with farm.building(*NATIVE) as build:
        wait_until(lambda: len(slurm.jobs()) == 5, "three jobs of farm's to wait")
        slurm.kill_controller()
        slurm.forget()
        given = set(slurm.numbers)
        slurm.start_controller()
        again = {slurm.client(*words, "--wrap=sleep 1").stdout.strip() for _ in range(2)}
        assert again & given
        build.ends(meanwhile=slurm.resume_drained)
    assert farm.publish() == undisturbed
    assert farm.mishaps() == []
    farm.accounted()


@pytest.mark.soak
def test_a_controller_that_dies_while_jobs_run(
    farm: Clustered, undisturbed: dict[str, str]
) -> None:
    slurm = farm.cluster
    with farm.building(*NATIVE) as build:
        farm.wait_for("tally")
        slurm.kill_controller()
        time.sleep(1)
        slurm.start_controller()
        build.ends(meanwhile=slurm.resume_drained)
    assert farm.publish() == undisturbed
    farm.accounted()


def test_a_controller_that_is_away_while_jobs_end(
    farm: Clustered, undisturbed: dict[str, str]
) -> None:
    slurm = farm.cluster
    with farm.building(*NATIVE) as build:
        farm.wait_for("tally")
        slurm.kill_controller()
        build.wait_for(lambda e: e["state"] == "built" and e["step"].startswith("tally@"), "tally")
        build.wait_for(lambda e: "does not answer" in e.get("text", ""), "a word")
        slurm.start_controller()
        build.ends(meanwhile=slurm.resume_drained)
        said = [e["text"] for e in build.events() if "Slurm" in e.get("text", "")]
    assert [text.partition(":")[0] for text in said] == [
        "Slurm does not answer",
        "Slurm answers again",
    ]
    assert farm.publish() == undisturbed
    farm.accounted()


def test_a_controller_that_is_not_there_when_a_build_begins(
    farm: Clustered, undisturbed: dict[str, str]
) -> None:
    slurm = farm.cluster
    slurm.kill_controller()
    with farm.building(*NATIVE) as build:
        build.wait_for(lambda event: "does not answer" in event.get("text", ""), "a word")
        slurm.start_controller()
        build.ends(meanwhile=slurm.resume_drained)
    assert farm.publish() == undisturbed
    farm.accounted()
    assert len(farm.attempts()) == len(PACKAGES)


def test_a_farm_that_is_killed_finds_its_attempts_again(
    farm: Clustered, undisturbed: dict[str, str]
) -> None:
    with farm.building(*NATIVE) as build:
        job = farm.wait_for("tally")
        os.kill(build.child.pid, signal.SIGKILL)
        build.ends(-signal.SIGKILL)
    assert farm.job_of("tally") == job
    farm.build(*NATIVE)
    assert farm.publish() == undisturbed
    farm.accounted()
    assert len(farm.attempts()) == len(PACKAGES)
    assert job["name"].removeprefix("farm-") in {attempt.id for attempt in farm.attempts()}


def test_what_ended_while_farm_was_dead_is_taken(
    farm: Clustered, undisturbed: dict[str, str]
) -> None:
    with farm.building(*NATIVE) as build:
        farm.wait_for("tally")
        os.kill(build.child.pid, signal.SIGKILL)
        build.ends(-signal.SIGKILL)
    wait_until(lambda: farm.cluster.jobs() == [], "the jobs to end")
    farm.build(*NATIVE)
    assert farm.publish() == undisturbed
    farm.accounted()
    assert len(farm.attempts()) == len(PACKAGES)


def test_an_operator_who_cancels_a_job(farm: Clustered, undisturbed: dict[str, str]) -> None:
    with farm.building(*NATIVE) as build:
        farm.cluster.client("scancel", f"--name={farm.wait_for('tally')['name']}")
        build.ends()
    assert farm.publish() == undisturbed
    (mishap,) = farm.mishaps()
    assert mishap.kind == "infrastructure" and "(scancel)" in mishap.message
    farm.accounted()


@pytest.mark.soak
def test_an_operator_who_puts_a_job_back_into_the_queue(
    farm: Clustered, undisturbed: dict[str, str]
) -> None:
    slurm = farm.cluster
    with farm.building(*NATIVE) as build:
        name = farm.wait_for("tally")["name"]
        number = slurm.client("squeue", "-h", f"--name={name}", "-o%i").stdout.strip()
        slurm.client("scontrol", "update", f"JobId={number}", "Requeue=1")
        slurm.client("scontrol", "requeue", number)
        build.ends()
    assert farm.publish() == undisturbed
    (mishap,) = farm.mishaps()
    assert mishap.kind == "infrastructure"
    farm.accounted()


@pytest.mark.soak
def test_a_cluster_that_keeps_no_accounts_and_forgets_soon(
    tmp_path: Path, undisturbed: dict[str, str], layers: Layers
) -> None:
    with cluster(tmp_path / "slurm", accounting=False, settings="MinJobAge=2") as slurm:
        farm = Clustered.make(layers.copy(slow_layer, tmp_path / "layer"), slurm)
        with farm.building(*NATIVE) as build:
            slurm.client("scancel", f"--name={farm.wait_for('tally')['name']}")
            build.ends()
        assert farm.publish() == undisturbed
        assert [mishap.kind for mishap in farm.mishaps()] == ["infrastructure"]
        farm.accounted()


@pytest.mark.soak
def test_everything_dies_again_and_again(
    tmp_path: Path, undisturbed: dict[str, str], layers: Layers
) -> None:
    dice = random.Random(20261120)
    with cluster(tmp_path / "slurm") as slurm:
        for number in range(int(os.environ.get("FARM_SOAK_CLUSTERS", "6"))):
            root = tmp_path / str(number) / "layer"
            farm = Clustered.make(layers.copy(slow_layer, root), slurm, more="retries = 9")
            for _ in range(4):
                with farm.building(*NATIVE) as build:
                    for _ in range(2):
                        time.sleep(dice.uniform(0.5, 4.0))
                        kill_something(dice, slurm)
                    if build.child.poll() is None:
                        os.kill(build.child.pid, signal.SIGKILL)
            with farm.building(*NATIVE) as build:
                build.ends(seconds=180.0, meanwhile=slurm.resume_drained)
            assert farm.publish() == undisturbed
            farm.accounted()


def kill_something(dice: random.Random, slurm: Cluster) -> None:
    """A daemon, a node with its jobs, or a job; daemons come back after a while."""
    what = dice.choice(("controller", "node", "slurmd", "job"))
    if what == "controller":
        slurm.kill_controller()
        time.sleep(dice.uniform(0.0, 2.0))
        slurm.start_controller()
        return
    node = dice.choice(("native1", "native2"))
    if what == "job":
        slurm.client("scancel", "--me", f"--nodelist={node}", check=False)
        return
    slurm.kill_node(node) if what == "node" else slurm.kill_slurmd(node)
    time.sleep(dice.uniform(0.0, 2.0))
    slurm.start_node(node)
    slurm.resume_drained()


@pytest.mark.soak
def test_slurms_own_limit_is_named(tmp_path: Path) -> None:
    """Slurm counts in minutes, so this takes more than one."""
    with cluster(tmp_path / "slurm", settings="OverTimeLimit=0") as slurm:
        site = slow_layer(tmp_path / "layer", seconds=150)
        farm = Clustered.make(site, slurm, slurm='options = ["--time=1"]')
        with farm.building("tally") as build:
            build.ends(1, seconds=200.0)
        (failed,) = farm.mishaps()
        assert (failed.kind, failed.limit) == ("limit", "time")
        assert "took too long" in failed.message

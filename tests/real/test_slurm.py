"""Builds on a small Slurm cluster: placement, waiting, order, whose jobs are whose."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.model import Built
from farm.run import run
from tests.real.clustered import PACKAGES, Clustered, Layers, slow_layer, small_layer
from tests.real.site import Site
from tests.real.slurm import Cluster, cluster, wait_until, why_not
from tests.real.test_user import USER, as_user, home
from tests.real.test_user import why_not as why_no_user

__all__ = ["home"]

pytestmark = [pytest.mark.real, pytest.mark.skipif(bool(why_not()), reason=why_not())]

NATIVE = ("--all",)


@pytest.fixture
def undisturbed(layers: Layers) -> dict[str, str]:
    return layers.undisturbed(small_layer)


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "slurm") as made:
        yield made


def test_a_build_over_slurm_publishes_what_a_local_one_does(
    slurm: Cluster, tmp_path: Path, undisturbed: dict[str, str], layers: Layers
) -> None:
    farm = Clustered.make(layers.copy(small_layer, tmp_path / "layer"), slurm)
    farm.build(*NATIVE)
    assert farm.publish() == undisturbed
    farm.accounted()
    assert len(farm.attempts()) == len(PACKAGES)
    assert {attempt.place for attempt in farm.attempts()} <= {"native1", "native2"}


def test_attempts_run_on_nodes_of_their_architecture(slurm: Cluster, tmp_path: Path) -> None:
    farm = Clustered.make(Site.make(tmp_path / "layer"), slurm)
    farm.build("tallynotes")
    farm.accounted()
    places = {attempt.step.rpartition("-")[2]: attempt.place for attempt in farm.attempts()}
    assert places["aarch64"] == "foreign"
    assert places["x86_64"] in ("native1", "native2")


def test_a_drained_cluster_is_waited_for_and_the_reason_is_shown(
    slurm: Cluster, tmp_path: Path, undisturbed: dict[str, str], layers: Layers
) -> None:
    for node in ("native1", "native2"):
        slurm.client("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=repairs")
    farm = Clustered.make(layers.copy(small_layer, tmp_path / "layer"), slurm)
    with farm.building(*NATIVE) as build:
        build.wait_for(
            lambda event: (
                "DRAINED" in event.get("phase", "").upper()
                or "NOTAVAIL" in event.get("phase", "").upper()
            ),
            "the reason",
        )
        for node in ("native1", "native2"):
            slurm.client("scontrol", "update", f"NodeName={node}", "State=RESUME")
        build.ends()
    assert farm.publish() == undisturbed
    farm.accounted()


def test_a_full_cluster_is_waited_for(
    slurm: Cluster, tmp_path: Path, undisturbed: dict[str, str], layers: Layers
) -> None:
    for _ in range(2):
        slurm.client(
            "sbatch", "--exclusive", "-Cx86_64", "-o/dev/null", "-Jother", "--wrap=sleep 60"
        )
    wait_until(lambda: [j["state"] for j in slurm.jobs()] == ["RUNNING"] * 2, "the others")
    farm = Clustered.make(layers.copy(small_layer, tmp_path / "layer"), slurm)
    with farm.building(*NATIVE) as build:
        build.wait_for(lambda event: event.get("phase") == "queued: Resources", "the reason")
        slurm.client("scancel", "--name=other")
        build.ends()
    assert farm.publish() == undisturbed
    farm.accounted()


def test_an_interrupted_build_cancels_its_jobs_and_no_others(
    slurm: Cluster, tmp_path: Path, layers: Layers
) -> None:
    farm = Clustered.make(layers.copy(slow_layer, tmp_path / "layer"), slurm)
    slurm.client("sbatch", "-Cx86_64", "-o/dev/null", "-Jfarm-other", "--wrap=sleep 60")
    with farm.building(*NATIVE) as build:
        farm.wait_for("tally")
        os.kill(build.child.pid, signal.SIGINT)
        build.ends(130)
    wait_until(lambda: [j["name"] for j in slurm.jobs()] == ["farm-other"], "jobs to be cancelled")


def test_two_farms_on_one_cluster_leave_each_others_jobs_alone(
    slurm: Cluster, tmp_path: Path, layers: Layers
) -> None:
    ours = Clustered.make(layers.copy(slow_layer, tmp_path / "a" / "layer"), slurm)
    theirs = Clustered.make(layers.copy(small_layer, tmp_path / "b" / "layer"), slurm)
    with ours.building(*NATIVE) as build:
        ours.wait_for("tally")
        theirs.build(*NATIVE)
        build.ends()
    for farm in (ours, theirs):
        farm.accounted()
        assert farm.mishaps() == []


def test_a_job_of_this_farm_that_the_ledger_does_not_know_is_cancelled(
    slurm: Cluster, tmp_path: Path, layers: Layers
) -> None:
    farm = Clustered.make(layers.copy(small_layer, tmp_path / "layer"), slurm)
    farm.build("tallynotes")
    comment = slurm.jobs(every=True)[0]["comment"]
    for name, mark in (("farm-1", comment), ("farm-2", "farm:another")):
        slurm.client("sbatch", f"--comment={mark}", f"-J{name}", "-o/dev/null", "--wrap=sleep 60")
    farm.build("tally")
    assert [job["comment"] for job in slurm.jobs()] == ["farm:another"]


def test_what_slurm_does_not_take_is_told_in_its_words(
    slurm: Cluster, tmp_path: Path, layers: Layers
) -> None:
    farm = Clustered.make(
        layers.copy(small_layer, tmp_path / "layer"),
        slurm,
        more="retries = 0",
        slurm='partition = "nowhere"',
    )
    events = farm.build("tallynotes", code=1)
    (row,) = events[-1]["summary"]["rows"]
    assert row["failed"]["kind"] == "infrastructure"
    assert "partition" in " ".join(row["failed"]["excerpt"])


@pytest.mark.soak
def test_a_machine_to_be_avoided_is_no_obstacle_where_there_is_no_other(
    tmp_path: Path, layers: Layers
) -> None:
    with cluster(tmp_path / "slurm", nodes={"only": "x86_64"}) as slurm:
        farm = Clustered.make(layers.copy(slow_layer, tmp_path / "layer"), slurm)
        with farm.building("tallynotes") as build:
            slurm.client("scancel", f"--name={farm.wait_for('tallynotes')['name']}")
            build.ends()
        (mishap,) = farm.mishaps()
        assert "cancelled on only (scancel)" in mishap.message
        assert [isinstance(a.outcome, Built) for a in farm.attempts()] == [False, True]


def test_doctor_asks_the_cluster_whether_it_takes_jobs(slurm: Cluster, tmp_path: Path) -> None:
    farm = Clustered.make(
        Site.make(tmp_path / "layer"), slurm, slurm='features = { aarch64 = "arm" }'
    )
    words = farm.site.command("doctor")
    said = run(words, env=slurm.environment, check=False).stdout
    assert "slurm: it takes jobs for x86_64" in said
    assert "no job for aarch64 is taken: " in said and "Invalid feature" in said
    slurm.kill_controller()
    assert "slurmctld does not answer" in run(words, env=slurm.environment, check=False).stdout


def test_an_emergency_overtakes_what_waits_in_the_clusters_queue(
    tmp_path: Path, layers: Layers
) -> None:
    with cluster(tmp_path / "slurm", nodes={"only": "x86_64"}, cpus=1) as slurm:
        farm = Clustered.make(layers.copy(small_layer, tmp_path / "layer"), slurm)
        slurm.client("sbatch", "--exclusive", "-o/dev/null", "-Jother", "--wrap=sleep 60")
        wait_until(lambda: [j["state"] for j in slurm.jobs()] == ["RUNNING"], "the other")
        with farm.building(*NATIVE) as build:
            wait_until(lambda: len(slurm.jobs()) == 4, "three jobs to wait")
            with farm.building("tallynotes", "--urgent") as urgent:
                name = f"farm-{farm.attempt_of('tallynotes')}"
                wait_until(lambda: slurm.nice(name) == "0", "it to be hurried")
                slurm.client("scancel", "--name=other")
                urgent.ends()
            build.ends()
        first = min(farm.attempts(), key=lambda each: each.ended)
        assert first.step.startswith("tallynotes@")
        farm.accounted()


@pytest.mark.skipif(bool(why_no_user()), reason=why_no_user())
def test_an_ordinary_user_builds_on_a_cluster(
    home: Path, tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    with cluster(home / "slurm") as slurm:
        farm = Clustered.make(small_layer(tmp_path / "layer"), slurm)
        shutil.copytree(farm.site.root, home / "layer", ignore=shutil.ignore_patterns(".farm"))
        shutil.copytree(home / "farm", home / "site-packages" / "farm", dirs_exist_ok=True)
        run(["chown", "-R", f"{USER}:", home / "layer"])
        theirs = Clustered(Site(home / "layer", farm.site.port), slurm)
        as_user(
            home,
            f"export SLURM_CONF={slurm.conf}; $farm key import key.asc; $farm build --all;"
            "$farm publish",
        )
        assert theirs.site.packages() == undisturbed
        theirs.accounted()
        jobs = slurm.client("squeue", "-h", "--states=all", "-o%u").stdout.split()
        assert set(jobs) == {USER}

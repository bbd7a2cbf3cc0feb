"""A cluster whose nodes see none of the coordinator's directories."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.model import Built, Failed
from tests.real.clustered import PACKAGES, Clustered, Layers, slow_layer
from tests.real.publishing import free_port
from tests.real.slurm import Cluster, cluster, wait_until, why_not

pytestmark = [pytest.mark.real, pytest.mark.skipif(bool(why_not()), reason=why_not())]


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "slurm") as made:
        yield made


@pytest.fixture
def undisturbed(layers: Layers) -> dict[str, str]:
    return layers.undisturbed(slow_layer)


def apart(root: Path, slurm: Cluster, layers: Layers) -> Clustered:
    """A farm that shares nothing with the nodes but the network."""
    settings = f'shared = false\naddress = "127.0.0.1:{free_port()}"\n'
    return Clustered.make(layers.copy(slow_layer, root), slurm, slurm=settings)


def test_the_same_is_published_as_from_one_machine(
    slurm: Cluster, tmp_path: Path, undisturbed: dict[str, str], layers: Layers
) -> None:
    farm = apart(tmp_path / "layer", slurm, layers)
    farm.build("--all")
    assert farm.publish() == undisturbed
    farm.accounted()
    assert len(farm.attempts()) == len(PACKAGES)
    assert {attempt.place for attempt in farm.attempts()} <= {"native1", "native2"}
    for attempt in farm.attempts():
        assert isinstance(attempt.outcome, Built)


def test_a_farm_that_is_killed_takes_in_what_went_on_without_it(
    slurm: Cluster, tmp_path: Path, undisturbed: dict[str, str], layers: Layers
) -> None:
    farm = apart(tmp_path / "layer", slurm, layers)
    with farm.building("--all") as build:
        job = farm.wait_for("tally")
        os.kill(build.child.pid, signal.SIGKILL)
        wait_until(lambda: build.child.poll() is not None, "the build to be dead")
    farm.build("--all")
    assert farm.publish() == undisturbed
    farm.accounted()
    # the attempt that ran is the one that counts: nothing was built a second time
    attempt = next(a for a in farm.attempts() if a.id == job["name"].removeprefix("farm-"))
    assert isinstance(attempt.outcome, Built), attempt.outcome


@pytest.mark.soak
def test_a_job_that_an_operator_ends_is_made_again(
    slurm: Cluster, tmp_path: Path, undisturbed: dict[str, str], layers: Layers
) -> None:
    farm = apart(tmp_path / "layer", slurm, layers)
    with farm.building("--all") as build:
        job = farm.wait_for("tally")
        slurm.client("scancel", job["number"])
        build.ends()
    assert farm.publish() == undisturbed
    farm.accounted()
    assert [failed.kind for failed in farm.mishaps()] == ["infrastructure"]
    assert all(isinstance(failed, Failed) for failed in farm.mishaps())

"""The layer itself on the embedded base: `make test` samples what `make soak` does completely."""

from __future__ import annotations

from pathlib import Path

import git
import pytest

from farm.run import run
from tests.real.publishing import DEMO_KEY, free_port
from tests.real.site import HERE, Site

pytestmark = pytest.mark.real

ARCHS = ("x86_64", "aarch64")


def clone_of_the_layer(root: Path) -> Site:
    """This checkout's layer as its working tree has it, committed in a repository of its own."""
    root.mkdir()
    run(["cp", "-a", HERE / "specs", HERE / "chroots", HERE / "farm.toml", root])
    site = Site(root, free_port())
    text = (root / "farm.toml").read_text()
    (root / "farm.toml").write_text(text.replace(":8420", f":{site.port}"))
    (root / ".gitignore").write_text("/.farm/\n/repo/\n")
    git.Repo.init(root, initial_branch="main")
    site.commit("The layer")
    site.farm("key", "import", str(DEMO_KEY))
    return site


def test_mpiblast_finds_what_serial_blast_finds_on_both_architectures(tmp_path: Path) -> None:
    site = clone_of_the_layer(tmp_path / "layer")
    verdicts = site.verdicts("mpiblast")
    assert verdicts == {("mpiblast", arch): "built" for arch in ARCHS}
    site.summary("publish")
    script = (HERE / "ci" / "demo-mpiblast.sh").read_text()
    with site.served():
        done = site.farm("try", "mpiblast", "--run", script)
    assert done.stdout.count("the same as serial blastn") == len(ARCHS)


@pytest.mark.soak
def test_the_same_package_with_and_without_native_tools_has_the_same_bytes(
    tmp_path: Path,
) -> None:
    digests = []
    for native in ("true", "false"):
        site = clone_of_the_layer(tmp_path / native)
        env = {"FARM_BUILD_NATIVE_TOOLS": native}
        site.farm("build", "genders", "--arch", "aarch64", env=env)
        site.farm("publish", env=env)
        digests.append(site.packages())
    assert digests[0] == digests[1]
    assert len(digests[0]) > 1


@pytest.mark.soak
def test_every_package_is_built_published_and_installed_on_both_architectures(
    tmp_path: Path,
) -> None:
    site = clone_of_the_layer(tmp_path / "layer")
    verdicts = site.verdicts("--all")
    assert set(verdicts.values()) == {"built"}, verdicts
    site.summary("publish")
    assert set(site.verdicts("--all").values()) == {"kept"}
    with site.served():
        script = (HERE / "ci" / "demo-site.sh").read_text()
        site.farm("try", "cluster-master", "cluster-compute", "cluster-devel", "--run", script)

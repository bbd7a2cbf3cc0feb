"""A shell in what a failed build left: where it is, and where it is not."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from farm.model import to_json
from farm.rebuild import kept
from farm.rebuild.shell import open_shell
from farm.rebuild.worker import read_order, work
from farm.sandbox import remove
from tests.builds import Ground, elsewhere, order, tiny

pytestmark = pytest.mark.real

_LOOK = ("sh", "-c", "cat BUILD/*/tiny-1.0/clue 2>/dev/null || echo nothing")


def test_a_root_on_another_machines_own_disk_is_not_taken_for_the_fresh_one_here(
    place: Ground, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    name = f"there-{os.getpid()}"
    node, here = elsewhere(place, tmp_path / "node"), elsewhere(place, tmp_path / "here")
    recipe = tiny(tmp_path / "recipe", ("test -s libtiny.so.1", "echo x >clue; false"))
    directory = order(node, recipe, name).parent
    try:
        work(directory / "job.json")
        left = node.cache.kept(name) / "upper"
        found = kept.recorded(directory)
        assert found is not None
        assert found.path == str(left)

        capfd.readouterr()
        assert open_shell(directory, _LOOK) == 0
        assert capfd.readouterr() == ("x\n", ""), "there it is entered, and nothing is said"

        noted = msgspec.structs.replace(found, host="node2.example.org", place="node2")
        (directory / kept.FILE).write_bytes(to_json(noted))
        moved = msgspec.structs.replace(
            read_order(directory / "job.json"), roots=str(here.cache.directory)
        )
        (directory / "job.json").write_bytes(to_json(moved))
        assert open_shell(directory, _LOOK) == 0
        said = capfd.readouterr()
        assert said.out == "nothing\n"
        assert said.err == (
            f"This is a fresh root: what the failed build left is kept on node2, in {left}.\n"
        )
    finally:
        remove(node.cache.directory, here.cache.directory)

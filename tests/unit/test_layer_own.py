"""The layer that this project carries is itself in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm.config import Config, Paths
from farm.layer.repository import read_layer
from farm.layer.sources import directory_behind, look_at
from farm.model import Layer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Layer:
    state = tmp_path_factory.mktemp("state")
    return read_layer(Config(root=ROOT, paths=Paths(state=str(state))))


def test_every_recipe_group_and_owner_can_be_used(layer: Layer) -> None:
    assert [str(problem) for problem in layer.problems] == []
    assert {"cluster-master", "cluster-compute", "cluster-devel"} <= {g.id for g in layer.groups}


def test_every_source_is_in_the_directory_or_declared(layer: Layer) -> None:
    for recipe in layer.recipes:
        have = {file.path for file in recipe.files} | {source.name for source in recipe.sources}
        for source in look_at(recipe).sources:
            if source.sure and not directory_behind(recipe, source.file):
                assert source.file in have, f"{recipe.name}: {source.file}"

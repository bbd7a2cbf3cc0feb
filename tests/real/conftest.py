"""What the tests of several modules share in a run."""

from __future__ import annotations

import pytest

from tests.real.clustered import Layers


@pytest.fixture(scope="session")
def layers(tmp_path_factory: pytest.TempPathFactory) -> Layers:
    return Layers(tmp_path_factory.mktemp("layers"))

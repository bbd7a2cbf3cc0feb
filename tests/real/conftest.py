"""What the tests of several modules share in a run."""

from __future__ import annotations

import pytest

from tests.builds import Ground, ground
from tests.real.clustered import Layers


@pytest.fixture(scope="session")
def layers(tmp_path_factory: pytest.TempPathFactory) -> Layers:
    return Layers(tmp_path_factory.mktemp("layers"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """The ground of a module's builds, which have nothing to do with those of others."""
    state = tmp_path_factory.mktemp("state")
    state.chmod(0o755)
    return ground("x86_64", state)

"""Which engine a configuration names."""

from __future__ import annotations

from pathlib import Path

from farm.config import Config
from farm.errors import ConfigError
from farm.rebuild.engines import Engine
from farm.rebuild.engines.local import LocalEngine


def open_engine(name: str, config: Config, state: Path, slots: int) -> Engine:
    """The engine of that name, for attempts below the state directory; `slots` is how many at a
    time this machine would do. Raises ConfigError for one that there is not."""
    if name == "local":
        return LocalEngine(slots)
    raise ConfigError(f"no engine is called {name!r}", hint="Choose local.")

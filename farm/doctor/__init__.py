"""What this machine lacks to run farm, with the remedy for each.

Facts are gathered by trying (a sandbox is made, an emulator registered), findings are a pure
function of the facts.
"""

from __future__ import annotations

from farm.config import Config
from farm.doctor.facts import gather
from farm.doctor.finding import Finding
from farm.doctor.findings import findings

__all__ = ["Finding", "examine"]


def examine(config: Config) -> tuple[Finding, ...]:
    """Look at this machine for `config`; changes nothing and takes well below a second."""
    return findings(gather(config))

"""Attempts as batch jobs of a Slurm cluster (docs/slurm.md).

`asking` says what a job asks for, `clients` talks to slurmctld, `ends` puts what Slurm says of a
job that ended badly into words, `engine` keeps the attempts. What counts is what a worker leaves in
its attempt's directory; Slurm is only believed about who is still alive, where, and why it died.
"""

from __future__ import annotations

from farm.rebuild.engines.slurm.engine import SlurmEngine
from farm.rebuild.engines.slurm.post import post_for

__all__ = ["SlurmEngine", "post_for"]

"""What attempts leave behind: their ids, their directories, their logs."""

from __future__ import annotations

import gzip
import secrets
import shutil
import time
from pathlib import Path

from farm.steps import chroot_of, recipe_of
from farm.store import atomic

COORDINATOR = "FARM_COORDINATOR"  # in a worker's environment: the process that it works for
ROOT_LOG = "root.log"  # beside a layer's tree: what rpm said is installed


def new_attempt_id() -> str:
    """Sortable by time, unique without asking anyone."""
    return time.strftime("%Y%m%d-%H%M%S-", time.gmtime()) + secrets.token_hex(4)


def attempt_directory(state: Path, attempt: str) -> Path:
    """Where an attempt works."""
    return state / "attempts" / attempt


def log_path(state: Path, recipe: str, chroot: str, attempt: str) -> Path:
    """Where the compressed log of an ended attempt lies."""
    return state / "logs" / recipe / chroot / f"{attempt}.log.gz"


def root_log_path(state: Path, recipe: str, chroot: str, attempt: str) -> Path:
    """Where the compressed list of what was in an ended attempt's build root lies."""
    return state / "logs" / recipe / chroot / f"{attempt}.root.log.gz"


def keep_logs(state: Path, step: str, attempt: str) -> None:
    """Compress the logs that an ended attempt at a step left in its directory. Raises OSError, and
    then keeps no part of one."""
    directory, names = (
        attempt_directory(state, attempt),
        (recipe_of(step), chroot_of(step), attempt),
    )
    for log, target in (
        (directory / "build.log", log_path(state, *names)),
        (directory / ROOT_LOG, root_log_path(state, *names)),
    ):
        if log.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            with (
                atomic(target, durable=False) as draft,
                log.open("rb") as source,
                gzip.open(draft, "wb", 6) as sink,
            ):
                shutil.copyfileobj(source, sink)

"""What processes leave that are killed: their private directories, and now and then a sandbox."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterable
from pathlib import Path

_SANDBOX = "bwrap"


def clear_abandoned(directory: Path) -> None:
    """Delete what processes left that were killed, and end what still waits for them."""
    left = [entry for entry in directory.iterdir() if is_abandoned(entry)]
    end_waiting(left)
    for entry in left:
        shutil.rmtree(entry, ignore_errors=True)


def is_abandoned(entry: Path) -> bool:
    """Whether it is named `<process id>-…` after a process that is no more."""
    pid, dash, _ = entry.name.partition("-")
    return bool(dash) and pid.isdigit() and not Path("/proc", pid).exists()


def end_waiting(areas: Iterable[Path]) -> None:
    """End the sandboxes that were being made in these directories.

    bubblewrap's first process inside waits for a word from the one outside before it asks to die
    with it. Who is killed in between leaves it waiting for ever, and its mounts with it.
    """
    marks = [os.fsencode(area) + b"/" for area in areas]
    if not marks:
        return
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and (process / "comm").read_text().strip() == _SANDBOX:
                words = (process / "cmdline").read_bytes()
                if any(mark in words for mark in marks):
                    os.kill(int(process.name), signal.SIGKILL)

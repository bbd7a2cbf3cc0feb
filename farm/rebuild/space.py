"""Where build roots are kept, and room for them."""

from __future__ import annotations

import os
from pathlib import Path

from farm.errors import MachineError
from farm.sandbox import memory_holds_overlays, scratch

_SHARED_MEMORY = Path("/dev/shm")
_LEAST = 1 << 30  # bytes of a file system in memory that are worth using
_KEPT_FREE = 512 << 20  # bytes of memory below which nothing is put there


def roots_directory(configured: str, state: Path) -> Path:
    """The directory of build roots, made when missing.

    What is configured, else memory where there is enough of it and overlayfs can write to it,
    else the state directory. Raises MachineError when it cannot be made.
    """
    if configured:
        return _made(Path(configured).expanduser().resolve())
    if memory_holds_overlays() and free(_SHARED_MEMORY) > _LEAST:
        # beside the sandboxes' own directory, whose owner has been looked at
        home = scratch().parent
        if home.is_relative_to(_SHARED_MEMORY):
            return _made(home / "roots")
    return _made(state / "roots")


def free(path: Path) -> int:
    """Bytes that may still be written below `path`; of a tmpfs, what memory allows."""
    status = os.statvfs(path)
    room = status.f_bavail * status.f_frsize
    return min(room, available_memory() - _KEPT_FREE) if in_memory(path) else room


def comfortable(path: Path) -> int:
    """As `free`, leaving a quarter of the machine's memory to builds and everybody else."""
    if not in_memory(path):
        return free(path)
    return min(free(path), available_memory() - memory("MemTotal") // 4)


def in_memory(path: Path) -> bool:
    """Whether `path` is on a tmpfs: by the longest mount point that it lies below."""
    best, kind = "", ""
    for line in Path("/proc/self/mounts").read_text("utf-8", "replace").splitlines():
        _, point, found, *_ = line.split(" ")
        name = point.encode().decode("unicode_escape")
        below = path == Path(name) or str(path).startswith(name.rstrip("/") + "/")
        if below and len(name) >= len(best):
            best, kind = name, found
    return kind in ("tmpfs", "ramfs")


def available_memory() -> int:
    """Bytes that the kernel could hand out without swapping."""
    return memory("MemAvailable")


def memory(name: str) -> int:
    """Bytes that /proc/meminfo gives for `name`."""
    for line in Path("/proc/meminfo").read_text("ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def _made(path: Path) -> Path:
    try:
        path.mkdir(mode=0o711, parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(
            f"the directory of build roots {path} cannot be made",
            why=str(error),
            hint="Set paths.roots in farm.toml to one that can.",
        ) from error
    return path

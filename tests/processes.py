"""Processes as /proc tells of them, for tests that ask what a farm leaves behind."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path


def parents() -> dict[int, int]:
    """Every process of this machine with its parent."""
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                text = Path(entry.path, "stat").read_text("utf-8", "replace")
                found[int(entry.name)] = int(text.rpartition(")")[2].split()[1])
    return found


def descendants(pid: int, parent_of: Mapping[int, int]) -> set[int]:
    """`pid` and all processes below it."""
    children: dict[int, list[int]] = {}
    for child, parent in parent_of.items():
        children.setdefault(parent, []).append(child)
    found, todo = set(), [pid]
    while todo:
        each = todo.pop()
        if each not in found:
            found.add(each)
            todo += children.get(each, [])
    return found

"""A signature that this machine could not judge is not a bad one."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from farm import gpg
from farm.errors import MachineError
from farm.gpg import KeyUnreadable, public_keys
from farm.run import Completed


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """What is no key, no signature and no package."""
    found = tuple(tmp_path / name for name in ("key", "signature", "package"))
    for path in found:
        path.write_text("nothing of that kind")
    return found  # type: ignore[return-value]


def no_room(descriptor: int, offset: int, length: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_is_full_is_held_against_the_machine(
    files: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    key, signature, package = files
    with public_keys([key]) as keys, pytest.raises(KeyUnreadable):
        keys.signature(package, signature)
    with public_keys([]) as keys:
        assert package in keys.refused([package])
    monkeypatch.setattr(os, "posix_fallocate", no_room)
    with public_keys([key]) as keys, pytest.raises(MachineError, match="No space left"):
        keys.signature(package, signature)
    with public_keys([]) as keys, pytest.raises(MachineError, match="No space left"):
        keys.refused([package])


@pytest.mark.parametrize("ended", [(-9, ""), (-15, "time")])
def test_a_program_that_was_ended_has_not_judged(
    ended: tuple[int, str], files: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(argv: Any, **_: Any) -> Completed:
        return Completed(tuple(map(str, argv)), ended[0], "", "", 1.0, ended[1])

    monkeypatch.setattr(gpg, "run", ends)
    key, signature, package = files
    with public_keys([key]) as keys, pytest.raises(MachineError, match="was ended"):
        keys.signature(package, signature)
    with public_keys([]) as keys, pytest.raises(MachineError, match="was ended"):
        keys.refused([package])

"""A shell in the root of a build: what a failed one left, or a fresh one."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from farm.errors import StateError
from farm.rebuild import kept as kept_roots
from farm.rebuild.builder import build_sandbox, refuse_foreign_options
from farm.rebuild.macros import TOPDIR
from farm.rebuild.worker import read_order, workspace_of
from farm.sandbox import enter, own

_WELCOME = """\
if ! ls SPECS/*.spec >/dev/null 2>&1; then rpm -i originals/*.src.rpm; fi
echo {package}" in "{chroot}": rpmbuild -bb SPECS/*.spec builds it again ("{state}")."
"""
_FRESH = "fresh"  # beside what a shell changed that began with a fresh root


def open_shell(directory: Path, command: Sequence[str] = (), *, store: Path | None = None) -> int:
    """Give the terminal to a shell in the root of an attempt; its exit code.

    What a failed attempt left is used and changed by it; where nothing is left here the source
    package is unpacked in a fresh root, and it is said why. `command` is run in place of a shell.
    `directory` is the attempt's own, with its job file; `store` is where its files are by now.
    Raises StateError when they are gone, and what `RootCache.prepare` raises.
    """
    order = read_order(directory / "job.json")
    if store is not None:  # the state directory may have been moved since
        order = msgspec.structs.replace(order, store=str(store))
    job = order.job
    refuse_foreign_options(job)
    workspace = workspace_of(order, directory)
    if job.builder == "mock":
        from farm.rebuild import mock  # noqa: PLC0415 - only where it was used

        code = mock.open_shell(job, workspace, command)
        if code is not None:
            return code
    if not job.srpm:
        raise StateError(f"the attempt at {job.step} made no source package to look at")
    kept = workspace.roots.kept(job.attempt)
    with workspace.roots.prepare(job.lock, job.chroot) as prepared, workspace.roots.held(kept):
        upper = kept / "upper"
        state, warning = _state(directory, kept)
        kept.mkdir(exist_ok=True)
        kept.chmod(0o711)
        if not upper.exists():
            (kept / _FRESH).touch()
            upper.mkdir()
            upper.chmod(0o755)
            own(upper)
        sandbox = build_sandbox(
            job, workspace, prepared, workspace.store.get(job.srpm), None, None, upper=upper
        )
        terminal = {"TERM": os.environ.get("TERM", "vt100"), "PROMPT_COMMAND": ""}
        sandbox = replace(sandbox, environment={**sandbox.environment, **terminal})
        welcome = _WELCOME.format(
            package=shlex.quote(job.recipe.name),
            chroot=shlex.quote(job.chroot.name),
            state=shlex.quote(state),
        )
        prompt = f"PS1=[{job.step} \\W]\\$ "
        words = tuple(command) or ("/usr/bin/env", prompt, "/bin/bash", "--norc", "-i")
        first = welcome if not command else ":"
        if warning:
            first = f"echo {shlex.quote(warning)} >&2\n{first}"
        return enter(sandbox, ["/bin/sh", "-c", f'cd {TOPDIR}\n{first}\nexec "$@"', "sh", *words])


def _state(directory: Path, kept: Path) -> tuple[str, str]:
    """What the shell begins with, and what to say when that is not what one would expect."""
    if not (kept / "upper").exists():
        why = kept_roots.missing(directory)
        return "a fresh root", f"This is a fresh root: {why}." if why else ""
    if (kept / _FRESH).exists():
        return "as the last shell left it, which began with a fresh root", ""
    return "as the failed build left it", ""

"""Recipe → what rpm says of it, and its byte-identical source package.

Both happen in the chroot's set-up root: reading a spec runs parts of it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from farm.errors import LayerError, MachineError, SourceError
from farm.model import Chroot, Evaluation, Lock, Package, Problem, Recipe
from farm.rebuild import spec as reading
from farm.rebuild.macros import SHELL, TOPDIR, rpmmacros
from farm.rebuild.roots import Root, RootCache
from farm.rpmheader import read
from farm.sandbox import BUILDER, Bind, Collect, Ended, Sandbox, clear_abandoned, execute, own
from farm.store import Store, sha256_of

_SECONDS_EACH = 120  # for one look of rpm at one spec, by emulation
_IN = "/farm/in"
_DISK = 2 << 30  # bytes that reading or packing a spec may write

Inputs = tuple[tuple[str, str], ...]  # name below SOURCES, sha256


def evaluate(
    recipes: Sequence[Recipe],
    chroot: Chroot,
    setup_lock: Lock,
    cache: RootCache,
    *,
    counter: int = 0,
) -> tuple[Evaluation | Problem, ...]:
    """What rpm says of each recipe for the chroot's architecture, in one sandbox.

    A spec that rpm refuses gives a Problem that names file and line. Raises what
    `RootCache.prepare` raises, and LayerError when a recipe's files changed under our hands.
    """
    if not recipes:
        return ()
    dist = f"{chroot.dist}.{counter}" if counter else chroot.dist
    mark = f"@farm {secrets.token_hex(8)}"
    with cache.prepare(setup_lock, chroot) as root, workspace(cache) as work:
        (work / "rpmmacros").write_text(rpmmacros(chroot, dist, 1), "utf-8")
        lines = []
        for number, recipe in enumerate(recipes):
            _stage_recipe(recipe, work / "in" / str(number))
            lines += _questions(number, recipe, chroot.arch, mark)
        done = _in_root(root, chroot, work, lines, timeout=_SECONDS_EACH * (len(recipes) + 1))
    if not done.ok:
        raise MachineError(
            f"the specs could not be evaluated in {chroot.name}",
            why="\n".join((done.completed.stderr or done.completed.stdout).splitlines()[-10:]),
        )
    found: dict[str, Evaluation | Problem] = {}
    for answer in done.completed.stdout.split(f"{mark} ")[1:]:
        head, _, text = answer.partition("\n")
        place, _, verdict = head.partition(" ")
        found[place] = _answer(recipes[int(place)], verdict, text, dist)
    return tuple(found[str(number)] for number in range(len(recipes)))


def _answer(recipe: Recipe, verdict: str, text: str, dist: str) -> Evaluation | Problem:
    if verdict == "bad":
        return reading.refusal(recipe.name, recipe.spec, text)
    try:
        return reading.parse(text, dist)
    except ValueError as error:
        return reading.refusal(recipe.name, recipe.spec, str(error))


def make_srpm(
    recipe: Recipe,
    inputs: Inputs,
    chroot: Chroot,
    setup_lock: Lock,
    cache: RootCache,
    store: Store,
    *,
    counter: int,
    epoch_seconds: int,
) -> Package:
    """Make the source package of a recipe and put it in the store.

    The same inputs, chroot settings and counter give the same bytes. Raises LayerError with
    rpm's own words when it refuses.
    """
    with workspace(cache) as work:
        path = make_srpm_file(
            recipe, inputs, chroot, setup_lock, cache, store, work,
            counter=counter, epoch_seconds=epoch_seconds,
        )  # fmt: skip
        store.put(path)
        return describe(path)


def make_srpm_file(
    recipe: Recipe,
    inputs: Inputs,
    chroot: Chroot,
    setup_lock: Lock,
    cache: RootCache,
    store: Store,
    work: Path,
    *,
    counter: int,
    epoch_seconds: int,
) -> Path:
    """`make_srpm`, leaving the file below the directory `work` (one of `workspace`)."""
    dist = f"{chroot.dist}.{counter}" if counter else chroot.dist
    with cache.prepare(setup_lock, chroot) as root:
        (work / "rpmmacros").write_text(rpmmacros(chroot, dist, 1), "utf-8")
        executable = {file.path for file in recipe.files if file.executable}
        directory = work / "in"
        for name, sha256 in inputs:
            _place(store.get(sha256), directory / name, name in executable)
        out = own(_made(work / "out"))
        collect = Collect(f"{TOPDIR}/SRPMS", "*.src.rpm", out)
        lines = _packing(recipe, chroot.arch, epoch_seconds)
        done = _in_root(root, chroot, work, lines, collect=(collect,))
    found = sorted(out.glob("*.src.rpm"))
    if done.ok and len(found) == 1:
        found[0].chmod(0o644)
        return found[0]
    problem = reading.refusal(recipe.name, recipe.spec, done.completed.stderr)
    kind = SourceError if "Bad source" in done.completed.stderr else LayerError
    raise kind(
        f"the source package of {recipe.name} cannot be made",
        why="\n".join(problem.facts),
        hint=problem.remedy,
    )


def describe(path: Path) -> Package:
    """A source package's file as a Package."""
    rpm = read(path)
    return Package(rpm.nevra, sha256_of(path), path.stat().st_size, rpm.source)


def _questions(number: int, recipe: Recipe, arch: str, mark: str) -> list[str]:
    """Shell lines that print what rpm says of one recipe, or its complaint."""
    spec = shlex.quote(f"{_at(number)}/{recipe.spec}")
    look = f"timeout {_SECONDS_EACH} rpmspec --target {arch} -D '_sourcedir {_at(number)}'"
    source, binary = (shlex.quote(q) for q in (reading.SOURCE_QUERY, reading.BINARY_QUERY))
    return [
        f"if {look} -q --srpm --qf {source} {spec} >/tmp/out 2>/tmp/err && "
        f"{look} -q --builtrpms --qf {binary} {spec} >>/tmp/out 2>>/tmp/err; "
        f"then echo '{mark} {number} good'; cat /tmp/out; "
        f"if grep -q generate_buildrequires {spec} && "
        f"{look} -P {spec} 2>/dev/null | grep -q '^%generate_buildrequires'; "
        f"then echo {reading.DYNAMIC}; fi; "
        f"else echo '{mark} {number} bad'; cat /tmp/err; fi",
    ]


def _packing(recipe: Recipe, arch: str, epoch_seconds: int) -> list[str]:
    spec = shlex.quote(recipe.spec)
    lines = ["set -e", f"cd {TOPDIR}", f"cp -r {_IN}/. SOURCES/", f"mv SOURCES/{spec} SPECS/"]
    if epoch_seconds:
        lines += [f"find SOURCES SPECS -type f -exec touch -d @{epoch_seconds} {{}} +"]
    return [*lines, f"rpmbuild -bs --nodeps --target {arch} SPECS/{spec}"]


def _at(number: int) -> str:
    return f"{_IN}/{number}"


def _in_root(
    root: Root,
    chroot: Chroot,
    work: Path,
    lines: list[str],
    *,
    collect: tuple[Collect, ...] = (),
    timeout: float = 600,
) -> Ended:
    sandbox = Sandbox(
        binds=(
            Bind(root.overlay(size=_DISK), "/", writable=True),
            Bind(_made(work / "in"), _IN),
            Bind(work / "rpmmacros", "/builddir/.rpmmacros"),
        ),
        user=BUILDER,
        environment=dict(chroot.environment),
        directory="/builddir",
        emulator=root.emulator,
        collect=collect,
    )
    return execute(sandbox, [*SHELL, "\n".join(["umask 022", *lines])], timeout=timeout)


@contextlib.contextmanager
def workspace(cache: RootCache) -> Iterator[Path]:
    """A directory beside the roots whose files the sandbox may read."""
    parent = _made(cache.directory / "work")
    clear_abandoned(parent)
    path = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=parent))
    try:
        path.chmod(0o711)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _stage_recipe(recipe: Recipe, directory: Path) -> None:
    for file in recipe.files:
        source = Path(recipe.directory, file.path)
        target = directory / file.path
        _place(source, target, file.executable)
        if sha256_of(target) != file.sha256:
            raise LayerError(f"{source} changed while it was read", hint="Run the command again.")


def _place(source: Path, target: Path, executable: bool) -> None:
    _made(target.parent)
    shutil.copyfile(source, target)
    target.chmod(0o755 if executable else 0o644)


def _made(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o755)
    return path

"""Recipe → what rpm says of it, and its byte-identical source package.

Both happen in the chroot's set-up root: reading a spec runs parts of it.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from farm.errors import LayerError, SourceError
from farm.model import Chroot, Evaluation, Lock, Package, Problem, Recipe
from farm.rebuild import spec as reading
from farm.rebuild.fill import made
from farm.rebuild.macros import SHELL, TOPDIR, rpmmacros
from farm.rebuild.roots import Root, RootCache
from farm.rebuild.varied import Varying, applied, opening
from farm.rpmheader import read
from farm.sandbox import BUILDER, Bind, Collect, Ended, Sandbox, clear_abandoned, execute, own
from farm.steps import BOOTSTRAP
from farm.store import Store, sha256_of, write_atomic

_SECONDS_EACH = 20  # for one look of rpm at one spec: it takes tenths
_SECONDS_EMULATED = 120
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
    """What rpm says of each recipe for the chroot's architecture, each in a sandbox of its own.

    A spec that rpm refuses gives a Problem that names file and line. Raises what
    `RootCache.prepare` raises, and LayerError when a recipe's files changed under our hands.
    """
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - a worker starts without

    if not recipes:
        return ()
    dist = f"{chroot.dist}.{counter}" if counter else chroot.dist
    with cache.prepare(setup_lock, chroot) as root, workspace(cache) as work:
        write_atomic(work / "rpmmacros", rpmmacros(chroot, dist, 1))

        seconds = _SECONDS_EMULATED if root.emulator else _SECONDS_EACH

        def ask(number: int) -> Evaluation | Problem:
            recipe = recipes[number]
            files = work / str(number)
            _stage_recipe(recipe, files)
            lines = _questions(recipe, chroot.arch)
            ended = _in_root(root, chroot, work, files, lines, timeout=seconds)
            shutil.rmtree(files, ignore_errors=True)
            return _answer(recipe, ended, dist, seconds)

        pool = ThreadPoolExecutor(os.cpu_count() or 1)
        try:
            return tuple(pool.map(ask, range(len(recipes))))
        finally:
            pool.shutdown(cancel_futures=True)


def _answer(recipe: Recipe, ended: Ended, dist: str, seconds: int) -> Evaluation | Problem:
    done = ended.completed
    if done.reason:
        why = (
            f"rpm was not done with it after {seconds} s: "
            "a %(...), a %{lua:...} or a macro in it does not end"
        )
        return reading.refusal(recipe.name, recipe.spec, f"error: {why}")
    if not done.ok:
        return reading.refusal(recipe.name, recipe.spec, done.stderr)
    try:
        return reading.parse(done.stdout, dist)
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
    varied: Varying | None = None,
) -> Path:
    """`make_srpm`, leaving the file below the directory `work` (one of `workspace`)."""
    dist = f"{chroot.dist}.{counter}" if counter else chroot.dist
    with cache.prepare(setup_lock, chroot) as root:
        write_atomic(work / "rpmmacros", rpmmacros(chroot, dist, 1))
        executable = {file.path for file in recipe.files if file.executable}
        directory = work / "in"
        for name, sha256 in inputs:
            _place(store.get(sha256), directory / name, name in executable)
        out = own(made(work / "out"))
        collect = Collect(f"{TOPDIR}/SRPMS", "*.src.rpm", out)
        lines = _packing(recipe, chroot.arch, epoch_seconds)
        done = _in_root(root, chroot, work, directory, lines, collect=(collect,), varied=varied)
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


def _questions(recipe: Recipe, arch: str) -> list[str]:
    """Shell lines that print what rpm says of a recipe, or fail with its complaint."""
    spec = shlex.quote(f"{_IN}/{recipe.spec}")
    look = f"rpmspec --target {arch} -D '_sourcedir {_IN}'"
    source, binary = (shlex.quote(q) for q in (reading.SOURCE_QUERY, reading.BINARY_QUERY))
    return [
        f"{look} -q --srpm --qf {source} {spec} || exit 1",
        f"{look} -q --builtrpms --qf {binary} {spec} || exit 1",
        f"if grep -q generate_buildrequires {spec} && "
        f"{look} -P {spec} 2>/dev/null | grep -q '^%generate_buildrequires'; "
        f"then echo {reading.DYNAMIC}; fi",
        *_condition(look, spec),
    ]


def _condition(look: str, spec: str) -> list[str]:
    """Shell lines that tell whether a spec has a build condition `bootstrap`.

    rpm has no question for that: a last line is added to a copy of the spec, and says whether
    the condition is on. It is to follow the options that switch it on and off.
    """
    mark = "farm-asks"
    line = f"%{{echo:{mark}=%{{with {BOOTSTRAP}}}}}"
    neither = f"--undefine _with_{BOOTSTRAP} --undefine _without_{BOOTSTRAP}"
    on, off = (
        f"{look} {neither} -D '_{way}_{BOOTSTRAP} --{way}-{BOOTSTRAP}' -P /tmp/asked.spec "
        f"2>&1 | grep -qx {mark}={answer}"
        for way, answer in (("with", 1), ("without", 0))
    )
    return [
        f"if grep -q {BOOTSTRAP} {spec} && (cat {spec}; echo; echo '{line}') >/tmp/asked.spec && "
        f"{on} && {off}; then echo {reading.BOOTSTRAPS}; fi",
    ]


def _packing(recipe: Recipe, arch: str, epoch_seconds: int) -> list[str]:
    spec = shlex.quote(recipe.spec)
    # their modes are in the source package: as they are, whatever the umask
    copy = f"cp -r --preserve=mode {_IN}/. SOURCES/"
    lines = ["set -e", f"cd {TOPDIR}", copy, f"mv SOURCES/{spec} SPECS/"]
    if epoch_seconds:
        lines += [f"find SOURCES SPECS -type f -exec touch -d @{epoch_seconds} {{}} +"]
    return [*lines, f"rpmbuild -bs --nodeps --target {arch} SPECS/{spec}"]


def _in_root(
    root: Root,
    chroot: Chroot,
    work: Path,
    inputs: Path,
    lines: list[str],
    *,
    collect: tuple[Collect, ...] = (),
    timeout: float = 600,
    varied: Varying | None = None,
) -> Ended:
    sandbox = Sandbox(
        binds=(
            Bind(root.overlay(size=_DISK), "/", writable=True),
            Bind(made(inputs), _IN),
            Bind(work / "rpmmacros", "/builddir/.rpmmacros"),
        ),
        user=BUILDER,
        environment=dict(chroot.environment),
        directory="/builddir",
        emulator=root.emulator,
        collect=collect,
    )
    with applied(varied, sandbox, chroot) as sandbox:
        script = "\n".join([*opening(varied), *lines])
        return execute(sandbox, [*SHELL, script], timeout=timeout)


@contextlib.contextmanager
def workspace(cache: RootCache) -> Iterator[Path]:
    """A directory beside the roots whose files the sandbox may read."""
    parent = made(cache.directory / "work")
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
    made(target.parent)
    shutil.copyfile(source, target)
    target.chmod(0o755 if executable else 0o644)

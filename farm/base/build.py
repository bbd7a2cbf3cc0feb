"""`farm base build`: Debian's packages → an RPM repository for each architecture, native tools.

<cache>/base/debian-13/x86_64         → x86_64-<digest of the inputs>/
                       aarch64        → aarch64-<digest>/
                       native-aarch64 → native-aarch64-<digest>/
<cache>/base/apt/<arch>/              private apt roots
<cache>/downloads/                    Debian's packages by checksum
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import createrepo_c
import zstandard

from farm.apt import host_archives
from farm.base import apt, archive, bytecode, check, convert, deb, native, repodata, rpmfile
from farm.base.archive import Deb
from farm.base.recipe import recipe
from farm.config import Config
from farm.errors import StateError
from farm.store import Store

RELEASE = "debian-13"
NATIVE = f"native-{native.ARCH}"
_EPOCH = 1754697600  # 2025-08-09, trixie's own date: the time of everything that has no other
_WORKERS = 2
_KEPT = 3  # results of one name that stay, the current one included: locks name their files

Report = Callable[[str], None]


@dataclass(frozen=True)
class BaseBuilt:
    """A finished base; `arch` is "native-aarch64" for the layer of native tools.

    `packages` counts what it was made of. `fresh`: made now, in `seconds`.
    """

    arch: str
    directory: Path
    packages: int
    fresh: bool
    seconds: float


def build_base(
    config: Config,
    archs: Sequence[str],
    report: Report,
    *,
    refresh: bool = False,
    ready: Callable[[BaseBuilt], None] = lambda built: None,
) -> tuple[BaseBuilt, ...]:
    """Make sure that the embedded base exists for `archs`, one after the other.

    With aarch64 on an x86_64 machine comes the layer of native tools. What is complete stays in
    use without a look at the network, unless `refresh` is set or farm's own recipe has changed.
    `report` gets a line for each stage, `ready` each result as soon as it can be used.
    Raises MachineError (no archive, no network, bad signature) or StateError.
    """
    done = []
    for name in wanted(archs, platform.machine()):
        built = _Workplace(config, name, report).ensure(refresh)
        ready(built)
        done.append(built)
    return tuple(done)


def wanted(archs: Sequence[str], machine: str) -> tuple[str, ...]:
    """What `archs` take on a machine of that architecture: its own first, tools last."""
    names = sorted(dict.fromkeys(archs), key=lambda arch: arch != machine)
    tools = native.ARCH in names and machine == "x86_64"
    return (*names, NATIVE) if tools else tuple(names)


def current(config: Config, name: str) -> Path | None:
    """The complete base of that name that is in use, made by this very recipe, or None."""
    link = config.base_directory / RELEASE / name
    try:
        made_by = (link / "recipe").read_text("utf-8").strip()
    except OSError:
        return None
    return link.resolve() if made_by == _recipe_digest(name) else None


@dataclass(frozen=True)
class _Workplace:
    """One result in the making."""

    config: Config
    name: str
    report: Report

    @property
    def top(self) -> Path:
        return self.config.base_directory / RELEASE

    @property
    def store(self) -> Store:
        return Store(self.config.path("cache") / "downloads")

    def ensure(self, refresh: bool) -> BaseBuilt:
        started = time.monotonic()
        known = None if refresh else current(self.config, self.name)
        fresh = False
        if known is None:
            with _locked(self.top, self.name, self.report):
                known = None if refresh else current(self.config, self.name)
                if known is None:
                    known, fresh = self._made()
                    _switch(self.top / self.name, known)
                    _prune(self.top, self.name, known)
        count = len(json.loads((known / "packages.json").read_bytes()))
        return BaseBuilt(self.name, known, count, fresh, time.monotonic() - started)

    def _made(self) -> tuple[Path, bool]:
        try:
            return self._make_native() if self.name == NATIVE else self._make_base()
        except OSError as error:
            raise StateError(
                f"the embedded base ({self.name}) could not be written",
                why=str(error),
                hint="It takes about 2 GB in the cache directory (paths.cache). What is done is"
                " kept: run `farm base build` again.",
            ) from error

    def _make_base(self) -> tuple[Path, bool]:
        self.report(f"{self.name}: asking Debian's archive")
        root = self._apt(self.name)
        debs = archive.resolve(root.update(), recipe().roots, recipe().left_out)
        with self._draft(debs) as (target, draft):
            if draft is None:
                return target, False
            packages = self._convert_all(root, debs, draft)
            self.report(f"{self.name}: writing the metadata of {len(packages)} packages")
            shutil.rmtree(draft / "repodata", ignore_errors=True)
            check.check(repodata.write(draft, packages, _EPOCH), recipe().layer_owned)
        return target, True

    def _make_native(self) -> tuple[Path, bool]:
        self.report(f"{self.name}: asking Debian's archive")
        chosen = native.native_recipe()
        tools, own = self._apt("x86_64"), self._apt(native.ARCH)
        left_out = (*recipe().left_out, *chosen.left_out)
        debs = archive.resolve(tools.update(), chosen.roots, left_out)
        index = own.update()
        drivers = tuple(index.deb(name) for name in sorted(chosen.drivers))
        with self._draft((*debs, *drivers)) as (target, draft):
            if draft is None:
                return target, False
            self._say_size((*debs, *drivers))
            shutil.rmtree(draft / "tree", ignore_errors=True)
            tree = native.assemble(
                chosen,
                ((item, self.store.path(item.sha256)) for item in tools.fetch(debs, self.store)),
                ((item, self.store.path(item.sha256)) for item in own.fetch(drivers, self.store)),
            )
            self.report(f"{self.name}: laying out {len(tree.replaces)} programs")
            native.write(tree, draft)
        return target, True

    def _apt(self, arch: str) -> apt.AptRoot:
        archives = apt.debian_archives(host_archives())
        return apt.AptRoot(self.config.base_directory / "apt" / arch, arch, archives)

    @contextlib.contextmanager
    def _draft(self, debs: Sequence[Deb]) -> Iterator[tuple[Path, Path | None]]:
        """The result's directory and where to make it: None when it is there already."""
        digest = input_digest(_recipe_digest(self.name), debs)
        target = self.top / f"{self.name}-{digest[:16]}"
        if (target / "recipe").exists():
            yield target, None
            return
        draft = self.top / f".{target.name}.partial"
        draft.mkdir(exist_ok=True)
        yield target, draft
        _write_json(draft / "packages.json", debs)
        (draft / "recipe").write_text(_recipe_digest(self.name) + "\n", "utf-8")
        os.sync()
        draft.rename(target)

    def _convert_all(self, root: apt.AptRoot, debs: Sequence[Deb], draft: Path) -> list[Path]:
        """Fetch and convert side by side; packages that an interrupted run left are kept."""
        setting = convert.Setting(
            arch=self.name,
            recipe=recipe(),
            stands_for=archive.convertible(debs),
            versions={item.name: item.version for item in debs},
            build_time=_EPOCH,
            source=f"farm-base-{RELEASE}-1.src.rpm",
        )
        taken = convert.selector(setting.recipe, self.name)
        (draft / "Packages").mkdir(exist_ok=True)
        store = self.store

        def one(item: Deb) -> Path:
            path = draft / "Packages" / rpm_name(item, self.name)
            if not path.exists():
                contents = deb.read(store.get(item.sha256), taken)
                compiled = compiler.compile(contents.entries)
                contents = replace(contents, entries=(*contents.entries, *compiled))
                part = path.with_suffix(".part")
                part.write_bytes(rpmfile.serialize(convert.convert(item, contents, setting)))
                part.rename(path)
            return path

        self._say_size(debs)
        with self._compiler(root, debs) as compiler, ThreadPoolExecutor(_WORKERS) as pool:
            try:
                waiting = [pool.submit(one, item) for item in root.fetch(debs, store)]
                self.report(f"{self.name}: turning {len(debs)} packages into RPMs")
                done = [future.result() for future in waiting]
            except BaseException:
                pool.shutdown(cancel_futures=True)  # Ctrl-C must not wait for all the rest
                raise
        for stray in (draft / "Packages").glob("*.part"):
            stray.unlink()
        return done

    @contextlib.contextmanager
    def _compiler(self, root: apt.AptRoot, debs: Sequence[Deb]) -> Iterator[bytecode.Compiler]:
        """Python's compiler for this machine, whatever the architecture of the base is."""
        machine = platform.machine()
        if machine == self.name:
            tools, found = root, tuple(item for item in debs if item.name in bytecode.RUNTIME)
        else:
            tools = self._apt(machine)
            index = tools.update()
            found = tuple(index.deb(name) for name in bytecode.RUNTIME)
        paths = [self.store.get(item.sha256) for item in tools.fetch(found, self.store)]
        with tempfile.TemporaryDirectory(dir=self.top, prefix=".python-") as scratch:
            yield bytecode.Compiler(Path(scratch), machine, paths)

    def _say_size(self, debs: Sequence[Deb]) -> None:
        size = sum(item.size for item in debs if item.sha256 not in self.store)
        self.report(f"{self.name}: {len(debs)} packages, {size / 1e6:.0f} MB to fetch")


def input_digest(recipe_digest: str, debs: Sequence[Deb]) -> str:
    """sha256 of all that decides the bytes: packages, recipe, and the libraries that write."""
    total = hashlib.sha256(recipe_digest.encode())
    total.update(f"zstd {zstandard.ZSTD_VERSION} createrepo_c {createrepo_c.VERSION}\n".encode())
    for item in sorted(debs):
        total.update(f"{item.name} {item.arch} {item.version} {item.sha256}\n".encode())
    return total.hexdigest()


def rpm_name(item: Deb, arch: str) -> str:
    """The file name of the RPM that a Debian package becomes."""
    _, version, release = convert.evr(item.version)
    return f"{item.name}-{version}-{release}.{'noarch' if item.arch == 'all' else arch}.rpm"


def _recipe_digest(name: str) -> str:
    return native.native_recipe().digest if name == NATIVE else recipe().digest


def _write_json(path: Path, debs: Sequence[Deb]) -> None:
    listed = [{"name": d.name, "version": d.version, "sha256": d.sha256} for d in sorted(debs)]
    path.write_text(json.dumps(listed, indent=1) + "\n", "utf-8")


def _switch(link: Path, directory: Path) -> None:
    """Point `link` at `directory`, in one step."""
    draft = link.with_name(f".{link.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    draft.symlink_to(directory.name)
    draft.replace(link)


def _prune(top: Path, name: str, directory: Path) -> None:
    others = [path for path in top.glob(f"{name}-*") if path != directory]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    partial = list(top.glob(f".{name}-*.partial"))
    for path in (*others[_KEPT - 1 :], *partial):
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _locked(top: Path, name: str, report: Report) -> Iterator[None]:
    """One builder at a time for each result; a second one waits for the first's."""
    try:
        top.mkdir(parents=True, exist_ok=True)
        handle = (top / f".{name}.lock").open("a")
    except OSError as error:
        raise StateError(
            f"the embedded base cannot be kept in {top}", why=str(error),
            hint="Set paths.cache in farm.toml to a directory of yours.",
        ) from error  # fmt: skip
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(f"{name}: another farm is at it; waiting for its result")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield

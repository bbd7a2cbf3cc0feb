"""`farm base build`: Debian's packages → an RPM repository for each architecture."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import createrepo_c
import zstandard

from farm.base import apt, archive, convert, deb, repodata, rpmfile
from farm.base.archive import Deb
from farm.base.recipe import Recipe, recipe
from farm.config import Config
from farm.errors import StateError
from farm.store import Store

RELEASE = "debian-13"
_EPOCH = 1754697600  # 2025-08-09, trixie's own date: the time of everything that has no other
_WORKERS = 2
_KEPT = 3  # bases of one architecture that stay, the current one included: locks name their files

Report = Callable[[str], None]


@dataclass(frozen=True)
class BaseBuilt:
    """A finished base of one architecture. `fresh`: made now, in `seconds`."""

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

    A complete base stays in use without a look at the network, unless `refresh` is set or farm's
    own recipe has changed. `report` gets a line for each stage, `ready` each architecture as soon
    as it can be used. Raises MachineError (no archive, no network, bad signature) or StateError.
    """
    done = []
    for arch in archs:
        built = _build_one(config, arch, report, refresh)
        ready(built)
        done.append(built)
    return tuple(done)


def current(config: Config, arch: str) -> Path | None:
    """The complete base of `arch` that is in use, made by this very recipe, or None."""
    link = config.base_directory / RELEASE / arch
    try:
        made_by = (link / "recipe").read_text("utf-8").strip()
    except OSError:
        return None
    return link.resolve() if made_by == recipe().digest else None


def _build_one(config: Config, arch: str, report: Report, refresh: bool) -> BaseBuilt:
    started = time.monotonic()
    known = None if refresh else current(config, arch)
    top = config.base_directory / RELEASE
    if known is None:
        with _locked(top, arch, report):
            known = None if refresh else current(config, arch)
            if known is None:
                directory, fresh = _make(config, arch, report)
                _switch(top / arch, directory)
                _prune(top, arch, directory)
                seconds = time.monotonic() - started
                return BaseBuilt(arch, directory, _count(directory), fresh, seconds)
    return BaseBuilt(arch, known, _count(known), False, time.monotonic() - started)


def _make(config: Config, arch: str, report: Report) -> tuple[Path, bool]:
    chosen = recipe()
    top = config.base_directory / RELEASE
    report(f"{arch}: asking Debian's archive")
    source = apt.debian_archive(apt.host_sources())
    root = apt.AptRoot(config.base_directory / "apt" / arch, arch, source)
    debs = archive.resolve(root.update(), chosen.roots, chosen.left_out)
    digest = input_digest(chosen, debs)
    target = top / f"{arch}-{digest[:16]}"
    if (target / "recipe").exists():
        return target, False
    draft = top / f".{target.name}.partial"
    store = Store(config.path("cache") / "downloads")
    packages = _convert_all(root, store, debs, arch, draft / "Packages", report)
    report(f"{arch}: writing the metadata of {len(packages)} packages")
    shutil.rmtree(draft / "repodata", ignore_errors=True)
    repodata.write(draft, packages, _EPOCH)
    _write_json(draft / "packages.json", debs)
    (draft / "recipe").write_text(chosen.digest + "\n", "utf-8")
    os.sync()
    draft.rename(target)
    return target, True


def input_digest(chosen: Recipe, debs: Sequence[Deb]) -> str:
    """sha256 of all that decides the bytes: packages, recipe, and the libraries that write."""
    total = hashlib.sha256(chosen.digest.encode())
    total.update(f"zstd {zstandard.ZSTD_VERSION} createrepo_c {createrepo_c.VERSION}\n".encode())
    for item in sorted(debs):
        total.update(f"{item.name} {item.version} {item.sha256}\n".encode())
    return total.hexdigest()


def _convert_all(
    root: apt.AptRoot, store: Store, debs: Sequence[Deb], arch: str, target: Path, report: Report
) -> list[Path]:
    """Fetch and convert side by side; packages that an interrupted run left are kept."""
    setting = convert.Setting(
        arch=arch,
        recipe=recipe(),
        stands_for=archive.convertible(debs),
        versions={item.name: item.version for item in debs},
        build_time=_EPOCH,
        source=f"farm-base-{RELEASE}-1.src.rpm",
    )
    wanted = convert.selector(setting.recipe, arch)
    target.mkdir(parents=True, exist_ok=True)

    def one(item: Deb) -> Path:
        path = target / rpm_name(item, arch)
        if not path.exists():
            contents = deb.read(store.get(item.sha256), wanted)
            draft = path.with_suffix(".part")
            draft.write_bytes(rpmfile.serialize(convert.convert(item, contents, setting)))
            draft.rename(path)
        return path

    size = sum(item.size for item in debs if item.sha256 not in store)
    report(f"{arch}: {len(debs)} packages, {size / 1e6:.0f} MB to fetch")
    with ThreadPoolExecutor(_WORKERS) as pool:
        waiting = [pool.submit(one, item) for item in root.fetch(debs, store)]
        report(f"{arch}: turning {len(debs)} packages into RPMs")
        return [future.result() for future in waiting]


def rpm_name(item: Deb, arch: str) -> str:
    """The file name of the RPM that a Debian package becomes."""
    _, version, release = convert.evr(item.version)
    return f"{item.name}-{version}-{release}.{'noarch' if item.arch == 'all' else arch}.rpm"


def _write_json(path: Path, debs: Sequence[Deb]) -> None:
    listed = [{"name": d.name, "version": d.version, "sha256": d.sha256} for d in sorted(debs)]
    path.write_text(json.dumps(listed, indent=1) + "\n", "utf-8")


def _switch(link: Path, directory: Path) -> None:
    """Point `link` at `directory`, in one step."""
    draft = link.with_name(f".{link.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    draft.symlink_to(directory.name)
    draft.replace(link)


def _prune(top: Path, arch: str, directory: Path) -> None:
    others = [path for path in top.glob(f"{arch}-*") if path != directory]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    partial = list(top.glob(f".{arch}-*.partial"))
    for path in (*others[_KEPT - 1 :], *partial):
        shutil.rmtree(path, ignore_errors=True)


def _count(directory: Path) -> int:
    return sum(1 for _ in (directory / "Packages").iterdir())


@contextlib.contextmanager
def _locked(top: Path, name: str, report: Report) -> Iterator[None]:
    """One builder at a time for each architecture; a second one waits for the first's result."""
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

"""Small real RPMs for tests, made by the host's rpmbuild in a home of their own."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from farm import rpmheader
from farm.model import Built, Chroot, Lock, Manifest, Package, Result, digest_of
from farm.run import run
from farm.store import Store

needs_rpmbuild = pytest.mark.skipif(
    shutil.which("rpmbuild") is None, reason="rpmbuild is not installed"
)

EPOCH_SECONDS = 1_700_000_000


@dataclass(frozen=True)
class Spec:
    """What a test wants of a package; `files` are (path, content), `subpackages` (name, arch)."""

    name: str
    version: str = "1.0"
    release: str = "1"
    arch: str = "x86_64"
    epoch: int = 0
    requires: Sequence[str] = ()
    recommends: Sequence[str] = ()
    provides: Sequence[str] = ()
    conflicts: Sequence[str] = ()
    obsoletes: Sequence[str] = ()
    files: Sequence[tuple[str, str]] = ()
    post: str = ""
    noarch_subpackage: str = ""
    epoch_seconds: int = EPOCH_SECONDS
    optflags: str = ""


def spec_text(spec: Spec) -> str:
    """The spec file that `build` hands to rpmbuild."""
    files = spec.files or ((f"/usr/share/{spec.name}/about", f"{spec.name} {spec.version}\n"),)
    install = "\n".join(
        f"install -d %{{buildroot}}{Path(path).parent}\n"
        f"cat > %{{buildroot}}{path} <<'END_OF_FILE'\n{content}END_OF_FILE\n"
        f"chmod {'755' if content.startswith('#!') else '644'} %{{buildroot}}{path}"
        for path, content in files
    )
    headers = [
        f"Name: {spec.name}",
        *([f"Epoch: {spec.epoch}"] if spec.epoch else []),
        f"Version: {spec.version}",
        f"Release: {spec.release}",
        f"Summary: The package {spec.name}",
        "License: MIT",
        *([f"BuildArch: {spec.arch}"] if spec.arch == "noarch" else []),
        *(f"Requires: {word}" for word in spec.requires),
        *(f"Recommends: {word}" for word in spec.recommends),
        *(f"Provides: {word}" for word in spec.provides),
        *(f"Conflicts: {word}" for word in spec.conflicts),
        *(f"Obsoletes: {word}" for word in spec.obsoletes),
    ]
    sub = spec.noarch_subpackage
    parts = [
        "\n".join(headers),
        "%description\nMade for a test.",
        f"%package {sub}\nSummary: Data\nBuildArch: noarch\n%description {sub}\nData."
        if sub
        else "",
        f"%install\n{install}",
        f"%post\n{spec.post}" if spec.post else "",
        "%files\n" + "\n".join(path for path, _ in files),
        f"%files {sub}" if sub else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def build(directory: Path, spec: Spec) -> tuple[Path, ...]:
    """Build binary packages and the source package; the source package comes last."""
    home = directory / f"rpmbuild-{spec.name}-{spec.version}-{spec.release}-{spec.arch}"
    home.mkdir(parents=True, exist_ok=True)
    source = home / f"{spec.name}.spec"
    source.write_text(spec_text(spec))
    target = () if spec.arch == "noarch" else ("--target", f"{spec.arch}-linux")
    macros = {
        "_topdir": str(home),
        "_dbpath": str(home / "db"),
        "_buildhost": "test",
        "_binary_payload": "w2.gzdio",
        "use_source_date_epoch_as_buildtime": "1",
        "clamp_mtime_to_source_date_epoch": "1",
        "debug_package": "%{nil}",
        "__os_install_post": "%{nil}",
        **({"optflags": spec.optflags} if spec.optflags else {}),
    }
    defines = [word for name, value in macros.items() for word in ("--define", f"{name} {value}")]
    for what in ("-bs", "-bb"):  # apart, as farm does: -ba puts the SRPM's digest into the others
        run(
            ["rpmbuild", what, "--quiet", *target, *defines, source],
            env={"HOME": str(home), "SOURCE_DATE_EPOCH": str(spec.epoch_seconds)},
        )
    binaries = sorted((home / "RPMS").rglob("*.rpm"))
    return (*binaries, *sorted((home / "SRPMS").glob("*.rpm")))


def build_everywhere(
    directory: Path, spec: Spec, store: Store, archs: Sequence[str] = ("x86_64", "aarch64")
) -> dict[str, Result]:
    """The same package for each architecture, with one canonical source package."""
    paths = {arch: build(directory / arch, replace(spec, arch=arch)) for arch in archs}
    source = next(iter(paths.values()))[-1]
    return {
        arch: result(spec.name, arch, (*files[:-1], source), store) for arch, files in paths.items()
    }


def package(path: Path, store: Store, *, debug: bool = False) -> Package:
    """Take a package file into a store, as a builder does."""
    rpm = rpmheader.read(path)
    return Package(rpm.nevra, store.put(path), path.stat().st_size, rpm.source, debug)


def result(
    recipe: str,
    arch: str,
    paths: Sequence[Path],
    store: Store,
    *,
    release: str = "debian-13",
    counter: int = 0,
    scratch: bool = False,
) -> Result:
    """The build record of package files (as `build` returns them), taken into a store."""
    packages = [package(path, store) for path in paths]
    inputs = next(contents(path) for path in paths if rpmheader.read(path).is_source)
    binaries = tuple(p for p in packages if p.nevra.arch != "src")
    source = next(p for p in packages if p.nevra.arch == "src")
    manifest = Manifest(digest_of((recipe, binaries)), "lock", "chroot", 1)
    return Result(
        key=manifest.key,
        step=f"{recipe}@{release}-{arch}",
        manifest=manifest,
        lock=Lock(()),
        recipe_files=(),
        counter=counter,
        commit="c" * 40,
        built=Built(binaries, source, 1.0),
        finished=float(EPOCH_SECONDS),
        scratch=scratch,
        chroot=Chroot(f"{release}-{arch}", release, arch, (), (), ".deb13"),
        inputs=inputs,
        spec=f"{recipe}.spec",
        epoch_seconds=EPOCH_SECONDS,
    )


def contents(path: Path) -> tuple[tuple[str, str], ...]:
    """Names and sha256 of the files in a package, as its header has them."""
    header = rpmheader.read(path).header
    assert header.number(5011) == 8, "rpm did not use sha256"
    return tuple(zip(header.texts(1117), header.texts(1035), strict=True))

"""How long does `farm check` take for a layer of 100 specs on a base of 60,000 packages?

    .venv/bin/python -m tests.bench.layer DIRECTORY [--specs 100] [--packages 60000] [--runs 9]

The embedded base can be built on, and beside it lies a generated repository of metadata with the
rest of the 60,000. The specs need one another and packages of both. Whole commands are timed,
process start included: the first one reads metadata and specs, the others find both kept.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from pathlib import Path

import git

from farm.run import run
from tests.repositories import Rpm, write_repository

HERE = Path(__file__).parents[2]
_PERSON = git.Actor("A. Packager", "packager@example.org")
_BUILD = ("gcc", "make", "cmake", "zlib-devel", "openssl-devel", "python3-devel", "ncurses-devel")


def big_repository(directory: Path, size: int, family: int = 0) -> None:
    """Packages that require one another, provide sonames and own files, as a distribution's do.

    In families of `family` they stay among themselves; without, one in the end wants most others.
    """
    chance = random.Random(2026)
    packages = []
    for number in range(size):
        first = number - number % family if family else 0
        near = [max(first, number - chance.randrange(1, 2000)) for _ in range(chance.randrange(9))]
        requires = [f"libbig{n}.so.1()(64bit)" if n % 3 else f"big{n} >= 1" for n in near]
        packages.append(
            Rpm(
                f"big{number}",
                f"{chance.randrange(1, 9)}.{chance.randrange(30)}-{chance.randrange(1, 5)}",
                requires=sorted(set(requires)),
                provides=[f"libbig{number}.so.1()(64bit)", f"pkgconfig(big{number}) = 1"],
                files=[f"/usr/bin/big{number}", f"/usr/share/doc/big{number}/README"],
            )
        )
    write_repository(directory, packages, compression="zstd")


def spec(number: int, chance: random.Random, size: int) -> str:
    """A recipe with three binary packages, needing others before it."""
    wanted = [*chance.sample(_BUILD, 3)]
    wanted += [f"pkgconfig(big{chance.randrange(size)})" for _ in range(3)]
    wanted += [f"layer{n}-devel" for n in {chance.randrange(number) for _ in range(2) if number}]
    tags = "".join(f"BuildRequires: {text}\n" for text in wanted)
    run_time = f"Requires: big{chance.randrange(size)}\n"
    return (
        f"Name: layer{number}\nVersion: 1\nRelease: 1%{{?dist}}\nSummary: Number {number}\n"
        f"License: MIT\n{tags}{run_time}\n%description\nFor a measurement.\n\n"
        + "".join(
            f"%package {part}\nSummary: {part}\nRequires: %{{name}}%{{?_isa}} = "
            f"%{{version}}-%{{release}}\n\n%description {part}\nPart.\n\n"
            for part in ("devel", "libs")
        )
        + "%files\n%files devel\n%files libs\n\n%changelog\n"
        "* Mon Jan 05 2026 A. Packager <packager@example.org> - 1-1\n- New.\n"
    )


def layer(root: Path, specs: int, size: int) -> None:
    """A farm directory with chroots that name both bases."""
    chance = random.Random(specs)
    for number in range(specs):
        directory = root / "specs" / f"layer{number}"
        directory.mkdir(parents=True)
        (directory / f"layer{number}.spec").write_text(spec(number, chance, size))
    members = ", ".join(f'"layer{number}"' for number in range(specs))
    (root / "specs" / "groups.toml").write_text(
        '[[group]]\nid = "cluster-master"\nname = "Head"\ndescription = "All"\nversion = "1"\n'
        f"packages = [{members}]\n"
        'changelog = [{ date = 2026-01-05, author = "A <a@example.org>", text = "First." }]\n'
    )
    (root / "specs" / "OWNERS").write_text("*  bench\n")
    chroot = (HERE / "chroots" / "debian-13-x86_64.cfg").read_text().rstrip().removesuffix('"""')
    (root / "chroots").mkdir()
    (root / "chroots" / "debian-13-x86_64.cfg").write_text(
        f'{chroot}\n[big]\nname=big\nbaseurl={(root / "big").as_uri()}\n"""\n'
    )
    (root / "farm.toml").write_text('[releases.debian-13]\narchitectures = ["x86_64"]\n')
    (root / ".gitignore").write_text("/.farm/\n/repo/\n/big/\n")
    repository = git.Repo.init(root, initial_branch="main")
    repository.git.add("--all")
    repository.index.commit("First", author=_PERSON, committer=_PERSON)


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--specs", type=int, default=100)
    parser.add_argument("--packages", type=int, default=60_000)
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args(argv)
    root = options.directory.resolve()
    if not root.exists():
        big_repository(root / "big", options.packages)
        layer(root, options.specs, options.packages)
    command = [sys.executable, "-P", "-m", "farm", "-C", str(root), "check"]
    times = []
    for _ in range(options.runs + 1):
        started = time.perf_counter()
        done = run(command, check=False, timeout=900)
        times.append(time.perf_counter() - started)
        print(f"{times[-1]:.2f} s  {done.stdout.splitlines()[-1] if done.stdout else done.stderr}")
    warm = times[1:]
    print(
        f"first {times[0]:.2f} s; warm median {statistics.median(warm):.2f} s"
        f" (from {min(warm):.2f} to {max(warm):.2f} s)"
    )


if __name__ == "__main__":
    main(sys.argv[1:])

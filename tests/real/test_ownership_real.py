"""Who may own a path together with whom: farm's rules, judged by rpm itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from farm.plan.fit.ownership import clashes
from farm.run import run
from farm.store import Store
from tests.rpms import EPOCH_SECONDS, needs_rpmbuild, package

pytestmark = [pytest.mark.real, needs_rpmbuild]

ELF64 = r"\177ELF\002\001\001" + r"\000" * 9 + r"\003\000\076\000\001\000\000\000"
ELF32 = r"\177ELF\001\001\001" + r"\000" * 9 + r"\003\000\003\000\001\000\000\000"


@dataclass(frozen=True)
class Entry:
    """How a package has /usr/share/x: `make` puts it into $X, `line` is its line in %files."""

    make: str = "printf same > $X"
    line: str = "/usr/share/x"


FILE = Entry()
LONGER = Entry("printf longer > $X")
OTHER = Entry("printf emas > $X")  # as long as FILE
LINK = Entry("ln -s same $X")
FOLDER = Entry("mkdir $X", "%dir /usr/share/x")
PROGRAM = Entry(f"printf '{ELF64}' > $X; chmod 755 $X")

PAIRS: dict[str, tuple[Entry, Entry]] = {
    "the same file": (FILE, FILE),
    "other content": (FILE, OTHER),
    "another size": (FILE, LONGER),
    "another mode": (FILE, Entry(line="%attr(755, root, root) /usr/share/x")),
    "another user": (FILE, Entry(line="%attr(-, bin, root) /usr/share/x")),
    "another group": (FILE, Entry(line="%attr(-, root, bin) /usr/share/x")),
    "the same as configuration": (FILE, Entry(line="%config(noreplace) /usr/share/x")),
    "other content as configuration": (
        Entry(line="%config /usr/share/x"), Entry(OTHER.make, "%config /usr/share/x"),
    ),
    "the same as documentation": (FILE, Entry(line="%doc /usr/share/x")),
    "a ghost of a file": (FILE, Entry(OTHER.make, "%ghost /usr/share/x")),
    "two ghosts": (Entry(line="%ghost /usr/share/x"), Entry(OTHER.make, "%ghost /usr/share/x")),
    "a ghost of another mode": (FILE, Entry(line="%ghost %attr(600, bin, bin) /usr/share/x")),
    "the same directory": (FOLDER, FOLDER),
    "a directory of another mode": (
        FOLDER, Entry(FOLDER.make, "%dir %attr(700, root, root) /usr/share/x"),
    ),
    "a directory of another user": (
        FOLDER, Entry(FOLDER.make, "%dir %attr(-, bin, root) /usr/share/x"),
    ),
    "a directory and a file": (FOLDER, FILE),
    "the same link": (LINK, LINK),
    "a link to elsewhere": (LINK, Entry("ln -s emas $X")),
    "a link and a file": (LINK, FILE),
    "a link and a directory": (LINK, FOLDER),
    "a 32-bit and a 64-bit program": (
        PROGRAM, Entry(f"printf '{ELF32}' > $X; chmod 755 $X"),
    ),
    "two 64-bit programs": (
        PROGRAM, Entry(f"printf '{ELF64}more' > $X; chmod 755 $X"),
    ),
    "a program and a script": (PROGRAM, Entry("printf '#!/bin/sh' > $X; chmod 755 $X")),
}  # fmt: skip


def spec(name: str, entry: Entry) -> str:
    return (
        f"Name: {name}\nVersion: 1\nRelease: 1\nSummary: x\nLicense: MIT\n%description\nx\n"
        "%install\ninstall -d %{buildroot}/usr/share; X=%{buildroot}/usr/share/x\n"
        f"{entry.make}\n%files\n{entry.line}\n"
    )


Make = Callable[[str, Entry], Path]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Builds a package that has /usr/share/x in this way; each once."""
    known: dict[tuple[str, Entry], Path] = {}

    def made(name: str, entry: Entry) -> Path:
        if (name, entry) not in known:
            home = tmp_path_factory.mktemp(name)
            (home / "x.spec").write_text(spec(name, entry))
            macros = {
                "_topdir": str(home), "_dbpath": str(home / "db"), "debug_package": "%{nil}",
                "__os_install_post": "%{nil}", "_binary_payload": "w2.gzdio",
            }  # fmt: skip
            defines = [w for key, value in macros.items() for w in ("--define", f"{key} {value}")]
            run(
                ["rpmbuild", "-bb", "--quiet", "--target", "x86_64-linux", *defines,
                 home / "x.spec"],
                env={"HOME": str(home), "SOURCE_DATE_EPOCH": str(EPOCH_SECONDS)},
            )  # fmt: skip
            (known[name, entry],) = (home / "RPMS").rglob("*.rpm")
        return known[name, entry]

    return made


def rpm(home: Path, *words: str | Path) -> tuple[bool, str]:
    """Whether rpm would do it in a root of the test's own, and what it says."""
    command: Sequence[str | Path] = [
        "unshare", "--user", "--map-root-user",
        "rpm", "--root", home, "--define", "_dbpath /var/lib/rpm", "--nodeps", "--ignorearch",
        "--define", "_transaction_color 3", "--nosignature",
    ]  # fmt: skip
    done = run([*command, *words], env={"HOME": str(home)}, check=False)
    return done.ok, done.stderr


@pytest.mark.parametrize("name", PAIRS)
def test_farm_and_rpm_agree_on_who_may_share_a_path(name: str, tmp_path: Path, make: Make) -> None:
    one, other = (make(f"p{n}", entry) for n, entry in enumerate(PAIRS[name]))
    store = Store(tmp_path / "store")
    found = clashes([(package(path, store), path) for path in (one, other)], tmp_path / "cache")
    assert {clash.path for clash in found} <= {"/usr/share/x"}
    together = tmp_path / "together"
    together.mkdir()
    allowed, said = rpm(together, "-i", "--test", one, other)
    assert allowed or "conflicts" in said, said
    assert allowed == (not found), (said, found)
    for first, second in ((one, other), (other, one)):
        root = tmp_path / f"after {first.name}"
        root.mkdir()
        assert rpm(root, "-i", "--justdb", first)[0]
        allowed, said = rpm(root, "-i", "--test", second)
        assert allowed == (not found), (said, found)

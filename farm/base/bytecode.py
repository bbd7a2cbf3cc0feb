"""Byte code for the base's Python modules.

Debian compiles at installation; a build root is read-only, so without this every Python that
starts in it, emulated or not, would compile all it imports. The compiler is the base's own
Python, run from a directory by its own loader: the host's may be of another version.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from stat import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG

from farm import run
from farm.base import deb
from farm.base.deb import Entry

# Debian packages that the compiler is taken from.
RUNTIME = (
    "libc6", "libexpat1", "libpython3.13-minimal", "libpython3.13-stdlib", "python3.13-minimal",
    "zlib1g",
)  # fmt: skip
_PYTHON = "usr/bin/python3.13"
_TAG = "cpython-313"
_LOADERS = {"x86_64": "ld-linux-x86-64.so.2", "aarch64": "ld-linux-aarch64.so.1"}
_MODULES = ("/usr/lib/python3/dist-packages/", "/usr/lib/python3.13/")
_SCRIPT = Path(__file__).parent / "data" / "compile-modules.py"


class Compiler:
    """The base's Python in a directory of its own."""

    def __init__(self, directory: Path, machine: str, packages: Iterable[Path]) -> None:
        """Unpack it there from its packages (of this machine's architecture)."""
        self._directory = directory
        libraries = f"usr/lib/{machine}-linux-gnu"
        for path in packages:
            for entry in deb.read(path, _needed).entries:
                target = directory / entry.path.lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                if S_IFMT(entry.mode) == S_IFLNK and not target.is_symlink():
                    target.symlink_to(entry.target)
                elif S_IFMT(entry.mode) == S_IFREG:
                    target.write_bytes(entry.data)
                    target.chmod(0o755 if entry.mode & 0o111 else 0o644)
        self._argv = (
            directory / libraries / _LOADERS[machine],
            "--library-path", directory / libraries, directory / _PYTHON, "-S", "-s",
            # What it imports must not be compiled the first time and found compiled the next:
            # that shows in the bytes.
            "-B", _SCRIPT,
        )  # fmt: skip

    def compile(self, entries: Iterable[Entry]) -> tuple[Entry, ...]:
        """The compiled files and their directories for those of `entries` that are modules.

        The same modules give the same bytes: it depends on nothing but them.
        """
        modules = [entry for entry in entries if _is_module(entry)]
        if not modules:
            return ()
        with tempfile.TemporaryDirectory(dir=self._directory) as scratch:
            sources = Path(scratch)
            for number, entry in enumerate(modules):
                (sources / f"{number}.py").write_bytes(entry.data)
            listed = "".join(f"{number} {entry.path}\n" for number, entry in enumerate(modules))
            home = {"PYTHONHOME": str(self._directory / "usr"), "PYTHONHASHSEED": "0"}
            run.run([*self._argv, sources], input=listed, env=home, timeout=600)
            return tuple(_compiled(modules, sources))


def _compiled(modules: Iterable[Entry], sources: Path) -> Iterator[Entry]:
    directories: dict[str, Entry] = {}
    for number, entry in enumerate(modules):
        path = sources / f"{number}.pyc"
        if not path.exists():  # a template, or of another Python: it stays as it is
            continue
        where = PurePosixPath(entry.path)
        cache = str(where.parent / "__pycache__")
        directories.setdefault(cache, replace(entry, path=cache, mode=S_IFDIR | 0o755, data=b""))
        yield replace(
            entry,
            path=f"{cache}/{where.stem}.{_TAG}.pyc",
            mode=S_IFREG | 0o644,
            data=path.read_bytes(),
        )
    yield from directories.values()


def _is_module(entry: Entry) -> bool:
    return (
        entry.path.endswith(".py")
        and entry.path.startswith(_MODULES)
        and S_IFMT(entry.mode) == S_IFREG
        and not entry.same_as
    )


def _needed(path: str) -> bool:
    # Of the C library the loader and the libraries, not the hundreds of character sets.
    return "/gconv" not in path and path.startswith(("/usr/bin/python", "/usr/lib/"))

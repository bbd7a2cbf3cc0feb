"""The native-tools layer: x86_64 programs for emulated aarch64 roots, and a faster emulator.

native-aarch64-<digest>/tree/         what is laid over a root
                        qemu          a static emulator, to be registered with binfmt_misc
                        manifest.json what of the tree replaces, and what supports
                        packages.json what it was made of
"""

from __future__ import annotations

import fnmatch
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from stat import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG

from farm.base import deb, elf, strings
from farm.base.archive import Deb
from farm.base.deb import Entry
from farm.base.recipe import DATA, digest_of_files
from farm.errors import StateError

ARCH = "aarch64"
_LIBRARIES = "/usr/lib/x86_64-linux-gnu"
_WORKERS = 2
_RECIPE = (
    "archive.py", "data/native-driver.sh", "data/native.toml", "deb.py", "elf.py", "native.py",
    "strings.py",
)  # fmt: skip
_PERL = "/usr/lib/farm-native/perl"


@dataclass(frozen=True)
class Driver:
    """A compiler driver: `special_links`, every link is left to the root's own."""

    name: str
    special_links: bool


@dataclass(frozen=True)
class NativeRecipe:
    """`data/native.toml`: patterns and paths by Debian package."""

    left_out: tuple[str, ...]
    replaces: Mapping[str, Sequence[str]]
    emulated: frozenset[str]
    perl: str
    perl_program: str
    perl_libraries: tuple[str, ...]
    perl_scripts: Mapping[str, Sequence[str]]
    machine_strings: Mapping[str, Mapping[str, str]]
    strings: Mapping[str, str]
    drivers: Mapping[str, Driver]
    links: Mapping[str, str]
    emulator: str
    emulator_path: str
    digest: str

    @property
    def roots(self) -> tuple[str, ...]:
        """The packages that programs are taken from."""
        chosen = {*self.replaces, self.perl, *self.perl_libraries, *self.perl_scripts}
        return tuple(sorted({*chosen, "libc6", self.emulator}))


@dataclass(frozen=True)
class Tree:
    """Paths start with a slash; `replaces` are those that need their like in the root."""

    entries: Mapping[str, Entry]
    replaces: frozenset[str]
    emulator: bytes

    def manifest(self) -> str:
        """manifest.json: paths without leading slash, whole directories where all is support."""
        support = {_top(path) for path in self.entries if path not in self.replaces}
        return json.dumps(
            {
                "replaces": sorted(path.lstrip("/") for path in self.replaces),
                "support": sorted(path.lstrip("/") for path in support),
            },
            indent=1,
        )


def native_recipe() -> NativeRecipe:
    """The recipe that is part of this farm."""
    table = tomllib.loads((DATA / "native.toml").read_text("utf-8"))
    return NativeRecipe(
        left_out=tuple(table["left_out"]),
        replaces=table["replaces"],
        emulated=frozenset(table["emulated"]["paths"]),
        perl=table["perl"]["package"],
        perl_program=table["perl"]["program"],
        perl_libraries=tuple(table["perl"]["libraries"]),
        perl_scripts=table["perl"]["scripts"],
        machine_strings=table["machine_strings"],
        strings=table["strings"],
        drivers={
            package: Driver(driver["name"], driver["special_links"])
            for package, driver in table["drivers"].items()
        },
        links=table["support"]["links"],
        emulator=table["emulator"]["package"],
        emulator_path=table["emulator"]["path"],
        digest=digest_of_files(_RECIPE),
    )


def assemble(
    recipe: NativeRecipe, debs: Iterable[tuple[Deb, Path]], own: Iterable[tuple[Deb, Path]]
) -> Tree:
    """Choose from the packages (each with its file) what makes the layer.

    `own` are aarch64 packages: those of the compiler drivers.
    Raises StateError when a library that a program needs is in none of them.
    """
    parts = _Parts()
    with ThreadPoolExecutor(_WORKERS) as pool:
        for item, entries in pool.map(lambda pair: (pair[0], _read(recipe, *pair)), debs):
            parts.take(recipe, item, entries)
        for item, entries in pool.map(lambda pair: (pair[0], _read(recipe, *pair)), own):
            parts.drivers(recipe.drivers[item.name], entries)
    parts.support |= _closure([*parts.programs.values(), *parts.support.values()], parts.libraries)
    # Character sets, for the programs that convert texts.
    parts.support |= {path: e for path, e in parts.libraries.items() if "/gconv/" in path}
    parts.support |= {path: _link(path, target) for path, target in recipe.links.items()}
    entries = parts.programs | parts.support | parts.emulated
    return Tree(entries, frozenset(parts.programs), parts.emulator)


@dataclass
class _Parts:
    """What has been chosen so far, by path."""

    programs: dict[str, Entry] = field(default_factory=dict)
    support: dict[str, Entry] = field(default_factory=dict)
    emulated: dict[str, Entry] = field(default_factory=dict)
    libraries: dict[str, Entry] = field(default_factory=dict)
    emulator: bytes = b""

    def take(self, recipe: NativeRecipe, item: Deb, entries: Mapping[str, Entry]) -> None:
        """From an x86_64 package."""
        if item.name == recipe.emulator:
            self.emulator = entries[recipe.emulator_path].data
            return
        self.programs |= {e.path: e for e in _programs(recipe, item.name, entries)}
        self.libraries |= {path: e for path, e in entries.items() if path.startswith(_LIBRARIES)}
        if item.name == recipe.perl:
            self.support[_PERL] = replace(entries[recipe.perl_program], path=_PERL)
        if item.name in (recipe.perl, *recipe.perl_libraries):
            modules = f"{_LIBRARIES}/perl"
            self.support |= {path: e for path, e in entries.items() if path.startswith(modules)}

    def drivers(self, driver: Driver, entries: Mapping[str, Entry]) -> None:
        """Put the script in the place of a driver, both drivers beside it."""
        place = f"/usr/bin/{driver.name}"
        native, emulated = (f"/usr/lib/farm-native/{kind}/" for kind in ("native", "emulated"))
        script = (DATA / "native-driver.sh").read_text("utf-8").replace("@NAME@", driver.name)
        special = "yes" if driver.special_links else ""
        script = script.replace("@SPECIAL_LINKS@", special)
        cross = self.programs[place]
        self.support[native + driver.name] = replace(cross, path=native + driver.name)
        self.emulated[emulated + driver.name] = entries[place]
        self.programs[place] = replace(cross, data=script.encode())


def write(tree: Tree, directory: Path) -> None:
    """Write the layer's files below `directory`."""
    for path, entry in sorted(tree.entries.items()):
        target = directory / "tree" / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if S_IFMT(entry.mode) == S_IFLNK:
            target.symlink_to(entry.target)
        else:
            target.write_bytes(entry.data)
            target.chmod(0o755 if entry.mode & 0o111 else 0o644)
    (directory / "qemu").write_bytes(tree.emulator)
    (directory / "qemu").chmod(0o755)
    (directory / "manifest.json").write_text(tree.manifest() + "\n", "utf-8")


def _read(recipe: NativeRecipe, item: Deb, path: Path) -> dict[str, Entry]:
    if item.name == recipe.emulator:
        return {recipe.emulator_path: deb.read_one(path, recipe.emulator_path)}
    entries = deb.read(path, _interesting).entries
    return {entry.path: entry for entry in entries if S_IFMT(entry.mode) != S_IFDIR}


def _link(path: str, target: str) -> Entry:
    return Entry(path, S_IFLNK | 0o777, "root", "root", 0, target=target)


def _interesting(path: str) -> bool:
    return path.startswith(
        ("/usr/bin/", "/usr/libexec/gcc-cross/", "/usr/lib/rpm/", _LIBRARIES + "/")
    ) and not path.endswith((".a", ".o", ".h"))


def _programs(recipe: NativeRecipe, name: str, entries: Mapping[str, Entry]) -> Iterator[Entry]:
    cross = name.endswith("-aarch64-linux-gnu")
    for path, entry in entries.items():
        if path in recipe.emulated:
            continue
        if S_IFMT(entry.mode) == S_IFREG and entry.data.startswith(elf.MAGIC):
            if _matches(path, recipe.replaces.get(name, ())):
                data = strings.replaced(entry.data, recipe.strings) if cross else entry.data
                for old, new in recipe.machine_strings.get(name, {}).items():
                    data = strings.relocated(data, old, new)
                place = path.replace("/usr/libexec/gcc-cross/", "/usr/libexec/gcc/")
                yield replace(entry, path=place, data=data)
        elif _matches(path, recipe.perl_scripts.get(name, ())):
            script = re.sub(rb"^#! ?/usr/bin/perl\b", b"#!" + _PERL.encode(), entry.data)
            if script != entry.data:
                yield replace(entry, data=script)


def _matches(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def _closure(programs: Sequence[Entry], libraries: Mapping[str, Entry]) -> dict[str, Entry]:
    """The loader and every shared library that `programs` need, directly or not."""
    by_name = {PurePosixPath(path).name: path for path in libraries if path.count("/") == 4}
    found: dict[str, Entry] = {}
    wanted = ["ld-linux-x86-64.so.2", *_needed(programs)]
    while wanted:
        name = wanted.pop()
        path = by_name.get(name)
        if path is None:
            raise StateError(
                f"the native tools need {name}, which no package of theirs has",
                hint="Add its package to farm/base/data/native.toml.",
            )
        while path not in found:
            entry = found[path] = libraries[path]
            wanted += _needed([entry])
            if not entry.target:
                break
            path = str(PurePosixPath(path).parent / entry.target)
    return found


def _needed(entries: Iterable[Entry]) -> list[str]:
    names: set[str] = set()
    for entry in entries:
        if entry.data.startswith(elf.MAGIC):
            found = elf.facts(entry.data)
            names |= set(found.needed) if found is not None else set()
    return sorted(names)


def _top(path: str) -> str:
    """What of a supporting file's path belongs to the layer alone."""
    for directory in (_LIBRARIES, "/usr/lib/farm-native"):
        if path.startswith(directory + "/"):
            return directory
    return path

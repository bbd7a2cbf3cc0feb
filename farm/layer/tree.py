"""The layer's files: in the working tree, at a commit, or in a plain directory.

git decides which files belong to the layer (what it ignores does not), which of them differ from
the commit, and who touched what last. The files themselves are read from disk in every case: a
commit's are written below the state directory, one directory for each state of a recipe.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import git

from farm.errors import LayerError, UsageError
from farm.layer.memory import Memory

Kind = Literal["file", "symlink", "submodule"]
_KINDS: Mapping[str, Kind] = {"120000": "symlink", "160000": "submodule"}


@dataclass(frozen=True)
class Entry:
    """One file of the layer; `path` is relative to the directory of recipes, with slashes."""

    path: str
    file: Path
    executable: bool
    kind: Kind = "file"
    changed: bool = False  # differs from the commit, or is not in it


@dataclass(frozen=True)
class Tree:
    """All files of the layer, sorted.

    `touched` names the last commit below each directory, and of each top-level file. `removed`
    are files of the commit that are no longer on disk.
    """

    commit: str
    entries: tuple[Entry, ...]
    touched: Mapping[str, str]
    removed: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def directories(path: str) -> tuple[str, ...]:
    """The directories that a path is in, outermost first; none for a top-level file."""
    parts = path.split("/")[:-1]
    return tuple("/".join(parts[: count + 1]) for count in range(len(parts)))


def recipe_directories(paths: Collection[str]) -> frozenset[str]:
    """The outermost directories with a spec in them: a spec further in is somebody's source."""
    found = {path.rpartition("/")[0] for path in paths if path.endswith(".spec")} - {""}
    return frozenset(directory for directory in found if found.isdisjoint(directories(directory)))


def unit_of(path: str, recipes: Collection[str]) -> str:
    """The recipe directory that a path is in, else the path itself."""
    return next((directory for directory in directories(path) if directory in recipes), path)


def working_tree(specs: Path, memory: Memory) -> Tree:
    """The files as they lie there. Raises LayerError when git refuses to answer."""
    repository = _repository(specs)
    if repository is None:
        return _plain(specs, f"{specs} is in no git repository: every package is a scratch build")
    with repository:
        return _working_tree(repository, specs, memory)


def _working_tree(repository: git.Repo, specs: Path, memory: Memory) -> Tree:
    born = repository.head.is_valid()
    prefix = _prefix(repository, specs)
    with _git_answers():
        head = repository.head.commit.hexsha if born else ""
        listed = repository.git.ls_files("-z", "--stage", "--full-name", "--", specs)
        status = repository.git.status(
            "-z", "--porcelain", "--no-renames", "--untracked-files=all", "--", specs
        )
    modes: dict[str, str] = {}
    for record in _records(listed):
        mode, _, path = record.partition("\t")
        modes[path[len(prefix) :]] = mode[:6]
    changed = {record[3 + len(prefix) :] for record in _records(status)}
    untracked = {record[3 + len(prefix) :] for record in _records(status) if record.startswith("?")}
    entries: list[Entry] = []
    removed = changed - untracked - modes.keys()
    for path in sorted(modes.keys() | untracked):
        try:
            entries.append(_entry(specs, path, path in changed, modes.get(path, "")))
        except (FileNotFoundError, NotADirectoryError):
            removed.add(path)
    touched = _touched(repository, head, prefix, memory) if born else {}
    notes = () if born else (f"{specs} has no commit yet: every package is a scratch build",)
    return Tree(head, tuple(entries), touched, frozenset(removed), notes)


def committed_tree(specs: Path, revision: str, state: Path, memory: Memory) -> Tree:
    """The files of a commit, written below `state` without touching the working tree.

    Raises UsageError for a revision that does not exist, LayerError outside of a repository.
    """
    repository = _repository(specs)
    if repository is None:
        raise LayerError(
            f"{specs} is in no git repository, so it has no commit {revision!r}",
            hint="Leave the commit out to read the files as they lie there.",
        )
    with repository:
        return _committed_tree(repository, specs, revision, state, memory)


def _committed_tree(
    repository: git.Repo, specs: Path, revision: str, state: Path, memory: Memory
) -> Tree:
    commit = _commit(repository, revision)
    prefix = _prefix(repository, specs)
    with _git_answers():
        listed = repository.git.ls_tree("-z", "-r", "-t", "--full-tree", commit, prefix or ".")
    modes: dict[str, str] = {}
    objects: dict[str, str] = {}
    for record in _records(listed):
        description, _, path = record.partition("\t")
        if not path.startswith(prefix):
            continue  # a directory above
        mode, kind, name = description.split(" ")
        objects[path[len(prefix) :]] = name
        if kind != "tree":
            modes[path[len(prefix) :]] = mode
    recipes = recipe_directories(modes)
    units = {path: unit_of(path, recipes) for path in sorted(modes)}
    places = {
        unit: state / f"{unit.rpartition('/')[2]}-{objects[unit][:16]}" for unit in units.values()
    }
    with _git_answers():
        _write(repository, commit, prefix, units, places)
    entries = [
        Entry(
            path,
            Path(f"{places[unit]}{path[len(unit) :]}"),
            modes[path] == "100755",
            _KINDS.get(modes[path], "file"),
        )
        for path, unit in units.items()
    ]
    return Tree(commit, tuple(entries), _touched(repository, commit, prefix, memory))


def _write(
    repository: git.Repo,
    commit: str,
    prefix: str,
    units: Mapping[str, str],
    places: Mapping[str, Path],
) -> None:
    """Write the units that are not there yet, as a checkout would (attributes honoured)."""
    missing = {unit: place for unit, place in places.items() if not place.exists()}
    if not missing:
        return
    state = next(iter(missing.values())).parent
    state.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=state, prefix=".checkout-") as name:
        draft = Path(name)
        names = [f"{prefix}{path}\0" for path, unit in units.items() if unit in missing]
        (draft / "paths").write_bytes(os.fsencode("".join(names)))
        environment = {"GIT_INDEX_FILE": str(draft / "index")}
        repository.git.read_tree(commit, env=environment)
        with (draft / "paths").open("rb") as stream:
            repository.git.checkout_index(
                "-z", "--stdin", f"--prefix={draft}/tree/", istream=stream, env=environment
            )
        for unit, place in missing.items():
            written = draft / "tree" / f"{prefix}{unit}"
            if written.exists() and not place.exists():
                with contextlib.suppress(FileExistsError):  # another farm was faster
                    written.rename(place)


def _touched(repository: git.Repo, head: str, prefix: str, memory: Memory) -> Mapping[str, str]:
    """By one walk of the history, or of what is new since the last walk."""
    before, known = memory.walked(prefix)
    if before == head:
        return known
    incremental = bool(before) and _is_ancestor(repository, before, head)
    # Merges are listed with -c: what was settled in the merge itself belongs to it.
    with _git_answers():
        text = repository.git.log(
            "--format=%x01%H", "--name-only", "-z", "-c", "--no-renames", "--root",
            f"{before}..{head}" if incremental else head, "--", f":(top){prefix}",
        )  # fmt: skip
    new: dict[str, str] = {}
    for part in text.split("\x01")[1:]:
        commit, *names = part.split("\0")
        for name in names:
            path = name.lstrip("\n")
            if path.startswith(prefix) and path:
                inside = path[len(prefix) :]
                for directory in directories(inside) or (inside,):
                    new.setdefault(directory, commit)
    touched = {**known, **new} if incremental else new
    memory.walked_to(prefix, head, touched)
    return touched


def _is_ancestor(repository: git.Repo, older: str, newer: str) -> bool:
    try:
        repository.git.merge_base("--is-ancestor", older, newer)
    except git.GitCommandError:
        return False  # rewritten, or gone
    return True


def _repository(specs: Path) -> git.Repo | None:
    if not specs.is_dir():
        raise LayerError(
            f"the directory of recipes {specs} does not exist",
            hint="Run farm in a clone of the layer, or set paths.specs in farm.toml.",
        )
    try:
        repository = git.Repo(specs, search_parent_directories=True)
    except (git.InvalidGitRepositoryError, git.NoSuchPathError):
        return None
    # Reading must not take locks that a contributor's own git waits for.
    repository.git.update_environment(GIT_OPTIONAL_LOCKS="0", LC_ALL="C")
    return None if repository.bare else repository


def _commit(repository: git.Repo, revision: str) -> str:
    try:
        return str(repository.commit(revision).hexsha)
    except (git.BadName, git.GitCommandError, ValueError, IndexError) as error:
        raise UsageError(
            f"the layer has no commit {revision!r}", why=str(error), hint="`git log` lists them."
        ) from error


def _prefix(repository: git.Repo, specs: Path) -> str:
    top = Path(repository.working_tree_dir or ".").resolve()
    inside = specs.resolve().relative_to(top).as_posix()
    return "" if inside == "." else f"{inside}/"


def _records(text: str) -> list[str]:
    return [record for record in text.split("\0") if record]


def _entry(specs: Path, path: str, changed: bool, mode: str = "") -> Entry:
    file = specs / path
    bits = file.lstat().st_mode
    kind = _KINDS.get(mode, "file")
    if stat.S_ISLNK(bits):
        kind = "symlink"
    elif stat.S_ISDIR(bits):
        kind = "submodule"
    return Entry(path, file, bool(bits & stat.S_IXUSR), kind, changed)


def _plain(specs: Path, note: str) -> Tree:
    paths: list[str] = []
    for directory, below, files in os.walk(specs):
        below[:] = [name for name in below if name != ".git"]
        inside = Path(directory).relative_to(specs)
        paths += [(inside / name).as_posix() for name in files]
    entries = tuple(_entry(specs, path, changed=True) for path in sorted(paths))
    return Tree("", entries, {}, notes=(note,))


@contextlib.contextmanager
def _git_answers() -> Iterator[None]:
    """git's refusals as a LayerError."""
    try:
        yield
    except git.GitCommandError as error:
        text = str(error.stderr).strip().removeprefix("stderr: ").strip("' \n")
        hint = ""
        if "dubious ownership" in text:
            hint = "Run farm as the user who owns the clone, or let git trust it as it says."
        raise LayerError("git cannot read the layer", why=text, hint=hint) from error
    except git.GitCommandNotFound as error:
        raise LayerError(
            "git is not installed", hint="`farm doctor` lists what is missing."
        ) from error

"""Native tools over a foreign root: the shell, make and the compiler run without emulation.

The layer of tools comes from the base distribution. Of the programs in it only those take the
place of the root's own which the root has: a lock decides what is in a build root, not we.
"""

from __future__ import annotations

from pathlib import Path

from farm.errors import MachineError, StateError
from farm.model import Noun, from_json
from farm.sandbox import Bind, host_tool

NATIVE = "native:"  # before the name of a package of native tools in a result's record


class ToolsManifest(Noun, frozen=True, forbid_unknown_fields=False):
    """What a layer of native tools says of itself; paths below its `tree`, no leading slash.

    `replaces` are programs that take the place of the root's own; `support` (their loader,
    libraries and parts) is laid over every root.
    """

    replaces: tuple[str, ...]
    support: tuple[str, ...]


def manifest(tools: Path) -> ToolsManifest:
    """Of a directory of native tools. Raises MachineError when there is none."""
    path = tools / "manifest.json"
    try:
        return from_json(ToolsManifest, path.read_bytes(), where=str(path))
    except (OSError, StateError) as error:
        raise MachineError(
            f"the native tools in {tools} cannot be used",
            why=str(error),
            hint="Make them (`farm base build`), or set build.native_tools = false.",
        ) from error


class ToolsPackage(Noun, frozen=True, forbid_unknown_fields=False):
    """A package that something of a layer of native tools comes from."""

    name: str
    version: str
    sha256: str


def record(tools: Path) -> tuple[tuple[str, str], ...]:
    """Each package of a layer with its checksum, as it is recorded beside a result.

    Raises MachineError when the layer does not say what it was made of.
    """
    path = tools / "packages.json"
    try:
        text = path.read_bytes()
        found = from_json(tuple[ToolsPackage, ...], text, where=str(path))
    except (OSError, StateError) as error:
        raise MachineError(
            f"the native tools in {tools} do not say what they were made of",
            why=str(error),
            hint="Make them anew (`farm base build`), or set build.native_tools = false.",
        ) from error
    return tuple((f"{NATIVE}{package.name} {package.version}", package.sha256) for package in found)


def are_in(directory: Path) -> bool:
    """Whether there are native tools in a directory."""
    return (directory / "manifest.json").is_file()


def copy(tools: Path, tree: Path) -> None:
    """Copy the tools to where roots are kept, owned as the sandbox sees it."""
    host_tool(
        ["cp", "-a", "--no-preserve=ownership", "/tools/.", "/r/"],
        binds=(Bind(tools.resolve() / "tree", "/tools"), Bind(tree, "/r", writable=True)),
    )


def chosen(tools: ToolsManifest, roots: tuple[Path, ...]) -> tuple[str, ...]:
    """What a root of the layers `roots` (topmost first) is given."""
    return tuple(name for name in tools.replaces if has(roots, name)) + tools.support


def select(names: tuple[str, ...], pool: Path, tree: Path) -> None:
    """Hard links in `tree` to what is `chosen` of the tools in `pool`."""
    # Hard links want one mount: the directory of roots, in which both lie.
    together = pool.parent.parent
    source, target = pool.relative_to(together), tree.relative_to(together)
    host_tool(
        ["sh", "-c", f"cd /r/{source} && xargs -0 cp -al --parents -t /r/{target} --"],
        binds=(Bind(together, "/r", writable=True),),
        input="\0".join(names),
    )


def has(layers: tuple[Path, ...], name: str) -> bool:
    """Whether the merged tree has that path, a whiteout in an upper layer heeded."""
    for layer in layers:
        path = layer / name
        try:
            found = path.lstat()
        except OSError:
            continue
        return not (found.st_rdev == 0 and (found.st_mode & 0o170000) == 0o020000)
    return False

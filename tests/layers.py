"""Throw-away layers for tests: a farm.toml's directory with recipes, in git or not."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path

import git

from farm.config import Config, Paths, Sources

NOW = datetime.datetime(2026, 11, 20, 12, tzinfo=datetime.UTC)
_PERSON = git.Actor("A. Packager", "packager@example.org")


def spec_text(
    name: str,
    *,
    version: str = "1.0",
    release: str = "1%{?dist}",
    date: str = "Mon Jan 05 2026",
    tags: str = "",
) -> str:
    """A spec that a recipe's directory can hold; `tags` are further lines of its preamble."""
    changelog = f"* {date} A. Packager <packager@example.org> - {version}-1\n- New.\n"
    return (
        f"Name: {name}\nVersion: {version}\nRelease: {release}\nSummary: The package {name}\n"
        f"License: MIT\n{tags}\n%description\nMade for a test.\n\n%files\n\n%changelog\n"
        + (changelog if date else "")
    )


class LayerOf:
    """A layer below a temporary directory; `write` and `commit` are what a contributor does."""

    def __init__(self, root: Path, *, in_git: bool = True, sources: Sources | None = None) -> None:
        self.config = Config(
            root=root.resolve(),
            paths=Paths(state="../state", cache="../cache"),
            sources=sources or Sources(origins=("lookaside",)),
        )
        self.specs = root / "specs"
        self.specs.mkdir(parents=True)
        self.repository = git.Repo.init(root, initial_branch="main") if in_git else None

    def write(self, files: Mapping[str, str | bytes], *, executable: bool = False) -> None:
        """Files below specs/."""
        for path, content in files.items():
            target = self.specs / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.encode() if isinstance(content, str) else content)
            target.chmod(0o755 if executable else 0o644)

    def commit(self, message: str = "A change") -> str:
        """Everything that git does not ignore; returns the commit."""
        assert self.repository is not None
        self.repository.git.add("--all")
        return self.repository.index.commit(message, author=_PERSON, committer=_PERSON).hexsha


def owned_by(group: str) -> dict[str, str]:
    """An OWNERS file that gives everything to one group."""
    return {"OWNERS": f"*  {group}\n"}


def group_text(group: str, packages: list[str], version: str = "1.0", extra: str = "") -> str:
    """One group of a groups.toml."""
    return (
        f'[[group]]\nid = "{group}"\nname = "The group {group}"\ndescription = "For a test."\n'
        f'version = "{version}"\npackages = {json.dumps(packages)}\n{extra}\n'
        'changelog = [{ date = 2026-01-05, author = "A <a@example.org>", text = "First." }]\n'
    )

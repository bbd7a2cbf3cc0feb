"""What a file of the layer was at an earlier commit."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import git


def earlier_bytes(specs: Path, commit: str, path: str, sha256: str) -> bytes | None:
    """The file `path` (below the layer's directory) at a commit, None when git does not have it
    there with that checksum."""
    with contextlib.suppress(git.exc.GitError, ValueError, KeyError, OSError):
        repository = git.Repo(specs, search_parent_directories=True)
        top = Path(repository.working_dir).resolve()
        where = (specs.resolve() / path).relative_to(top)
        blob = repository.commit(commit).tree / where.as_posix()
        content: bytes = blob.data_stream.read()
        if hashlib.sha256(content).hexdigest() == sha256:
            return content
    return None


def head(specs: Path) -> str:
    """The commit that the layer in a directory is at, "" where it is in none."""
    with contextlib.suppress(git.exc.GitError, ValueError, OSError):
        return str(git.Repo(specs, search_parent_directories=True).head.commit.hexsha)
    return ""

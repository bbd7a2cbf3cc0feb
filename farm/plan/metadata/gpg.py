"""Signatures of base repositories: of repomd.xml by gpg, of packages by rpmkeys."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from farm.errors import RepositoryError
from farm.gpg import KeyUnreadable, PublicKeys, public_keys
from farm.model import Repository
from farm.plan.metadata.transfer import TransferError, fetch

_LARGEST_KEY = 4 << 20


def signed_by(repository: Repository, file: Path, signature: Path) -> str:
    """Why the detached `signature` of `file` is not by a key of the repository, or "".

    Raises RepositoryError when a key cannot be had.
    """
    with _keys(repository) as (keys, _):
        try:
            found = keys.signature(file, signature)
        except KeyUnreadable as error:
            return f"the keys cannot be read: {error}"
        return (found.why or "no valid signature") if found.fault else ""


def unsigned_packages(repository: Repository, files: Sequence[Path]) -> dict[Path, str]:
    """The packages that no key of the repository has signed, each with rpm's words.

    Raises RepositoryError when a key cannot be had or read.
    """
    with _keys(repository) as (keys, addresses):
        try:
            return keys.refused(files)
        except KeyUnreadable as error:
            raise RepositoryError(
                f"a signing key of repository {repository.id!r} cannot be read",
                why=f"{addresses[error.file]}: {error}",
            ) from error


@contextlib.contextmanager
def _keys(repository: Repository) -> Iterator[tuple[PublicKeys, dict[Path, str]]]:
    """The repository's keys, and which file came from which address."""
    if not repository.gpgkeys:
        raise RepositoryError(
            f"repository {repository.id!r} is to be checked, but names no gpgkey",
            hint="Add gpgkey= to it in the chroot file.",
        )
    with tempfile.TemporaryDirectory(prefix="farm-keys-") as name:
        addresses = {}
        for number, address in enumerate(repository.gpgkeys):
            key = Path(name) / f"key-{number}"
            try:
                fetch(address, key, limit=_LARGEST_KEY, sslverify=repository.sslverify)
            except TransferError as error:
                raise RepositoryError(
                    f"a signing key of repository {repository.id!r} cannot be had",
                    why=f"{address}: {error}",
                    hint="The distributions' keys are in the package distribution-gpg-keys."
                    if "distribution-gpg-keys" in address
                    else "",
                ) from error
            addresses[key] = address
        with public_keys(list(addresses)) as keys:
            yield keys, addresses

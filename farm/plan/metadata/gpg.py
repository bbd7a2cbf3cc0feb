"""Signatures of base repositories: of repomd.xml by gpg, of packages by rpmkeys."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from farm.errors import RepositoryError
from farm.model import Repository
from farm.plan.metadata.transfer import TransferError, fetch
from farm.run import run

_LARGEST_KEY = 4 << 20


def signed_by(repository: Repository, file: Path, signature: Path) -> str:
    """Why the detached `signature` of `file` is not by a key of the repository, or "".

    Raises RepositoryError when a key cannot be had.
    """
    with tempfile.TemporaryDirectory(prefix="farm-gpg-") as home:
        keys = _keys(repository, Path(home))
        gpg = ("gpg", "--homedir", home, "--batch", "--quiet", "--no-autostart")
        imported = run((*gpg, "--import", *keys), check=False)
        if not imported.ok:
            return f"the keys cannot be read: {_last(imported.stderr)}"
        done = run((*gpg, "--status-fd", "1", "--verify", signature, file), check=False)
        if done.ok and "[GNUPG:] VALIDSIG" in done.stdout:
            return ""
        return _last(done.stderr) or "no valid signature"


def unsigned_packages(repository: Repository, files: Sequence[Path]) -> dict[Path, str]:
    """The packages that no key of the repository has signed, each with rpm's words.

    Raises RepositoryError when a key cannot be had or read.
    """
    with tempfile.TemporaryDirectory(prefix="farm-rpmkeys-") as home:
        keys = _keys(repository, Path(home))
        database = Path(home) / "db"
        database.mkdir()
        rpmkeys = ("rpmkeys", "--dbpath", str(database))
        for key, address in zip(keys, repository.gpgkeys, strict=True):
            imported = run((*rpmkeys, "--import", key), check=False)
            if not imported.ok:
                raise RepositoryError(
                    f"a signing key of repository {repository.id!r} cannot be read",
                    why=f"{address}: {_last(imported.stderr).replace(str(key), 'it')}",
                )
        # Level `signature`: a package without any signature is not good enough.
        check = (*rpmkeys, "--define", "_pkgverify_level signature", "--checksig")
        if run((*check, *files), check=False).ok:
            return {}
        bad = {}
        for file in files:
            done = run((*check, "--verbose", file), check=False)
            if not done.ok:
                bad[file] = (done.stdout + done.stderr).strip()
        return bad


def _keys(repository: Repository, directory: Path) -> list[Path]:
    if not repository.gpgkeys:
        raise RepositoryError(
            f"repository {repository.id!r} is to be checked, but names no gpgkey",
            hint="Add gpgkey= to it in the chroot file.",
        )
    keys = []
    for number, address in enumerate(repository.gpgkeys):
        key = directory / f"key-{number}"
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
        keys.append(key)
    return keys


def _last(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].removeprefix("gpg: ") if lines else ""

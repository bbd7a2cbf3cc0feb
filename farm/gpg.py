"""Who signed a file, with which of the given keys: of files by gpg, of packages by rpmkeys.

Key ring and rpm database are made for the purpose and hold the given keys alone, whatever this
machine and its user trust.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from farm.errors import MachineError
from farm.run import Completed, run

_AT_A_TIME = 500  # packages for one rpmkeys
_ROOM = 1 << 20  # bytes that rpm's and gpg's databases may still need
_SECONDS = 600  # for any one call; many packages are judged at once
_NOISE = re.compile(r"^(?:gpg|rpmkeys|error): ")

Fault = Literal["", "other bytes", "unknown key", "expired", "revoked", "no signature"]


class KeyUnreadable(Exception):
    """A file that holds no public key that can be used; the message says why, without its name."""

    def __init__(self, file: Path, why: str) -> None:
        super().__init__(why)
        self.file = file


@dataclass(frozen=True)
class PublicKey:
    """A key by its full fingerprint. `expires` is in seconds since 1970, 0 for never."""

    fingerprint: str
    user_ids: tuple[str, ...] = ()
    expires: int = 0
    revoked: bool = False


@dataclass(frozen=True)
class Signature:
    """What gpg says of a detached signature. It is good when `fault` is "".

    `signer` is the fingerprint of the primary key, or as much as the signature itself says of a
    key that is not among the given ones. `at` is when it says it was made (seconds since 1970).
    `why` has gpg's own words.
    """

    fault: Fault
    signer: str = ""
    at: int = 0
    why: str = ""


class PublicKeys:
    """The given keys and nothing else; made by `public_keys`."""

    def __init__(self, home: Path, files: Sequence[Path]) -> None:
        self._home = home
        self._files = tuple(files)

    @cached_property
    def keys(self) -> tuple[PublicKey, ...]:
        """Every key, in the order of the files. Raises KeyUnreadable."""
        for file in self._files:
            self._import(file)
        return tuple(_listed(self._gpg("--with-colons", "--list-keys").stdout))

    def signature(self, file: Path, signature: Path) -> Signature:
        """Judge a detached `signature` (armoured or binary) of `file`.

        Raises KeyUnreadable, and MachineError where this machine cannot judge.
        """
        if not self.keys:
            return Signature("unknown key", why="there is no key to check it with")
        done = self._gpg("--status-fd", "1", "--verify", signature, file)
        found = _judged(done.stdout, _last(done.stderr), done.ok)
        if found.fault:
            self._hold_against_machine(done)
        return found

    def signature_over(self, content: bytes, signature: bytes) -> Signature:
        """As `signature`, of bytes. Raises KeyUnreadable."""
        with tempfile.TemporaryDirectory(dir=self._home) as name:
            (Path(name) / "content").write_bytes(content)
            (Path(name) / "signature").write_bytes(signature)
            return self.signature(Path(name) / "content", Path(name) / "signature")

    def refused(self, packages: Sequence[Path]) -> dict[Path, str]:
        """The packages that rpm does not find whole and signed with one of the keys.

        Each with rpm's own words. Raises KeyUnreadable for a key that rpm does not take, and
        MachineError where this machine cannot judge.
        """
        # Level `signature`: a package without any signature is not good enough.
        check = (*self._rpmkeys, "--define", "_pkgverify_level signature", "--checksig")
        bad = {}
        for start in range(0, len(packages), _AT_A_TIME):
            some = packages[start : start + _AT_A_TIME]
            if run((*check, *some), check=False, timeout=_SECONDS).ok:
                continue
            for package in some:
                done = run((*check, "--verbose", package), check=False, timeout=_SECONDS)
                if not done.ok:
                    self._hold_against_machine(done)
                    bad[package] = (done.stdout + done.stderr).strip()
        return bad

    @cached_property
    def _rpmkeys(self) -> tuple[str, ...]:
        """rpmkeys on a database of these keys."""
        database = self._home / "rpmdb"
        database.mkdir()
        rpmkeys = (
            "rpmkeys",
            "--define", f"_dbpath {database}",
            "--define", f"_keyringpath {database}/pubkeys/",
        )  # fmt: skip
        for file in self._files:
            done = run((*rpmkeys, "--import", file), check=False, timeout=_SECONDS)
            if not done.ok:
                self._hold_against_machine(done)
                raise KeyUnreadable(file, _last(done.stderr).replace(str(file), "it"))
        return rpmkeys

    def _import(self, file: Path) -> None:
        done = self._gpg("--import", file)
        if not done.ok:
            self._hold_against_machine(done)
            raise KeyUnreadable(file, _last(done.stderr).replace(str(file), "it"))

    def _hold_against_machine(self, done: Completed) -> None:
        """What was not found good on a machine without room, or by a program that was ended, was
        not judged at all. Raises MachineError then."""
        if done.code < 0 or done.reason:
            raise MachineError(
                f"{done.argv[0]} was ended before it had judged a signature",
                why=_last(done.stderr) or done.reason or f"signal {-done.code}",
                hint="Run the same command again.",
            )
        try:
            with tempfile.TemporaryFile(dir=self._home) as probe:
                os.posix_fallocate(probe.fileno(), 0, _ROOM)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                return  # a file system that reserves nothing
            raise MachineError(
                f"signatures cannot be judged: {os.strerror(error.errno)}",
                why=f"{self._home}: {_last(done.stderr)}".rstrip(": "),
                hint="Free some space, or have TMPDIR name a directory that has more.",
            ) from error

    def _gpg(self, *arguments: str | Path) -> Completed:
        words = (
            "gpg", "--homedir", str(self._home), "--batch", "--no-tty", "--quiet",
            "--no-autostart", "--trust-model", "always", "--no-auto-check-trustdb",
            "--no-auto-key-retrieve", "--weak-digest", "SHA1",
        )  # fmt: skip
        return run((*words, *arguments), check=False, timeout=_SECONDS)


@contextlib.contextmanager
def public_keys(files: Sequence[Path]) -> Iterator[PublicKeys]:
    """The keys of these files (armoured or binary), to judge with until the block ends."""
    with tempfile.TemporaryDirectory(prefix="farm-gpg-") as home:
        yield PublicKeys(Path(home), files)


_FAULTS: dict[str, Fault] = {
    "BADSIG": "other bytes", "EXPKEYSIG": "expired", "EXPSIG": "expired", "REVKEYSIG": "revoked",
    "ERRSIG": "unknown key",
}  # fmt: skip


def _judged(status: str, words: str, ok: bool) -> Signature:
    """gpg's status lines (https://github.com/gpg/gnupg/blob/master/doc/DETAILS) as one verdict.

    A file may hold several signatures: it counts only when it holds one, and that is good.
    """
    lines = [line.split()[1:] for line in status.splitlines() if line.startswith("[GNUPG:] ")]
    told = [line for line in lines if line and (line[0] in _FAULTS or line[0] == "GOODSIG")]
    valid = [line for line in lines if line and line[0] == "VALIDSIG" and len(line) > 10]
    if len(told) != 1:
        return Signature("no signature", why=f"it holds {len(told)} signatures" if told else words)
    kind, number = told[0][0], told[0][1] if len(told[0]) > 1 else ""
    fault = _FAULTS.get(kind, "")
    if len(valid) == 1:
        number, at = valid[0][-1], int(valid[0][3]) if valid[0][3].isdecimal() else 0
    else:
        at = 0
        if kind == "ERRSIG" and len(told[0]) > 7 and re.fullmatch(r"[0-9A-F]{40,64}", told[0][7]):
            number = told[0][7]
    if not fault and (not ok or len(valid) != 1):
        return Signature("no signature", number, why=words)
    return Signature(fault, number, at, words)


def _listed(listing: str) -> Iterator[PublicKey]:
    for block in re.split(r"^(?=pub:)", listing, flags=re.MULTILINE):
        rows = [line.split(":") for line in block.splitlines()]
        if not rows or rows[0][0] != "pub":
            continue
        head = rows[0] + [""] * 12
        yield PublicKey(
            fingerprint=next((row[9] for row in rows if row[0] == "fpr"), head[4]),
            user_ids=tuple(row[9] for row in rows if row[0] == "uid" and len(row) > 9),
            expires=int(head[6]) if head[6].isdecimal() else 0,
            revoked=head[1] == "r",
        )


def _last(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return _NOISE.sub("", lines[-1]) if lines else ""

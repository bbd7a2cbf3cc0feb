"""The signing keys: a GnuPG key ring of farm's own below the state directory.

A ring is open for one block at a time. Opening takes a lock, because the agent that holds the
secret keys meanwhile is ended with the block; nothing of farm's stays running.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from farm.errors import KeyMissing, MachineError, PublishError, UsageError
from farm.run import Arg, Completed, run

DEMO_FINGERPRINT = "96FCF0F29635BE0B1F850C4F2C58AA3F7B09ABB5"

# RSA, because that is what every rpm from EL8's 4.14 to the newest verifies.
_ALGORITHM = "rsa4096"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LONGEST_SOCKET_PATH = 107


@dataclass(frozen=True)
class Key:
    """A secret key in the ring. `created` and `expires` are seconds since 1970 (0: never)."""

    fingerprint: str
    user_ids: tuple[str, ...]
    created: int
    expires: int
    algorithm: str
    revoked: bool = False
    signs_itself: bool = True  # False: only a subkey can sign
    complete: bool = True  # False: the secret half is kept elsewhere (a card, offline)

    @property
    def name(self) -> str:
        """The first user id without comment and address."""
        return _plain_name(self.user_ids[0]) if self.user_ids else self.fingerprint

    @property
    def is_demo(self) -> bool:
        return self.fingerprint == DEMO_FINGERPRINT

    @property
    def user(self) -> str:
        """How gpg is told to sign with this very key."""
        return f"{self.fingerprint}!" if self.signs_itself else self.fingerprint

    def answers_to(self, wanted: str) -> bool:
        """Whether `wanted` is its name, a user id, an address in one, or its fingerprint."""
        word = wanted.strip()
        number = word.upper().removeprefix("0X").replace(" ", "")
        if re.fullmatch(r"[0-9A-F]{16,40}", number) and self.fingerprint.endswith(number):
            return True
        return any(
            word in (user_id, _plain_name(user_id), *re.findall(r"<([^>]+)>", user_id))
            for user_id in self.user_ids
        )

    def unusable_because(self, now: float) -> str:
        """Why it cannot sign now, "" when it can."""
        if self.revoked:
            return "it has been revoked"
        if self.expires and self.expires <= now:
            return f"it expired on {time.strftime('%Y-%m-%d', time.gmtime(self.expires))}"
        if not self.complete:
            return "its secret half is not in the ring"
        return ""


@contextlib.contextmanager
def key_ring(state: Path) -> Iterator[KeyRing]:
    """Farm's key ring, ours alone until the block ends; waits for another farm that has it."""
    directory = state / "keys" / "gnupg"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory.chmod(0o700)
    lock = os.open(state / "keys" / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _clear(lock, directory)
        with _short_directory() as scratch:
            os.pwrite(lock, os.fsencode(scratch), 0)
            home = scratch / "k"
            home.symlink_to(directory.resolve())
            ring = KeyRing(home, scratch)
            try:
                yield ring
            finally:
                ring.end_agent()
        os.ftruncate(lock, 0)
    finally:
        os.close(lock)


def _clear(lock: int, directory: Path) -> None:
    """End the agent of a farm that was killed, and remove the directory it left."""
    left = Path(os.fsdecode(os.pread(lock, 4096, 0)))
    os.ftruncate(lock, 0)
    if left.name.startswith("farm-") and (left / "k").is_symlink():
        if any(directory.glob("S.gpg-agent*")):
            KeyRing(left / "k", left).end_agent()
        shutil.rmtree(left, ignore_errors=True)


class KeyRing:
    """An open key ring; made by `key_ring`."""

    def __init__(self, home: Path, scratch: Path) -> None:
        self._home = home
        self.scratch = scratch  # private, gone when the ring is closed

    @property
    def environment(self) -> Mapping[str, str]:
        """What a program needs to use this ring, and none of the user's own settings."""
        return {"GNUPGHOME": str(self._home), "HOME": str(self.scratch)}

    def keys(self) -> tuple[Key, ...]:
        """All secret keys, by name."""
        listing = self.gpg("--list-secret-keys").stdout
        return tuple(sorted(parse_listing(listing), key=lambda key: (key.name, key.fingerprint)))

    def new(self, name: str) -> Key:
        """Make a key without a passphrase. Raises UsageError for a bad or taken name."""
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} cannot be the name of a key",
                hint="Use letters, digits, dots, dashes and underscores, for instance 'cluster'.",
            )
        if any(key.answers_to(name) for key in self.keys()):
            raise UsageError(
                f"the key ring already has a key called {name}",
                hint="Choose another name; `farm key list` shows all.",
            )
        before = {key.fingerprint for key in self.keys()}
        self.gpg(
            "--pinentry-mode", "loopback", "--passphrase", "",
            "--quick-generate-key", name, _ALGORITHM, "sign", "never",
        )  # fmt: skip
        return next(key for key in self.keys() if key.fingerprint not in before)

    def import_file(self, path: Path) -> tuple[Key, ...]:
        """Take in the secret keys of a file, armored or not.

        Raises UsageError when the file is not there, and PublishError when it holds none.
        """
        if not path.is_file():
            raise UsageError(f"{path} is not a file")
        shown = self.gpg("--import-options", "show-only", "--import", path, check=False)
        inside = tuple(parse_listing(shown.stdout, complete=True))
        if not inside:
            public = any(line.startswith("pub:") for line in shown.stdout.splitlines())
            raise PublishError(
                f"{path} holds no secret key",
                why="It holds a public key only."
                if public
                else "GnuPG finds no OpenPGP key in it.",
                hint="Export the secret key where it is: `gpg --armor --export-secret-keys NAME`.",
            )
        self.gpg("--import", path)
        fingerprints = {key.fingerprint for key in inside}
        return tuple(key for key in self.keys() if key.fingerprint in fingerprints)

    def find(self, name: str) -> Key:
        """The one key that answers to `name`, fit to sign.

        Raises KeyMissing when there is none, PublishError when it is not fit or not the only one.
        """
        every = self.keys()
        found = [key for key in every if key.answers_to(name)]
        if not found:
            raise KeyMissing(
                f"the signing key {name!r} is not in farm's key ring",
                why=f"The ring holds: {', '.join(key.name for key in every) or 'no key at all'}.",
                hint=f"`farm key new {name}` makes one, `farm key import FILE` takes one in"
                + (" (ci/demo-key/farm-demo.asc, for trying)" if name == "farm-demo" else "")
                + ";\nanother name is chosen with publish.key in farm.toml.",
            )
        if len(found) > 1:
            raise PublishError(
                f"{len(found)} keys answer to {name!r}",
                why="\n".join(f"{key.fingerprint}  {key.user_ids[0]}" for key in found),
                hint="Name one by its fingerprint in publish.key.",
            )
        reason = found[0].unusable_because(time.time())
        if reason:
            raise PublishError(
                f"the key {name!r} cannot sign: {reason}",
                hint="`farm key import FILE` takes in a renewed one, `farm key new` makes another.",
            )
        return found[0]

    def public(self, key: Key) -> str:
        """Its public half, armored: the same text every time."""
        return self.gpg(
            "--armor", "--export-options", "export-minimal", "--export", key.fingerprint
        ).stdout

    def sign_detached(self, path: Path, key: Key, *, at: int) -> str:
        """An armored signature of a file, dated `at` (seconds since 1970), as text."""
        return self._sign(path, key, at, "--armor", "--output", "-").stdout

    def sign_bytes(self, content: bytes, key: Key, *, at: int) -> bytes:
        """A binary signature of `content`, dated `at`. Several threads may ask at a time."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as name:
            path, signature = Path(name) / "content", Path(name) / "signature"
            path.write_bytes(content)
            self._sign(path, key, at, "--output", signature)
            return signature.read_bytes()

    def verify_detached(self, signature: Path, path: Path, key: Key) -> None:
        """Raises PublishError unless `signature` is this key's good signature of `path`."""
        complaint = self._complaint(signature, path, key)
        if complaint:
            raise PublishError(f"the signature of {path.name} is not good", why=complaint)

    def verify_bytes(self, signature: bytes, content: bytes, key: Key, what: str) -> None:
        """Raises PublishError unless it is this key's good signature of `content`."""
        complaint = self._complaint_of_bytes(signature, content, key)
        if complaint:
            raise PublishError(f"the signature of {what} is not good", why=complaint)

    def is_signed_by(self, key: Key, signature: bytes, content: bytes) -> bool:
        """Whether it is this key's good signature of `content`."""
        return not self._complaint_of_bytes(signature, content, key)

    def _sign(self, path: Path, key: Key, at: int, *options: Arg) -> Completed:
        done = self.gpg(
            *signing_options(max(at, key.created)),
            "--local-user", key.user, *options, "--detach-sign", path,
            check=False,
        )  # fmt: skip
        if not done.ok:
            raise PublishError(
                f"the key {key.name!r} could not sign {path.name}",
                why=done.stderr.strip(),
                hint=passphrase_hint(done.stderr),
            )
        return done

    def _complaint_of_bytes(self, signature: bytes, content: bytes, key: Key) -> str:
        with tempfile.TemporaryDirectory(dir=self.scratch) as name:
            path, signed = Path(name) / "signature", Path(name) / "content"
            path.write_bytes(signature)
            signed.write_bytes(content)
            return self._complaint(path, signed, key)

    def _complaint(self, signature: Path, path: Path, key: Key) -> str:
        """Why it is not this key's good signature, "" when it is."""
        done = self.gpg("--status-fd", "1", "--verify", signature, path, check=False)
        valid = [line.split() for line in done.stdout.splitlines() if " VALIDSIG " in line]
        if done.ok and [words[-1] for words in valid] == [key.fingerprint]:
            return ""
        return done.stderr or done.stdout or "GnuPG finds no signature."

    def gpg(self, *arguments: Arg, check: bool = True) -> Completed:
        """Run gpg on this ring."""
        words: Sequence[Arg] = (
            "gpg", "--batch", "--no-tty", "--quiet", "--with-colons", "--no-auto-check-trustdb",
            "--trust-model", "always", *arguments,
        )  # fmt: skip
        return run(words, env=self.environment, check=check)

    def end_agent(self) -> None:
        """End the agent that GnuPG started for this ring."""
        with contextlib.suppress(MachineError):
            run(["gpgconf", "--kill", "all"], env=self.environment, check=False, timeout=20)


def signing_options(at: int) -> tuple[str, ...]:
    """Options that make a signature depend on nothing but key, content and this time."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(at))
    return (
        "--batch", "--no-tty", "--quiet", "--pinentry-mode", "error",
        "--digest-algo", "sha256", "--faked-system-time", f"{stamp}!",
    )  # fmt: skip


def passphrase_hint(complaint: str) -> str:
    """What to do when a complaint of GnuPG means that the key is locked."""
    if any(word in complaint for word in ("pinentry", "passphrase", "ioctl")):
        return (
            "The key seems to have a passphrase, and there is nobody to ask for it while farm "
            "publishes.\nExport it without one for farm's own ring, or make one with "
            "`farm key new`."
        )
    return "Nothing was published."


def parse_listing(listing: str, *, complete: bool = False) -> Iterator[Key]:
    """Secret keys of a `gpg --with-colons` listing; `complete`: the secret half is known there."""
    for block in re.split(r"^(?=sec:|pub:)", listing, flags=re.MULTILINE):
        rows = [line.split(":") for line in block.splitlines()]
        if not rows or rows[0][0] != "sec":
            continue
        head = rows[0] + [""] * 16
        fingerprint = next((row[9] for row in rows if row[0] == "fpr"), head[4])
        yield Key(
            fingerprint=fingerprint,
            user_ids=tuple(_unescape(row[9]) for row in rows if row[0] == "uid"),
            created=int(head[5] or 0),
            expires=int(head[6] or 0),
            algorithm=f"{_ALGORITHMS.get(head[3], 'key')}{head[2]}",
            revoked=head[1] == "r",
            signs_itself="s" in head[11],
            complete=complete
            or head[14] != "#"
            or any(r[0] == "ssb" and r[14:15] != ["#"] for r in rows),
        )


_ALGORITHMS = {"1": "rsa", "17": "dsa", "19": "ecdsa", "22": "eddsa"}


def _plain_name(user_id: str) -> str:
    return re.split(r"\s*[(<]", user_id, maxsplit=1)[0].strip() or user_id


def _unescape(field: str) -> str:
    return re.sub(r"\\x([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), field)


@contextlib.contextmanager
def _short_directory() -> Iterator[Path]:
    """A private directory whose path leaves room for the agent's sockets.

    A socket's path may have 107 bytes, and a state directory can lie deeper than that: GnuPG
    is given a short symlink to it and does not resolve it.
    """
    base = tempfile.gettempdir()
    if len(base) + len("/farm-12345678/k/S.gpg-agent.browser") > _LONGEST_SOCKET_PATH:
        base = "/tmp"
    scratch = Path(tempfile.mkdtemp(prefix="farm-", dir=base))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)

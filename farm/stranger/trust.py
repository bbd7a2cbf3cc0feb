"""The key that everything has to be signed with: the one that is named, or the repository's own."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from farm.errors import Refused, Unverifiable, UsageError
from farm.gpg import KeyUnreadable, PublicKey, PublicKeys, public_keys
from farm.plan.metadata.transfer import TransferError, fetch
from farm.stranger.mirror import Mirror, key_addresses, repositories_of
from farm.verify.foreign import LARGEST_KEY, shown


@dataclass(frozen=True)
class Key:
    """The key that everything has to be signed with. `origin` is the file or address that it
    came from; `own`: from the repository itself."""

    keys: PublicKeys
    public: tuple[PublicKey, ...]
    origin: str
    own: bool

    @property
    def fingerprints(self) -> frozenset[str]:
        return frozenset(key.fingerprint for key in self.public)


@contextlib.contextmanager
def trusted_key(mirror: Mirror, file: Path | None) -> Iterator[Key]:
    """The key of `--key`, else the one that the repository offers.

    Raises UsageError for a file that is no key, Unverifiable when the repository has none,
    Refused for keys that have all expired or were revoked.
    """
    with contextlib.ExitStack() as held:
        if file is not None:
            origin, path = str(file), file
        else:
            scratch = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="farm-key-")))
            origin, path = _offered_key(mirror, scratch / "key")
        keys = held.enter_context(public_keys([path]))
        try:
            public = keys.keys
        except (KeyUnreadable, OSError) as error:
            if file is None:
                raise Refused(
                    f"the key of the repository is none: {origin}", why=shown(error)
                ) from error
            raise UsageError(f"{file} holds no public key", why=shown(error)) from error
        now = time.time()
        if all(key.revoked or 0 < key.expires <= now for key in public):
            raise Refused(
                "the key that everything would have to be signed with is not valid any more",
                why="\n".join(_state(key) for key in public),
                hint="Get the maintainers' present key, and name it with --key.",
            )
        yield Key(keys, public, origin, own=file is None)


def _state(key: PublicKey) -> str:
    if key.revoked:
        return f"{key.fingerprint} was revoked"
    return f"{key.fingerprint} expired on {time.strftime('%Y-%m-%d', time.gmtime(key.expires))}"


def _offered_key(mirror: Mirror, target: Path) -> tuple[str, Path]:
    reasons = []
    own = [
        f"{mirror.snapshot}/{name}/repodata/repomd.xml.key"
        for name in repositories_of(mirror.described)
    ]
    for address in (*key_addresses(mirror), *own):
        try:
            fetch(address, target, limit=LARGEST_KEY)
            return address, target
        except TransferError as error:
            reasons.append(f"{address}: {shown(error)}")
    raise Unverifiable(
        f"the repository at {mirror.root} offers no key",
        why="\n".join(reasons[:5]),
        hint="Name the maintainers' key with --key FILE.",
    )

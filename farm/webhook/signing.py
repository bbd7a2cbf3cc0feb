"""Keys and signatures of messages."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from pathlib import Path

from farm.config import Config
from farm.errors import ConfigError

_PREFIX = "whsec_"
_SHORTEST = 24  # bytes of a key, as the scheme wants
_MAKING = (
    "python3 -c 'import base64,os;"
    'print("whsec_"+base64.b64encode(os.urandom(32)).decode())\' > FILE makes one.'
)


def read_keys(config: Config) -> tuple[bytes, ...]:
    """The keys in webhook.secret_file, one a line: messages carry a signature by each, so that
    receivers may change over from one to the next. Raises ConfigError."""
    name = config.webhook.secret_file
    if not name:
        raise ConfigError(
            "webhook.addresses is set, webhook.secret_file is not", hint=f"Set it: {_MAKING}"
        )
    path = config.root / Path(name).expanduser()
    try:
        lines = path.read_text("ascii").split()
    except OSError as error:
        raise ConfigError(
            f"webhook.secret_file {path} cannot be read: {error.strerror}", hint=_MAKING
        ) from error
    except UnicodeDecodeError:
        lines = []
    keys = tuple(map(_decoded, lines))
    if not keys or any(len(key) < _SHORTEST for key in keys):
        raise ConfigError(
            f"webhook.secret_file {path} is not lines of {_PREFIX} and base64, "
            f"{_SHORTEST} bytes or more each",
            hint=_MAKING,
        )
    return keys


def _decoded(line: str) -> bytes:
    try:
        return base64.b64decode(line.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return b""


def signatures(keys: tuple[bytes, ...], identity: str, sent: int, body: bytes) -> str:
    """The header webhook-signature of a message sent at `sent` (seconds since 1970)."""
    text = f"{identity}.{sent}.".encode() + body
    macs = (hmac.new(key, text, hashlib.sha256).digest() for key in keys)
    return " ".join(f"v1,{base64.b64encode(mac).decode()}" for mac in macs)

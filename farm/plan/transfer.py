"""Files from an address: `file://`, `http://` or `https://`, with retries and a limit of size."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote, urlsplit

_CHUNK = 1 << 18
_PAUSES = (0.5, 2.0)  # seconds before the second and third try
_TIMEOUT = 30.0  # seconds without a byte
_AGENT = "farm"


class TransferError(Exception):
    """An address that did not give its file; the message says why, without the address."""


def fetch(address: str, target: Path, *, limit: int = 1 << 31, sslverify: bool = True) -> None:
    """Write what `address` holds to `target`, at most `limit` bytes.

    What may pass by itself (a time-out, a server's error) is tried three times; what is final
    (no such file, refused) is not. Raises TransferError.
    """
    path = local_path(address)
    if path is not None:
        try:
            shutil.copyfile(path, target)
        except OSError as error:
            raise TransferError(error.strerror or str(error)) from error
        return
    for pause in (*_PAUSES, None):
        try:
            _download(address, target, limit, sslverify)
            return
        except _Passing as error:
            if pause is None:
                raise TransferError(str(error)) from error
            time.sleep(pause)


def local_path(address: str) -> Path | None:
    """The path of a `file://` address; None for the network's."""
    parts = urlsplit(address)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def join(base: str, href: str) -> str:
    """The address of `href` (a plain path, or an address of its own) below `base`."""
    if "://" in href:
        return href
    return f"{base.rstrip('/')}/{quote(href, safe='/+~^@=,:!$()')}"


class _Passing(Exception):
    """A failure that may be gone at the next try."""


def _download(address: str, target: Path, limit: int, sslverify: bool) -> None:
    try:
        request = urllib.request.Request(address, headers={"User-Agent": _AGENT})
        if request.type not in ("http", "https"):
            raise TransferError(f"farm does not speak {request.type}://")
        context = None if sslverify or request.type != "https" else _unverified()
        with (
            urllib.request.urlopen(request, timeout=_TIMEOUT, context=context) as answer,
            target.open("wb") as file,
        ):
            _copy(answer, file, limit)
    except urllib.error.HTTPError as error:
        with contextlib.closing(error):
            text = f"HTTP {error.code} {error.reason}"
        if error.code in (408, 425, 429) or error.code >= 500:
            raise _Passing(text) from error
        raise TransferError(text) from error
    except urllib.error.URLError as error:
        reason = error.reason
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise TransferError(f"TLS: {reason.verify_message}") from error
        raise _Passing(str(reason)) from error
    except (ValueError, http.client.InvalidURL) as error:
        raise TransferError(f"not an address: {error}") from error
    except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise _Passing(str(error) or type(error).__name__) from error


def _copy(answer: Any, file: IO[bytes], limit: int) -> None:
    announced = answer.headers.get("Content-Length")
    total = 0
    while chunk := answer.read(_CHUNK):
        total += len(chunk)
        if total > limit:
            raise TransferError(f"it is larger than the {limit} bytes that were announced")
        file.write(chunk)
    if announced is not None and announced.isdigit() and total < int(announced):
        raise _Passing(f"the connection ended after {total} of {announced} bytes")


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context

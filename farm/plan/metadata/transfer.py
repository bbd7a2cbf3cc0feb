"""Files from an address: `file://`, `http://` or `https://`, with retries and a limit of size."""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import shutil
import ssl
import stat
import time
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit

from farm.errors import MachineError
from farm.plan.metadata.pins import local_path

_CHUNK = 1 << 18
_PAUSES = (0.5, 2.0)  # seconds before the second and third try
_TIMEOUT = 30.0  # seconds without a byte
_PATIENCE = 60.0  # seconds from which on a slow server is given up
_SLOWEST = 1000  # bytes per second
_AGENT = "farm"


class TransferError(Exception):
    """An address that did not give its file; the message says why, without the address."""


class Unreachable(TransferError):
    """Nobody answered, or not to the end, however often it was tried."""


class TooLarge(TransferError):
    """What it gave has more bytes than were allowed."""


def fetch(address: str, target: Path, *, limit: int = 1 << 31, sslverify: bool = True) -> None:
    """Write what `address` holds to `target`, at most `limit` bytes.

    What may pass by itself (a time-out, a server's error) is tried three times; what is final
    (no such file, refused) is not. Raises TransferError, and MachineError for a full disk here.
    """
    path = local_path(address)
    if path is not None:
        _copy_local(path, target, limit)
        return
    for pause in (*_PAUSES, None):
        try:
            _download(address, target, limit, sslverify)
            return
        except _Passing as error:
            if pause is None:
                raise (TransferError if error.answered else Unreachable)(str(error)) from error
            time.sleep(pause)


def join(base: str, href: str) -> str:
    """The address of `href` (a plain path, or an address of its own) below `base`.

    Raises TransferError for one that metadata from there may not name: metadata from the network
    does not reach for the files of this machine.
    """
    if not href:
        raise TransferError("it names no place")
    scheme, colon, _ = href.partition("://")
    if not colon:
        return f"{base.rstrip('/')}/{quote(href, safe='/+~^@=,:!$()')}"
    if scheme not in ("http", "https") and (scheme != "file" or local_path(base) is None):
        raise TransferError(f"it names a place that it may not: {href[:200]}")
    return href


class _Passing(Exception):
    """A failure that may be gone at the next try; `answered`: somebody said so."""

    def __init__(self, why: str, *, answered: bool = False) -> None:
        super().__init__(why)
        self.answered = answered


class _Redirects(urllib.request.HTTPRedirectHandler):
    """The library's own also goes to ftp."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        if not newurl.startswith(("http://", "https://")):
            raise TransferError(f"it is redirected to {newurl[:200]}, where farm does not go")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _copy_local(path: Path, target: Path, limit: int) -> None:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise TransferError("it is no file")
        if found.st_size > limit:
            raise TooLarge(f"it is larger than the {limit} bytes that were expected")
        shutil.copyfile(path, target)
    except (OSError, ValueError) as error:
        _refuse_own(error, target)
        raise TransferError(getattr(error, "strerror", None) or str(error)) from error


def _refuse_own(error: Exception, target: Path) -> None:
    """Raise MachineError for what is not the repository's fault but this machine's."""
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
        raise MachineError(
            f"{target} cannot be written: {os.strerror(number)}",
            hint="Free some space, or choose another directory (`[paths]` in farm.toml).",
        ) from error


def _download(address: str, target: Path, limit: int, sslverify: bool) -> None:
    try:
        request = urllib.request.Request(address, headers={"User-Agent": _AGENT})
        if request.type not in ("http", "https"):
            raise TransferError(f"farm does not speak {request.type}://")
        context = ssl.create_default_context() if sslverify else _unverified()
        opener = urllib.request.build_opener(
            _Redirects, urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(request, timeout=_TIMEOUT) as answer, target.open("wb") as file:
            _copy(answer, file, limit)
    except urllib.error.HTTPError as error:
        with contextlib.closing(error):
            text = f"HTTP {error.code} {' '.join(str(error.reason).split())[:200]}"
        if error.code in (408, 425, 429) or error.code >= 500:
            raise _Passing(text, answered=True) from error
        raise TransferError(text) from error
    except urllib.error.URLError as error:
        reason = error.reason
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise TransferError(f"TLS: {reason.verify_message}") from error
        raise _Passing(str(reason)) from error
    except (ValueError, http.client.InvalidURL) as error:
        raise TransferError(f"not an address: {error}") from error
    except (http.client.HTTPException, zlib.error) as error:
        raise _Passing(str(error) or type(error).__name__) from error
    except OSError as error:
        _refuse_own(error, target)
        if error.errno == errno.EACCES:
            raise TransferError(f"{target}: {error.strerror}") from error
        raise _Passing(str(error) or type(error).__name__) from error


def _copy(answer: Any, file: IO[bytes], limit: int) -> None:
    """The body, within the limit of size and not slower than a person would wait for."""
    announced = answer.headers.get("Content-Length")
    unpack = _encoding(answer)
    started = time.monotonic()
    total = written = 0
    while chunk := answer.read1(_CHUNK):
        total += len(chunk)
        if unpack is not None:
            chunk = unpack.decompress(chunk, limit - written + 1)
        written += len(chunk)
        if written > limit:
            raise TooLarge(f"it is larger than the {limit} bytes that were expected")
        file.write(chunk)
        seconds = time.monotonic() - started
        if seconds > _PATIENCE and total < seconds * _SLOWEST:
            raise _Passing(f"it is too slow: {total} bytes in {seconds:.0f} s")
    if announced is not None and announced.isdigit() and total < int(announced):
        raise _Passing(f"the connection ended after {total} of {announced} bytes")
    if unpack is not None and not unpack.eof:
        raise _Passing(f"what the server packed ends after {total} bytes, in the middle")


def _encoding(answer: Any) -> Any:
    """What undoes an encoding that nobody asked for; None where the body is the file."""
    encoding = (answer.headers.get("Content-Encoding") or "").strip().lower()
    if encoding in ("gzip", "x-gzip") and not urlsplit(answer.url).path.endswith(".gz"):
        return zlib.decompressobj(16 + zlib.MAX_WBITS)
    return None


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context

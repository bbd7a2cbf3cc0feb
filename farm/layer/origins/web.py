"""Fetching over http, https and ftp: given up early, and a dead host is asked only once a run."""

from __future__ import annotations

import base64
import contextlib
import errno
import http.client
import shutil
import socket
import ssl
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path

_SCHEMES = ("http", "https", "ftp")
_OURS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOENT)
_AGENT = "farm (source archives)"


class NotFetched(Exception):
    """Why an address gave nothing, in a few words."""


class Web:
    """A client for one run. `timeout`: seconds until a silent host is given up."""

    def __init__(self, timeout: float, *, certificates: Path | None = None) -> None:
        self._timeout = timeout
        self._dead: dict[str, str] = {}
        context = ssl.create_default_context(cafile=str(certificates) if certificates else None)
        self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))

    def fetch(self, address: str, target: Path, *, headers: Mapping[str, str] | None = None) -> str:
        """Write what is at `address` to `target` and return its content type.

        Raises NotFetched.
        """
        parts = urllib.parse.urlsplit(address)
        if parts.scheme not in _SCHEMES or not parts.hostname:
            raise NotFetched(f"farm does not fetch {parts.scheme or 'such'} addresses")
        host = parts.netloc.rpartition("@")[2]
        if host in self._dead:
            raise NotFetched(self._dead[host])
        try:
            self._check_name(parts.hostname, parts.scheme)
            request = _request(parts, headers or {})
            with (
                self._opener.open(request, timeout=self._timeout) as answer,
                target.open("wb") as file,
            ):
                shutil.copyfileobj(answer, file, 1 << 20)
                expected = answer.headers.get("Content-Length")
                if expected is not None and file.tell() != int(expected):
                    raise NotFetched("the download was cut short")
                return str(answer.headers.get_content_type())
        except urllib.error.HTTPError as error:
            raise NotFetched(f"the server answers {error.code} {error.reason}") from error
        except urllib.error.URLError as error:
            raise self._gone(host, _plain(error.reason)) from error
        except TimeoutError as error:
            raise self._gone(host, f"no answer within {self._timeout:g} s") from error
        except (http.client.HTTPException, ValueError) as error:
            raise NotFetched(f"the download broke off ({_plain(error)})") from error
        except OSError as error:
            if error.errno in _OURS:
                raise
            raise NotFetched(f"the download broke off ({_plain(error)})") from error

    def _check_name(self, host: str, scheme: str) -> None:
        """A name server that is silent knows no timeout of ours: it is asked in a thread."""
        proxied = scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host)
        if proxied:
            return
        asked = threading.Thread(target=_look_up, args=(host,), daemon=True)
        asked.start()
        asked.join(self._timeout)
        if asked.is_alive():
            raise TimeoutError

    def _gone(self, host: str, why: str) -> NotFetched:
        self._dead[host] = f"{host} cannot be reached: {why}"
        return NotFetched(self._dead[host])


def shown(address: str) -> str:
    """An address without its password."""
    parts = urllib.parse.urlsplit(address)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _request(parts: urllib.parse.SplitResult, headers: Mapping[str, str]) -> urllib.request.Request:
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="")
    request = urllib.request.Request(
        urllib.parse.urlunsplit(plain), headers={"User-Agent": _AGENT, **headers}
    )
    if parts.username and parts.scheme != "ftp":
        user = urllib.parse.unquote(parts.username)
        password = urllib.parse.unquote(parts.password or "")
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    return request


def _look_up(host: str) -> None:
    with contextlib.suppress(OSError, UnicodeError):
        socket.getaddrinfo(host, None)


def _plain(reason: object) -> str:
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return str(reason)

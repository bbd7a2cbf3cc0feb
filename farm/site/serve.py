"""`farm serve`: the published tree over HTTP, for the demo and small sites. Reads, never writes.

HTTP/1.1 with connections that stay open, ranges, conditional requests and directory listings,
on the standard library's server. Symlinks are followed as long as they stay inside the root;
names that begin with a dot are not there.
"""

from __future__ import annotations

import contextlib
import email.utils
import html
import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, unquote, urlsplit

from farm.httpd import IDLE_SECONDS, Server, address_of, cannot_listen, running
from farm.site.static import Span, aliased, content_type, not_after, parse_range, resolve

Log = Callable[[str], None]


def serve(
    root: Path,
    bind: str,
    port: int,
    on_ready: Callable[[str], None],
    *,
    log: Log | None = None,
    metrics: Path | None = None,
) -> None:
    """Serve `root` until SIGINT or SIGTERM; answers under way are finished first.

    `on_ready` gets the address (port 0: the one that was given to us), `metrics` is what `/metrics`
    answers where that is not below `root`. Raises MachineError when the address cannot be had.
    """
    stopped = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stopped.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        with serving(root, bind, port, log=log, metrics=metrics) as address:
            on_ready(address)
            stopped.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def serving(
    root: Path,
    bind: str = "127.0.0.1",
    port: int = 0,
    *,
    log: Log | None = None,
    metrics: Path | None = None,
) -> Iterator[str]:
    """Serve `root` beside what the block does; gives the address. Raises MachineError."""
    try:
        server = _Server((bind, port), root, log, metrics)
    except OSError as error:
        hint = "Choose another port with --port (0: any), or end what listens there."
        raise cannot_listen(bind, port, error, hint) from error
    with running(server):
        yield address_of(bind, server)


class _Server(Server):
    def __init__(
        self, where: tuple[str, int], root: Path, log: Log | None, metrics: Path | None
    ) -> None:
        self.root, self.log, self.metrics = root.resolve(), log, metrics
        super().__init__(where, _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "farm"
    sys_version = ""
    timeout = IDLE_SECONDS
    server: _Server

    def do_GET(self) -> None:
        with self.server.answering():
            self._answer(body=True)

    def do_HEAD(self) -> None:
        with self.server.answering():
            self._answer(body=False)

    def _refuse(self) -> None:
        self.close_connection = True
        self._plain(HTTPStatus.METHOD_NOT_ALLOWED, body=True, extra={"Allow": "GET, HEAD"})

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _refuse

    def log_message(self, format: str, *args: Any) -> None:
        if self.server.log is not None:
            self.server.log(f"{self.client_address[0]} {format % args}")

    def _answer(self, *, body: bool) -> None:
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # a body that nobody reads would be the next request
        plain_path = urlsplit("http://x" + self.path).path
        path = resolve(self.server.root, aliased(self.path))
        if plain_path == "/metrics" and self.server.metrics is not None:
            path = self.server.metrics
        if path is None:
            return self._plain(HTTPStatus.NOT_FOUND, body=body)
        if path.is_dir():
            if not plain_path.endswith("/"):
                location = quote(unquote("/" + plain_path.strip("/"))) + "/"
                return self._plain(
                    HTTPStatus.MOVED_PERMANENTLY, body=body, extra={"Location": location}
                )
            index = path / "index.html"
            if not index.is_file():
                return self._listing(path, plain_path, body=body)
            path = index
        try:
            file = path.open("rb")
        except OSError:
            return self._plain(HTTPStatus.NOT_FOUND, body=body)
        with file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return self._plain(HTTPStatus.NOT_FOUND, body=body)
            return self._file(file, plain_path, path, body=body)

    def _file(self, file: BinaryIO, asked: str, path: Path, *, body: bool) -> None:
        found = os.fstat(file.fileno())
        tag = f'"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"'
        modified = int(found.st_mtime)
        common = {
            "ETag": tag,
            "Last-Modified": email.utils.formatdate(modified, usegmt=True),
            "Accept-Ranges": "bytes",
            "Cache-Control": "public, max-age=31536000, immutable"
            if asked.startswith(("/snapshots/", "/trees/", "/status/assets/"))
            else "no-cache",
        }
        if self._unchanged(tag, modified):
            return self._head(HTTPStatus.NOT_MODIFIED, common)
        try:
            span = parse_range(self._range_wanted(tag, modified), found.st_size)
        except ValueError:
            return self._plain(
                HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                body=body,
                extra={"Content-Range": f"bytes */{found.st_size}"},
            )
        headers = common | {"Content-Type": content_type(path)}
        status = HTTPStatus.OK
        if span is not None:
            status = HTTPStatus.PARTIAL_CONTENT
            headers["Content-Range"] = f"bytes {span.first}-{span.end - 1}/{found.st_size}"
        span = span or Span(0, found.st_size)
        self._head(status, headers | {"Content-Length": str(span.length)})
        if body and span.length:
            self.wfile.flush()
            sent = self.connection.sendfile(file, span.first, span.length)
            if sent != span.length:  # the client must not take the next answer for the rest
                self.close_connection = True
        return None

    def _unchanged(self, tag: str, modified: int) -> bool:
        known = self.headers.get("If-None-Match")
        if known is not None:
            tags = [word.strip().removeprefix("W/") for word in known.split(",")]
            return "*" in tags or tag in tags
        return not_after(modified, self.headers.get("If-Modified-Since"))

    def _range_wanted(self, tag: str, modified: int) -> str:
        """The Range header, if it counts: with If-Range only for the file that is meant."""
        meant = self.headers.get("If-Range")
        if meant is not None and meant.strip() != tag:
            stamp = email.utils.formatdate(modified, usegmt=True)
            if meant.strip() != stamp:
                return ""
        return self.headers.get("Range", "") or ""

    def _listing(self, directory: Path, asked: str, *, body: bool) -> None:
        rows = []
        with contextlib.suppress(OSError):
            for path in sorted(directory.iterdir(), key=lambda p: (not p.is_dir(), p.name)):
                if resolve(self.server.root, quote(f"{asked}{path.name}")) is None:
                    continue
                name = path.name + ("/" if path.is_dir() else "")
                size = "" if path.is_dir() else f"{path.stat().st_size:,}"
                rows.append(
                    f'<tr><td><a href="{html.escape(quote(name))}">{html.escape(name)}</a></td>'
                    f"<td>{size}</td></tr>"
                )
        title = html.escape(unquote(asked))
        up = '<tr><td><a href="../">../</a></td><td></td></tr>' if asked.strip("/") else ""
        text = (
            f"<!DOCTYPE html>\n<html><head><meta charset='utf-8'><title>{title}</title>"
            "<style>body{font-family:sans-serif}td{padding:0 2em 0 0}"
            "td+td{text-align:right}</style></head>\n"
            f"<body><h1>{title}</h1><table>{up}{''.join(rows)}</table></body></html>\n"
        )
        self._text(HTTPStatus.OK, text, "text/html; charset=utf-8", {}, body=body)

    def _plain(
        self, status: HTTPStatus, *, body: bool, extra: dict[str, str] | None = None
    ) -> None:
        text = f"{status.value} {status.phrase}\n"
        self._text(status, text, "text/plain; charset=utf-8", extra or {}, body=body)

    def _text(
        self, status: HTTPStatus, text: str, kind: str, extra: dict[str, str], *, body: bool
    ) -> None:
        content = text.encode("utf-8", "replace")
        headers = {"Content-Type": kind, "Content-Length": str(len(content)), **extra}
        self._head(status, headers | {"Cache-Control": "no-cache"})
        if body:
            self.wfile.write(content)

    def _head(self, status: HTTPStatus, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("X-Content-Type-Options", "nosniff")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

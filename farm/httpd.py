"""An HTTP server beside what a program does: the standard library's, with bounds.

So many connections at a time, no look-up of our own name, answers under way finished at the end.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from farm.errors import MachineError

_AT_ONCE = 512  # connections; further ones wait in the socket's queue
IDLE_SECONDS = 15


class Server(ThreadingHTTPServer):
    """Answers on threads of its own. Raises OSError when the address cannot be had."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(self, where: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        if ":" in where[0]:
            self.address_family = socket.AF_INET6
        self._places = threading.BoundedSemaphore(_AT_ONCE)
        self._open: set[socket.socket] = set()
        self._busy = 0
        self._idle = threading.Condition()
        super().__init__(where, handler)

    def server_bind(self) -> None:
        # Without the reverse look-up of our own name that HTTPServer does here.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._places.acquire()
        with self._idle:
            self._open.add(request)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def shutdown_request(self, request: Any) -> None:
        with self._idle:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no event."""

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Counts the answers under way, so that `finish` can wait for them."""
        with self._idle:
            self._busy += 1
        try:
            yield
        finally:
            with self._idle:
                self._busy -= 1
                self._idle.notify_all()

    def finish(self) -> None:
        """Let answers under way be finished, for a while; then nobody is listened to any more."""
        with self._idle:
            self._idle.wait_for(lambda: self._busy == 0, timeout=5)
            for connection in self._open:  # those that stay open between requests
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def running(server: Server) -> Iterator[None]:
    """The server answers until the block ends."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.finish()
        server.server_close()


def address_of(bind: str, server: Server) -> str:
    """`http://HOST:PORT`, with the port that was given to us."""
    host = f"[{bind}]" if ":" in bind else bind
    return f"http://{host}:{server.server_address[1]}"


def cannot_listen(bind: str, port: int, error: OSError, hint: str) -> MachineError:
    """What to tell when the address cannot be had."""
    return MachineError(
        f"cannot listen on {bind} port {port}", why=error.strerror or str(error), hint=hint
    )

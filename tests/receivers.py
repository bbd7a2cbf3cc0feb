"""Who asks a farm how it is, for tests: a receiver of its messages, a reader of its figures."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Receiver:
    """Takes messages over HTTP, and checks them as its docs say."""

    def __init__(self) -> None:
        self.taken: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.status, self.delay = 200, 0.0
        self.headers: dict[str, str] = {}
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                time.sleep(receiver.delay)
                headers = {name.lower(): text for name, text in self.headers.items()}
                assert is_genuine(headers, body, KEY)
                if receiver.status < 300:
                    receiver.taken.append((headers, json.loads(body)))
                self.send_response(receiver.status)
                for name, text in receiver.headers.items():
                    self.send_header(name, text)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/hook/t0ken"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def types(self) -> list[str]:
        return [message["type"] for _, message in self.taken]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def is_genuine(headers: Mapping[str, str], body: bytes, key: bytes) -> bool:
    """As docs/watching.md has it."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    fresh = abs(time.time() - int(headers["webhook-timestamp"])) < 300
    given = headers["webhook-signature"].split()
    return fresh and any(hmac.compare_digest(wanted, each) for each in given)


def parsed(text: str) -> Samples:
    """Every sample by name and labels, as Prometheus' own parser reads them; none twice."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        assert family.type in ("counter", "gauge", "histogram"), family.name
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))

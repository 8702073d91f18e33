"""A receiver of webhooks on loopback, which verifies them by the specification alone."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from deepfake_triton.json_object import JsonObject

KEY = b"0123456789abcdef0123456789abcdef"
SECRET = "whsec_" + base64.b64encode(KEY).decode()


@dataclass
class Receiver:
    """A server that remembers what it is told, and answers with the next of `statuses`, then 204."""

    statuses: list[int] = field(default_factory=list)
    port: int = 0
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def documents(self) -> list[JsonObject]:
        """The messages, each verified."""
        return [verified(headers, body) for _, headers, body in self.requests]


@contextmanager
def receiving(statuses: tuple[int, ...] = ()) -> Iterator[Receiver]:
    """Run a receiver on loopback."""
    receiver = Receiver(list(statuses))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            self.send_response(receiver.statuses.pop(0) if receiver.statuses else 204)
            self.send_header("location", "/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def verified(headers: Mapping[str, str], body: bytes) -> JsonObject:
    """What a receiver does, by the specification alone: verify signature and time, then read the message."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    version, _, signature = headers["webhook-signature"].partition(",")
    assert version == "v1" and hmac.compare_digest(signature, expected)
    assert abs(time.time() - int(headers["webhook-timestamp"])) < 300
    document = json.loads(body)
    assert isinstance(document, dict)
    return document

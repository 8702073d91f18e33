"""What answers at an address that is no gRPC server, or none without encryption: asked once it has failed."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from concurrent.futures import Future

from deepfake_triton.addresses import host_and_port
from deepfake_triton.errors import ServerUnreachable, WrongEndpoint

PROBE_TIMEOUT_S = 2.0


def closes_at_once(error: ServerUnreachable) -> bool:
    """Whether something was there that did not take up gRPC, such as a server that wants TLS."""
    text = str(error)
    return "failed to connect" in text and bool(re.search(r"socket closed|reset|EOF", text, re.IGNORECASE))


def what_answers(url: str) -> Future[WrongEndpoint | None]:
    """What is there instead of a gRPC server without encryption, as an error that says so; None: not known.

    Asked in a thread of its own, for a few seconds at most.
    """
    answer: Future[WrongEndpoint | None] = Future()

    def ask() -> None:
        if _takes_tls(url):
            found = f"{url}: it encrypts, and was asked without TLS; ask with it (--tls, or --ca FILE)"
        elif _takes_http(url):
            found = f"{url}: HTTP is spoken there; name the gRPC port (8001 where nothing else was chosen)"
        else:
            found = ""
        answer.set_result(WrongEndpoint(found) if found else None)

    threading.Thread(target=ask, name="deepfake-probe", daemon=True).start()
    return answer


def _takes_tls(url: str) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection(host_and_port(url), PROBE_TIMEOUT_S) as plain,
            context.wrap_socket(plain),
        ):
            return True
    except OSError:
        return False


def _takes_http(url: str) -> bool:
    try:
        with socket.create_connection(host_and_port(url), PROBE_TIMEOUT_S) as plain:
            plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return plain.recv(5) == b"HTTP/"
    except OSError:
        return False

"""Probe of an address where gRPC failed: does it speak TLS, or HTTP?"""

from __future__ import annotations

import socket
import ssl
import threading
from concurrent.futures import Future

from deepfake_triton.errors import WrongEndpoint
from deepfake_triton.host.addresses import split_host_port

_SOCKET_TIMEOUT_S = 2.0


def probe_endpoint(url: str) -> Future[WrongEndpoint | None]:
    """Find out, in a thread and in a few seconds, what answers at `url` instead of plain gRPC.

    The result is an error that names it; None: unknown.
    """
    result: Future[WrongEndpoint | None] = Future()

    def probe() -> None:
        if _speaks_tls(url):
            found = f"{url}: the server requires TLS; use --tls, or --ca FILE"
        elif _speaks_http(url):
            found = f"{url}: HTTP is spoken there; name the gRPC port (8001 by default)"
        else:
            found = ""
        result.set_result(WrongEndpoint(found) if found else None)

    threading.Thread(target=probe, name="deepfake-probe", daemon=True).start()
    return result


def _speaks_tls(url: str) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection(split_host_port(url), _SOCKET_TIMEOUT_S) as plain,
            context.wrap_socket(plain),
        ):
            return True
    except OSError:
        return False


def _speaks_http(url: str) -> bool:
    try:
        with socket.create_connection(split_host_port(url), _SOCKET_TIMEOUT_S) as plain:
            plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return plain.recv(5) == b"HTTP/"
    except OSError:
        return False

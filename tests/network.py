"""Ports, certificates and connections for tests: a proxy that resets or slows what it passes on."""

from __future__ import annotations

import contextlib
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


def certificates_in(folder: Path) -> Path:
    """An authority (`ca.pem`), and what it signed for a server on loopback and for a client."""
    if not shutil.which("openssl"):
        pytest.skip("openssl, which makes the certificates, is not installed")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new_key = ("-newkey", "rsa:2048", "-nodes")
    openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=ca")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    for name in ("server", "client"):
        openssl("req", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        sign = ["x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"]
        openssl(*sign, "-out", f"{name}.pem", "-days", "2", "-extfile", "names")
    return folder


def free_port() -> int:
    """One that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def idle_sockets(port: int, number: int) -> Iterator[list[socket.socket]]:
    """Connections to a port of this host on which nothing is sent."""
    opened = []
    try:
        for _ in range(number):
            opened.append(socket.create_connection(("127.0.0.1", port), timeout=30))
        yield opened
    finally:
        for each in opened:
            each.close()


def is_ended(each: socket.socket) -> bool:
    """Whether the other side has ended the connection."""
    each.setblocking(False)
    try:
        while each.recv(4096):  # gRPC greets those who connect
            pass
        return True
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


class TcpProxy:
    """Passes bytes on to a server and counts those of the callers; the first `resets` connections are reset
    once they have carried `after_bytes`. What is passed on takes `delay_s`, as on a slow line."""

    def __init__(self, target: str, resets: int = 0, after_bytes: int = 0, delay_s: float = 0.0) -> None:
        host, port = target.split(":")
        self.target, self.resets, self.after_bytes = (host, int(port)), resets, after_bytes
        self.delay_s = delay_s
        self.sent_bytes = 0
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"127.0.0.1:{self.listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = self.listening.accept()
                server = socket.create_connection(self.target)
                limit = self.after_bytes if self.resets else 1 << 60
                self.resets -= bool(self.resets)
                for source, sink, most in ((caller, server, limit), (server, caller, 1 << 60)):
                    counts = source is caller
                    threading.Thread(
                        target=self._pass_on, args=(source, sink, most, counts), daemon=True
                    ).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, most: int, counts: bool) -> None:
        carried = 0
        with contextlib.suppress(OSError):
            while carried < most and (data := source.recv(65536)):
                time.sleep(self.delay_s)
                sink.sendall(data)
                carried += len(data)
                self.sent_bytes += len(data) if counts else 0
            if carried >= most:
                for end in (source, sink):  # not a farewell but a reset
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for end in (source, sink):
            end.close()

    def __enter__(self) -> TcpProxy:
        return self

    def __exit__(self, *exception: object) -> None:
        self.listening.close()

"""HTTPS servers on loopback that answer as a script says, and the authority of their certificates."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Script = Callable[[ssl.SSLSocket], None]


@dataclass(frozen=True)
class Certificates:
    """An authority's certificate, and a server's certificate with its key, as PEM files."""

    authority: Path
    server: Path


def certificates_for(folder: Path, *names: str) -> Certificates:
    """Make an authority, and a certificate of a server with these names, IP addresses among them."""
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = (
        _certificate("authority", root_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    general = [_general_name(name) for name in names]
    leaf = (
        _certificate("server", key)
        .add_extension(x509.SubjectAlternativeName(general), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    found = Certificates(folder / "web-authority.pem", folder / "web-server.pem")
    found.authority.write_bytes(root.public_bytes(serialization.Encoding.PEM))
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    found.server.write_bytes(leaf.public_bytes(serialization.Encoding.PEM) + secret)
    return found


@dataclass
class HttpsServer:
    """A server whose paths are scripts; `requests` are the texts that it got, `callers` the connections."""

    address: str
    port: int
    scripts: dict[str, Script]
    requests: list[str] = field(default_factory=list)
    callers: int = 0


@contextlib.contextmanager
def https_server(
    certificates: Certificates, scripts: dict[str, Script], address: str = "127.0.0.1", port: int = 0
) -> Iterator[HttpsServer]:
    """Serve until the end of the block, each connection in a thread of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server)
    listening = socket.create_server((address, port))
    server = HttpsServer(address, listening.getsockname()[1], scripts)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = listening.accept()
                server.callers += 1
                threading.Thread(target=answer, args=(caller,), daemon=True).start()

    def answer(caller: socket.socket) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(caller, server_side=True) as secured:
            secured.settimeout(20)
            head = b""
            while b"\r\n\r\n" not in head and (data := secured.recv(65536)):
                head += data
            length = re.search(rb"(?i)content-length: (\d+)", head)
            end = head.index(b"\r\n\r\n") + 4 + int(length[1] if length else 0)
            while len(head) < end and (data := secured.recv(65536)):
                head += data
            server.requests.append(head.decode())
            path = head.split(b" ")[1].decode().partition("?")[0]
            server.scripts[path](secured)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def respond(body: bytes, *headers: str, status: str = "200 OK") -> Script:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def redirect(location: str) -> Script:
    """An answer that leads elsewhere."""
    return respond(b"", f"Location: {location}", status="302 Found")


def send(*parts: bytes, pause_s: float = 0.0) -> Script:
    """These bytes, and the end of the connection."""

    def run(secured: ssl.SSLSocket) -> None:
        for part in parts:
            secured.sendall(part)
            time.sleep(pause_s)

    return run


def endless(head: bytes, chunk: bytes, pause_s: float = 0.0) -> Script:
    """A head, and a chunk again and again until the caller has gone."""

    def run(secured: ssl.SSLSocket) -> None:
        secured.sendall(head)
        while True:
            secured.sendall(chunk)
            time.sleep(pause_s)

    return run


def _general_name(name: str) -> x509.GeneralName:
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name))
    return x509.DNSName(name)


def _certificate(name: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=9))
    )

"""Where a server listens: names resolved, and ports kept for it while it is started, also again."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
from dataclasses import dataclass

from deepfake_triton.errors import PortInUse, ServerFailed
from deepfake_triton.serving.options import ServerOptions


@dataclass(frozen=True)
class Address:
    """An address to listen on: as its user wrote it, and what it stands for."""

    given: str
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address

    @property
    def for_grpc(self) -> str:
        """As gRPC takes it, in front of a colon and the port."""
        return f"[{self.ip}]" if self.ip.version == 6 else str(self.ip)

    @property
    def for_http(self) -> str:
        """As Triton's HTTP server takes it, which knows neither names nor plain IPv6."""
        return f"ipv6:{self.ip}" if self.ip.version == 6 else str(self.ip)

    @property
    def to_connect(self) -> str:
        """What a process on this host connects to."""
        if self.ip.is_unspecified:
            return "::1" if self.ip.version == 6 else "127.0.0.1"
        return str(self.ip)

    @property
    def is_loopback(self) -> bool:
        """Whether only this host's own processes reach it."""
        return self.ip.is_loopback

    def with_port(self, port: int) -> str:
        """As a client takes it."""
        return f"[{self.given}]:{port}" if ":" in self.given else f"{self.given}:{port}"


def resolve(host: str, option: str) -> Address:
    """Return the address of a name or a number, IPv4 first. Raises ServerFailed, which names the option."""
    given = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if "%" in given:
        raise ServerFailed(
            f"{option} {host}: Triton takes no address with a zone; name one without %, or :: for all"
        )
    try:
        found = socket.getaddrinfo(given or "?", None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ServerFailed(
            f"{option} {host}: cannot be resolved ({error}); name an address of this host such as 127.0.0.1"
        ) from error
    ip = ipaddress.ip_address(min(found, key=lambda info: info[0] != socket.AF_INET)[4][0])
    return Address(given, getattr(ip, "ipv4_mapped", None) or ip)


@dataclass(frozen=True)
class Endpoint:
    """An address and the port on it."""

    address: Address
    port: int

    def __str__(self) -> str:
        """As a client takes it."""
        return self.address.with_port(self.port)


class Listening:
    """The three endpoints of a server, whose ports are bound for as long as this is open.

    Sockets that do not listen: Triton binds and listens beside them, when it starts and when it is started
    again, and nobody's outgoing connection takes the port meanwhile. A port of 0 becomes a free one. Raises
    PortInUse, and ServerFailed for a host that is none.
    """

    def __init__(self, options: ServerOptions) -> None:
        plain = options.plain_host
        wanted = (
            (resolve(options.host, "--host"), options.grpc_port),
            (resolve(options.http_host or plain, "--http-host"), options.http_port),
            (resolve(options.metrics_host or plain, "--metrics-host"), options.metrics_port),
        )
        named = [port for _, port in wanted if port]
        if len(set(named)) < len(named):
            ports = tuple(port for _, port in wanted)
            raise PortInUse(f"ports {ports}: gRPC, HTTP and metrics need three different ones")
        self._held: list[socket.socket] = []
        try:
            for address, port in wanted:
                self._held.append(_bound(address, port))
        except PortInUse:
            self.close()
            raise
        self.grpc, self.http, self.metrics = (
            Endpoint(address, held.getsockname()[1])
            for (address, _), held in zip(wanted, self._held, strict=True)
        )

    def close(self) -> None:
        """Let go of the ports. May be repeated."""
        while self._held:
            self._held.pop().close()

    def __enter__(self) -> Listening:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _bound(address: Address, port: int) -> socket.socket:
    family = socket.AF_INET6 if address.ip.version == 6 else socket.AF_INET
    with contextlib.ExitStack() as stack:
        try:
            held = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            if port:  # a free one has to be free altogether
                held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind((str(address.ip), port))
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        except OSError as error:
            elsewhere = error.errno == errno.EADDRNOTAVAIL
            todo = "an address of this host" if elsewhere else "another port, or 0 for a free one"
            raise PortInUse(
                f"{address.with_port(port)} cannot be used ({error.strerror}); name {todo}"
            ) from error
        stack.pop_all()
        return held

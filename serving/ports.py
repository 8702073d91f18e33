"""The addresses and ports of a server: names resolved, and ports reserved across its restarts."""

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
    """An address to listen on: as its user wrote it, and as an IP address."""

    given: str
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address

    @property
    def for_grpc(self) -> str:
        """The address in Triton's option for gRPC: IPv6 in brackets."""
        return f"[{self.ip}]" if self.ip.version == 6 else str(self.ip)

    @property
    def for_http(self) -> str:
        """The address in Triton's option for HTTP, which takes neither names nor plain IPv6."""
        return f"ipv6:{self.ip}" if self.ip.version == 6 else str(self.ip)

    @property
    def to_connect(self) -> str:
        """The address that a process on this host connects to."""
        if self.ip.is_unspecified:
            return "::1" if self.ip.version == 6 else "127.0.0.1"
        return str(self.ip)

    @property
    def is_loopback(self) -> bool:
        """Whether only processes on this host can reach it."""
        return self.ip.is_loopback

    def with_port(self, port: int) -> str:
        """Return the address and a port as clients take them."""
        return f"[{self.given}]:{port}" if ":" in self.given else f"{self.given}:{port}"


def resolve(host: str, option: str) -> Address:
    """Resolve a host name or an IP address, IPv4 first. Raises ServerFailed, which names the option."""
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
        """Return the endpoint as clients take it."""
        return self.address.with_port(self.port)


class ReservedEndpoints:
    """The three endpoints of a server, whose ports stay bound while the context is open.

    The bound sockets do not listen: Triton binds and listens beside them, also after a restart, and no
    outgoing connection takes the port meanwhile. A port of 0 becomes a free one. Raises PortInUse, and
    ServerFailed for a host that cannot be resolved.
    """

    def __init__(self, options: ServerOptions) -> None:
        plain = options.plain_host
        wanted = (
            (resolve(options.host, "--host"), options.grpc_port),
            (resolve(options.http_host or plain, "--http-host"), options.http_port),
            (resolve(options.metrics_host or plain, "--metrics-host"), options.metrics_port),
        )
        fixed = [port for _, port in wanted if port]
        if len(set(fixed)) < len(fixed):
            ports = tuple(port for _, port in wanted)
            raise PortInUse(f"ports {ports}: gRPC, HTTP and metrics need three different ones")
        self._held: list[socket.socket] = []
        try:
            for address, port in wanted:
                self._held.append(_bind(address, port))
        except PortInUse:
            self.close()
            raise
        self.grpc, self.http, self.metrics = (
            Endpoint(address, held.getsockname()[1])
            for (address, _), held in zip(wanted, self._held, strict=True)
        )

    def close(self) -> None:
        """Release the ports. Idempotent."""
        while self._held:
            self._held.pop().close()

    def __enter__(self) -> ReservedEndpoints:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _bind(address: Address, port: int) -> socket.socket:
    family = socket.AF_INET6 if address.ip.version == 6 else socket.AF_INET
    with contextlib.ExitStack() as stack:
        try:
            held = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            if port:  # one that the system chooses has to be unused
                held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind((str(address.ip), port))
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        except OSError as error:
            is_foreign = error.errno == errno.EADDRNOTAVAIL
            remedy = "an address of this host" if is_foreign else "another port, or 0 for a free one"
            raise PortInUse(
                f"{address.with_port(port)} cannot be used ({error.strerror}); name {remedy}"
            ) from error
        stack.pop_all()
        return held

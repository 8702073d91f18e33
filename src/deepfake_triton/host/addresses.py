"""Parse network addresses `host:port`, with IPv6 in brackets, and find out what is on the way to them."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from deepfake_triton.errors import ServerUnreachable


def split_host_port(url: str) -> tuple[str, int]:
    """Split `host:port`; the host comes without brackets."""
    host, _, port = url.rpartition(":")
    return host.strip("[]"), int(port)


def urls_from_text(text: str) -> tuple[str, ...]:
    """Parse one or more addresses `host:port`, separated by commas. Raises ServerUnreachable for anything
    else."""
    urls = tuple(part.strip() for part in text.split(",") if part.strip())
    for url in urls or (text,):
        host, _, port = url.rpartition(":")
        if "/" in url:
            raise ServerUnreachable(
                f"got the web address {url!r}, expected HOST:PORT of the gRPC port such as localhost:8001; "
                "TLS is an option of its own (--tls, --ca)"
            )
        if ":" in host and not _is_bracketed_ipv6(host):
            raise ServerUnreachable(
                f"got the address {url!r}, expected HOST:PORT; an IPv6 address stands in brackets, such as "
                "[::1]:8001"
            )
        is_name = ":" in host or re.fullmatch(r"[^\s\[\]]+", host)
        if not is_name or not host.isprintable() or not re.fullmatch(r"0*[0-9]{1,5}", port, re.ASCII):
            raise ServerUnreachable(f"got the address {url!r}, expected HOST:PORT such as localhost:8001")
        if not 0 < int(port) < 65536:
            raise ServerUnreachable(f"got the port {port}, expected HOST:PORT with 1…65535")
    return tuple(dict.fromkeys(urls))


def is_http_url(url: str, *, schemes: Collection[str] = ("http", "https")) -> bool:
    """Return whether it is the URL of a host, by one of these schemes."""
    try:
        parts = urlsplit(url)
        is_of_host = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return is_of_host and url.isprintable() and " " not in url


def is_loopback(host: str) -> bool:
    """Return whether only processes of this host reach the address."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def is_unspecified(host: str) -> bool:
    """Return whether a server that listens on it listens on every address of this host."""
    return host.strip("[]") in ("0.0.0.0", "::")


def grpc_channel_options(url: str) -> list[tuple[str, int]]:
    """Return the options of a gRPC channel to `host:port`: messages of any size, and no HTTP proxy to this
    host, where gRPC by default uses one."""
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    return [*options, ("grpc.enable_http_proxy", 0)] if _is_here(split_host_port(url)[0]) else options


def proxy_for(url: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the HTTP proxy that gRPC uses for `host:port`, such as `https_proxy (proxy.org:3128)`, without
    its password; None for a direct connection.

    Reads the environment variables as gRPC's core does (http_proxy_mapper.cc).
    """
    host = split_host_port(url)[0]
    name = next((name for name in ("grpc_proxy", "https_proxy", "http_proxy") if environment.get(name)), None)
    if name is None or _is_here(host):
        return None
    exceptions = environment.get("no_grpc_proxy") or environment.get("no_proxy") or ""
    suffixes = [suffix.strip().lower() for suffix in exceptions.split(",")]
    if any(suffix and host.lower().endswith(suffix) for suffix in suffixes):
        return None
    return f"{name} ({environment[name].rpartition('@')[2].rpartition('//')[2].rstrip('/')})"


def _is_here(host: str) -> bool:
    """Return whether a connection stays on this host: loopback, or the unspecified address."""
    return is_loopback(host) or is_unspecified(host)


def _is_bracketed_ipv6(host: str) -> bool:
    try:
        return host[:1] == "[" and host[-1:] == "]" and bool(ipaddress.IPv6Address(host[1:-1]))
    except ValueError:
        return False

"""Network addresses as this project writes them: `host:port`, with IPv6 in brackets."""

from __future__ import annotations

import ipaddress


def host_and_port(url: str) -> tuple[str, int]:
    """The two parts of `host:port`, brackets taken off."""
    host, _, port = url.rpartition(":")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether only this host's own processes reach that address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"

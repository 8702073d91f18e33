"""Addresses that are public, and names of which every address is: looked up once."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor

from deepfake_triton.errors import UrlRefused, UrlUnavailable
from deepfake_triton.gateway.time_limit import within

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

LOOKUP_TIMEOUT_S = 5.0
_EMBEDDING = (
    "::/96",  # IPv4-compatible
    "::ffff:0:0/96",  # IPv4-mapped: compared as IPv4, see is_public
    "::ffff:0:0:0/96",  # IPv4-translated
    "64:ff9b::/96",  # NAT64
    "64:ff9b:1::/48",  # local NAT64
    "2001::/23",  # Teredo, and what the IETF has assigned
    "2002::/16",  # 6to4
)
_SPECIAL = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",  # carriers' NAT, and metadata services of some clouds
    "127.0.0.0/8",
    "169.254.0.0/16",  # link-local, and metadata services of most clouds
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",  # multicast, reserved, broadcast
    "100::/64",
    "2001:db8::/32",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
)
_NOT_PUBLIC: tuple[Network, ...] = tuple(ipaddress.ip_network(text) for text in (*_EMBEDDING, *_SPECIAL))
# Lookups have threads of their own: a name server that does not answer takes none of the event loop's.
_LOOKUPS = ThreadPoolExecutor(8, thread_name_prefix="lookup")


def is_public(address: Address) -> bool:
    """Return whether an address is on the Internet: not on this host, not in a private network, without an
    IPv4 address in it."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return is_public(address.ipv4_mapped)
    return address.is_global and not any(address in network for network in _NOT_PUBLIC)


async def public_addresses(host: str, port: int, networks: tuple[Network, ...] = ()) -> tuple[str, ...]:
    """Look a host up, once, and return its addresses, each public or in one of `networks`.

    Raises UrlRefused if one of them is neither, and UrlUnavailable for a name without an address.
    """
    try:
        texts = [str(ipaddress.ip_address(host))]
    except ValueError:
        texts = await _look_up(host, port)
    for text in texts:
        address = ipaddress.ip_address(text)
        if not (is_public(address) or any(address in network for network in networks)):
            raise UrlRefused(f"url: {host[:100]} has an address that is not public")
    return tuple(dict.fromkeys(texts))


async def _look_up(host: str, port: int) -> list[str]:
    loop = asyncio.get_running_loop()
    lookup = loop.run_in_executor(
        _LOOKUPS, lambda: socket.getaddrinfo(host, port, socket.AF_UNSPEC, socket.SOCK_STREAM)
    )
    try:
        found = await within(lookup, LOOKUP_TIMEOUT_S)
    except (OSError, UnicodeError, asyncio.TimeoutError) as error:
        raise UrlUnavailable(f"url: {host[:100]} cannot be resolved") from error
    if not found:
        raise UrlUnavailable(f"url: {host[:100]} has no address")
    return [str(sockaddr[0]) for *_, sockaddr in found]

"""Where a call comes from."""

from __future__ import annotations

from urllib.parse import unquote


def address_of_peer(peer: str) -> str | None:
    """Return the IP address in gRPC's name of a peer, such as `ipv6:%5B::1%5D:50051`, as REST spells it; None
    for one without, such as a Unix socket."""
    scheme, _, rest = peer.partition(":")
    if scheme not in {"ipv4", "ipv6"}:
        return None
    return unquote(rest).rpartition(":")[0].strip("[]") or None

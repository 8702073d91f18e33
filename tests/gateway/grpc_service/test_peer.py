from __future__ import annotations

import pytest

from deepfake_triton.gateway.grpc_service.peer import address_of_peer
from deepfake_triton.host.addresses import is_loopback

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:127.0.0.1:50051", "127.0.0.1"),
        ("ipv4:192.0.2.1:50051", "192.0.2.1"),
        ("ipv6:[::1]:50051", "::1"),
        ("ipv6:%5B::1%5D:50051", "::1"),
        ("ipv6:%5B2001:db8::2%5D:50051", "2001:db8::2"),
        ("unix:/run/gateway.sock", None),
        ("unix:", None),
        ("", None),
    ],
)
def test_a_peer_has_the_address_that_rest_knows(peer: str, address: str | None) -> None:
    assert address_of_peer(peer) == address
    assert is_loopback(address or "") == (address in {"127.0.0.1", "::1"})

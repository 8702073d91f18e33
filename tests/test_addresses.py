from __future__ import annotations

import pytest

from deepfake_triton.addresses import host_and_port, is_loopback

pytestmark = pytest.mark.fast


def test_which_addresses_only_this_host_reaches() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.8.0.1", "::1", "[::1]", "localhost"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "example.org"))


def test_an_address_has_two_parts() -> None:
    assert host_and_port("localhost:8001") == ("localhost", 8001)
    assert host_and_port("[::1]:1") == ("::1", 1)

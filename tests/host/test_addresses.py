from __future__ import annotations

import pytest

from deepfake_triton.errors import ServerUnreachable
from deepfake_triton.host.addresses import (
    grpc_channel_options,
    is_loopback,
    proxy_for,
    split_host_port,
    urls_from_text,
)

pytestmark = pytest.mark.fast


def test_which_addresses_only_this_host_reaches() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.8.0.1", "::1", "[::1]", "localhost"))
    assert is_loopback("LocalHost.") and is_loopback("::ffff:127.0.0.1")
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "example.org"))


def test_an_address_has_two_parts() -> None:
    assert split_host_port("localhost:8001") == ("localhost", 8001)
    assert split_host_port("[::1]:1") == ("::1", 1)


@pytest.mark.parametrize(
    ("url", "environment", "expected"),
    [
        ("a.org:1", {"http_proxy": "http://p:3128/"}, "http_proxy (p:3128)"),
        ("a.org:1", {"http_proxy": "http://p:1", "https_proxy": "http://me:secret@q:2"}, "https_proxy (q:2)"),
        ("10.0.0.1:1", {"grpc_proxy": "p:1", "http_proxy": "q:1"}, "grpc_proxy (p:1)"),
        ("a.org:1", {"HTTP_PROXY": "http://p:1"}, None),
        ("a.org:1", {"http_proxy": ""}, None),
        ("b.a.org:1", {"http_proxy": "http://p:1", "no_proxy": "x.org, .A.org"}, None),
        ("a.org:1", {"http_proxy": "http://p:1", "no_proxy": "b.org,"}, "http_proxy (p:1)"),
        ("127.0.0.1:1", {"http_proxy": "http://p:1"}, None),
        ("[::1]:1", {"http_proxy": "http://p:1"}, None),
    ],
)
def test_the_proxy_on_the_way_is_known(url: str, environment: dict[str, str], expected: str | None) -> None:
    assert proxy_for(url, environment) == expected


def test_loopback_never_goes_through_a_proxy() -> None:
    for url in ("localhost:8001", "[::1]:8001", "0.0.0.0:8001", "[::]:8001", "LOCALHOST:8001"):
        assert ("grpc.enable_http_proxy", 0) in grpc_channel_options(url)
    assert ("grpc.enable_http_proxy", 0) not in grpc_channel_options("10.0.0.1:8001")


def test_addresses() -> None:
    assert urls_from_text("a:1, b:2,a:1") == ("a:1", "b:2")
    assert urls_from_text("[::1]:8001") == ("[::1]:8001",)
    for text in (
        "",
        ",",
        "a",
        "a:",
        ":1",
        "a:0",
        "a:65536",
        "a:1,b",
        "http://a:x",
        "[]:1",
        "a b:1",
        "a\n:1",
        "a:٨٠٠١",
    ):
        with pytest.raises(ServerUnreachable, match="expected HOST:PORT"):
            urls_from_text(text)
    for text, says in (
        ("https://a:443", "web address"),
        ("http://localhost:8000/v2", "web address"),
        ("::1:8001", "in brackets"),
        ("[::1]]:8001", "in brackets"),
        ("[abc]:8001", "expected HOST:PORT"),
        ("a:" + "1" * 5000, "expected HOST:PORT"),
    ):
        with pytest.raises(ServerUnreachable, match=says):
            urls_from_text(text)

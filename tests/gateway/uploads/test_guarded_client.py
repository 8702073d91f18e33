"""Addresses that a caller names: which are refused, with how many connections to whom (none)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from deepfake_triton.errors import UrlRefused, UrlUnavailable
from deepfake_triton.gateway.uploads.allowed_hosts import AllowedHosts
from deepfake_triton.gateway.uploads.guarded_client import GuardedClient

pytestmark = pytest.mark.fast

ANYWHERE = AllowedHosts(("*", "*:18999"))


@pytest.fixture
def trap() -> Iterator[list[int]]:
    """Port 443 cannot be had: every connection that is begun is noted, and refused."""
    begun: list[int] = []
    original = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        begun.append(1)
        raise OSError(f"a connection to {address}")

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", connect)
    yield begun
    patch.undo()
    assert socket.socket.connect is original


def resolving_to(monkeypatch: pytest.MonkeyPatch, *answers: tuple[str, ...]) -> list[str]:
    """Let every name have these addresses, at each lookup the next ones; return the names looked up."""
    asked: list[str] = []
    resolve = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *rest: Any, **more: Any) -> Any:
        if not isinstance(host, str) or not host.endswith(".test"):
            return resolve(host, port, *rest, **more)
        asked.append(host)
        found = answers[min(len(asked), len(answers)) - 1]
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(family[":" in each], socket.SOCK_STREAM, 6, "", (each, port)) for each in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def get(url: str, hosts: AllowedHosts = ANYWHERE) -> int:
    async def ask() -> int:
        async with GuardedClient(hosts, headers_timeout_s=5).stream("GET", url) as response:
            return response.status_code

    return asyncio.run(ask())


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://127.0.0.1:18999/",
        "https://localhost/",
        "https://localhost./",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.1/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://0/",
        "https://0.0.0.0/",
        "https://[::1]/",
        "https://[::]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:7f00:1]/",
        "https://[::127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[64:ff9b:1::a00:1]/",
        "https://[2002:7f00:1::]/",
        "https://[fe80::1]/",
        "https://[fd00::1]/",
        "https://[fec0::1]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://100.64.0.1/",
        "https://10.1.2.3/",
        "https://172.16.0.1/",
        "https://192.168.0.1/",
        "https://224.0.0.1/",
        "https://255.255.255.255/",
    ],
)
def test_addresses_that_are_not_public_are_refused(url: str, trap: list[int]) -> None:
    with pytest.raises((UrlRefused, UrlUnavailable)) as refused:
        get(url)
    assert isinstance(refused.value, UrlRefused) or "cannot be resolved" in str(refused.value)
    assert trap == []


@pytest.mark.parametrize(
    "url",
    [
        "http://videos.test/a.mp4",
        "file:///etc/passwd",
        "ftp://videos.test/a.mp4",
        "gopher://videos.test/",
        "//videos.test/a.mp4",
        "videos.test/a.mp4",
        "https:///a.mp4",
        "https://",
        "",
        "https://user@videos.test/",
        "https://user:password@videos.test/",
        "https://videos.test@127.0.0.1/",
        "https://videos.test:notaport/",
        "https://videos.test:8443/a.mp4",
        "https://vid\neos.test/",
        "https://videos.test\\@127.0.0.1/",
        "https://videos.test.evil.test/",
        "https://evil.test/videos.test",
        "https://evil.test/#@videos.test",
    ],
)
def test_other_urls_are_refused_without_a_lookup(
    url: str, monkeypatch: pytest.MonkeyPatch, trap: list[int]
) -> None:
    asked = resolving_to(monkeypatch, ("8.8.8.8",))
    with pytest.raises(UrlRefused):
        get(url, AllowedHosts(("videos.test",)))
    assert asked == [] and trap == []


@pytest.mark.parametrize(
    ("pattern", "url", "is_allowed"),
    [
        ("videos.test", "https://VIDEOS.test./a", True),
        ("Videos.TEST", "https://videos.test/a", True),
        ("videos.test:8443", "https://videos.test:8443/a", True),
        ("videos.test:8443", "https://videos.test/a", False),
        ("*.videos.test", "https://a.videos.test/", True),
        ("*.videos.test", "https://a.b.videos.test/", False),
        ("*.videos.test", "https://videos.test/", False),
        ("*.videos.test", "https://evilvideos.test/", False),
        ("bücher.test", "https://xn--bcher-kva.test/", True),
        ("xn--bcher-kva.test", "https://bücher.test/", True),
        ("[2001:4860:4860::8888]:8443", "https://[2001:4860:4860::8888]:8443/", True),
        ("*", "https://anything.test/", True),
        ("*", "https://anything.test:22/", False),
        ("", "https://videos.test/", False),
    ],
)
def test_a_pattern_allows_what_it_says(pattern: str, url: str, is_allowed: bool) -> None:
    hosts = AllowedHosts((pattern,))
    if is_allowed:
        hosts.require(url)
    else:
        with pytest.raises(UrlRefused):
            hosts.require(url)


def test_one_private_address_among_public_ones_refuses_a_name(
    monkeypatch: pytest.MonkeyPatch, trap: list[int]
) -> None:
    resolving_to(monkeypatch, ("8.8.8.8", "10.0.0.1"))
    with pytest.raises(UrlRefused, match="not public") as refused:
        get("https://videos.test/a.mp4?token=secret")
    assert "10.0.0.1" not in str(refused.value) and "secret" not in str(refused.value)
    assert trap == []


def test_a_name_that_changes_its_address_is_asked_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = resolving_to(monkeypatch, ("8.8.8.8",), ("127.0.0.1",))
    reached: list[Any] = []

    async def connect(loop: Any, sock: socket.socket, address: Any) -> None:
        reached.append(address)
        raise OSError("no network in tests")

    monkeypatch.setattr(asyncio.selector_events.BaseSelectorEventLoop, "sock_connect", connect)
    with pytest.raises(UrlUnavailable, match=r"videos\.test: the connection failed"):
        get("https://videos.test/a.mp4")
    assert asked == ["videos.test"]
    assert [address[:2] for address in reached] == [("8.8.8.8", 443)]


def test_a_name_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **more: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(UrlUnavailable, match="cannot be resolved"):
        get("https://videos.test/a.mp4")

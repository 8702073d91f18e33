from __future__ import annotations

import pytest

from deepfake_triton.client.servers import LONGEST_REST_S, SHORTEST_REST_S, Servers, urls_from_text
from deepfake_triton.errors import ServerUnreachable

pytestmark = pytest.mark.fast


class Clock:
    """Time that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_servers_are_asked_in_turn() -> None:
    servers = Servers(("a:1", "b:1", "c:1"), Clock())
    assert [servers.choose() for _ in range(6)] == ["a:1", "b:1", "c:1"] * 2
    assert servers.choose(avoid=["a:1"]) == "b:1"


def test_one_that_failed_rests_longer_each_time_and_one_caller_tries_it() -> None:
    clock = Clock()
    servers = Servers(("a:1", "b:1"), clock)
    for failures in range(1, 12):
        servers.failed("a:1")
        rest_s = min(LONGEST_REST_S, SHORTEST_REST_S * 2 ** (failures - 1))
        assert {servers.choose() for _ in range(4)} == {"b:1"}
        clock.now += rest_s
        assert sorted(servers.choose() for _ in range(4)) == ["a:1", "b:1", "b:1", "b:1"]
    servers.answered("a:1")
    assert sorted(servers.choose() for _ in range(4)) == ["a:1", "a:1", "b:1", "b:1"]


def test_when_all_rest_the_first_to_wake_is_asked() -> None:
    clock = Clock()
    servers = Servers(("a:1", "b:1"), clock)
    servers.failed("b:1")
    clock.now += 0.1
    servers.failed("a:1")
    assert servers.choose() == "b:1" and servers.choose(avoid=["b:1"]) == "a:1"
    alone = Servers(("a:1",), clock)
    alone.failed("a:1")
    assert alone.choose(avoid=["a:1"]) == "a:1"


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


def test_those_with_a_place_left_go_first() -> None:
    servers = Servers(("a:1", "b:1"), Clock())
    assert [servers.choose(is_full=lambda url: url == "a:1") for _ in range(3)] == ["b:1"] * 3
    assert servers.choose(is_full=lambda _: True) == "a:1"

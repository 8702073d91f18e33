from __future__ import annotations

import pytest

from deepfake_triton.client.protocol.endpoints import FIRST_BACKOFF_S, MAX_BACKOFF_S, EndpointPool

pytestmark = pytest.mark.fast


class Clock:
    """Time that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_endpoints_are_tried_round_robin() -> None:
    pool = EndpointPool(("a:1", "b:1", "c:1"), Clock())
    assert [pool.choose() for _ in range(6)] == ["a:1", "b:1", "c:1"] * 2
    assert pool.choose(avoid=["a:1"]) == "b:1"


def test_a_failed_endpoint_backs_off_exponentially_and_one_request_probes_it() -> None:
    clock = Clock()
    pool = EndpointPool(("a:1", "b:1"), clock)
    for failures in range(1, 12):
        pool.mark_failed("a:1")
        backoff_s = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2 ** (failures - 1))
        assert {pool.choose() for _ in range(4)} == {"b:1"}
        clock.now += backoff_s
        assert sorted(pool.choose() for _ in range(4)) == ["a:1", "b:1", "b:1", "b:1"]
    pool.mark_healthy("a:1")
    assert sorted(pool.choose() for _ in range(4)) == ["a:1", "a:1", "b:1", "b:1"]


def test_when_all_back_off_the_one_whose_backoff_ends_first_is_tried() -> None:
    clock = Clock()
    pool = EndpointPool(("a:1", "b:1"), clock)
    pool.mark_failed("b:1")
    clock.now += 0.1
    pool.mark_failed("a:1")
    assert pool.choose() == "b:1" and pool.choose(avoid=["b:1"]) == "a:1"
    alone = EndpointPool(("a:1",), clock)
    alone.mark_failed("a:1")
    assert alone.choose(avoid=["a:1"]) == "a:1"


def test_endpoints_with_a_free_slot_are_preferred() -> None:
    pool = EndpointPool(("a:1", "b:1"), Clock())
    assert [pool.choose(is_full=lambda url: url == "a:1") for _ in range(3)] == ["b:1"] * 3
    assert pool.choose(is_full=lambda _: True) == "a:1"

"""Retries of one request, on a clock that the test moves."""

from __future__ import annotations

import itertools

import pytest

from deepfake_triton.client.protocol.endpoints import EndpointPool
from deepfake_triton.client.protocol.retry import FIRST_CONTACT_S, RetryBudget, RetryLoop, RetryPolicy
from deepfake_triton.errors import (
    DeadlineExceeded,
    InferenceFailed,
    InvalidOption,
    InvalidRequest,
    ModelRestarting,
    ModelUnavailable,
    PermissionDenied,
    ServerError,
    ServerOverloaded,
    ServerUnreachable,
    WrongEndpoint,
)

pytestmark = pytest.mark.fast

POLICY = RetryPolicy(attempts=4, first_delay_s=1.0, longest_delay_s=3.0)


class Clock:
    """Time that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def retry_loop(
    *urls: str,
    policy: RetryPolicy = POLICY,
    deadline: float = 60.0,
    budget: RetryBudget | None = None,
    reached: bool = True,
) -> tuple[RetryLoop, Clock]:
    clock = Clock()
    endpoints = EndpointPool(urls, clock)
    endpoints.ever_answered = endpoints.ever_served = reached
    loop = RetryLoop(
        endpoints,
        policy,
        budget or RetryBudget(policy),
        deadline=deadline,
        timeout_s=deadline,
        clock=clock,
        jitter=lambda: 1.0,
    )
    return loop, clock


@pytest.mark.parametrize("kind", [ServerUnreachable, ServerOverloaded, ModelRestarting])
def test_a_passing_fault_is_tried_again_elsewhere_at_once_and_then_later(kind: type[ServerError]) -> None:
    loop, _ = retry_loop("a:1", "b:1")
    tried, delays = [], []
    with pytest.raises(kind, match="number 3"):
        for number in range(10):
            tried.append(loop.start_attempt().url)
            delays.append(loop.delay_after(kind(f"number {number}")))
    assert tried == ["a:1", "b:1", "a:1", "b:1"]
    assert delays == [0.0, 2.0, 3.0]


@pytest.mark.parametrize("kind", [InferenceFailed, InvalidRequest, PermissionDenied])
def test_what_would_fail_again_is_not_repeated(kind: type[ServerError]) -> None:
    loop, _ = retry_loop("a:1", "b:1")
    loop.start_attempt()
    with pytest.raises(kind):
        loop.delay_after(kind("no"))


@pytest.mark.parametrize("kind", [ModelUnavailable, WrongEndpoint])
def test_what_one_endpoint_lacks_another_may_have(kind: type[ServerError]) -> None:
    loop, _ = retry_loop("a:1", "b:1", reached=False)
    assert (first := loop.start_attempt().url) and loop.delay_after(kind("no")) == 0.0
    assert loop.start_attempt().url != first
    with pytest.raises(kind):
        loop.delay_after(kind("no"))


@pytest.mark.parametrize("kind", [ServerUnreachable, ModelRestarting, ModelUnavailable])
def test_a_server_that_was_there_is_waited_for_until_the_deadline(kind: type[ServerError]) -> None:
    loop, clock = retry_loop("a:1", policy=RetryPolicy(burst=0), deadline=40.0)
    with pytest.raises(kind):
        while True:
            loop.start_attempt()
            clock.now += loop.delay_after(kind("gone"))
    assert clock.now > 36


def test_one_that_was_never_reached_is_not_waited_for_long() -> None:
    loop, clock = retry_loop("a:1", policy=RetryPolicy(), deadline=300.0, reached=False)
    with pytest.raises(ServerUnreachable):
        while True:
            loop.start_attempt()
            clock.now += loop.delay_after(ServerUnreachable("gone"))
    assert FIRST_CONTACT_S <= clock.now < FIRST_CONTACT_S + 3
    again = RetryLoop(
        loop._endpoints,
        RetryPolicy(),
        RetryBudget(RetryPolicy()),
        deadline=900.0,
        timeout_s=300.0,
        clock=clock,
    )
    again.start_attempt()
    with pytest.raises(ServerUnreachable):  # one try: many videos do not wait one after the other
        again.delay_after(ServerUnreachable("gone"))
    loop, clock = retry_loop("a:1", policy=RetryPolicy(attempts=20), deadline=300.0, reached=False)
    with pytest.raises(ServerUnreachable):
        while True:
            loop.start_attempt()
            clock.now += loop.delay_after(ServerUnreachable("gone"))
    assert clock.now > 40, "a limit in `attempts` takes the place of the time"


def test_one_endpoint_that_hangs_leaves_the_others_their_share() -> None:
    loop, clock = retry_loop("a:1", "b:1", "c:1", policy=RetryPolicy(), deadline=60.0)
    limits = []
    with pytest.raises(DeadlineExceeded):
        while True:
            attempt = loop.start_attempt()
            limits.append(round(attempt.remaining_s()))
            clock.now += attempt.remaining_s()
            assert loop.delay_after(DeadlineExceeded("slow")) == 0.0
    assert limits == [20, 20, 20]
    alone, _ = retry_loop("a:1", policy=RetryPolicy(), deadline=60.0)
    assert alone.start_attempt().remaining_s() == 60.0


def test_of_three_endpoints_the_one_not_asked_yet_comes_next_though_it_backs_off() -> None:
    loop, _ = retry_loop("a:1", "b:1", "c:1", policy=RetryPolicy())
    loop._endpoints.mark_failed("c:1")
    tried, waited = [], []
    for _ in range(4):
        tried.append(loop.start_attempt().url)
        waited.append(loop.delay_after(ServerUnreachable("gone")))
    assert tried[:3] == ["a:1", "b:1", "c:1"] and waited[:2] == [0.0, 0.0]
    assert min(waited[2:]) > 0, "once all were tried, there are pauses"


def test_what_was_heard_before_says_more_than_that_time_is_over() -> None:
    loop, clock = retry_loop("a:1", policy=RetryPolicy(), deadline=1.0)
    loop.start_attempt()
    clock.now += loop.delay_after(ModelRestarting("its step has ended"))
    attempt = loop.start_attempt()
    clock.now += attempt.remaining_s()
    with pytest.raises(ModelRestarting, match="its step has ended"):
        loop.delay_after(attempt.expired())


@pytest.mark.parametrize(
    "changes",
    [{"attempts": 0}, {"attempt_timeout_s": 0}, {"first_delay_s": -1}, {"longest_delay_s": float("inf")}],
)
def test_a_policy_that_makes_no_sense_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(InvalidOption, match="expected"):
        RetryPolicy(**changes)  # type: ignore[arg-type]


def test_delays_are_drawn_between_half_and_all() -> None:
    clock = Clock()
    for jitter, delay_s in ((0.0, 0.5), (1.0, 1.0)):
        draw = itertools.repeat(jitter).__next__
        loop = RetryLoop(
            EndpointPool(("a:1",), clock),
            POLICY,
            RetryBudget(POLICY),
            deadline=60,
            timeout_s=60,
            clock=clock,
            jitter=draw,
        )
        loop.start_attempt()
        assert loop.delay_after(ServerOverloaded("full")) == delay_s


def test_nothing_is_asked_after_the_deadline() -> None:
    loop, clock = retry_loop("a:1", deadline=1.5)
    assert loop.start_attempt().remaining_s() == 1.5
    clock.now = 1.0
    with pytest.raises(ServerOverloaded, match="full"):  # the delay would end too late
        loop.delay_after(ServerOverloaded("full"))
    clock.now = 1.6
    late, later = retry_loop("a:1", deadline=1.0)
    later.now = 1.0
    with pytest.raises(DeadlineExceeded, match="no time is left of 1 s"):
        late.start_attempt()


def test_a_server_that_says_nothing_is_left_for_another_while_there_is_time() -> None:
    policy = RetryPolicy(attempt_timeout_s=2.0)
    loop, clock = retry_loop("a:1", "b:1", policy=policy, deadline=5.0)
    assert (attempt := loop.start_attempt()).remaining_s() == 2.0
    clock.now = 2.0
    assert loop.delay_after(DeadlineExceeded("slow")) == 0.0
    assert loop.start_attempt().url != attempt.url
    clock.now = 5.0
    with pytest.raises(DeadlineExceeded):
        loop.delay_after(DeadlineExceeded("slow"))


@pytest.mark.parametrize(("kind", "least", "most"), [(ServerOverloaded, 10, 12), (ServerUnreachable, 40, 40)])
def test_the_budget_bounds_retries_but_not_moves_away_from_a_dead_server(
    kind: type[ServerError], least: int, most: int
) -> None:
    policy = RetryPolicy(attempts=2, budget=0.25, burst=2)
    budget = RetryBudget(policy)
    repeated = 0
    for _ in range(40):
        loop, _ = retry_loop("a:1", "b:1", policy=policy, budget=budget)
        loop.start_attempt()
        try:
            loop.delay_after(kind("no"))
            repeated += 1
        except kind:
            pass
    assert least <= repeated <= most  # a quarter of 40, and what was saved at first


def test_the_last_attempts_are_made_shortly_before_the_deadline() -> None:
    policy = RetryPolicy(first_delay_s=0.2, longest_delay_s=3.0)
    loop, clock = retry_loop("one:1", policy=policy, deadline=5.0)
    attempted_at: list[float] = []
    with pytest.raises(ServerUnreachable):
        while True:
            loop.start_attempt()
            attempted_at.append(clock.now)
            clock.now += loop.delay_after(ServerUnreachable("one:1: refused"))
    assert len(attempted_at) < 10 and 4.7 <= attempted_at[-1] < 5.0

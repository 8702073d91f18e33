"""The rules for repeating a request, on a clock that the test moves."""

from __future__ import annotations

import itertools

import pytest

from deepfake_triton.client.attempts import FIRST_CONTACT_S, Attempts, RetryBudget, RetryPolicy
from deepfake_triton.client.servers import Servers
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


def attempts(
    *urls: str,
    policy: RetryPolicy = POLICY,
    deadline: float = 60.0,
    budget: RetryBudget | None = None,
    reached: bool = True,
) -> tuple[Attempts, Clock]:
    clock = Clock()
    servers = Servers(urls, clock)
    servers.ever_answered = servers.ever_served = reached
    request = Attempts(
        servers,
        policy,
        budget or RetryBudget(policy),
        deadline=deadline,
        timeout_s=deadline,
        clock=clock,
        chance=lambda: 1.0,
    )
    return request, clock


@pytest.mark.parametrize("kind", [ServerUnreachable, ServerOverloaded, ModelRestarting])
def test_a_passing_fault_is_tried_again_elsewhere_at_once_and_then_later(kind: type[ServerError]) -> None:
    request, _ = attempts("a:1", "b:1")
    asked, delays = [], []
    with pytest.raises(kind, match="number 3"):
        for number in range(10):
            asked.append(request.next().url)
            delays.append(request.failed(kind(f"number {number}")))
    assert asked == ["a:1", "b:1", "a:1", "b:1"]
    assert delays == [0.0, 2.0, 3.0]


@pytest.mark.parametrize("kind", [InferenceFailed, InvalidRequest, PermissionDenied])
def test_what_would_fail_again_is_not_repeated(kind: type[ServerError]) -> None:
    request, _ = attempts("a:1", "b:1")
    request.next()
    with pytest.raises(kind):
        request.failed(kind("no"))


@pytest.mark.parametrize("kind", [ModelUnavailable, WrongEndpoint])
def test_what_one_endpoint_lacks_another_may_have(kind: type[ServerError]) -> None:
    request, _ = attempts("a:1", "b:1", reached=False)
    assert (first := request.next().url) and request.failed(kind("no")) == 0.0
    assert request.next().url != first
    with pytest.raises(kind):
        request.failed(kind("no"))


@pytest.mark.parametrize("kind", [ServerUnreachable, ModelRestarting, ModelUnavailable])
def test_a_server_that_was_there_is_waited_for_until_the_deadline(kind: type[ServerError]) -> None:
    request, clock = attempts("a:1", policy=RetryPolicy(burst=0), deadline=40.0)
    with pytest.raises(kind):
        while True:
            request.next()
            clock.now += request.failed(kind("gone"))
    assert clock.now > 36


def test_one_that_was_never_reached_is_not_waited_for_long() -> None:
    request, clock = attempts("a:1", policy=RetryPolicy(), deadline=300.0, reached=False)
    with pytest.raises(ServerUnreachable):
        while True:
            request.next()
            clock.now += request.failed(ServerUnreachable("gone"))
    assert FIRST_CONTACT_S <= clock.now < FIRST_CONTACT_S + 3
    again = Attempts(
        request._servers,
        RetryPolicy(),
        RetryBudget(RetryPolicy()),
        deadline=900.0,
        timeout_s=300.0,
        clock=clock,
    )
    again.next()
    with pytest.raises(ServerUnreachable):  # one try: many videos do not wait one after the other
        again.failed(ServerUnreachable("gone"))
    request, clock = attempts("a:1", policy=RetryPolicy(attempts=20), deadline=300.0, reached=False)
    with pytest.raises(ServerUnreachable):
        while True:
            request.next()
            clock.now += request.failed(ServerUnreachable("gone"))
    assert clock.now > 40, "whoever says how often is asked so often"


def test_one_endpoint_that_hangs_leaves_the_others_their_share() -> None:
    request, clock = attempts("a:1", "b:1", "c:1", policy=RetryPolicy(), deadline=60.0)
    limits = []
    with pytest.raises(DeadlineExceeded):
        while True:
            turn = request.next()
            limits.append(round(turn.left_s()))
            clock.now += turn.left_s()
            assert request.failed(DeadlineExceeded("slow")) == 0.0
    assert limits == [20, 20, 20]
    alone, _ = attempts("a:1", policy=RetryPolicy(), deadline=60.0)
    assert alone.next().left_s() == 60.0


def test_of_three_endpoints_the_one_not_asked_yet_comes_next_though_it_backs_off() -> None:
    request, _ = attempts("a:1", "b:1", "c:1", policy=RetryPolicy())
    request._servers.failed("c:1")
    asked, waited = [], []
    for _ in range(4):
        asked.append(request.next().url)
        waited.append(request.failed(ServerUnreachable("gone")))
    assert asked[:3] == ["a:1", "b:1", "c:1"] and waited[:2] == [0.0, 0.0]
    assert min(waited[2:]) > 0, "once all were asked, there are pauses"


def test_what_was_heard_before_says_more_than_that_time_is_over() -> None:
    request, clock = attempts("a:1", policy=RetryPolicy(), deadline=1.0)
    request.next()
    clock.now += request.failed(ModelRestarting("its step has ended"))
    turn = request.next()
    clock.now += turn.left_s()
    with pytest.raises(ModelRestarting, match="its step has ended"):
        request.failed(turn.expired())


@pytest.mark.parametrize(
    "changes",
    [{"attempts": 0}, {"attempt_timeout_s": 0}, {"first_delay_s": -1}, {"longest_delay_s": float("inf")}],
)
def test_a_policy_that_makes_no_sense_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(InvalidOption, match="expected"):
        RetryPolicy(**changes)  # type: ignore[arg-type]


def test_delays_are_drawn_between_half_and_all() -> None:
    clock = Clock()
    for chance, delay_s in ((0.0, 0.5), (1.0, 1.0)):
        draw = itertools.repeat(chance).__next__
        request = Attempts(
            Servers(("a:1",), clock),
            POLICY,
            RetryBudget(POLICY),
            deadline=60,
            timeout_s=60,
            clock=clock,
            chance=draw,
        )
        request.next()
        assert request.failed(ServerOverloaded("full")) == delay_s


def test_nothing_is_asked_after_the_deadline() -> None:
    request, clock = attempts("a:1", deadline=1.5)
    assert request.next().left_s() == 1.5
    clock.now = 1.0
    with pytest.raises(ServerOverloaded, match="full"):  # the delay would end too late
        request.failed(ServerOverloaded("full"))
    clock.now = 1.6
    late, later = attempts("a:1", deadline=1.0)
    later.now = 1.0
    with pytest.raises(DeadlineExceeded, match="no time is left of 1 s"):
        late.next()


def test_a_server_that_says_nothing_is_left_for_another_while_there_is_time() -> None:
    policy = RetryPolicy(attempt_timeout_s=2.0)
    request, clock = attempts("a:1", "b:1", policy=policy, deadline=5.0)
    assert (turn := request.next()).left_s() == 2.0
    clock.now = 2.0
    assert request.failed(DeadlineExceeded("slow")) == 0.0
    assert request.next().url != turn.url
    clock.now = 5.0
    with pytest.raises(DeadlineExceeded):
        request.failed(DeadlineExceeded("slow"))


@pytest.mark.parametrize(("kind", "least", "most"), [(ServerOverloaded, 10, 12), (ServerUnreachable, 40, 40)])
def test_the_budget_bounds_retries_but_not_moves_away_from_a_dead_server(
    kind: type[ServerError], least: int, most: int
) -> None:
    policy = RetryPolicy(attempts=2, budget=0.25, burst=2)
    budget = RetryBudget(policy)
    repeated = 0
    for _ in range(40):
        request, _ = attempts("a:1", "b:1", policy=policy, budget=budget)
        request.next()
        try:
            request.failed(kind("no"))
            repeated += 1
        except kind:
            pass
    assert least <= repeated <= most  # a quarter of 40, and what was saved at first

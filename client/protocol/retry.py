"""Retries of one request: when, at which endpoint, and how many; no connection, no waiting."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from deepfake_triton.client.protocol.endpoints import EndpointPool
from deepfake_triton.client.wire.connection_options import require_seconds
from deepfake_triton.client.wire.error_mapping import RETRYABLE, time_text
from deepfake_triton.errors import (
    DeadlineExceeded,
    InvalidOption,
    ModelUnavailable,
    ServerError,
    ServerUnreachable,
    WrongEndpoint,
)

FIRST_CONTACT_S = 10.0
"""Without a limit in `attempts`, endpoints that this client has never reached are retried for so long,
counted from its first request: the address is wrong more often than the server is about to start."""


@dataclass(frozen=True)
class RetryPolicy:
    """Retries of one client: exponential backoff with jitter, failover, and a retry budget.

    Attributes:
        attempts: Most attempts of a request; None: as many as its deadline allows.
        first_delay_s: Delay before the same endpoint is tried again, half of it random; doubled each time.
            There is no delay before another endpoint.
        longest_delay_s: Upper bound of that delay.
        attempt_timeout_s: Time after which a silent endpoint counts as failed. None: its share of the time
            that is left, one for each endpoint not tried yet and one more; with one endpoint all of it.
        budget: Retries per request, over all requests of a client: a server that is slow for all is not sent
            everything twice. Waiting for a server that is gone or restarts is not counted, nor is failover
            from a silent endpoint to one not tried yet.
        burst: Retries beyond the budget.

    Raises:
        InvalidOption: A number is out of range.
    """

    attempts: int | None = None
    first_delay_s: float = 0.2
    longest_delay_s: float = 3.0
    attempt_timeout_s: float | None = None
    budget: float = 0.2
    burst: int = 10

    def __post_init__(self) -> None:
        if self.attempts is not None and self.attempts < 1:
            raise InvalidOption(f"attempts: got {self.attempts}, expected 1 or more")
        for name in ("first_delay_s", "longest_delay_s"):
            require_seconds(name, getattr(self, name))
        if self.attempt_timeout_s is not None:
            require_seconds("attempt_timeout_s", self.attempt_timeout_s)


class RetryBudget:
    """Token bucket of retries over all requests of a client. Usable from many threads."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._left = float(policy.burst)
        self._lock = threading.Lock()

    def earn(self) -> None:
        """Add the share of one request."""
        with self._lock:
            self._left = min(self._policy.burst, self._left + self._policy.budget)

    def spend(self) -> bool:
        """Take one retry, and return whether there was one."""
        with self._lock:
            if self._left < 1:
                return False
            self._left -= 1
            return True


@dataclass(frozen=True)
class Attempt:
    """One attempt of a request at one endpoint, until `ends` on the clock; messages name `limit_s` as its
    time-out."""

    url: str
    ends: float
    limit_s: float
    clock: Callable[[], float]

    def remaining_s(self) -> float:
        """Return the time until the attempt ends. Raises DeadlineExceeded when it has."""
        remaining = self.ends - self.clock()
        if remaining <= 0:
            raise self.expired()
        return remaining

    def expired(self) -> DeadlineExceeded:
        """Return the error of an attempt that got no answer in time."""
        return DeadlineExceeded(
            f"{self.url}: no answer within {time_text(self.limit_s)}; raise the time-out or send fewer frames"
        )


class RetryLoop:
    """Attempts of one request, until it is answered or given up."""

    def __init__(
        self,
        endpoints: EndpointPool,
        policy: RetryPolicy,
        budget: RetryBudget,
        *,
        deadline: float,
        timeout_s: float,
        is_full: Callable[[str], bool] = lambda _: False,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`deadline` is on the clock; `timeout_s` is the whole time-out, for messages. `is_full` tells
        whether an endpoint has no free slot for another request of this client; `jitter` draws from 0…1."""
        self._endpoints, self._policy, self._budget = endpoints, policy, budget
        self._deadline, self._timeout_s, self._is_full = deadline, timeout_s, is_full
        self._clock, self._jitter = clock, jitter
        self._tried: list[str] = []
        self._last_error: ServerError | None = None
        budget.earn()

    def start_attempt(self) -> Attempt:
        """Start the next attempt. Raises DeadlineExceeded, or the last attempt's error, when time is over."""
        now = self._clock()
        remaining = self._deadline - now
        if remaining <= 0:
            urls = ", ".join(self._endpoints.urls)
            raise self._last_error or DeadlineExceeded(
                f"{urls}: no time is left of {time_text(self._timeout_s)} for a video"
            )
        tried = set(self._tried)
        avoid = tried if tried < set(self._endpoints.urls) else self._tried[-1:]
        url = self._endpoints.choose(avoid, self._is_full)
        self._tried.append(url)
        limit_s = min(remaining, self._policy.attempt_timeout_s or self._share_s(remaining))
        is_whole = limit_s == remaining and len(self._tried) == 1
        return Attempt(url, now + limit_s, self._timeout_s if is_whole else round(limit_s, 1), self._clock)

    def succeed(self) -> None:
        """End the loop: the endpoint answered."""
        self._endpoints.mark_healthy(self._tried[-1], served=True)

    def delay_after(self, error: ServerError) -> float:
        """Record a failed attempt, and return the delay before the next one in seconds. Raises `error`, or an
        earlier one that says more, when there is to be none."""
        is_gone = isinstance(error, ServerUnreachable | DeadlineExceeded | ModelUnavailable)
        if is_gone:
            self._endpoints.mark_failed(self._tried[-1])
        else:
            self._endpoints.mark_healthy(self._tried[-1])
        reported = error
        if isinstance(error, DeadlineExceeded) and self._last_error is not None:
            reported = self._last_error  # says more than that the rest of the time was too short
        self._last_error = reported
        fails_over = len(set(self._tried)) < len(self._endpoints.urls)
        if not self._is_retryable(error, fails_over):
            raise reported
        if not (fails_over and is_gone) and not _puts_no_load(error) and not self._budget.spend():
            raise reported
        if fails_over:
            return 0.0
        remaining_s = self._deadline - self._clock()
        if remaining_s <= self._policy.first_delay_s:
            raise reported
        return min(self._backoff_s(), remaining_s / 2)  # a long delay does not cost the last attempts

    def _is_retryable(self, error: ServerError, fails_over: bool) -> bool:
        if self._policy.attempts is not None and len(self._tried) >= self._policy.attempts:
            return False
        if isinstance(error, WrongEndpoint):
            return fails_over
        if isinstance(error, DeadlineExceeded):
            return self._clock() < self._deadline
        if isinstance(error, RETRYABLE) or (
            isinstance(error, ModelUnavailable) and self._endpoints.ever_served
        ):
            waited_s = self._clock() - (self._endpoints.first_attempt_at or 0.0)
            never_there = isinstance(error, ServerUnreachable) and not self._endpoints.ever_answered
            return not never_there or bool(self._policy.attempts) or waited_s < FIRST_CONTACT_S
        return isinstance(error, ModelUnavailable) and fails_over

    def _backoff_s(self) -> float:
        """Exponential backoff with jitter, before the same endpoint is tried again."""
        doublings = min(len(self._tried) - 1, 16)
        longest = min(self._policy.longest_delay_s, self._policy.first_delay_s * 2.0**doublings)
        return longest * (0.5 + 0.5 * self._jitter())

    def _share_s(self, remaining: float) -> float:
        """Share of an attempt in the remaining time: one for each endpoint not tried yet, and one more."""
        return remaining / (1 + len(self._endpoints.urls) - len(set(self._tried)))


def _puts_no_load(error: ServerError) -> bool:
    return isinstance(error, ServerUnreachable | ModelUnavailable)

"""When to ask again, and whom: the rules for one request, without a connection and without waiting."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from deepfake_triton.client.connection_options import require_seconds
from deepfake_triton.client.faults import REPEATABLE
from deepfake_triton.client.servers import Servers
from deepfake_triton.errors import (
    DeadlineExceeded,
    InvalidOption,
    ModelUnavailable,
    ServerError,
    ServerUnreachable,
    WrongEndpoint,
)

FIRST_CONTACT_S = 10.0
"""Unless `attempts` says otherwise, endpoints that this client has never reached are waited for so long, from
its first request on: the address is wrong more often than the server is about to start."""


@dataclass(frozen=True)
class RetryPolicy:
    """A request is attempted until its deadline, or at most `attempts` times. Before another endpoint is
    asked there is no delay; before the same one, a random part of `first_delay_s`, doubled each time, up to
    `longest_delay_s`. An endpoint that says nothing for `attempt_timeout_s` counts as failed (None: for its
    share of the time that is left, one for each endpoint not asked yet and one more; with one endpoint all
    of it).

    Over all requests, retries of servers that are there are at most a share `budget` of them, and `burst`
    more: a server that is slow for all is not asked twice by all. Waiting for a server that is gone or
    restarts is not counted, and neither is going from one that says nothing to one that was not asked yet.
    Raises InvalidOption.
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
    """What is left for retries, for all requests of a client. Usable from many threads."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._left = float(policy.burst)
        self._lock = threading.Lock()

    def earn(self) -> None:
        """A request was made."""
        with self._lock:
            self._left = min(self._policy.burst, self._left + self._policy.budget)

    def spend(self) -> bool:
        """Whether one more retry is allowed; then it is counted."""
        with self._lock:
            if self._left < 1:
                return False
            self._left -= 1
            return True


@dataclass(frozen=True)
class Turn:
    """One attempt: ask this endpoint, until `ends` on the clock; `limit_s` is its time-out, for messages."""

    url: str
    ends: float
    limit_s: float
    clock: Callable[[], float]

    def left_s(self) -> float:
        """Until the turn ends. Raises DeadlineExceeded when it has."""
        left = self.ends - self.clock()
        if left <= 0:
            raise self.expired()
        return left

    def expired(self) -> DeadlineExceeded:
        """The error of an attempt that got no answer in time."""
        return DeadlineExceeded(
            f"{self.url}: no answer within {self.limit_s:g} s; raise the time-out or send fewer frames"
        )


class Attempts:
    """One request, until it is answered or given up."""

    def __init__(
        self,
        servers: Servers,
        policy: RetryPolicy,
        budget: RetryBudget,
        *,
        deadline: float,
        timeout_s: float,
        is_full: Callable[[str], bool] = lambda _: False,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`deadline` is on the clock; `timeout_s` is the whole time-out, for messages. `is_full` tells
        whether an endpoint has no place left for another request of this client."""
        self._servers, self._policy, self._budget = servers, policy, budget
        self._deadline, self._timeout_s, self._is_full = deadline, timeout_s, is_full
        self._clock, self._chance = clock, chance
        self._asked: list[str] = []
        self._last: ServerError | None = None
        budget.earn()

    def next(self) -> Turn:
        """Whom to ask now. Raises DeadlineExceeded, or what the last attempt ran into, when time is over."""
        now = self._clock()
        left = self._deadline - now
        if left <= 0:
            raise self._last or DeadlineExceeded(
                f"{', '.join(self._servers.urls)}: no time is left of {self._timeout_s:g} s for a video"
            )
        asked = set(self._asked)
        avoid = asked if asked < set(self._servers.urls) else self._asked[-1:]
        url = self._servers.choose(avoid, self._is_full)
        self._asked.append(url)
        limit_s = min(left, self._policy.attempt_timeout_s or self._share_s(left))
        whole = limit_s == left and len(self._asked) == 1
        return Turn(url, now + limit_s, self._timeout_s if whole else round(limit_s, 1), self._clock)

    def answered(self) -> None:
        """The server of this turn gave an answer."""
        self._servers.answered(self._asked[-1], served=True)

    def failed(self, error: ServerError) -> float:
        """How long to wait before the next turn, in seconds. Raises `error`, or one before it that says
        more, when there shall be none."""
        gone = isinstance(error, ServerUnreachable | DeadlineExceeded | ModelUnavailable)
        if gone:
            self._servers.failed(self._asked[-1])
        else:
            self._servers.answered(self._asked[-1])
        told = error
        if isinstance(error, DeadlineExceeded) and self._last is not None:
            told = self._last  # says more than that the rest of the time was too short
        self._last = told
        elsewhere = len(set(self._asked)) < len(self._servers.urls)
        if not self._may_repeat(error, elsewhere):
            raise told
        if not (elsewhere and gone) and not _puts_no_load(error) and not self._budget.spend():
            raise told
        if elsewhere:
            return 0.0
        doublings = min(len(self._asked) - 1, 16)
        longest = min(self._policy.longest_delay_s, self._policy.first_delay_s * 2.0**doublings)
        delay_s = longest * (0.5 + 0.5 * self._chance())
        if self._clock() + delay_s >= self._deadline:
            raise told
        return delay_s

    def _may_repeat(self, error: ServerError, elsewhere: bool) -> bool:
        if self._policy.attempts is not None and len(self._asked) >= self._policy.attempts:
            return False
        if isinstance(error, WrongEndpoint):
            return elsewhere
        if isinstance(error, DeadlineExceeded):
            return self._clock() < self._deadline
        if isinstance(error, REPEATABLE) or (
            isinstance(error, ModelUnavailable) and self._servers.ever_served
        ):
            waited_s = self._clock() - (self._servers.first_asked or 0.0)
            never_there = isinstance(error, ServerUnreachable) and not self._servers.ever_answered
            return not never_there or bool(self._policy.attempts) or waited_s < FIRST_CONTACT_S
        return isinstance(error, ModelUnavailable) and elsewhere

    def _share_s(self, left: float) -> float:
        """Of the time that is left: one part for each endpoint not asked yet, and one for this attempt."""
        return left / (1 + len(self._servers.urls) - len(set(self._asked)))


def _puts_no_load(error: ServerError) -> bool:
    return isinstance(error, ServerUnreachable | ModelUnavailable)

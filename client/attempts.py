"""When to ask again, and whom: the rules for one request, without a connection and without waiting."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from deepfake_triton.client.faults import REPEATABLE
from deepfake_triton.client.servers import Servers
from deepfake_triton.errors import DeadlineExceeded, ServerError, ServerUnreachable


@dataclass(frozen=True)
class RetryPolicy:
    """A request is asked at most `attempts` times. Before another server is asked there is no delay; before
    the same one, a random part of `first_delay_s`, doubled each time, up to `longest_delay_s`. A server that
    says nothing for `attempt_timeout_s` (None: until the request's deadline) counts as failed.

    Over all requests, retries are at most a share `budget` of them, and `burst` more: a server that is slow
    for all is not asked twice by all. Going from one that is gone to another is not counted.
    """

    attempts: int = 5
    first_delay_s: float = 0.2
    longest_delay_s: float = 3.0
    attempt_timeout_s: float | None = None
    budget: float = 0.2
    burst: int = 10


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
    """Ask this server, until `ends` on the clock."""

    url: str
    ends: float
    clock: Callable[[], float]

    def left_s(self) -> float:
        """Until the turn ends. Raises DeadlineExceeded when it has."""
        left = self.ends - self.clock()
        if left <= 0:
            raise DeadlineExceeded(f"{self.url}: no time is left for another call")
        return left


class Attempts:
    """One request, until it is answered or given up."""

    def __init__(
        self,
        servers: Servers,
        policy: RetryPolicy,
        budget: RetryBudget,
        deadline: float,
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`deadline` is on the clock; `timeout_s` is the whole time-out, for messages."""
        self._servers, self._policy, self._budget = servers, policy, budget
        self._deadline, self._timeout_s = deadline, timeout_s
        self._clock, self._chance = clock, chance
        self._asked = 0
        self._last: ServerError | None = None
        self._last_url: str | None = None
        budget.earn()

    def next(self) -> Turn:
        """Whom to ask now. Raises DeadlineExceeded, or what the last attempt ran into, when time is over."""
        now = self._clock()
        left = self._deadline - now
        if left <= 0:
            raise self._last or DeadlineExceeded(
                f"{', '.join(self._servers.urls)}: no time is left of {self._timeout_s:g} s for a video"
            )
        self._asked += 1
        self._last_url = self._servers.choose(avoid=self._last_url)
        return Turn(self._last_url, now + min(left, self._policy.attempt_timeout_s or left), self._clock)

    def answered(self) -> None:
        """The server of this turn gave an answer, or an error that is the request's own."""
        assert self._last_url is not None
        self._servers.answered(self._last_url)

    def failed(self, error: ServerError) -> float:
        """How long to wait before the next turn, in seconds. Raises `error` when there shall be none."""
        assert self._last_url is not None
        if isinstance(error, ServerUnreachable | DeadlineExceeded):
            self._servers.failed(self._last_url)
        else:
            self.answered()
        self._last = error
        in_time = isinstance(error, DeadlineExceeded) and self._clock() < self._deadline
        repeatable = in_time or isinstance(error, REPEATABLE)
        elsewhere = self._asked < len(self._servers.urls)
        moves = elsewhere and isinstance(error, ServerUnreachable)  # which puts no more load on anybody
        if not repeatable or self._asked >= self._policy.attempts or not (moves or self._budget.spend()):
            raise error
        if elsewhere:
            return 0.0
        longest = min(self._policy.longest_delay_s, self._policy.first_delay_s * 2.0 ** (self._asked - 1))
        delay_s = longest * (0.5 + 0.5 * self._chance())
        if self._clock() + delay_s >= self._deadline:
            raise error
        return delay_s

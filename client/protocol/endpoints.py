"""Endpoint pool: round-robin over several servers, with exponential backoff for those that failed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.5, 30.0
"""Backoff of an endpoint after one failure, doubled with each further one in a row, and its upper bound."""


@dataclass
class _Health:
    failures: int = 0
    backoff_until: float = 0.0


class EndpointPool:
    """Round-robin over endpoints. A failed endpoint backs off exponentially; after that a single probe
    request is let through before it rejoins the rotation. Usable from many threads."""

    def __init__(self, urls: Sequence[str], clock: Callable[[], float]) -> None:
        self.urls = tuple(urls)
        self.ever_answered = False
        """Whether any endpoint has been reached: then one that is gone may come back."""
        self.ever_served = False
        """Whether any endpoint has answered a request: then a model that is gone may come back, too."""
        self.first_attempt_at: float | None = None
        """When, on the clock, the first attempt started."""
        self._clock = clock
        self._health = {url: _Health() for url in self.urls}
        self._lock = threading.Lock()
        self._next = 0

    def choose(self, avoid: Collection[str] = (), is_full: Callable[[str], bool] = lambda _: False) -> str:
        """Return the next healthy endpoint that is not in `avoid`, if there is one; else the one whose
        backoff ends first. Endpoints with a free slot are preferred to full ones."""
        with self._lock:
            now = self._clock()
            self.first_attempt_at = now if self.first_attempt_at is None else self.first_attempt_at
            count = len(self.urls)
            order = [self.urls[(self._next + offset) % count] for offset in range(count)]
            candidates = [url for url in order if url not in avoid] or order
            healthy = [url for url in candidates if self._health[url].backoff_until <= now]
            if not healthy:
                return self._rotate(min(candidates, key=lambda url: self._health[url].backoff_until))
            with_slot = [url for url in healthy if not is_full(url)] or healthy
            health = self._health[with_slot[0]]
            if health.failures:  # this request is the probe, others wait for what it finds
                health.backoff_until = now + _backoff_s(health.failures)
            return self._rotate(with_slot[0])

    def mark_failed(self, url: str) -> None:
        """Start or lengthen the backoff of an endpoint: it did not reply."""
        with self._lock:
            health = self._health[url]
            health.failures += 1
            health.backoff_until = self._clock() + _backoff_s(health.failures)

    def mark_healthy(self, url: str, *, served: bool = False) -> None:
        """End the backoff of an endpoint: it replied, even if with an error. `served`: with an answer."""
        with self._lock:
            self.ever_answered = True
            self.ever_served |= served
            self._health[url] = _Health()

    def _rotate(self, chosen: str) -> str:
        self._next = self.urls.index(chosen) + 1
        return chosen


def _backoff_s(failures: int) -> float:
    return float(min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2 ** min(failures - 1, 10)))

"""Limit on the requests that one client has on their way to each server: `max_in_flight`."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future


class RequestSlots:
    """A number of slots for each endpoint, granted first come, first served. A request keeps its slot until
    its call has ended, also when nobody waits for the answer any more. Usable from many threads and event
    loops."""

    def __init__(self, urls: Sequence[str], max_in_flight: int | None) -> None:
        """`max_in_flight` None: no limit."""
        self._max = max_in_flight
        self._taken = dict.fromkeys(urls, 0)
        self._waiting: dict[str, deque[Future[bool]]] = {url: deque() for url in urls}
        self._lock = threading.Lock()

    def is_full(self, url: str) -> bool:
        """Whether another request would have to wait."""
        with self._lock:
            return self._max is not None and self._taken[url] >= self._max

    def acquire(self, url: str) -> Future[bool]:
        """Request a slot: the future is done once it is granted. `release` it, or `abandon` it when it is not
        waited for any more."""
        slot: Future[bool] = Future()
        with self._lock:
            if self._max is None or self._taken[url] < self._max:
                self._taken[url] += 1
                slot.set_result(True)
            else:
                self._waiting[url].append(slot)
        return slot

    def abandon(self, url: str, slot: Future[bool]) -> None:
        """Withdraw a request for a slot; one that was granted meanwhile is released."""
        with self._lock:
            if slot in self._waiting[url]:
                self._waiting[url].remove(slot)
                return
        self.release(url)

    def release(self, url: str) -> None:
        """Pass a slot on to the longest waiting request."""
        with self._lock:
            if self._waiting[url]:
                self._waiting[url].popleft().set_result(True)
                return
            self._taken[url] -= 1

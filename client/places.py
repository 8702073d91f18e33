"""How many requests one client has on their way to each server: `max_in_flight`."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future


class Places:
    """For each server so many places, handed out in the order in which they were asked for. A request keeps
    its place until its call has ended, also when nobody waits for the answer any more. Usable from many
    threads and event loops."""

    def __init__(self, urls: Sequence[str], max_in_flight: int | None) -> None:
        """`max_in_flight` None: no bound."""
        self._max = max_in_flight
        self._taken = dict.fromkeys(urls, 0)
        self._waiting: dict[str, deque[Future[None]]] = {url: deque() for url in urls}
        self._lock = threading.Lock()

    def is_full(self, url: str) -> bool:
        """Whether another request would have to wait."""
        with self._lock:
            return self._max is not None and self._taken[url] >= self._max

    def take(self, url: str) -> Future[None]:
        """Ask for a place: the future is done when there is one. Give it back with `free`, or with `refuse`
        when it is not waited for any more."""
        place: Future[None] = Future()
        with self._lock:
            if self._max is None or self._taken[url] < self._max:
                self._taken[url] += 1
                place.set_result(None)
            else:
                self._waiting[url].append(place)
        return place

    def refuse(self, url: str, place: Future[None]) -> None:
        """Nobody waits for the place any more."""
        with self._lock:
            if place in self._waiting[url]:
                self._waiting[url].remove(place)
                return
        self.free(url)

    def free(self, url: str) -> None:
        """A request to the server has ended."""
        with self._lock:
            if self._waiting[url]:
                self._waiting[url].popleft().set_result(None)
                return
            self._taken[url] -= 1

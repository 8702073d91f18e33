"""What became of the clips that a client sent, by server: Triton 2.51 does not count what it refuses."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from deepfake_triton.errors import ServerError, ServerOverloaded


@dataclass(frozen=True)
class RequestCounts:
    """Clips that a client sent, by server address; one that is retried counts each time.

    Attributes:
        answered: The server answered.
        refused: The server's queue or memory was full (ServerOverloaded).
        failed: Any other error, such as a server that is gone, or a time-out, also while all of the client's
            `max_in_flight` are on their way.
    """

    answered: Mapping[str, int]
    refused: Mapping[str, int]
    failed: Mapping[str, int]


class RequestCounter:
    """Counts requests. Usable from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answered, self._refused, self._failed = Counter[str](), Counter[str](), Counter[str]()

    def add(self, url: str, error: ServerError | None = None) -> None:
        """Count a request that came back, with its error if it has one."""
        if error is None:
            counter = self._answered
        else:
            counter = self._refused if isinstance(error, ServerOverloaded) else self._failed
        with self._lock:
            counter[url] += 1

    def so_far(self) -> RequestCounts:
        """Return the counts."""
        with self._lock:
            counters = (self._answered, self._refused, self._failed)
            return RequestCounts(*(MappingProxyType(dict(counter)) for counter in counters))

"""Several servers as one: which to ask next, after what was heard of each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deepfake_triton.errors import ServerUnreachable

SHORTEST_REST_S, LONGEST_REST_S = 0.5, 30.0


@dataclass
class _State:
    failures: int = 0
    rests_until: float = 0.0


class Servers:
    """Addresses in turn. One that failed rests, longer each time in a row; then one caller tries it, and the
    others follow once it has answered. Usable from many threads."""

    def __init__(self, urls: Sequence[str], clock: Callable[[], float]) -> None:
        self.urls = tuple(urls)
        self._clock = clock
        self._states = {url: _State() for url in self.urls}
        self._lock = threading.Lock()
        self._turn = 0

    def choose(self, avoid: str | None = None) -> str:
        """The next that does not rest, if there is one not `avoid`; else the one whose rest ends first."""
        with self._lock:
            now = self._clock()
            count = len(self.urls)
            order = [self.urls[(self._turn + offset) % count] for offset in range(count)]
            others = [url for url in order if url != avoid] or order
            awake = [url for url in others if self._states[url].rests_until <= now]
            chosen = awake[0] if awake else min(others, key=lambda url: self._states[url].rests_until)
            self._turn = self.urls.index(chosen) + 1
            state = self._states[chosen]
            if awake and state.failures:  # the others wait for what this call finds
                state.rests_until = now + _rest_s(state.failures)
            return chosen

    def failed(self, url: str) -> None:
        """No answer from there."""
        with self._lock:
            state = self._states[url]
            state.failures += 1
            state.rests_until = self._clock() + _rest_s(state.failures)

    def answered(self, url: str) -> None:
        """It is well, whatever it said."""
        with self._lock:
            self._states[url] = _State()


def _rest_s(failures: int) -> float:
    return float(min(LONGEST_REST_S, SHORTEST_REST_S * 2 ** (failures - 1)))


def urls_from_text(text: str) -> tuple[str, ...]:
    """`host:port`, or several of them with commas between. Raises ServerUnreachable for anything else."""
    urls = tuple(part.strip() for part in text.split(",") if part.strip())
    for url in urls or (text,):
        host, _, port = url.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ServerUnreachable(f"got the address {url!r}, expected HOST:PORT such as localhost:8001")
    return tuple(dict.fromkeys(urls))

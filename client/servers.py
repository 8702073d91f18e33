"""Several endpoints as one: which to ask next, after what was heard of each."""

from __future__ import annotations

import ipaddress
import re
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from deepfake_triton.errors import ServerUnreachable

SHORTEST_REST_S, LONGEST_REST_S = 0.5, 30.0


@dataclass
class _State:
    failures: int = 0
    rests_until: float = 0.0


class Servers:
    """Round-robin over endpoints. One that failed backs off exponentially; then one caller tries it, and the
    others follow once it has answered. Usable from many threads."""

    def __init__(self, urls: Sequence[str], clock: Callable[[], float]) -> None:
        self.urls = tuple(urls)
        self.ever_answered = False
        """Whether any of them has been reached: then one that is gone may come back."""
        self.ever_served = False
        """Whether any has answered a request: then a model that is gone may come back, too."""
        self.first_asked: float | None = None
        """When, on the clock, the first of them was asked."""
        self._clock = clock
        self._states = {url: _State() for url in self.urls}
        self._lock = threading.Lock()
        self._turn = 0

    def choose(self, avoid: Collection[str] = (), is_full: Callable[[str], bool] = lambda _: False) -> str:
        """The next that does not back off, if there is one not in `avoid`; else of those the one whose
        backoff ends first. Those that have a place left go before those that are full."""
        with self._lock:
            now = self._clock()
            self.first_asked = now if self.first_asked is None else self.first_asked
            count = len(self.urls)
            order = [self.urls[(self._turn + offset) % count] for offset in range(count)]
            others = [url for url in order if url not in avoid] or order
            awake = [url for url in others if self._states[url].rests_until <= now]
            with_place = [url for url in awake if not is_full(url)] or awake
            chosen = with_place[0] if awake else min(others, key=lambda url: self._states[url].rests_until)
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

    def answered(self, url: str, served: bool = False) -> None:
        """It is well, whatever it said; `served` when that was what was asked for."""
        with self._lock:
            self.ever_answered = True
            self.ever_served |= served
            self._states[url] = _State()


def _rest_s(failures: int) -> float:
    return float(min(LONGEST_REST_S, SHORTEST_REST_S * 2 ** min(failures - 1, 10)))


def urls_from_text(text: str) -> tuple[str, ...]:
    """`host:port`, or several of them with commas between; IPv6 in brackets. Raises ServerUnreachable, with
    what to write instead, for anything else."""
    urls = tuple(part.strip() for part in text.split(",") if part.strip())
    for url in urls or (text,):
        host, _, port = url.rpartition(":")
        if "/" in url:
            raise ServerUnreachable(
                f"got the web address {url!r}, expected HOST:PORT of the gRPC port such as localhost:8001; "
                "TLS is an option of its own (--tls, --ca)"
            )
        if ":" in host and not _is_bracketed_ipv6(host):
            raise ServerUnreachable(
                f"got the address {url!r}, expected HOST:PORT; an IPv6 address stands in brackets, such as "
                "[::1]:8001"
            )
        is_name = ":" in host or re.fullmatch(r"[^\s\[\]]+", host)
        if not is_name or not host.isprintable() or not re.fullmatch(r"0*[0-9]{1,5}", port, re.ASCII):
            raise ServerUnreachable(f"got the address {url!r}, expected HOST:PORT such as localhost:8001")
        if not 0 < int(port) < 65536:
            raise ServerUnreachable(f"got the port {port}, expected HOST:PORT with 1…65535")
    return tuple(dict.fromkeys(urls))


def _is_bracketed_ipv6(host: str) -> bool:
    try:
        return host[:1] == "[" and host[-1:] == "]" and bool(ipaddress.IPv6Address(host[1:-1]))
    except ValueError:
        return False

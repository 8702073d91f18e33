"""The first request of a kind that a fresh server meets, beside later ones of that kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from deepfake_triton.benchmarks.measure.timing import round_values
from deepfake_triton.client import DeepfakeClient, FrameBatch, RetryPolicy, Transport
from deepfake_triton.json_object import JsonObject

LATER_REQUESTS = 5


@dataclass(frozen=True)
class FirstRequest:
    """Latency of the first request with a clip, and of those that followed."""

    clip: str
    faces: int
    """Faces that were found."""
    first_ms: float
    later_ms: tuple[float, ...]

    @property
    def later_median_ms(self) -> float:
        """Median of the later ones, in ms."""
        return round(float(np.median(self.later_ms)), 2)

    @property
    def ratio(self) -> float:
        """How many times as long as a later one the first one took."""
        return self.first_ms / self.later_median_ms

    def to_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "clip": self.clip,
            "faces": self.faces,
            "first_ms": self.first_ms,
            "later_ms": list(self.later_ms),
            "later_median_ms": self.later_median_ms,
            "ratio": round(self.ratio, 3),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FirstRequest:
        """Read the JSON form."""
        return cls(data["clip"], data["faces"], data["first_ms"], tuple(data["later_ms"]))


def first_requests(
    url: str, clips: Iterable[tuple[str, FrameBatch]], *, transport: Transport, later: int = LATER_REQUESTS
) -> tuple[FirstRequest, ...]:
    """Send each clip once and then `later` times more, one request at a time, over one connection.

    The very first one includes the connection. What they say of a server's readiness holds for one that
    nobody has asked before. Raises ServerError as the client does.
    """
    found = []
    with DeepfakeClient(url, transport=transport, retry=RetryPolicy(attempts=1)) as client:
        for name, clip in clips:
            faces, latencies_ms = 0, []
            for _ in range(1 + later):
                began = perf_counter()
                faces = len(client.faces(clip))
                latencies_ms.append(1000 * (perf_counter() - began))
            first_ms, *later_ms = round_values(latencies_ms, 2)
            found.append(FirstRequest(name, faces, first_ms, tuple(later_ms)))
    return tuple(found)

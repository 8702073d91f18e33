"""How slowly bytes may come: one rule for bodies of REST, messages of gRPC and downloads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

from deepfake_triton.errors import GatewayError
from deepfake_triton.gateway.time_limit import within

IDLE_S = 30.0
"""Most seconds without a byte."""
GRACE_S = 20.0
"""Seconds of waiting after which the mean pace counts."""
MIN_BYTES_PER_S = 16 * 1024
"""Slowest mean pace."""


class UploadPace:
    """Pace of one upload, by the time for which it was waited: that of a slow disk here does not count."""

    def __init__(self) -> None:
        self.num_bytes = 0
        self._waited_s = 0.0

    def add(self, num_bytes: int, waited_s: float) -> None:
        """Count bytes that came after this time."""
        self.num_bytes += num_bytes
        self._waited_s += waited_s

    @property
    def patience_s(self) -> float:
        """Seconds for which further bytes are waited for; 0 and less: they were too slow."""
        return min(IDLE_S, GRACE_S + self.num_bytes / MIN_BYTES_PER_S - self._waited_s)

    def complaint(self, waited_s: float) -> str:
        """Say what is wrong with an upload whose next bytes did not come within `waited_s`."""
        if waited_s >= IDLE_S:
            return f"nothing came for {IDLE_S:g} s; send it again"
        return (
            f"{self.num_bytes} bytes in {self._waited_s + waited_s:.0f} s; expected {MIN_BYTES_PER_S} bytes "
            "a second or more"
        )


async def in_time(
    chunks: AsyncIterator[bytes], refusal: Callable[[str], GatewayError]
) -> AsyncIterator[bytes]:
    """Yield chunks as they come. Raises what `refusal` makes of the reason if they come too slowly."""
    pace = UploadPace()
    while True:
        patience_s, began = pace.patience_s, time.monotonic()
        try:
            chunk = await within(anext(chunks), patience_s)
        except StopAsyncIteration:
            return
        except asyncio.TimeoutError as error:
            raise refusal(pace.complaint(patience_s)) from error
        pace.add(len(chunk), time.monotonic() - began)
        if pace.patience_s <= 0:
            raise refusal(pace.complaint(0))
        yield chunk

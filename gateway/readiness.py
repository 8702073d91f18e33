"""Whether a Triton answers and serves the model, asked at most once a second."""

from __future__ import annotations

import asyncio
import time

from deepfake_triton.client.async_client import AsyncDeepfakeClient
from deepfake_triton.errors import DeadlineExceeded, DeepfakeError, ServerUnreachable

_TIMEOUT_S = 3.0
_KEPT_S = 1.0


class Readiness:
    """The last answer to "is a Triton there?", and how old it is."""

    def __init__(self, client: AsyncDeepfakeClient) -> None:
        self._client = client
        self._lock = asyncio.Lock()
        self._error: DeepfakeError | None = None
        self._checked_at = -_KEPT_S
        self.is_draining = False

    async def check(self) -> None:
        """Raise the reason why no video can be judged now, such as ServerUnreachable or ModelUnavailable."""
        if self.is_draining:
            raise ServerUnreachable("the gateway is stopping; ask another one")
        async with self._lock:
            if time.monotonic() - self._checked_at >= _KEPT_S:
                self._error = await self._reason()
                self._checked_at = time.monotonic()
        if self._error:
            raise self._error

    async def _reason(self) -> DeepfakeError | None:
        try:
            await self._client.model(timeout_s=_TIMEOUT_S)
        except DeadlineExceeded:
            return ServerUnreachable(f"servers: none answered within {_TIMEOUT_S:g} s; look at their logs")
        except DeepfakeError as error:
            return error
        return None

"""grpc.health.v1: SERVING while the model behind the gateway is ready."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from grpc_health.v1 import health, health_pb2

from deepfake_triton.errors import DeepfakeError
from deepfake_triton.gateway.grpc_service.messages import SERVICE
from deepfake_triton.gateway.readiness import Readiness

POLL_INTERVAL_S = 2.0


class ReadinessWatch:
    """Carry readiness to the health service, by asking again and again.

    Args:
        readiness: Asks the servers.
    """

    def __init__(self, readiness: Readiness) -> None:
        self.servicer = health.aio.HealthServicer()
        self._readiness = readiness
        self._polling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Ask once, then go on in a task."""
        await self._set(ready=False)
        self._polling = asyncio.create_task(self._poll())

    async def stop(self) -> None:
        """Tell NOT_SERVING from now on."""
        if self._polling is not None:
            self._polling.cancel()
            with suppress(asyncio.CancelledError):
                await self._polling
        await self.servicer.enter_graceful_shutdown()

    async def _poll(self) -> None:
        while True:
            await self._set(ready=await self._is_ready())
            await asyncio.sleep(POLL_INTERVAL_S)

    async def _is_ready(self) -> bool:
        try:
            await self._readiness.check()
        except DeepfakeError:
            return False
        return True

    async def _set(self, *, ready: bool) -> None:
        answers = health_pb2.HealthCheckResponse
        for service in ("", SERVICE):
            await self.servicer.set(service, answers.SERVING if ready else answers.NOT_SERVING)

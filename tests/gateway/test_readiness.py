from __future__ import annotations

import asyncio
import socket

import pytest

from deepfake_triton.client.async_client import AsyncDeepfakeClient
from deepfake_triton.errors import ServerUnreachable
from deepfake_triton.gateway import readiness
from deepfake_triton.gateway.problems import status_of

pytestmark = pytest.mark.fast


def test_a_server_that_hangs_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """As /readyz promises, 503: for a probe it does not matter how a server is missing."""
    monkeypatch.setattr(readiness, "_TIMEOUT_S", 0.2)

    async def check(port: int) -> None:
        async with AsyncDeepfakeClient((f"127.0.0.1:{port}",)) as client:
            await readiness.Readiness(client).check()

    with socket.create_server(("127.0.0.1", 0)) as hanging, pytest.raises(ServerUnreachable) as refused:
        asyncio.run(check(hanging.getsockname()[1]))
    assert status_of(refused.value) == 503

"""`AsyncDeepfakeClient`: deadlines, closing, event loops; against a server that answers no inference."""

from __future__ import annotations

import asyncio
import inspect
import time

import numpy as np
import pytest
from listening_server import listening

from deepfake_triton.client import AsyncDeepfakeClient, DeepfakeClient, RetryPolicy, Transport
from deepfake_triton.errors import DeadlineExceeded, InvalidOption, ServerUnreachable
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch

pytestmark = pytest.mark.fast

FRAMES = FrameBatch(np.zeros((2, 16, 16, 3), np.uint8), np.array([0.0, 0.5]), 1.0)


def test_a_deadline_under_max_in_flight_ends_in_time() -> None:
    async def ask(url: str) -> float:
        client = AsyncDeepfakeClient(url, max_in_flight=1, transport=Transport.GRPC)
        holder = asyncio.create_task(client.faces(FRAMES, timeout_s=20))
        await asyncio.sleep(0.2)
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded, match="max_in_flight"):
            await client.faces(FRAMES, timeout_s=0.3)
        took_s = time.monotonic() - began
        holder.cancel()
        return took_s

    with listening("2.57.0") as (url, _):
        assert 0.25 < asyncio.run(ask(url)) < 2.0


def test_closing_twice_is_fine_and_later_calls_are_typed_errors() -> None:
    async def close(url: str) -> None:
        client = AsyncDeepfakeClient(url)
        assert (await client.model()).version == "1"
        await asyncio.gather(client.close(), client.close())
        await client.close()
        for request in (client.model(), client.faces(FRAMES), client.detect(FRAMES)):
            with pytest.raises(ServerUnreachable, match="was closed"):
                await request

    with listening("2.51.0") as (url, _):
        asyncio.run(close(url))
        client = DeepfakeClient(url)
        client.close()
        client.close()
        with pytest.raises(ServerUnreachable, match="was closed"):
            client.faces(FRAMES)


def test_a_client_belongs_to_no_loop() -> None:
    with listening("2.51.0") as (url, _):
        client = AsyncDeepfakeClient(url)  # before there is any loop
        assert asyncio.run(client.model()).version == asyncio.run(client.model()).version == "1"
        asyncio.run(client.close())
        with pytest.raises(ServerUnreachable, match="was closed"):
            asyncio.run(client.model())


def test_an_unreachable_server_is_the_same_error_in_both() -> None:
    retry = RetryPolicy(attempts=1)
    with DeepfakeClient("127.0.0.1:1", retry=retry) as client, pytest.raises(ServerUnreachable) as waiting:
        client.model()
    with pytest.raises(ServerUnreachable) as awaiting:
        asyncio.run(AsyncDeepfakeClient("127.0.0.1:1", retry=retry).model())
    assert str(waiting.value).startswith("127.0.0.1:1: no server answers")
    assert str(awaiting.value).startswith("127.0.0.1:1: no server answers")


def test_both_clients_take_the_same_arguments() -> None:
    assert inspect.signature(DeepfakeClient) == inspect.signature(AsyncDeepfakeClient)
    for client_type in (DeepfakeClient, AsyncDeepfakeClient):
        with pytest.raises(InvalidOption, match="timeout_s: got 0"):
            client_type(timeout_s=0)
        with pytest.raises(InvalidOption, match="max_in_flight: got 0"):
            client_type(max_in_flight=0)

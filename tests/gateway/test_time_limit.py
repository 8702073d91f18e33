"""Time limits end what they limit, and pass on cancellations."""

from __future__ import annotations

import asyncio

import pytest

from deepfake_triton.gateway.time_limit import within

pytestmark = pytest.mark.fast


def test_what_comes_in_time_is_returned_and_an_error_raised() -> None:
    async def fail() -> None:
        raise ValueError("of the awaitable")

    async def run() -> None:
        assert await within(asyncio.sleep(0, "result"), 10) == "result"
        with pytest.raises(ValueError, match="of the awaitable"):
            await within(fail(), 10)

    asyncio.run(run())


def test_what_is_late_is_cancelled_before_the_error() -> None:
    ended = []

    async def late() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("late")

    async def run() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await within(late(), 0.01)
        assert ended == ["late"]

    asyncio.run(run())


def test_a_cancellation_that_comes_with_the_result_is_passed_on() -> None:
    async def run() -> None:
        coming = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(within(coming, 60))
        await asyncio.sleep(0.01)
        coming.set_result("chunk")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())


def test_a_cancellation_ends_what_is_awaited() -> None:
    async def run() -> None:
        sleeping = asyncio.create_task(asyncio.sleep(60))
        task = asyncio.create_task(within(sleeping, 60))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sleeping.cancelled()

    asyncio.run(run())
